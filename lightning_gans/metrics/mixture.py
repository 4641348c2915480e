"""Compare samples with a known Gaussian mixture: which of its modes they reach, and how they fill space."""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_gans.checks import at_least, one_of, positive, within
from lightning_gans.metrics.states import check_finite

Cells = Literal["grid", "mode", "whitened"]
_MARGIN = 0.25  # of the extent of the means, on each side of the box
_REACH = 4.0  # standard deviations that the cells of a mode cover, on each side of its mean
_MOST_CELLS = 1 << 24


class _OfMixture(Metric):
    """Base class of metrics that know a mixture: of the caller, or of the data module of an evaluation."""

    full_state_update = False
    means: Tensor | None
    whitening: Tensor | None

    def __init__(self, means: Tensor | None, covariances: Tensor | None) -> None:
        super().__init__()
        self._open = means is None
        self.register_buffer("means", None, persistent=False)
        self.register_buffer("whitening", None, persistent=False)
        if (means is None) != (covariances is None):
            raise ValueError("means, covariances: give both, or neither")

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
                f"{type(self).__name__} needs means and covariances of the modes, and {type(data).__name__} "
                "has none: give them, or use GaussianMixtures"
            )
        self.set_modes(means, covariances)

    def set_modes(self, means: Tensor, covariances: Tensor) -> None:
        """Set the modes, and delete all samples.

        Raises:
            ValueError: If shapes do not fit, or a covariance is not positive definite.
        """
        self.whitening = _whitening(means, covariances).to(self.device)
        self.means = means.detach().clone().to(self.device)
        for name, state in self._states(self.means).items():
            self.add_state(name, state.to(self.device), dist_reduce_fx="sum")
        self.reset()

    def _states(self, means: Tensor) -> dict[str, Tensor]:
        """Return the states that are added over ranks, all zero, for modes with these means (K, d)."""
        raise NotImplementedError

    def _modes(self) -> tuple[Tensor, Tensor]:
        if self.means is None or self.whitening is None:
            raise ValueError(f"{type(self).__name__} does not know the modes: give means and covariances")
        return self.means, self.whitening


