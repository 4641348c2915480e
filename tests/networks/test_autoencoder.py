import numpy as np
import pytest
import torch

from lightning_gans.commands.dedup import first_alike
from lightning_gans.networks import HashAutoencoder


def test_parameter_count():
    assert sum(p.numel() for p in HashAutoencoder().parameters()) == 789_632


def test_codes():
    torch.manual_seed(0)
    network = HashAutoencoder()
    images = torch.rand(5, 3, 32, 32) * 2 - 1
    images[3] = images[1]
    codes = network.codes(images)
    assert codes.shape == (5, 128)
    assert codes.dtype == torch.bool
    assert torch.equal(codes[3], codes[1])
    assert not torch.equal(codes[0], codes[1])
    # no dropout, although the network is in training mode
    assert network.training
    assert torch.equal(network.codes(images), codes)
    hidden = network.eval().encoder(images).relu()
    assert torch.equal(codes, hidden > 0)


def test_reconstruction_learns():
    torch.manual_seed(0)
    network = HashAutoencoder((1, 4, 4), code_dim=32, noise=0.1, dropout=0.1)
    images = torch.rand(16, 1, 4, 4) * 2 - 1
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    before = (network.eval()(images) - images).square().mean()
    network.train()
    for _ in range(100):
        loss = (network(images) - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert network(images).shape == images.shape
    assert (network.eval()(images) - images).square().mean() < before / 4


def first_of_each_code(codes):
    """Which images are kept: those that are the first of their code."""
    return torch.from_numpy(first_alike(np.packbits(codes.numpy(), axis=1))[0]) == torch.arange(len(codes))


def test_first_of_each_code():
    torch.manual_seed(0)
    codes = torch.rand(6, 128) > 0.5
    codes[3] = codes[5] = codes[0]
    codes[4] = codes[1]
    assert first_of_each_code(codes).tolist() == [True, True, True, False, False, False]
    codes[4, 7] = ~codes[4, 7]  # one bit makes a pair distinct
    assert first_of_each_code(codes).tolist() == [True, True, True, False, True, False]


def test_empty_codes_are_kept():
    codes = torch.zeros(3, 128, dtype=torch.bool)
    assert first_of_each_code(codes).all()


def test_wrong_images():
    with pytest.raises(ValueError, match="images has shape"):
        HashAutoencoder().codes(torch.zeros(2, 3, 28, 28))
