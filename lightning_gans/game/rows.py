"""Rows of the log, on the axis of generator updates."""

from collections.abc import Collection, Mapping

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor

NO_SCORES = ("_std", "_sd", "_error", "_sigma", "_classes")
"""What metrics say about their scores, of which no value is the best."""


def write_row(
    trainer: Trainer, row: Mapping[str, Tensor | float], update: int | None = None, bar: Collection[str] = ()
) -> dict[str, float]:
    """Write values to all loggers at a generator update, and show them to callbacks.

    ``LightningModule.log`` puts values at the number of batches, and looks them through again at every batch.
    Here they go straight to the loggers, which are flushed (a killed run keeps its rows), and into
    ``trainer.callback_metrics``, by which ``ModelCheckpoint`` and ``EarlyStopping`` decide. All ranks call
    this, with equal values.

    Args:
        trainer: Whose loggers.
        row: Values by full name, such as ``val/fid``.
        update: The generator update; ``trainer.global_step`` by default.
        bar: Names of the values that the progress bar shows.

    Returns:
        The values as plain numbers.
    """
    values = {name: float(value) for name, value in row.items()}
    if values:
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step if update is None else update)
            logger.save()
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        trainer.progress_bar_metrics.update({name: values[name] for name in bar if name in values})
    return values


def latest_scores(trainer: Trainer) -> dict[str, float]:
    """Return the latest score of each name of a fit, without those that say something about others."""
    return {
        name.removeprefix("val/"): float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("val/") and not name.endswith(("loss", *NO_SCORES))
    }


def update_of(trainer: Trainer) -> int:
    """Return the generator update of the weights; in ``validate`` and ``test`` that of their checkpoint."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def show_best(trainer: Trainer, higher_is_better: Mapping[str, bool]) -> None:
    """Have the table of runs of W&B show the best value of each of these names beside the last."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            for name, higher in higher_is_better.items():
                shown = "max,last" if higher else "min,last"
                logger.experiment.define_metric(name, step_metric="trainer/global_step", summary=shown)


def log_scores(module: LightningModule, row: Mapping[str, Tensor | float]) -> None:
    """Log what an evaluation found, at its end; all ranks call this, with equal values.

    While training the row stands at the generator update. ``validate`` and ``test`` have none: Lightning's
    own log prints the row there, and returns it to the caller.
    """
    if module.trainer.state.fn == "fit":
        write_row(module.trainer, row)
    else:
        module.log_dict(dict(row), sync_dist=True)
