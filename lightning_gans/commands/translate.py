"""Translate images with a trained game from images to images, a PNG each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torchvision.transforms.functional import to_pil_image

from lightning_gans.commands.parsing import call
from lightning_gans.data.decode import Decoder, open_image
from lightning_gans.data.folder import list_images
from lightning_gans.drawing.pixels import as_stored
from lightning_gans.game.checkpoints import load
from lightning_gans.game.translation import TranslationGame

BATCH = 16


def run(arguments: list[str]) -> None:
    """Run ``translate`` with arguments from the command line."""
    call(translate, arguments)


def translate(
    ckpt_path: str,
    input: list[str] | str,
    out: str = "translations",
    weights: Literal["ema", "raw"] = "ema",
    aspect: Literal["crop", "squash"] = "squash",
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic",
    trusted: tuple[str, ...] = (),
) -> None:
    """Translate images with a trained game from images to images.

    Args:
        ckpt_path: The checkpoint, or the folder of its run.
        input: A folder of images, a file, or a list of them: ``[a.png, b.jpg]``. They are brought to the
            size and the channels of the game's inputs.
        out: The folder of the translations, ``<name>.png`` each, in subfolders as the inputs are.
        weights: Averaged weights, if the checkpoint has some, or those of the last update.
        aspect: What happens to images that are not square: resized whole (squash), or their central square
            (crop); as with the data that the game was trained on.
        interpolation: How inputs are resized.
        trusted: Modules whose classes the checkpoint may name; once for each.

    Raises:
        ValueError: If the game translates no images, there are no images, two would get the same name, or
            one is damaged.
        FileNotFoundError: If there is no such file or folder.
    """
    game = load(ckpt_path, trusted=trusted)
    if not isinstance(game, TranslationGame):
        raise ValueError(f"ckpt_path={ckpt_path}: a {type(game).__name__} translates no images, see sample")
    channels, height, width = game.input_shape
    if height != width:
        raise ValueError(f"ckpt_path={ckpt_path}: inputs of {height}x{width} pixels, and not square ones")
    decode = Decoder(channels, height, aspect=aspect, interpolation=interpolation)
    places = _places([input] if isinstance(input, str) else input, Path(out))
    game.to("cuda" if torch.cuda.is_available() else "cpu")
    for start in range(0, len(places), BATCH):
        part = list(places.items())[start : start + BATCH]
        pixels = [decode(open_image(source, str(source)), str(source)) for _, source in part]
        images = game.translate(torch.stack(pixels) / 127.5 - 1, ema=weights == "ema").cpu()
        for (place, _), image in zip(part, as_stored(images, start), strict=True):
            place.parent.mkdir(parents=True, exist_ok=True)
            to_pil_image(image).save(place)
    print(f"{len(places)} translations: {out}")


def _places(given: Sequence[str], out: Path) -> dict[Path, Path]:
    """Return the path of each input by the path of its translation.

    Raises:
        ValueError: If a folder has no images, or two translations would go to the same file.
        FileNotFoundError: If there is no such file or folder.
    """
    places: dict[Path, Path] = {}
    for path in map(Path, given):
        if not path.exists():
            raise FileNotFoundError(f"input={path} is neither a file nor a folder")
        folder, names = (path, list_images(path, path)) if path.is_dir() else (path.parent, [path.name])
        for name in names:
            place = (out / name).with_suffix(".png")
            if place in places:
                raise ValueError(f"input: {places[place]} and {folder / name} would both become {place}")
            places[place] = folder / name
    return places
