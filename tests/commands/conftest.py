"""What tests of recipes need beside small data."""

from pathlib import Path

import pytest
import torch

from lightning_gans.callbacks import Evaluate, FittingCapacity
from lightning_gans.metrics import Inception, judge
from lightning_gans.metrics.classifier import DatasetClassifier
from lightning_gans.metrics.fitting_capacity import Budget
from lightning_gans.metrics.segmenter import DatasetSegmenter
from tests.tiny_data import write_grey


@pytest.fixture
def data(monkeypatch):
    """A few images in the official formats."""
    write_grey(Path("data"))
    monkeypatch.setenv("LIGHTNING_GANS_DATA", "data")


@pytest.fixture
def judges(monkeypatch, tmp_path, few_real):
    """Extractors that have not learned anything, and evaluations of few samples."""

    def untrained(recipe, kind):
        if kind is DatasetSegmenter:
            return DatasetSegmenter((3, 32, 32), (3, 32, 32), network={"width": 4})
        shapes = {"classifier/digits": (1, 8, 8), "classifier/cifar10": (3, 32, 32)}
        return DatasetClassifier(shapes.get(recipe, (1, 28, 28)), 10)

    def few(self, trainer, pl_module, stage):
        self.num_samples = 40
        whole(self, trainer, pl_module, stage)

    def flat(self, images):
        return images.float().flatten(1)[:, ::1000], torch.zeros(len(images), 1008)

    def brief(self, trainer, pl_module, stage):
        self.budget = Budget(seeds=1, epochs=1, samples_per_epoch=40, real=False)
        whole_budget(self, trainer, pl_module, stage)

    whole, whole_budget = Evaluate.setup, FittingCapacity.setup
    protocol = {"extractor": "flat", "hash": "", "resize": "tf", "precision": "fp32"}
    monkeypatch.setattr(Inception, "extract", flat)
    monkeypatch.setattr(Inception, "protocol", protocol)
    monkeypatch.setattr(judge, "trained", untrained)
    monkeypatch.setattr(Evaluate, "setup", few)
    monkeypatch.setattr(FittingCapacity, "setup", brief)
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))
