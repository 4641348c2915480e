"""Image-to-image data: pairs, two unpaired domains, and pairs that are made of single images."""

import tarfile
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.utils import download_and_extract_archive

from lightning_gans.data.base import Data, DataError, FileDataModule, Split
from lightning_gans.data.decode import Decoder, Interpolation
from lightning_gans.data.folder import ImageFolder, find_folder, list_images
from lightning_gans.data.loader import Views, ZipLoader
from lightning_gans.data.sources import ImageFiles, ImageSource, PairFiles

Direction = Literal["AtoB", "BtoA"]
Shape = tuple[int, int, int]
# The folders of A and B, or the one of side-by-side files: last, because it is the parent of another's.
_LAYOUTS = (("A/{}", "B/{}"), ("{}A", "{}B"), ("{}/A", "{}/B"), ("{}",))


class _TwoDomains(FileDataModule):
    """What pairs and unpaired domains share: the layouts of files, sizes, shapes.

    The arguments are those of :class:`PairedImages`.
    """

    channels = 3
    native_size = 256
    input_shape: Shape

    def __init__(
        self,
        folder: str | Path,
        image_size: int,
        load_size: int | None,
        direction: Direction,
        interpolation: Interpolation,
        channels_a: int,
        channels_b: int,
        **kwargs: Any,
    ) -> None:
        if load_size is None:
            load_size = round(image_size * 286 / 256)
        super().__init__(image_size=image_size, load_size=load_size, **kwargs)
        _check_direction(direction)
        for name, channels in (("channels_a", channels_a), ("channels_b", channels_b)):
            if channels not in (1, 3):
                raise ValueError(f"{name}={channels} is unknown: use 1 (grey) or 3 (colour)")
        self.folder, self.direction = str(folder), direction
        self.decoder_a, self.decoder_b = (
            Decoder(channels, image_size, aspect="squash", interpolation=interpolation)
            for channels in (channels_a, channels_b)
        )
        shapes = [(channels, image_size, image_size) for channels in (channels_a, channels_b)]
        self.input_shape, self.image_shape = shapes if direction == "AtoB" else shapes[::-1]

    def _find(self) -> tuple[Path, dict[Split, tuple[str, ...]]]:
        """Find the folder and, within it, that of each split's pairs, or those of its A and B."""
        folder = find_folder(self.folder, self.root, type(self).__name__, self.source)
        own: tuple[Split, ...] = ("train", "val", "test")
        parts = {split: found for split in own if (found := _find_split(folder, split))}
        self.has_test_split = "val" in parts or "test" in parts
        self.val_split = "val" if "val" in parts and "test" in parts else "test"
        if "val" in parts:
            parts.setdefault("test", parts["val"])
        return folder, parts

    def prepare_data(self) -> None:
        """Decode what is missing, on one process a machine."""
        self._find()
        super().prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Load what a stage needs."""
        self._find()
        super().setup(stage)

    def real_images(self, split: Literal["train", "test"]) -> tuple[Data, Tensor, dict[str, str]]:
        """Refuse: these are images to be translated, not to be generated from noise.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"{type(self).__name__} holds two kinds of images: use ImageFolder for one of them")

    def _files(self, split: Split) -> tuple[Path, dict[str, list[str]]]:
        """Return the folder, and within it the split's one or two folders with their images."""
        folder, parts = self._find()
        if split not in parts:
            wanted = ", ".join(" + ".join(f"{part.format(split)}/" for part in layout) for layout in _LAYOUTS)
            raise DataError(f"folder={folder} has no {split} images: looked for {wanted}")
        return folder, {part: list_images(folder / part, folder) for part in parts[split]}


