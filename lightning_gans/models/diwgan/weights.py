"""The two importance weights of DIWGAN, and the weighted distance of paired codes (its Eq. 2).

The paper says in words what the weights do; the formulas here are this package's reading of them. All
functions take codes of R games at once, ``(R, B, k)``, standardised by the mean and standard deviation of the
real data's, and return float32 without a graph, except :func:`distance` and :func:`weighted`, through which
the generator learns.
"""

import math
from typing import Literal

import torch
from torch import Tensor

GeneratorWeight = Literal["density", "rank", "inverse", "none"]
TargetWeight = Literal["history", "cumulative", "min", "coverage", "none"]

UNDERFLOW = 1e-30

NARROWEST = 1e-3
"""The least bandwidth, where the generator has collapsed: a thousandth of the real data's deviation."""


def scott_bandwidth(points: Tensor) -> Tensor:
    """Return Scott's bandwidth of each dimension, ``std * M^(-1 / (k + 4))``.

    Args:
        points: ``(R, M, k)``.

    Returns:
        ``(R, 1, k)``, at least :data:`NARROWEST`.
    """
    count, dim = points.shape[1:]
    widths: Tensor = points.float().std(1, keepdim=True, correction=0) * count ** (-1 / (dim + 4))
    return widths.clamp(min=NARROWEST)


@torch.no_grad()
def log_density(at: Tensor, points: Tensor, bandwidth: Tensor | float) -> Tensor:
    """Return the log of a kernel density estimate: the mean of Gaussians around ``points``.

    Args:
        at: Where, ``(R, B, k)``.
        points: ``(R, M, k)``.
        bandwidth: The Gaussians' standard deviation; of each dimension, ``(R, 1, k)``, or one for all.

    Returns:
        ``(R, B)``.
    """
    count, dim = points.shape[1:]
    width = torch.as_tensor(bandwidth, device=at.device).expand(len(at), 1, dim)
    # |a - b|^2 = |a|^2 - 2ab + |b|^2 cancels where the origin is far away compared with the bandwidth.
    centre = points.mean(1, keepdim=True)
    a, b = (at - centre) / width, (points - centre) / width
    halves = (-0.5 * x.square().sum(2, keepdim=True) for x in (a, b))
    a, b = (torch.cat([x, half, torch.ones_like(half)], 2) for x, half in zip((a, b), halves, strict=True))
    with torch.autocast(at.device.type, enabled=False):
        exponents = a @ b[:, :, [*range(dim), dim + 1, dim]].mT  # one product: -|a - b|^2 / 2
    sums = exponents.exp().sum(2)
    # No exponent is above 0: none need be shifted, as by logsumexp, which takes three times as long.
    logs = sums.log() if sums.min() > UNDERFLOW else exponents.logsumexp(2)
    normaliser: Tensor = width.log().sum(2) + dim / 2 * math.log(2 * math.pi) + math.log(count)
    return logs - normaliser


def balanced(weights: Tensor, clip: tuple[float, float]) -> Tensor:
    """Divide weights ``(R, B)`` by their mean, clip them, and divide by their mean again."""
    weights = weights / weights.mean(1, keepdim=True)
    clipped = weights.clamp(*clip)
    return clipped / clipped.mean(1, keepdim=True)


def temperature(dim: int) -> float:
    """Return by what logs of densities are divided: 1 up to 3 dimensions, then half their number.

    Unscaled, densities of many dimensions differ by so many orders that one sample gets all the weight.
    """
    return 1.0 if dim <= 3 else dim / 2


def generator_weights(
    log_densities: Tensor, kind: GeneratorWeight, dim: int, clip: tuple[float, float] = (0.0, math.inf)
) -> Tensor:
    """Weigh generated samples by how densely the generator has lately covered the place where they are.

    Args:
        log_densities: Of the past generated codes at these, ``(R, B)``.
        kind: ``density``, in proportion to the density, tempered by :func:`temperature`; ``rank``, to
            its rank in the batch; ``inverse``, to one over the density; ``none``, all alike.
        dim: k, the dimension of the codes.
        clip: The weights' least and largest value, when their mean is 1.

    Returns:
        ``(R, B)``, of mean 1.
    """
    if kind == "none":
        return torch.ones_like(log_densities)
    if kind == "rank":
        return balanced(log_densities.argsort(1).argsort(1).float() + 1, clip)
    sign = -1 if kind == "inverse" else 1
    return balanced((sign * log_densities / temperature(dim)).softmax(1), clip)


def distance(real: Tensor, paired: Tensor) -> Tensor:
    """Return the distances ``(R, B)`` of paired codes ``(R, B, k)``, with a finite gradient at 0."""
    return ((real - paired).square().sum(2) + 1e-12).sqrt()


def weighted(distances: Tensor, real_weights: Tensor, fake_weights: Tensor, gamma: float = 1.0) -> Tensor:
    """Return the mean of ``(w_r * w_g)^gamma * distance``, a scalar (Eq. 2 and 3).

    Args:
        distances: Of pairs, ``(R, B)``.
        real_weights: w_r, of the pairs' real codes, ``(R, B)``.
        fake_weights: w_g, of the pairs' generated codes, ``(R, B)``.
        gamma: The exponent.
    """
    return ((real_weights * fake_weights) ** gamma * distances).mean()


def effective_share(weights: Tensor) -> Tensor:
    """Return which share of samples ``(R, B)`` counts as if weights were equal: ``(sum w)^2 / (B sum w^2)``.

    1 if all weigh alike, 1/B if one has all the weight; the mean over R.
    """
    share: Tensor = weights.mean(1).square() / weights.square().mean(1)
    return share.mean()
