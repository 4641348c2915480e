"""Callbacks: pictures, scores, averaged weights, speed, checkpoints."""

from lightning_gans.callbacks.active_learning import ActiveLearning
from lightning_gans.callbacks.checkpoint import Checkpoint
from lightning_gans.callbacks.components import Components
from lightning_gans.callbacks.ema import GeneratorEMA
from lightning_gans.callbacks.evaluate import Evaluate
from lightning_gans.callbacks.field import Field
from lightning_gans.callbacks.fitting_capacity import FittingCapacity
from lightning_gans.callbacks.gold_terms import GOLDTerms
from lightning_gans.callbacks.pairing_lines import PairingLines
from lightning_gans.callbacks.realness import RealnessDistribution
from lightning_gans.callbacks.sample_grid import SampleGrid
from lightning_gans.callbacks.throughput import Throughput
from lightning_gans.callbacks.training_time import StopAfter

__all__ = [
    "ActiveLearning",
    "Checkpoint",
    "Components",
    "Evaluate",
    "Field",
    "FittingCapacity",
    "GOLDTerms",
    "GeneratorEMA",
    "PairingLines",
    "RealnessDistribution",
    "SampleGrid",
    "StopAfter",
    "Throughput",
]
