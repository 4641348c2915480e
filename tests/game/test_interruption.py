"""Signals: a run ends at the end of a batch, saved, with the exit code of the signal."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from lightning.pytorch import Callback

from lightning_gans.callbacks import Checkpoint
from lightning_gans.game.interruption import Interrupted
from tests.conformance.games import game, ring, same, trainer

SIGNALS = {"SIGINT": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 143)}


class Kill(Callback):
    """Sends a signal in the middle of a batch; again while the checkpoint is written."""

    def __init__(self, number, batch):
        self.number, self.batch = number, batch
        self.again = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == self.batch:
            os.kill(os.getpid(), self.number)

    def on_save_checkpoint(self, trainer, module, checkpoint):
        self.again.append(signal.getsignal(signal.SIGINT))
        os.kill(os.getpid(), signal.SIGINT)


def run(name, folder, limits, callbacks=(), ckpt_path=None):
    data = ring()
    fit = trainer([*callbacks, Checkpoint(1000, dirpath=str(folder))], limit_val_batches=1, **limits)
    fit.fit(game(name, data), data, ckpt_path=ckpt_path)


def stored(folder):
    state = torch.load(folder / "last.ckpt", weights_only=True)
    keys = ("state_dict", "optimizer_states", "run_state", "global_step", "epoch", "loops", "progress")
    return {key: state[key] for key in keys}


@pytest.mark.parametrize(
    ("name", "limits", "kind", "batch", "done"),
    [
        ("GAN", {"max_steps": 14}, "SIGINT", 7, 8),
        ("GAN", {"max_epochs": 2}, "SIGTERM", 19, 20),  # the last batch of an epoch, before its validation
        ("WGANGP", {"max_steps": 14}, "SIGTERM", 12, 2),  # in the middle of a round of five batches
    ],
)
def test_an_interrupted_run_is_saved_and_resumes_exactly(name, limits, kind, batch, done, tmp_path):
    number, code = SIGNALS[kind]
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    kill = Kill(number, batch)
    with pytest.raises(Interrupted) as caught:
        run(name, tmp_path / "part", limits, [kill])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert kill.again == [signal.SIG_IGN]
    assert (caught.value.code, caught.value.signal, caught.value.update) == (code, number, done)
    assert caught.value.checkpoint == tmp_path / "part" / "last.ckpt"
    assert stored(tmp_path / "part")["global_step"] == done

    run(name, tmp_path / "whole", limits)
    run(name, tmp_path / "part", limits, ckpt_path=str(caught.value.checkpoint))
    assert same(stored(tmp_path / "part"), stored(tmp_path / "whole"))


def test_without_a_checkpoint_callback_nothing_is_saved():
    data = ring()
    with pytest.raises(Interrupted, match="nothing was saved") as caught:
        trainer([Kill(signal.SIGTERM, 2)], max_steps=5).fit(game("GAN", data), data)
    assert (caught.value.code, caught.value.update, caught.value.checkpoint) == (143, 3, None)


def trains(folder):
    """Whether a row of training has been written."""
    for path in folder.glob("runs/*/*/metrics.csv"):
        with path.open() as file:
            return any(row.get("train/generator_loss") for row in csv.DictReader(file))
    return False


@pytest.mark.parametrize(
    ("kind", "ranks"), [("SIGINT", 1), pytest.param("SIGTERM", 2, marks=pytest.mark.slow)]
)
def test_the_command_line_ends_with_the_code_of_the_signal(kind, ranks, tmp_path):
    number, code = SIGNALS[kind]
    command = [sys.executable, "-m", "lightning_gans", "fit", "--model", "GAN", "--data", "GaussianMixtures"]
    command += ["--data.batch_size", "16", "--trainer.log_every_n_steps", "5"]
    command += ["--trainer.max_steps", "1000000", "--trainer.limit_val_batches", "0"]
    command += ["--trainer.accelerator", "cpu", "--trainer.devices", str(ranks), "--trainer.strategy"]
    command += ["ddp" if ranks > 1 else "auto"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 300
        while not trains(tmp_path) and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()[-2000:]
            time.sleep(0.1)
        process.send_signal(number)
        output = "\n".join(process.communicate(timeout=300))
    finally:
        process.kill()
    assert process.returncode == code, output[-2000:]
    (checkpoint,) = tmp_path.glob("runs/*/*/checkpoints/last.ckpt")
    assert str(checkpoint.relative_to(tmp_path)) in output
    assert torch.load(checkpoint, weights_only=True)["global_step"] >= 5
