"""Which generated code each real one is paired with."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Pairing = Literal["hungarian", "greedy"]

_THREADS = ThreadPoolExecutor(thread_name_prefix="pairing")  # scipy lets other threads run meanwhile


def costs(real: Tensor, fake: Tensor) -> Tensor:
    """Return the distances ``(R, B, B)`` of real codes, the rows, and generated ones, ``(R, B, k)``."""
    # By differences: products of matrices would be inexact where samples lie close together.
    return torch.cdist(real, fake, compute_mode="donot_use_mm_for_euclid_dist")


def start(costs: Tensor, how: Pairing = "hungarian") -> Callable[[], Tensor]:
    """Begin to pair each row of matrices of costs with a column of its own, in other threads.

    Args:
        costs: Finite, ``(R, B, B)``.
        how: ``hungarian``: with the least sum of costs; ``greedy``: again and again the row and the column
            with the least cost that are left.

    Returns:
        What waits for the end and returns the columns of the rows, int64 ``(R, B)``; or raises a ValueError
        if a cost is not finite.
    """
    matrices = costs.detach().double().cpu().numpy()
    solve = hungarian if how == "hungarian" else greedy
    found = [_THREADS.submit(solve, matrix) for matrix in matrices]
    return lambda: torch.from_numpy(np.stack([columns.result() for columns in found])).to(costs.device)


def hungarian(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the columns of the rows of (B, B) with the least sum."""
    columns: NDArray[np.int64] = linear_sum_assignment(costs)[1]
    return columns


def greedy(costs: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the columns of the rows of (B, B) where the least cost that is left decides, again and again.

    Raises:
        ValueError: If a cost is not finite.
    """
    if not np.isfinite(costs).all():
        raise ValueError("costs are not finite: nothing is the least")
    size = len(costs)
    columns, taken = np.full(size, -1), np.zeros(size, bool)
    for place in np.argsort(costs, axis=None, kind="stable"):
        row, column = divmod(place, size)
        if columns[row] < 0 and not taken[column]:
            columns[row], taken[column] = column, True
    return columns
