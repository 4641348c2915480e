"""Every recipe as its user calls it, with tiny limits."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from lightning_gans import load
from lightning_gans.callbacks import Evaluate, FittingCapacity
from lightning_gans.commands.recipes import recipe_names
from lightning_gans.data.base import data_root
from lightning_gans.files import recipes_folder
from lightning_gans.metrics import Inception, judge
from lightning_gans.metrics.classifier import DatasetClassifier
from lightning_gans.metrics.fitting_capacity import Budget
from lightning_gans.metrics.segmenter import DatasetSegmenter
from tests.data.test_official import write_celeba, write_cifar10, write_lmdb
from tests.tiny_data import write_grey, write_labelled, write_pictures

CLASSIFIERS = [name for name in recipe_names() if name.startswith("classifier/")]
SEGMENTERS = [name for name in recipe_names() if name.startswith("segmenter/")]
GAMES = [name for name in recipe_names() if name not in (*CLASSIFIERS, *SEGMENTERS)]


@pytest.fixture
def data(monkeypatch):
    """A few images in the official formats."""
    write_grey(Path("data"))
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


@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenter(name, cli):
    write_labelled(Path("data/facades"), 16, 32)
    cli("fit", "--config", name, "--trainer.max_epochs", -1, "--trainer.max_steps", 2,
        "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", 1, "--data.root", "data",
        "--data.batch_size", 8, "--data.image_size", 32)  # fmt: skip
    run = Path("runs") / name / "version_0"
    assert (run / "metrics.csv").stat().st_size > 0
    assert 0 <= load(run / "checkpoints" / "last.ckpt").measured["pixel_accuracy"] <= 1


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


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.usefixtures("data", "judges")
def test_recipe(name, cli):
    smaller, text = (), (recipes_folder() / f"{name}.yaml").read_text()
    for kind, write in (("cifar10", write_cifar10), ("celeba", write_celeba)):
        if kind in name:
            write(Path("data"))
            smaller = ("--data.verify", "false", *(("--data.image_size", 32) if kind == "celeba" else ()))
    for path in Path("data/celeba").glob("*/*.jpg"):  # bright ones of one colour look like [0, 1]
        Image.effect_noise((178, 218), 100).convert("RGB").save(path)
    if name == "coulomb/lsun":
        for split in ("train", "val"):
            write_lmdb(Path(f"data/bedroom_{split}_lmdb"), range(20))
        smaller = ("--data.image_size", 32)
    if name in ("coulomb/celeba", "coulomb/cifar10", "coulomb/lsun"):  # 35 million weights
        for player, network in (("generator", "CoulombGenerator"), ("discriminator", "CoulombDiscriminator")):
            smaller = (*smaller, f"--model.{player}", network, f"--model.{player}.width", 16)
    if name == "deligan/cifar10":
        smaller = (*smaller, "--data.limit", 40)
    if "Threshold" in text:  # else it trains the discriminator alone for hundreds of updates first
        smaller = (*smaller, "--model.schedule.start", 0.1, "--model.schedule.floor", 0.1)
    if name.endswith("stacked_mnist"):
        smaller = (*smaller, "--data.samples", 40)
    paper = name.partition("/")[0]
    if paper in ("acgan", "gold"):  # 17 million weights
        for player in ("generator", "discriminator"):
            hidden = (f"--model.{player}.hidden", 16) if name.endswith("/mnist") else ()
            smaller = (*smaller, f"--model.{player}.width", 4, *hidden)
    if paper == "diwgan":
        smaller = (*smaller, "--model.encoder_updates", 1, "--model.max_error", 100, "--model.num_real", 16)
    if paper in ("pix2pix", "cyclegan"):
        folder = yaml.safe_load(text)["data"]["init_args"].get("folder")
        for split in ("train", "val"):
            write_pictures(Path("data", folder or "facades", split), 8, 64, 64 if folder == "photos" else 128)
        smaller = (*smaller, "--model.generator.width", 4, "--model.discriminator.width", 4)
        size = 64 if "small" in name else 80 if paper == "cyclegan" else 128
        smaller = (*smaller, "--data.image_size", size)
    if name == "acgan/active-mnist":
        rounds = ("--trainer.callbacks.every_n_updates", 1, "--trainer.callbacks.rounds", 2)
        hidden = ("--model.generator.hidden", 16, "--model.discriminator.hidden", 16)
        smaller = (*smaller, *rounds, *hidden)
    cli("fit", "--config", name, "--trainer.max_steps", 2, "--trainer.limit_val_batches", 1,
        "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", 1,
        "--data.batch_size", 8, *smaller)  # fmt: skip
    run = Path("runs") / name / "version_0"
    for file in ("config.yaml", "metrics.csv", "samples.gif", "checkpoints/last.ckpt"):
        assert (run / file).stat().st_size > 0
    assert len(list((run / "samples").glob("update=*.png"))) == 2
    if paper in ("pix2pix", "cyclegan"):
        return
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


def test_a_reader_that_has_enough():
    """As in ``recipes | head``."""
    command = [sys.executable, "-m", "lightning_gans", "recipes"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141


@pytest.mark.usefixtures("data", "judges")
def test_classifiers_are_trained_on_the_data_of_the_run(cli, monkeypatch, capsys):
    """The root that is typed holds for the classifier too, in every command that has data; not afterwards."""
    seen, untrained = [], judge.trained

    def trained(recipe, kind):
        seen.append(str(data_root(None)))
        return untrained(recipe, kind)

    monkeypatch.setattr(judge, "trained", trained)
    Path("data").rename("elsewhere")
    cli("fit", "--config", "dcgan/mnist", "--data.root", "elsewhere", "--trainer.max_steps", 2)
    (run,) = Path("runs/dcgan/mnist").iterdir()
    cli("evaluate", run, "--n", 10)
    cli("validate", "--ckpt_path", run)
    assert seen == ["elsewhere"] * 3
    assert str(data_root(None)) == "data"
