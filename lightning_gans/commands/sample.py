"""Draw samples from a checkpoint into a picture, an .npz or a folder."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from lightning_gans import checks
from lightning_gans.data.base import free_memory
from lightning_gans.drawing.grids import image_grid, most_images
from lightning_gans.drawing.pixels import as_png, drawn_part
from lightning_gans.drawing.scatter import Scatter
from lightning_gans.files import write_folder, write_whole, written_whole
from lightning_gans.game.checkpoints import load
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.rejection import RejectionSampler
from lightning_gans.game.translation import TranslationGame
from lightning_gans.metrics.stream import LatentSamples, RejectedSamples, SampleStream

BATCH = 500
COLUMNS, WIDE = 8, 20
"""Columns of a grid, and the most that it gets so that each has one class."""


def sample(
    ckpt_path: str,
    out: str = "samples.png",
    n: int = 64,
    labels: int | list[int] | None = None,
    seed: int = 0,
    weights: Literal["ema", "raw"] = "ema",
    columns: int | None = None,
    device: str | None = None,
    replica: int = 0,
    rejection: float | None = None,
    rejected: bool = False,
    num_calibration: int = 50_000,
    trusted: tuple[str, ...] = (),
) -> None:
    """Draw samples from a trained generator.

    Args:
        ckpt_path: The checkpoint, or the folder of its run.
        out: Where the samples go. A ``.png``: one picture, a grid of images or a scatter plot of points. An
            ``.npz``: ``arr_0`` has uint8 images (n, height, width, channels), or float32 vectors (n, d). Any
            other name: a new folder, with a PNG for each image.
        n: Number of samples.
        labels: The classes of a conditional game: a number, ``3``, or several, ``[0,1,2]``, which come in
            turn. Default: all in turn.
        seed: The same seed gives the same samples.
        weights: Averaged weights (``ema``), if the checkpoint has some, or those of the last update
            (``raw``).
        columns: Images in a row of the grid. Default: 8, or as many as give each column one class.
        device: The device, such as ``cpu`` or ``cuda``. Default: a GPU if there is one.
        replica: Which game, of a run that trained several.
        rejection: Only samples that the discriminator accepts, by rejection sampling: the quantile p, in
            (0, 1), of its log density ratios above which all are accepted. Higher is stricter.
        rejected: With ``rejection``: only samples that are not accepted, to look at them.
        num_calibration: With ``rejection``: samples that the quantile is measured on.
        trusted: Modules whose classes the checkpoint may name; once for each.

    Raises:
        ValueError: If an argument is out of range, a folder is not empty, vectors are to be written as single
            pictures, a sample is not finite, or the game's samples cannot be rejected.
        OSError: If ``out`` cannot be written.
    """
    checks.at_least(1, n=n, columns=columns, num_calibration=num_calibration)
    checks.seed(seed=seed)
    checks.within("(0, 1)", rejection=rejection)
    if rejected and rejection is None:
        raise ValueError("rejected=True: say how strictly, by --rejection 0.5")
    place = checks.device(device)
    kind = Path(out).suffix.lower()
    if kind not in ("", ".png", ".npz"):
        raise ValueError(f"out={out}: give a .png, an .npz or a folder, whose name has no dot")
    if kind:
        checks.writable_file(out=out)
    else:
        checks.empty_folder(out=out)

    game = latent_game(ckpt_path, replica, trusted)
    classes = chosen_classes(game, labels)
    note = drawn_part(game.image_shape) if kind == ".png" else ""
    _check_size(game, n, out, kind)
    if columns is None:
        columns = len(classes) * max(1, COLUMNS // len(classes)) if 1 < len(classes) <= WIDE else COLUMNS
    averaged = weights == "ema"
    stream: SampleStream = LatentSamples(game.to(place), n, averaged, seed, classes)
    if rejection is not None:
        sampler = RejectionSampler(game, rejection, num_calibration=num_calibration, ema=averaged, seed=seed)
        stream = RejectedSamples(sampler, n, seed, classes, rejected)
        rates = sampler.class_acceptance
        accepted = sampler.acceptance if rates is None else float(rates[classes].mean())
        share, what = abs(rejected - accepted), "rejected" if rejected else "accepted"
        note += f", of the {share:.1%} that are {what}"
    batches = (batch.values.cpu() for batch in stream.batches(range(n), BATCH))
    if not kind:
        files = (as_png(image) for batch in batches for image in batch)
        write_folder(out, ((f"{i:06d}.png", file) for i, file in enumerate(files)), n)
    elif kind == ".npz":
        samples = torch.cat(list(batches))
        array = samples.permute(0, 2, 3, 1) if samples.ndim == 4 else samples
        with written_whole(out) as part, part.open("wb") as opened:
            np.savez_compressed(opened, arr_0=array.numpy())
    elif len(game.image_shape) == 1:
        points = torch.cat(list(batches))
        plot = Scatter(points, real=False, landscape=False)
        write_whole(out, as_png(plot.draw(points, f"{n:,} samples{note}")))
    else:
        write_whole(out, as_png(image_grid(torch.cat(list(batches)), columns)))
    print(f"{n:,} samples{note}: {out}")


def latent_game(ckpt_path: str, replica: int, trusted: tuple[str, ...]) -> LatentGame:
    """Load a game whose generator starts from latents; of several replicas one.

    Raises:
        ValueError: If the checkpoint is of another kind of game, or has no such replica.
    """
    game = load(ckpt_path, trusted=trusted)
    if not isinstance(game, LatentGame):
        way = ": use translate" if isinstance(game, TranslationGame) else ""
        raise ValueError(f"ckpt_path={ckpt_path}: a {type(game).__name__} has no latent to sample from{way}")
    return game.replica(replica)


def chosen_classes(game: LatentGame, labels: int | Sequence[int] | None) -> list[int]:
    """Return the classes to draw from in turn; none if the game does not know classes.

    Raises:
        ValueError: If they are not the game's.
    """
    if not game.conditional:
        if labels is not None:
            raise ValueError(f"labels={labels}: a {type(game).__name__} has no classes, leave them out")
        return []
    assert game.num_classes is not None
    if labels is None:
        return list(range(game.num_classes))
    chosen = [labels] if isinstance(labels, int) else list(labels)
    if not chosen:
        raise ValueError(f"labels={labels}: give at least one class, 0 to {game.num_classes - 1}")
    checks.labels(game.num_classes, labels=torch.tensor(chosen))
    return chosen


def _check_size(game: LatentGame, n: int, out: str, kind: str) -> None:
    """Refuse before any work what cannot be written, held in memory or looked at.

    Raises:
        ValueError: If so.
    """
    shape = game.image_shape
    if not kind and len(shape) == 1:
        raise ValueError(f"out={out}: vectors are no pictures, give a .png (scatter plot) or an .npz")
    if not kind and shape[0] > 4:
        raise ValueError(f"out={out}: a PNG has at most 4 channels, and not {shape[0]}, give an .npz")
    if kind == ".png" and shape == (1,):
        raise ValueError(f"out={out}: numbers of one dimension make no scatter plot, give an .npz")
    if kind == ".png" and len(shape) == 3 and n > (most := most_images(shape)):
        raise ValueError(f"n={n}: too large a picture, give at most {most:,}, or write an .npz or a folder")
    size = math.prod(shape) * (1 if len(shape) == 3 else 4)
    held = n * (4 * game.latent.dim + (2 * size if kind else 0))
    if held > (free := free_memory()):
        raise ValueError(
            f"n={n}: {held / 2**30:,.1f} GiB of memory are needed and {free / 2**30:,.1f} free: "
            "draw fewer at a time, each with another seed"
        )