class PairedImages(_TwoDomains):
    """Pairs of images of one thing in two domains, as for pix2pix, in batches ``(input, target)``.

    The two images of a pair are the halves of one file (A left, B right), or have equal names (the ending may
    differ) in two folders:

    - ``{train,val,test}/*`` (facades, maps, cityscapes, edges2shoes as pix2pix has them)
    - ``A/{train,val,test}/*`` and ``B/{train,val,test}/*`` (what its ``combine_A_and_B.py`` reads)
    - ``{train,val,test}A/*`` and ``{train,val,test}B/*``
    - ``{train,val,test}/A/*`` and ``{train,val,test}/B/*``

    Validation uses ``val``, testing ``test``; where one is missing the other stands in for it. Training pairs
    are resized to ``load_size``, then cut to ``image_size`` and mirrored at random, both images alike. The
    others are resized to ``image_size`` at once. As in the paper's code, images that are not square are
    squashed.

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        image_size: Height and width of the images in pixels.
        load_size: What training images are resized to before they are cut; ``image_size``: not cut. None:
            286 / 256 of ``image_size``.
        direction: From which domain to which.
        flip: Mirror training pairs horizontally with probability 1/2.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest`` (which keeps the colours of label maps).
        channels_a: 3 (colour) or 1 (grey).
        channels_b: The same for B.
        batch_size: Pairs a training batch and rank.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.FileDataModule`.

    Attributes:
        input_shape: (C, H, W) of the input; ``image_shape`` is the target's.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has none of these layouts, an image lacks its partner, or an argument does not fit.
    """

    view_names = ("input", "target")

    def __init__(
        self,
        folder: str | Path,
        image_size: int = 256,
        load_size: int | None = None,
        direction: Direction = "AtoB",
        flip: bool = True,
        interpolation: Interpolation = "bicubic",
        channels_a: int = 3,
        channels_b: int = 3,
        batch_size: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            folder=folder,
            image_size=image_size,
            load_size=load_size,
            direction=direction,
            interpolation=interpolation,
            channels_a=channels_a,
            channels_b=channels_b,
            flip=flip,
            batch_size=batch_size,
            **kwargs,
        )

    def load(self, split: Split) -> tuple[Data, Tensor]:
        """Return the pairs of a split as images with A's and B's channels, and labels -1."""
        folder, files = self._files(split)
        pairs = _pairs(folder, files)
        if len(pairs[0]) == 1:
            _warn_of_photographs(folder, pairs[0][0])
        return PairFiles(folder, pairs, self.decoder_a, self.decoder_b), torch.full((len(pairs),), -1)

    def views(self) -> Views:
        """Return what cuts the channels into input and target."""
        return _Halves(self.decoder_a.channels, self.direction)


class Facades(PairedImages):
    """CMP facades: 400 + 100 + 106 photographs of house fronts (A) and their label maps (B), from pix2pix.

    Downloaded (30 MB) to ``root/facades`` if they are missing. The paper makes photographs of label maps.

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        image_size: Height and width of the images in pixels.
        direction: ``BtoA``: from labels to photographs; ``AtoB``: the other way.
        **kwargs: Arguments of :class:`PairedImages`.
    """

    source = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/facades.tar.gz"

    def __init__(
        self,
        folder: str | Path = "facades",
        image_size: int = 256,
        direction: Direction = "BtoA",
        **kwargs: Any,
    ) -> None:
        super().__init__(folder=folder, image_size=image_size, direction=direction, **kwargs)

    def prepare_data(self) -> None:
        """Download and decode what is missing, on one process a machine."""
        try:
            self._find()
        except FileNotFoundError:
            if not self.download:
                raise
            self._fetch(self.root / self.folder)
        super().prepare_data()

    def _fetch(self, target: Path) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Moved when it is complete: a download that was killed leaves nothing that looks like the data.
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".facades-") as part:
                download_and_extract_archive(self.source, part)
                (Path(part) / "facades").rename(target)
        except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise FileNotFoundError(
                f"Facades: cannot fetch {self.source} ({reason}); put its files in {target.absolute()}, or "
                "name their folder with --data.folder, or its parent with --data.root or LIGHTNING_GANS_DATA"
            ) from error


