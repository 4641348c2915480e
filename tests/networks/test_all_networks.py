"""What holds for every generator and every discriminator."""

import functools

import pytest
import torch
from torch import nn

from lightning_gans import networks
from lightning_gans.losses import gan, wgan
from lightning_gans.models import coulomb, deligan
from lightning_gans.networks.rebuild import describe

N = networks
GENERATORS = {
    "mlp": functools.partial(N.MLPGenerator, (1, 8, 8), 5, hidden=(16, 16)),
    "mlp-vectors": functools.partial(N.MLPGenerator, (2,), 5, hidden=(16,), output="none"),
    "mlp-batch-norm": functools.partial(
        N.MLPGenerator, (2,), 5, hidden=(16, 8), output="none", batch_norm=True
    ),
    "deconv": functools.partial(N.DeconvGenerator, (3, 8, 8), 5, hidden=16, width=4, output="tanh"),
    "dcgan": functools.partial(N.DCGANGenerator, (3, 16, 16), 5, width=4),
    "dcgan-8": functools.partial(N.DCGANGenerator, (1, 8, 8), 5, width=4),
    "dcgan-plain": functools.partial(N.DCGANGenerator, (2, 16, 16), 5, width=4, norm="none", extra_layers=1),
    "dcgan-paper": functools.partial(N.DCGANPaperGenerator, (3, 16, 16), 5, width=4),
    "dcgan-paper-channel": functools.partial(N.DCGANPaperGenerator, (3, 8, 8), 5, width=4, per_unit=False),
    "dcgan-imagenet": functools.partial(N.DCGANImageNetGenerator, (3, 32, 32), 5, width=2),
    "resnet-32": functools.partial(N.ResNetGenerator, (3, 32, 32), 5, width=4),
    "resnet-64": functools.partial(N.ResNetGenerator, (1, 64, 64), 5, width=2),
    "small": functools.partial(N.SmallGenerator, (3, 16, 16), 5, width=4),
    "constant-filters": functools.partial(N.ConstantFiltersGenerator, (3, 16, 16), 5, width=4),
    "coulomb": functools.partial(coulomb.CoulombGenerator, (3, 16, 16), 5, width=16),
    "deligan-28": functools.partial(deligan.DeLiGANMNISTGenerator, (1, 28, 28), 5, width=4),
    "deligan-32": functools.partial(deligan.DeLiGANGenerator, (3, 32, 32), 5, width=4),
}
DISCRIMINATORS = {
    "mlp": functools.partial(N.MLPDiscriminator, (1, 8, 8), hidden=(16, 16)),
    "mlp-vectors": functools.partial(N.MLPDiscriminator, (2,), hidden=(16,)),
    "maxout": functools.partial(N.MaxoutDiscriminator, (1, 8, 8), hidden=(8, 8), init_range=0.1),
    "conv-maxout": functools.partial(
        N.ConvMaxoutDiscriminator, (3, 16, 16), widths=(4, 4, 4), hidden=8, init_range=0.1
    ),
    "dcgan": functools.partial(N.DCGANDiscriminator, (3, 16, 16), width=4),
    "dcgan-8": functools.partial(N.DCGANDiscriminator, (1, 8, 8), width=4),
    "dcgan-layer": functools.partial(N.DCGANDiscriminator, (3, 16, 16), width=4, norm="layer"),
    "dcgan-spectral": functools.partial(N.DCGANDiscriminator, (3, 16, 16), width=4, norm="spectral"),
    "dcgan-plain": functools.partial(N.DCGANDiscriminator, (2, 32, 32), width=4, norm="none", extra_layers=1),
    "dcgan-paper": functools.partial(N.DCGANPaperDiscriminator, (3, 16, 16), width=4),
    "dcgan-imagenet": functools.partial(N.DCGANImageNetDiscriminator, (3, 32, 32), width=2),
    "resnet-32": functools.partial(N.ResNetDiscriminator, (3, 32, 32), width=4),
    "resnet-64": functools.partial(N.ResNetDiscriminator, (1, 64, 64), width=2),
    "small": functools.partial(N.SmallDiscriminator, (3, 16, 16), width=4),
    "coulomb": functools.partial(coulomb.CoulombDiscriminator, (3, 16, 16), width=4),
    "deligan-mnist": functools.partial(deligan.DeLiGANMNISTDiscriminator, (1, 28, 28), width=4),
    "deligan-cifar": functools.partial(deligan.DeLiGANCIFARDiscriminator, (3, 32, 32), width=4),
    "deligan-sketch": functools.partial(deligan.DeLiGANSketchDiscriminator, (1, 32, 32), width=4),
}
BATCH_NORM = {
    "coulomb",
    "dcgan",
    "dcgan-paper",
    "dcgan-imagenet",
}  # discriminators that couple the samples of a batch
COUPLED = {"deligan-mnist", "deligan-cifar", "deligan-sketch"}  # in evaluation mode too

