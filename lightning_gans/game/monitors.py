"""Callbacks that go by a metric, ``EarlyStopping`` and ``ModelCheckpoint``: is it logged at all?"""

import warnings

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_gans.checks import suggestion

Monitor = EarlyStopping | ModelCheckpoint


def monitors(trainer: Trainer) -> list[Monitor]:
    """Return the callbacks that go by a metric."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return [c for c in callbacks if isinstance(c, EarlyStopping | ModelCheckpoint) and c.monitor is not None]


def unlogged(trainer: Trainer) -> dict[Monitor, str]:
    """Return the callbacks whose metric was never logged, each with the line that says so."""
    logged = trainer.callback_metrics
    return {
        callback: f"{type(callback).__name__}: monitor={callback.monitor} was not logged up to update "
        f"{trainer.global_step}: {suggestion(callback.monitor, sorted(logged))}"
        for callback in monitors(trainer)
        if callback.monitor not in logged
    }


def check_monitors(trainer: Trainer) -> None:
    """Refuse a ``ModelCheckpoint`` that had to save by a metric which was never logged.

    In runs with validation Lightning does so; in others it goes on and saves nothing.

    Raises:
        ValueError: If there is one.
    """
    if any(trainer.num_val_batches):
        return
    for callback, line in unlogged(trainer).items():
        if isinstance(callback, ModelCheckpoint):
            updates, epochs = callback._every_n_train_steps, callback._every_n_epochs
            if 0 < updates <= trainer.global_step or 0 < epochs <= trainer.current_epoch:
                raise ValueError(line)


def warn_of_monitors(trainer: Trainer) -> None:
    """Warn at the end of a run of callbacks whose metric was never logged."""
    for line in unlogged(trainer).values():
        warnings.warn(line, stacklevel=2)
