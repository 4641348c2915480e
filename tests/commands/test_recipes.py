"""Every recipe as its user calls it, with tiny limits."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_gans import load
from lightning_gans.commands.recipes import recipe_names
from lightning_gans.data.base import data_root
from lightning_gans.files import recipes_folder
from lightning_gans.metrics import judge
from tests.data.test_official import write_cifar10
from tests.tiny_data import write_labelled
from tests.tiny_recipes import smaller

CLASSIFIERS = [name for name in recipe_names() if name.startswith("classifier/")]
SEGMENTERS = [name for name in recipe_names() if name.startswith("segmenter/")]
GAMES = [name for name in recipe_names() if name not in (*CLASSIFIERS, *SEGMENTERS)]
SAMPLED = {
    name.partition("/")[0]: name for name in GAMES if not name.startswith(("pix2pix", "cyclegan"))
}.values()


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


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.usefixtures("data", "judges")
def test_recipe(name, cli):
    cli("fit", "--config", name, "--trainer.max_steps", 2, "--trainer.limit_val_batches", 1,
        "--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", 1,
        "--data.batch_size", 8, *smaller(name))  # fmt: skip
    run = Path("runs") / name / "version_0"
    for file in ("config.yaml", "metrics.csv", "samples.gif", "checkpoints/last.ckpt"):
        assert (run / file).stat().st_size > 0
    assert len(list((run / "samples").glob("update=*.png"))) == 2
    if name in SAMPLED:
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
