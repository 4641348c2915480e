"""Count how many components of a known Gaussian mixture samples reach."""

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_gans.checks import at_least, positive


class ModeCoverage(Metric):
    """Modes found and share of high-quality samples (VEEGAN, DIWGAN), and PacGAN's JSD.

    A sample is of high quality if it lies within ``threshold`` standard deviations of its nearest mode, by
    Mahalanobis distance, so that anisotropic components are judged by their own shape. Perfect samples reach
    a share of 98.89 % in two dimensions and 97.07 % in three at the default threshold. The number of modes
    depends on the number of samples: compare equal ones (2,500 in VEEGAN).

    States are summed over ranks.

    Args:
        means: (K, d) means of the modes. None: an evaluation sets those of the data module, or the caller
            calls :meth:`set_modes` before the first sample.
        covariances: (K, d, d) covariances, positive definite; None if ``means`` is.
        threshold: Largest Mahalanobis distance of a high-quality sample.
        min_count: High-quality samples that a mode needs to count as found.

    Raises:
        ValueError: If shapes do not fit, or an argument is not positive.
    """

    full_state_update = False
    scores = ("modes", "high_quality", "jsd")
    means: Tensor | None
    whitening: Tensor | None
    counts: Tensor
    total: Tensor

    def __init__(
        self,
        means: Tensor | None = None,
        covariances: Tensor | None = None,
        threshold: float = 3.0,
        min_count: int = 1,
    ) -> None:
        super().__init__()
        positive(threshold=threshold)
        at_least(1, min_count=min_count)
        self._open = means is None
        self.threshold = threshold
        self.min_count = min_count
        self.register_buffer("means", None, persistent=False)
        self.register_buffer("whitening", None, persistent=False)
        self.add_state("counts", torch.zeros(0, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")
        if (means is None) != (covariances is None):
            raise ValueError("means, covariances: give both, or neither")
        if means is not None and covariances is not None:
            self.set_modes(means, covariances)

    def fill_in(self, data: Any, num_classes: int | None, num_samples: int | None) -> None:
        """Take the modes from a data module, unless they were given.

        Raises:
            ValueError: If it has none.
        """
        if not self._open or data is None:
            return
        means, covariances = (getattr(data, name, None) for name in ("means", "covariances"))
        if means is None or covariances is None:
            raise ValueError(
                f"ModeCoverage needs means and covariances of the modes, and {type(data).__name__} has none: "
                "give them, or use GaussianMixtures"
            )
        self.set_modes(means, covariances)

    def set_modes(self, means: Tensor, covariances: Tensor) -> None:
        """Set the modes, and delete all samples.

        Raises:
            ValueError: If shapes do not fit, or a covariance is not positive definite.
        """
        self.whitening = _whitening(means, covariances).to(self.device)
        self.means = means.detach().clone().to(self.device)
        counts = torch.zeros(len(means), dtype=torch.int64, device=self.device)
        self.add_state("counts", counts, dist_reduce_fx="sum")
        self.reset()

    def update(self, samples: Tensor) -> None:
        """Add samples (n, d).

        Raises:
            ValueError: If their shape does not fit, or the modes are not known.
        """
        if self.means is None or self.whitening is None:
            raise ValueError("ModeCoverage does not know the modes: give means and covariances")
        self.counts += _high_quality_counts(samples, self.means, self.whitening, self.threshold)
        self.total += len(samples)

    def compute(self) -> dict[str, Tensor]:
        """Return the scores that :func:`mode_coverage` describes."""
        return _scores(self.counts, self.total, self.min_count)


def mode_coverage(
    samples: Tensor, means: Tensor, covariances: Tensor, threshold: float = 3.0, min_count: int = 1
) -> dict[str, Tensor]:
    """Score samples against a known mixture; the function behind :class:`ModeCoverage`.

    Args:
        samples: (n, d).
        means: (K, d).
        covariances: (K, d, d).
        threshold: Largest Mahalanobis distance of a high-quality sample.
        min_count: High-quality samples that a mode needs to count as found.

    Returns:
        ``modes``: number of modes found. ``high_quality``: share of high-quality samples, 0 without
        samples. ``jsd``: Jensen-Shannon divergence in nats between the distribution of high-quality samples
        over the modes and the uniform one (PacGAN), ln 2 without any high-quality sample. All float64.
    """
    positive(threshold=threshold)
    at_least(1, min_count=min_count)
    counts = _high_quality_counts(samples, means, _whitening(means, covariances), threshold)
    return _scores(counts, torch.tensor(len(samples), device=samples.device), min_count)


def _whitening(means: Tensor, covariances: Tensor) -> Tensor:
    """Return the inverse Cholesky factors (K, d, d): components become standard normal."""
    if means.dim() != 2 or covariances.shape != (*means.shape, means.shape[-1]):
        raise ValueError(
            f"means {tuple(means.shape)} and covariances {tuple(covariances.shape)} must have shapes "
            "(K, d) and (K, d, d)"
        )
    factors, failed = torch.linalg.cholesky_ex(covariances.detach())
    if failed.any():
        bad = int(failed.nonzero()[0])
        raise ValueError(f"covariances[{bad}] is not positive definite: give a symmetric one of full rank")
    identity = torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)
    whitening: Tensor = torch.linalg.solve_triangular(factors, identity.expand_as(factors), upper=False)
    return whitening


@torch.no_grad()
def _high_quality_counts(samples: Tensor, means: Tensor, whitening: Tensor, threshold: float) -> Tensor:
    """Return the number of high-quality samples (K,) that each mode is nearest to."""
    if samples.dim() != 2 or samples.shape[1] != means.shape[1]:
        raise ValueError(
            f"samples have shape {tuple(samples.shape)}: the mixture needs (n, {means.shape[1]})"
        )
    counts = torch.zeros(len(means), dtype=torch.int64, device=samples.device)
    # In parts, which limits the memory for differences (n, K, d).
    for part in samples.to(means.dtype).split(10_000):
        whitened = torch.einsum("kij,nkj->nki", whitening, part[:, None] - means)
        distance, mode = whitened.norm(dim=2).min(dim=1)
        counts += torch.bincount(mode[distance < threshold], minlength=len(means))
    return counts


def _scores(counts: Tensor, total: Tensor, min_count: int) -> dict[str, Tensor]:
    good = counts.sum()
    share = counts.double() / good.clamp(min=1)
    uniform = torch.full_like(share, 1 / len(counts))
    middle = (share + uniform) / 2
    jsd = (torch.xlogy(share, share / middle) + torch.xlogy(uniform, uniform / middle)).sum() / 2
    return {
        "modes": (counts >= min_count).sum().double(),
        "high_quality": good.double() / total.clamp(min=1),
        "jsd": torch.where(good > 0, jsd, math.log(2)),
    }
