"""Put everything that is logged at generator updates.

Lightning counts batches for loggers: ``LearningRateMonitor`` and ``self.log`` would write rows at 9, 19, ...
199 beside a game's at 10, 20, 30, 40, and steps of a validation at counts of their own. Here the two parts of
a trainer that count for loggers are replaced, so that whoever asks them gets the update.
"""

from typing import cast

from lightning.pytorch import Trainer
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.progress import _ProcessedTracker
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
from lightning.pytorch.trainer.connectors.logger_connector.result import _OUT_DICT


def log_at_updates(trainer: Trainer) -> None:
    """Make all callbacks, and ``self.log``, write their rows of a fit at ``trainer.global_step``."""
    loop = trainer.fit_loop.epoch_loop
    loop.__class__ = UpdateLoop
    assert isinstance(loop, UpdateLoop)
    loop.begun = None
    trainer._logger_connector.__class__ = UpdateLog


class UpdateLoop(_TrainingEpochLoop):
    """Lightning's loop over batches; what it counts for loggers are generator updates.

    Attributes:
        begun: Updates that were done when the batch began; None before the first.
        asked: The update that the batch before it was to bring.
    """

    begun: int | None
    asked: int

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Train on a batch."""
        self.asked = self.global_step if self.begun is None else self.begun + 1
        self.begun = self.global_step
        super().advance(data_fetcher)

    @property
    def in_batch(self) -> bool:
        """Whether a batch has begun, and was not trained on yet."""
        batch = cast(_ProcessedTracker, self.batch_progress.current)
        return batch.processed < batch.ready

    @property
    def _batches_that_stepped(self) -> int:
        # What is logged before a batch is trained on, such as learning rates, belongs to its update.
        return self.begun + 1 if self.begun is not None and self.in_batch else self.global_step

    @_batches_that_stepped.setter
    def _batches_that_stepped(self, value: int) -> None:
        """Ignore Lightning's counting."""

    def passed(self, every: int) -> bool:
        """Return whether a multiple of ``every`` is reached or passed: at a batch's start, and at its end.

        Several batches may pass before an update: only the first of them says so at its start.
        """
        since = self.asked if self.in_batch else self.begun
        return since is not None and self._batches_that_stepped // every > since // every


class UpdateLog(_LoggerConnector):
    """Lightning's log, with rows at the updates at which the game writes its own."""

    @property
    def should_update_logs(self) -> bool:
        """Whether rows are due."""
        loop, every = self.trainer.fit_loop.epoch_loop, self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and self.trainer.training and isinstance(loop, UpdateLoop):
            return loop.passed(every) or self.trainer.should_stop
        return super().should_update_logs

    def log_metrics(self, metrics: _OUT_DICT, step: int | None = None) -> None:
        """Write values at the update, unless one that is called ``step`` says where."""
        super().log_metrics(metrics, None if self.trainer.state.fn == "fit" else step)
