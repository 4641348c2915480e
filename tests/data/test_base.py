from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from lightning_gans.data import MNIST, DataModule, Digits, GaussianMixtures, ImageDataModule
from lightning_gans.data.base import resize


class Ramp(ImageDataModule):
    """A data set in the few lines that the base asks for."""

    channels = 3
    native_size = 6
    class_names = ("dark", "bright")

    def load(self, split):
        size = 50 if split == "train" else 20
        images = torch.arange(size, dtype=torch.uint8).view(size, 1, 1, 1).expand(size, 3, 6, 8)
        return images, torch.arange(size) % 2


def ready(data, stage=None):
    data.prepare_data()
    data.setup(stage)
    return data


def grey_levels(loader):
    """Tell which samples of Ramp a loader serves."""
    return [round((level.item() + 1) * 127.5) for images, _ in loader for level in images[:, 0, 0, 0]]


def test_known_before_setup():
    data = Ramp(image_size=4, batch_size=7)
    assert data.image_shape == (3, 4, 4)
    assert data.num_classes == 2
    assert data.class_names == ("dark", "bright")
    assert data.batch_size == 7
    assert Ramp().image_shape == (3, 6, 6)


def test_loaders():
    data = ready(Ramp(image_size=4, batch_size=8, eval_batch_size=5))
    assert len(data.train_dataloader()) == 6
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (8, 3, 4, 4)
    assert labels.dtype == torch.int64
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert grey_levels(loader) == list(range(20))
        assert len(loader) == 4
    assert len(ready(Ramp(batch_size=8, drop_last=False)).train_dataloader()) == 7


def test_smallest_batch():
    """A rest of one sample is known before training: batch norm can make nothing of it."""
    assert ready(Ramp(batch_size=8, limit=17, drop_last=False), "fit").smallest_batch == 1
    assert ready(Ramp(batch_size=8, limit=17), "fit").smallest_batch == 8
    with pytest.raises(RuntimeError, match=r"call prepare_data\(\) and setup\(\)"):
        _ = Ramp(batch_size=8, limit=17).smallest_batch


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict", None])
def test_every_stage_loads_what_it_needs(stage):
    data = ready(Ramp(batch_size=5, val_fraction=0.2), stage)
    needs = {"fit": ["train", "val"], "validate": ["val"], "test": ["test"], "predict": ["predict"]}
    for name in needs.get(stage, ["train", "val", "test", "predict"]):
        assert len(getattr(data, f"{name}_dataloader")()) > 0


def test_held_out_samples_and_limit():
    data = ready(Ramp(batch_size=5, val_fraction=0.2, limit=30))
    train, val = grey_levels(data.train_dataloader()), grey_levels(data.val_dataloader())
    assert len(set(train)) == 30
    assert len(set(val)) == 10
    assert not set(train) & set(val)
    again = ready(Ramp(batch_size=5, val_fraction=0.2, limit=30))
    assert grey_levels(again.train_dataloader()) == train
    other = ready(Ramp(batch_size=5, val_fraction=0.2, limit=30, seed=1))
    assert set(grey_levels(other.train_dataloader())) != set(train)
    assert grey_levels(data.test_dataloader()) == list(range(20))


def test_limit_per_class():
    data = ready(Digits(batch_size=8, val_fraction=0.1, limit_per_class=20))
    images, labels = data.training_images()
    assert labels.bincount().tolist() == [20] * 10
    again, more = (ready(Digits(batch_size=8, val_fraction=0.1, limit_per_class=n)) for n in (20, 30))
    assert torch.equal(again.training_images()[0], images)
    rows = {image.numpy().tobytes() for image in more.training_images()[0]}
    assert {image.numpy().tobytes() for image in images} < rows
    assert data.hparams["limit_per_class"] == 20


def test_ranks_and_overfitting_come_from_the_trainer():
    shards = []
    for rank in range(2):
        data = ready(Ramp(batch_size=5))
        data.trainer = SimpleNamespace(
            global_rank=rank,
            world_size=2,
            overfit_batches=0,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )
        shards.append(grey_levels(data.train_dataloader()))
    assert len(shards[0]) == len(shards[1]) == 25
    assert set(shards[0]) | set(shards[1]) == set(range(50))
    data.trainer.overfit_batches = 1
    assert grey_levels(data.train_dataloader())[:5] == [5, 6, 7, 8, 9]


def test_lightning_overfits_on_the_same_batch():
    seen = []

    class Model(BoringModel):
        def training_step(self, batch, batch_idx):
            seen.append(batch[1].tolist())
            return self.layer(torch.zeros(1, 32)).sum()

        def validation_step(self, batch, batch_idx):
            pass

    options = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", max_epochs=3, overfit_batches=1, **options)
    trainer.fit(Model(), Ramp(batch_size=5))
    assert seen == [seen[0]] * 3


def test_batches_on_the_device_are_passed_on():
    data = Ramp()
    batch = torch.zeros(2, 3, 6, 6), torch.zeros(2, dtype=torch.int64)
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    assert data.transfer_batch_to_device(batch, torch.device("meta"), 0)[0].is_meta


def test_hyperparameters_are_plain(tmp_path):
    data = Ramp(root=tmp_path, image_size=4)
    assert data.hparams["root"] == data.hparams_initial["root"] == str(tmp_path)
    assert data.hparams["image_size"] == 4
    assert data.hparams["batch_size"] == 128
    assert all(value is None or isinstance(value, int | float | str) for value in data.hparams.values())


