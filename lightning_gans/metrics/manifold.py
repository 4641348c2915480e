"""Quality and variety apart: precision and recall (arXiv 1904.06991), density and coverage (2002.09797)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_gans.checks import at_least
from lightning_gans.metrics.states import FeatureSets, check_sets

TIE = 1e-9
"""Squared distances that differ by less than this part are equal: so far, rounding errors decide."""

NUMBERS = 2**24
"""Distances that are computed at once: 128 MB."""


class PrecisionRecall(FeatureSets):
    """Improved precision and recall: the share of samples that lie in the other set's estimated manifold.

    The manifold of a set is the union of balls around its samples, each up to the k-th neighbour. The values
    depend on the number of samples: compare equal ones. Needs all features of both sets: see
    :class:`FeatureSets` for the memory, and twice as much while it computes (float64), but no matrix of all
    distances.

    Args:
        k: Which neighbour bounds a ball.

    Raises:
        ValueError: If k < 1.
    """

    higher_is_better = True
    scores = ("precision", "recall", "f_score")

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        at_least(1, k=k)
        self.k = k

    def compute(self) -> dict[str, Tensor]:
        """Return ``precision``, ``recall`` and ``f_score``.

        Raises:
            ValueError: If a set has no more than k samples, or a number occurs twice.
        """
        return precision_recall(*self.both(self.k + 1), self.k)


class DensityCoverage(FeatureSets):
    """Density and coverage: like precision and recall, but less sensitive to outliers.

    Density counts the balls around real samples in which a generated one lies; it may exceed 1. Coverage is
    the share of real samples in whose ball there is a generated one. Memory as for :class:`PrecisionRecall`.

    Args:
        k: Which neighbour bounds a ball.

    Raises:
        ValueError: If k < 1.
    """

    higher_is_better = True
    scores = ("density", "coverage")

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        at_least(1, k=k)
        self.k = k

    def compute(self) -> dict[str, Tensor]:
        """Return ``density`` and ``coverage``.

        Raises:
            ValueError: If a set has no more than k samples, or a number occurs twice.
        """
        return density_coverage(*self.both(self.k + 1), self.k)


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> dict[str, Tensor]:
    """Return improved precision and recall of features; see :class:`PrecisionRecall`.

    Args:
        real: (n, d), n > k.
        fake: (m, d), m > k.
        k: Which neighbour bounds a ball; points on its surface belong to it.

    Returns:
        ``precision``: share of generated samples in a ball of a real one. ``recall``: share of real samples
        in a ball of a generated one. ``f_score``: their harmonic mean, 0 if both are. All float64.

    Raises:
        ValueError: If shapes do not fit, a set has no more than k samples, or a feature is not finite.
    """
    at_least(1, k=k)
    check_sets(real, fake, "PrecisionRecall", k + 1)
    real, fake = _centred(real, fake)
    real_radii, fake_radii = _radii(real, k) * (1 + TIE), _radii(fake, k) * (1 + TIE)
    precise = torch.zeros(len(fake), dtype=torch.bool, device=fake.device)
    recalled = torch.zeros((), dtype=torch.int64, device=fake.device)
    for rows, squares in _squared_distances(real, fake):
        precise |= (squares <= real_radii[rows, None]).any(dim=0)
        recalled += (squares <= fake_radii).any(dim=1).sum()
    precision, recall = precise.double().mean(), recalled.double() / len(real)
    # torch-fidelity's lower bound, which avoids a division by 0.
    f_score = 2 * precision * recall / (precision + recall).clamp(min=1e-5)
    return {"precision": precision, "recall": recall, "f_score": f_score}


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> dict[str, Tensor]:
    """Return density and coverage of features; see :class:`DensityCoverage`.

    Args:
        real: (n, d), n > k.
        fake: (m, d), m > k.
        k: Which neighbour bounds a ball; points on its surface do not belong to it, as in prdc. So both are 0
            if all real samples are equal.

    Returns:
        ``density`` and ``coverage``, float64.

    Raises:
        ValueError: If shapes do not fit, a set has no more than k samples, or a feature is not finite.
    """
    at_least(1, k=k)
    check_sets(real, fake, "DensityCoverage", k + 1)
    real, fake = _centred(real, fake)
    radii = _radii(real, k) * (1 - TIE)
    counts = [(squares < radii[rows, None]).sum(dim=1) for rows, squares in _squared_distances(real, fake)]
    inside = torch.cat(counts).double()
    return {"density": inside.sum() / (k * len(fake)), "coverage": (inside > 0).double().mean()}


def _centred(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Shift both sets to mean 0, in float64: far from 0, distances computed by products lose digits."""
    real, fake = real.detach().double(), fake.detach().double()
    centre = real.mean(dim=0)
    return real - centre, fake - centre


def _radii(points: Tensor, k: int) -> Tensor:
    """Return the squared distance (n,) of every point to its k-th neighbour, itself not counted."""
    parts = _squared_distances(points, points)
    return torch.cat([squares.topk(k + 1, dim=1, largest=False).values[:, k] for _, squares in parts])


def _squared_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield the squared distances from some rows of a to all of b, and which; 0 for equal points."""
    squares = b.square().sum(dim=1)
    count = max(1, NUMBERS // len(b))
    for start in range(0, len(a), count):
        rows = slice(start, start + count)
        sums = a[rows].square().sum(dim=1, keepdim=True) + squares
        distances = torch.addmm(sums, a[rows], b.T, alpha=-2)
        # Rounding errors of equal points become 0.
        yield rows, distances.masked_fill_(distances <= 1e-13 * sums, 0)