class ModeCoverage(_OfMixture):
    """Modes found and share of high-quality samples (VEEGAN, DIWGAN), PacGAN's JSD, and spread in the modes.

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

    scores = ("modes", "high_quality", "jsd", "mode_spread")
    counts: Tensor
    sums: Tensor
    squares: Tensor
    total: Tensor

    def __init__(
        self,
        means: Tensor | None = None,
        covariances: Tensor | None = None,
        threshold: float = 3.0,
        min_count: int = 1,
    ) -> None:
        super().__init__(means, covariances)
        positive(threshold=threshold)
        at_least(1, min_count=min_count)
        self.threshold = threshold
        self.min_count = min_count
        for name, state in self._states(torch.zeros(0, 0)).items():
            self.add_state(name, state, dist_reduce_fx="sum")
        if means is not None and covariances is not None:
            self.set_modes(means, covariances)

    def _states(self, means: Tensor) -> dict[str, Tensor]:
        return {
            "counts": torch.zeros(len(means), dtype=torch.int64),
            "sums": torch.zeros(means.shape, dtype=torch.float64),
            "squares": torch.zeros(len(means), dtype=torch.float64),
            "total": torch.tensor(0),
        }

    def update(self, samples: Tensor) -> None:
        """Add samples (n, d).

        Raises:
            ValueError: If their shape does not fit, or the modes are not known.
        """
        counts, sums, squares = _high_quality(samples, *self._modes(), self.threshold)
        self.counts += counts
        self.sums += sums
        self.squares += squares
        self.total += len(samples)

    def compute(self) -> dict[str, Tensor]:
        """Return the scores that :func:`mode_coverage` describes."""
        found = self.counts, self.sums, self.squares
        return _coverage(*found, self.total, self.threshold, self.min_count)


class MixtureJSD(_OfMixture):
    """DIWGAN's JSD: Jensen-Shannon divergence of real and generated samples, counted in cells of space.

    The paper counts points in the "units" of a "canonical space" and does not say what these are. The default
    is a grid over the box around all means, enlarged by 25 % of its extent on each side; what lies outside
    counts in the cells at the border. Its value depends on cells and numbers of samples: it compares games
    scored alike, not with the paper. 10,000 real samples against 10,000 others have 0.0005 on the ring, 0.002
    on the grid, 0.004 on the cube.

    Give as many real samples as generated ones: the 10,000 of the test split of
    :class:`~lightning_gans.GaussianMixtures` with ``Evaluate``'s default. States are summed over ranks.

    Args:
        means: (K, d) means of the modes. None: an evaluation sets those of the data module, or the caller
            calls :meth:`set_modes` before the first sample.
        covariances: (K, d, d) covariances, positive definite; None if ``means`` is.
        cells: ``grid`` as above. ``mode``: a cell for each mode, of the samples that it is nearest to, by
            Mahalanobis distance. ``whitened``: cells within each of these, a grid that spans 4 standard
            deviations of the mode on each side, along the axes in which it is standard normal; so the
            shape of the modes counts, too.
        bins: Bins an axis. None: of the grid 32 in two dimensions and 16 in three; of a mode 8 and 4.
        base: Base of the logarithm: the largest value is ln 2 in nats, 1 with base 2.
        sqrt: Return the square root, the Jensen-Shannon distance.

    Raises:
        ValueError: If shapes do not fit, an argument is out of range, or there are too many cells.
    """

    higher_is_better = False
    real_split = "test"
    scores = ("cell_jsd",)
    real_counts: Tensor
    fake_counts: Tensor

    def __init__(
        self,
        means: Tensor | None = None,
        covariances: Tensor | None = None,
        cells: Cells = "grid",
        bins: int | None = None,
        base: float = math.e,
        sqrt: bool = False,
    ) -> None:
        super().__init__(means, covariances)
        _check_options(cells, bins, base)
        self.cells, self.bins, self.base, self.sqrt = cells, bins, base, sqrt
        for side in ("real_counts", "fake_counts"):
            self.add_state(side, torch.zeros(0, dtype=torch.int64), dist_reduce_fx="sum")
        if means is not None and covariances is not None:
            self.set_modes(means, covariances)

    def _states(self, means: Tensor) -> dict[str, Tensor]:
        *_, size = _axes(means, self.cells, self.bins)
        return {side: torch.zeros(size, dtype=torch.int64) for side in ("real_counts", "fake_counts")}

    @property
    def protocol(self) -> dict[str, Any]:
        """What belongs beside the score."""
        bins = self.bins if self.means is None else _axes(self.means, self.cells, self.bins)[2]
        return {"cells": self.cells, "bins": bins, "base": self.base, "sqrt": self.sqrt}

    def update(self, samples: Tensor, real: bool) -> None:
        """Add samples (n, d), real or generated.

        Raises:
            ValueError: If their shape does not fit, one is not finite, or the modes are not known.
        """
        counts = _cell_counts(samples, *self._modes(), self.cells, self.bins)
        if real:
            self.real_counts += counts
        else:
            self.fake_counts += counts

    def compute(self) -> dict[str, Tensor]:
        """Return ``cell_jsd``, as :func:`mixture_jsd` does.

        Raises:
            ValueError: If there is no real or no generated sample.
        """
        return _cell_jsd(self.real_counts, self.fake_counts, self.base, self.sqrt)


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
        over the modes and the uniform one (PacGAN), ln 2 without any high-quality sample. ``mode_spread``:
        standard deviation of the high-quality samples around the mean of those of their mode, as a multiple
        of that of perfect samples: 1 for these, 0 where every mode is reached by copies of one point, or by
        one sample at most. All float64.
    """
    positive(threshold=threshold)
    at_least(1, min_count=min_count)
    found = _high_quality(samples, means, _whitening(means, covariances), threshold)
    return _coverage(*found, torch.tensor(len(samples), device=samples.device), threshold, min_count)


def mixture_jsd(
    real: Tensor,
    fake: Tensor,
    means: Tensor,
    covariances: Tensor,
    cells: Cells = "grid",
    bins: int | None = None,
    base: float = math.e,
    sqrt: bool = False,
) -> dict[str, Tensor]:
    """Compare real and generated samples by cells; the function behind :class:`MixtureJSD`, which see.

    Args:
        real: (n, d).
        fake: (m, d).
        means: (K, d).
        covariances: (K, d, d).
        cells: ``grid``, ``mode`` or ``whitened``.
        bins: Bins an axis. None: 32 in two dimensions and 16 in three; of each mode 8 and 4.
        base: Base of the logarithm.
        sqrt: Return the square root.

    Returns:
        ``cell_jsd``: Jensen-Shannon divergence of the distributions over cells, float64.
    """
    _check_options(cells, bins, base)
    whitening = _whitening(means, covariances)
    real_counts, fake_counts = (_cell_counts(x, means, whitening, cells, bins) for x in (real, fake))
    return _cell_jsd(real_counts, fake_counts, base, sqrt)


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


def _check_shape(samples: Tensor, means: Tensor) -> None:
    if samples.dim() != 2 or samples.shape[1] != means.shape[1]:
        raise ValueError(
            f"samples have shape {tuple(samples.shape)}: the mixture needs (n, {means.shape[1]})"
        )


