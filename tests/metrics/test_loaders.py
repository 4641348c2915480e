"""Real images of data modules and loaders of one's own."""

import random

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_gans import GAN
from lightning_gans.callbacks import Evaluate
from lightning_gans.metrics import SWD
from lightning_gans.metrics.evaluation import real_images_of
from lightning_gans.metrics.loaders import images_of_loaders
from tests.conformance.games import same, small_networks, trainer

BYTES = torch.randint(0, 256, (70, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
IMAGES, LABELS = BYTES / 127.5 - 1, torch.arange(70) % 10


class Own(LightningDataModule):
    """Knows nothing of this package."""

    def __init__(self, *parts, **options):
        super().__init__()
        self.parts = parts or (IMAGES, LABELS)
        self.options = {"batch_size": 16, "shuffle": True, "drop_last": True, **options}
        self.stages = []

    def setup(self, stage):
        self.stages.append(stage)

    def train_dataloader(self):
        return DataLoader(TensorDataset(*self.parts), **self.options)

    def val_dataloader(self):
        return [DataLoader(TensorDataset(*(part[:20] for part in self.parts)), batch_size=16)]


def test_all_images_in_the_order_of_the_data_set():
    for data in (Own(), {"train_dataloader": Own().train_dataloader()}):
        images, labels, key = images_of_loaders(data, "train")
        assert torch.equal(images, BYTES)
        assert torch.equal(labels, LABELS)
        assert key["split"] == "train"
    assert torch.equal(images_of_loaders(Own(), "test")[0], BYTES[:20])  # of the validation
    assert key["content"] != images_of_loaders(Own(), "test")[2]["content"]


@pytest.mark.parametrize("parts", [(IMAGES,), (-IMAGES, IMAGES)])
def test_images_alone_and_pairs(parts):
    images, labels, _ = images_of_loaders(Own(*parts), "train")
    assert torch.equal(images, BYTES)
    assert bool((labels == -1).all())


class Stream(LightningDataModule):
    def train_dataloader(self):
        return [{"image": IMAGES[i : i + 35]} for i in (0, 35)]


class Augmented(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return IMAGES[index] * torch.rand(()) * random.random() * np.random.rand()  # noqa: NPY002


def test_nothing_is_drawn():
    numbers = torch.Generator().manual_seed(5)
    data = Own(generator=numbers)
    data.parts = None
    data.train_dataloader = lambda: DataLoader(Augmented(), 4, shuffle=True, generator=numbers)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), numbers.get_state()  # noqa: NPY002
    images_of_loaders(data, "train")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]  # noqa: NPY002
    assert torch.equal(numbers.get_state(), states[3])


@pytest.mark.parametrize(
    ("data", "split", "message"),
    [
        (Stream(), "test", "data=Stream has no test_dataloader or val_dataloader"),
        ({}, "train", "data=the loader has no train_dataloader"),
        (Own(IMAGES + 1), "train", "the first batch of Own has values from"),
        (Own(IMAGES.flatten(1)), "train", r"data=Own serves \(16, 256\)"),
        (Own(IMAGES[:0], shuffle=False), "train", "data=Own serves no train images"),
        (None, "train", "not with no data"),
        (3, "train", "not with int"),
    ],
)
def test_what_cannot_be_compared_with(data, split, message):
    with pytest.raises(ValueError, match=message) as error:
        real_images_of(data, split)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("plain", [False, True])
def test_evaluations_while_a_game_trains(split, plain, tmp_path):
    """The same scores with a data module and with bare loaders, and the same weights as without."""

    def run(callbacks, fresh):
        torch.manual_seed(0)
        module, fit = GAN((1, 16, 16), **small_networks((1, 16, 16))), trainer(callbacks, max_steps=3)
        loaders = (fresh.train_dataloader(), fresh.val_dataloader()) if plain else (fresh,)
        fit.fit(module, *loaders)
        return module.state_dict(), fresh

    watch = Evaluate([SWD(num_images=20)], split=split, num_samples=20, cache=str(tmp_path))
    weights, data = run([watch], Own())
    assert watch.scores.real_samples == (70 if split == "train" else 20)
    assert same(weights, run([], Own())[0])
    assert data.stages.count("test") == (split == "test" and not plain)
