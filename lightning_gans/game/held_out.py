"""Losses on held-out data: if they are worse than in training, the discriminator has overfitted."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils._pytree import tree_map

from lightning_gans.game.ranks import batch_length
from lightning_gans.game.rows import log_scores


class HeldOutLosses(LightningModule):
    """Logs the means of what :meth:`held_out_losses` returns for batches of validation and test data."""

    rng: torch.Generator | None
    _sums: dict[str, Tensor]
    _samples: int

    def held_out_losses(self, batch: Any) -> dict[str, Tensor]:
        """Return the losses of all players on a batch, by name; gradients may be computed.

        Noise comes from ``self.rng``: the same at each evaluation, and not the training's.
        """
        return {}

    def evaluation_seed(self, batch_idx: int) -> int:
        """Return the seed of a batch's noise: the same at each evaluation, another on each rank."""
        return batch_idx * self.trainer.world_size + self.global_rank

    def on_validation_epoch_start(self) -> None:
        """Begin with empty sums."""
        self._sums, self._samples = {}, 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add up the losses on held-out data."""
        training, self.rng = self.rng, torch.Generator(self.device)
        self.rng.manual_seed(self.evaluation_seed(batch_idx))
        try:
            # A gradient penalty needs gradients in evaluation too, which inference mode would forbid.
            with torch.inference_mode(False), torch.enable_grad():
                cloned = tree_map(lambda part: part.clone() if isinstance(part, Tensor) else part, batch)
                losses = self.held_out_losses(cloned)
        finally:
            self.rng = training
        samples = batch_length(batch)
        for name, loss in losses.items():
            self._sums[name] = self._sums.get(name, 0) + samples * loss.detach().float()
        self._samples += samples

    def on_validation_epoch_end(self) -> None:
        """Log the mean losses on held-out data."""
        if not self._sums or self.trainer.sanity_checking:
            return
        parts = [*self._sums.values(), torch.tensor(float(self._samples), device=self.device)]
        *sums, samples = self.trainer.strategy.reduce(torch.stack(parts), reduce_op="sum")
        stage = "test" if self.trainer.testing else "val"
        log_scores(
            self, {f"{stage}/{name}": total / samples for name, total in zip(self._sums, sums, strict=True)}
        )

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end
