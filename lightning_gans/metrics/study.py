"""The share of trials in which people took a generated image for a real one, and how sure it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_gans import checks


@dataclass(frozen=True)
class FoolingRate:
    """How often workers took fakes for real; all but the counts are shares, 0 to 1.

    Attributes:
        rate: Of all trials, those in which the fake was taken for real; 0.5 is chance.
        trials: Number of trials.
        workers: Number of workers.
        mean: Of the rates of the bootstrap.
        deviation: Their standard deviation, which papers print behind the +-.
        low: Their 2.5th percentile.
        high: Their 97.5th percentile.
        standard_error: Of the rate if all trials were independent: it leaves out that workers differ.
    """

    rate: float
    trials: int
    workers: int
    mean: float
    deviation: float
    low: float
    high: float
    standard_error: float


def fooling_rate(
    fooled: Sequence[int], trials: Sequence[int], repetitions: int = 10_000, seed: int = 0
) -> FoolingRate:
    """Compute the rate and its bootstrap over workers and trials, as the real-or-fake studies of pix2pix do.

    Each repetition draws as many workers as there are, with replacement, and of each one that is drawn as
    many of the worker's trials, with replacement (Isola et al., 2017, section 4.1, and the authors' tool).
    Of n trials of which k fooled the worker, such a draw has a binomial number with probability k / n.

    Args:
        fooled: For each worker, the trials in which the fake was taken for real.
        trials: For each worker, all scored trials.
        repetitions: Draws of the bootstrap.
        seed: The same seed gives the same numbers.

    Raises:
        ValueError: If an argument is out of range, the two differ in length or are empty, or there are more
            fooled trials than trials.
    """
    checks.at_least(1, repetitions=repetitions)
    checks.seed(seed=seed)
    k, n = np.asarray(fooled), np.asarray(trials)
    if k.shape != n.shape or k.ndim != 1 or not len(k):
        raise ValueError(f"fooled, trials: {k.shape} and {n.shape}, give a number of each for every worker")
    if bad := [(a, b) for a, b in zip(fooled, trials, strict=True) if not 0 <= a <= b or b < 1]:
        raise ValueError(f"fooled, trials: {bad[0][0]} of {bad[0][1]}, give 0 to all of at least 1")
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(k), size=(repetitions, len(k)))
    rates = rng.binomial(n[drawn], (k / n)[drawn]).sum(1) / n[drawn].sum(1)
    rate, total = float(k.sum() / n.sum()), int(n.sum())
    low, high = np.quantile(rates, (0.025, 0.975))
    error = math.sqrt(rate * (1 - rate) / total)
    return FoolingRate(
        rate, total, len(k), float(rates.mean()), float(rates.std()), float(low), float(high), error
    )