generators = pytest.mark.parametrize("name", GENERATORS)
discriminators = pytest.mark.parametrize("name", DISCRIMINATORS)


def generator(name):
    torch.manual_seed(0)
    return GENERATORS[name](), torch.randn(4, 5)


def discriminator(name):
    torch.manual_seed(0)
    make = DISCRIMINATORS[name]
    return make(), torch.rand(4, *make.args[0]) * 2 - 1


def test_every_network_is_here():
    exported = {getattr(networks, name) for name in networks.__all__}
    tested = {make.func for make in (GENERATORS | {f"d-{k}": v for k, v in DISCRIMINATORS.items()}).values()}
    elsewhere = {
        N.ACGANColourDiscriminator,
        N.ACGANColourGenerator,
        N.ACGANDiscriminator,
        N.ACGANGenerator,
        N.ACGANMLPDiscriminator,
        N.ACGANMLPGenerator,
        N.TwoHeadedDiscriminator,
        N.ConditionalDCGANGenerator,
        N.ConditionalDCGANDiscriminator,
        N.ConditionalMLPGenerator,
        N.ConditionalMLPDiscriminator,
        N.ConvClassifier,
        N.ConvSegmenter,
        N.LeNet,
        N.HashAutoencoder,
        N.Autoencoder,
        N.ConvAutoencoder,
        N.IdentityAutoencoder,
        N.MLPAutoencoder,
        N.Maxout,
        N.PatchDiscriminator,
        N.ResNetTranslator,
        N.UNetGenerator,
        coulomb.ScaledTanh,
        deligan.GaussianNoise,
        deligan.MinibatchDiscrimination,
        N.averaged_batch_norm,
        N.feature_maps,
        N.guided_backpropagation,
        N.pooled_features,
    }
    assert exported <= tested | elsewhere | {N.Rebuildable}


@generators
def test_generated_images(name):
    network, latents = generator(name)
    images = network(latents)
    assert images.shape == (4, *GENERATORS[name].args[0])
    assert images.dtype == torch.float32
    if not name.startswith("mlp-"):  # vectors
        assert images.abs().max() <= (1.7159 if name == "coulomb" else 1)
    assert images[0].ne(images[1]).any()


@generators
def test_wrong_latents(name):
    network, _ = generator(name)
    for shape in [(4, 6), (4,), (4, 5, 1, 1)]:
        with pytest.raises(ValueError, match=r"latents has shape .*: this network takes \(N, 5\)"):
            network(torch.zeros(shape))


@discriminators
def test_logits(name):
    network, images = discriminator(name)
    logits = network(images)
    assert logits.shape == (4,)
    assert logits.dtype == torch.float32
    assert network.eval()(images[:1]).shape == (1,)


SEVERAL = ["mlp", "maxout", "dcgan", "dcgan-8", "dcgan-layer", "dcgan-spectral", "dcgan-plain"]


@pytest.mark.parametrize("name", SEVERAL)
def test_several_logits(name):
    network, images = discriminator(name)
    several = DISCRIMINATORS[name](outputs=3)
    assert several(images).shape == (4, 3)
    assert several.eval()(images[:1]).shape == (1, 3)
    assert describe(several)["init_args"]["outputs"] == 3
    assert several.state_dict().keys() == network.state_dict().keys()


@discriminators
def test_wrong_images(name):
    network, images = discriminator(name)
    with pytest.raises(ValueError, match=r"images has shape .*: this network was built for"):
        network(torch.cat([images, images], dim=-1))
    with pytest.raises(ValueError, match="images has shape"):
        network(images.flatten())


