import os
import random
import re
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from lightning_gans.callbacks import GeneratorEMA, SampleGrid, Throughput
from lightning_gans.data import Colorization, GaussianMixtures
from lightning_gans.data.colour import lab_to_rgb
from lightning_gans.drawing.grids import image_grid
from lightning_gans.game.interruption import Interrupted
from lightning_gans.game.translation import TranslationGame
from tests.callbacks.helpers import (
    Save,
    digits,
    fit,
    image_game,
    norm_game,
    point_game,
    ring,
    updates_drawn,
    weights,
)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize(
    ("schedule", "max_steps", "expected"),
    [
        ({}, 10, [0, 4, 8, 10]),
        ({}, 8, [0, 4, 8]),
        ({"discriminator_steps": 3}, 9, [0, 4, 8, 9]),  # three batches share each step
        ({"generator_steps": 3}, 13, [0, 4, 8, 12, 13]),
    ],
)
def test_draws_start_cadence_and_end_once_each(tmp_path, schedule, max_steps, expected):
    fit(tmp_path, image_game(**schedule), digits(), [SampleGrid(4)], max_steps)
    assert updates_drawn(tmp_path) == expected
    with Image.open(tmp_path / "samples.gif") as gif:
        assert gif.n_frames == len(expected)


def test_picture_is_the_grid_of_fixed_samples(tmp_path):
    game = image_game()
    fit(tmp_path, game, digits(), [SampleGrid(4, num_samples=6, seed=3, columns=3)], 4)
    expected = image_grid(game.sample(6, seed=3), columns=3)
    assert np.array_equal(pixels(tmp_path / "samples/update=00000004.png"), np.asarray(expected))


def test_averaged_weights_are_drawn(tmp_path):
    game = norm_game()
    fit(tmp_path, game, digits(), [GeneratorEMA(0.999), SampleGrid(4, num_samples=4)], 4)
    drawn = pixels(tmp_path / "samples/update=00000004.png")
    assert np.array_equal(drawn, np.asarray(image_grid(game.sample(4, seed=0, ema=True))))
    assert not np.array_equal(drawn, np.asarray(image_grid(game.sample(4, seed=0, ema=False))))


