"""Two data modules of plain Lightning: images alone, and images with labels."""

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset


class Drawn(Dataset):
    """A light disc somewhere on a dark ground, small (0) or large (1), in [-1, 1]."""

    def __init__(self, samples, labelled):
        draw = torch.Generator().manual_seed(0)
        self.labelled, self.large = labelled, torch.randint(2, (samples,), generator=draw)
        self.centres = 4 + 7 * torch.rand(samples, 2, generator=draw)

    def __len__(self):
        return len(self.large)

    def __getitem__(self, i):
        y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        distance = torch.hypot(y - self.centres[i, 0], x - self.centres[i, 1])
        image = (2.5 + 1.5 * self.large[i] - distance).clamp(-1, 1)[None]
        return (image, self.large[i]) if self.labelled else image


class Discs(LightningDataModule):
    """Images alone."""

    image_shape = (1, 16, 16)  # a model that is built on the command line asks for it

    def __init__(self, samples: int = 2000, batch_size: int = 64):
        super().__init__()
        self.data, self.batch_size = Drawn(samples, labelled=False), batch_size

    def train_dataloader(self):
        return DataLoader(self.data, self.batch_size, shuffle=True, drop_last=True)


class LabelledDiscs(Discs):
    """Images with labels."""

    num_classes = 2  # and, if it knows classes, for this

    def __init__(self, samples: int = 2000, batch_size: int = 64):
        super().__init__(samples, batch_size)
        self.data = Drawn(samples, labelled=True)