@generators
def test_every_generator_weight_learns(name):
    network, latents = generator(name)
    images = network(latents)
    (images * torch.randn_like(images)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@discriminators
def test_every_discriminator_weight_learns(name):
    network, images = discriminator(name)
    (network(images) * torch.randn(4)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@discriminators
def test_penalty_can_be_trained(name):
    network, images = discriminator(name)
    wgan.gradient_penalty(network.eval(), images, -images).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


@discriminators
def test_samples_are_scored_one_by_one(name):
    network, images = discriminator(name)
    if name in BATCH_NORM | COUPLED:
        network.eval()
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.eval()
    if name not in COUPLED:
        torch.testing.assert_close(network(images)[2:], network(images[2:]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network(images.flip(0)), network(images).flip(0), rtol=1e-4, atol=1e-5)


@generators
def test_samples_are_generated_one_by_one_in_eval_mode(name):
    network, latents = generator(name)
    network.eval()
    torch.testing.assert_close(network(latents)[2:], network(latents[2:]), rtol=1e-4, atol=1e-5)


@generators
def test_bfloat16_generator(name):
    network, latents = generator(name)
    expected = network(latents)
    with torch.autocast("cpu", torch.bfloat16):
        images = network(latents)
    torch.testing.assert_close(images.float(), expected, rtol=0.1, atol=0.1)
    images.float().sum().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in network.parameters())


@discriminators
def test_bfloat16_discriminator(name):
    network, images = discriminator(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = gan.discriminator_loss(network(images), network(-images))
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in network.parameters())


@generators
def test_channels_last_generator(name):
    network, latents = generator(name)
    expected = network.eval()(latents)
    torch.testing.assert_close(network.to(memory_format=torch.channels_last)(latents), expected)


@discriminators
def test_channels_last_discriminator(name):
    network, images = discriminator(name)
    expected = network.eval()(images)
    network.to(memory_format=torch.channels_last)
    if images.dim() == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("make", [*GENERATORS.values(), *DISCRIMINATORS.values()])
def test_rebuilt_from_plain_values(make):
    network = make()
    arguments = describe(network)["init_args"]
    again = make.func(**arguments)
    again.load_state_dict(network.state_dict())


SHAPES = [(1, 6, 6), (1, 28, 32), (32, 32), (2,), (0, 32, 32), (1, 4, 4), (1, 31, 31)]
IMAGE_NETWORKS = {make.func for make in [*GENERATORS.values(), *DISCRIMINATORS.values()]} - {
    N.MLPGenerator,
    N.MLPDiscriminator,
    N.MaxoutDiscriminator,
}
SUPPORTED = {
    (N.ConvMaxoutDiscriminator, (1, 28, 32)),
    (N.ConvMaxoutDiscriminator, (1, 31, 31)),
    (N.ConditionalDCGANGenerator, (1, 4, 4)),
    (N.ConditionalDCGANDiscriminator, (1, 4, 4)),
}


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        pytest.param(network, shape, id=f"{network.__name__}-{shape}")
        for network in sorted(
            IMAGE_NETWORKS | {N.ConditionalDCGANGenerator, N.ConditionalDCGANDiscriminator}, key=str
        )
        for shape in SHAPES
        if (network, shape) not in SUPPORTED
    ],
)
def test_unsupported_shapes(network, shape):
    with pytest.raises(ValueError, match="image_shape=") as error:
        network(shape)
    assert str(shape) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: N.DCGANGenerator((1, 32, 32), latent_dim=0), "latent_dim=0"),
        (lambda: N.DCGANGenerator((1, 32, 32), norm="layer"), "norm='layer'"),
        (lambda: N.DCGANDiscriminator((1, 32, 32), width=0), "width=0"),
        (lambda: N.DCGANDiscriminator((1, 32, 32), norm="instance"), "norm='instance'"),
        (lambda: N.DCGANDiscriminator((1, 32, 32), outputs=0), "outputs=0"),
        (lambda: N.MLPDiscriminator((2,), outputs=0), "outputs=0"),
        (lambda: N.MaxoutDiscriminator((2,), outputs=-1), "outputs=-1"),
        (lambda: N.MLPGenerator((2,), activation="gelu"), "activation='gelu'"),
        (lambda: N.MLPGenerator((2,), activation=("relu",)), "activation=.* 2 hidden layers"),
        (lambda: N.MLPGenerator((2,), output="clip"), "output='clip'"),
        (lambda: N.MLPGenerator((2,), hidden=(0,)), "hidden=0"),
        (lambda: N.MLPGenerator((2, 2)), r"image_shape=\(2, 2\)"),
        (lambda: N.MLPGenerator((2,), init_range=(0.1, 0.1)), r"init_range=.* 3 layers"),
        (lambda: N.MLPDiscriminator((1, 0, 1)), "image_shape="),
        (lambda: N.MaxoutDiscriminator((2,), pieces=0), "pieces=0"),
        (lambda: N.ResNetGenerator((3, 32, 32), width=0), "width=0"),
        (
            lambda: N.ResNetGenerator((3, 128, 128)),
            r"image_shape=.*\(channels, 64, 64\)",
        ),
    ],
)
def test_unsupported_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet-32"])
def test_compiled_without_graph_breaks(name):
    network, latents = generator(name)
    expected = network.eval()(latents)
    network.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(network(latents), expected)


@pytest.mark.parametrize("name", ["maxout", "dcgan", "dcgan-spectral", "conv-maxout"])
def test_discriminator_compiled_without_graph_breaks(name):
    network, images = discriminator(name)
    expected = network.eval()(images)
    network.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(network(images), expected)
