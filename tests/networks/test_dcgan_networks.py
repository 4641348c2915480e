import copy

import pytest
import torch
from torch import nn

from lightning_gans.networks import (
    ConditionalDCGANDiscriminator,
    ConditionalDCGANGenerator,
    DCGANDiscriminator,
    DCGANGenerator,
    DCGANImageNetDiscriminator,
    DCGANPaperDiscriminator,
    DCGANPaperGenerator,
    feature_maps,
)


def count(make):
    with torch.device("meta"):
        return sum(p.numel() for p in make().parameters())


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (lambda: DCGANGenerator((3, 32, 32)), 1_068_928),
        (lambda: DCGANGenerator((3, 64, 64)), 3_576_704),
        (lambda: DCGANGenerator((3, 128, 128)), 12_786_560),
        (lambda: DCGANDiscriminator((3, 32, 32)), 663_296),
        (lambda: DCGANDiscriminator((3, 64, 64)), 2_765_568),
        (lambda: DCGANDiscriminator((3, 128, 128)), 11_164_416),
        (lambda: DCGANGenerator((1, 64, 64)), 3_574_656),
        (lambda: DCGANGenerator((1, 32, 32)), 1_066_880),
        (lambda: DCGANDiscriminator((1, 64, 64)), 2_763_520),
        (lambda: DCGANDiscriminator((1, 32, 32)), 661_248),
        (lambda: DCGANGenerator((3, 32, 32), norm="none"), 1_068_032),
        (lambda: DCGANGenerator((3, 64, 64), norm="none"), 3_574_784),
        (lambda: DCGANGenerator((3, 128, 128), norm="none"), 12_782_592),
        (lambda: DCGANDiscriminator((3, 32, 32), norm="none"), 662_528),
        (lambda: DCGANDiscriminator((3, 64, 64), norm="none"), 2_763_776),
        (lambda: DCGANDiscriminator((3, 128, 128), norm="none"), 11_160_576),
        # layer norm has a gain and a bias a channel, as batch norm
        (lambda: DCGANDiscriminator((3, 64, 64), norm="layer"), 2_765_568),
        # two 3x3 convolutions of width 64, with batch norm
        (lambda: DCGANDiscriminator((3, 64, 64), extra_layers=2), 2_765_568 + 2 * (9 * 64 * 64 + 128)),
        (lambda: DCGANGenerator((3, 64, 64), extra_layers=2), 3_576_704 + 2 * (9 * 64 * 64 + 128)),
        # RealnessGAN on CelebA: 51 outcomes, no norm with parameters
        (lambda: DCGANGenerator((3, 256, 256), 128, width=32), 13_276_608),
        (lambda: DCGANDiscriminator((3, 256, 256), width=32, norm="spectral", outputs=51), 12_011_008),
        (lambda: DCGANPaperGenerator((3, 64, 64)), 18_885_760),
        (lambda: DCGANPaperGenerator((3, 64, 64), per_unit=False), 18_855_040),
        (lambda: DCGANPaperDiscriminator((3, 64, 64)), 17_232_768),
        (lambda: DCGANPaperDiscriminator((3, 32, 32), width=64), 1_033_664),  # SVHN
        (lambda: DCGANImageNetDiscriminator((3, 32, 32)), 4_586_112),
        (lambda: ConditionalDCGANGenerator((1, 28, 28)), 6_820_538),
        (lambda: ConditionalDCGANDiscriminator((1, 28, 28)), 6_688_202),
    ],
)
def test_parameter_counts(make, parameters):
    assert count(make) == parameters


@pytest.mark.parametrize(
    ("size", "generator_maps", "discriminator_maps"),
    [
        (8, [(64, 4)], [(64, 4)]),
        (32, [(256, 4), (128, 8), (64, 16)], [(64, 16), (128, 8), (256, 4)]),
        (64, [(512, 4), (256, 8), (128, 16), (64, 32)], [(64, 32), (128, 16), (256, 8), (512, 4)]),
        (
            128,
            [(1024, 4), (512, 8), (256, 16), (128, 32), (64, 64)],
            [(64, 64), (128, 32), (256, 16), (512, 8), (1024, 4)],
        ),
    ],
)
def test_feature_maps(size, generator_maps, discriminator_maps):
    with torch.device("meta"):
        generator, discriminator = DCGANGenerator((3, size, size)), DCGANDiscriminator((3, size, size))
        values, maps = torch.empty(2, 100), []
        for layer in generator.layers:
            values = layer(values)
            if isinstance(layer, nn.ReLU):
                maps.append((values.shape[1], values.shape[2]))
        features = feature_maps(discriminator, values)
    assert maps == generator_maps
    assert values.shape == (2, 3, size, size)
    assert [(m.shape[1], m.shape[2]) for m in features] == discriminator_maps


@pytest.mark.parametrize("size", [8, 32, 64])
def test_images_and_logits(size):
    images = DCGANGenerator((3, size, size), width=8)(torch.randn(2, 100))
    assert images.shape == (2, 3, size, size)
    assert images.abs().max() <= 1
    assert DCGANDiscriminator((3, size, size), width=8)(images).shape == (2,)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_first_layer_is_a_transposed_convolution(order):
    layer = DCGANGenerator((1, 16, 16), latent_dim=5, width=8).to(memory_format=order).layers[1]
    latents = torch.randn(3, 5, 1, 1)
    images = layer(latents)
    torch.testing.assert_close(images, nn.functional.conv_transpose2d(latents, layer.weight))
    assert images.is_contiguous(memory_format=order)