def test_root(tmp_path, monkeypatch):
    assert Ramp().root == Path("data")
    monkeypatch.setenv("LIGHTNING_GANS_DATA", str(tmp_path))
    assert Ramp().root == tmp_path
    assert Ramp().hparams["root"] is None
    assert Ramp(root="elsewhere").root == Path("elsewhere")


def test_resize_crops_the_middle_and_never_pads():
    images = torch.zeros(2, 1, 4, 8, dtype=torch.uint8)
    images[..., 2:6] = 200
    assert torch.equal(resize(images, 4), torch.full((2, 1, 4, 4), 200, dtype=torch.uint8))
    assert torch.equal(resize(images, 16), torch.full((2, 1, 16, 16), 200, dtype=torch.uint8))
    noise = torch.randint(0, 256, (1500, 1, 8, 8), dtype=torch.uint8)
    halved = resize(noise, 4)
    assert halved.dtype == torch.uint8
    assert halved.float().std() < 0.6 * noise.float().std()  # antialiased: neighbours are averaged
    assert torch.equal(resize(noise[1400:], 4), halved[1400:])


def instantiate(parser, config):
    return (
        parser.instantiate(config) if hasattr(parser, "instantiate") else parser.instantiate_classes(config)
    )


def test_command_line_arguments():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data")
    arguments = [
        "--data=MNIST",
        "--data.image_size=32",
        "--data.batch_size=64",
        "--data.limit=100",
        "--data.root=x",
    ]
    data = instantiate(parser, parser.parse_args(arguments)).data
    assert isinstance(data, MNIST)
    assert (data.image_size, data.batch_size, data.limit, data.root) == (32, 64, 100, Path("x"))
    data = instantiate(parser, parser.parse_args(["--data=GaussianMixtures", "--data.layout=grid"])).data
    assert data.num_classes == 25


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"eval_batch_size": -1}, "eval_batch_size=-1"),
        ({"limit": 0}, "limit=0"),
        ({"limit_per_class": 0}, "limit_per_class=0"),
        ({"limit": 200, "limit_per_class": 3}, "limit=200 and limit_per_class=3: give one of them"),
        ({"image_size": 0}, "image_size=0"),
        ({"val_fraction": 1.0}, "val_fraction=1.0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, words):
    with pytest.raises(ValueError, match=words) as error:
        Ramp(**arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"batch_size": 51}, "batch_size=51 exceeds the 50 training samples: use at most 50"),
        ({"batch_size": 11, "limit": 10}, "batch_size=11 exceeds the 10 training samples"),
        ({"batch_size": 5, "limit": 51}, "limit=51 exceeds the 50 training samples"),
        ({"batch_size": 5, "val_fraction": 0.001}, "val_fraction=0.001 of 50 samples is none"),
    ],
)
def test_arguments_that_the_data_refuses(arguments, words):
    data = Ramp(**arguments)
    data.trainer = SimpleNamespace(world_size=1)
    with pytest.raises(ValueError, match=words):
        data.setup("fit")


def test_a_batch_size_that_nothing_asks_for():
    """Scores need no batches: a small set is not refused for one."""
    data = Ramp(batch_size=51, limit=20)
    assert len(data.real_images("train")[1]) == 20
    data.setup("fit")
    with pytest.raises(ValueError, match=r"batch_size=51 .*use at most 20"):
        data.train_dataloader()


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("size", [None, 5, 6, 9])
def test_real_images_are_resized_from_the_originals(split, size):
    data = Digits(image_size=16, load_size=20, limit=30)
    for _ in range(2):  # before setup, and after
        images, labels, key = data.real_images(split, size)
        assert images.shape == (len(labels), 1, size or 16, size or 16)
        originals = Digits(limit=30)
        assert torch.equal(images, resize(originals.real_images(split)[0], size or 16))
        assert torch.equal(labels, originals.real_images(split)[1])
        assert key != originals.real_images(split)[2]
        data.setup()


def test_real_images_without_a_test_split():
    class Untested(Ramp):
        has_test_split = False

    with pytest.raises(ValueError, match="split=test: Untested has no test split here, use train"):
        Untested().real_images("test")


def test_loaders_need_setup():
    with pytest.raises(RuntimeError, match="setup"):
        Ramp().train_dataloader()


def test_images_without_labels_are_damage():
    class Damaged(Ramp):
        def load(self, split):
            return torch.zeros(5, 3, 6, 6, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)

    with pytest.raises(ValueError, match="5 images but 4 labels"):
        Damaged().setup()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_data_lives_on_the_gpu():
    devices = []

    class Model(BoringModel):
        def training_step(self, batch, batch_idx):
            devices.append((batch[0].device.type, self.trainer.train_dataloader.data.device.type))
            return self.layer(batch[0].flatten()[:32]).sum()

    options = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    Trainer(accelerator="gpu", devices=1, max_steps=2, limit_val_batches=0, **options).fit(Model(), Digits())
    assert devices == [("cuda", "cuda")] * 2


def test_all_are_data_modules():
    for data in (Digits(), MNIST(), GaussianMixtures()):
        assert isinstance(data, DataModule)
