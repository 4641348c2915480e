"""Games from images to images: translations, and what is refused before a run."""

from copy import deepcopy

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gans.callbacks import GeneratorEMA
from lightning_gans.game.translation import TranslationGame
from tests.conformance.games import digits, game, pairs, same, trainer
from tests.conformance.shapes import TwoTranslators


def test_learns_to_translate():
    """There and back again comes nearer to where it began, and nearer than an untrained game's."""
    data = pairs(limit=None, batch_size=32)
    module = game("TwoTranslators", data)
    data.setup()
    inputs, _ = next(iter(data.val_dataloader()))

    def distance():
        with torch.no_grad():
            return (module.back(module.generate(inputs)).tanh() - inputs).abs().mean()

    before = distance()
    trainer([GeneratorEMA(0.9)], max_steps=150).fit(module, data)
    assert distance() < 0.85 * before
    assert not same(module.translate(inputs, ema=True), module.translate(inputs, ema=False))


def test_translations_are_made_in_evaluation_mode():
    module = game("TwoTranslators", pairs())
    module.there = nn.Sequential(module.there, nn.Dropout(0.5))
    inputs = torch.zeros(40, 1, 8, 8)
    images = module.train().translate(inputs)
    assert images.shape == (40, 1, 8, 8)
    assert not images.requires_grad
    assert module.there.training
    assert same(images, module.translate(inputs))


@pytest.mark.parametrize("shape", [(2,), (1, 8), (1, 8, 0)])
def test_shapes_of_images(shape):
    with pytest.raises(ValueError, match="input_shape="):
        TwoTranslators(shape, (1, 8, 8))


def test_single_images_are_no_pairs():
    module = TwoTranslators((1, 8, 8), (1, 8, 8))
    with pytest.raises(ValueError, match="data=Digits serves single images"):
        trainer(max_steps=1).fit(module, digits())


class OwnPairs(LightningDataModule):
    """As docs/data.md says: two shapes, and batches of inputs and targets."""

    input_shape = image_shape = (1, 8, 8)

    def train_dataloader(self):
        images = torch.linspace(-1, 1, 32 * 64).view(32, 1, 8, 8)
        return DataLoader(TensorDataset(images, -images), 16)


def test_pairs_of_a_data_module_of_ones_own():
    fit = trainer(max_steps=2)
    fit.fit(TwoTranslators((1, 8, 8), (1, 8, 8)), OwnPairs())
    assert fit.global_step == 2


def test_other_shapes_than_the_data():
    with pytest.raises(ValueError, match=r"input_shape=\(3, 8, 8\) of the model"):
        trainer(max_steps=1).fit(TwoTranslators((3, 8, 8), (1, 8, 8)), pairs())


def test_generator_of_another_shape():
    module = TwoTranslators((1, 8, 8), (1, 8, 8))
    module.there = nn.Conv2d(1, 3, 1)
    with pytest.raises(ValueError, match=r"makes images of shape \(3, 8, 8\), but image_shape=\(1, 8, 8\)"):
        trainer(max_steps=1).fit(module, pairs())


def test_predict_translates():
    data = pairs()
    module = game("TwoTranslators", data)
    (first, *_) = trainer().predict(module, data)
    assert first.shape == (16, 1, 8, 8)


class Noisy(TranslationGame):
    """Pix2pix's way at test time."""

    norm_at_test, dropout_at_test = "batch", True

    def __init__(self):
        super().__init__((3, 8, 8), (1, 8, 8))
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.generator.append(nn.Conv2d(4, 1, 3, padding=1))
        self.generator.size_multiple = 2

    def training_step(self, batch, batch_idx):
        pass


def test_what_becomes_of_an_image_depends_on_its_seed_alone():
    module, images = Noisy(), torch.rand(5, 3, 8, 8)
    states = deepcopy(module.state_dict()), torch.get_rng_state()
    together = module.translate(images, seed=7)
    assert module.training
    assert same(states, (module.state_dict(), torch.get_rng_state()))
    torch.testing.assert_close(together[3:], module.translate(images[3:], seed=10))
    assert not torch.allclose(together[3:], module.translate(images[3:], seed=7))
    assert not torch.allclose(module.translate(images), module.translate(images))


def test_deterministic_translations_are_those_of_evaluation_mode():
    module, images = Noisy(), torch.rand(5, 3, 8, 8)
    assert same(module.translate(images, deterministic=True), module.generator.eval()(images).detach())


def test_images_of_any_size_and_number(monkeypatch):
    module, images = Noisy(), torch.rand(5, 3, 12, 6)
    whole = module.translate(images, seed=0)
    assert whole.shape == (5, 1, 12, 6)
    monkeypatch.setattr("lightning_gans.game.translation.PIXELS", 150)  # two at once
    torch.testing.assert_close(module.translate(images, seed=0), whole)
    torch.testing.assert_close(module.translate(images.double(), seed=0), whole)  # NumPy's default


def test_directions():
    module = TwoTranslators((3, 8, 8), (1, 8, 8))
    assert module.directions == ("AtoB", "BtoA")
    assert (module.channels("AtoB"), module.channels("BtoA")) == ((3, 1), (1, 3))
    assert module.size_multiple("BtoA") == 1
    assert Noisy().size_multiple() == 2
    images = torch.rand(2, 1, 8, 8)
    assert same(module.translate(images, direction="BtoA"), module.back(images).tanh().detach())
    with pytest.raises(ValueError, match=r"images is .*: give float \(2, 3, 8, 8\)"):
        module.translate(images)
    with pytest.raises(ValueError, match="images is empty"):
        module.translate(images[:0], direction="BtoA")
    with pytest.raises(ValueError, match="direction='BtoA'"):
        Noisy().translate(images, direction="BtoA")
    with pytest.raises(ValueError, match="direction='B'"):
        module.channels("B")


def test_both_directions_are_tried_before_a_run():
    module = TwoTranslators((1, 8, 8), (1, 8, 8))
    module.back = nn.Conv2d(1, 3, 1)
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\), but input_shape=\(1, 8, 8\)"):
        trainer(max_steps=1).fit(module, pairs())


def test_as_many_inputs_as_targets():
    class Odd(OwnPairs):
        def train_dataloader(self):
            return DataLoader([0], collate_fn=lambda _: (torch.zeros(3, 1, 8, 8), torch.zeros(2, 1, 8, 8)))

    with pytest.raises(ValueError, match="3 inputs and 2 targets"):
        trainer(max_steps=1).fit(TwoTranslators((1, 8, 8), (1, 8, 8)), Odd())
