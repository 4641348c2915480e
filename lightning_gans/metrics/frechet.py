"""Frechet inception distance (arXiv 1706.08500): the distance of Gaussians fitted to features."""

import warnings
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.metrics.states import LazyMetric, check_count, check_finite
from lightning_gans.metrics.statistics import RealStatistics


class Statistics(NamedTuple):
    """Mean, covariance (divided by n - 1) and number of samples."""

    mu: Tensor
    sigma: Tensor
    n: int


def feature_statistics(features: Tensor) -> Statistics:
    """Return the mean (d,) and covariance (d, d) of features (n, d), in float64, and n.

    The covariance of a single sample is 0.

    Raises:
        ValueError: If there is no sample, or a feature is not finite.
    """
    if features.dim() != 2 or not len(features):
        raise ValueError(f"features have shape {tuple(features.shape)}: statistics need (n, d) with n > 0")
    check_finite(features, "features", 0)
    features = features.detach().double()
    mu = features.mean(dim=0)
    centred = features - mu
    sigma = centred.T @ centred / max(len(features) - 1, 1)
    return Statistics(mu, sigma, len(features))


def frechet_distance(
    mu1: Tensor,
    sigma1: Tensor,
    mu2: Tensor,
    sigma2: Tensor,
    n1: Tensor | int | None = None,
    n2: Tensor | int | None = None,
) -> Tensor:
    """Return |mu1 - mu2|^2 + tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)), in float64.

    With roots sigma_i = R_i R_i^T, the trace of the square root is the sum of the singular values of
    R_1^T R_2: everything stays symmetric and real, unlike in sqrtm. Of singular covariances, those
    directions are left out that hold only rounding errors: their roots would be 10^8 times larger. So the
    distance can be computed of fewer samples than features (then it is biased).

    Args:
        mu1: Mean, (d,).
        sigma1: Covariance, (d, d), symmetric, positive semi-definite.
        mu2: (d,).
        sigma2: (d, d).
        n1: Number of samples behind the first statistics, if known.
        n2: Number of samples behind the second ones.

    Returns:
        Not clamped: equal statistics may give a number like -1e-9.

    Raises:
        ValueError: If shapes do not fit, or a number is not finite.
    """
    checks.shaped(("d",), mu1=mu1, mu2=mu2)
    checks.shaped((len(mu1), len(mu1)), sigma1=sigma1, sigma2=sigma2)
    mu1, sigma1, mu2, sigma2 = (x.detach().double() for x in (mu1, sigma1, mu2, sigma2))
    if not all(x.isfinite().all() for x in (mu1, sigma1, mu2, sigma2)):
        raise ValueError("the statistics are not finite: no Frechet distance can be computed from them")
    small, large = sorted((_root(sigma1, n1), _root(sigma2, n2)), key=lambda root: root.shape[1])
    product = small.T @ large
    squares = torch.linalg.eigvalsh(product @ product.T)
    distance: Tensor = (
        (mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace() - 2 * squares.clamp(min=0).sqrt().sum()
    )
    return distance


def _root(sigma: Tensor, n: Tensor | int | None) -> Tensor:
    """Return R (d, r) with R R^T = sigma, of r columns that are more than rounding errors."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(sigma)
    pivots = factor.diagonal()
    if not failed and pivots.min() > 1e-4 * pivots.max():
        # Far from singular, the Cholesky factor is as exact, and ten times faster.
        return factor
    values, vectors = torch.linalg.eigh(sigma)
    keep = values > 1e-14 * values[-1]
    if n is not None:
        keep[: max(len(values) - int(n) + 1, 0)] = False  # ascending order
    root: Tensor = vectors[:, keep] * values[keep].sqrt()
    return root


class _Moments(LazyMetric):
    """Base class with sums over the samples of each class, from which means and covariances are computed.

    Args:
        num_classes: C.
    """

    higher_is_better = False
    real_n: Tensor
    real_sum: Tensor
    real_outer: Tensor
    real_sets: Tensor
    fake_n: Tensor
    fake_sum: Tensor
    fake_outer: Tensor

    def __init__(self, num_classes: int | None) -> None:
        super().__init__()
        self.num_classes = num_classes

    def sums(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return the states' shapes: number, sum and sum of outer products, for both sets."""
        if self.num_classes is None:
            raise ValueError(f"{type(self).__name__} does not know the number of classes: give num_classes")
        shapes: dict[str, tuple[int, ...]] = {"real_sets": ()}
        for side in ("real", "fake"):
            shapes[f"{side}_n"] = (self.num_classes,)
            shapes[f"{side}_sum"] = (self.num_classes, size)
            shapes[f"{side}_outer"] = (self.num_classes, size, size)
        return shapes

    def _add(self, features: Tensor, labels: Tensor | None, real: bool) -> None:
        """Add features (n, d) of samples of the classes (n,); without labels all are of one class."""
        side = "real" if real else "fake"
        if real and self.shape is not None and self.real_sets > 0:
            raise ValueError("FID has got real statistics by take_real: real samples would count twice")
        first = 0 if self.shape is None else int(getattr(self, f"{side}_n").sum())
        features = self._check(features, first)
        labels = torch.zeros(len(features), dtype=torch.int64) if labels is None else labels
        checks.shaped((len(features),), labels=labels)
        checks.labels(self.num_classes or 0, unlabeled=True, labels=labels)
        labels = labels.to(features.device)
        n, total, outer = (getattr(self, f"{side}_{name}") for name in ("n", "sum", "outer"))
        for label in labels[labels >= 0].unique().tolist():
            part = features[labels == label].double()
            n[label] += len(part)
            total[label] += part.sum(dim=0)
            outer[label].addmm_(part.T, part)

    def _distances(self, of: str) -> Tensor:
        """Return the distances (C,), at least 0, NaN with too few samples; ``of`` is for the warning."""
        name = type(self).__name__
        if self.shape is None:
            check_count(0, "generated", name)
        # If every rank has set real statistics, they were summed over ranks: divide by the number of copies.
        copies = self.real_sets.clamp(min=1)
        real_n, fake_n = self.real_n / copies, self.fake_n
        for side, n in (("real", real_n), ("generated", fake_n)):
            check_count(int(n.sum()), side, name)
        fewest = torch.minimum(real_n, fake_n)
        distances = torch.full_like(fake_n, torch.nan)
        for label in (fewest > 1).nonzero().flatten().tolist():
            real = moments(real_n[label], self.real_sum[label] / copies, self.real_outer[label] / copies)
            fake = moments(fake_n[label], self.fake_sum[label], self.fake_outer[label])
            distances[label] = frechet_distance(*real, *fake, real_n[label], fake_n[label]).clamp(min=0)
        used = fewest[fewest > 1]
        if len(used) and used.min() <= self.real_sum.shape[1]:
            warnings.warn(
                f"{name} of {int(used.min())} samples {of} with {self.real_sum.shape[1]} features: the "
                "covariance is singular and the distance biased upwards, differently for every number of "
                "samples; compare equal numbers only, or take more",
                stacklevel=2,
            )
        return distances


def moments(n: Tensor, total: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of n samples, from their sum and that of their outer products."""
    mu = total / n
    return mu, (outer - n * torch.outer(mu, mu)) / (n - 1)


class FID(_Moments):
    """Frechet distance between Gaussians fitted to real and to generated features.

    States are sums in float64, added over ranks: 34 MB a set for 2048 features, whatever the number of
    samples. Real statistics that are stored go in by :meth:`take_real`.
    """

    scores = ("fid",)
    real_needs: ClassVar[str] = "statistics"

    def __init__(self) -> None:
        super().__init__(1)

    def take_real(self, statistics: RealStatistics) -> None:
        """Use stored statistics of the real set in place of samples; :meth:`reset` deletes them.

        Call it on one rank only. If all call it with the same statistics, they count once.
        """
        mu, sigma = (x.detach().to(self.device).double() for x in (statistics.mu, statistics.sigma))
        # If n is unknown, any number gives the same mean and covariance; this one does not limit the rank.
        n = len(mu) + 1 if statistics.n is None else statistics.n
        self._start((len(mu),))
        self.real_n = torch.full_like(self.real_n, n)
        self.real_sum = n * mu[None]
        self.real_outer = ((n - 1) * sigma + n * torch.outer(mu, mu))[None]
        self.real_sets = torch.ones_like(self.real_sets)
        self._computed = None

    def update(self, features: Tensor, real: bool) -> None:
        """Add features (n, d) of real or of generated samples.

        Raises:
            ValueError: If shapes do not fit, or a feature is not finite.
        """
        self._add(features, None, real)

    def compute(self) -> dict[str, Tensor]:
        """Return ``fid``; rounding may leave equal sets below 0, which counts as 0.

        Raises:
            ValueError: If there are fewer than two real or two generated samples.
        """
        return {"fid": self._distances("a set")[0]}


class PerClassFID(_Moments):
    """The Frechet distance within every class, and its mean (intra-FID, arXiv 1802.05637).

    States are sums in float64, added over ranks; num_classes * d^2 * 8 bytes a set: 336 MB for ten classes of
    2048 features. Samples of label -1 are left out.

    Args:
        num_classes: Number of classes C. None: an evaluation sets the game's.
    """

    scores = ("intra_fid", "intra_fid_per_class", "intra_fid_classes")

    def __init__(self, num_classes: int | None = None) -> None:
        self._open = num_classes is None
        super().__init__(num_classes)

    def fill_in(self, data: Any, num_classes: int | None, num_samples: int | None) -> None:
        """Take the number of classes, unless it was given."""
        if self._open and num_classes not in (None, self.num_classes):
            self.num_classes, self.shape = num_classes, None

    def update(self, features: Tensor, labels: Tensor, real: bool) -> None:
        """Add features (n, d) and labels (n,) of real or of generated samples.

        Raises:
            ValueError: If shapes do not fit, a label is not below num_classes, or a feature is not finite.
        """
        self._add(features, labels, real)

    def compute(self) -> dict[str, Tensor]:
        """Return the distances of the classes that have two real and two generated samples.

        Returns:
            ``intra_fid``: their mean, NaN if there is none. ``intra_fid_per_class``: (C,), at least 0, NaN
            where there are too few samples. ``intra_fid_classes``: number of classes that count.

        Raises:
            ValueError: If there are fewer than two real or two generated samples.
        """
        distances = self._distances("a class")
        used = ~distances.isnan()
        return {
            "intra_fid": distances[used].mean(),
            "intra_fid_per_class": distances,
            "intra_fid_classes": used.sum().double(),
        }
