"""Which real samples stand for the data: the set S_r that generated ones are paired with."""

import warnings
from typing import Literal

import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

RealSet = Literal["best_of", "random", "kde", "kmeans", "redraw"]

CANDIDATES = 16
"""Random subsets that ``best_of`` chooses from."""

BLOCK = 1 << 22  # distances that are in memory at once


def mean_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean Euclidean distance of all pairs of points (n, k) and (m, k), block by block."""
    rows = max(1, BLOCK // len(b))
    total = sum(torch.cdist(part, b).sum(dtype=torch.float64) for part in a.split(rows))
    assert isinstance(total, Tensor)
    return total / (len(a) * len(b))


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return ``2 E|A - B| - E|A - A'| - E|B - B'|`` of two sets of points, (n, k) and (m, k): 0 if equal."""
    return 2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)


def choose(codes: Tensor, size: int, how: RealSet, rng: torch.Generator) -> Tensor:
    """Choose samples that stand for all.

    Args:
        codes: Standardised codes of the data, (N, k).
        size: How many, at most N.
        how: ``best_of``: of :data:`CANDIDATES` random subsets the one with the least energy distance to all.
            ``kmeans``: the samples nearest to as many centres. ``random`` and ``kde``: drawn at random.
        rng: On the CPU.

    Returns:
        Their indices, ``(size,)``, all different.
    """
    if how == "kmeans":
        return _medoids(codes, size, rng)
    subsets = torch.stack(
        [
            torch.randperm(len(codes), generator=rng)[:size]
            for _ in range(CANDIDATES if how == "best_of" else 1)
        ]
    )
    if len(subsets) == 1:
        return subsets[0]
    # Of the energy distance the part of all samples alone is the same for each subset.
    found = [2 * mean_distance(codes[s], codes) - mean_distance(codes[s], codes[s]) for s in subsets]
    return subsets[int(torch.stack(found).argmin())]


def _medoids(codes: Tensor, size: int, rng: torch.Generator) -> Tensor:
    points = codes.double().cpu().numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One of the clusters is empty")  # it keeps its centre
        start = points[torch.randperm(len(codes), generator=rng)[:size].numpy()]
        centres, _ = kmeans2(points, start, minit="matrix")
    free = torch.ones(len(codes), dtype=torch.bool)
    chosen = []
    for centre in torch.from_numpy(centres).to(codes):
        away = (codes - centre).square().sum(1).cpu()
        chosen.append(int(torch.where(free, away, torch.inf).argmin()))
        free[chosen[-1]] = False
    return torch.tensor(chosen)
