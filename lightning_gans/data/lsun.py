"""LSUN scenes and objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.data.base import DataError, FileDataModule, Split
from lightning_gans.data.decode import Decoder
from lightning_gans.data.sources import ImageSource, LmdbImages

_SCENES = """
    bedroom bridge church_outdoor classroom conference_room dining_room kitchen living_room restaurant tower
"""
_OBJECTS = """
    airplane bicycle bird boat bottle bus car cat chair cow dining_table dog horse motorbike person
    potted_plant sheep sofa train tv-monitor
"""
_HELD_OUT = 300


class LSUN(FileDataModule):
    """Photographs of 10 kinds of scenes and 20 kinds of objects, RGB, 256 pixels or more; 64x64 unless told.

    Read from the official LMDB folders, ``root/<scene>_{train,val}_lmdb`` and ``root/<object>`` (or
    ``<object>_lmdb``), which have to be downloaded by hand: bedrooms are 43 GB. A scene's 300 validation
    images are the test split, as the official test images have no labels. Objects come as one set: the last
    300 (at most a tenth) are their test split, in the order of the keys, which are hashes.

    Args:
        categories: Scenes and objects to use, labelled 0, 1, ... in this order; a single one gives no labels.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.FileDataModule`; ``download`` has
            no effect.

    Raises:
        ValueError: If a category is unknown, or given twice.
        DataError: If a folder is not an LMDB, or the package lmdb is missing.
    """

    channels = 3
    native_size = 64
    files = "{<scene>_{train,val}_lmdb,<object>}/data.mdb"
    source = "https://github.com/fyu/lsun"
    scenes = tuple(_SCENES.split())
    objects = tuple(_OBJECTS.split())

    def __init__(self, *, categories: Sequence[str] = ("bedroom",), **kwargs: Any) -> None:
        categories = (categories,) if isinstance(categories, str) else tuple(categories)
        for category in categories:
            checks.one_of(self.scenes + self.objects, categories=category)
        if not categories or len(set(categories)) < len(categories):
            raise ValueError(f"categories={list(categories)}: name at least one, and each only once")
        if len(categories) > 1:
            self.class_names = categories
        super().__init__(**kwargs)
        self.categories = categories

    def load(self, split: Split) -> tuple[ImageSource, Tensor]:
        """Return the images, decoded when they are read, and int64 labels (N,)."""
        # Not torchvision's LSUN: it unpickles a cache of keys from the current folder, and writes one there.
        folders = [self._folder(category, split) for category in self.categories]
        try:
            images = LmdbImages(folders, Decoder(self.channels, self.image_size))
        except ImportError as error:
            raise DataError(f"LSUN: {error}") from error
        sizes = images.sizes
        labels = torch.arange(len(folders)).repeat_interleave(torch.tensor(sizes))
        chosen = torch.cat(
            [
                sum(sizes[:label]) + _part_of(size, split, whole=category in self.scenes)
                for label, (category, size) in enumerate(zip(self.categories, sizes, strict=True))
            ]
        )
        return images.at(chosen) if len(chosen) < len(images) else images, labels[chosen]

    def _folder(self, category: str, split: Split) -> Path:
        if category in self.scenes:
            return self.root / f"{category}_{'train' if split == 'train' else 'val'}_lmdb"
        folder = self.root / category
        return folder if folder.exists() else self.root / f"{category}_lmdb"


def _part_of(size: int, split: Split, *, whole: bool) -> Tensor:
    """Return the indices of the images of an LMDB that belong to a split: all, or those (not) held out."""
    train = size - min(_HELD_OUT, size // 10)
    places = torch.arange(size)
    return places if whole else places[:train] if split == "train" else places[train:]
