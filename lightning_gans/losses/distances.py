"""Distances between distributions that are known in closed form."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Distances(NamedTuple):
    """Four distances between two distributions; the Jensen-Shannon divergence has both factors 1/2."""

    wasserstein: Tensor
    jensen_shannon: Tensor
    kullback_leibler: Tensor
    total_variation: Tensor


def parallel_lines(theta: Tensor) -> Distances:
    """Compare the uniform distributions on two parallel unit segments (WGAN, arXiv 1701.07875, example 1).

    P_0 is the law of (0, Z) and P_theta that of (theta, Z), with Z uniform in [0, 1]. Only the Wasserstein
    distance, |theta|, is continuous in theta; the others jump at 0.

    Args:
        theta: Horizontal distances of the segments, any shape.

    Returns:
        The four distances, each of the shape of ``theta``; the Kullback-Leibler divergence (the same both
        ways) is infinite unless theta is 0.
    """
    apart = theta != 0
    zero = torch.zeros_like(theta)
    return Distances(
        wasserstein=theta.abs(),
        jensen_shannon=zero.masked_fill(apart, math.log(2)),
        kullback_leibler=zero.masked_fill(apart, math.inf),
        total_variation=zero.masked_fill(apart, 1.0),
    )
