"""Metrics of quality, variety and faithfulness, and the networks that extract features for them."""

from lightning_gans.metrics.balance import ClassBalance, TopProbability, class_balance
from lightning_gans.metrics.base import Contract, score_names
from lightning_gans.metrics.diversity import (
    LPIPSDiversity,
    PerClassLPIPSDiversity,
    lpips_diversity,
)
from lightning_gans.metrics.energy import CoulombEnergy
from lightning_gans.metrics.estimates import DistanceEstimate
from lightning_gans.metrics.evaluation import Evaluation, RealImages, Scores
from lightning_gans.metrics.extractors import Extractor, Inception, ModuleExtractor
from lightning_gans.metrics.frechet import (
    FID,
    PerClassFID,
    feature_statistics,
    frechet_distance,
)
from lightning_gans.metrics.inception_score import IS, ModifiedIS, inception_score, modified_inception_score
from lightning_gans.metrics.kernel import KID, kernel_distance
from lightning_gans.metrics.latents import LatentSigma
from lightning_gans.metrics.manifold import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    precision_recall,
)
from lightning_gans.metrics.mixture import MixtureJSD, ModeCoverage, mixture_jsd, mode_coverage
from lightning_gans.metrics.neighbours import FeatureNeighbours, NearestNeighbours, nearest_neighbours
from lightning_gans.metrics.paired import L1, LPIPS, PSNR, SSIM
from lightning_gans.metrics.parzen import (
    ParzenEstimate,
    ParzenLikelihood,
    parzen_estimate,
    parzen_log_likelihood,
)
from lightning_gans.metrics.segmentation import (
    FACADES_CLASSES,
    FACADES_PALETTE,
    FCNScore,
    nearest_colours,
    segmentation_scores,
)
from lightning_gans.metrics.stacked import StackedModes, mode_count_and_kl, stacked_labels
from lightning_gans.metrics.statistics import RealStatistics
from lightning_gans.metrics.stream import Samples
from lightning_gans.metrics.study import FoolingRate, fooling_rate
from lightning_gans.metrics.swd import SWD, sliced_wasserstein

__all__ = [
    "FACADES_CLASSES", "FACADES_PALETTE", "FID", "IS", "KID", "L1", "LPIPS", "PSNR", "SSIM", "SWD",
    "ClassBalance", "Contract", "CoulombEnergy", "DensityCoverage", "DistanceEstimate", "Evaluation",
    "Extractor", "FCNScore", "FeatureNeighbours", "FoolingRate", "Inception", "LPIPSDiversity", "LatentSigma",
    "MixtureJSD", "ModeCoverage", "ModifiedIS", "ModuleExtractor", "NearestNeighbours", "ParzenEstimate",
    "ParzenLikelihood", "PerClassFID", "PerClassLPIPSDiversity", "PrecisionRecall", "RealImages",
    "RealStatistics", "Samples", "Scores", "StackedModes", "TopProbability", "class_balance",
    "density_coverage", "feature_statistics", "fooling_rate", "frechet_distance", "inception_score",
    "kernel_distance", "lpips_diversity", "mixture_jsd", "mode_count_and_kl", "mode_coverage",
    "modified_inception_score", "nearest_colours", "nearest_neighbours", "parzen_estimate",
    "parzen_log_likelihood", "precision_recall", "score_names", "segmentation_scores", "sliced_wasserstein",
    "stacked_labels",
]  # fmt: skip
