"""The speed of a run, in images per second."""

from time import perf_counter
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_gans.callbacks.cadence import Cadence
from lightning_gans.game.ranks import batch_length


class Throughput(Callback):
    """Show and log how many real images a second the run consumes, over all ranks.

    ``train/images_per_second`` goes to the loggers, ``images/s`` to the progress bar: the real images of a
    window of generator updates over its wall-clock time. Everything that happens between batches counts
    (pictures, checkpoints), except validation. Nothing waits for the device: a batch costs an addition and
    a comparison.

    Args:
        every_n_updates: Length of the window, in generator updates.

    Raises:
        ValueError: If ``every_n_updates`` is not positive.
    """

    def __init__(self, every_n_updates: int = 50) -> None:
        super().__init__()
        self.every_n_updates = every_n_updates
        self._cadence = Cadence(every_n_updates)
        self._images = 0
        self._started = 0.0
        self._paused = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the first window."""
        self._cadence.start(trainer.global_step)
        self._open()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images of the batch; log the speed when the window ends."""
        self._images += batch_length(batch)
        step = trainer.global_step
        if not self._cadence.due(step):
            return
        elapsed = perf_counter() - self._started
        speed = round(self._images * trainer.world_size / max(elapsed, 1e-9))
        # Stored directly among the values of the bar: `log` would process the value again at every batch.
        trainer.progress_bar_metrics["images/s"] = speed
        for logger in trainer.loggers:
            logger.log_metrics({"train/images_per_second": speed}, step=step)
        self._open()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock while a validation runs."""
        self._paused = perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock again after a validation."""
        self._started += perf_counter() - self._paused

    def _open(self) -> None:
        self._images = 0
        self._started = perf_counter()
