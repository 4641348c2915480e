"""Draw samples from a checkpoint into a picture, an .npz or a folder."""

from pathlib import Path
from typing import Literal

import numpy as np
from torchvision.transforms.functional import to_pil_image

from lightning_gans import checks
from lightning_gans.commands.parsing import call
from lightning_gans.drawing.grids import image_grid
from lightning_gans.drawing.pixels import as_stored
from lightning_gans.drawing.scatter import Scatter
from lightning_gans.files import written_whole
from lightning_gans.game.checkpoints import load
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.translation import TranslationGame


def run(arguments: list[str]) -> None:
    """Run ``sample`` with arguments from the command line."""
    call(sample, arguments)


def sample(
    ckpt_path: str,
    out: str = "samples.png",
    n: int = 64,
    seed: int = 0,
    weights: Literal["ema", "raw"] = "ema",
    columns: int = 8,
    trusted: tuple[str, ...] = (),
) -> None:
    """Draw samples from a trained generator.

    Args:
        ckpt_path: The checkpoint, or the folder of its run.
        out: The file or folder to write: a ``.png`` (one grid; a scatter plot for 2-D data), an ``.npz``
            (``arr_0``: uint8 images (n, height, width, channels), or float32 vectors (n, d)), or a folder (a
            PNG a sample).
        n: Number of samples.
        seed: The same seed gives the same samples.
        weights: Averaged weights, if the checkpoint has some, or those of the last update.
        columns: Columns of the grid.
        trusted: Modules whose classes the checkpoint may name; once for each.

    Raises:
        ValueError: If an argument is out of range, vectors are to be written as single pictures, or a sample
            is not finite.
    """
    checks.at_least(1, n=n, columns=columns)
    path = Path(out)
    if path.suffix not in ("", ".png", ".npz"):
        raise ValueError(f"out={out}: give a .png, an .npz or a folder")

    game = load(ckpt_path, trusted=trusted)
    if not isinstance(game, LatentGame):
        way = ": use translate" if isinstance(game, TranslationGame) else ""
        raise ValueError(f"ckpt_path={ckpt_path}: a {type(game).__name__} has no latent to sample from{way}")
    images = game.sample(n, ema=weights == "ema", seed=seed)
    stored = as_stored(images)
    vectors = images.ndim == 2
    if path.suffix == ".npz":
        array = stored if vectors else stored.permute(0, 2, 3, 1)
        with written_whole(path) as part, part.open("wb") as file:
            np.savez_compressed(file, arr_0=array.numpy())
    elif path.suffix == ".png":
        scatter = Scatter(images, real=False) if vectors else None
        picture = scatter.draw(images, f"{n} samples") if scatter else image_grid(images, columns)
        with written_whole(path) as part:
            picture.save(part, "PNG")
    elif vectors:
        raise ValueError(f"out={out}: vectors are no pictures, give a .png (scatter plot) or an .npz")
    else:
        path.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(stored):
            to_pil_image(image).save(path / f"{i:06d}.png")
    print(f"{n} samples: {out}")
