"""Metrics: how good, how varied, how faithful; and the networks that they look through."""

from lightning_gans.metrics.balance import ClassBalance
from lightning_gans.metrics.diversity import LPIPSDiversity, PerClassLPIPSDiversity
from lightning_gans.metrics.evaluation import Evaluation, RealImages, Samples, Scores
from lightning_gans.metrics.extractors import Extractor, Inception, ModuleExtractor
from lightning_gans.metrics.frechet import FID, PerClassFID, frechet_distance
from lightning_gans.metrics.inception_score import IS, ModifiedIS
from lightning_gans.metrics.kernel import KID
from lightning_gans.metrics.manifold import DensityCoverage, PrecisionRecall
from lightning_gans.metrics.mixture import ModeCoverage, mode_coverage
from lightning_gans.metrics.neighbours import FeatureNeighbours, NearestNeighbours
from lightning_gans.metrics.parzen import (
    ParzenEstimate,
    ParzenLikelihood,
    parzen_estimate,
    parzen_log_likelihood,
)
from lightning_gans.metrics.segmentation import FCNScore
from lightning_gans.metrics.stacked import StackedModes, mode_count_and_kl
from lightning_gans.metrics.statistics import RealStatistics
from lightning_gans.metrics.swd import SWD

__all__ = [
    "FID",
    "IS",
    "KID",
    "SWD",
    "ClassBalance",
    "DensityCoverage",
    "Evaluation",
    "Extractor",
    "FCNScore",
    "FeatureNeighbours",
    "Inception",
    "LPIPSDiversity",
    "ModeCoverage",
    "ModifiedIS",
    "ModuleExtractor",
    "NearestNeighbours",
    "ParzenEstimate",
    "ParzenLikelihood",
    "PerClassFID",
    "PerClassLPIPSDiversity",
    "PrecisionRecall",
    "RealImages",
    "RealStatistics",
    "Samples",
    "Scores",
    "StackedModes",
    "frechet_distance",
    "mode_count_and_kl",
    "mode_coverage",
    "parzen_estimate",
    "parzen_log_likelihood",
]
