"""Translate images with a trained game from images to images, a PNG each."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch

from lightning_gans import checks
from lightning_gans.data.decode import Decoder, open_image
from lightning_gans.data.folder import list_images
from lightning_gans.drawing.pixels import as_png, as_stored
from lightning_gans.files import write_folder
from lightning_gans.game.checkpoints import load
from lightning_gans.game.translation import TranslationGame

BATCH = 16


def translate(
    ckpt_path: str,
    input: list[str] | str,
    out: str = "translations",
    weights: Literal["ema", "raw"] = "ema",
    aspect: Literal["crop", "squash"] = "squash",
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic",
    device: str | None = None,
    trusted: tuple[str, ...] = (),
) -> None:
    """Translate images with a trained game from images to images.

    Args:
        ckpt_path: The checkpoint, or the folder of its run.
        input: A folder of images, a file, or a list of them: ``[a.png, b.jpg]``. They are brought to the
            size and the channels of the game's inputs.
        out: A new folder for the translations, ``<name>.png`` each, in subfolders as the inputs are.
        weights: Averaged weights (``ema``), if the checkpoint has some, or those of the last update
            (``raw``).
        aspect: What happens to images that are not square: resized whole (squash), or their central square
            (crop); as with the data that the game was trained on.
        interpolation: How inputs are resized.
        device: The device, such as ``cpu`` or ``cuda``. Default: a GPU if there is one.
        trusted: Modules whose classes the checkpoint may name; once for each.

    Raises:
        ValueError: If the game translates no images, there are no images, two would get the same name, one is
            damaged, or the folder is not empty.
        OSError: If there is no such file or folder, or ``out`` cannot be written.
    """
    place = checks.device(device)
    checks.empty_folder(out=out)
    names = _names([input] if isinstance(input, str) else input)
    game = load(ckpt_path, trusted=trusted)
    if not isinstance(game, TranslationGame):
        raise ValueError(f"ckpt_path={ckpt_path}: a {type(game).__name__} translates no images, see sample")
    channels, height, width = game.input_shape
    if height != width:
        raise ValueError(f"ckpt_path={ckpt_path}: inputs of {height}x{width} pixels, and not square ones")
    decode = Decoder(channels, height, aspect=aspect, interpolation=interpolation)
    if game.image_shape[0] > 4:
        raise ValueError(f"ckpt_path={ckpt_path}: a PNG has at most 4 channels, not {game.image_shape[0]}")
    game.to(place)

    def files() -> Iterator[tuple[str, bytes]]:
        for start in range(0, len(names), BATCH):
            part = list(names.items())[start : start + BATCH]
            pixels = [decode(open_image(source, str(source)), str(source)) for _, source in part]
            images = game.translate(torch.stack(pixels) / 127.5 - 1, ema=weights == "ema").cpu()
            for (name, _), image in zip(part, as_stored(images, start), strict=True):
                yield name, as_png(image)

    write_folder(out, files(), len(names))
    print(f"{len(names):,} translations: {out}")


def _names(given: Sequence[str]) -> dict[str, Path]:
    """Return the path of each input by the name of its translation.

    Raises:
        ValueError: If a folder has no images, or two translations would go to the same file.
        FileNotFoundError: If there is no such file or folder.
    """
    found: dict[str, Path] = {}
    for path in map(Path, given):
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
