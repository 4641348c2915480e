import math

import pytest
import torch
from torch import nn

from lightning_gans.models.coulomb.networks import CoulombDiscriminator, CoulombGenerator, ScaledTanh


def count(make):
    with torch.device("meta"):
        return sum(p.numel() for p in make().parameters())


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (lambda: CoulombGenerator((3, 64, 64), 32), 17_756_163),
        (lambda: CoulombDiscriminator((3, 64, 64)), 17_234_945),
        (lambda: CoulombGenerator((3, 32, 32), 16), 16_684_035),
        (lambda: CoulombDiscriminator((3, 32, 32)), 17_222_657),
    ],
)
def test_parameter_counts(make, parameters):
    assert count(make) == parameters


def test_output_function():
    output = ScaledTanh().double()
    points = torch.tensor([1.0, -1.0, 1e3, 0.0], dtype=torch.float64, requires_grad=True)
    values = output(points)
    assert values.tolist() == pytest.approx([0.99999726, -0.99999726, 1.7159, 0], abs=1e-8)
    values.sum().backward()
    assert points.grad[3].item() == pytest.approx(1.14393, abs=1e-5)


def sizes_of(network, inputs, kinds):
    """The shapes that come out of layers of these kinds."""
    shapes = []
    for layer in network.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(lambda *arguments: shapes.append(tuple(arguments[-1].shape[1:])))
    with torch.no_grad():
        network(inputs)
    return shapes


def test_maps():
    """The published widths, an eighth of them."""
    up = sizes_of(CoulombGenerator((3, 64, 64), 32, width=128), torch.randn(2, 32), nn.ConvTranspose2d)
    assert up == [(64, 8, 8), (32, 16, 16), (16, 32, 32), (3, 64, 64)]
    up = sizes_of(CoulombGenerator((3, 32, 32), 16, width=128), torch.randn(2, 16), nn.ConvTranspose2d)
    assert up == [(64, 8, 8), (32, 16, 16), (3, 32, 32)]
    for size, last in ((64, 4), (32, 2), (16, 1), (8, 1)):
        down = sizes_of(
            CoulombDiscriminator((3, size, size), width=16), torch.randn(2, 3, size, size), nn.Conv2d
        )
        assert [maps for maps, *_ in down] == [16, 32, 64, 128]
        assert down[-1] == (128, last, last)


def test_layers():
    generator, discriminator = CoulombGenerator((3, 64, 64), width=32), CoulombDiscriminator((3, 64, 64), 4)
    kinds = [type(layer) for layer in generator.layers]
    stage = [nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU]
    first, last = [nn.Linear, nn.ReLU, nn.Unflatten], [nn.ConvTranspose2d, ScaledTanh]
    assert kinds == [*first, *stage, *stage, *stage, *last]
    stages = 4 * [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]
    assert [type(layer) for layer in discriminator.layers] == [*stages, nn.Flatten, nn.Linear]
    for layer in [*generator.modules(), *discriminator.modules()]:
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.eps, layer.momentum) == (1e-3, 0.01)


def test_initial_weights():
    torch.manual_seed(0)
    generator, discriminator = CoulombGenerator((3, 64, 64), width=256), CoulombDiscriminator((3, 64, 64), 64)
    glorot = [
        generator.layers[0],
        generator.layers[-2],
        discriminator.layers[-1],
        *discriminator.layers[:-2:3],
    ]
    for layer in glorot:
        taps = 25 if layer.weight.ndim == 4 else 1
        fans = taps * (layer.weight.shape[0] + layer.weight.shape[1])
        assert layer.weight.abs().max() <= math.sqrt(6 / fans)
        assert layer.weight.var().item() == pytest.approx(2 / fans, rel=0.1)
    for layer in [layer for layer in generator.layers if isinstance(layer, nn.ConvTranspose2d)][:-1]:
        fans = 25 * (layer.in_channels + layer.out_channels)
        std = math.sqrt(4 / fans)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.02)
        assert layer.weight.abs().max() <= 2 * std / 0.8796
        assert layer.weight.abs().max() > 2 * std
    for layer in [*glorot, *generator.layers]:
        if getattr(layer, "bias", None) is not None:
            assert not layer.bias.any()


def test_statistics_of_the_batch():
    torch.manual_seed(0)
    latents = torch.randn(4, 32)
    generator = CoulombGenerator((3, 32, 32), width=16, batch_statistics=True)
    assert not list(generator.buffers())
    images = generator(latents)
    assert torch.equal(generator.eval()(latents), images.clamp(-1, 1))
    assert not torch.allclose(generator(latents[:2]), images[:2])


def test_images_are_cut_off_in_evaluation():
    torch.manual_seed(0)
    generator = CoulombGenerator((3, 32, 32), width=16, batch_statistics=True)
    nn.init.normal_(generator.layers[-2].weight, std=1)
    images = generator(torch.randn(4, 32))
    assert 1 < images.abs().max() <= 1.7159
    assert generator.eval()(torch.randn(4, 32)).abs().max() == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CoulombGenerator((3, 64, 64), width=12), "width=12 .* give a multiple of 8"),
        (lambda: CoulombGenerator((3, 64, 64), latent_dim=0), "latent_dim=0"),
        (lambda: CoulombDiscriminator((3, 64, 64), width=0), "width=0"),
        (lambda: CoulombDiscriminator((3, 60, 60)), r"image_shape=\(3, 60, 60\)"),
    ],
)
def test_unsupported_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
