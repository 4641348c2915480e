"""Known values of the losses of pix2pix and CycleGAN."""

import pytest
import torch

from lightning_gans.losses import translation as losses


def test_cross_entropy_of_patches():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([-3.0, 0.5])
    assert losses.discriminator_loss(real, fake).item() == pytest.approx(0.6157135086)
    assert losses.generator_loss(fake).item() == pytest.approx(1.7613321679)
    zeros = torch.zeros(2, 1, 30, 30)
    assert losses.discriminator_loss(zeros, zeros).item() == pytest.approx(0.6931471806)
    assert losses.generator_loss(zeros).item() == pytest.approx(0.6931471806)


def test_least_squares():
    real, fake = torch.tensor([0.8, 0.4]), torch.tensor([0.3, -0.1])
    assert losses.discriminator_loss(real, fake, "lsgan").item() == pytest.approx(0.125)
    assert losses.generator_loss(fake, "lsgan").item() == pytest.approx(0.85)
    zeros = torch.zeros(1, 1, 30, 30)
    assert losses.discriminator_loss(zeros, zeros, "lsgan").item() == pytest.approx(0.5)
    assert losses.generator_loss(zeros, "lsgan").item() == 1


def test_distances_are_means_over_all_pixels():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.bfloat16)
    targets = torch.full((2, 3, 4, 4), 0.5)
    assert losses.l1(images, targets).item() == 0.5
    assert losses.l2(images, targets).item() == 0.25
    assert losses.l1(images, targets).dtype == torch.float32