class UnpairedImages(_TwoDomains):
    """Images of two domains that do not belong together, as for CycleGAN, in batches ``(a, b)``.

    The layouts of files are those of :class:`PairedImages`, but numbers and names of images may differ:
    ``trainA``, ``trainB``, ``testA``, ``testB`` are CycleGAN's. The halves of side-by-side files are drawn
    independently. An epoch is as long as the larger domain, and the smaller one is served again, in another
    order. Crops and mirror images are independent too.

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        image_size: Height and width of the images in pixels.
        load_size: What training images are resized to before they are cut; ``image_size``: not cut. None:
            286 / 256 of ``image_size``.
        direction: ``AtoB``: batches are ``(a, b)``; ``BtoA``: ``(b, a)``.
        flip: Mirror training images horizontally with probability 1/2.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``.
        channels_a: 3 (colour) or 1 (grey).
        channels_b: The same for B.
        batch_size: Images of each domain in a training batch and rank.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.FileDataModule`; ``limit`` and
            ``val_fraction`` hold for each domain.

    Attributes:
        input_shape: (C, H, W) of a batch's first domain; ``image_shape`` is the second's.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has none of these layouts, or an argument does not fit.
    """

    def __init__(
        self,
        folder: str | Path,
        image_size: int = 256,
        load_size: int | None = None,
        direction: Direction = "AtoB",
        flip: bool = True,
        interpolation: Interpolation = "bicubic",
        channels_a: int = 3,
        channels_b: int = 3,
        batch_size: int = 1,
        **kwargs: Any,
    ) -> None:
        options: dict[str, Any] = {
            "folder": folder,
            "image_size": image_size,
            "load_size": load_size,
            "direction": direction,
            "interpolation": interpolation,
            "channels_a": channels_a,
            "channels_b": channels_b,
            "flip": flip,
            "batch_size": batch_size,
        }
        super().__init__(**options, **kwargs)
        if self.exclude is not None:
            raise ValueError(f"exclude={self.exclude} is not offered for UnpairedImages: remove the files")
        seed_b = int(np.random.SeedSequence([self.seed, 1]).generate_state(1)[0])
        # A domain may be smaller than a batch: it is repeated.
        options |= kwargs | {"drop_last": False}
        domains = [_Domain("a", **options), _Domain("b", **options | {"seed": seed_b})]
        self.view_names = ("A", "B")
        if direction == "BtoA":
            domains, self.view_names = domains[::-1], ("B", "A")
        self._domains = domains

    def prepare_data(self) -> None:
        """Decode what is missing, on one process a machine."""
        self._find()
        for domain in self._attached():
            domain.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Load what a stage needs."""
        self._find()
        for domain in self._attached():
            domain.setup(stage)

    def _attached(self) -> list["_Domain"]:
        for domain in self._domains:
            domain.trainer = self.trainer
        return self._domains

    def training_images(self) -> tuple[Data, Tensor]:
        """Refuse: there are two sets of images.

        Raises:
            ValueError: Always.
        """
        raise ValueError("UnpairedImages holds two sets of images: name the folder of one with ImageFolder")

    def _loader(self, split: str, *, training: bool) -> ZipLoader:
        domains = self._attached()
        if split not in domains[0]._splits:
            self._ready(split)  # raises
        stored = [domain._ready(split) for domain in domains]
        size = max(len(labels) for _, labels in stored)
        options: dict[str, Any] = {"epoch_size": size, "drop_last": training and self.drop_last}
        return ZipLoader(
            *(
                domain._serve(*data, training=training, **options)
                for domain, data in zip(domains, stored, strict=True)
            )
        )


class _Domain(_TwoDomains):
    """One of two unpaired domains, ``"a"`` or ``"b"``."""

    def __init__(self, half: Literal["a", "b"], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.half = half

    def load(self, split: Split) -> tuple[Data, Tensor]:
        folder, files = self._files(split)
        source: ImageSource
        if len(files) == 1:
            (pairs,) = ([(name,) for name in names] for names in files.values())
            _warn_of_photographs(folder, pairs[0][0])
            source = PairFiles(folder, pairs, self.decoder_a, self.decoder_b, self.half)
        else:
            own = "ab".index(self.half)
            source = ImageFiles(folder, list(files.values())[own], (self.decoder_a, self.decoder_b)[own])
        return source, torch.full((len(source),), -1)


def _warn_of_photographs(folder: Path, name: str) -> None:
    """Warn if the first file does not look like two images side by side."""
    with suppress(OSError):  # a damaged one is named when it is decoded
        with Image.open(folder / name) as image:
            width, height = image.size
        if width < 1.5 * height:
            warnings.warn(
                f"{name}, {width}x{height} pixels, is cut into a left and a right half, A and B: if these "
                "are single images, use ImageFolder, Colorization or Inpainting",
                stacklevel=2,
            )


class Colorization(ImageFolder):
    """Your own photographs and their grey copies, in batches ``(input, target)``.

    Grey is ITU-R 601 luma, ``0.299 R + 0.587 G + 0.114 B``. As in pix2pix, training images are mirrored but
    not cut.

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        image_size: Height and width of the images in pixels.
        direction: ``AtoB``: from grey to colour; ``BtoA``: from colour to grey.
        flip: Mirror training images horizontally with probability 1/2.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``.
        batch_size: Images a training batch and rank.
        **kwargs: Arguments of :class:`~lightning_gans.data.folder.ImageFolder`.

    Attributes:
        input_shape: (C, H, W) of the input; ``image_shape`` is the target's.
    """

    view_names = ("input", "target")

    def __init__(
        self,
        folder: str,
        image_size: int = 256,
        direction: Direction = "AtoB",
        flip: bool = True,
        interpolation: Interpolation = "bicubic",
        batch_size: int = 4,
        **kwargs: Any,
    ) -> None:
        _check_direction(direction)
        super().__init__(
            folder=folder,
            image_size=image_size,
            channels=3,
            interpolation=interpolation,
            flip=flip,
            batch_size=batch_size,
            **kwargs,
        )
        self.direction = direction
        shapes = [(channels, image_size, image_size) for channels in (1, 3)]
        self.input_shape, self.image_shape = shapes if direction == "AtoB" else shapes[::-1]

    def views(self) -> Views:
        """Return what adds the grey copies."""
        return _Grey(self.direction)


class Inpainting(ImageFolder):
    """Your own images and copies with a hole, in batches ``(input, target)``.

    The hole is a square of mid grey (0 in [-1, 1]). Each image gets another one in each epoch of training,
    and always the same in evaluation. As in pix2pix, training images are mirrored but not cut.

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        image_size: Height and width of the images in pixels.
        hole: Side of the hole as a share of the image's.
        mask: Where the hole is: ``random`` or ``center``.
        flip: Mirror training images horizontally with probability 1/2.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``.
        batch_size: Images a training batch and rank.
        **kwargs: Arguments of :class:`~lightning_gans.data.folder.ImageFolder`.

    Attributes:
        input_shape: (C, H, W) of the input; ``image_shape``, the target's, is the same.

    Raises:
        ValueError: If an argument does not fit.
    """

    view_names = ("input", "target")

    def __init__(
        self,
        folder: str,
        image_size: int = 256,
        hole: float = 0.5,
        mask: Literal["random", "center"] = "random",
        flip: bool = True,
        interpolation: Interpolation = "bicubic",
        batch_size: int = 4,
        **kwargs: Any,
    ) -> None:
        if not 0 < hole < 1:
            raise ValueError(f"hole={hole} must lie between 0 and 1: it is a share of the image's side")
        if mask not in ("random", "center"):
            raise ValueError(f"mask={mask!r} is unknown: use random or center")
        super().__init__(
            folder=folder,
            image_size=image_size,
            interpolation=interpolation,
            flip=flip,
            batch_size=batch_size,
            **kwargs,
        )
        self.hole, self.mask = hole, mask
        self.input_shape = self.image_shape

    def views(self) -> Views:
        """Return what makes the holes."""
        return _Hole(self.hole, random=self.mask == "random")


@dataclass
class _Halves:
    """Cut images (B, Ca + Cb, H, W) into input and target."""

    channels_a: int
    direction: Direction
    draws: int = 0

    def __call__(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
        a, b = (half.contiguous() for half in images.tensor_split([self.channels_a], dim=1))
        return (a, b) if self.direction == "AtoB" else (b, a)


@dataclass
class _Grey:
    """Pair RGB images (B, 3, H, W) with their luma (B, 1, H, W)."""

    direction: Direction
    draws: int = 0

    def __call__(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
        weights = images.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
        grey = (images * weights).sum(1, keepdim=True).clamp_(-1, 1)  # rounding can lead beyond 1
        return (grey, images) if self.direction == "AtoB" else (images, grey)


class _Hole:
    """Pair images (B, C, H, W) with copies in which a square is 0."""

    def __init__(self, share: float, *, random: bool) -> None:
        self.share, self.random = share, random
        self.draws = 2 if random else 0

    def __call__(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
        size = images.shape[-1]
        side = min(max(round(self.share * size), 1), size - 1)
        room = size - side
        if self.random:
            start = (draws * (room + 1)).long()
        else:
            start = torch.full((len(images), 2), room // 2, device=images.device)
        place = torch.arange(size, device=images.device) - start.unsqueeze(2)
        rows, columns = ((place >= 0) & (place < side)).unbind(1)
        hole = rows[:, None, :, None] & columns[:, None, None, :]
        return images.masked_fill(hole, 0), images


def _check_direction(direction: str) -> None:
    if direction not in ("AtoB", "BtoA"):
        raise ValueError(f"direction={direction} is unknown: use AtoB or BtoA")


def _find_split(folder: Path, split: Split) -> tuple[str, ...]:
    """Return the folder of a split's side-by-side files, or those of its A and B, or nothing."""
    for layout in _LAYOUTS:
        parts = tuple(part.format(split) for part in layout)
        missing = [part for part in parts if not (folder / part).is_dir()]
        if not missing:
            return parts
        if len(missing) < len(parts):
            raise DataError(f"folder={folder}: {missing[0]} is missing, the other half of the {split} images")
    return ()


def _pairs(folder: Path, files: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """Return the file of each pair, or its two files: those of one name in two folders."""
    if len(files) == 1:
        return [(name,) for names in files.values() for name in names]
    (part_a, a), (part_b, b) = ((part, _by_stem(part, names)) for part, names in files.items())
    alone = [stem for stem in (*a, *b) if stem not in a or stem not in b]
    if alone:
        name, other = (a[alone[0]], part_b) if alone[0] in a else (b[alone[0]], part_a)
        raise DataError(
            f"folder={folder}: {name} has no partner of that name in {other} ({len(a)} images in {part_a}, "
            f"{len(b)} in {part_b}): add or remove it, or use UnpairedImages"
        )
    return [(name, b[stem]) for stem, name in a.items()]


def _by_stem(part: str, names: list[str]) -> dict[str, str]:
    stems: dict[str, str] = {}
    for name in names:
        stem = str(Path(name).relative_to(part).with_suffix(""))
        if stem in stems:
            raise DataError(f"{stems[stem]} and {name} have one name: the pair is not clear, rename one")
        stems[stem] = name
    return stems
