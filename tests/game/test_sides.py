"""Real batches are not believed: what a loader may give, and what the first batch of a run is checked for."""

import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_gans import GAN, ConditionalGAN
from lightning_gans.game.sides import Side, check_real, read_batch
from tests.conformance.games import digits, game, pairs, small_networks, trainer

IMAGES = torch.linspace(-1, 1, 8 * 64).view(8, 1, 8, 8)


@pytest.mark.parametrize(
    "batch",
    [IMAGES, (IMAGES,), [IMAGES], {"images": IMAGES}, {"image": IMAGES}, (IMAGES, None)],
)
def test_without_labels(batch):
    side = read_batch(batch)
    assert torch.equal(side.images, IMAGES)
    assert torch.equal(side.labels, torch.full((8,), -1))
    assert len(side) == 8


@pytest.mark.parametrize("key", ["labels", "label"])
def test_with_labels(key):
    labels = torch.arange(8)
    for batch in ((IMAGES, labels), {"images": IMAGES, key: labels}):
        assert torch.equal(read_batch(batch).labels, labels)


@pytest.mark.parametrize(
    "batch", [(), (IMAGES, IMAGES, IMAGES), {"pixels": IMAGES}, "images", (np.zeros((2, 2)),), None]
)
def test_what_is_no_batch(batch):
    with pytest.raises(ValueError, match="a batch of the data is"):
        read_batch(batch)


def test_detached():
    latents = torch.zeros(2, 3, requires_grad=True)
    side = Side(latents * 2, torch.arange(2), latents + 1, latents - 1).detach()
    for samples in (side.images, side.latents, side.inputs):
        assert not samples.requires_grad


def fit(batches, shape=(1, 8, 8)):
    """Train on a data loader of a user's own, without a data module."""
    run = trainer(max_steps=2)
    run.fit(GAN(shape, **small_networks(shape)), DataLoader(batches, batch_size=None))
    return run


@pytest.mark.parametrize("batch", [IMAGES, (IMAGES,), {"image": IMAGES, "label": torch.arange(8)}])
def test_bare_loaders_train(batch):
    assert fit([batch] * 4).global_step == 2


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((IMAGES + 1) * 127.5, r"values from 0 to 255.*\[-1, 1\]"),
        (torch.arange(8 * 64).view(8, 1, 8, 8) % 256 / 255, r"values from 0 to 1.*\[0, 1\].*2 \* images - 1"),
        (((IMAGES + 1) * 127.5).to(torch.uint8), r"uint8: give float32.*127\.5"),
        (IMAGES.double(), "float64: give float32"),
        (IMAGES[..., :7], r"shape \(8, 1, 8, 7\), but the model was built for \(n, 1, 8, 8\)"),
        ((IMAGES, torch.zeros(8)), r"labels of a batch are torch\.float32"),
        ((IMAGES, torch.arange(7)), r"labels of a batch are .* \(7,\)"),
        ((IMAGES, IMAGES), r"labels of a batch are"),
    ],
)
def test_first_batch_is_looked_at(batch, message):
    with pytest.raises(ValueError, match=message) as error:
        fit([batch] * 4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("label", "message"), [(10, "give -1 to 9"), (-2, "give -1 to 9")])
def test_labels_are_classes(label, message):
    batch = (IMAGES, torch.full((8,), label))
    module = GAN((1, 8, 8), num_classes=10, **small_networks((1, 8, 8)))
    with pytest.raises(ValueError, match=rf"labels\[0\]={label}: {message}"):
        trainer(max_steps=1).fit(module, DataLoader([batch], batch_size=None))


def test_conditional_games_need_labels():
    class Supervised(ConditionalGAN):
        semi_supervised = False

    with pytest.raises(ValueError, match=r"labels\[0\]=-1: give 0 to 9"):
        trainer(max_steps=1).fit(Supervised((1, 8, 8), 10), DataLoader([IMAGES], batch_size=None))


def test_held_out_losses_count_by_samples():
    """Whatever else a batch holds: here first the names of its samples."""

    class Mean(GAN):
        def discriminator_loss(self, real, fake):
            return real.images.mean()

    batches = [{"id": ["a"] * n, "images": torch.full((n, 2), value)} for n, value in ((3, 1.0), (1, 5.0))]
    (scores,) = trainer(limit_val_batches=1.0).validate(
        Mean((2,)), DataLoader(batches, batch_size=None), verbose=False
    )
    assert scores["val/discriminator_loss"] == 2


def test_a_conditional_game_without_labels_warns():
    data = digits(label_fraction=0.01)
    with pytest.warns(UserWarning, match="no sample of the first batch has a label: ConditionalGAN"):
        trainer(max_steps=1).fit(game("ConditionalGAN", data), DataLoader([IMAGES] * 2, batch_size=None))


def test_bright_images_are_told_from_wrongly_scaled_ones():
    bright = torch.arange(8 * 64).view(8, 1, 8, 8) % 128 + 128
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        check_real(bright / 127.5 - 1, (1, 8, 8), "the batch")
    with pytest.warns(UserWarning, match=r"as if scaled to \[0, 1\]"):  # resized: no levels to go by
        check_real((IMAGES + 1) / 2, (1, 8, 8), "the batch")


def test_points_have_no_range():
    points = torch.randn(8, 2) * 100
    assert fit([points.abs()] * 4, shape=(2,)).global_step == 2


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (IMAGES, r"a batch of the data is float32 .*: TwoTranslators needs \(input, target\)"),
        ((IMAGES, None), r"a batch of the data is a [a-z]+ of float32 .*, None: TwoTranslators needs"),
        ((IMAGES, 2 * IMAGES), "the first batch of targets has values"),
        ((IMAGES[..., :4], IMAGES), r"the first batch of inputs has shape \(8, 1, 8, 4\)"),
    ],
)
def test_first_pairs_are_looked_at(batch, message):
    with pytest.raises(ValueError, match=message):
        trainer(max_steps=1).fit(game("TwoTranslators", pairs()), DataLoader([batch] * 2, batch_size=None))
