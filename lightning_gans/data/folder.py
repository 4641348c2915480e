"""Any folder of images, labelled by its subfolders, by a list, or not at all; and sketches."""

import csv
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.data.base import Data, DataError, FileDataModule, Split, data_root
from lightning_gans.data.decode import Decoder, Interpolation, image_endings, look_at_image
from lightning_gans.data.sources import ImageFiles, WholeFiles


class ImageFolder(FileDataModule):
    """Your own images: all files below a folder, of any size, kind and colour.

    If the folder has a subfolder ``train``, the images below it are for training, those below ``test`` (else
    ``val``) for testing, and those below ``val`` (else ``test``) for validation. Otherwise all images are for
    training, and ``val_fraction`` can hold out some of them.

    Transparent images are put on white, 16-bit ones are scaled to 8 bits, CMYK is converted, photographs are
    turned upright. Files are told by their endings, all of formats that Pillow reads; hidden ones are not
    looked at, others counted in a warning.

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        image_size: Height and width of the images in pixels.
        channels: 3 (colour) or 1 (grey).
        labels: ``folder``: the subfolders are the classes. ``none``: unlabeled. ``auto``: labelled if all
            images lie in two or more subfolders. Or a CSV file with a line ``file,label`` for every image
            (files relative to ``folder``, an empty label for unlabeled images).
        crop: Side in pixels of the central square that is cut out before resizing. None: as large as fits.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``; antialiased where it shrinks, but nearest.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.FileDataModule`.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has no images, its labels do not match, or an argument does not fit.
    """

    def __init__(
        self,
        folder: str,
        image_size: int = 64,
        channels: Literal[1, 3] = 3,
        labels: str = "auto",
        crop: int | None = None,
        interpolation: Interpolation = "bilinear",
        **kwargs: Any,
    ) -> None:
        checks.one_of((1, 3), channels=channels)
        self.folder = find_folder(folder, kwargs.get("root"), type(self).__name__, self.source)
        self.channels = channels
        self._decoder = Decoder(channels, image_size, crop, interpolation=interpolation)
        self._in_splits = (self.folder / "train").is_dir()
        self._files = self._list_files()
        self._labels, self._all_classes = self._read_labels(labels)
        self.class_names = self._all_classes
        self.has_test_split = "test" in self._files
        self.val_split = "val" if "val" in self._files else "test"
        super().__init__(image_size=image_size, **kwargs)

    def _list_files(self) -> dict[Split, list[str]]:
        """Return the files of each split, relative to ``self.folder``."""
        return list_splits(self.folder)

    def _class_of(self, file: str) -> str:
        """Return the class of a file, its subfolder's name; "" if it lies in no subfolder."""
        parts = file.split("/")
        inner = parts[1:-1] if self._in_splits else parts[:-1]
        return sys.intern(inner[0]) if inner else ""

    def _read_labels(self, labels: str) -> tuple[dict[str, str] | None, tuple[str, ...]]:
        """Return each file's class (None: unlabeled) and the names of all classes."""
        files = [file for split in self._files.values() for file in split]
        if labels == "none":
            return None, ()
        if labels not in ("auto", "folder"):
            named = self._read_list(labels, files)
        else:
            named = {file: self._class_of(file) for file in files}
        names = natural_order(set(named.values()) - {""})
        if labels == "auto" and ("" in named.values() or len(names) < 2):
            return None, ()
        if labels == "folder" and "" in named.values():
            stray = next(file for file, name in named.items() if not name)
            where = self.folder / stray
            raise DataError(f"labels=folder: {where} lies in no class's folder: move it, or use labels=none")
        trained = {named[file] for file in self._files["train"]}
        unseen = [name for name in names if name not in trained]
        if unseen:
            what = f"class {unseen[0]!r} has test images but no training images"
            raise DataError(f"folder={self.folder}: {what}: add some, or remove it")
        return named, tuple(names)

    def _read_list(self, labels: str, files: list[str]) -> dict[str, str]:
        path = next((path for path in (Path(labels), self.folder / labels) if path.is_file()), None)
        if path is None:
            raise ValueError(f"labels={labels} is no file: use auto, folder, none, or a CSV file file,label")
        try:
            # Spreadsheets put a byte order mark first.
            with path.open(newline="", encoding="utf-8-sig") as stream:
                rows = [row for row in csv.reader(stream) if row]
        except (ValueError, csv.Error) as error:
            raise DataError(f"labels={labels}: no CSV file in UTF-8 ({checks.first_line(error)})") from error
        if rows and rows[0][0].strip().lower() in ("file", "filename", "image"):
            del rows[0]
        bad = next((number for number, row in enumerate(rows, 1) if len(row) != 2), None)
        if bad is not None:
            raise DataError(f"labels={labels}: row {bad} is not of the form file,label")
        named: dict[str, str] = {}
        for file, label in rows:
            name = Path(file.strip()).as_posix()
            if name in named:
                raise DataError(f"labels={labels}: {name} is listed twice")
            named[name] = label.strip()
        for missing, what in (
            (sorted(named.keys() - set(files)), "listed but not in the folder"),
            (sorted(set(files) - named.keys()), "in the folder but not listed"),
        ):
            if missing:
                raise DataError(f"labels={labels}: {len(missing)} images are {what}, such as {missing[0]}")
        return named

    def load(self, split: Split) -> tuple[Data, Tensor]:
        """Return the images of a split, decoded when they are read, and int64 labels (N,)."""
        files = self._files[split]
        source = ImageFiles(self.folder, files, self._decoder)
        if self._labels is None:
            return source, torch.full((len(files),), -1)
        number = {name: index for index, name in enumerate(self._all_classes)}
        return source, torch.tensor([number.get(self._labels[file], -1) for file in files])


