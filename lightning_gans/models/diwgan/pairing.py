"""Which generated code each real one is paired with."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Pairing = Literal["hungarian", "greedy"]


@dataclass(frozen=True)
class Pairs:
    """Real samples, the generated ones that they are paired with, and what that counts.

    Attributes:
        real: ``(n, *image_shape)``.
        fake: ``(n, *image_shape)``.
        distances: Of their codes, ``(n,)``.
        real_weights: w_r, ``(n,)``.
        fake_weights: w_g, ``(n,)``.
    """

    real: Tensor
    fake: Tensor
    distances: Tensor
    real_weights: Tensor
    fake_weights: Tensor


def costs(real: Tensor, fake: Tensor) -> Tensor:
    """Return the distances ``(R, B, B)`` of real codes, the rows, and generated ones, ``(R, B, k)``."""
    # By differences: products of matrices would be inexact where samples lie close together.
    return torch.cdist(real, fake, compute_mode="donot_use_mm_for_euclid_dist")


def pair(costs: Tensor, how: Pairing = "hungarian") -> Tensor:
    """Pair each row of matrices of costs with a column of its own.

    Args:
        costs: Finite, ``(R, B, B)``.
        how: ``hungarian``: with the least sum of costs; ``greedy``: again and again the row and the column
            with the least cost that are left.

    Returns:
        The columns of the rows, int64 ``(R, B)``.

    Raises:
        ValueError: If a cost is not finite.
    """
    matrices = costs.detach().double().cpu().numpy()
    columns = np.stack([(hungarian if how == "hungarian" else greedy)(matrix) for matrix in matrices])
    return torch.from_numpy(columns).to(costs.device)


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
