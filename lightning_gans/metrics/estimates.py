"""What the discriminator itself says of the distance of samples from data, beside how good they are."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torchmetrics import Metric

from lightning_gans import checks


class _Estimate(Metric):
    """A function of two means over the discriminator's outputs: of real images, and of samples.

    The means are of all images and samples of an evaluation, by the discriminator in evaluation mode; no
    smoothing is needed. Sums are added over ranks.
    """

    higher_is_better: bool | None = None  # a weak discriminator makes it small, too
    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("sums", "counts"):  # of samples, and of real images
            self.add_state(name, torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, judged: Tensor, real: bool = False) -> None:
        """Add the discriminator's outputs (n,) for samples, or for real images."""
        checks.shaped(("n",), "float", judged=judged)
        self.sums[int(real)] += self.term(judged.detach().double(), real).sum()
        self.counts[int(real)] += len(judged)

    def term(self, judged: Tensor, real: bool) -> Tensor:
        """Return what the mean is taken of, (n,)."""
        return judged

    def means(self) -> tuple[Tensor, Tensor]:
        """Return the means over samples and over real images.

        Raises:
            ValueError: If there are none of either.
        """
        if not self.counts.all():
            raise ValueError(f"{type(self).__name__} needs samples and real images, each at least one")
        fake, real = self.sums / self.counts
        return fake, real


class WassersteinEstimate(_Estimate):
    """A critic's estimate of the Wasserstein distance: mean f(x) - mean f(G(z)) (arXiv 1701.07875, figure 3).

    It is the distance up to the critic's Lipschitz constant: comparable between snapshots of a run, not
    between critics, boxes or penalties.
    """

    scores = ("wasserstein_estimate",)

    def compute(self) -> Tensor:
        """Return the estimate."""
        fake, real = self.means()
        return real - fake


class JensenShannonBound(_Estimate):
    """GAN's counterpart: log 2 + (mean log D(x) + mean log(1 - D(G(z)))) / 2 (arXiv 1701.07875, figure 4).

    A lower bound of the Jensen-Shannon divergence, at most log 2; tight for the best D, whose logits are the
    discriminator's outputs. Negative while D is worse than a constant 1/2.
    """

    scores = ("jensen_shannon_bound",)

    def term(self, judged: Tensor, real: bool) -> Tensor:
        """Return log D(x) of real images, log(1 - D(x)) of samples."""
        return logsigmoid(judged if real else -judged)

    def compute(self) -> Tensor:
        """Return the bound."""
        fake, real = self.means()
        return math.log(2) + (fake + real) / 2