@torch.no_grad()
def _nearest(samples: Tensor, means: Tensor, whitening: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each sample from its nearest mode (n, d), in standard deviations, and the mode."""
    _check_shape(samples, means)
    places, modes = [], []
    # In parts, which limits the memory for differences (n, K, d).
    for part in samples.to(means.dtype).split(10_000):
        whitened = torch.einsum("kij,nkj->nki", whitening, part[:, None] - means)
        mode = whitened.norm(dim=2).argmin(dim=1)
        places.append(whitened[torch.arange(len(part), device=part.device), mode])
        modes.append(mode)
    return torch.cat(places), torch.cat(modes)


def _high_quality(
    samples: Tensor, means: Tensor, whitening: Tensor, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return how many high-quality samples each mode has (K,), and the sums of their places and squares."""
    places, modes = _nearest(samples, means, whitening)
    good = places.norm(dim=1) < threshold
    places, modes = places[good].double(), modes[good]
    zeros = places.new_zeros(means.shape)
    sums, squares = (zeros.index_add(0, modes, values) for values in (places, places.square()))
    return torch.bincount(modes, minlength=len(means)), sums, squares.sum(dim=1)


def _coverage(
    counts: Tensor, sums: Tensor, squares: Tensor, total: Tensor, threshold: float, min_count: int
) -> dict[str, Tensor]:
    good = counts.sum()
    jsd = _jensen_shannon(counts, torch.ones_like(counts))
    deviations = squares - sums.square().sum(dim=1) / counts.clamp(min=1)
    degrees = (counts - 1).clamp(min=0).sum() * sums.shape[1]
    # The variance of a standard normal that is cut off at the threshold, along an axis.
    half = torch.tensor([sums.shape[1] / 2, threshold**2 / 2], dtype=torch.float64, device=sums.device)
    perfect = torch.special.gammainc(half[0] + 1, half[1]) / torch.special.gammainc(half[0], half[1])
    variance = deviations.sum().clamp(min=0) / degrees.clamp(min=1)
    return {
        "modes": (counts >= min_count).sum().double(),
        "high_quality": good.double() / total.clamp(min=1),
        "jsd": torch.where(good > 0, jsd, math.log(2)),
        "mode_spread": (variance / perfect).sqrt(),
    }


def _jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Return the divergence in nats of two distributions that are given by their counts (K,)."""
    p, q = (counts.double() / counts.sum().clamp(min=1) for counts in (p, q))
    middle = ((p + q) / 2).clamp(min=torch.finfo(torch.float64).tiny)
    return (torch.xlogy(p, p / middle) + torch.xlogy(q, q / middle)).sum() / 2


def _check_options(cells: str, bins: int | None, base: float) -> None:
    one_of(("grid", "mode", "whitened"), cells=cells)
    at_least(2, bins=bins)
    within("(1, inf)", base=base)
    if cells == "mode" and bins is not None:
        raise ValueError(f"bins={bins}, but cells=mode has a cell for each mode: leave it out")


def _axes(means: Tensor, cells: Cells, bins: int | None) -> tuple[Tensor, Tensor, int, int]:
    """Return where the cells begin and end along each axis (d,), the bins an axis, and how many cells."""
    few, many = {"grid": (16, 32), "mode": (1, 1), "whitened": (4, 8)}[cells]
    bins = bins or (many if means.shape[1] < 3 else few)
    number = bins ** means.shape[1] * (1 if cells == "grid" else len(means))
    if number > _MOST_CELLS:
        raise ValueError(f"bins={bins} an axis are {number:,} cells: use fewer bins, or cells=mode")
    low, high = means.double().amin(dim=0), means.double().amax(dim=0)
    if cells != "grid":
        return torch.full_like(low, -_REACH), torch.full_like(high, _REACH), bins, number
    if (high == low).any():
        axis = int((high == low).nonzero()[0])
        raise ValueError(
            f"cells=grid: all means have the same coordinate {axis}, so that the box around them has no "
            "extent: use cells=whitened"
        )
    margin = _MARGIN * (high - low)
    return low - margin, high + margin, bins, number


@torch.no_grad()
def _cell_counts(samples: Tensor, means: Tensor, whitening: Tensor, cells: Cells, bins: int | None) -> Tensor:
    """Return how many samples lie in each cell, int64."""
    low, high, bins, number = _axes(means, cells, bins)
    _check_shape(samples, means)
    check_finite(samples, "values", 0)
    if cells == "grid":
        places, cell = samples, torch.zeros(len(samples), dtype=torch.int64, device=samples.device)
    else:
        places, cell = _nearest(samples, means, whitening)
    # Clamped before they are whole numbers, which could not hold the largest floats.
    index = ((places.double() - low) / (high - low) * bins).clamp(0, bins - 1).long()
    for along in index.unbind(dim=1):
        cell = cell * bins + along
    return torch.bincount(cell, minlength=number)


def _cell_jsd(real: Tensor, fake: Tensor, base: float, sqrt: bool) -> dict[str, Tensor]:
    for side, counts in (("real", real), ("generated", fake)):
        if not counts.any():
            raise ValueError(f"there is no {side} sample: a divergence needs samples of both sides")
    jsd = _jensen_shannon(real, fake).clamp(min=0) / math.log(base)
    return {"cell_jsd": jsd.sqrt() if sqrt else jsd}
