"""Image-to-image data: stored pairs, two unpaired domains, and pairs that are made from single images."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lightning_gans import checks
from lightning_gans.data.base import ELSEWHERE, Data, DataError, FileDataModule, Split
from lightning_gans.data.colour import lab_to_rgb, rgb_to_lab
from lightning_gans.data.decode import Decoder, Interpolation
from lightning_gans.data.fetch import download, fetching, unpack
from lightning_gans.data.folder import ImageFolder, find_folder, list_images
from lightning_gans.data.loader import ZipLoader, to_float
from lightning_gans.data.sources import ImageFiles, ImageSource, PairFiles, TensorImages

Direction = Literal["AtoB", "BtoA"]
# Layouts: the folders of A and B, or the one of side-by-side files. It is tried last, because it can be
# the parent of other layouts' folders.
_LAYOUTS = (("A/{}", "B/{}"), ("{}A", "{}B"), ("{}/A", "{}/B"), ("{}",))
_SERVER = "https://efrosgans.eecs.berkeley.edu"
_STORED = {
    "pix2pix/datasets/{}.tar.gz": "edges2handbags edges2shoes facades maps night2day",
    "cyclegan/datasets/{}.zip": "ae_photos apple2orange cezanne2photo horse2zebra iphone2dslr_flower "
    "monet2photo summer2winter_yosemite ukiyoe2photo vangogh2photo",
}
SOURCES = {
    name: f"{_SERVER}/{path}".format(name) for path, names in _STORED.items() for name in names.split()
}
"""Addresses of the papers' own data sets, which are fetched by their names."""
_CITYSCAPES = (
    "https://www.cityscapes-dataset.com (its licence forbids copies; photographs left, labels right)"
)


