"""Checkpoints from which a killed run resumes exactly."""

import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gans import checks
from lightning_gans.callbacks.cadence import Cadence
from lightning_gans.files import remove_parts, written_whole

CLOCK = 10  # updates between two checks of the time, which all ranks make together


class Checkpoint(ModelCheckpoint):
    """Keep ``last.ckpt``, rewritten every so many generator updates or minutes, and at the end of training.

    The file is complete at every moment: it is written beside its place and then moved there. Beside it lies
    ``last.ckpt.lock`` until the run has reached its end: no other run can write there. Add Lightning's
    ``ModelCheckpoint`` for checkpoints by a metric.

    The last update of a run is saved before the pictures and scores that belong to its end. Weights that are
    not finite never replace those that are.

    Args:
        every_n_updates: Generator updates between two checkpoints; counted by crossing, so that several
            updates in one batch do not miss one.
        every_n_minutes: Write one also when so much time has passed since the last.
        dirpath: Where; the folder ``checkpoints`` of the run by default.

    Raises:
        ValueError: If an interval is not positive.
        FloatingPointError: When a checkpoint is due and a weight is not finite.
    """

    def __init__(
        self, every_n_updates: int = 1000, every_n_minutes: float | None = None, dirpath: str | None = None
    ) -> None:
        self.cadence = Cadence(every_n_updates)
        checks.positive(every_n_minutes=every_n_minutes)
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
        self._saved_at = (0, 0)
        self._saved_when = time.monotonic()
        self._lock: FileLock | None = None  # of the folder, on the first rank
        self._finished = False  # whether last.ckpt there is one of a run that has reached its end
        self._made_folder = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lock the folder, before any long work.

        Raises:
            ValueError: If it cannot be written, or another run writes its checkpoints there.
        """
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
                trainer.strategy.checkpoint_io = WholeCheckpointIO()
            self._refuse(trainer, self._lock_folder)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove what a run that was killed left half written.

        Raises:
            ValueError: If the folder has the checkpoint of another run.
        """
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._refuse(trainer, lambda: self._tidy_folder(trainer.ckpt_path))

    def _refuse(self, trainer: Trainer, check: Callable[[], str]) -> None:
        reason = check() if trainer.is_global_zero else ""
        reason = trainer.strategy.broadcast(reason)  # all ranks end together
        if reason:
            raise ValueError(f"checkpoint.dirpath={self.dirpath}: {reason} give another folder")

    def _lock_folder(self) -> str:
        last = self._last()
        self._finished = is_finished(last)
        self._lock = FileLock(_lock_of(last))
        self._made_folder = not last.parent.exists()
        try:
            last.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            return "another run writes its checkpoints there,"
        except OSError as error:
            return f"it cannot be written ({error.strerror}),"
        return ""

    def _tidy_folder(self, resumed: str | Path | None) -> str:
        last = self._last()
        source = Path(resumed or last)
        goes_on = resumed and source.parent.resolve() == last.parent.resolve()
        requeued = source.name.startswith("hpc_ckpt")  # by SLURM: Lightning keeps that file elsewhere
        if last.exists() and not (goes_on or requeued or self._last_checkpoint_saved == str(last)):
            return "there is the last.ckpt of another run: go on from that one, or"
        remove_parts(last.parent)
        if not goes_on:
            tidy(source.parent)
        return ""

    def _unlock(self) -> None:
        if self._lock is not None and self._lock.is_locked:
            last = self._last()
            if self._finished or not last.exists():
                _lock_of(last).unlink(missing_ok=True)
            self._lock.release()
            if self._made_folder and not last.exists():
                with suppress(OSError):  # there may be other files
                    last.parent.rmdir()
        self._lock = None

    def _last(self) -> Path:
        return Path(str(self.dirpath)) / "last.ckpt"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the first checkpoint; copy the one that is resumed into the folder, if that has none yet."""
        self.cadence.start(trainer.global_step)
        self._saved_at, self._saved_when = _moment(trainer), time.monotonic()
        self._finished = False
        source, last = trainer.ckpt_path, self._last()
        if trainer.is_global_zero and source and Path(source).is_file() and not last.exists():
            with written_whole(last) as part:
                shutil.copyfile(source, part)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if an interval has passed, or if this was the last update."""
        update = trainer.global_step
        due = self.cadence.due(update) or _ends_here(trainer)
        if not due and self.every_n_minutes is not None and update % CLOCK == 0:
            due = time.monotonic() - self._saved_when > 60 * self.every_n_minutes
            due = trainer.strategy.broadcast(due)  # all ranks save together
        if due:
            self._save_once(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if early stopping ends the run with this epoch; no other epoch is saved at its end."""
        if trainer.should_stop:
            self._save_once(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save nothing: checkpoints follow updates and minutes, not validations."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last update, if it was not saved when its batch ended; the run is finished."""
        self._save_once(trainer)
        self._finished = True
        self._unlock()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the folder free; the run is not finished."""
        super().on_exception(trainer, pl_module, exception)
        self._unlock()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the folder free, also if there was nothing to train."""
        self._unlock()

    def state_dict(self) -> dict[str, Any]:
        """Return also the processor seconds of this process so far, which a kill would leave untold."""
        return {**super().state_dict(), "processor_seconds": time.process_time()}

    def save_interrupted(self, trainer: Trainer) -> Path | None:
        """Save a run that a signal ends; return the path of its checkpoint."""
        self._save_once(trainer)
        place = self._last_checkpoint_saved or trainer.ckpt_path
        return Path(place) if place else None

    def _save_once(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run or self._saved_at == _moment(trainer):  # type: ignore[attr-defined]
            return
        self._refuse_broken_weights(trainer)
        self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
        self._saved_at, self._saved_when = _moment(trainer), time.monotonic()

    def _refuse_broken_weights(self, trainer: Trainer) -> None:
        module = trainer.lightning_module
        weights = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
        finite = torch.stack([value.isfinite().all() for value in weights.values()])
        if trainer.strategy.reduce_boolean_decision(bool(finite.all()), all=True):
            return
        broken = [name for name, fine in zip(weights, finite.tolist(), strict=True) if not fine]
        where = f"of {broken[0].split('.')[0]} ({broken[0]})" if broken else "on another rank"
        good = self.last_model_path or trainer.ckpt_path
        state = (
            f"{good} holds the last good state, of update {self._saved_at[0]}"
            if good
            else "none was saved yet"
        )
        raise FloatingPointError(
            f"{type(module).__name__}: weights {where} are not finite at generator update "
            f"{trainer.global_step}; {state}. Try a smaller learning rate or model.gradient_clip_norm"
        )

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        trainer.save_checkpoint(filepath, self.save_weights_only)  # by the first rank, with states of all
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)


class WholeCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place, and move it there.

    Lightning writes it to the system's temporary folder first, where a run that is killed leaves it for ever.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        content = BytesIO()  # of what torch writes to a full disk, it says "unexpected pos"
        torch.save(checkpoint, content)
        with written_whole(path) as part:
            part.write_bytes(content.getbuffer())


def is_finished(path: str | Path) -> bool:
    """Return whether a checkpoint is one of a run that has reached its end: with pictures, scores and all."""
    return Path(path).is_file() and not _lock_of(Path(path)).exists()


def tidy(folder: Path) -> None:
    """Remove what a run that was killed left half written in its folder of checkpoints.

    A run that is alive holds its lock: its files stay.
    """
    lock = _lock_of(folder / "last.ckpt")
    with suppress(OSError), FileLock(lock, timeout=0) if lock.exists() else nullcontext():
        remove_parts(folder)


def _lock_of(checkpoint: Path) -> Path:
    """Return the lock of a checkpoint's folder: a run holds it, and removes it at its end."""
    return checkpoint.parent / "last.ckpt.lock"


def _moment(trainer: Trainer) -> tuple[int, int]:
    """Return the counts of generator updates and of batches, as not every batch updates the generator."""
    return trainer.global_step, trainer.fit_loop.total_batch_idx


def _ends_here(trainer: Trainer) -> bool:
    """Return whether the batch that ends is the run's last, as far as its limits and a stop tell."""
    max_epochs = -1 if trainer.max_epochs is None else trainer.max_epochs
    last_epoch = trainer.is_last_batch and 0 <= max_epochs <= trainer.current_epoch + 1
    return last_epoch or trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
