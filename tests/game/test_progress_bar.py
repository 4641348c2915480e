"""The bar of a run: its count, its end, what stands beside it, and what it leaves alone."""

import re
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar, timer
from torchmetrics import Metric

from lightning_gans.callbacks import Checkpoint, Evaluate, StopAfter, Throughput, clock
from lightning_gans.data import GaussianMixtures
from lightning_gans.game import progress_bar
from lightning_gans.game.progress_bar import Progress
from tests.callbacks.helpers import Save, fit, point_game, ring


class Modes(Metric):
    scores = ("modes",)

    def update(self, samples):
        pass

    def compute(self):
        return {"modes": torch.tensor(7.0)}


@pytest.fixture
def always(monkeypatch):
    """The bar is written after each batch."""
    monkeypatch.setattr(progress_bar, "SECONDS_IN_FILES", 0.0)


def few():
    """16 batches an epoch."""
    return GaussianMixtures("ring", samples=512, batch_size=32)


def bar(folder, capsys, game=None, callbacks=(), **kwargs):
    """Train with a bar; return its states, and what was printed after it."""
    capsys.readouterr()
    kwargs = {"enable_progress_bar": True, "log_every_n_steps": 2, "max_epochs": -1, **kwargs}
    fit(folder, game or point_game(), few(), [*callbacks], **kwargs)
    shown, _, after = capsys.readouterr().out.rpartition("]\n")
    states = re.findall(r"(\d+)/(~?)(\d+|\?) updates \[[^\r]*", shown + "]")
    return [(int(n), about, end) for n, about, end in states], shown, after


@pytest.mark.usefixtures("always")
def test_counts_generator_updates_to_the_end_of_the_run(tmp_path, capsys):
    states, shown, after = bar(tmp_path, capsys, point_game(discriminator_steps=3), max_steps=9)
    assert shown.count("\n") == 0  # one bar, though 27 batches are two epochs
    assert after == ""
    assert states[0] == (0, "", "9")
    assert {(about, end) for _, about, end in states} == {("", "9")}
    assert [n for n, _, _ in states] == sorted(n for n, _, _ in states)
    assert states[-1][0] == 9
    last = shown.rpartition("\r")[2]
    assert re.match(r"100%\|.*9/9 updates \[\d\d:\d\d<00:00, .*/s, D=[\d.]+, G=[\d.]+", last)


@pytest.mark.usefixtures("always")
def test_epochs_are_told_in_updates(tmp_path, capsys):
    states, *_ = bar(tmp_path, capsys, point_game(discriminator_steps=2), max_steps=-1, max_epochs=2)
    assert states[0][2] == "?"
    assert states[-1] == (16, "", "16")  # of 32 batches
    estimates = [int(end) for n, about, end in states if about and n > 8]
    assert estimates
    assert all(15 <= end <= 16 for end in estimates)  # a discriminator update is ahead of each


class Work(Callback):
    """A batch takes a second of both clocks."""

    def __init__(self, time):
        self.time = time

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.time.seconds += 1.0


@pytest.fixture
def time(monkeypatch):
    time = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(clock, "process_time", lambda: time.seconds)
    monkeypatch.setattr(timer, "time", SimpleNamespace(monotonic=lambda: time.seconds))
    return time


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("limit", ["StopAfter", "max_time", "max_steps"])
def test_whichever_limit_comes_first(tmp_path, capsys, time, limit):
    callbacks = [Work(time), StopAfter(7.5 if limit == "StopAfter" else 50)]
    seconds = 8 if limit == "max_time" else 50
    states, _, after = bar(tmp_path, capsys, None, callbacks, max_steps=8 if limit == "max_steps" else 50,
                           max_epochs=3, max_time={"seconds": seconds})  # fmt: skip
    assert states[-1] == (8, "", "8")
    middle = {(about, end) for n, about, end in states if n == 5}
    assert middle == {("" if limit == "max_steps" else "~", "8")}
    assert after == ""


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("limits", [{"max_steps": 9}, {"max_steps": -1, "max_epochs": 1}])
def test_a_resumed_run_begins_at_its_count(tmp_path, capsys, limits):
    file = tmp_path / "middle.ckpt"
    bar(tmp_path, capsys, None, [Save(file, 6)], **limits)
    states, *_ = bar(tmp_path, capsys, None, [], ckpt_path=file, **limits)
    end = limits["max_steps"] if limits["max_steps"] > 0 else 16
    assert states[0][0] == 6
    assert states[1][0] == 7
    assert states[-1] == (end, "", str(end))
    assert {found for n, _, found in states if n > 6} == {str(end)}


@pytest.mark.usefixtures("always")
def test_what_stands_beside_it(tmp_path, capsys):
    scored = Evaluate([Modes()], every_n_updates=4, num_samples=10)
    _, shown, after = bar(tmp_path, capsys, None, [scored, Throughput(2)], max_steps=8)
    assert re.search(r"8/8 .*, D=[\d.]+, G=[\d.]+, modes=7, images/s=\d+$", shown)
    assert after.startswith("scores of 10 samples")  # printed in lines of their own


@pytest.mark.usefixtures("always")
def test_watching_changes_nothing(tmp_path, capsys):
    games = point_game(), point_game()
    for game, shown in zip(games, (True, False), strict=True):
        torch.manual_seed(0)
        for parameter in game.parameters():
            torch.nn.init.normal_(parameter)
        fit(tmp_path, game, ring(), [], 5, enable_progress_bar=shown)
    for a, b in zip(*(game.parameters() for game in games), strict=True):
        assert torch.equal(a, b)


def test_values_are_read_only_for_what_is_written(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(Progress, "get_metrics", lambda self, *_: read.append(1) or {})
    fit(tmp_path, point_game(), ring(), [], 40, enable_progress_bar=True)
    assert len(read) <= 3  # the first, the last; one more if the machine stands still


def test_other_ranks_show_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Trainer, "is_global_zero", False)
    fit(tmp_path, point_game(), ring(), [], 4, enable_progress_bar=True)
    assert capsys.readouterr().out == ""


def test_a_bar_of_the_users_own_stays(tmp_path):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "default_root_dir": tmp_path,
        "accelerator": "cpu",
    }

    class Own(TQDMProgressBar):
        pass

    for own in (TQDMProgressBar(refresh_rate=5), Own()):
        trainer = Trainer(max_steps=1, callbacks=[own], **quiet)
        trainer.fit(point_game(), ring())
        assert trainer.progress_bar_callback is own
    trainer = Trainer(max_steps=1, **quiet)
    trainer.fit(point_game(), ring())
    assert type(trainer.progress_bar_callback) is Progress
    trainer = Trainer(max_steps=1, enable_progress_bar=False, **quiet)
    trainer.fit(point_game(), ring())
    assert trainer.progress_bar_callback is None


def test_validate_has_lightnings_bar(tmp_path, capsys):
    trainer = fit(tmp_path, point_game(), ring(), [], 2, enable_progress_bar=True, limit_val_batches=2)
    assert "Validation" not in capsys.readouterr().out
    trainer.validate(trainer.lightning_module, ring())
    assert "Validation DataLoader 0: 100%" in capsys.readouterr().out


def test_an_error_begins_in_a_line_of_its_own(tmp_path, capsys):
    class Fails(Checkpoint):
        def on_train_batch_end(self, trainer, *_):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(
            tmp_path,
            point_game(),
            ring(),
            [Fails(10)],
            2,
            enable_progress_bar=True,
            enable_checkpointing=True,
        )
    assert capsys.readouterr().out.endswith("\n")
