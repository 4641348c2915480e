"""Translate images with a trained game from images to images, a PNG each."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, product
from math import ceil, isqrt, lcm, prod
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import to_pil_image
from tqdm import tqdm

from lightning_gans import checks
from lightning_gans.commands.main import memory_is_full
from lightning_gans.data.base import free_memory
from lightning_gans.data.colour import lab_to_rgb, rgb_to_lab
from lightning_gans.data.decode import (
    DamagedImage,
    Decoder,
    Interpolation,
    open_image,
    stored_size,
    to_channels,
)
from lightning_gans.data.folder import list_images
from lightning_gans.drawing.grids import SHOWN, captioned_pair, in_rows
from lightning_gans.drawing.pixels import as_png, png_in_strips, to_bytes
from lightning_gans.drawing.tiles import in_tiles, tile_starts
from lightning_gans.files import write_folder, write_whole
from lightning_gans.game.checkpoints import load
from lightning_gans.game.reference import load_reference
from lightning_gans.game.shared_norm import SharedNorm
from lightning_gans.game.translation import PIXELS, TranslationGame
from lightning_gans.models.pix2pix import Pix2Pix
from lightning_gans.networks.base import Translator

AHEAD, THREADS = 16, 4
"""Images that are read before their turn, if they are no larger than a tile, and who reads and packs them."""
PATCH = 256
"""Side of the parts of a large image by which all of its tiles are normalised."""
LAB = (1, 2)
"""Channels of a game that finds the colours a and b for a lightness L: its translations are in colour."""
ON_A_SHEET, COLUMNS = 16, 4


def translate(
    ckpt_path: str,
    input: list[str] | str,
    output: str = "translations",
    direction: Literal["AtoB", "BtoA"] = "AtoB",
    size: int | None = None,
    aspect: Literal["squash", "crop", "keep"] = "squash",
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic",
    half: Literal["left", "right"] | None = None,
    tile: int = 1024,
    overlap: int | None = None,
    sheets: str | None = None,
    overwrite: bool = False,
    weights: Literal["ema", "raw"] = "ema",
    deterministic: bool = False,
    seed: int = 0,
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
    device: str | None = None,
    trusted: tuple[str, ...] = (),
) -> None:
    """Translate images with a trained game from images to images.

    Each image is translated at its own size, unless ``size`` is given: it is continued by reflection to the
    next size that the generator takes, and the translation is cut back. A game of lightness and colour (Lab)
    gets the lightness of the images.

    Args:
        ckpt_path: The checkpoint, or the folder of its run; or a generator of the authors' PyTorch code, a
            file such as ``latest_net_G.pth``.
        input: A folder of images, a file, or a list of them: ``[a.png, b.jpg]``. They are converted to the
            channels of the game's inputs.
        output: A new folder for the translations, ``<name>.png`` each, in subfolders as the inputs are.
        direction: ``AtoB`` from inputs to targets, as the game was trained; ``BtoA`` the other way, for games
            that learn both.
        size: Images are resized to so many pixels first, such as the size of training, which is the papers'
            protocol. Default: they are not.
        aspect: With ``size``: images that are not square are resized whole to a square (squash), by their
            central square (crop), or to the width ``size`` in their proportions (keep).
        interpolation: With ``size``: how images are resized.
        half: Only this half of each image, ``left`` or ``right``, of files that hold pairs side by side.
        tile: Images of more than ``tile`` times ``tile`` pixels are translated in tiles of this side, whose
            seams are blended. All are normalised alike, by parts from all over the image.
        overlap: Pixels that neighbouring tiles share, or more. Default: an eighth of a tile.
        sheets: A new folder for pictures in which translations stand beside their inputs, 16 on each.
        overwrite: Write into folders that are not empty; files of the same name are replaced.
        weights: Averaged weights (``ema``), if the checkpoint has some, or those of the last update
            (``raw``).
        deterministic: Without the noise and the batch statistics of training, if the game uses them in tests.
        seed: The same seed gives the same translations.
        precision: ``32-true``, or ``bf16-mixed``, which is faster on devices made for it.
        device: The device, such as ``cpu`` or ``cuda``. Default: a GPU if there is one.
        trusted: Modules whose classes the checkpoint may name; once for each.

    Raises:
        ValueError: If the game translates no images or not in this direction, there are no images, two would
            get the same name, one is damaged, a folder is not empty or holds the inputs, or an argument is
            out of range.
        OSError: If there is no such file or folder, or a folder cannot be written.
    """
    checks.at_least(1, size=size, tile=tile)
    checks.at_least(0, overlap=overlap)
    checks.seed(seed=seed)
    if size is None and (aspect, interpolation) != ("squash", "bicubic"):
        raise ValueError(
            f"aspect={aspect}, interpolation={interpolation}: without size images are not resized, give one"
        )
    place = checks.device(device)
    checks.empty_folder(overwrite, output=output, sheets=sheets)
    inputs = [Path(path) for path in ([input] if isinstance(input, str) else input)]
    names = _names(inputs)
    looks = [f"sheet_{i:04d}.png" for i in range(ceil(len(names) / ON_A_SHEET))] if sheets else []
    drawn = _Sheets([Path(sheets or "", name) for name in looks])
    written = [*(Path(output, name) for name in names), *drawn.paths]
    _keep_inputs(inputs, names.values(), {"output": output, "sheets": sheets}, written)

    game = _game(ckpt_path, trusted)
    if direction not in game.directions:
        raise ValueError(
            f"direction={direction}: a {type(game).__name__} translates one way, the one that it was trained "
            "for: leave direction out"
        )
    channels, made = game.channels(direction)
    lab = (channels, made) == LAB
    if not lab and (channels not in (1, 3) or made not in (1, 3)):
        raise ValueError(
            f"ckpt_path={ckpt_path}: from {channels} to {made} channels, and image files have 1 or 3: use "
            "translate() in Python"
        )
    channels = 3 if lab else channels
    generator = getattr(game, game.generators[direction], None)
    multiple = lcm(getattr(generator, "size_multiple", 1), getattr(generator, "smallest", 1))
    tile = max(1, tile // multiple) * multiple
    overlap = tile // 8 if overlap is None else overlap
    tile_starts(2 * tile, tile, overlap, multiple)  # which refuses tiles that are too small

    read = _Reader(channels, half, size, aspect, interpolation)
    ema = weights == "ema"
    run = _Run(
        game.to(place), channels, direction, ema, deterministic, seed, precision, multiple, tile, overlap
    )
    with (
        _any_size(),
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(names), desc="translating", unit=" images", delay=1, leave=False) as bar,
    ):
        write_folder(output, _files(pool, _read(pool, read, names), run, drawn, bar), len(names))
    print(f"{len(names):,} translations: {output}" + (f", beside their inputs: {sheets}" if sheets else ""))


@dataclass(frozen=True)
class _Item:
    """An image that was read: its place among all, the name of its translation, its file, its pixels."""

    number: int
    name: str
    file: Path
    image: Image.Image


@dataclass(frozen=True)
class _Reader:
    """Reads images as they are to be translated; in any mode, at their own size unless there is another."""

    channels: int
    half: str | None
    size: int | None
    aspect: Literal["squash", "crop", "keep"]
    interpolation: Interpolation

    def __call__(self, file: Path, most: int | None = None) -> Image.Image | None:
        """Read an image, unless it has more than so many pixels.

        Raises:
            DamagedImage: If it is damaged, or takes more memory than is free.
        """
        pixels, needed = stored_size(file)
        if most is not None and pixels > most:
            return None
        if needed > (free := free_memory()):
            raise DamagedImage(
                f"{file}: its pixels need {needed / 2**30:,.1f} GiB of memory and {free / 2**30:,.1f} are "
                "free: cut it into several files"
            )
        image = open_image(file, str(file))
        if self.half is not None:
            middle = max(1, image.width // 2)
            left, right = (0, middle) if self.half == "left" else (middle, 2 * middle)
            image = image.crop((left, 0, right, image.height))
        if self.size is None:
            return image
        if self.aspect != "keep":
            decode = Decoder(self.channels, self.size, aspect=self.aspect, interpolation=self.interpolation)
            return decode.picture(image, str(file))
        height = max(1, round(self.size * image.height / image.width))
        how = Image.Resampling[self.interpolation.upper()]
        return to_channels(image, self.channels, str(file)).resize((self.size, height), how)


@dataclass(frozen=True)
class _Run:
    """Translates images of any size to uint8."""

    game: TranslationGame
    channels: int  # of the images that are read
    direction: str
    ema: bool
    deterministic: bool
    seed: int
    precision: str
    multiple: int  # what heights and widths must be divisible by
    tile: int
    overlap: int

    def padded(self, image: Image.Image) -> tuple[int, int]:
        """Return the height and width that the generator gets."""
        height, width = (ceil(side / self.multiple) * self.multiple for side in (image.height, image.width))
        return height, width

    def is_large(self, image: Image.Image) -> bool:
        """Tell whether an image is translated in tiles."""
        return prod(self.padded(image)) > self.tile**2

    def together(self, batch: Sequence[_Item]) -> list[Tensor]:
        """Translate images of one padded size; return uint8 (C, height, width) of each."""
        size = self.padded(batch[0].image)
        made = self._translate(np.stack([self._part(item, 0, 0, *size) for item in batch]), batch[0])
        taller, wider = (side / given for side, given in zip(made.shape[2:], size, strict=True))
        return [
            to_bytes(image[:, : round(item.image.height * taller), : round(item.image.width * wider)])
            for item, image in zip(batch, made, strict=True)
        ]

    def in_strips(self, item: _Item) -> Iterator[Tensor]:
        """Translate an image in tiles; yield uint8 (C, rows, width) from top to bottom."""
        height, width = item.image.height, item.image.width
        sides = [
            tile_starts(side, self.tile, self.overlap, self.multiple) for side in self.padded(item.image)
        ]
        tiles = prod(map(len, sides))
        with tqdm(total=tiles, desc=item.name, unit=" tiles", delay=1, leave=False) as bar:
            norm = SharedNorm()
            for samples in self._samples(item):
                with norm.measured() as found:
                    self._translate(samples, item)
                if not found:  # it does not normalise by image
                    break

            def translate(pixels: NDArray[np.uint8]) -> Tensor:
                bar.update()
                with norm.used():
                    image = self._translate(pixels[None], item, noise=bar.n)[0]
                if image.shape[1:] != pixels.shape[1:]:
                    raise ValueError(f"{item.file}: this generator changes sizes, raise tile={self.tile}")
                return image

            read = partial(self._part, item)
            for strip in in_tiles(read, translate, height, width, self.tile, self.overlap, self.multiple):
                yield to_bytes(strip)

    def _samples(self, item: _Item) -> Iterator[NDArray[np.uint8]]:
        """Yield parts from all over an image, (n, C, side, side), which go through at once; up to 4 times."""
        side = ceil(PATCH / self.multiple) * self.multiple
        rows = max(1, isqrt(PIXELS) // side)
        tops, lefts = (
            np.linspace(0, max(0, length - side), 2 * rows).astype(int).tolist()
            for length in (item.image.height, item.image.width)
        )
        for i, j in islice(np.ndindex(2, 2), ceil(item.image.height * item.image.width / PIXELS)):
            places = product(tops[i::2], lefts[j::2])
            yield np.stack([self._part(item, top, left, side, side) for top, left in places])

    def _part(self, item: _Item, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """Return a part of an image, (C, height, width), continued by reflection beyond its end."""
        image = item.image
        box = (left, top, min(left + width, image.width), min(top + height, image.height))
        part = np.asarray(to_channels(image.crop(box), self.channels, str(item.file)))
        part = part.reshape(*part.shape[:2], self.channels)
        missing = ((0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0))
        return np.pad(part, missing, mode="reflect").transpose(2, 0, 1)

    def _translate(self, pixels: NDArray[np.uint8], item: _Item, noise: int = 0) -> Tensor:
        inputs = torch.from_numpy(pixels).float() / 127.5 - 1
        lab = self.game.channels(self.direction) == LAB
        inputs = rgb_to_lab(inputs)[0] if lab else inputs
        seed = self.seed + item.number + (noise << 40)  # of the first; what follows counts on
        place = self.game.device.type
        try:
            with torch.autocast(place, torch.bfloat16, enabled=self.precision == "bf16-mixed"):
                images = self.game.translate(inputs, self.ema, self.deterministic, self.direction, seed).cpu()
        except RuntimeError as error:
            if memory_is_full(error):
                raise MemoryError(f"{item.file}: lower tile={self.tile}") from error
            (height, width), game = inputs.shape[2:], self.game
            trained = game.input_shape if self.direction == "AtoB" else game.image_shape
            raise ValueError(
                f"{item.file}: the generator fails at {width}x{height} pixels, give --size {trained[1]}, "
                f"which it was trained at ({checks.first_line(error)})"
            ) from error
        if not images.isfinite().all():
            raise ValueError(f"{item.file}: the translation is not finite: the generator has diverged")
        return lab_to_rgb(inputs, images) if lab else images


@dataclass
class _Sheets:
    """Pictures in which translations stand beside their inputs, as small as they must be."""

    paths: list[Path]
    pairs: list[Image.Image] = field(default_factory=list)

    def add(self, item: _Item, translation: Tensor) -> None:
        """Draw a translation, uint8 (C, height, width), beside its input; write the sheet when it is full."""
        if self.paths:
            self.pairs.append(captioned_pair(item.image, to_pil_image(translation), item.name))
            if len(self.pairs) == ON_A_SHEET:
                self.save()

    def watching(self, item: _Item, strips: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield the strips of a translation, and draw it too."""
        shrunk = []
        for strip in strips:
            yield strip
            size = [max(1, side * SHOWN // max(item.image.size)) for side in strip.shape[1:]]
            shrunk.append(interpolate(strip[None].float(), size, mode="area")[0].byte())
        self.add(item, torch.cat(shrunk, 1))

    def save(self) -> None:
        """Write the sheet, if there is something on it."""
        if self.pairs:
            write_whole(self.paths.pop(0), as_png(in_rows(self.pairs, COLUMNS)))
            self.pairs.clear()


def _files(
    pool: ThreadPoolExecutor, images: Iterable[_Item], run: _Run, drawn: _Sheets, bar: tqdm
) -> Iterator[tuple[str, bytes | Iterator[bytes]]]:
    """Translate images; yield the name and the content of each file, and write the sheets meanwhile."""
    for batch in _batches(images, run):
        if run.is_large(batch[0].image):
            item, (width, height) = batch[0], batch[0].image.size
            yield item.name, png_in_strips(drawn.watching(item, run.in_strips(item)), height, width)
        else:
            translations = run.together(batch)
            pngs = pool.map(as_png, translations)
            for item, translation, png in zip(batch, translations, pngs, strict=True):
                drawn.add(item, translation)
                yield item.name, png
        bar.update(len(batch))
    drawn.save()


def _keep_inputs(
    inputs: Sequence[Path], files: Iterable[Path], folders: dict[str, str | None], written: Sequence[Path]
) -> None:
    """Refuse to write among the inputs, or one file over another.

    Args:
        inputs: What was given.
        files: The images.
        folders: The folders that are written to, by the names of the arguments.
        written: The files that are written.

    Raises:
        ValueError: If a folder lies in an input, two files have one path, or one is an input.
    """
    for name, folder in folders.items():
        for path in inputs:
            if folder and path.is_dir() and Path(folder).resolve().is_relative_to(path.resolve()):
                raise ValueError(f"{name}={folder} lies in input={path}: give a folder elsewhere")
    own = {(found.st_dev, found.st_ino) for file in files if file.exists() and (found := file.stat())}
    seen = set()
    for file in written:
        place = file.parent.resolve() / file.name
        if place in seen:
            raise ValueError(f"output, sheets: {file} would be a translation and a sheet: give other folders")
        seen.add(place)
        if file.exists() and ((found := file.stat()).st_dev, found.st_ino) in own:
            raise ValueError(f"{file} is one of the inputs and would be overwritten: give another folder")


def _game(ckpt_path: str, trusted: Sequence[str]) -> TranslationGame:
    """Return the game of a checkpoint, or one that plays with a generator of the authors' code.

    Raises:
        ValueError: If it translates no images.
    """
    if Path(ckpt_path).suffix == ".pth":
        network = load_reference(ckpt_path)
        if not isinstance(network, Translator):
            raise ValueError(f"ckpt_path={ckpt_path} holds a discriminator: give a generator, net_G")
        # Their test too normalises by each image and leaves dropout on.
        return Pix2Pix(network.input_shape, network.image_shape, generator=network, lambda_gan=0).eval()
    game = load(ckpt_path, trusted=trusted)
    if not isinstance(game, TranslationGame):
        raise ValueError(f"ckpt_path={ckpt_path}: a {type(game).__name__} translates no images, see sample")
    return game


@contextmanager
def _any_size() -> Iterator[None]:
    """Let Pillow read images of any size: what fits in memory is told by :class:`_Reader`."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _read(pool: ThreadPoolExecutor, read: _Reader, names: dict[str, Path]) -> Iterator[_Item]:
    """Read images, small ones ahead of their turn, large ones one by one."""
    waiting: deque[tuple[int, str, Path, Future[Image.Image | None]]] = deque()
    left = enumerate(names.items())
    while True:
        for number, (name, file) in islice(left, AHEAD - len(waiting)):
            waiting.append((number, name, file, pool.submit(read, file, PIXELS)))
        if not waiting:
            return
        number, name, file, early = waiting.popleft()
        image = early.result()
        if image is None:
            image = read(file)
        assert image is not None
        yield _Item(number, name, file, image)


def _batches(items: Iterable[_Item], run: _Run) -> Iterator[list[_Item]]:
    """Put images together that follow each other and have one padded size; large ones stay alone."""
    batch: list[_Item] = []
    for item in items:
        size = run.padded(item.image)
        fits = not run.is_large(item.image) and (len(batch) + 1) * prod(size) <= PIXELS
        if batch and not (fits and size == run.padded(batch[0].image)):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _names(given: Sequence[Path]) -> dict[str, Path]:
    """Return the path of each input by the name of its translation.

    Raises:
        ValueError: If a folder has no images, or two translations would go to the same file.
        FileNotFoundError: If there is no such file or folder.
    """
    found: dict[str, Path] = {}
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"input={path} is neither a file nor a folder")
        folder, names = (path, list_images(path, path)) if path.is_dir() else (path.parent, [path.name])
        for name in names:
            own = str(Path(name).with_suffix(".png"))
            if own in found:
                raise ValueError(f"input: {found[own]} and {folder / name} would both become {own}")
            found[own] = folder / name
    if not found:
        raise ValueError("input=[]: give a folder of images, a file, or a list of them")
    return found
