"""Translate images with a trained game from images to images, a PNG each."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import ceil, lcm
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from tqdm import tqdm

from lightning_gans import checks
from lightning_gans.commands.main import memory_is_full
from lightning_gans.data.base import free_memory
from lightning_gans.data.decode import (
    DamagedImage,
    Decoder,
    Interpolation,
    look_at_image,
    open_image,
    to_channels,
)
from lightning_gans.data.folder import list_images
from lightning_gans.drawing.grids import beside_each_other, thumbnail
from lightning_gans.drawing.pixels import as_png, png_in_strips, to_bytes
from lightning_gans.drawing.tiles import in_tiles, tile_starts
from lightning_gans.files import write_folder, write_whole
from lightning_gans.game.checkpoints import load
from lightning_gans.game.translation import PIXELS, TranslationGame

AHEAD, THREADS = 16, 4
"""Images that are read before their turn, if they are no larger than a tile, and who reads and packs them."""
ON_A_SHEET = 16
Item = TypeVar("Item")
Result = TypeVar("Result")


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
    overlap: int = 128,
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
    next size that the generator takes, and the translation is cut back.

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
            seams are blended. A tile is normalised by what it shows: larger ones differ less.
        overlap: Pixels that neighbouring tiles share, or more.
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
    looks = [Path(sheets) / f"sheet_{i:04d}.png" for i in range(ceil(len(names) / ON_A_SHEET))] if sheets else []
    _keep_inputs(inputs, [*names.values()], output, [*names], sheets, looks)

    game = _game(ckpt_path, trusted)
    if direction not in game.directions:
        raise ValueError(
            f"direction={direction}: a {type(game).__name__} translates one way, the one that it was trained "
            "for: leave direction out"
        )
    channels, made = game.channels(direction)
    if made > 4:
        raise ValueError(f"ckpt_path={ckpt_path}: a PNG has at most 4 channels, not {made}")
    generator = getattr(game, game.generators[direction], None)
    multiple = lcm(getattr(generator, "size_multiple", 1), getattr(generator, "smallest", 1))
    tile = max(1, tile // multiple) * multiple
    tile_starts(2 * tile, tile, overlap, multiple)  # which refuses tiles that are too small

    read = _Reader(channels, tile**2, half, size, aspect, interpolation)
    run = _Run(game.to(place), direction, weights == "ema", deterministic, precision, seed, multiple, tile, overlap)
    sheet = _Sheets(looks)

    def files(pool: ThreadPoolExecutor, bar: tqdm) -> Iterator[tuple[str, bytes | Iterator[bytes]]]:
        images = _read(pool, read, names)
        for first, batch in _batches(images, run):
            if run.is_large(batch[0].image):
                (item,) = batch
                yield item.name, png_in_strips(sheet.seen(item, run.strips(first, item)), *item.image.size[::-1])
            else:
                translations = run.batch(first, batch)
                for item, translation, png in zip(batch, translations, pool.map(as_png, translations), strict=True):
                    sheet.add(item, translation)
                    yield item.name, png
            bar.update(len(batch))
