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
        num_features: Size d of the features; the first batch tells it otherwise.

    Raises:
        ValueError: If k < 1.
    """

    higher_is_better = True
    scores = ("precision", "recall", "f_score")

    def __init__(self, k: int = 3, num_features: int | None = None) -> None:
        at_least(1, k=k)
        super().__init__(num_features)
        self.k = k

    def compute(self) -> dict[str, Tensor]:
        """Return ``precision``, ``recall`` and ``f_score``.

        Raises:
            ValueError: If a set has no more than k samples, or an index occurs twice.
        """
        return precision_recall(*self.both(self.k + 1), self.k)


class DensityCoverage(FeatureSets):
    """Density and coverage: as precision and recall, less at the mercy of outliers.

    Density counts the balls around real samples in which a generated one lies; it may exceed 1. Coverage is
    the share of real samples in whose ball there is a generated one. Memory as for :class:`PrecisionRecall`.

    Args:
        k: Which neighbour bounds a ball.
        num_features: Size d of the features; the first batch tells it otherwise.

    Raises:
        ValueError: If k < 1.
    """

    higher_is_better = True
    scores = ("density", "coverage")

    def __init__(self, k: int = 5, num_features: int | None = None) -> None:
        at_least(1, k=k)
        super().__init__(num_features)
        self.k = k

    def compute(self) -> dict[str, Tensor]:
        """Return ``density`` and ``coverage``.

        Raises:
            ValueError: If a set has no more than k samples, or an index occurs twice.
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
    for squares, radii in zip(_squared_distances(real, fake), _split(real_radii, len(fake)), strict=True):
        precise |= (squares <= radii[:, None]).any(dim=0)
        recalled += (squares <= fake_radii).any(dim=1).sum()
    precision, recall = precise.double().mean(), recalled.double() / len(real)
    # The floor is torch-fidelity's: no division by 0.
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
    inside = torch.cat(
        [
            (squares < part[:, None]).sum(dim=1)
            for squares, part in zip(_squared_distances(real, fake), _split(radii, len(fake)), strict=True)
        ]
    ).double()
    return {"density": inside.sum() / (k * len(fake)), "coverage": (inside > 0).double().mean()}


def _centred(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float64, around 0: distances from products lose digits far from there."""
    real, fake = real.detach().double(), fake.detach().double()
    centre = real.mean(dim=0)
    return real - centre, fake - centre


def _radii(points: Tensor, k: int) -> Tensor:
    """Return the squared distance (n,) of every point to its k-th neighbour, itself not counted."""
    return torch.cat(
        [
            squares.topk(k + 1, dim=1, largest=False).values[:, k]
            for squares in _squared_distances(points, points)
        ]
    )


def _split(rows: Tensor, columns: int) -> tuple[Tensor, ...]:
    """Split rows so that a matrix of part by columns has at most NUMBERS numbers."""
    return torch.split(rows, max(1, NUMBERS // columns))


def _squared_distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Yield the squared distances from parts of a to all of b; 0 for equal points."""
    squares = b.square().sum(dim=1)
    for part in _split(a, len(b)):
        own = part.square().sum(dim=1, keepdim=True)
        sums = own + squares
        distances = torch.addmm(sums, part, b.T, alpha=-2)
        # What is left of equal points are rounding errors.
        yield distances.masked_fill_(distances <= 1e-13 * sums, 0)