def test_joint_batches_leak_through_batch_norm():
    """Why real and fake images go through the discriminator one after the other."""
    norm = nn.BatchNorm2d(1, affine=False)
    real, fake = torch.ones(4, 1, 2, 2), -torch.ones(4, 1, 2, 2)
    joint = norm(torch.cat([real, fake]))
    assert joint[0, 0, 0, 0].item() == pytest.approx(0.999995, abs=1e-6)
    assert joint[-1, 0, 0, 0].item() == pytest.approx(-0.999995, abs=1e-6)
    assert norm(real).abs().max() == norm(fake).abs().max() == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: DCGANGenerator((3, 64, 64)),
        lambda: DCGANDiscriminator((3, 64, 64)),
        lambda: DCGANPaperDiscriminator((3, 32, 32)),
        lambda: ConditionalDCGANGenerator((1, 28, 28)),
    ],
)
def test_initial_weights(make):
    torch.manual_seed(0)
    network = make()
    gains = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and layer.weight.numel() > 30_000:
            assert 0.0195 < layer.weight.std() < 0.0205
            assert layer.weight.mean().abs() < 0.001
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine:
            gains.append(layer.weight)
            assert not layer.bias.any()
    if gains:
        assert 0.99 < torch.cat(gains).mean() < 1.01
        assert 0.018 < torch.cat(gains).std() < 0.022


def test_norm_is_absent_from_first_and_last_layer():
    discriminator, generator = DCGANDiscriminator((3, 32, 32)), DCGANGenerator((3, 32, 32))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in discriminator.layers[0])
    assert [type(m) for m in generator.layers[-3:]] == [nn.ReLU, nn.ConvTranspose2d, nn.Tanh]
    assert not any(m.bias is not None for m in discriminator.modules() if isinstance(m, nn.Conv2d))


def test_conditional_networks_see_the_label():
    torch.manual_seed(0)
    generator, discriminator = (
        ConditionalDCGANGenerator((1, 28, 28)),
        ConditionalDCGANDiscriminator((1, 28, 28)),
    )
    latents, labels = torch.randn(1, 100).expand(4, 100), torch.tensor([0, 1, 9, -1])
    images = generator(latents, labels)
    assert images.shape == (4, 1, 28, 28)
    assert images.abs().max() <= 1
    assert all(images[i].ne(images[j]).any() for i in range(4) for j in range(i))
    logits = discriminator(images[:1].expand(4, -1, -1, -1), labels)
    assert logits.shape == (4,)
    assert len(logits.unique()) == 4
    with torch.autocast("cpu", torch.bfloat16):
        discriminator(generator(latents, labels), labels).float().sum().backward()
    assert all(p.grad.isfinite().all() for p in generator.parameters())


def test_conditional_networks_at_another_size():
    images = ConditionalDCGANGenerator((3, 16, 16), 7, 3)(torch.randn(2, 7), torch.tensor([0, 2]))
    assert ConditionalDCGANDiscriminator((3, 16, 16), 3)(images, torch.tensor([0, 2])).shape == (2,)


def spectral(**arguments):
    torch.manual_seed(0)
    return DCGANDiscriminator((3, 32, 32), width=8, norm="spectral", **arguments)


def convolutions(network):
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def matrix_norms(network):
    return [
        torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in convolutions(network.eval())
    ]


def test_spectral_norm_of_every_layer_is_one():
    network = spectral(outputs=5, extra_layers=1)
    assert [layer.out_channels for layer in convolutions(network)] == [8, 8, 16, 32, 5]
    assert matrix_norms(network) == pytest.approx([1] * 5, rel=0.05)
    assert not any(isinstance(layer, nn.BatchNorm2d | nn.GroupNorm) for layer in network.modules())
    assert all(layer.bias is None for layer in convolutions(network))


def test_spectral_norm_stays_one_in_training():
    network, images = spectral(), torch.randn(8, 3, 32, 32)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(20):
        optimizer.zero_grad()
        network(images).square().mean().backward()
        optimizer.step()
    for _ in range(50):  # the estimate follows the weights, one iteration a pass
        network(images)
    assert matrix_norms(network) == pytest.approx([1] * 4, rel=1e-3)


def test_weights_under_spectral_norm_start_as_the_papers():
    weights = [p for name, p in spectral().named_parameters() if name.endswith("original")]
    assert len(weights) == 4
    assert torch.cat([w.flatten() for w in weights]).std().item() == pytest.approx(0.02, rel=0.05)


def test_spectral_norm_is_estimated_in_full_precision(monkeypatch):
    networks, images = [spectral(), spectral()], torch.randn(2, 3, 32, 32)
    product, under_autocast = torch.mv, []

    def watched(*arguments):
        under_autocast.append(torch.is_autocast_enabled("cpu"))
        return product(*arguments)

    monkeypatch.setattr(torch, "mv", watched)
    networks[0](images)
    with torch.autocast("cpu", torch.bfloat16):
        networks[1](images)
    assert under_autocast
    assert not any(under_autocast)  # a GPU would round the product
    for one, two in zip(*(copy.deepcopy(convolutions(n.eval())) for n in networks), strict=True):
        assert two.weight.dtype == torch.float32
        assert torch.equal(one.weight, two.weight)
    keys = list(networks[0].layers[-1].state_dict())
    assert keys == [f"parametrizations.weight.{key}" for key in ("original", "0._u", "0._v")]


def test_spectral_norm_is_not_estimated_in_evaluation():
    network, images = spectral().eval(), torch.randn(2, 3, 32, 32)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert torch.equal(network(images), network(images))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
