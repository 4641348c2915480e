"""The lines at the end of ``fit``: what they say is so, and their commands work."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from torchmetrics import Metric

from lightning_gans.commands.end_of_fit import _go_on, last_lines

SMALL = ("--data.batch_size", 16, "--data.limit", 64, "--trainer.enable_progress_bar", "false",
         "--trainer.enable_model_summary", "false", "--trainer.limit_val_batches", 0)  # fmt: skip
SCORED = ("--trainer.callbacks+=Evaluate", "--trainer.callbacks.metrics", f"[{__name__}.Seven]",
          "--trainer.callbacks.num_samples", 16)  # fmt: skip


class Seven(Metric):
    scores = ("seven",)

    def update(self, samples):
        pass

    def compute(self):
        return {"seven": torch.tensor(7.0)}


@pytest.fixture
def ends(cli, capsys):
    """Run ``fit``; return its last lines, by what they begin with."""

    def run(*arguments):
        capsys.readouterr()
        cli("fit", *arguments)
        _, _, lines = capsys.readouterr().out.rpartition("The run is in ")
        folder, *others = lines.splitlines()
        return folder, dict(line.split(": ", 1) for line in others)

    return run


def test_commands_for_samples(ends, cli, capsys):
    folder, lines = ends("--model", "GAN", "--data", "Digits", *SMALL, *SCORED, "--trainer.max_steps", 2)
    options = "--ckpt_path runs/gan/version_0 --trusted tests"
    assert folder == "runs/gan/version_0"
    assert lines == {
        "Its last scores": "seven 7",
        "Sample with": f"lightning-gans sample {options}",
        "Evaluate with": f"lightning-gans evaluate {options}",
        "Go on with": f"lightning-gans fit {options} --trainer.max_steps 4",
    }
    for name in ("Sample with", "Evaluate with", "Go on with"):
        cli(*shlex.split(lines[name])[1:])
    assert Path("samples.png").is_file()
    assert "The run is in runs/gan/version_1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limit", "line"),
    [
        (
            ("--trainer.max_epochs", 1),
            "Go on with: lightning-gans fit --ckpt_path {0} --trainer.max_epochs 2",
        ),
        (
            ("--trainer.callbacks+=StopAfter", "--trainer.callbacks.seconds", 0.02),
            "Raise in {0}/config.yaml what has ended it, and go on with: "
            "lightning-gans fit --config {0}/config.yaml --ckpt_path {0}",
        ),
    ],
    ids=["max_epochs", "StopAfter"],
)
def test_points_of_a_run_that_no_updates_limit(ends, limit, line):
    ring = ("--data", "GaussianMixtures", "--data.layout", "ring", "--data.samples", 256)
    folder, lines = ends("--model", "GAN", *ring, *SMALL[4:], *limit, "--samples", "false")
    assert lines["Evaluate with"] == f"lightning-gans validate --ckpt_path {folder}"
    assert "{}: {}".format(*list(lines.items())[-1]) == line.format(folder)


def test_twice_the_time():
    timer = Timer("01:22:30:40")
    timer.load_state_dict({"time_elapsed": {"train": 1e6}})
    trainer = SimpleNamespace(max_steps=-1, max_epochs=None, callbacks=[timer])
    assert _go_on(trainer, Path("run"), "--x").endswith("fit --x --trainer.max_time 03:21:01:20")


def test_a_folder_with_a_blank_and_a_game_that_translates():
    file = Path("my runs/checkpoints/last.ckpt")
    file.parent.mkdir(parents=True)
    file.touch()
    trainer = SimpleNamespace(max_steps=3, global_step=3, callbacks=[], callback_metrics={})
    model = SimpleNamespace(translate=None, image_shape=(3, 8, 8))
    assert [*last_lines(trainer, model, Path("my runs"), {})] == [
        "The run is in my runs",
        "Translate with: lightning-gans translate --ckpt_path 'my runs' --input PICTURES --output translated",
        "Evaluate with: lightning-gans evaluate --ckpt_path 'my runs'",
        "Go on with: lightning-gans fit --ckpt_path 'my runs' --trainer.max_steps 6",
    ]


def test_nothing_to_load(ends):
    without = ("--checkpoint", "false", "--samples", "false")
    folder, lines = ends("--model", "GAN", "--data", "Digits", *SMALL, "--trainer.max_steps", 1, *without)
    assert folder == "runs/gan/version_0"
    assert lines == {}
