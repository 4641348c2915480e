"""Games from images to images: translations, and what is refused before a run."""

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gans.callbacks import GeneratorEMA
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
