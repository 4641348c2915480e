"""Kernel inception distance (arXiv 1801.01401): an unbiased maximum mean discrepancy of features."""

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lightning_gans.checks import at_least
from lightning_gans.metrics.states import FeatureSets, check_sets


class KID(FeatureSets):
    """Kernel inception distance: mean and deviation over random subsets, as torch-fidelity computes them.

    The estimate is unbiased, so that it suits few samples, and may be below 0. Needs all features of both
    sets: see :class:`FeatureSets` for the memory. Subsets are drawn by a generator of its own from ``seed``,
    from samples in the order of their numbers (``order``).

    Args:
        subsets: Number of subsets.
        subset_size: Samples of each set in a subset; all of them, with a warning, if there are fewer.
        degree: Degree of the polynomial kernel (gamma x^T y + coef0)^degree.
        gamma: Its factor; None for 1 / d.
        coef0: Its constant.
        seed: Decides the subsets.

    Raises:
        ValueError: If subsets < 1, or subset_size < 2.
    """

    higher_is_better = False
    scores = ("kid", "kid_std")

    def __init__(
        self,
        subsets: int = 100,
        subset_size: int = 1000,
        degree: int = 3,
        gamma: float | None = None,
        coef0: float = 1.0,
        seed: int = 2020,
    ) -> None:
        at_least(1, subsets=subsets)
        at_least(2, subset_size=subset_size)
        super().__init__()
        self.subsets, self.subset_size, self.seed = subsets, subset_size, seed
        self.degree, self.gamma, self.coef0 = degree, gamma, coef0

    def compute(self) -> dict[str, Tensor]:
        """Return ``kid`` and ``kid_std``: mean and deviation (of the population) over the subsets.

        Raises:
            ValueError: If a set has fewer than two samples, or a number occurs twice.
        """
        real, fake = self.both()
        return kernel_distance(
            real, fake, self.subsets, self.subset_size, self.degree, self.gamma, self.coef0, self.seed
        )


def kernel_distance(
    real: Tensor,
    fake: Tensor,
    subsets: int = 100,
    subset_size: int = 1000,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    seed: int = 2020,
) -> dict[str, Tensor]:
    """Return the kernel inception distance of two sets of features; see :class:`KID`.

    Args:
        real: (n, d).
        fake: (m, d).
        subsets: Number of subsets.
        subset_size: Samples of each set in a subset; all of them, with a warning, if there are fewer.
        degree: Of the polynomial kernel.
        gamma: Its factor; None for 1 / d.
        coef0: Its constant.
        seed: Decides the subsets.

    Returns:
        ``kid`` and ``kid_std``, float64.

    Raises:
        ValueError: If shapes do not fit, a set has fewer than two samples, or a feature is not finite.
    """
    at_least(1, subsets=subsets)
    at_least(2, subset_size=subset_size)
    check_sets(real, fake, "KID")
    size = min(subset_size, len(real), len(fake))
    if size < subset_size:
        warnings.warn(
            f"KID of {len(real)} real and {len(fake)} generated samples: subsets of {size} instead of "
            f"{subset_size}",
            stacklevel=2,
        )
    gamma = 1 / real.shape[1] if gamma is None else gamma
    real, fake = real.detach(), fake.detach()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x.double() @ y.double().T * gamma + coef0) ** degree

    # NumPy's legacy generator, and generated samples first, to draw the same subsets as torch-fidelity.
    rng = np.random.RandomState(seed)
    chosen = [
        [
            torch.from_numpy(rng.choice(len(side), size, replace=False)).to(side.device)
            for side in (fake, real)
        ]
        for _ in range(subsets)
    ]
    whole = len(fake) ** 2 + len(real) ** 2 + len(fake) * len(real)
    if whole <= 3 * subsets * size**2:
        sums = _sums_of_whole(fake, real, chosen, kernel)
    else:
        sums = torch.stack([_sums_of_subset(fake[i], real[j], kernel) for i, j in chosen])
    within, across = sums[:, :2].sum(1) / (size * (size - 1)), sums[:, 2] / size**2
    values = within - 2 * across
    return {"kid": values.mean(), "kid_std": values.std(correction=0)}


Kernel = Callable[[Tensor, Tensor], Tensor]


def _sums_of_subset(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    """Return sums of the kernel, (3,): within x and within y, without the diagonals, and across."""
    within = [k.sum() - k.trace() for k in (kernel(x, x), kernel(y, y))]
    return torch.stack([*within, kernel(x, y).sum()])


def _sums_of_whole(fake: Tensor, real: Tensor, chosen: list[list[Tensor]], kernel: Kernel) -> Tensor:
    """Return the sums of :func:`_sums_of_subset` for all subsets, (subsets, 3).

    If subsets overlap much, it is cheaper to compute the kernel of all samples once: the sum over a subset is
    v^T K v with the vector v that has ones at its samples.
    """
    members = []
    for side, samples in enumerate((fake, real)):
        member = torch.zeros(len(samples), len(chosen), dtype=torch.float64, device=samples.device)
        for column, pair in enumerate(chosen):
            member[pair[side], column] = 1
        members.append(member)

    def total(x: Tensor, y: Tensor, of_x: Tensor, of_y: Tensor) -> Tensor:
        parts = zip(x.split(1024), of_x.split(1024), strict=True)  # in parts, which limits memory
        return torch.stack([(rows * (kernel(part, y) @ of_y)).sum(0) for part, rows in parts]).sum(0)

    columns = []
    for samples, member in zip((fake, real), members, strict=True):
        diagonal = torch.stack([kernel(row, row) for row in samples[:, None]]).flatten()
        columns.append(total(samples, samples, member, member) - diagonal @ member)
    columns.append(total(fake, real, *members))
    return torch.stack(columns, dim=1)
