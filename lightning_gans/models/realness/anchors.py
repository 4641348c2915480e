"""The anchors of RealnessGAN: the target distributions over outcomes of real and generated images."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.models.realness.losses import optimum
from lightning_gans.networks.rebuild import Rebuildable


class Anchors(Rebuildable, nn.Module, ABC):
    """Makes the anchors A1 (of real images) and A0 (of generated ones) for a number of outcomes.

    ``anchors(num_outcomes, rng)`` returns both, float32 ``(num_outcomes,)``; the last outcome is the most
    real. A subclass writes :meth:`make`. It is an ``nn.Module`` without parameters, as latents without any
    are, so that checkpoints rebuild it.
    """

    redraws: bool = False
    """Whether the anchors are random and the game draws them anew before each round."""

    def forward(self, num_outcomes: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return A1 and A0, on the device of ``rng``.

        Raises:
            ValueError: If there are no such anchors for this number of outcomes.
        """
        checks.at_least(2, num_outcomes=num_outcomes)
        real, fake = self.make(num_outcomes, rng)
        return real.to(rng.device, torch.float32), fake.to(rng.device, torch.float32)

    @abstractmethod
    def make(self, num_outcomes: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return A1 and A0, ``(num_outcomes,)``."""


class SkewNormalAnchors(Anchors):
    """Skewed normal distributions, mirror images of each other, as far apart as asked for.

    ``A1(u) ~ phi(u) Phi(a u)`` at N points u from -3 to 3, ``A0(u) = A1(-u)``, with the skewness ``a`` that
    gives the Jensen-Shannon divergence asked for: half the value that the game has at its end. Positive
    everywhere (before they are rounded to float32), and not random. The paper's anchors have such shapes.

    The paper reports KL(A1 || A0), which says little of how far apart anchors are: it grows without limit as
    a share goes to 0, and with few outcomes nothing else may change. With 51 outcomes KL of 1.66, 5.11, 7.81
    and 11.05, those of its faces, are ``jsd`` of 0.274, 0.449, 0.498 and 0.532.

    An odd number of outcomes has one in the middle that both anchors share: 3 allow a ``jsd`` of 0.015, 5 of
    0.278, 7 of 0.416, 51 of 0.65.

    Args:
        jsd: JSD(A1, A0) in nats, at most log 2 = 0.693.

    Raises:
        ValueError: If ``jsd`` is not positive, or larger than can be reached with the number of outcomes.
    """

    def __init__(self, jsd: float = 0.53) -> None:
        super().__init__()
        checks.positive(jsd=jsd)
        self.jsd = jsd

    def make(self, num_outcomes: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return A1 and A0, ``(num_outcomes,)``."""
        low, high = 0.0, 20.0
        largest = _divergence(*skew_normals(high, num_outcomes))
        if self.jsd > largest:
            raise ValueError(
                f"jsd={self.jsd}: {num_outcomes} outcomes allow no more than {largest:.4g} between "
                "SkewNormalAnchors: give less, or ReleasedAnchors"
            )
        for _ in range(60):
            middle = (low + high) / 2
            near = _divergence(*skew_normals(middle, num_outcomes)) < self.jsd
            low, high = (middle, high) if near else (low, middle)
        return skew_normals(high, num_outcomes)

    def extra_repr(self) -> str:
        """Show the divergence in ``print(model)``."""
        return f"jsd={self.jsd}"


def skew_normals(skewness: float, num_outcomes: int) -> tuple[Tensor, Tensor]:
    """Return A1 and A0 in float64, skewed normal distributions at ``num_outcomes`` points from -3 to 3."""
    u = torch.linspace(-3, 3, num_outcomes, dtype=torch.float64)
    real = (torch.special.log_ndtr(skewness * u) - u.square() / 2).softmax(0)
    return real, real.flip(0)


def _divergence(real: Tensor, fake: Tensor) -> float:
    """Return JSD(A1, A0)."""
    return optimum(real, fake).item() / 2


class ReleasedAnchors(Anchors):
    """Shifted histograms, drawn anew in every iteration, as in the authors' code.

    A1 is the histogram of uniform samples, A0 that of normal ones, over N bins between the smallest and the
    largest sample. A1 is then moved up and A0 down by ``shift`` on outcomes from -1 to 1; what would leave
    the range stays at its end, and what lands between two outcomes is shared by them. The zeros that this
    leaves in both make KL(A1 || A0) infinite (34 if 1e-16 stands for 0, with 51 outcomes); the losses do
    not mind.

    Args:
        shift: How far; 2 is the whole range, 1 the released code's.
        samples: Number of samples a histogram; 1000 in the released code.

    Raises:
        ValueError: If ``shift`` is negative or not finite, or ``samples`` are fewer than 2.
    """

    redraws = True

    def __init__(self, shift: float = 1.0, samples: int = 1000) -> None:
        super().__init__()
        checks.within("[0, inf)", shift=shift)
        checks.at_least(2, samples=samples)
        self.shift = shift
        self.samples = samples

    def make(self, num_outcomes: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return A1 and A0, ``(num_outcomes,)``."""
        real = histogram(torch.rand(self.samples, generator=rng, device=rng.device), num_outcomes)
        fake = histogram(torch.randn(self.samples, generator=rng, device=rng.device), num_outcomes)
        return shifted(real, self.shift), shifted(fake, -self.shift)

    def extra_repr(self) -> str:
        """Show the shift in ``print(model)``."""
        return f"shift={self.shift}, samples={self.samples}"


def histogram(samples: Tensor, bins: int) -> Tensor:
    """Return the shares ``(bins,)`` of samples ``(n,)`` in equal bins from the smallest to the largest."""
    low, high = samples.aminmax()
    index = ((samples - low) / (high - low) * bins).long().clamp(max=bins - 1)
    # Sums of ones are exact in any order; torch.histc and bincount would wait for the device.
    counts = torch.zeros(bins, dtype=samples.dtype, device=samples.device)
    return counts.scatter_add_(0, index, torch.ones_like(samples)) / len(samples)


def shifted(distribution: Tensor, shift: float) -> Tensor:
    """Shift a distribution ``(N,)`` over outcomes at N points from -1 to 1, and project it on these points.

    Mass beyond an end goes to the end, mass between two outcomes to both, in proportion to its nearness (the
    projection of categorical distributional reinforcement learning, arXiv 1707.06887, algorithm 1). None is
    lost where a moved outcome meets another exactly.
    """
    last = len(distribution) - 1
    outcomes = torch.arange(last + 1, dtype=distribution.dtype, device=distribution.device)
    place = (outcomes + shift * last / 2).clamp(0, last)
    # A sum over a table of all pairs: scatter_add_ of fractions has another order in every run on GPUs.
    nearness = (1 - (place[:, None] - torch.arange(last + 1, device=place.device)).abs()).clamp(min=0)
    return (distribution[:, None] * nearness).sum(0)


class CustomAnchors(Anchors):
    """Anchors that the user gives.

    Args:
        real: A1: the shares of all outcomes.
        fake: A0, of the same length.

    Raises:
        ValueError: If one is no distribution, both are equal, or their length is not the number of outcomes.
    """

    def __init__(self, real: Sequence[float], fake: Sequence[float]) -> None:
        super().__init__()
        for name, shares in (("real", real), ("fake", fake)):
            for share in shares:
                checks.within("[0, 1]", **{name: share})
            if not math.isclose(sum(shares), 1, abs_tol=1e-6):
                raise ValueError(f"{name}={list(shares)} sums to {sum(shares):.6g}: make it 1")
        if len(real) != len(fake):
            raise ValueError(f"real has {len(real)} outcomes and fake {len(fake)}: give equally many")
        if list(real) == list(fake):
            raise ValueError(f"real and fake are both {list(real)}: give different ones")
        self.real = tuple(real)
        self.fake = tuple(fake)

    def make(self, num_outcomes: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return A1 and A0, ``(num_outcomes,)``."""
        if num_outcomes != len(self.real):
            raise ValueError(f"num_outcomes={num_outcomes}: the anchors have {len(self.real)}, give as many")
        real, fake = torch.tensor([self.real, self.fake], dtype=torch.float64)
        return real, fake

    def extra_repr(self) -> str:
        """Show the shares in ``print(model)``."""
        return f"real={list(self.real)}, fake={list(self.fake)}"
