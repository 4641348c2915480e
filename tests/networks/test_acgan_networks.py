"""GOLD's ACGAN networks: as its released code has them, and what holds for all of them."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.functional import cross_entropy

from lightning_gans import networks as N
from lightning_gans.networks.rebuild import describe

K = 4
SMALL = {
    "grey": ((1, 8, 8), {"width": 4, "hidden": 16}, N.ACGANGenerator, N.ACGANDiscriminator),
    "grey-28": ((1, 28, 28), {"width": 2, "hidden": 16}, N.ACGANGenerator, N.ACGANDiscriminator),
    "grey-32": ((1, 32, 32), {"width": 2, "hidden": 16}, N.ACGANGenerator, N.ACGANDiscriminator),
    "colour": ((3, 16, 16), {"width": 4}, N.ACGANColourGenerator, N.ACGANColourDiscriminator),
    "colour-32": ((3, 32, 32), {"width": 2}, N.ACGANColourGenerator, N.ACGANColourDiscriminator),
    "colour-48": ((3, 48, 48), {"width": 2}, N.ACGANColourGenerator, N.ACGANColourDiscriminator),
    "colour-64": ((3, 64, 64), {"width": 2}, N.ACGANColourGenerator, N.ACGANColourDiscriminator),
    "vectors": ((2,), {"hidden": (8, 8)}, N.ACGANMLPGenerator, N.ACGANMLPDiscriminator),
}
every = pytest.mark.parametrize("name", SMALL)


def pair(name):
    torch.manual_seed(0)
    shape, options, generator, discriminator = SMALL[name]
    latents, labels = torch.randn(6, 5), torch.arange(6) % K
    images = torch.rand(6, *shape) * 2 - 1
    return generator(shape, 5, K, **options), discriminator(shape, K, **options), latents, labels, images


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (partial(N.ACGANGenerator, (1, 32, 32)), 8_661_185),
        (partial(N.ACGANDiscriminator, (1, 32, 32)), 8_535_499),
        (partial(N.ACGANColourGenerator, (3, 32, 32)), 1_593_888),
        (partial(N.ACGANColourDiscriminator, (3, 32, 32)), 1_663_867),
        (partial(N.ACGANMLPGenerator, (2,)), 528_898),
        (partial(N.ACGANMLPDiscriminator, (2,)), 528_387),
    ],
)
def test_weights_of_the_released_code(make, count):
    """Counted by hand from its layers, with latents of 100 numbers and ten classes; 2 and two for points."""
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == count


@every
def test_shapes(name):
    generator, discriminator, latents, labels, images = pair(name)
    made = generator(latents, labels)
    assert made.shape == images.shape
    assert name == "vectors" or made.abs().max() <= 1
    logits, classes = discriminator(images)
    assert logits.shape == (6,)
    assert classes.shape == (6, K)
    for wrong in (torch.zeros(6, 4), torch.zeros(5)):
        with pytest.raises(ValueError, match=r"latents has shape .*: this network takes \(N, 5\)"):
            generator(wrong, labels)
    with pytest.raises(ValueError, match=r"images has shape .*: this network was built for"):
        discriminator(torch.cat([images, images], -1))


@every
def test_every_weight_learns(name):
    generator, discriminator, latents, labels, _ = pair(name)
    logits, classes = discriminator(generator(latents, labels))
    (logits.exp().mean() + cross_entropy(classes, labels)).backward()
    for network in (generator, discriminator):
        assert all(p.grad.abs().sum() > 0 for p in network.parameters())


@every
def test_one_by_one_in_evaluation_mode_and_in_other_memory_order(name):
    generator, discriminator, latents, labels, images = pair(name)
    generator.eval(), discriminator.eval()
    made, judged = generator(latents, labels), discriminator(images)
    torch.testing.assert_close(generator(latents[2:], labels[2:]), made[2:], rtol=1e-4, atol=1e-5)
    for part, whole in zip(discriminator(images[2:]), judged, strict=True):
        torch.testing.assert_close(part, whole[2:], rtol=1e-4, atol=1e-5)
    if images.ndim == 4:
        generator.to(memory_format=torch.channels_last), discriminator.to(memory_format=torch.channels_last)
        torch.testing.assert_close(generator(latents, labels), made)
        images = images.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(discriminator(images), judged)


@pytest.mark.parametrize("name", ["grey", "colour"])
def test_layers_written_out(name):
    generator, discriminator, latents, labels, images = pair(name)
    generator.eval(), discriminator.eval()

    def layers(network, *kinds):
        return [layer for layer in network.modules() if isinstance(layer, kinds)]

    convs, norms = layers(discriminator, nn.Conv2d), layers(discriminator, nn.BatchNorm2d, nn.BatchNorm1d)
    x, strides = images, (2, 2) if name == "grey" else (2, 1, 2, 1, 2, 1)
    for conv, norm, stride in zip(convs, [nn.Identity(), *norms], strides, strict=name == "colour"):
        x = F.leaky_relu(norm(F.conv2d(x, conv.weight, conv.bias, stride, 1)), 0.2)
    x = x.flatten(1)
    if name == "grey":
        x = F.leaky_relu(norms[1](layers(discriminator, nn.Linear)[0](x)), 0.2)
    source, classes = discriminator(images)
    torch.testing.assert_close(source, discriminator.source(x)[:, 0], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(classes, discriminator.classes(x), rtol=1e-4, atol=1e-7)
    assert [layer.p for layer in layers(discriminator, nn.Dropout)] == [0.5] * (6 if name == "colour" else 0)

    x = torch.cat([latents, torch.eye(K)[labels]], 1)
    norms, linear = layers(generator, nn.BatchNorm2d, nn.BatchNorm1d), layers(generator, nn.Linear)
    if name == "grey":
        x = norms[1](linear[1](norms[0](linear[0](x)).relu())).relu().unflatten(1, (-1, 2, 2))
        norms = norms[2:]
    else:
        x = linear[0](x)[:, :, None, None]
    ups = layers(generator, nn.ConvTranspose2d)
    for conv, norm in zip(ups[:-1], norms, strict=True):
        x = norm(conv(x)).relu()
    torch.testing.assert_close(generator(latents, labels), ups[-1](x).tanh(), rtol=1e-4, atol=1e-7)
    assert [conv.kernel_size[0] for conv in ups] == ([4, 4] if name == "grey" else [2, 4, 4, 4])


def test_the_label_is_a_unit_beside_the_latent():
    generator, _, latents, _, _ = pair("vectors")
    labels = torch.tensor([0, 3, -1, 1, 2, -1])
    one_hot = torch.eye(K)[labels.clamp(min=0)] * (labels >= 0)[:, None]
    expected = generator.layers(torch.cat([latents, one_hot], 1))
    torch.testing.assert_close(generator(latents, labels), expected)


@pytest.mark.parametrize("name", ["grey", "colour"])
def test_only_convolutions_of_the_trunk_have_spectral_norm(name):
    _, discriminator, _, _, images = pair(name)
    for _ in range(20):  # iterations of the singular vectors
        discriminator(images)
    normed = 0
    for layer in discriminator.modules():
        if isinstance(layer, nn.Conv2d):
            normed += 1
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
        else:
            assert not hasattr(layer, "parametrizations")
    assert normed == (2 if name == "grey" else 6)


def test_initial_weights():
    torch.manual_seed(0)
    grey = N.ACGANGenerator((1, 8, 8), hidden=64), N.ACGANDiscriminator((1, 8, 8), hidden=64)
    colour = N.ACGANColourGenerator((3, 16, 16)), N.ACGANColourDiscriminator((3, 16, 16))
    for network in (*grey, *colour, N.ACGANMLPGenerator((2,)), N.ACGANMLPDiscriminator((2,))):
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                wanted = 0.02 if network in colour else 0
                assert layer.weight.std().item() == pytest.approx(wanted, rel=0.5)
                assert not layer.bias.any()
            elif isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                own = getattr(layer, "parametrizations", None)
                weight = own.weight.original if own else layer.weight
                if isinstance(layer, nn.Linear) and network in colour:  # torch's, of its inputs
                    assert weight.abs().max() <= layer.in_features**-0.5
                else:
                    assert weight.std().item() == pytest.approx(0.02, rel=0.15)
                    assert layer.bias is None or not layer.bias.any()
    networks = (
        N.ACGANColourGenerator((3, 16, 16), init="torch"),
        N.ACGANColourDiscriminator((3, 16, 16), init="torch"),
    )
    for network in networks:
        gains = [m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert all((gain == 1).all() for gain in gains)


@every
def test_rebuilt_from_plain_values(name):
    generator, discriminator, *_ = pair(name)
    for network in (generator, discriminator):
        again = type(network)(**describe(network)["init_args"])
        again.load_state_dict(network.state_dict())


@every
def test_bfloat16(name):
    generator, discriminator, latents, labels, images = pair(name)
    generator.eval(), discriminator.eval()
    expected = generator(latents, labels), *discriminator(images)
    with torch.autocast("cpu", torch.bfloat16):
        halved = generator(latents, labels), *discriminator(images)
    for half, full in zip(halved, expected, strict=True):
        torch.testing.assert_close(half.float(), full, rtol=0.1, atol=0.1)


def test_compiled_without_graph_breaks():
    generator, discriminator, latents, labels, images = pair("colour")
    generator.eval(), discriminator.eval()
    expected = generator(latents, labels), *discriminator(images)
    generator.compile(backend="eager", fullgraph=True), discriminator.compile(backend="eager", fullgraph=True)
    for compiled, full in zip((generator(latents, labels), *discriminator(images)), expected, strict=True):
        torch.testing.assert_close(compiled, full)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: N.ACGANGenerator((1, 30, 30)), r"\(1, 30, 30\).*\(channels, 28, 28\) or"),
        (lambda: N.ACGANDiscriminator((1, 4, 4)), r"\(1, 4, 4\)"),
        (lambda: N.ACGANGenerator((2,)), r"image_shape=\(2,\)"),
        (lambda: N.ACGANColourGenerator((3, 28, 28)), r"\(3, 28, 28\).*\(channels, 24, 24\) or"),
        (lambda: N.ACGANColourDiscriminator((3, 32, 24)), r"\(3, 32, 24\).*square"),
        (lambda: N.ACGANMLPGenerator((1, 8, 8)), r"image_shape=\(1, 8, 8\).*vectors"),
        (lambda: N.ACGANMLPDiscriminator((1, 8, 8)), r"image_shape=\(1, 8, 8\).*vectors"),
        (lambda: N.ACGANGenerator((1, 8, 8), latent_dim=0), "latent_dim=0"),
        (lambda: N.ACGANDiscriminator((1, 8, 8), num_classes=0), "num_classes=0"),
        (lambda: N.ACGANColourDiscriminator((3, 16, 16), dropout=1.0), "dropout=1.0"),
        (lambda: N.ACGANColourGenerator((3, 16, 16), init="normal"), "init='normal'"),
        (lambda: N.ACGANColourDiscriminator((3, 16, 16), width=0), "width=0"),
    ],
)  # fmt: skip
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
