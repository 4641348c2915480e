"""STL-10."""

from typing import Any

import torch
from torch import Tensor
from torchvision import datasets

from lightning_gans.data.base import Split
from lightning_gans.data.official import OfficialImages, read


class STL10(OfficialImages):
    """5,000 + 8,000 photographs of 10 kinds of animals and vehicles, and 100,000 unlabeled ones, RGB, 96x96.

    Read by torchvision from ``root/stl10_binary``. The official test set is the test split. GAN papers train
    on 48x48 pixels (``image_size=48``), mostly of the unlabeled images.

    Args:
        unlabeled: Add the 100,000 unlabeled images, label -1, to the training split. Loading them takes 6 GB
            of memory.
        **kwargs: Arguments of :class:`~lightning_gans.data.official.OfficialImages`.

    Raises:
        DataError: If a file has a wrong checksum.
    """

    channels = 3
    native_size = 96
    class_names = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    files = "stl10_binary/{train_X,train_y,unlabeled_X,test_X,test_y}.bin"
    source = datasets.STL10.url

    def __init__(self, *, unlabeled: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.unlabeled = unlabeled

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return uint8 (N, 3, 96, 96) and int64 (N,)."""
        official = datasets.STL10
        # The unlabeled images are 2.8 GB: neither required nor checked if they are not used.
        files = [
            (name, checksum)
            for name, checksum in official.train_list + official.test_list
            if self.unlabeled or not name.startswith("unlabeled")
        ]
        folder = self.root / official.base_folder
        if not self.complete(folder, files):
            self.fetch_archive(official)
        part = "train+unlabeled" if split == "train" and self.unlabeled else split
        data = read(official, self.root, split=part)
        # The files store images by columns; a contiguous copy in row order makes batches faster.
        return torch.from_numpy(data.data).contiguous(), torch.from_numpy(data.labels).to(torch.int64)
