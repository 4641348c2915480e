"""GOLD: mining samples for conditional GANs (Mo et al., NeurIPS 2019, arXiv 1910.09170)."""

from typing import Any

from torch import Tensor

from lightning_gans import checks
from lightning_gans.losses import gold
from lightning_gans.models.acgan import ACGAN


class GOLDACGAN(ACGAN):
    """ACGAN whose discriminator learns most from generated samples at which it sees a gap to the data.

    From a point of the training on, both terms of a generated sample in the discriminator's loss are weighted
    by s(d), with ``d = l + log D_C(c | x)`` the gap of log-densities between data and generator that the
    discriminator itself estimates (:mod:`lightning_gans.losses.gold`), and ``s(d) = sign(d) |d|^beta``. No
    gradient goes through the weights.

    Args:
        image_shape: ``(channels, size, size)``, or ``(d,)`` for vectors.
        num_classes: Number of classes of the data.
        beta: The power; 0 is ACGAN.
        reweight_from: When it begins: a share of the training's updates (or epochs) below 1, or a number of
            generator updates. The discriminator has to be good by then.
        kwargs: Arguments of :class:`~lightning_gans.models.acgan.ACGAN`.

    Raises:
        ValueError: If an argument is out of range, or a share is asked for of a training without a known end.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        beta: float = 1.0,
        reweight_from: int | float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, num_classes, **kwargs)
        checks.within("[0, inf)", beta=beta, reweight_from=reweight_from)
        self.beta, self.reweight_from = beta, reweight_from

    @property
    def reweights(self) -> bool:
        """Return whether the training has come to the point at which weights begin."""
        if self._trainer is None or self.reweight_from == 0:
            return self.reweight_from == 0
        if self.reweight_from >= 1:
            return self.trainer.global_step >= self.reweight_from
        done = [(self.trainer.global_step, self.trainer.max_steps)]
        done += [(self.trainer.current_epoch, self.trainer.max_epochs or 0)]
        return any(until > 0 and now >= self.reweight_from * until for now, until in done)

    def fake_weights(self, logits: Tensor, class_logits: Tensor, labels: Tensor) -> Tensor | None:
        """Return s(d), once :attr:`reweights`."""
        if self.beta == 0 or not self.reweights:
            return None
        conditional = gold.log_posterior(class_logits, labels).clamp(min=gold.LEAST)
        gap = (logits + conditional).detach()
        self.report({"gold": gap.mean()})
        return gold.weights(gap, self.beta)
