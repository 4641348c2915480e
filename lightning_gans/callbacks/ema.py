"""Averaged weights of the generator."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lightning_gans import checks
from lightning_gans.game.adversarial import AdversarialModule


class GeneratorEMA(Callback):
    """Keep an exponential moving average of the generator's weights; sampling uses it from then on.

    After each update of the generator, exactly, however many there are in a batch::

        average <- decay * average + (1 - decay) * weights

    Running statistics of batch norm are averaged alike: those of the last weights do not fit averaged ones.
    Everything that the generator's player trains is averaged,
    a learned latent too; the discriminator is not. The averages are part of the module (``module.ema``), so
    checkpoints hold them and a resumed run goes on with them.

    Args:
        decay: How much of the average an update keeps.
        start_step: Until this many generator updates the average is a copy of the weights.

    Raises:
        ValueError: If ``decay`` is not in [0, 1), or ``start_step`` is negative.
    """

    def __init__(self, decay: float = 0.999, start_step: int = 0) -> None:
        super().__init__()
        checks.within("[0, 1)", decay=decay)
        checks.at_least(0, start_step=start_step)
        self.decay = decay
        self.start_step = start_step
        self._hook: RemovableHandle | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Create the averages, before a checkpoint is restored into them.

        Raises:
            TypeError: If the module is no game.
        """
        if not isinstance(pl_module, AdversarialModule):
            raise TypeError(f"GeneratorEMA averages games: {type(pl_module).__name__} is no game")
        if stage == "fit":
            self._forget()
            pl_module.start_ema()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before the first batch, make the generator's optimizer call the averaging after each step."""
        if self._hook is None:
            assert isinstance(pl_module, AdversarialModule)
            self._hook = self._follow(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the averaging from the generator's optimizer."""
        self._forget()

    def _follow(self, trainer: Trainer, module: AdversarialModule) -> RemovableHandle:
        # The lists are made once: to collect the tensors at every step would cost more than the averaging.
        assert module.ema is not None
        average: list[Tensor] = []
        weights: list[Tensor] = []
        copies: list[Tensor] = []
        buffers: list[Tensor] = []
        for name, network in module.player_networks("generator").items():
            averaged = module.ema[name]
            average += [parameter.detach() for parameter in averaged.parameters()]
            weights += [parameter.detach() for parameter in network.parameters()]
            for copy, buffer in zip(averaged.buffers(), network.buffers(), strict=True):
                floating = buffer.is_floating_point()
                (average if floating else copies).append(copy)
                (weights if floating else buffers).append(buffer)

        def update(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            # The trainer counts an update after its optimizer's step: this one is number global_step + 1.
            if trainer.global_step < self.start_step:
                torch._foreach_copy_(average, weights)
            else:
                torch._foreach_lerp_(average, weights, 1 - self.decay)
            if copies:
                torch._foreach_copy_(copies, buffers)

        return module.player_optimizer("generator").register_step_post_hook(update)

    def _forget(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
