"""Checkpoints from which a killed run goes on exactly."""

import os
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

CLOCK = 10  # updates between two looks at the clock, which all ranks take together


class Checkpoint(ModelCheckpoint):
    """Keep ``last.ckpt``, rewritten every so many generator updates or minutes, and at the end of training.

    The file is complete at every moment: it is written beside its place and then moved there. Add Lightning's
    ``ModelCheckpoint`` for checkpoints by a metric.

    Args:
        every_n_updates: Generator updates between two checkpoints; counted by crossing, so that several
            updates in one batch do not miss one.
        every_n_minutes: Write one also when so much time has passed since the last.
        dirpath: Where; the folder ``checkpoints`` of the run by default.

    Raises:
        ValueError: If an interval is not positive.
    """

    def __init__(
        self, every_n_updates: int = 1000, every_n_minutes: float | None = None, dirpath: str | None = None
    ) -> None:
        if every_n_updates < 1:
            raise ValueError(f"every_n_updates={every_n_updates} is no interval: give 1 or more")
        if every_n_minutes is not None and every_n_minutes <= 0:
            raise ValueError(f"every_n_minutes={every_n_minutes} is no interval: give a positive number")
        super().__init__(
            dirpath=dirpath,
            save_last=True,
            save_top_k=0,
            every_n_train_steps=every_n_updates,
            enable_version_counter=False,
            auto_insert_metric_name=False,
        )
        self.every_n_updates = every_n_updates
        self.every_n_minutes = every_n_minutes
        self._saved_at = 0
        self._saved_when = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from where the run starts."""
        self._saved_at, self._saved_when = trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if an interval has passed, or if this was the last update."""
        update = trainer.global_step
        if update == self._saved_at:
            return
        due = update // self.every_n_updates > self._saved_at // self.every_n_updates
        due = due or 0 <= trainer.max_steps <= update
        if not due and self.every_n_minutes is not None and update % CLOCK == 0:
            due = time.monotonic() - self._saved_when > 60 * self.every_n_minutes
            due = trainer.strategy.broadcast(due)  # all ranks save together
        if due:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Epochs are no measure here."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation is no measure here."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last update of a run that ended by epochs, time or early stopping."""
        if trainer.global_step != self._saved_at:
            self._save(trainer)

    def save_interrupted(self, trainer: Trainer) -> Path | None:
        """Save a run that a signal ends; return where its state is."""
        if trainer.global_step != self._saved_at:
            self._save(trainer)
        return Path(self._last_checkpoint_saved) if self._last_checkpoint_saved else None

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._saved_at, self._saved_when = trainer.global_step, time.monotonic()
        self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        part = f"{filepath}.part"
        trainer.save_checkpoint(part, self.save_weights_only)
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath
        if trainer.is_global_zero:
            with Path(part).open("rb") as file:
                os.fsync(file.fileno())
            Path(part).replace(filepath)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)
