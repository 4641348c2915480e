"""A metric: it says itself, by the name of the argument, that it is given images."""

import torch
from scipy.ndimage import label
from torchmetrics import Metric


class OneDisc(Metric):
    """Share of the images in which all light pixels hang together."""

    higher_is_better = True

    def __init__(self):
        super().__init__()
        self.add_state("one", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("all", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, images):  # uint8 (n, channels, height, width)
        self.one += sum(label(image[0] > 127)[1] == 1 for image in images.cpu().numpy())
        self.all += len(images)

    def compute(self):
        return self.one / self.all
