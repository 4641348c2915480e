"""Find the hook at which a checkpoint was written, and resume the run from there.

Lightning guesses from its counters what a resumed run has still to do. Around the end of an epoch it guesses
wrong: validations are skipped, epochs counted twice or not at all, the loader's position is dropped, and a
run that was killed after its last update never reaches its end. The counters themselves are right: they say
at which hook the checkpoint was written. :class:`ResumedFitLoop` reads them, does what was still to be done
of that update and of that epoch, in Lightning's own order and by its own methods, and goes on.
"""

import warnings
from enum import Enum, auto
from typing import Any, cast

import torch
from lightning.fabric.utilities.types import _Stateful
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.loops.progress import _ProcessedTracker

KEY = "progress"


class Place(Enum):
    """The part of the training loop in which a checkpoint was written."""

    BETWEEN_EPOCHS = auto()  # or before the first one, or after the last one
    EPOCH_START = auto()
    UPDATE = auto()  # from on_train_batch_start to the optimizers' steps
    BATCH_END = auto()
    VALIDATION = auto()
    VALIDATION_END = auto()
    EPOCH_END = auto()


def place(loop: _FitLoop) -> Place:
    """Find by a loop's counters the hook at which it is, or was when they were stored."""
    epoch = cast(_ProcessedTracker, loop.epoch_progress.current)
    batch = cast(_ProcessedTracker, loop.epoch_loop.batch_progress.current)
    if epoch.completed == epoch.ready:
        return Place.BETWEEN_EPOCHS
    if epoch.started < epoch.ready:
        return Place.EPOCH_START
    if epoch.processed == epoch.ready:
        return Place.EPOCH_END
    if batch.processed < batch.ready:
        return Place.UPDATE
    if batch.completed < batch.ready:
        return Place.BATCH_END
    validation = loop.epoch_loop.val_loop.batch_progress
    served = validation.is_last_batch and validation.current.completed == validation.current.ready
    return Place.VALIDATION_END if served else Place.VALIDATION


def time_limits(trainer: Trainer) -> list[tuple[float, float]]:
    """Return the seconds of training so far and their end, of each callback that sets one, as StopAfter.

    All ranks call this, and get those of the first.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return [trainer.strategy.broadcast(x.time_limit(trainer)) for x in callbacks if hasattr(x, "time_limit")]


def store_progress(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Store what Lightning does not: the metrics of callbacks, a due row of the log, an early stop."""
    log = trainer._logger_connector
    row: dict[str, Any] = {}
    if trainer.training and place(trainer.fit_loop) is Place.BATCH_END and log.should_update_logs:
        # Values of LightningModule.log, which Lightning writes after this hook.
        row = dict(log.metrics["log"])
    checkpoint[KEY] = {
        "metrics": dict(trainer.callback_metrics),
        "row": row,
        "stopped_early": trainer.should_stop and any(map(_stopped, trainer.callbacks)),  # type: ignore[attr-defined]
    }


