"""Check Trainer settings that mean something else in a game; avoid a repeated look for GPUs."""

import os

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    GradientAccumulationScheduler,
    LearningRateFinder,
    SpikeDetection,
    StochasticWeightAveraging,
)
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy

UNFIT: dict[type[Callback], str] = {
    BatchSizeFinder: "set data.batch_size",
    GradientAccumulationScheduler: "raise data.batch_size, or use more devices",
    LearningRateFinder: "set the lr of each player's optimizer",
    SpikeDetection: "leave it out, a loss that is not finite ends the run anyway",
    StochasticWeightAveraging: "use GeneratorEMA",
}
"""Callbacks of Lightning that do not work in a game, and what to do without them."""

_GPU_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"


def check_trainer(trainer: Trainer) -> None:
    """Refuse settings of the Trainer that do not work in a game.

    Raises:
        ValueError: For a precision, a strategy or a trainer argument that does not fit; the message says what
            to use instead.
    """
    if trainer.precision not in ("32-true", "bf16-mixed"):
        raise ValueError(
            f"trainer.precision={trainer.precision} is not supported: use bf16-mixed "
            "(float16 needs loss scaling, which the discriminator's own steps do not go through)"
        )
    if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy):
        raise ValueError(
            f"trainer.strategy={type(trainer.strategy).__name__} wraps all players as one model: use ddp"
        )
    if trainer.gradient_clip_val is not None:
        raise ValueError(
            f"trainer.gradient_clip_val={trainer.gradient_clip_val} does not know which player is updated: "
            "use model.gradient_clip_norm"
        )
    if trainer.accumulate_grad_batches != 1:
        raise ValueError(
            f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches} means nothing in a game: "
            "raise data.batch_size, or use more devices"
        )
    if getattr(trainer.strategy, "_layer_sync", None) and trainer.strategy.root_device.type == "cpu":
        raise ValueError(
            "trainer.sync_batchnorm=true needs GPUs: leave it out on CPUs, where batch norm uses each rank's "
            "own batch"
        )
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, tuple(UNFIT)):
            use = next(use for kind, use in UNFIT.items() if isinstance(callback, kind))
            raise ValueError(
                f"trainer.callbacks: {type(callback).__name__} takes a game for one model: {use}"
            )


class NoGPUCheck(Callback):
    """Avoid that torch looks for a GPU at every step of a run without one.

    Lightning sets an environment variable by which torch asks the driver's management library at each step of
    Adam, which takes 0.3 ms. Without the variable, torch remembers its first answer.
    """

    def __init__(self) -> None:
        self._removed: str | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the environment variable, if there is no GPU."""
        if not torch.cuda.is_available():
            self._removed = os.environ.pop(_GPU_CHECK, None)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the environment variable that was removed for the run."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore it after a run that fails, too."""
        self._restore()

    def _restore(self) -> None:
        if self._removed is not None:
            os.environ[_GPU_CHECK], self._removed = self._removed, None
