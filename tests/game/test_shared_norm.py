"""One normalisation for the parts of an image."""

import pytest
import torch
from torch import nn

from lightning_gans.game.as_in_training import as_in_training
from lightning_gans.game.shared_norm import SharedNorm


def network(norm):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), norm(3), nn.ReLU(), nn.Conv2d(3, 4, 3), norm(4)).eval()


def outputs(norm, batches):
    made = []
    for batch in batches:
        with norm.used(), torch.no_grad():
            made.append(batch())
    return torch.cat(made)


@pytest.mark.parametrize("affine", [False, True])
def test_the_statistics_are_those_of_the_whole_batch(affine):
    layers = network(lambda channels: nn.InstanceNorm2d(channels, affine=affine))
    images = torch.randn(4, 2, 12, 12) * torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1, 1)
    shared = SharedNorm()
    with shared.measured() as found, torch.no_grad():
        together = layers(images)
    assert [len(mean) for _, mean in found] == [3, 4]
    maps = together.transpose(0, 1).flatten(1)
    assert maps.mean(1).allclose(torch.zeros(4), atol=1e-5)
    assert maps.var(1, correction=0).allclose(torch.ones(4), atol=1e-3)
    parts = outputs(shared, [lambda i=i: layers(images[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(parts, together)
    with torch.no_grad():
        assert not torch.allclose(layers(images), together, atol=0.1)  # each by itself, as ever


def test_several_batches_are_joined():
    """The first norm's statistics are exactly those of all images."""
    layers = network(nn.InstanceNorm2d)[:2]
    images = torch.randn(4, 2, 12, 12) * torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1, 1)
    whole, shared = SharedNorm(), SharedNorm()
    with whole.measured(), torch.no_grad():
        together = layers(images)
    for half in images.split(2):
        with shared.measured(), torch.no_grad():
            layers(half)
    torch.testing.assert_close(outputs(shared, [lambda: layers(images)]), together)


def test_batch_norm_by_image_too_but_not_by_running_statistics():
    layers, images = network(nn.BatchNorm2d), torch.randn(2, 2, 12, 12)
    shared = SharedNorm()
    with shared.measured() as found, as_in_training(True, None), torch.no_grad():
        together = layers(images)
    assert len(found) == 2
    with torch.no_grad():
        torch.testing.assert_close(together, layers.train()(images))
    layers.eval()
    with shared.measured() as found, torch.no_grad():
        layers(images)
    assert not found
