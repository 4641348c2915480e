"""Loggers on the command line: their folder, their name and what they tell are those of the run."""

import csv
import os
from pathlib import Path

import pytest
import wandb
import yaml
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_gans.commands.fit import prepare
from lightning_gans.commands.loggers import in_run
from lightning_gans.commands.recipes import recipe_names

TINY = ("--data.batch_size", 16, "--data.limit", 64, "--trainer.enable_progress_bar", "false")
RUN = ("fit", "--model", "GAN", "--data", "Digits", *TINY, "--trainer.limit_val_batches", 1)
STEPS = ("--trainer.max_steps", 8, "--trainer.log_every_n_steps", 2, "--samples.every_n_updates", 4)
FIRST = Path("runs/gan/version_0")


def settings_are_those_of_the_run(settings, run):
    assert settings["model"]["class_path"] == "lightning_gans.models.gan.GAN"
    assert settings["model"]["init_args"]["image_shape"] == [1, 8, 8]
    assert settings["data"]["class_path"] == "lightning_gans.data.digits.Digits"
    assert settings["data"]["init_args"]["batch_size"] == 16
    assert settings["trainer"]["max_steps"] == 8
    assert settings["samples"]["every_n_updates"] == 4
    assert (settings["recipe"], settings["run"], settings["seed"]) == (None, run, 0)
    assert "lightning-gans" in settings["versions"]


def rows(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_tensorboard_needs_no_folder_of_its_own(cli):
    for run in (FIRST, FIRST.with_name("version_1")):  # the second is resumed
        resumed = ("--ckpt_path", FIRST / "checkpoints" / "last.ckpt", "--trainer.max_steps", 12)
        cli(*RUN, *STEPS, "--trainer.logger", "TensorBoardLogger", *(resumed if run != FIRST else ()))
        board = EventAccumulator(str(run), size_guidance={"images": 0}).Reload()
        losses = [event.step for event in board.Scalars("train/generator_loss")]
        assert losses == [int(row["step"]) for row in rows(run) if row["train/generator_loss"]]
        assert [event.step for event in board.Images("samples")][-1] == losses[-1]
    assert losses == [10, 12]
    settings_are_those_of_the_run(yaml.safe_load((FIRST / "hparams.yaml").read_text()), "gan/version_0")
    cli(
        "validate",
        *RUN[1:],
        "--ckpt_path",
        run / "checkpoints/last.ckpt",
        "--trainer.logger",
        "TensorBoardLogger",
    )
    board = EventAccumulator("runs/validate/version_0").Reload()
    assert [event.step for event in board.Scalars("val/generator_loss")] == [12]
    settings = yaml.safe_load(Path("runs/validate/version_0/hparams.yaml").read_text())
    assert settings["model"]["class_path"] == "lightning_gans.models.gan.GAN"
    assert settings["ckpt_path"] == str(run / "checkpoints/last.ckpt")
    assert {path.name for path in Path().iterdir()} == {"runs"}


def test_what_is_added_to_a_recipe_does_not_name_the_run():
    for name in recipe_names():
        prepared, recipe, _ = prepare(
            ["--config", name, "--config=loggers/wandb", "-c", "loggers/tensorboard"]
        )
        assert recipe == name
        config, *added = (yaml.safe_load(Path(x.removeprefix("--config=")).read_text()) for x in prepared)
        assert added == [
            {"trainer": {"logger+": {"class_path": x}}} for x in ("WandbLogger", "TensorBoardLogger")
        ]
        assert "logger" not in config["trainer"]


@pytest.fixture
def fresh_wandb():
    """Weights & Biases as in a process of its own: it reads its environment once."""
    wandb.teardown()
    yield
    wandb.teardown()


@pytest.mark.usefixtures("fresh_wandb")
@pytest.mark.parametrize("key", [None, "short"])
def test_wandb_without_a_login_is_refused_at_once(fails, monkeypatch, key):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", os.devnull)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    line = fails(*RUN, *STEPS, "--trainer.logger", "WandbLogger")
    assert "WandbLogger" in line
    assert "wandb login" in line
    assert "WANDB_MODE=offline" in line
    assert not Path("runs").exists()


class Mine(Logger):
    """A user's logger."""

    name, version = "mine", 0

    def __init__(self, note: str = ""):
        super().__init__()
        self.note = note

    def log_metrics(self, metrics, step=None):
        with Path("mine.txt").open("a") as file:
            file.write("".join(f"{self.note} {name} {step}\n" for name in metrics))

    def log_hyperparams(self, params):
        Path("mine.yaml").write_text(yaml.safe_dump(params))


def test_a_logger_of_ones_own(cli):
    cli(*RUN, *STEPS, "--trainer.logger", f"{__name__}.Mine", "--trainer.logger.note", "hello")
    assert "hello train/generator_loss 8\n" in Path("mine.txt").read_text()
    settings_are_those_of_the_run(yaml.safe_load(Path("mine.yaml").read_text()), "gan/version_0")
    assert rows(FIRST)[-1]["step"] == "8"


def test_a_csv_logger_is_what_each_run_has_unless_it_has_a_folder(cli):
    cli(*RUN, *STEPS, "--trainer.logger", "CSVLogger")
    assert [row["step"] for row in rows(FIRST)].count("8") == 1
    cli(*RUN, *STEPS, "--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", "elsewhere")
    assert {path.name for path in Path().iterdir()} == {"runs", "elsewhere"}
    assert rows(Path("elsewhere/gan/version_1"))[-1]["step"] == "8"


def test_what_is_given_beats_the_run():
    run = Path("root/runs"), "dcgan/mnist", "version_3"
    given = {"project": None, "name": "mine", "save_dir": "."}
    assert in_run(WandbLogger, given, *run) == {
        "project": "lightning_gans",
        "name": "mine",
        "save_dir": "root/runs/dcgan/mnist/version_3",
    }
    given = {"experiment_name": "lightning_logs", "run_name": None, "save_dir": "./mlruns"}
    assert in_run(MLFlowLogger, given, *run) == {
        "experiment_name": "lightning_gans",
        "run_name": "dcgan/mnist/version_3",
        "save_dir": "./mlruns",
    }


@pytest.mark.parametrize("callback", ["EarlyStopping", "ModelCheckpoint"])
def test_a_metric_that_is_not_logged(fails, callback):
    line = fails(
        *RUN, *STEPS, "--trainer.callbacks", callback, "--trainer.callbacks.monitor", "val/generatr_loss"
    )
    assert callback in line
    assert "val/generatr_loss" in line
    assert "val/generator_loss" in line


@pytest.mark.parametrize(
    ("kind", "left", "own"),
    [
        (
            WandbLogger,
            {"save_dir": "runs", "name": "lightning_logs"},
            ("runs/mine/version_0", "mine/version_0"),
        ),
        (TensorBoardLogger, {"save_dir": ".", "name": None}, ("runs", "mine")),
    ],
)
def test_a_logger_in_place_of_another_class(monkeypatch, kind, left, own):
    monkeypatch.delenv("WANDB_NAME", raising=False)
    found = in_run(kind, left, Path("runs"), "mine", "version_0")
    assert (found["save_dir"], found["name"]) == own
