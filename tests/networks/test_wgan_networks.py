import pytest
import torch
from torch import nn

from lightning_gans.networks import (
    ConstantFiltersGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
    SmallDiscriminator,
    SmallGenerator,
)
from lightning_gans.networks.resnet import ResidualBlock


def count(make):
    with torch.device("meta"):
        return sum(p.numel() for p in make().parameters())


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (lambda: SmallGenerator((3, 32, 32), width=64), 1_565_955),
        (lambda: SmallDiscriminator((3, 32, 32), width=64), 1_033_345),
        (lambda: SmallGenerator((3, 32, 32)), 5_179_907),
        (lambda: SmallDiscriminator((3, 32, 32)), 4_114_689),
        (lambda: ResNetGenerator((3, 64, 64)), 8_540_483),
        (lambda: ResNetDiscriminator((3, 64, 64)), 7_491_841),
        (lambda: ResNetGenerator((3, 32, 32)), 1_204_483),
        (lambda: ResNetDiscriminator((3, 32, 32)), 1_053_825),
        (lambda: ConstantFiltersGenerator((3, 64, 64)), 444_291),
    ],
)
def test_parameter_counts(make, parameters):
    assert count(make) == parameters


@pytest.mark.parametrize("size", [32, 64])
def test_critics_have_no_batch_norm(size):
    critic = ResNetDiscriminator((3, size, size), width=4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in critic.modules())
    norms = [m for m in critic.modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == {32: 0, 64: 8}[size]
    assert all(norm.num_groups == 1 for norm in norms)


def test_block_that_halves_the_size():
    """The shortcut's convolution and average commute, so the order is a matter of speed."""
    torch.manual_seed(0)
    block = ResidualBlock(4, 6, "down", "layer", bias=False).eval()
    maps = torch.randn(2, 4, 8, 8)
    long = block.after(block.conv1(block.before(maps)))
    expected = nn.functional.avg_pool2d(block.shortcut(maps) + long, 2)
    assert block.conv1.out_channels == 4
    torch.testing.assert_close(block(maps), expected, atol=1e-5, rtol=1e-5)


def test_block_that_doubles_the_size():
    torch.manual_seed(0)
    block = ResidualBlock(4, 6, "up", "batch", bias=False).eval()
    maps = torch.randn(2, 4, 8, 8)

    def doubled(values):
        return values.repeat_interleave(2, 2).repeat_interleave(2, 3)

    expected = block.shortcut(doubled(maps)) + block.after(block.conv1(doubled(block.before(maps))))
    torch.testing.assert_close(block(maps), expected, atol=1e-5, rtol=1e-5)


def test_plain_block_adds_to_its_input():
    block = ResidualBlock(4, 4, "none", "none", bias=True)
    nn.init.zeros_(block.after[2].weight)
    maps = torch.randn(2, 4, 8, 8)
    assert torch.equal(block(maps), maps)


def test_first_block_of_the_critic():
    block = ResidualBlock(3, 8, "down", "none", bias=True, first=True)
    assert (block.conv1.in_channels, block.conv1.out_channels) == (3, 8)
    maps = torch.randn(2, 3, 8, 8)
    expected = nn.functional.avg_pool2d(block.shortcut(maps) + block.after[2](block.conv1(maps).relu()), 2)
    torch.testing.assert_close(block(maps), expected, atol=1e-5, rtol=1e-5)


def variance(layer, gain, fans):
    """Ratio of a layer's variance to that of its rule."""
    return layer.weight.var().item() / (gain / fans)


def test_initial_weights_of_the_residual_nets():
    torch.manual_seed(0)
    generator, critic = ResNetGenerator((3, 64, 64)), ResNetDiscriminator((3, 64, 64))
    block = generator.layers[2]
    assert variance(block.conv1, 4, 9 * (512 + 512)) == pytest.approx(1, rel=0.02)
    assert variance(block.shortcut, 2, 512 + 512) == pytest.approx(1, rel=0.02)
    assert variance(generator.layers[0], 2, 128 + 8192) == pytest.approx(1, rel=0.02)
    assert variance(critic.layers[0], 2, 9 * (3 + 64)) == pytest.approx(1, rel=0.1)
    assert variance(critic.layers[-1], 2, 8192 + 1) == pytest.approx(1, rel=0.1)
    assert not any(m.bias.any() for m in critic.modules() if isinstance(m, nn.Conv2d) and m.bias is not None)


def test_initial_weights_of_the_small_nets():
    """A stride divides a fan: the outputs' of a convolution, the inputs' of a transposed one."""
    torch.manual_seed(0)
    critic, generator = SmallDiscriminator((3, 32, 32)), SmallGenerator((3, 32, 32))
    assert variance(critic.layers[2], 4, 25 * (128 + 256 / 4)) == pytest.approx(1, rel=0.02)
    assert variance(generator.layers[4], 4, 25 * (512 / 4 + 256)) == pytest.approx(1, rel=0.02)
    assert variance(generator.layers[0], 2, 128 + 8192) == pytest.approx(1, rel=0.02)


def test_constant_filters():
    network = ConstantFiltersGenerator((3, 64, 64))
    filters = [m.in_channels for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert filters == [64] * 4
    assert network(torch.randn(2, 128)).shape == (2, 3, 64, 64)
