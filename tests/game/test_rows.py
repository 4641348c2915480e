"""Rows of the log stand at generator updates, and nothing but metrics among the metrics of callbacks."""

import csv
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_gans import GAN
from lightning_gans.callbacks import Checkpoint
from tests.conformance.games import ring, same, trainer

VALIDATED = {"limit_val_batches": 2, "val_check_interval": 10}


def test_lightnings_model_checkpoint_keeps_one_file_per_interval(tmp_path):
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=10, save_top_k=-1)
    trainer([keep], enable_checkpointing=True, max_steps=60, **VALIDATED).fit(GAN((2,)), ring())
    files = {torch.load(path, weights_only=True)["global_step"]: path.stem for path in tmp_path.iterdir()}
    assert sorted(files) == [10, 20, 30, 40, 50, 60]
    assert all(name.endswith(f"step={update}") for update, name in files.items())


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
