"""Street View House Numbers."""

from typing import Any

import torch
from torch import Tensor
from torchvision import datasets

from lightning_gans.data.base import Split
from lightning_gans.data.fetch import download, fetching
from lightning_gans.data.official import OfficialImages, read


class SVHN(OfficialImages):
    """73,257 + 26,032 photographs of single digits of house numbers, RGB, 32x32; the label is the digit.

    Read by torchvision from ``root/{train,test,extra}_32x32.mat``. The official test set is the test split.

    Args:
        extra: Add the 531,131 easier digits of the extra set to the training split. Loading them takes 4 GB
            of memory.
        **kwargs: Arguments of :class:`~lightning_gans.data.official.OfficialImages`.

    Raises:
        DataError: If a file has a wrong checksum.
    """

    channels = 3
    native_size = 32
    class_names = tuple("0123456789")
    files = "{train,test,extra}_32x32.mat"
    source = "http://ufldl.stanford.edu/housenumbers/"

    def __init__(self, *, extra: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.extra = extra

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return uint8 (N, 3, 32, 32) and int64 (N,)."""
        parts = ["train", "extra"] if split == "train" and self.extra else [split]
        images, labels = zip(*(self._part(name) for name in parts), strict=True)
        # Makes a contiguous copy too: MATLAB stores arrays by columns.
        return torch.cat(images), torch.cat(labels)

    def _part(self, name: str) -> tuple[Tensor, Tensor]:
        url, file, checksum = datasets.SVHN.split_list[name]
        if not self.complete(self.root, [(file, checksum)]):
            with fetching(self.root / file) as part:
                download(url, part / file, checksum)
        data = read(datasets.SVHN, self.root, split=name)
        return torch.from_numpy(data.data), torch.from_numpy(data.labels)
