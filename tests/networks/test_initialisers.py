import math

import pytest
import torch
from torch import nn

from lightning_gans.networks import MLPGenerator, initialisers


def network():
    return nn.Sequential(
        nn.Linear(200, 300),
        nn.Conv2d(20, 40, 5),
        nn.ConvTranspose2d(40, 20, 5),
        nn.BatchNorm2d(500),
        nn.GroupNorm(1, 9),
    )


def test_uniform():
    torch.manual_seed(0)
    net = network()
    initialisers.uniform_(net, 0.05)
    for layer in net[:3]:
        assert layer.weight.abs().max() <= 0.05
        assert layer.weight.mean().abs() < 0.001
        assert layer.weight.std().item() == pytest.approx(0.05 / math.sqrt(3), rel=0.03)
        assert not layer.bias.any()


def test_normal():
    torch.manual_seed(0)
    net = network()
    initialisers.normal_(net)
    for layer in net[:3]:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.03)
        assert layer.weight.abs().max() > 0.05  # not a uniform distribution
        assert not layer.bias.any()
    assert net[3].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert net[3].weight.mean().item() == pytest.approx(1, abs=0.005)
    assert not net[3].bias.any()
    assert torch.equal(net[4].weight, torch.ones(9))


@pytest.mark.parametrize(
    ("layer", "fans"),
    [
        (nn.Linear(200, 300), 500),
        (nn.Conv2d(20, 40, 5), 25 * 60),
        (nn.Conv2d(20, 40, 5, stride=2), 25 * (20 + 10)),
        (nn.ConvTranspose2d(20, 40, 5, stride=2), 25 * (5 + 40)),
    ],
)
@pytest.mark.parametrize("gain", [2, 4])
def test_fan_average(layer, fans, gain):
    torch.manual_seed(0)
    initialisers.fan_average_uniform_(layer, gain)
    bound = math.sqrt(3 * gain / fans)
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert layer.weight.var().item() == pytest.approx(gain / fans, rel=0.03)
    assert not layer.bias.any()


def test_logit_of_mean():
    mean = torch.tensor([0.0, 0.25, 1.0])
    bias = initialisers.logit_of_mean(mean)
    assert bias.isfinite().all()
    assert bias.sigmoid().tolist() == pytest.approx([0.001, 0.25, 0.999], rel=1e-4)


def test_generator_that_starts_at_the_mean_image():
    generator = MLPGenerator((3,), hidden=(8,), output="sigmoid", init_range=1e-4)
    with torch.no_grad():
        generator.layers[2].bias.copy_(initialisers.logit_of_mean(torch.tensor([0.2, 0.5, 0.9])))
    images = generator(torch.randn(5, 100))
    torch.testing.assert_close(images, torch.tensor([-0.6, 0, 0.8]).expand(5, 3), atol=1e-3, rtol=0)
