import pytest
import torch
from torch import nn

from lightning_gans.networks import (
    ConvMaxoutDiscriminator,
    DeconvGenerator,
    Maxout,
    MaxoutDiscriminator,
    MLPDiscriminator,
    MLPGenerator,
)

CIFAR_FC = {"hidden": (8000, 8000), "activation": ("relu", "sigmoid"), "output": "none"}


def count(make):
    with torch.device("meta"):
        return sum(p.numel() for p in make().parameters())


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (lambda: MLPGenerator((1, 28, 28)), 2_503_984),
        (lambda: MaxoutDiscriminator((1, 28, 28)), 1_231_441),
        (lambda: MLPGenerator((3, 32, 32), **CIFAR_FC), 89_395_072),
        (lambda: MaxoutDiscriminator((3, 32, 32), hidden=(1600, 1600)), 37_393_601),
        (lambda: DeconvGenerator((3, 32, 32)), 64_825_072),
        (lambda: ConvMaxoutDiscriminator((3, 32, 32)), 12_454_073),
        (lambda: MaxoutDiscriminator((1, 48, 48), hidden=(1200, 1200)), 21_037_201),
        # WGAN's code, and the deeper net of WGAN-GP's
        (lambda: MLPGenerator((3, 64, 64), hidden=(512,) * 3), 6_880_768),
        (lambda: MLPDiscriminator((3, 64, 64), hidden=(512,) * 3, activation="relu"), 6_817_793),
        (lambda: MLPGenerator((3, 64, 64), hidden=(512,) * 4), 7_143_424),
        # RealnessGAN's toy
        (lambda: MLPGenerator((2,), 32, hidden=(400,) * 4, batch_norm=True), 498_402),
        (lambda: MaxoutDiscriminator((2,), hidden=(200,) * 3, outputs=5), 406_005),
    ],
)
def test_parameter_counts(make, parameters):
    assert count(make) == parameters


def test_feature_maps_of_the_convolutional_discriminator():
    with torch.device("meta"):
        values, shapes = torch.empty(2, 3, 32, 32), []
        for layer in ConvMaxoutDiscriminator((3, 32, 32)).layers[:12]:
            values = layer(values)
            shapes.append(tuple(values.shape[1:]))
    assert shapes[3::4] == [(32, 16, 16), (32, 7, 7), (192, 5, 5)]


@pytest.mark.parametrize("size", [(8, 8), (9, 12), (28, 28), (32, 32), (33, 47)])
def test_convolutional_discriminator_takes_any_size(size):
    shape = (1, *size)
    assert ConvMaxoutDiscriminator(shape, (2, 2, 2), 3)(torch.randn(2, *shape)).shape == (2,)


def test_deconvolution_reaches_32_pixels():
    network = DeconvGenerator((3, 32, 32), hidden=8)
    assert network.layers[4].unflattened_size == (80, 10, 10)
    assert network(torch.randn(2, 100)).shape == (2, 3, 32, 32)
    assert network.layers[6].bias.shape == (3, 32, 32)


def test_maxout():
    values = torch.tensor([[1.0, 5.0, -2.0, 0.0, -7.0, -3.0]])
    assert Maxout(2)(values).tolist() == [[5, 0, -3]]
    assert Maxout(3)(values).tolist() == [[5, 0]]
    maps = torch.randn(2, 6, 4, 4)
    assert torch.equal(Maxout(2)(maps), torch.maximum(maps[:, ::2], maps[:, 1::2]))


@pytest.mark.parametrize(
    ("network", "bound"),
    [
        (lambda: MaxoutDiscriminator((1, 28, 28)), 0.005),
        (lambda: ConvMaxoutDiscriminator((3, 32, 32), hidden=5), 0.005),
        (lambda: DeconvGenerator((3, 32, 32), hidden=50), 0.05),
        (lambda: MLPGenerator((1, 28, 28), init_range=0.05), 0.05),
    ],
)
def test_uniform_initial_weights(network, bound):
    torch.manual_seed(0)
    for layer in network().modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            assert layer.weight.abs().max() <= bound
            if layer.weight.numel() > 1000:
                assert layer.weight.abs().max() > 0.95 * bound
                assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
            assert layer.bias is None or not layer.bias.any()


def test_a_range_a_layer():
    torch.manual_seed(0)
    network = MLPGenerator((5,), hidden=(50, 50), init_range=(0.05, 0.05, 0.5))
    maxima = [layer.weight.abs().max().item() for layer in network.modules() if isinstance(layer, nn.Linear)]
    assert maxima == pytest.approx([0.05, 0.05, 0.5], rel=0.02)


def test_outputs():
    latents = 100 * torch.randn(8, 100)
    sigmoid, none = MLPGenerator((6,), output="sigmoid"), MLPGenerator((6,), output="none")
    none.load_state_dict(sigmoid.state_dict())
    torch.testing.assert_close(sigmoid(latents), 2 * torch.sigmoid(none(latents)) - 1)
    assert none(latents).abs().max() > 1


def test_activations_are_the_named_ones():
    network = MLPGenerator((2,), hidden=(3, 4), activation=("relu", "sigmoid"))
    assert [type(layer) for layer in network.layers[:4]] == [nn.Linear, nn.ReLU, nn.Linear, nn.Sigmoid]
    leaky = MLPDiscriminator((2,), hidden=(3,))
    assert leaky.layers[2].negative_slope == 0.2


def test_dropout_of_the_maxout_discriminator():
    torch.manual_seed(0)
    network, images = MaxoutDiscriminator((1, 8, 8), init_range=0.1), torch.randn(4, 1, 8, 8)
    assert [layer.p for layer in network.layers if isinstance(layer, nn.Dropout)] == [0.2, 0.5, 0.5]
    assert network(images).ne(network(images)).any()
    network.eval()
    assert torch.equal(network(images), network(images))


def test_lists_as_yaml_gives_them():
    assert MLPGenerator([1, 8, 8], hidden=[4])(torch.randn(2, 100)).shape == (2, 1, 8, 8)
    assert MLPDiscriminator([1, 8, 8], hidden=[4])(torch.randn(2, 1, 8, 8)).shape == (2,)


def test_batch_norm_comes_before_the_activation():
    torch.manual_seed(0)
    network = MLPGenerator((2,), 5, hidden=(300, 300), output="none", batch_norm=True)
    kinds = [type(layer) for layer in network.layers[:6]]
    assert kinds == 2 * [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    gains = torch.cat([layer.weight for layer in network.layers if isinstance(layer, nn.BatchNorm1d)])
    assert gains.mean().item() == pytest.approx(1, abs=0.005)
    assert gains.std().item() == pytest.approx(0.02, rel=0.1)
    hidden = network.layers[:2](torch.randn(64, 5))
    assert hidden.mean(0).abs().max() < 1e-5


def test_maxout_without_dropout():
    network = MaxoutDiscriminator((2,), hidden=(8, 8), input_dropout=0, dropout=0, init_range=None)
    images = torch.randn(4, 2)
    assert torch.equal(network(images), network(images))
