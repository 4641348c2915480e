"""The last checkpoint is whole, good, and written before anything else that ends a run."""

from pathlib import Path

import pytest
import torch
from filelock import FileLock
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger

from lightning_gans.callbacks import Checkpoint
from lightning_gans.callbacks.checkpoint import is_finished
from lightning_gans.game.csv_logger import WholeCSVLogger

from .helpers import point_game, ring

LAST = Path("here/last.ckpt")


class Breaks(Callback):
    """Loses a weight at an update: a gradient was not finite, and the loss was."""

    def __init__(self, update):
        self.update = update

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == self.update:
            next(module.discriminator.parameters()).data.view(-1)[0] = torch.inf


class Fails(Callback):
    """Fails at all that follows the last update of a run; stops one within an epoch."""

    def __init__(self, stop):
        self.stop = stop

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step == self.stop

    def on_validation_start(self, trainer, module):
        self.on_train_epoch_end(trainer, module)

    def on_train_epoch_end(self, trainer, module):
        if not trainer.sanity_checking:
            raise OSError("the disk is full")


def fit(*callbacks, folder="here", ckpt_path=None, **limit):
    trainer = Trainer(
        callbacks=[*callbacks, Checkpoint(2, dirpath=folder)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1,
        accelerator="cpu",
        **limit,
    )
    trainer.fit(point_game(), datamodule=ring(), ckpt_path=ckpt_path)


def update_of(path):
    return torch.load(path, weights_only=True)["global_step"]


def test_broken_weights_do_not_replace_good_ones():
    message = r"GAN: weights of discriminator .* update 6; .*last\.ckpt holds .* update 4"
    with pytest.raises(FloatingPointError, match=message):
        fit(Breaks(6), max_steps=9)
    assert update_of(LAST) == 4


@pytest.mark.parametrize(
    "limit", [{"max_steps": 3}, {"max_epochs": 1, "limit_train_batches": 3}, {"max_epochs": 9}]
)
def test_the_last_update_is_saved_first(limit):
    with pytest.raises(OSError, match="the disk is full"):
        fit(Fails(stop=3 if limit == {"max_epochs": 9} else None), **limit)
    assert update_of(LAST) == 3


def test_what_a_kill_left_half_written_is_removed():
    Path("here").mkdir()
    Path(f"here/last.ckpt.{'0' * 32}.part").write_bytes(b"half")
    fit(max_steps=1)
    assert [path.name for path in Path("here").iterdir()] == ["last.ckpt"]


def test_a_folder_belongs_to_one_run():
    Path("here").mkdir()
    with FileLock("here/last.ckpt.lock"), pytest.raises(ValueError, match=r"dirpath=.*here: another run"):
        fit(max_steps=2)
    assert not LAST.exists()
    fit(max_steps=2)
    written = LAST.read_bytes()
    with pytest.raises(ValueError, match=r"dirpath=.*here: .* of another run"):
        fit(max_steps=3)
    assert LAST.read_bytes() == written
    assert is_finished(LAST)
    fit(ckpt_path=LAST, max_steps=3)
    assert update_of(LAST) == 3


def test_unfinished_files_of_a_run_that_lives_stay():
    fit(max_steps=2)
    part = Path(f"here/last.ckpt.{'0' * 32}.part")
    part.write_bytes(b"half")
    with FileLock("here/last.ckpt.lock"):
        fit(folder="there", ckpt_path=LAST, max_steps=3)
    assert part.exists()
    fit(folder="elsewhere", ckpt_path=LAST, max_steps=3)
    assert not part.exists()
    assert {path.name for path in Path("here").iterdir()} == {"last.ckpt", "last.ckpt.lock"}


def test_checkpoints_are_written_nowhere_else(monkeypatch):
    """A kill leaves what is half written beside its place, where the next run finds it."""
    monkeypatch.setattr("tempfile.mkstemp", None)
    fit(max_steps=2)
    assert update_of(LAST) == 2


def test_a_checkpoint_says_whether_its_run_has_reached_its_end():
    with pytest.raises(OSError, match="the disk is full"):
        fit(Fails(None), max_steps=3)
    assert not is_finished(LAST)
    fit(ckpt_path=LAST, max_steps=3)
    assert is_finished(LAST)


def test_a_run_that_goes_on_in_a_new_folder_has_its_checkpoint_there():
    """Also if there was nothing left to do but its end."""
    fit(max_steps=2)
    fit(folder="there", ckpt_path=LAST, max_steps=2)
    assert update_of("there/last.ckpt") == 2


def test_a_new_column_does_not_put_rows_at_risk(monkeypatch):
    """Killed while the file is written anew, a log still has its rows; else it is what Lightning writes."""
    logs = [CSVLogger(".", name="theirs"), WholeCSVLogger(".", name="ours")]
    for log in logs:
        for step, row in enumerate(({"a": 1.0}, {"b": 2.0, "a": 3.0}, {"b": 4.0})):
            log.log_metrics(row, step)
            log.save()
    theirs, ours = ((Path(log.log_dir) / "metrics.csv").read_text() for log in logs)
    assert ours == theirs

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", killed)
    log = logs[1]
    log.log_metrics({"c": 5.0}, step=3)
    with pytest.raises(KeyboardInterrupt):
        log.save()
    assert (Path(log.log_dir) / "metrics.csv").read_text() == ours
