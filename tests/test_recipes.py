"""Every recipe as its user calls it, with tiny limits."""

from pathlib import Path

import pytest
import torch
import yaml

from lightning_gans import classifier, load
from lightning_gans.callbacks import Evaluate
from lightning_gans.classifier import DatasetClassifier
from lightning_gans.cli import recipe_names, recipes_folder

from .data.test_datasets import write_idx
from .data.test_official import write_cifar10

CLASSIFIERS = [name for name in recipe_names() if name.startswith("classifier/")]
GAMES = [name for name in recipe_names() if name not in CLASSIFIERS]


@pytest.fixture
def data(monkeypatch):
    """A few images in the official formats."""
    rng = torch.Generator().manual_seed(0)
    for folder in ("MNIST", "FashionMNIST"):
        for split, n in (("train", 256), ("t10k", 32)):
            images = torch.randint(0, 256, (n, 28, 28), dtype=torch.uint8, generator=rng)
            write_idx(Path(f"data/{folder}/raw/{split}-images-idx3-ubyte"), images)
            write_idx(Path(f"data/{folder}/raw/{split}-labels-idx1-ubyte"), (torch.arange(n) % 10).byte())
    monkeypatch.setenv("LIGHTNING_GANS_DATA", "data")


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.usefixtures("data")
def test_classifier(name, cli):
    write_cifar10(Path("data"))
    official = ("--data.verify", "false") if "cifar" in name else ()
    cli("fit", "--config", name, "--trainer.max_epochs", -1, "--trainer.max_steps", 2,
        "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", 1,
        "--data.batch_size", 8, *official)  # fmt: skip
    run = Path("runs") / name / "version_0"
    assert (run / "metrics.csv").stat().st_size > 0
    assert 0 <= load(run / "checkpoints" / "last.ckpt").accuracy <= 1


@pytest.fixture
def judges(monkeypatch, tmp_path):
    """Classifiers that have not learned anything, and evaluations of few samples."""

    def untrained(recipe):
        size = 8 if recipe == "classifier/digits" else 28
        return DatasetClassifier((1, size, size), 10)

    def few(self, trainer, pl_module, stage):
        self.num_samples = 40
        whole(self, trainer, pl_module, stage)

    whole = Evaluate.setup
    monkeypatch.setattr(classifier, "trained", untrained)
    monkeypatch.setattr(Evaluate, "setup", few)
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.usefixtures("data", "judges")
def test_recipe(name, cli):
    cli("fit", "--config", name, "--trainer.max_steps", 2, "--trainer.limit_val_batches", 1,
        "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", 1,
        "--data.batch_size", 8)  # fmt: skip
    run = Path("runs") / name / "version_0"
    for file in ("config.yaml", "metrics.csv", "samples.gif", "checkpoints/last.ckpt"):
        assert (run / file).stat().st_size > 0
    assert len(list((run / "samples").glob("step=*.png"))) == 2
    cli("sample", "--ckpt_path", run / "checkpoints" / "last.ckpt", "--n", 4, "--out", "four.png")


@pytest.mark.parametrize("name", recipe_names())
def test_head_comment(name):
    lines = (recipes_folder() / f"{name}.yaml").read_text().splitlines()
    head = [line for line in lines if line.startswith("# ")]
    assert lines[: len(head)] == head
    assert head[1] == f"# Command: lightning-gans fit --config {name}"
    assert head[2].startswith("# Time:    ")
    assert head[3].startswith("# Result:  ")
    assert not {"TIME", "RESULT"} & set(" ".join(head).split())
    assert len(lines) <= 35
    config = yaml.safe_load("\n".join(lines))
    assert "image_shape" not in config["model"].get("init_args", {})