@dataclass
class _PairViews:
    """Make batches ``(input, target)``, from pairs stored as one image or from single images.

    Attributes:
        make: Function from images (N, C, H, W) and random numbers (N, draws) to A and B.
        direction: ``AtoB``: A is the input; ``BtoA``: B is.
        draws: How many random numbers each image needs.
    """

    make: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    direction: Direction = "AtoB"
    draws: int = 0

    def __call__(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.make(images, draws)
        return (a, b) if self.direction == "AtoB" else (b, a)


class _Part(ImageSource):
    """The inputs (0) or targets (1) of pairs, uint8, as a source of their own."""

    def __init__(self, data: Data, views: _PairViews, part: int, channels: int) -> None:
        self._pairs = TensorImages(data) if isinstance(data, Tensor) else data
        super().__init__(len(data), (channels, *self._pairs.shape[1:]), self._pairs.title)
        self._views, self._part = views, part

    def __getitems__(self, indices: list[int]) -> Tensor:
        """Return a batch, uint8 (n, C, H, W)."""
        images = to_float(self._pairs.__getitems__(self._items[indices].tolist()))
        empty = torch.zeros(len(images), self._views.draws)
        chosen = self._views(images, empty, empty)[self._part]
        return chosen.add(1).mul(127.5).round().to(torch.uint8)

    def _pixels(self, item: int) -> Any:
        return self.__getitems__([item])[0].numpy()

    def _state(self) -> Iterator[bytes]:
        which = f"{self._views.direction} {self._part}"
        yield f"{which} {self._pairs.fingerprint()} {self._items.tolist()}".encode()


class _Pairs(FileDataModule):
    """Base class of data that is served in batches ``(input, target)``, float32 in [-1, 1].

    Training batches are shuffled, cut and mirrored; those of validation and testing are always the same.

    Attributes:
        input_shape: (C, H, W) of the input; ``image_shape`` is the target's.
        view_names: Names of the parts of a batch.
    """

    input_shape: tuple[int, ...]
    view_names: tuple[str, ...] = ("input", "target")
    direction: Direction = "AtoB"

    def views(self) -> _PairViews:
        """Return the function that makes input and target from stored images."""
        raise NotImplementedError

    def real_images(
        self, split: Literal["train", "test"], size: int | None = None, inputs: bool = False
    ) -> tuple[Data, Tensor, dict[str, str]]:
        """Return the targets of a split, with which translations are compared.

        Args:
            split: The split.
            size: Height and width, to which the original images are resized. None: ``image_size``.
            inputs: Return the inputs instead, with which translations back are compared.

        Returns:
            A source of uint8 (C, H, W) images; labels -1 (N,); and a key that identifies
            exactly these images, by which their statistics are cached.
        """
        data, labels, key = super().real_images(split, size)
        shape = self.input_shape if inputs else self.image_shape
        part = _Part(data, self.views(), int(not inputs), shape[0])
        return part, labels, key | {"input" if inputs else "target": f"{self.direction} {shape}"}


class _TwoDomains(FileDataModule):
    """Base class of images in two domains, A and B: finds their files and sets sizes and shapes.

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        image_size: Height and width of the images in pixels.
        load_size: What training images are resized to before they are cut; ``image_size``: not cut. None:
            286 / 256 of ``image_size``.
        direction: From which domain to which; batches are ``(a, b)`` or, with ``BtoA``, ``(b, a)``.
        flip: Mirror training images horizontally with probability 1/2.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest`` (which keeps the colours of label maps).
        interpolation_a: The same for A alone. None: as ``interpolation``.
        interpolation_b: The same for B alone. None: as ``interpolation``.
        channels_a: 3 (colour) or 1 (grey).
        channels_b: The same for B.
        batch_size: Images of each domain in a training batch and rank.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.FileDataModule`.
    """

    channels = 3
    native_size = 256
    input_shape: tuple[int, ...]

    def __init__(
        self,
        folder: str | Path,
        image_size: int = 256,
        load_size: int | None = None,
        direction: Direction = "AtoB",
        flip: bool = True,
        interpolation: Interpolation = "bicubic",
        interpolation_a: Interpolation | None = None,
        interpolation_b: Interpolation | None = None,
        channels_a: int = 3,
        channels_b: int = 3,
        batch_size: int = 1,
        **kwargs: Any,
    ) -> None:
        if load_size is None:
            load_size = round(image_size * 286 / 256)
        super().__init__(
            image_size=image_size, load_size=load_size, flip=flip, batch_size=batch_size, **kwargs
        )
        checks.one_of(get_args(Direction), direction=direction)
        checks.one_of((1, 3), channels_a=channels_a, channels_b=channels_b)
        self.folder, self.direction = str(folder), direction
        decoder = partial(Decoder, size=image_size, aspect="squash")
        self.decoder_a = decoder(channels_a, interpolation=interpolation_a or interpolation)
        self.decoder_b = decoder(channels_b, interpolation=interpolation_b or interpolation)
        shapes = [(channels, image_size, image_size) for channels in (channels_a, channels_b)]
        self.input_shape, self.image_shape = shapes if direction == "AtoB" else shapes[::-1]

    def _find(self) -> tuple[Path, dict[Split, tuple[str, ...]]]:
        """Find the data's folder and, for each split, the folder of its pairs or those of its A and B."""
        source = SOURCES.get(self.folder, "")
        hint = _CITYSCAPES if self.folder == "cityscapes" else source
        try:
            folder = find_folder(self.folder, self.root, type(self).__name__, hint)
        except FileNotFoundError:
            if not (source and self.download):
                raise
            folder = self.root / self.folder
            self._fetch(source, folder)
        own: tuple[Split, ...] = ("train", "val", "test")
        return folder, {split: found for split in own if (found := _find_split(folder, split))}

    def _fetch(self, source: str, target: Path) -> None:
        try:
            with fetching(target) as part:
                archive = part / Path(source).name
                download(source, archive, None)
                unpack(archive, part)
        except OSError as error:
            advice = f"put its files in {target.absolute()}, or {ELSEWHERE}"
            reason = f"cannot fetch {source} ({checks.first_line(error)})"
            raise FileNotFoundError(f"folder={self.folder}: {reason}; {advice}") from error

    @property
    def has_test_split(self) -> bool:  # type: ignore[override]  # known once the files were found
        """Tell whether there are images for testing or validation beside those for training."""
        return not {"val", "test"}.isdisjoint(self._find()[1])

    @property
    def val_split(self) -> Literal["val", "test"]:  # type: ignore[override]
        """Return the split that validation uses."""
        return "val" if {"val", "test"} <= self._find()[1].keys() else "test"

    def _files(self, split: Split) -> tuple[Path, dict[str, list[str]]]:
        """Return the data's folder, and the images of the split by their one or two subfolders."""
        folder, parts = self._find()
        if split == "test" and "val" in parts:
            parts.setdefault("test", parts["val"])
        if split not in parts:
            wanted = ", ".join(" + ".join(f"{part.format(split)}/" for part in layout) for layout in _LAYOUTS)
            raise DataError(f"folder={folder} has no {split} images: looked for {wanted}")
        files = {part: list_images(folder / part, folder) for part in parts[split]}
        if len(files) == 1:
            _warn_of_photographs(folder, next(iter(files.values()))[0])
        return folder, files


class PairedImages(_Pairs, _TwoDomains):
    """Pairs of images of one thing in two domains, as for pix2pix, in batches ``(input, target)``.

    The two images of a pair are the halves of one file (A left, B right), or have equal names (the ending may
    differ) in two folders:

    - ``{train,val,test}/*`` (facades, maps, cityscapes, edges2shoes as pix2pix has them)
    - ``A/{train,val,test}/*`` and ``B/{train,val,test}/*`` (what its ``combine_A_and_B.py`` reads)
    - ``{train,val,test}A/*`` and ``{train,val,test}B/*``
    - ``{train,val,test}/A/*`` and ``{train,val,test}/B/*``

    The paper's data sets ``edges2handbags``, ``edges2shoes``, ``facades``, ``maps`` and ``night2day`` are
    downloaded to ``root`` if ``folder`` is their bare name and they are missing. No checksums of the archives
    were published: they are fetched by https alone, and only plain files are taken out of them, but whoever
    controls the server decides which pictures these are.

    Validation uses ``val``, testing ``test``; if one of the two is missing, the other is used for both.
    Training pairs are resized to ``load_size``, then cut to ``image_size`` and mirrored at random, both
    images alike. The others are resized to ``image_size`` at once. As in the paper's code, images that are
    not square are squashed.

    The arguments are:

    - ``folder``: absolute, or below the current folder, or below ``root``
    - ``image_size``, ``load_size`` (None: 286 / 256 of ``image_size``; ``image_size``: not cut)
    - ``direction``: ``AtoB`` or ``BtoA``
    - ``flip``: mirror training pairs horizontally with probability 1/2
    - ``interpolation``: ``bicubic``, ``bilinear`` or ``nearest``, which keeps the colours of label maps;
      ``interpolation_a`` and ``interpolation_b``: that of one domain
    - ``channels_a``, ``channels_b``: 3 (colour) or 1 (grey)
    - ``batch_size``: pairs a training batch and rank
    - those of :class:`~lightning_gans.data.base.FileDataModule`

    Attributes:
        input_shape: (C, H, W) of the input; ``image_shape`` is the target's.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has none of these layouts, an image lacks its partner, or an argument does not fit.
    """

    def load(self, split: Split) -> tuple[Data, Tensor]:
        """Return the pairs of a split as images with A's and B's channels, and labels -1."""
        folder, files = self._files(split)
        pairs = _pairs(folder, files)
        return PairFiles(folder, pairs, self.decoder_a, self.decoder_b), torch.full((len(pairs),), -1)

    def views(self) -> _PairViews:
        """Return the function that splits the channels into input and target."""
        return _PairViews(partial(_halves, self.decoder_a.channels), self.direction)


class Facades(PairedImages):
    """CMP facades: 400 + 100 + 106 photographs of house fronts (A) and their label maps (B), from pix2pix.

    Downloaded (30 MB) to ``root/facades`` if they are missing. The paper makes photographs of label maps.

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        direction: ``BtoA``: from labels to photographs; ``AtoB``: the other way.
        **kwargs: Arguments of :class:`PairedImages`.
    """

    def __init__(self, folder: str | Path = "facades", direction: Direction = "BtoA", **kwargs: Any) -> None:
        super().__init__(folder, direction=direction, **kwargs)


class UnpairedImages(_TwoDomains):
    """Images of two domains without pairs, as for CycleGAN, in batches ``(a, b)``.

    The layouts of files are those of :class:`PairedImages`, but numbers and names of images may differ:
    ``trainA``, ``trainB``, ``testA``, ``testB`` are CycleGAN's. The halves of side-by-side files are drawn
    independently. An epoch is as long as the larger domain, and the smaller one is served again, in another
    order. Crops and mirror images are independent too.

    The paper's data sets ``apple2orange``, ``cezanne2photo``, ``facades``, ``horse2zebra``,
    ``iphone2dslr_flower``, ``maps``, ``monet2photo``, ``summer2winter_yosemite``, ``ukiyoe2photo``,
    ``vangogh2photo``, and ``ae_photos``, are downloaded as those of :class:`PairedImages` are.

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        **kwargs: The other arguments of :class:`PairedImages`; ``batch_size``, ``limit`` and
            ``val_fraction`` hold for each domain, ``exclude`` is not offered.

    Attributes:
        input_shape: (C, H, W) of a batch's first domain; ``image_shape`` is the second's.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has none of these layouts, or an argument does not fit.
    """

    def __init__(self, folder: str | Path, **kwargs: Any) -> None:
        super().__init__(folder, **kwargs)
        if self.exclude is not None:
            raise ValueError(f"exclude={self.exclude} is not offered for UnpairedImages: remove the files")
        seed_b = int(np.random.SeedSequence([self.seed, 1]).generate_state(1)[0])
        # A domain may be smaller than a batch: it is repeated.
        options: dict[str, Any] = kwargs | {"folder": folder, "drop_last": False}
        self._domains = [_Domain("a", **options), _Domain("b", **options | {"seed": seed_b})]
        self.view_names = ("A", "B")
        if self.direction == "BtoA":
            self._domains, self.view_names = self._domains[::-1], ("B", "A")

    def prepare_data(self) -> None:
        """Fetch missing files and decode images that are not cached, in one process of each machine."""
        self._find()  # before the domains, whose class nobody knows by name
        for domain in self._attached():
            domain.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Load the splits of both domains that a stage needs."""
        for domain in self._attached():
            domain.setup(stage)

    def _attached(self) -> list["_Domain"]:
        for domain in self._domains:
            domain.trainer = self.trainer
        return self._domains

    def training_images(self) -> tuple[Data, Tensor]:
        """Raise an error: there are two sets of training images, one for each domain.

        Raises:
            ValueError: Always.
        """
        raise ValueError("UnpairedImages holds two sets of images: name the folder of one with ImageFolder")

    def real_images(
        self, split: Literal["train", "test"], size: int | None = None, inputs: bool = False
    ) -> tuple[Data, Tensor, dict[str, str]]:
        """Return the images of the second domain, with which translations are compared, or of the first."""
        part = int(not inputs)
        data, labels, key = self._attached()[part].real_images(split, size)
        return data, labels, key | {"data": f"{type(self).__name__} {self.view_names[part]}"}

    def _training_size(self) -> int:
        return max(domain._training_size() for domain in self._attached())

    def _loader(self, split: str, *, training: bool) -> ZipLoader:
        stored = [(domain, *domain.stored(split)) for domain in self._attached()]
        size = max(len(labels) for _, _, labels in stored)
        options: dict[str, Any] = {"training": training, "drop_last": training and self.drop_last}
        return ZipLoader(*(x._serve(data, labels, epoch_size=size, **options) for x, data, labels in stored))


class _Domain(_TwoDomains):
    """One of two unpaired domains, ``"a"`` or ``"b"``."""

    def __init__(self, half: Literal["a", "b"], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.half = half

    def load(self, split: Split) -> tuple[Data, Tensor]:
        folder, files = self._files(split)
        own = "ab".index(self.half)
        if len(files) == 1:
            names = [(name,) for name in next(iter(files.values()))]
            source: ImageSource = PairFiles(folder, names, self.decoder_a, self.decoder_b, self.half)
        else:
            source = ImageFiles(folder, list(files.values())[own], (self.decoder_a, self.decoder_b)[own])
        return source, torch.full((len(source),), -1)


def _warn_of_photographs(folder: Path, name: str) -> None:
    """Warn if the first file does not look like two images side by side."""
    with suppress(OSError):  # a damaged file is reported when it is decoded
        with Image.open(folder / name) as image:
            width, height = image.size
        if width < 1.5 * height:
            what = f"{name}, {width}x{height} pixels, is cut into a left and a right half, A and B"
            advice = "if these are single images, use ImageFolder, Colorization or Inpainting"
            warnings.warn(f"{what}: {advice}", stacklevel=2)


class _MadePairs(_Pairs, ImageFolder):
    """Base class of pairs that are made from single images: a folder of images, and changed copies of them.

    Args:
        folder: The folder: absolute, or below the current folder, or below ``root``.
        image_size: Height and width of the images in pixels.
        flip: Mirror training images horizontally with probability 1/2.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``.
        batch_size: Images a training batch and rank.
        **kwargs: Arguments of :class:`~lightning_gans.data.folder.ImageFolder`.
    """

    def __init__(
        self,
        folder: str,
        image_size: int = 256,
        flip: bool = True,
        interpolation: Interpolation = "bicubic",
        batch_size: int = 4,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            folder, image_size, interpolation=interpolation, flip=flip, batch_size=batch_size, **kwargs
        )
        self.input_shape = self.image_shape


class Colorization(_MadePairs):
    """Your own photographs without and with their colours, in batches ``(input, target)``.

    As in pix2pix, training images are mirrored but not cut.

    Args:
        direction: ``AtoB``: from grey to colour; ``BtoA``: from colour to grey.
        space: What is grey, and what is colour. ``rgb``: ITU-R 601 luma, ``0.299 R + 0.587 G + 0.114 B``, and
            the photograph. ``lab``, pix2pix's: the lightness L, one channel, and the axes a and b of CIE Lab,
            two channels (:func:`~lightning_gans.data.colour.rgb_to_lab`).
        **kwargs: ``folder``, ``image_size`` (256), ``flip`` (true), ``interpolation`` (bicubic),
            ``batch_size`` (4) and the other arguments of :class:`~lightning_gans.data.folder.ImageFolder`.

    Attributes:
        input_shape: (C, H, W) of the input; ``image_shape`` is the target's.
    """

    def __init__(
        self, folder: str, direction: Direction = "AtoB", space: Literal["rgb", "lab"] = "rgb", **kwargs: Any
    ) -> None:
        checks.one_of(get_args(Direction), direction=direction)
        checks.one_of(("rgb", "lab"), space=space)
        super().__init__(folder, channels=3, **kwargs)
        self.direction, self.space = direction, space
        shapes = [(channels, *self.image_shape[1:]) for channels in (1, 3 if space == "rgb" else 2)]
        self.input_shape, self.image_shape = shapes if direction == "AtoB" else shapes[::-1]

    def views(self) -> _PairViews:
        """Return the function that makes pairs from photographs."""
        return _PairViews(_grey if self.space == "rgb" else _lab, self.direction)

    def to_show(self, inputs: Tensor, images: Tensor) -> Tensor:
        """Return translations, or targets, of the inputs as pictures: those in Lab with their lightness."""
        if self.space == "rgb":
            return images
        return lab_to_rgb(*((inputs, images) if self.direction == "AtoB" else (images, inputs)))


class Inpainting(_MadePairs):
    """Your own images and copies with a hole, in batches ``(input, target)``.

    The hole is a square of mid grey (0 in [-1, 1]). In training its place changes in each epoch; in
    evaluation it is always the same. As in pix2pix, training images are mirrored but not cut.

    Args:
        hole: Side of the hole as a share of the image's.
        mask: Where the hole is: ``random`` or ``center``.
        **kwargs: ``folder``, ``image_size`` (256), ``flip`` (true), ``interpolation`` (bicubic),
            ``batch_size`` (4) and the other arguments of :class:`~lightning_gans.data.folder.ImageFolder`.

    Attributes:
        input_shape: (C, H, W) of the input; ``image_shape``, the target's, is the same.

    Raises:
        ValueError: If an argument does not fit.
    """

    def __init__(
        self, folder: str, hole: float = 0.5, mask: Literal["random", "center"] = "random", **kwargs: Any
    ) -> None:
        checks.within("(0, 1)", hole=hole)
        checks.one_of(("random", "center"), mask=mask)
        super().__init__(folder, **kwargs)
        self.hole, self.mask = hole, mask

    def views(self) -> _PairViews:
        """Return the function that makes pairs from images: copies with a hole and themselves."""
        random = self.mask == "random"
        return _PairViews(partial(_hole, self.hole, random), draws=2 if random else 0)


def _halves(channels_a: int, images: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Cut images (B, Ca + Cb, H, W) into A and B."""
    return images[:, :channels_a].contiguous(), images[:, channels_a:].contiguous()


def _grey(images: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Pair RGB images (B, 3, H, W) with their luma (B, 1, H, W)."""
    weights = images.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    # clamped, because rounding can give values slightly above 1
    return (images * weights).sum(1, keepdim=True).clamp_(-1, 1), images


def _lab(images: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Pair the lightness of RGB images (B, 3, H, W) with their colour (B, 2, H, W)."""
    return rgb_to_lab(images)


def _hole(share: float, random: bool, images: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Pair images (B, C, H, W) with copies in which a square is 0."""
    size = images.shape[-1]
    side = min(max(round(share * size), 1), size - 1)
    room = size - side
    if random:
        start = (draws * (room + 1)).long()
    else:
        start = torch.full((len(images), 2), room // 2, device=images.device)
    place = torch.arange(size, device=images.device) - start.unsqueeze(2)
    rows, columns = ((place >= 0) & (place < side)).unbind(1)
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0), images


def _find_split(folder: Path, split: Split) -> tuple[str, ...]:
    """Return the folder of a split's side-by-side files, or its folders of A and B; empty if it has none."""
    for layout in _LAYOUTS:
        parts = tuple(part.format(split) for part in layout)
        missing = [part for part in parts if not (folder / part).is_dir()]
        if not missing:
            return parts
        if len(missing) < len(parts):
            raise DataError(f"folder={folder}: {missing[0]} is missing, the other half of the {split} images")
    return ()


def _pairs(folder: Path, files: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """Return for each pair its one file, or its two files, which have the same name in two folders."""
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
