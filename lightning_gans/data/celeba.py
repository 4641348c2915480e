"""CelebA faces."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision import datasets

from lightning_gans import checks
from lightning_gans.data.base import DataError, FileDataModule, Split
from lightning_gans.data.decode import Decoder
from lightning_gans.data.fetch import no_empty_folders
from lightning_gans.data.official import OfficialImages
from lightning_gans.data.sources import ImageFiles

_IMAGES, _PARTITION, _ATTRIBUTES = "img_align_celeba", "list_eval_partition.txt", "list_attr_celeba.txt"
_ATTRIBUTE_NAMES = """
    5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair
    Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup
    High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose
    Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat
    Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
"""
_WIDTH = 178


class CelebA(OfficialImages, FileDataModule):
    """202,599 aligned photographs of faces, RGB, 178x218, cut to a central square; 64x64 unless told.

    Read from torchvision's ``root/celeba``: ``img_align_celeba/*.jpg``, ``list_eval_partition.txt`` and, for
    an attribute, ``list_attr_celeba.txt``. Downloading needs the package gdown. The official partition is
    162,770 images for training, 19,867 for validation (used by ``all_images`` alone) and 19,962 for testing.

    Args:
        crop: Side of the central square that is cut out before resizing. None: 108 up to ``image_size=64``,
            as DCGAN and the Coulomb GAN have it, else 178, the whole width.
        attribute: One of the 40 attributes, such as ``Male``, which makes two classes: without and with it.
            None: no labels.
        all_images: Train on all images, as most GAN papers do; the test split is then among them.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.FileDataModule`, and ``verify``: compare the
            lists with the official checksums (images have none).

    Raises:
        ValueError: If ``crop`` or ``attribute`` does not fit.
        DataError: If a list has a wrong checksum, or images are missing.
    """

    channels = 3
    native_size = 64
    files = "celeba/{img_align_celeba/*.jpg,list_eval_partition.txt,list_attr_celeba.txt}"
    source = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    attributes = tuple(_ATTRIBUTE_NAMES.split())

    def __init__(
        self,
        *,
        crop: int | None = None,
        attribute: str | None = None,
        all_images: bool = False,
        **kwargs: Any,
    ) -> None:
        checks.one_of(self.attributes, attribute=attribute)
        checks.within(f"[1, {_WIDTH}]", crop=crop)
        if attribute is not None:
            self.class_names = (f"not {attribute}", attribute)
        super().__init__(**kwargs)
        self.crop = crop or (108 if self.image_size <= 64 else _WIDTH)
        self.attribute, self.all_images = attribute, all_images

    def load(self, split: Split) -> tuple[ImageFiles, Tensor]:
        """Return the images, decoded when they are read, and int64 labels (N,): 0 and 1, or -1."""
        folder = self.root / datasets.CelebA.base_folder
        lists = {_PARTITION} if self.attribute is None else {_PARTITION, _ATTRIBUTES}
        files = [(name, checksum) for _, checksum, name in datasets.CelebA.file_list if name in lists]
        if not self.complete(folder, [*files, (_IMAGES, None)]):
            self._fetch()
        # Not torchvision's reader, which takes over ten seconds and a gigabyte: it parses three more lists.
        partition = dict(line.split() for line in _lines(folder / _PARTITION))
        part = {"train": "0", "val": "1", "test": "2"}[split]
        everything = split == "train" and self.all_images
        names = [name for name, number in partition.items() if everything or number == part]
        self._check_images(folder / _IMAGES, names)
        labels = torch.full((len(names),), -1)
        if self.attribute is not None:
            values = _read_attribute(folder / _ATTRIBUTES, self.attribute)
            labels = torch.tensor([values[name] for name in names])
        return ImageFiles(folder / _IMAGES, names, Decoder(3, self.image_size, self.crop)), labels

    def _fetch(self) -> None:
        try:
            with no_empty_folders(self.root / datasets.CelebA.base_folder):
                datasets.CelebA(self.root, download=True)
        except Exception as error:  # gdown's exceptions have no base class of their own, and several lines
            raise OSError(f"download failed: {' '.join(str(error).split())}") from error

    def _check_images(self, folder: Path, names: list[str]) -> None:
        missing = sorted(set(names) - {path.name for path in folder.iterdir()})
        if missing:
            what = f"{len(missing)} of {len(names)} images are missing, such as {missing[0]}"
            raise DataError(f"{folder}: {what}; unpack {_IMAGES}.zip again")


def _lines(file: Path) -> list[str]:
    return file.read_text().strip().splitlines()


def _read_attribute(file: Path, attribute: str) -> dict[str, int]:
    """Return, by the name of each image, 1 if it has the attribute and 0 if not."""
    _, header, *lines = _lines(file)
    column = header.split().index(attribute) + 1
    fields = (line.split() for line in lines)
    return {field[0]: int(field[column] == "1") for field in fields}
