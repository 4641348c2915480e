"""Rows of the log stand at generator updates, and nothing but metrics among the metrics of callbacks."""

import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import (
    DeviceStatsMonitor,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ThroughputMonitor,
)
from lightning.pytorch.loggers import CSVLogger

from lightning_gans import GAN
from lightning_gans.callbacks import Checkpoint, Throughput
from lightning_gans.game.csv_logger import WholeCSVLogger
from tests.conformance.games import ring, same, trainer

VALIDATED = {"limit_val_batches": 2, "val_check_interval": 10}


def test_lightnings_model_checkpoint_keeps_one_file_per_interval(tmp_path):
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=10, save_top_k=-1)
    trainer([keep], enable_checkpointing=True, max_steps=60, **VALIDATED).fit(GAN((2,)), ring())
    files = {torch.load(path, weights_only=True)["global_step"]: path.stem for path in tmp_path.iterdir()}
    assert sorted(files) == [10, 20, 30, 40, 50, 60]
    assert all(name.endswith(f"step={update}") for update, name in files.items())


class Logging(GAN):
    """A user's game, which logs by Lightning's own means."""

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        self.log("own/update", float(self.trainer.global_step), on_step=True, on_epoch=True)

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("own/held_out", float(batch_idx), on_step=True, on_epoch=True)


def rows_of(fit):
    with (Path(fit.log_dir) / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.mark.parametrize("steps", [1, 3])
def test_whatever_is_logged_stands_in_one_row_an_update(steps, tmp_path):
    callbacks = [
        LearningRateMonitor("step"),
        DeviceStatsMonitor(),
        ThroughputMonitor(lambda batch: len(batch[0]), window_size=2),
        Throughput(5),
    ]
    logger = WholeCSVLogger(tmp_path)
    fit = trainer(callbacks, logger=logger, log_every_n_steps=5, max_steps=22, **VALIDATED)
    fit.fit(Logging((2,), discriminator_steps=steps), ring())
    rows = rows_of(fit)
    updates = [int(row["step"]) for row in rows]
    assert updates == sorted(set(updates))
    for name in (
        "train/generator_loss",
        "own/update_step",
        "lr-Adam",
        "train/batches",
        "train/images_per_second",
        "DeviceStatsMonitor.on_train_batch_start/cpu_percent",
        "DeviceStatsMonitor.on_train_batch_end/cpu_percent",
    ):
        assert [int(row["step"]) for row in rows if name in row] == [5, 10, 15, 20], name
    assert all(float(row["own/update_step"]) == int(row["step"]) for row in rows if "own/update_step" in row)
    validated = [int(row["step"]) for row in rows if "val/generator_loss" in row]
    assert validated == [int(row["step"]) for row in rows if "own/held_out_epoch" in row]
    assert validated == [int(row["step"]) for row in rows if "own/held_out_step" in row]


def test_a_row_that_gets_a_column_later_loses_no_other(tmp_path):
    logger = WholeCSVLogger(tmp_path)
    for row, update in [({"a": 1.0}, 1), ({"a": 2.0}, 2), ({"b": 3.0}, 2), ({"a": 4.0}, 2), ({"b": 5.0}, 3)]:
        logger.log_metrics(row, update)
        logger.save()
    text = (Path(logger.log_dir) / "metrics.csv").read_bytes()
    assert text == b"a,b,step\r\n1.0,,1\r\n4.0,3.0,2\r\n,5.0,3\r\n"


def test_rows_of_training_and_of_held_out_losses_stand_at_updates(tmp_path):
    game = GAN((2,), discriminator_steps=2)
    fit = trainer(logger=CSVLogger(tmp_path), log_every_n_steps=3, max_steps=15, **VALIDATED)
    fit.fit(game, ring())
    with (Path(fit.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    train = [int(row["step"]) for row in rows if row["train/generator_loss"]]
    held_out = [int(row["step"]) for row in rows if row["val/generator_loss"]]
    assert train == [3, 6, 9, 12, 15]
    assert held_out == [5, 10, 15]  # each 10 batches, of which an update of the generator takes 2
    assert set(fit.callback_metrics) == {
        f"{stage}/{player}_loss" for stage in ("train", "val") for player in ("discriminator", "generator")
    }


def test_callbacks_that_go_by_a_held_out_loss(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor="val/generator_loss", filename="{step}")
    stop = EarlyStopping("val/generator_loss", patience=1, min_delta=100.0)
    fit = trainer([best, stop], enable_checkpointing=True, max_steps=60, **VALIDATED)
    fit.fit(GAN((2,)), ring())
    assert fit.global_step == 20
    assert best.best_model_score in {best.best_k_models[path] for path in best.best_k_models}
    assert float(stop.best_score) > 0


def test_callbacks_that_go_by_a_loss_see_it_before_its_row_is_written(tmp_path):
    class Kept(ModelCheckpoint):
        def _save_topk_checkpoint(self, trainer, candidates):
            scores.append((trainer.global_step, float(candidates[self.monitor])))

    scores = []
    kept = Kept(tmp_path, monitor="train/generator_loss", every_n_train_steps=5)
    stop = EarlyStopping("train/discriminator_loss", stopping_threshold=1e9)
    logger = WholeCSVLogger(tmp_path)
    arguments = {"logger": logger, "enable_checkpointing": True, "log_every_n_steps": 25, "max_steps": 60}
    fit = trainer([kept, stop], **arguments)
    fit.fit(GAN((2,)), ring())
    assert fit.global_step == 20  # an epoch
    assert [update for update, _ in scores][:4] == [5, 10, 15, 20]
    assert len({score for _, score in scores[:4]}) == 4


def test_a_loss_by_which_a_callback_goes_is_not_that_of_a_validation(tmp_path):
    class Reporting(GAN):
        def discriminator_loss(self, real, fake):
            loss = super().discriminator_loss(real, fake)
            self.report({"stage": 1.0 if self.trainer.validating else 0.0})
            return loss

    best = ModelCheckpoint(tmp_path, monitor="train/stage")
    trainer([best], enable_checkpointing=True, max_steps=20, **VALIDATED).fit(Reporting((2,)), ring())
    assert best.best_model_score == 0.0


@pytest.mark.parametrize("options", [{"every_n_train_steps": 5}, {"every_n_epochs": 1}], ids=str)
def test_a_model_checkpoint_that_would_never_save_is_refused(options, tmp_path):
    keep = ModelCheckpoint(tmp_path, monitor="train/generatr_loss", **options)
    with pytest.raises(ValueError, match=r"ModelCheckpoint: monitor=train/generatr_loss .*generator_loss"):
        trainer([keep], enable_checkpointing=True, max_steps=60).fit(GAN((2,)), ring())


@pytest.mark.parametrize(("updates", "steps"), [(7, 2), (1, 5)])
def test_a_run_ends_at_max_steps_within_a_round_and_resumes_there(updates, steps, tmp_path):
    def run(folder, max_steps, ckpt_path=None):
        torch.manual_seed(0)
        fit = trainer([Checkpoint(1000, dirpath=str(tmp_path / folder))], max_steps=max_steps)
        fit.fit(GAN((2,), generator_steps=steps), ring(), ckpt_path=ckpt_path)
        stored = torch.load(tmp_path / folder / "last.ckpt", weights_only=True)
        return {key: stored[key] for key in ("global_step", "state_dict", "optimizer_states", "run_state")}

    assert run("part", updates)["global_step"] == updates
    whole = run("whole", updates + 5)
    assert whole["global_step"] == updates + 5
    assert same(run("part", updates + 5, str(tmp_path / "part" / "last.ckpt")), whole)
