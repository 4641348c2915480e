"""Metrics: how good, how varied, how faithful."""

from lightning_gans.metrics.mixture import ModeCoverage, mode_coverage
from lightning_gans.metrics.parzen import ParzenEstimate, parzen_estimate, parzen_log_likelihood

__all__ = ["ModeCoverage", "ParzenEstimate", "mode_coverage", "parzen_estimate", "parzen_log_likelihood"]
