"""Train classifiers on generated images, test them on real ones."""

from typing import Any

from lightning import LightningDataModule

import lightning_gans.data  # noqa: F401 - imported so that short names are known
from lightning_gans import checks
from lightning_gans.game.checkpoints import load
from lightning_gans.metrics import fitting_capacity as module


def fitting_capacity(
    ckpt_path: str,
    data: LightningDataModule,
    device: str | None = None,
    progress: bool = True,
    trusted: tuple[str, ...] = (),
    **options: Any,
) -> None:
    """Fitting capacity of a conditional game: the accuracy of classifiers trained on what it generates.

    A LeNet at 32 pixels, as in Mining GOLD Samples (arXiv 1910.09170).

    Args:
        ckpt_path: The game's checkpoint, or the folder of its run.
        data: Labelled data with a test split, of the same image size.
        device: The device, such as ``cpu`` or ``cuda``. Default: a GPU if there is one.
        progress: Show a progress bar.
        trusted: Modules whose classes the checkpoint may name; once for each.
        **options: Other arguments of :func:`lightning_gans.metrics.fitting_capacity.fitting_capacity`.
    """
    place = checks.device(device)
    # Its arguments are looked at before any file is read.
    module.Budget(**{name: value for name, value in options.items() if name not in ("weights", "cache")})
    game: Any = load(ckpt_path, trusted=trusted)
    print(module.fitting_capacity(game.to(place), data, progress=progress, **options))  # type: ignore[arg-type]
