"""Runs that end after a time of training."""

import json
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torchmetrics import Metric

from lightning_gans.callbacks import Checkpoint, Evaluate, StopAfter, clock
from lightning_gans.data import GaussianMixtures
from lightning_gans.models import GOLDACGAN

from .helpers import Save, fit, point_game, ring

pytestmark = pytest.mark.filterwarnings("ignore:.*dirpath has changed|.*no pre-optimization state")


class Work(Callback):
    """Each batch takes a second of the processor, and ten of the clock."""

    def __init__(self, time):
        self.time, self.reweights = time, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.time.seconds += 1.0
        self.reweights.append(getattr(pl_module, "reweights", None))


class Slow(Metric):
    """An evaluation takes hundreds."""

    scores = ("modes",)

    def __init__(self, time):
        super().__init__()
        self.time = time

    def update(self, samples):
        self.time.seconds += 100.0

    def compute(self):
        return {"modes": torch.tensor(1.0)}


@pytest.fixture
def time(monkeypatch):
    time = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(clock, "process_time", lambda: time.seconds)
    monkeypatch.setattr(clock, "perf_counter", lambda: 10 * time.seconds)
    return time


def run(folder, time, *others, seconds=5.0, every=2.0, **kwargs):
    scored = Evaluate([Slow(time)], every_n_seconds=every, num_samples=50)
    callbacks = [Work(time), StopAfter(seconds), scored, *others, Checkpoint(1_000)]
    trainer = fit(
        folder, point_game(), ring(), callbacks, -1, max_epochs=-1, enable_checkpointing=True, **kwargs
    )
    return trainer.global_step


def lines(folder):
    return [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]


def test_time_of_training_ends_a_run(tmp_path, time):
    assert run(tmp_path, time) == 5
    found = lines(tmp_path)
    assert [line["update"] for line in found] == [2, 4, 5]
    assert [line["processor_seconds"] for line in found] == [2, 4, 5]
    assert [line["images_per_second"] for line in found] == [32, 32, 32]


@pytest.mark.parametrize("step", [3, 5])
def test_killed_and_resumed(tmp_path, time, step):
    run(tmp_path / "killed", time, Save(tmp_path / "middle.ckpt", step))
    assert run(tmp_path / "resumed", time, ckpt_path=tmp_path / "middle.ckpt") == 5
    found = lines(tmp_path / "resumed")
    assert [line["update"] for line in found] == [u for u in (2, 4, 5) if u > step or u == 5]
    assert {line["images_per_second"] for line in found} == {32}


def test_a_run_that_had_its_time_goes_on_if_it_is_given_more(tmp_path, time):
    run(tmp_path, time)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert run(tmp_path, time, ckpt_path=last) == 5
    assert run(tmp_path, time, ckpt_path=last, seconds=7.0) == 7


def test_a_callback_that_is_used_again_begins_anew(time):
    stop, timed = StopAfter(5.0), clock.Timed
    stop.load_state_dict({"seconds": 30.0, "processor_seconds": 3.0})
    timed.on_train_start(stop, None, None)
    assert stop.clock.spent == (30, 3)
    stop.setup(None, None, "fit")
    timed.on_train_start(stop, None, None)
    assert stop.clock.spent == (0, 0)


def test_a_share_of_the_time(tmp_path, time):
    work = Work(time)
    data = GaussianMixtures("ring", samples=2_000, batch_size=32)
    game = GOLDACGAN((2,), num_classes=8, reweight_from=0.5)
    fit(tmp_path, game, data, [work, StopAfter(5)], -1, max_epochs=-1)
    assert work.reweights == [False, False, True, True, True]


def test_two_ranks_go_by_the_clock_of_the_first(on_ranks):
    first, second = (rank["timed"] for rank in on_ranks("tests.callbacks.two_ranks"))
    assert first == second
    assert first["updates"] == 5
    assert [line["update"] for line in first["lines"]] == [2, 4, 5]


def test_what_does_not_fit(tmp_path, time):
    with pytest.raises(ValueError, match="seconds=0: give"):
        StopAfter(0)
    with pytest.raises(ValueError, match=r"every_n_seconds=0\.0: give"):
        run(tmp_path, time, every=0.0)
    with pytest.raises(ValueError, match=r"every_n_updates=3, every_n_seconds=2\.0: give one"):
        Evaluate([Slow(time)], every_n_updates=3, every_n_seconds=2.0)
    best = ModelCheckpoint(tmp_path, monitor="val/modes", every_n_train_steps=4)
    with pytest.raises(ValueError, match="every 2 seconds of training: give Evaluate every_n_updates"):
        run(tmp_path, time, best)
