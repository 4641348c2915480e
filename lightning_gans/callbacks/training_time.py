"""The end of a run after a given time of training."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lightning_gans import checks
from lightning_gans.callbacks.clock import Timed


class StopAfter(Timed):
    """End a run after so many seconds of training, whatever it has reached: games compared at equal time.

    Seconds of evaluations, validations and pictures do not count, unlike those of Lightning's ``max_time``.
    They are the processor's on a CPU, so that a run which shares the machine is not cut short, and those of
    the clock on a GPU. A resumed run goes on from the seconds of its checkpoint. The run ends with the batch
    in which the time is up, and is scored, drawn and saved as at any end. Give ``max_steps`` and
    ``max_epochs`` of -1, or else what comes first ends the run.

    Args:
        seconds: Of training.

    Raises:
        ValueError: If ``seconds`` is not positive.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        checks.positive(seconds=seconds)
        self.seconds = seconds

    def time_limit(self, trainer: Trainer) -> tuple[float, float]:
        """Return this rank's seconds of training, in a resumed run before it starts too, and their end."""
        return self.trained(trainer), float(self.seconds)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; a resumed run may have had its time."""
        super().on_train_start(trainer, pl_module)
        self._stop_if_over(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End the run if its time is up."""
        self._stop_if_over(trainer)

    def _stop_if_over(self, trainer: Trainer) -> None:
        seconds, end = trainer.strategy.broadcast(
            self.time_limit(trainer)
        )  # all ranks go by the first's clock
        trainer.should_stop |= seconds >= end
