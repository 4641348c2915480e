"""The Parzen-window log-likelihood, by which the original GAN was measured (arXiv 1406.2661, section 5)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_gans.checks import at_least
from lightning_gans.metrics.states import KeptImages

SIGMAS = tuple(10 ** (i / 9 - 1) for i in range(10))
"""Widths tried by the paper's code: ten, evenly spaced in the logarithm, from 0.1 to 1."""


class ParzenEstimate(NamedTuple):
    """Mean log-likelihood of the test points in nats, its standard error, and the chosen width."""

    mean: float
    standard_error: float
    sigma: float


class ParzenLikelihood(KeptImages):
    """Log-likelihood of real images under a mixture of Gaussians around generated ones, pixels in [0, 1].

    Of the real images, sorted by their numbers (``order``), the first ``num_validation`` choose the width and
    the next ``num_points`` are scored. The paper has 10,000 centres and scores
    MNIST's 10,000 test images. Images are kept as bytes, and every process gets those of all.

    Args:
        num_centres: Generated images to keep.
        num_validation: Real images that choose the width, at most 1000.
        num_points: Real images to score.
        sigmas: Widths to try.
        batch_size: Images scored at a time; memory is 8 * batch_size * num_centres bytes.

    Raises:
        ValueError: If an argument is not positive.
    """

    higher_is_better = True
    scores = ("parzen", "parzen_error", "parzen_sigma")
    real_split = "test"  # the likelihood of training images would reward copies of them

    def __init__(
        self,
        num_centres: int = 10_000,
        num_validation: int = 1000,
        num_points: int = 10_000,
        sigmas: Sequence[float] = SIGMAS,
        batch_size: int = 100,
    ) -> None:
        super().__init__()
        at_least(1, num_centres=num_centres, num_validation=num_validation, num_points=num_points)
        at_least(1, batch_size=batch_size)
        if num_validation > 1000:
            raise ValueError(f"num_validation={num_validation} must be at most 1000, as in the paper's code")
        if not sigmas or min(sigmas) <= 0:
            raise ValueError(f"sigmas={sigmas} must be positive widths")
        self.num_centres = num_centres
        self.num_validation = num_validation
        self.num_points = num_points
        self.sigmas = tuple(sigmas)
        self.batch_size = batch_size

    def most(self, side: str) -> int:
        """Return how many images of a side are used at most."""
        return self.num_centres if side == "fake" else self.num_validation + self.num_points

    def update(self, images: Tensor, order: Tensor, real: bool) -> None:
        """Add images, uint8 (n, C, H, W), and numbers (n,) that sort them."""
        self.keep(images, order, "real" if real else "fake")

    def compute(self) -> dict[str, Tensor]:
        """Score the real images as :func:`parzen_estimate` does.

        Returns:
            ``parzen``: mean log-likelihood in nats. ``parzen_error``: its standard error. ``parzen_sigma``:
            the width. Float64.

        Raises:
            ValueError: If no real image is left to be scored, there are no centres, or one came twice.
        """
        _, centres = self.kept("fake")
        _, real = self.kept("real", least=self.num_validation + 1)
        centres, real = centres.double() / 255, real.double() / 255
        validation, test = real[: self.num_validation], real[self.num_validation :]
        estimate = parzen_estimate(centres, validation, test, self.sigmas, self.batch_size)
        values = real.new_tensor(estimate)
        return dict(zip(self.scores, values, strict=True))


def parzen_log_likelihood(
    centres: Tensor, points: Tensor, sigma: float | Sequence[float], batch_size: int = 100
) -> Tensor:
    """Return the log-density of each point under a mixture of equal Gaussians around the centres.

    log p(x) = logmeanexp_j(-|x - mu_j|^2 / (2 sigma^2)) - d log(sigma sqrt(2 pi)), in float64: the densities
    themselves underflow. Values depend on the range of the data; the paper's pixels are in [0, 1], ours in
    [-1, 1], so pass (images + 1) / 2.

    Args:
        centres: Generated data, (M, ...); flattened to d numbers each.
        points: Data to be scored, (N, ...), of the same d.
        sigma: Width of the Gaussians, or several.
        batch_size: Points scored at a time; memory grows with batch_size * M.

    Returns:
        Nats in float64, (N,); (len(sigma), N) for several widths.

    Raises:
        ValueError: If shapes do not fit, something is empty, or a width is not positive.
    """
    sigmas = [float(sigma)] if isinstance(sigma, int | float) else [float(s) for s in sigma]
    if not sigmas or min(sigmas) <= 0:
        raise ValueError(f"sigma is {sigma}: give a positive width, or several")
    if centres.shape[1:] != points.shape[1:] or not len(centres) or not len(points):
        raise ValueError(
            f"centres and points have shapes {tuple(centres.shape)} and {tuple(points.shape)}: "
            "give at least one of each, all of one size"
        )
    centres, points = centres.flatten(1).double(), points.flatten(1).double().to(centres.device)
    dim, squares = centres.shape[1], centres.square().sum(1)

    def log_density(distances: Tensor, s: float) -> Tensor:
        constant = dim * math.log(s * math.sqrt(2 * math.pi)) + math.log(len(centres))
        return (distances / (-2 * s * s)).logsumexp(1) - constant

    batches = []
    for batch in torch.split(points, batch_size):
        # |x - mu|^2 = |x|^2 - 2 x mu + |mu|^2: one matrix product; rounding may leave -1e-13.
        distances = (batch.square().sum(1, keepdim=True) - 2 * batch @ centres.T + squares).clamp_(min=0)
        batches.append(torch.stack([log_density(distances, s) for s in sigmas]))
    scores = torch.cat(batches, dim=1)
    return scores[0] if isinstance(sigma, int | float) else scores


def parzen_estimate(
    centres: Tensor,
    validation: Tensor,
    test: Tensor,
    sigmas: Sequence[float] = SIGMAS,
    batch_size: int = 100,
) -> ParzenEstimate:
    """Choose the width on validation data and score the test data, as the paper does.

    Args:
        centres: Generated data, (M, ...); the paper has 10,000.
        validation: Held-out data, of which at most the first 1000 choose the width.
        test: Data to be scored.
        sigmas: Widths to try.
        batch_size: Points scored at a time.

    Returns:
        Mean log-likelihood of the test data and its standard error, in nats, and the width.

    Raises:
        ValueError: If shapes do not fit, something is empty, or a width is not positive.
    """
    scores = parzen_log_likelihood(centres, validation[:1000], sigmas, batch_size).mean(1)
    sigma = float(sigmas[int(scores.argmax())])
    values = parzen_log_likelihood(centres, test, sigma, batch_size)
    error = values.std(correction=0).item() / math.sqrt(len(values))
    return ParzenEstimate(values.mean().item(), error, sigma)
