"""The progress bar of a run: one, over its generator updates, with the time that is left."""

import math
import sys
from time import perf_counter
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar, Timer, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loops.progress import _ProcessedTracker
from tqdm import tqdm

from lightning_gans.game.rows import latest_scores

TIMES = "[{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
BAR = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} updates " + TIMES
SECONDS, SECONDS_IN_FILES = 0.2, 10.0
"""Between two states of the bar where somebody looks at it, and in the output of a batch job."""
SHOWN = 3
"""Scores beside the bar."""


def show_updates(trainer: Trainer) -> None:
    """Put :class:`Progress` in place of the bar that a trainer has made by itself, with rich or without.

    A bar of another class, or with a ``refresh_rate`` of its own, was chosen by the user and stays.
    """
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    for i, bar in enumerate(callbacks):
        if type(bar) in (TQDMProgressBar, RichProgressBar) and bar.refresh_rate == type(bar)().refresh_rate:
            callbacks[i] = Progress()


class Progress(TQDMProgressBar):
    """One bar for a whole fit: updates, time left, losses, latest scores and speed.

    Updates are those of the generator; of a classifier, its optimizer's. The end of the bar is that of the
    run, whichever limit comes first: ``max_steps``, ``max_epochs``, ``max_time`` or ``StopAfter``. For all
    but the first the number of updates is an estimate by the speed so far, ``~12000``. A resumed run begins
    at its count. It is the same text in a terminal and in a notebook, where it stays with the saved output.

    Values are read only when the bar is written, a few times a second however short a step is. In between, a
    batch costs a look at the clock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._next = math.inf  # when the bar is written again
        self._began: list[float] | None = None  # where the run was, in the units of its limits

    # ------------------------------------------------------------------ when it is written

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Show the bar."""
        self._began = None
        self.train_progress_bar = tqdm(
            initial=trainer.global_step,
            total=trainer.max_steps if trainer.max_steps > 0 else None,
            disable=self.is_disabled,
            dynamic_ncols=True,
            file=sys.stdout,
            smoothing=0,  # the speed of the whole run, with its evaluations, says when it will end
            unit="",
            bar_format=BAR,
        )

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Start the clock at the first batch; what a game does before is no measure of its speed."""
        if self._began is None:
            self._began = [now for now, _ in _limits(trainer)]
            self.train_progress_bar.unpause()
            self._next = 0.0 if self.is_enabled else math.inf

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Go on: the bar is not one of an epoch."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show how far the run is, if the bar was not written just before."""
        if perf_counter() >= self._next:
            self._write(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Say that a validation is running, if it takes long; in ``validate``, show its bar."""
        if trainer.state.fn != "fit":
            super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)
        elif perf_counter() >= self._next:
            self._write(trainer, pl_module, f"validation, batch {batch_idx + 1}: ")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar of ``validate``."""
        self.val_progress_bar.close()
        self.reset_dataloader_idx_tracker()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar with the last epoch, before others write their lines about the end."""
        stops = trainer.should_stop and trainer.fit_loop._can_stop_early
        if stops or any(now >= end for now, end in _limits(trainer)):
            self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the end, and close the bar."""
        if not self.train_progress_bar.disable:
            self._write(trainer, pl_module)
            self.train_progress_bar.close()
        self._next = math.inf

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error begins in a line of its own."""
        if self._train_progress_bar is not None:
            self.train_progress_bar.close()

    def init_sanity_tqdm(self) -> Tqdm:
        """Return a bar that shows nothing."""
        return Tqdm(disable=True)

    def init_validation_tqdm(self) -> Tqdm:
        """Return the bar of ``validate``; a fit has only one."""
        return Tqdm(disable=True) if self.trainer.state.fn == "fit" else super().init_validation_tqdm()

    # ------------------------------------------------------------------ what it says

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what stands beside the bar: losses, scores, speed, by short names."""
        shown = {_short(k): x for k, x in trainer.progress_bar_metrics.items() if not k.startswith("val/")}
        scores = [*latest_scores(trainer).items()][:SHOWN]
        last = {name: shown.pop(name) for name in ("images/s",) if name in shown}
        return {**shown, **dict(scores), **last}

    def _write(self, trainer: Trainer, module: LightningModule, doing: str = "") -> None:
        bar, updates = self.train_progress_bar, trainer.global_step
        shares = [
            min((now - began) / (end - began), 1.0) if end > began else 1.0
            for (now, end), began in zip(_limits(trainer), self._began or [], strict=False)
        ]
        done = max(shares, default=0.0)
        bar.n = updates
        if trainer.max_steps > 0 and shares[:1] in ([], [done]):
            bar.total, about = max(trainer.max_steps, updates), ""
        else:
            bar.total = bar.initial + round((updates - bar.initial) / done) if done else None
            about = "~" if done < 1 else ""
        bar.bar_format = BAR.replace("/", f"/{about}")
        bar.set_description_str(doing, refresh=False)
        bar.set_postfix(self.get_metrics(trainer, module), refresh=False)
        bar.refresh()
        # Notebooks are no terminals, but show each state in place of the one before.
        seen = sys.stdout.isatty() or "ipykernel" in sys.modules
        self._next = perf_counter() + (SECONDS if seen else SECONDS_IN_FILES)


def _short(name: str) -> str:
    name = name.removeprefix("train/").removesuffix("_loss")
    return name.replace("generator", "G").replace("discriminator", "D")


def _limits(trainer: Trainer) -> list[tuple[float, float]]:
    """Return how far a run is, and its end, in the unit of each of its limits; updates are the first.

    Called by one rank alone, so no other is asked.
    """
    limits: list[tuple[float, float]] = []
    if trainer.max_steps > 0:
        limits.append((trainer.global_step, trainer.max_steps))
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        batches = trainer.num_training_batches
        if math.isinf(batches):
            limits.append((trainer.current_epoch, trainer.max_epochs))
        else:
            batch = cast(_ProcessedTracker, trainer.fit_loop.epoch_loop.batch_progress.current)
            served = trainer.current_epoch * batches + batch.processed
            limits.append((served, trainer.max_epochs * batches))
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if hasattr(callback, "time_limit"):
            limits.append(callback.time_limit(trainer))
        elif isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
            spent = callback.time_elapsed()
            limits.append((spent, spent + left))
    return limits
