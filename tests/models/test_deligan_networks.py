"""DeLiGAN's networks: sizes of the released code, and minibatch discrimination by hand."""

import pytest
import torch
import yaml
from torch import nn
from torch.autograd import gradcheck

from lightning_gans.files import recipes_folder
from lightning_gans.models import deligan
from lightning_gans.networks.mlp import MLPDiscriminator, MLPGenerator


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def layer(normalised, inputs=3, kernels=2, kernel_dim=4):
    torch.manual_seed(0)
    layer = deligan.MinibatchDiscrimination(inputs, kernels, kernel_dim, normalised)
    nn.init.normal_(layer.log_norm)
    return layer


def by_loops(layer, features):
    """The definition, pair by pair."""
    direction, norm = layer.direction, layer.log_norm.exp()
    n, kernels = len(features), norm.shape[0]
    vectors = torch.zeros(n, *norm.shape)
    for i in range(n):
        for k in range(kernels):
            for d in range(norm.shape[1]):
                w = direction[:, k, d]
                vectors[i, k, d] = norm[k, d] * (w / w.norm()) @ features[i]
    closeness = torch.zeros(n, n, kernels)
    for i in range(n):
        for j in range(n):
            closeness[i, j] = (-(vectors[i] - vectors[j]).abs().sum(1)).exp()
    if layer.normalised:
        return closeness.sum(1) / closeness.sum()
    return torch.stack([closeness[i, [j for j in range(n) if j != i]].sum(0) for i in range(n)]) - 1


@pytest.mark.parametrize("normalised", [False, True])
@torch.no_grad()
def test_minibatch_discrimination_equals_its_definition(normalised):
    network, features = layer(normalised), torch.randn(5, 3)
    found = network(features)
    assert torch.equal(found[:, :3], features)
    torch.testing.assert_close(found[:, 3:], by_loops(network, features))


@torch.no_grad()
def test_equal_and_distant_samples():
    features = torch.randn(1, 3).expand(6, 3)
    torch.testing.assert_close(layer(False)(features)[:, 3:], torch.full((6, 2), 6.0 - 1 - 1))
    torch.testing.assert_close(layer(True)(features)[:, 3:], torch.full((6, 2), 1 / 12))
    far = 1e4 * torch.arange(6.0)[:, None].expand(6, 3)
    torch.testing.assert_close(layer(False)(far)[:, 3:], torch.full((6, 2), -1.0))
    torch.testing.assert_close(layer(True)(far)[:, 3:], torch.full((6, 2), 1 / 12))
    assert layer(False)(features[:1])[0, 3:].tolist() == [-1, -1]


@pytest.mark.parametrize("normalised", [False, True])
def test_order_of_the_batch_does_not_matter(normalised):
    network, features = layer(normalised), torch.randn(9, 3)
    order = torch.randperm(9)
    torch.testing.assert_close(network(features)[order], network(features[order]))


@pytest.mark.parametrize("normalised", [False, True])
def test_gradients_equal_finite_differences(normalised):
    network = layer(normalised).double()
    features = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(network, (features,))


def test_noise_is_added_in_training_only():
    torch.manual_seed(0)
    noise, images = deligan.GaussianNoise(0.2), torch.zeros(4, 1, 32, 32)
    assert noise(images).std().item() == pytest.approx(0.2, rel=0.05)
    assert torch.equal(noise.eval()(images), images)


# Counted layer by layer from the released code. Under weight norm a layer has a number more for each output.
MNIST_G = (30 + 1 + 2) * 1024 + 64 * 32 * 9 + 32 * 3 + 32 * 16 * 25 + 16 * 3 + 16 * 25 + 1
MNIST_D = 16 * 26 + 32 * (16 * 25 + 3) + 64 * (32 * 9 + 3) + 64 * 64 * 5 + 64 * 5 + 128 + 1
CIFAR_G = (100 + 1) * 8192 + 512 * 256 * 25 + 256 + 256 * 128 * 25 + 128 + 128 * 3 * 25 + 3 * 2
CIFAR_D = (
    96 * (27 + 2)
    + 2 * 96 * (96 * 9 + 2)
    + 192 * (96 * 9 + 2)
    + 3 * 192 * (192 * 9 + 2)
    + 2 * 192 * (192 + 2)
    + 192 * 500
    + 600
    + 10 * (292 + 2)
)
SKETCH_D = 20 * 27 + 20 * (500 + 2) + 40 * (500 + 2) + 80 * (360 + 2) + 80 * 82 + 80 * 250 + 300 + (130 + 2)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: deligan.DeLiGANMNISTGenerator((1, 28, 28)), MNIST_G),
        (lambda: deligan.DeLiGANMNISTDiscriminator((1, 28, 28)), MNIST_D),
        (lambda: deligan.DeLiGANGenerator((3, 32, 32)), CIFAR_G),
        (lambda: deligan.DeLiGANCIFARDiscriminator((3, 32, 32), outputs=10), CIFAR_D),
        (lambda: deligan.DeLiGANSketchDiscriminator((1, 32, 32)), SKETCH_D),
    ],
)
def test_sizes_of_the_released_code(make, expected):
    assert parameters(make()) == expected


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (deligan.DeLiGANMNISTDiscriminator, (1, 28, 28)),
        (deligan.DeLiGANCIFARDiscriminator, (3, 32, 32)),
        (deligan.DeLiGANSketchDiscriminator, (1, 32, 32)),
    ],
)
def test_several_outputs(make, shape):
    assert make(shape, width=4, outputs=7)(torch.rand(5, *shape)).shape == (5, 7)
    with pytest.raises(ValueError, match="outputs=0"):
        make(shape, outputs=0)


def test_first_weights_are_those_of_the_released_code():
    """Its linear layers have no initialiser: TensorFlow drew U(-b, b) with b = sqrt(3 / inputs) for them."""
    torch.manual_seed(0)
    first = next(
        part for part in deligan.DeLiGANMNISTGenerator((1, 28, 28)).modules() if isinstance(part, nn.Linear)
    )
    assert first.weight.abs().max().item() == pytest.approx((3 / 30) ** 0.5, rel=1e-3)
    assert first.weight.std().item() == pytest.approx(0.183, abs=0.002)
    recipe = yaml.safe_load((recipes_folder() / "deligan/bimodal.yaml").read_text())["model"]["init_args"]
    networks = (
        MLPGenerator((2,), recipe["latent"]["init_args"]["dim"], **recipe["generator"]["init_args"]),
        MLPDiscriminator((2,), **recipe["discriminator"]["init_args"]),
    )
    for network in networks:
        for layer in (part for part in network.modules() if isinstance(part, nn.Linear)):
            bound = (3 / layer.in_features) ** 0.5
            assert 0.8 * bound < layer.weight.abs().max().item() < 1.001 * bound
            assert not layer.bias.any()