def go_on_exactly(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Make a fit that restores a checkpoint go on exactly as the run that wrote it would have."""
    loop = trainer.fit_loop
    loop.__class__ = ResumedFitLoop
    assert isinstance(loop, ResumedFitLoop)
    loop.stored = checkpoint.get(KEY, {})


class ResumedFitLoop(_FitLoop):
    """Lightning's loop over epochs; if resumed, it first finishes the update or epoch of the checkpoint.

    It takes the place of a trainer's loop when a checkpoint is loaded (:func:`go_on_exactly`).

    Known limits: means over an epoch of what ``LightningModule.log(on_epoch=True)`` got are not part of
    checkpoints; a checkpoint that is written within an update goes on with the next batch; of several
    checkpoint callbacks that save at one hook, those after the one that wrote the checkpoint save no more.
    """

    stored: dict[str, Any]

    # Lightning's property takes a loop whose last epoch is complete for one that was not restored.
    restarting = _Loop.restarting

    def run(self) -> None:
        """Run the rest of a resumed run, or a whole run."""
        if not self.restarting:
            super().run()
            return
        self.setup_data()  # applies the loaders' positions
        if self.max_batches == 0 or self.trainer.limit_train_batches == 0:
            return
        self.restarting = False  # from here on, everything is as if the run had not stopped
        torch.set_grad_enabled(True)
        at = self._tidy(place(self))
        trainer = self.trainer
        for optimizer in trainer.optimizers:
            optimizer._opt_called = True  # type: ignore[attr-defined] # else torch warns of schedulers' next step
        trainer.callback_metrics.update(self.stored.get("metrics", {}))
        if at is not Place.BETWEEN_EPOCHS:
            trainer.should_stop = trainer.should_stop or self._stays_stopped()
        if at is Place.EPOCH_END:
            self._end_epoch()
        self.on_run_start()
        if at not in (Place.BETWEEN_EPOCHS, Place.EPOCH_END):
            self._finish_epoch(at)
        self.on_iteration_done()
        # Not skipped when all updates are done, as Lightning does: the hooks of the run's end must run.
        while not self.done:
            try:
                self.on_advance_start()
                self.advance()
                self.on_advance_end()
            except StopIteration:
                break
            finally:
                self.on_iteration_done()
        self.on_run_end()

    def _tidy(self, at: Place) -> Place:
        """Reset the counts of steps that will be repeated, and of an epoch that was cut short and goes on."""
        epoch, loop = self.epoch_progress, self.epoch_loop
        if at in (Place.EPOCH_START, Place.UPDATE):
            begun = epoch if at is Place.EPOCH_START else loop.batch_progress
            begun.total.reset_on_restart()
            begun.current.reset_on_restart()
            return Place.BETWEEN_EPOCHS if at is Place.EPOCH_START else at
        if at is Place.VALIDATION:
            validation = loop.val_loop.batch_progress
            for name, count in vars(validation.current).items():
                setattr(validation.total, name, getattr(validation.total, name) - count)
            validation.current.reset()
        elif at in (Place.BETWEEN_EPOCHS, Place.EPOCH_END) and self._was_cut():
            for tracker in cast(list[_ProcessedTracker], [epoch.total, epoch.current]):
                tracker.processed = tracker.completed = tracker.ready - 1
            return Place.UPDATE
        return at

    def _was_cut(self) -> bool:
        """Return whether the last epoch ended early, and this run goes on with its remaining batches."""
        ended = 0 <= self.max_steps <= self.epoch_loop.global_step or self._stays_stopped()
        begun = self.epoch_progress.current.ready > 0
        return begun and not ended and not self.epoch_loop._num_ready_batches_reached()

    def _stays_stopped(self) -> bool:
        """Return whether the run was stopped early or had its time, and this one would stop, too."""
        watched = any(isinstance(x, EarlyStopping) for x in self.trainer.callbacks)  # type: ignore[attr-defined]
        over = any(now >= end for now, end in time_limits(self.trainer))
        return over or (watched and bool(self.stored.get("stopped_early", False)))

    def _finish_epoch(self, at: Place) -> None:
        loop, fetcher = self.epoch_loop, self._data_fetcher
        assert fetcher is not None
        assert self._combined_loader is not None
        loop.on_run_start(fetcher)
        if at is not Place.UPDATE:
            if at is Place.BATCH_END:
                loop.batch_progress.increment_completed()
                self.trainer._logger_connector.log_metrics(self.stored.get("row", {}))
            loop._skip_next_val = at is Place.VALIDATION_END
            loop.on_advance_end(fetcher)
        if not loop.done and not all(isinstance(x, _Stateful) for x in self._combined_loader.flattened):
            warnings.warn(
                "the run goes on within an epoch, and its loader does not know where it was: it begins anew. "
                "A loader with state_dict and load_state_dict would go on exactly",
                stacklevel=2,
            )
        while not loop.done:
            try:
                loop.advance(fetcher)
                loop.on_advance_end(fetcher)
            except StopIteration:
                break
            finally:
                loop.on_iteration_done()
        self.on_advance_end()

    def _end_epoch(self) -> None:
        """Finish an epoch whose end hooks have run: log, schedulers, counters."""
        self.trainer._logger_connector.on_epoch_end()
        if self.epoch_loop._num_ready_batches_reached():
            self.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
        self.epoch_progress.increment_completed()


def epoch_is_whole(trainer: Trainer) -> bool:
    """Return whether the epoch that ends reached its last batch, not cut short by a limit or a stop."""
    return trainer.fit_loop.epoch_loop._num_ready_batches_reached()


def _stopped(callback: Callback) -> bool:
    return isinstance(callback, EarlyStopping) and callback.stopping_reason_message is not None
