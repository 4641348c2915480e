"""GOLD: mining samples for conditional GANs (Mo et al., NeurIPS 2019, arXiv 1910.09170)."""

import warnings
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_gans import checks
from lightning_gans.game.progress import time_limits
from lightning_gans.losses import gold
from lightning_gans.models.acgan import ACGAN


class GOLDACGAN(ACGAN):
    """ACGAN whose discriminator learns most from generated samples at which it sees a gap to the data.

    From a point of the training on, both terms of a generated sample in the discriminator's loss are weighted
    by s(d), with ``d = l + log D_C(c | x)`` the gap of log-densities between data and generator that the
    discriminator itself estimates (:mod:`lightning_gans.losses.gold`), and ``s(d) = sign(d) |d|^beta``. No
    gradient goes through the weights. The other arguments but ``beta`` and ``reweight_from`` are for studies:
    the paper's weights are the plain ones. ``balanced`` and ``normalize_weights`` look at a batch, of several
    ranks at each one's own.

    Losses on held-out data are those of the training at that moment, and ACGAN's outside of a training.

    Args:
        image_shape: ``(channels, size, size)``, or ``(d,)`` for vectors.
        num_classes: Number of classes of the data.
        beta: The power; 0 is ACGAN.
        reweight_from: When it begins: below 1 a share of the updates, epochs or seconds of the training (of a
            resumed one as long as it is now), from 1 on a number of generator updates. D has to be good by
            then.
        balanced: Weights of the gap whose terms vary alike over the batch.
        normalize_weights: Divide the weights by the mean of their absolute values over the batch.
        weight_clip: Least and largest weight.
        nonnegative: Negative weights become 0.
        weight_generator: Weight both terms of the generator's loss, too.
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
        balanced: bool = False,
        normalize_weights: bool = False,
        weight_clip: tuple[float, float] | None = None,
        nonnegative: bool = False,
        weight_generator: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, num_classes, **kwargs)
        checks.within("[0, inf)", beta=beta, reweight_from=reweight_from)
        if weight_clip is not None and not _is_range(weight_clip):
            raise ValueError(f"weight_clip={weight_clip}: give the least and the largest weight")
        self.beta, self.reweight_from = beta, reweight_from
        self.balanced, self.normalize_weights = balanced, normalize_weights
        self.weight_clip, self.nonnegative = weight_clip, nonnegative
        self.weight_generator = weight_generator

    @property
    def reweights(self) -> bool:
        """Return whether the training has come to the point at which weights begin."""
        if self._trainer is None or self.reweight_from == 0:
            return self.reweight_from == 0
        if self.reweight_from >= 1:
            return self.trainer.global_step >= self.reweight_from
        # Counts are rounded down as in the released code: its epochs up to half of them have no weights.
        points = [(now, self.reweight_from * end, end) for now, end in self._progress() if end > 0]
        return any(now >= (int(point) if isinstance(end, int) else point) for now, point, end in points)

    def _progress(self) -> list[tuple[float, float]]:
        """Return how far the training is, and its end, in updates, epochs and seconds; no end is <= 0."""
        trainer = self.trainer
        return [
            (trainer.global_step, trainer.max_steps),
            (trainer.current_epoch, trainer.max_epochs or 0),
            *time_limits(trainer),
        ]

    def fake_weights(self, player: str, marginal: Tensor, conditional: Tensor) -> Tensor | None:
        """Return s(d), once :attr:`reweights`."""
        judging = player == "discriminator"
        if judging and self.reporting:
            self.report({"marginal": marginal.mean(), "conditional": conditional.mean()})
        if self.beta == 0 or not (judging or self.weight_generator) or not self.reweights:
            return None
        terms = self.per_replica(marginal), self.per_replica(conditional.clamp(min=gold.LEAST))
        gap = gold.gold_balanced(*terms, ratio=None if self.balanced else 1.0)
        weights = gold.weights(gap, self.beta, self.nonnegative, self.normalize_weights, self.weight_clip)
        if judging and self.reporting:
            self.report({"weight": weights.mean()})
        return weights.flatten()

    def configure_callbacks(self) -> list[Callback]:
        """Refuse a share of a training without a known end, warn of weights that never begin.

        Lightning calls this first of all.
        """
        fitting = self.trainer.state.fn == "fit"
        share = 0 < self.reweight_from < 1 and self.beta > 0
        if fitting and share and all(end <= 0 for _, end in self._progress()):
            raise ValueError(
                f"reweight_from={self.reweight_from} is a share of a training that has no known end: give "
                "trainer.max_steps or trainer.max_epochs, or a number of generator updates"
            )
        if fitting and self.beta > 0 and 1 <= self.trainer.max_steps <= self.reweight_from:
            warnings.warn(
                f"reweight_from={self.reweight_from}: this training of {self.trainer.max_steps} updates ends "
                "before, and is that of an ACGAN",
                stacklevel=2,
            )
        return super().configure_callbacks()


def _is_range(ends: object) -> bool:
    """Return whether these are two numbers, the lesser first."""
    if not isinstance(ends, tuple | list) or len(ends) != 2:
        return False
    return all(isinstance(end, int | float) for end in ends) and bool(ends[0] < ends[1])
