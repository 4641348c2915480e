"""The features of discriminators, found where activations are called."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_gans import networks as N
from lightning_gans.networks import averaged_batch_norm, feature_maps, pooled_features


class ByFunctions(nn.Module):
    """As people write it, without modules of activations; the last convolution gives the logit."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 3, 2, 1), nn.Conv2d(3, 5, 3, 2, 1)
        self.norm, self.hidden = nn.BatchNorm2d(5), nn.Linear(5 * 4 * 4, 7)
        self.last = nn.Conv2d(7, 1, 1)

    def forward(self, images):
        self.low = self.first(images).relu()
        self.high = F.leaky_relu(
            self.norm(self.second(self.low.relu())), 0.1
        )  # a ReLU of no convolution, too
        return self.last(torch.relu(self.hidden(self.high.flatten(1)))[:, :, None, None]).flatten(1)


def test_maps_of_a_network_without_modules_of_activations():
    network, images = ByFunctions(), torch.randn(2, 1, 16, 16)
    low, high = feature_maps(network, images)
    assert low is network.low
    assert high is network.high


@pytest.mark.parametrize(
    ("network", "maps"),
    [
        (
            N.DCGANImageNetDiscriminator,
            [(w, s, s) for w, a in ((128, 32), (256, 16), (512, 8)) for s in (a, a // 2)],
        ),
        (
            N.ResNetDiscriminator,
            [(128, 32, 32), (128, 16, 16), (128, 16, 16), (128, 8, 8)] + [(128, 8, 8)] * 4,
        ),
        (N.SmallDiscriminator, [(128, 16, 16), (256, 8, 8), (512, 4, 4)]),
        (N.ConvMaxoutDiscriminator, [(32, 33, 33), (32, 15, 15), (192, 9, 9)]),
        (N.ACGANDiscriminator, [(64, 16, 16), (128, 8, 8)]),
        (N.MaxoutDiscriminator, []),
    ],
)
def test_maps_of_each_kind_of_discriminator(network, maps):
    with torch.device("meta"):
        found = feature_maps(network((3, 32, 32)), torch.empty(2, 3, 32, 32))
    assert [tuple(each.shape[1:]) for each in found] == maps


def test_numbers_of_the_papers_features():
    """Those of CIFAR-10, by layer, and those of SVHN."""
    with torch.device("meta"):
        images = torch.empty(2, 3, 32, 32)
        maps = feature_maps(N.DCGANImageNetDiscriminator((3, 32, 32)), images)
        sizes = [pooled_features([each]).shape[1] for each in maps]
        svhn = feature_maps(N.DCGANPaperDiscriminator((3, 32, 32), width=64), images)
        assert sizes == [2048, 2048, 4096, 4096, 8192, 8192]
        assert pooled_features(maps).shape == (2, 28672)
        assert pooled_features(svhn).shape == (2, 7168)


def test_features_are_maxima_of_a_grid():
    maps = [
        torch.randn(3, 2, 8, 8),
        torch.randn(3, 5, 4, 4),
        torch.randn(3, 2, 3, 2),
        torch.randn(3, 1, 7, 7),
    ]
    large, same, small, odd = pooled_features(maps).split([32, 80, 12, 16], 1)
    assert torch.equal(large, maps[0].reshape(3, 2, 4, 2, 4, 2).amax((3, 5)).flatten(1))
    assert torch.equal(same, maps[1].flatten(1))
    assert torch.equal(small, maps[2].flatten(1))
    assert torch.equal(odd.view(3, 4, 4)[:, 1, 3], maps[3][:, 0, 1:4, 5:7].amax((1, 2)))


def test_batch_norm_has_the_mean_of_the_statistics_of_all_batches():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.BatchNorm2d(2)).eval()
    nn.init.constant_(network[0].weight, 2.0)
    network[1](torch.randn(4, 2, 3, 3) + 5)
    batches = [torch.randn(6, 1, 3, 3) * scale + 1 for scale in (1, 3)]
    with torch.no_grad(), averaged_batch_norm(network):
        for batch in batches:
            network(batch)
    inputs = [network[0](batch).transpose(0, 1).flatten(1) for batch in batches]
    assert torch.allclose(network[1].running_mean, sum(x.mean(1) for x in inputs) / 2, atol=1e-6)
    assert torch.allclose(network[1].running_var, sum(x.var(1) for x in inputs) / 2, rtol=1e-5)
    # Batches were normalised by their own statistics, and dropout was off.
    assert torch.allclose(network[3].running_mean, torch.zeros(2), atol=1e-5)
    assert torch.allclose(network[3].running_var, torch.full((2,), 54 / 53), rtol=1e-3)
    assert not any(part.training for part in network.modules())
    assert network[1].momentum == 0.1