class Watcher(Callback):
    """Notes what a picture must leave as it was; comes after it."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        position = np.random.get_state()[2]  # noqa: NPY002 - the global one must stay
        numbers = [torch.get_rng_state().sum().item(), random.getstate()[1][-1], position]
        self.seen.append((numbers, [m.training for m in pl_module.modules()]))


@pytest.mark.parametrize(("make", "data"), [(image_game, digits), (norm_game, digits), (point_game, ring)])
def test_training_is_the_same_bit_for_bit(tmp_path, make, data):
    ends = []
    for callbacks in ([], [SampleGrid(2, num_samples=4)]):
        seed_everything(5, verbose=False)
        game, watcher = make(), Watcher()
        fit(tmp_path, game, data(), [*callbacks, watcher], 6)
        ends.append((weights(game), game.rng.get_state(), watcher.seen))
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])
    assert ends[0][2] == ends[1][2]


def test_a_loader_that_shuffles_with_global_numbers_does_not_change_the_training(tmp_path):
    points = torch.randn(200, 2)
    ends = []
    for callbacks in ([], [SampleGrid(2)]):
        seed_everything(5, verbose=False)
        game = point_game()
        loader = DataLoader(TensorDataset(points), 20, shuffle=True)
        trainer = Trainer(
            max_steps=5, default_root_dir=tmp_path, callbacks=callbacks, accelerator="cpu", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(game, loader, loader)
        ends.append(weights(game))
    assert torch.equal(*ends)


def test_a_resumed_run_goes_on_with_the_same_pictures(tmp_path):
    seed_everything(0, verbose=False)
    fit(tmp_path / "whole", image_game(), digits(), [SampleGrid(4)], 14)

    seed_everything(0, verbose=False)
    saving = Save(tmp_path / "first/checkpoints/half.ckpt", 9)
    fit(tmp_path / "first", image_game(), digits(), [SampleGrid(4), saving], 11)
    (tmp_path / "first").rename(tmp_path / "moved")
    half = tmp_path / "moved/checkpoints/half.ckpt"
    torch.load(half, weights_only=True)
    fit(tmp_path / "second", image_game(), digits(), [SampleGrid(4)], 14, ckpt_path=half)

    assert updates_drawn(tmp_path / "second") == [0, 4, 8, 12, 14]
    for update in (0, 4, 8, 12, 14):
        name = f"samples/update={update:08d}.png"
        assert np.array_equal(pixels(tmp_path / "whole" / name), pixels(tmp_path / "second" / name))
    with Image.open(tmp_path / "second/samples.gif") as gif:
        assert gif.n_frames == len([0, 4, 8, 12, 14])


def test_pictures_are_found_although_the_checkpoint_was_taken_out_of_its_run(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    fit(Path("run"), image_game(), digits(), [SampleGrid(4), Save(tmp_path / "lone.ckpt", 9)], 11)
    monkeypatch.chdir(tmp_path)
    fit(tmp_path / "next", image_game(), digits(), [SampleGrid(4)], 12, ckpt_path="lone.ckpt")
    assert updates_drawn(tmp_path / "next") == [0, 4, 8, 12]
    shutil.rmtree("work")
    with pytest.warns(UserWarning, match="3 pictures of the resumed run are not in .*work/run"):
        fit(tmp_path / "third", image_game(), digits(), [SampleGrid(4)], 12, ckpt_path="lone.ckpt")
    assert updates_drawn(tmp_path / "third") == [12]


def test_a_picture_that_a_killed_run_owed_is_drawn_on_resume(tmp_path):
    fit(tmp_path / "a", image_game(), digits(), [Save(tmp_path / "before.ckpt", 4), SampleGrid(4)], 5)
    fit(tmp_path / "b", image_game(), digits(), [SampleGrid(4)], 6, ckpt_path=tmp_path / "before.ckpt")
    assert updates_drawn(tmp_path / "b") == [0, 4, 6]


def test_pictures_that_are_gone_are_skipped(tmp_path):
    class Delete(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            (tmp_path / "samples/update=00000000.png").unlink(missing_ok=True)

    fit(tmp_path, image_game(), digits(), [SampleGrid(2), Delete()], 4)
    with Image.open(tmp_path / "samples.gif") as gif:
        assert gif.n_frames == 2


def test_stopping_by_hand_leaves_an_animation(tmp_path):
    class Stop(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        fit(tmp_path, image_game(), digits(), [SampleGrid(2), Stop()], 10)
    assert (tmp_path / "samples.gif").is_file()


def test_one_callback_serves_several_runs(tmp_path):
    callback = SampleGrid(4)
    for name in ("a", "b"):
        fit(tmp_path / name, image_game(), digits(), [callback], 4)
        assert updates_drawn(tmp_path / name) == [0, 4]


def test_a_picture_that_no_program_would_open(tmp_path):
    with pytest.raises(ValueError, match="num_samples=1000000"):
        fit(tmp_path, image_game(), digits(), [SampleGrid(4, num_samples=10**6)], 4)


def test_without_gif(tmp_path):
    fit(tmp_path, image_game(), digits(), [SampleGrid(4, gif=False)], 4)
    assert not (tmp_path / "samples.gif").exists()


def test_a_fast_dev_run_writes_nothing(tmp_path):
    fit(tmp_path, image_game(), digits(), [SampleGrid(1)], fast_dev_run=True)
    assert list(tmp_path.iterdir()) == []


def test_classes_come_in_turn_in_a_conditional_game(tmp_path):
    asked = []
    game = image_game(num_classes=10)
    game.conditional = True
    game.sample = lambda n, labels, seed: asked.append(labels) or torch.zeros(n, 1, 8, 8)
    callback = SampleGrid(num_samples=12)
    callback.picture(SimpleNamespace(global_step=0, datamodule=None), game)
    assert asked[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_points_are_drawn(tmp_path):
    fit(tmp_path, point_game(), ring(), [SampleGrid(4)], 6)
    assert updates_drawn(tmp_path) == [0, 4, 6]
    assert pixels(tmp_path / "samples/update=00000004.png").shape == (560, 600, 3)


def test_points_are_stored_beside_their_picture(tmp_path):
    game, data = point_game(), ring()
    fit(tmp_path, game, data, [SampleGrid(4), Save(tmp_path / "half.ckpt", 6)], 7)
    with np.load(tmp_path / "samples/update=00000007.npz") as stored:
        assert np.array_equal(stored["fake"], game.sample(1_000, seed=0))
        assert np.array_equal(stored["real"], data.load("test")[0][:1_000])
    fit(tmp_path / "next", point_game(), ring(), [SampleGrid(4)], 8, ckpt_path=tmp_path / "half.ckpt")
    kept = sorted(path.name for path in (tmp_path / "next/samples").glob("*.npz"))
    assert kept == [f"update={update:08d}.npz" for update in (0, 4, 8)]


def test_of_several_replicas_the_first_is_drawn(tmp_path):
    game = point_game(replicas=2)
    fit(tmp_path, game, ring(), [SampleGrid(2)], 2)
    assert updates_drawn(tmp_path / "replica=0") == [0, 2]
    assert (tmp_path / "replica=0/samples.gif").is_file()
    with np.load(tmp_path / "replica=0/samples/update=00000002.npz") as stored:
        assert np.array_equal(stored["fake"], game.replica(0).sample(1_000, seed=0))


def test_a_perfect_generator_has_all_modes(tmp_path):
    data = ring()
    real = data.load("test")[0]
    game = point_game()
    game.sample = lambda n, labels, seed: real[:n]
    trainer = SimpleNamespace(global_step=0, datamodule=data, val_dataloaders=None, callbacks=[])
    data.setup()
    callback = SampleGrid()
    assert callback.picture(trainer, game)[1] == {}
    said = re.fullmatch(r"update 0 .* modes 8/8 .* high quality (\d+)%", callback._scatter.title.get_text())
    assert int(said[1]) > 95


def test_points_of_three_dimensions(tmp_path):
    data = GaussianMixtures("cube", samples=500, batch_size=32)
    fit(tmp_path, point_game(3), data, [SampleGrid(4)], 2)
    assert updates_drawn(tmp_path) == [0, 2]


@pytest.mark.parametrize("dim", [2, 5])
def test_points_of_loaders_without_a_data_module(tmp_path, dim):
    data = TensorDataset(torch.randn(64, dim))
    trainer = Trainer(
        max_steps=2, default_root_dir=tmp_path, callbacks=[SampleGrid(2)], accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(point_game(dim), DataLoader(data, 16))
    assert updates_drawn(tmp_path) == [0, 2]


def test_pictures_go_to_tensorboard_and_wandb(tmp_path, monkeypatch):
    class Wandb(WandbLogger):
        def __init__(self):
            self.shown = []

        experiment = name = version = save_dir = property(lambda self: None)

        def log_image(self, key, images, step=None, **kwargs):
            self.shown.append((key, images[0].size, step))

        def log_metrics(self, metrics, step=None):
            pass

        def save(self):
            pass

        def finalize(self, status):
            pass

        def after_save_checkpoint(self, checkpoint_callback):
            pass

        def log_hyperparams(self, params, *args, **kwargs):
            pass

        def log_graph(self, model, *args, **kwargs):
            pass

    board, wandb = TensorBoardLogger(tmp_path, name="", version=""), Wandb()
    shown = []
    monkeypatch.setattr(
        board.experiment,
        "add_image",
        lambda tag, image, step, dataformats: shown.append((tag, image.shape, step)),
    )
    fit(tmp_path, image_game(), digits(), [SampleGrid(2, num_samples=4)], 2, logger=[board, wandb])
    assert shown == [("samples", (52, 202, 3), 0), ("samples", (52, 202, 3), 2)]
    assert wandb.shown == [("samples", (202, 52), 0), ("samples", (202, 52), 2)]


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "samples").write_text("in the way")
    game = image_game()
    before = weights(game)
    with pytest.raises(OSError, match=r"SampleGrid=.*samples: cannot write to") as raised:
        fit(tmp_path, game, digits(), [SampleGrid(2)], 2)
    assert "\n" not in str(raised.value)
    assert torch.equal(weights(game), before)
    assert (tmp_path / "samples").read_text() == "in the way"


@pytest.mark.parametrize(
    "arguments",
    [{"every_n_updates": 0}, {"num_samples": 0}, {"columns": -1}, {"scale": 0}, {"frame_duration": 0}],
)
def test_refuses_numbers_that_make_no_picture(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        SampleGrid(**arguments)


def test_refuses_modules_it_cannot_draw(tmp_path):
    trainer = Trainer(default_root_dir=tmp_path, logger=False, accelerator="cpu")
    with pytest.raises(TypeError, match=r"LightningModule\.sample"):
        SampleGrid().setup(trainer, LightningModule(), "fit")
    with pytest.raises(ValueError, match=r"image_shape=\(1,\)"):
        SampleGrid().setup(trainer, point_game(1), "fit")


class Failing(SampleGrid):
    """Cannot draw update 4."""

    def picture(self, trainer, module):
        if trainer.global_step == 4:
            raise RuntimeError("the pen broke")
        return super().picture(trainer, module)


def test_a_picture_that_fails_is_a_warning(tmp_path):
    with pytest.warns(UserWarning, match=r"update=00000004\.png failed, .* RuntimeError: the pen broke"):
        trainer = fit(tmp_path, image_game(), digits(), [Failing(2)], 6)
    assert trainer.global_step == 6
    assert updates_drawn(tmp_path) == [0, 2, 6]
    with Image.open(tmp_path / "samples.gif") as gif:
        assert gif.n_frames == 3


def test_a_full_disk_leaves_no_part_of_a_picture(tmp_path, full_disk):
    full_disk(1)
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        fit(tmp_path, image_game(), digits(), [SampleGrid(2)], 4)
    named = " ".join(str(warning.message) for warning in caught)
    assert all(name in named for name in ("update=00000002.png", "update=00000004.png", "samples.gif"))
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["update=00000000.png"]
    assert not list(tmp_path.glob("samples.gif*"))


def test_a_damaged_picture_is_left_out_of_the_animation(tmp_path):
    class Cut(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            first = tmp_path / "samples/update=00000000.png"
            first.write_bytes(first.read_bytes()[:100])

    with pytest.warns(UserWarning, match=r"update=00000000\.png is left out of the animation"):
        fit(tmp_path, image_game(), digits(), [SampleGrid(2), Cut()], 4)
    with Image.open(tmp_path / "samples.gif") as gif:
        assert gif.n_frames == 2


class Inverter(TranslationGame):
    """Learns nothing; turns the brightness of an image over."""

    def __init__(self):
        super().__init__((3, 8, 8), (1, 8, 8))

    def players(self):
        return {}

    def generate(self, inputs, ema=False, direction="AtoB"):
        return -inputs.mean(1, keepdim=True)


@pytest.mark.parametrize("names", [("input", "target"), ("A", "B")])
def test_translations_stand_between_inputs_and_targets(names):
    inputs, targets = torch.rand(5, 3, 8, 8) * 2 - 1, torch.rand(5, 1, 8, 8) * 2 - 1
    batches = list(zip(inputs.split(2), targets.split(2), strict=True))
    data = LightningDataModule()
    data.view_names = names
    trainer = SimpleNamespace(datamodule=data, val_dataloaders=[batches], global_step=0)
    callback = SampleGrid(num_samples=4, columns=3, scale=1)
    callback.prepare(trainer, Inverter())
    picture, values = callback.picture(trainer, Inverter())
    assert values == {}
    kinds = [inputs, -inputs.mean(1, keepdim=True).expand(-1, 3, -1, -1)]
    kinds += [targets.expand(-1, 3, -1, -1)] * (names == ("input", "target"))
    expected = np.asarray(image_grid(torch.stack(kinds, 1)[:4].flatten(0, 1), len(kinds), 1))
    assert np.array_equal(np.asarray(picture)[-len(expected) :], expected)


class BothWays(Inverter):
    """Makes bright colour of grey, and grey of colour."""

    directions = ("AtoB", "BtoA")

    def generate(self, inputs, ema=False, direction="AtoB"):
        return -inputs.mean(1, keepdim=True) if direction == "AtoB" else inputs.expand(-1, 3, -1, -1) / 2


def test_translations_in_both_directions_and_back():
    a, b = torch.rand(4, 3, 8, 8) * 2 - 1, torch.rand(4, 1, 8, 8) * 2 - 1
    data = LightningDataModule()
    data.view_names = ("A", "B")
    trainer = SimpleNamespace(datamodule=data, val_dataloaders=[[(a, b)]], global_step=0)
    picture, _ = SampleGrid(num_samples=4, scale=1).picture(trainer, BothWays())
    grey = -a.mean(1, keepdim=True)
    kinds = [a, grey, grey / 2, b, b / 2, -b / 2]
    rows = torch.stack([kind.expand(-1, 3, -1, -1) for kind in kinds], 1).flatten(0, 1)
    expected = np.asarray(image_grid(rows, 6, 1))
    assert np.array_equal(np.asarray(picture)[-len(expected) :], expected)


class Colours(Inverter):
    """Knows the two axes of colour from the lightness: there is none."""

    def __init__(self):
        TranslationGame.__init__(self, (1, 8, 8), (2, 8, 8))

    def generate(self, inputs, ema=False, direction="AtoB"):
        return 0 * inputs.expand(-1, 2, -1, -1)


def test_translations_are_drawn_as_the_data_shows_them(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    data = LightningDataModule()
    data.to_show = Colorization(str(tmp_path), image_size=8, space="lab").to_show
    light, colour = torch.rand(2, 1, 8, 8) * 2 - 1, torch.rand(2, 2, 8, 8) / 2
    trainer = SimpleNamespace(datamodule=data, val_dataloaders=[[(light, colour)]], global_step=0)
    picture, _ = SampleGrid(num_samples=2, columns=3, scale=1).picture(trainer, Colours())
    kinds = [light.expand(-1, 3, -1, -1), lab_to_rgb(light, 0 * colour), lab_to_rgb(light, colour)]
    expected = np.asarray(image_grid(torch.stack(kinds, 1).flatten(0, 1), 3, 1))
    assert np.array_equal(np.asarray(picture)[-len(expected) :], expected)


def test_translations_of_training_images_where_none_are_held_out(tmp_path):
    for number in range(3):
        Image.new("RGB", (8, 8), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
    data = Colorization(str(tmp_path), image_size=8, space="lab", cache=str(tmp_path / "cache"))
    data.prepare_data()
    data.setup("fit")
    trainer = SimpleNamespace(datamodule=data, val_dataloaders=[], global_step=0)
    picture, _ = SampleGrid(num_samples=3, columns=3, scale=1).picture(trainer, Colours())
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 3


def test_two_ranks_draw_once_and_do_not_wait_for_each_other(tmp_path):
    drawing = [Failing(2), GeneratorEMA(0.9), Throughput(4)]
    fit(tmp_path, point_game(), ring(), drawing, 6, devices=2, strategy="ddp_fork")
    assert updates_drawn(tmp_path) == [0, 2, 6]
