"""Scikit-learn's handwritten digits: real, tiny, and installed with the package."""

from typing import Any

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.data.base import ImageDataModule, Split


class Digits(ImageDataModule):
    """1,797 handwritten digits, grey, 8x8: 1,500 for training, 297 for testing, always the same ones.

    They come with scikit-learn, so nothing is downloaded. Their 17 grey levels 0..16 are scaled to 0..255.

    Args:
        image_size: 8 (as they are), 16 or 32 (resized).
        **kwargs: Arguments of :class:`~lightning_gans.data.base.DataModule`.

    Raises:
        ValueError: If ``image_size`` is none of these.
    """

    channels = 1
    native_size = 8
    class_names = tuple("0123456789")

    def __init__(self, image_size: int = 8, **kwargs: Any) -> None:
        checks.one_of((8, 16, 32), image_size=image_size)
        super().__init__(image_size=image_size, **kwargs)

    def prepare_data(self) -> None:
        """Do nothing: the images are part of scikit-learn."""

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return uint8 (N, 1, 8, 8) and int64 (N,)."""
        from sklearn.datasets import load_digits  # takes half a second, which others can do without

        digits = load_digits()
        order = torch.randperm(len(digits.images), generator=torch.Generator().manual_seed(0))
        chosen = order[:1500] if split == "train" else order[1500:]
        images = torch.from_numpy(digits.images[chosen.numpy()] * (255 / 16)).round()
        return images.to(torch.uint8).unsqueeze(1), torch.from_numpy(digits.target)[chosen].to(torch.int64)