class Sketches(ImageFolder):
    """Freehand sketches of objects, black on white (Eitz et al., How Do Humans Sketch Objects?, 2012).

    250 classes of 80 drawings in the official release (``<folder>/<class>/<id>.png``), of which the ten
    lowest numbers of each class are for testing; or a part of it that has folders ``train`` and ``test``.
    The DeLiGAN paper trains on 32x32 grey images of a few classes (``classes``).

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        image_size: Height and width of the images in pixels.
        thicken: Make the lines black and a pixel wider on each side before the drawings are shrunk, as
            DeLiGAN's code does: at 32 pixels they are faint otherwise.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.FileDataModule`.
    """

    source = "http://cybertron.cg.tu-berlin.de/eitz/projects/classifysketch/sketches_png.zip"

    def __init__(
        self, folder: str = "tu-berlin-sketches", image_size: int = 32, thicken: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(folder, image_size, channels=1, labels="folder", **kwargs)
        self._decoder = replace(self._decoder, thicken=thicken)

    def _list_files(self) -> dict[Split, list[str]]:
        files = super()._list_files()
        if "test" in files:
            return files
        drawings: dict[str, list[str]] = {}
        for file in files["train"]:
            drawings.setdefault(self._class_of(file), []).append(file)
        return {
            "train": [file for own in drawings.values() for file in own[10:]],
            "test": [file for own in drawings.values() for file in own[:10]],
        }


def find_folder(folder: str, root: str | Path | None, name: str, source: str = "") -> Path:
    """Return a folder as given (absolute, or below the current one), or else below the data root.

    Raises:
        FileNotFoundError: If there is none; says which paths were tried and where to get the files.
    """
    places = [Path(folder).expanduser(), data_root(root) / folder]
    for place in places:
        if place.is_dir():
            return place
    hint = f"; get the files from {source}" if source else ""
    raise FileNotFoundError(
        f"{name}: folder={folder} is neither {places[0].absolute()} nor {places[1].absolute()}{hint}; name "
        "it with --data.folder, or its parent with --data.root or LIGHTNING_GANS_DATA"
    )


def list_splits(folder: Path) -> dict[Split, list[str]]:
    """Return the image files of each split (all are ``train`` if there is no folder of that name).

    Raises:
        ValueError: If a split has no images.
    """
    if not (folder / "train").is_dir():
        return {"train": list_images(folder, folder)}
    splits: dict[str, Split] = {"train": "train", "test": "test"}
    splits |= dict.fromkeys(("val", "valid", "validation"), "val")
    inner = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files: dict[Split, list[str]] = {}
    endings = image_endings()
    for name in inner:
        if name in splits:
            if splits[name] in files:
                raise DataError(f"folder={folder} has two folders of {splits[name]} images: {name} is one")
            files[splits[name]] = list_images(folder / name, folder)
        elif any(path.suffix.lower() in endings for path in (folder / name).rglob("*")):
            advice = "move them, or rename train if that is a class"
            raise DataError(f"folder={folder} has images beside train, in {name}, no split: {advice}")
    if "val" in files and "test" not in files:
        files["test"] = files.pop("val")
    return files


def list_images(folder: Path, relative_to: Path) -> list[str]:
    """Return all image files below a folder in natural order (2 before 10), relative to another folder.

    Files of other kinds are left out; a warning counts them.

    Raises:
        ValueError: If there is none.
    """
    # Strings, not Paths: a Path for each file takes ten times as long, and memory that stays allocated.
    visible, others = list[str](), Counter[str]()
    endings = frozenset(image_endings())
    places: list[tuple[Path, tuple[Path, ...]]] = [(folder, ())]
    while places:
        place, above = places.pop()
        if (real := place.resolve()) in above:  # a link to a folder above: it would never end
            continue
        inner = place.relative_to(relative_to).as_posix()
        prefix = "" if inner == "." else f"{inner}/"
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    places.append((Path(entry.path), (*above, real)))
                elif (ending := os.path.splitext(entry.name)[1].lower()) in endings:  # noqa: PTH122
                    # A broken link is listed, too: reading it raises an error that names it.
                    visible.append(prefix + entry.name)
                else:
                    others[ending] += 1
    skipped = ", ".join(f"{count} {ending or 'without ending'}" for ending, count in others.most_common(8))
    if not visible:
        found = f"there are {skipped}" if others else "it is empty"
        raise DataError(f"folder={folder.absolute()} has no images ({found}): name another folder")
    if others:
        more = ", ..." if len(others) > 8 else ""
        warnings.warn(f"folder={folder}: skipped what is no image: {skipped}{more}", stacklevel=2)
    return natural_order(visible)


def read_folder(folder: Path) -> tuple[ImageFiles, str | None]:
    """Read the images of a folder as they are, without resizing them if all have one size, square or not.

    Images of different sizes are cropped to their central square and resized to the size that most have,
    with a warning.

    Returns:
        The images, grey if all of them are; and how they were resized, or None.

    Raises:
        ValueError: If there are no images, or one is damaged, as far as that shows before it is read.
    """
    names = list_images(folder, folder)
    grey, sizes = True, Counter[tuple[int, int]]()
    for name in names:
        is_grey, size = look_at_image(folder / name, str(folder / name))
        grey &= is_grey
        sizes[size] += 1
    channels = 1 if grey else 3
    common = max(sizes, key=lambda size: (sizes[size], size))  # what the files are called must not matter
    if len(sizes) == 1:
        return WholeFiles(folder, names, channels, common), None
    side = min(common)
    changed = len(names) - sizes[side, side]
    resized = f"{changed} of {len(names)} images to {side}x{side}"
    warnings.warn(
        f"{folder} has images of {len(sizes)} sizes: {resized} are cropped to their central square and "
        "resized, which changes scores; give images of one size",
        stacklevel=4,
    )
    return ImageFiles(folder, names, Decoder(channels, side)), resized


def natural_order(names: Sequence[str] | set[str]) -> list[str]:
    """Sort names with numbers in them by the numbers' values."""

    def key(name: str) -> list[tuple[int, str]]:
        parts = re.split(r"([0-9]+)", name)
        return [(int(part), "") if odd % 2 else (0, part) for odd, part in enumerate(parts)]

    return sorted(names, key=lambda name: (key(name), name))  # 1 and 01 are equal: then by text
