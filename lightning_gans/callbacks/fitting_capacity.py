"""Fitting capacity while a game trains."""

import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_gans.callbacks.cadence import Cadence
from lightning_gans.game.rows import write_row
from lightning_gans.metrics.fitting_capacity import (
    Budget,
    Judges,
    RealData,
    check_game,
    real_data,
    score_game,
    train_judges,
)


class FittingCapacity(Callback):
    """Log how well classifiers do that are trained on what a conditional game generates.

    ``val/fitting_capacity`` (trained on generated images, tested on real ones), ``val/gan_test`` (the
    reverse), ``val/fitting_capacity_ceiling`` (trained on real images, once a run), and their standard
    deviations over seeds under the same names with ``_sd``. See
    :func:`~lightning_gans.metrics.fitting_capacity.fitting_capacity` for the protocol. With its defaults a
    score takes minutes on a GPU; for a curve lower ``epochs`` and ``seeds``. Averaged weights are scored if
    there are any. Rank 0 works while the others wait, 30 minutes at most unless ``DDPStrategy(timeout=...)``
    says otherwise: a score must not take longer.

    Watching does not change the training: weights are the same, bit for bit, with this callback and without.

    Args:
        every_n_updates: Generator updates between two scores; counted by crossing. There is one at the end.
        **budget: Arguments of :class:`~lightning_gans.metrics.fitting_capacity.Budget`.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, every_n_updates: int = 10_000, **budget: Any) -> None:
        super().__init__()
        self.cadence = Cadence(every_n_updates)
        self.budget = Budget(**budget)
        self._scored = -1
        self._data: RealData | None = None
        self._judges: Judges | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that game and data fit together, before any long work starts.

        Raises:
            ValueError: If they do not.
            TypeError: If they are not of the right kind.
        """
        if stage != "fit":
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        check_game(pl_module, data, self.budget)
        if trainer.is_global_zero:
            self._data = real_data(data)
        self._judges = None
        self.cadence.start(0)  # a resumed run restores it after this hook
        self._scored = -1
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.cadence.next = self._scored = sys.maxsize

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score when a multiple of ``every_n_updates`` is reached or passed."""
        if self.cadence.due(trainer.global_step):
            self._score(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the weights at the end of training, unless that was done."""
        if trainer.global_step > self._scored:
            self._score(trainer, pl_module)
        self._data = self._judges = None

    def state_dict(self) -> dict[str, Any]:
        """Return the update of the next score, and that of the last one."""
        return {"next": self.cadence.next, "scored": self._scored}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.cadence.next, self._scored = state_dict["next"], state_dict["scored"]

    def _score(self, trainer: Trainer, game: Any) -> None:
        self._scored = trainer.global_step
        values: dict[str, float] = {}
        if trainer.is_global_zero:
            assert self._data is not None
            if self._judges is None:
                self._judges = train_judges(self._data, self.budget, game.device)
            values = score_game(game, self._data, self._judges, self.budget).values()
        # Sent to all ranks, so that checkpoints by a metric decide the same on each.
        values = trainer.strategy.broadcast(values)
        write_row(trainer, {f"val/{name}": value for name, value in values.items()})
