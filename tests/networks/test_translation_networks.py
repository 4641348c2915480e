"""Networks from images to images, and discriminators of patches: pix2pix and CycleGAN."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lightning_gans.losses import wgan
from lightning_gans.networks import PatchDiscriminator, ResNetTranslator, UNetGenerator
from lightning_gans.networks.base import InstanceNorm
from lightning_gans.networks.rebuild import describe
from lightning_gans.networks.unet import UpConv

SMALL, TINY = (3, 32, 32), (2, 16, 16)
TRANSLATORS = {
    "unet": functools.partial(UNetGenerator, SMALL, SMALL, width=8),
    "unet-instance": functools.partial(UNetGenerator, SMALL, SMALL, width=8, norm="instance"),
    "unet-affine": functools.partial(UNetGenerator, SMALL, SMALL, width=8, norm="instance_affine"),
    "unet-plain": functools.partial(UNetGenerator, SMALL, SMALL, width=8, norm="none", dropout="none"),
    "unet-middle": functools.partial(UNetGenerator, (1, 64, 64), (2, 64, 64), width=4, dropout="middle"),
    "unet-shallow": functools.partial(UNetGenerator, TINY, (1, 16, 16), width=8, downs=2),
    "encoder-decoder": functools.partial(UNetGenerator, SMALL, SMALL, width=8, skips=False),
    "innermost-norm": functools.partial(UNetGenerator, SMALL, SMALL, width=8, innermost_norm=True),
    "resnet": functools.partial(ResNetTranslator, TINY, (1, 16, 16), width=8, blocks=2),
    "resnet-batch": functools.partial(ResNetTranslator, TINY, TINY, width=8, blocks=2, norm="batch"),
    "resnet-plain": functools.partial(ResNetTranslator, TINY, TINY, width=8, blocks=2, norm="none"),
    "resnet-affine": functools.partial(ResNetTranslator, TINY, TINY, 8, 1, norm="instance_affine"),
    "resnet-dropout": functools.partial(ResNetTranslator, TINY, TINY, width=8, blocks=2, dropout=True),
}
DISCRIMINATORS = {
    "pixel": functools.partial(PatchDiscriminator, TINY, receptive_field=1, width=8),
    "16": functools.partial(PatchDiscriminator, (6, 16, 16), receptive_field=16, width=8),
    "70": functools.partial(PatchDiscriminator, SMALL, width=8),
    "70-instance": functools.partial(PatchDiscriminator, SMALL, width=8, norm="instance"),
    "70-plain": functools.partial(PatchDiscriminator, SMALL, width=8, norm="none"),
    "34-affine": functools.partial(PatchDiscriminator, SMALL, 34, 8, norm="instance_affine"),
}
translators = pytest.mark.parametrize("name", TRANSLATORS)
discriminators = pytest.mark.parametrize("name", DISCRIMINATORS)


def made(make):
    torch.manual_seed(0)
    return make(), torch.rand(3, *make.args[0]) * 2 - 1


def count(network):
    return sum(p.numel() for p in network.parameters())


def on_meta(make):
    with torch.device("meta"):
        return make()


def square(channels, size):
    return (channels, size, size)


def of_size(network, size, inputs=3, outputs=3, **arguments):
    return on_meta(lambda: network(square(inputs, size), square(outputs, size), **arguments))


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        (lambda: of_size(UNetGenerator, 256), 54_413_955),
        (lambda: of_size(UNetGenerator, 512), 54_413_955),
        (lambda: of_size(UNetGenerator, 256, norm="instance"), 54_409_603),
        (lambda: of_size(UNetGenerator, 256, norm="instance_affine"), 54_409_603 + 2 * (2432 + 2496)),
        (lambda: of_size(UNetGenerator, 256, 1, 2), 54_409_858),
        (lambda: of_size(UNetGenerator, 128), 41_828_995),
        (lambda: of_size(UNetGenerator, 256, skips=False), 39_075_459),
        (lambda: of_size(UNetGenerator, 256, skips=False, innermost_norm=True), 39_076_483),
        (lambda: of_size(ResNetTranslator, 128), 7_837_699),
        (lambda: of_size(ResNetTranslator, 128, norm="instance_affine"), 7_845_123),
        (lambda: of_size(ResNetTranslator, 256), 11_378_179),
        (lambda: of_size(ResNetTranslator, 256, norm="instance_affine"), 11_388_675),
    ],
)
def test_parameters_of_translators(network, parameters):
    assert count(network()) == parameters


FIELDS = [  # receptive field, output on 256, parameters with six channels and batch norm
    (1, 256, 9_024),
    (16, 126, 139_585),
    (34, 62, 666_433),
    (70, 30, 2_768_705),
    (142, 14, 6_964_033),
    (286, 6, 11_159_361),
]


@pytest.mark.parametrize(("field", "size", "parameters"), FIELDS)
def test_patches(field, size, parameters):
    network = on_meta(lambda: PatchDiscriminator((6, 256, 256), field))
    assert count(network) == parameters
    assert network(torch.zeros(2, 6, 256, 256, device="meta")).shape == (2, 1, size, size)


def test_parameters_of_other_discriminators():
    assert count(on_meta(lambda: PatchDiscriminator((3, 256, 256)))) == 2_765_633
    assert count(on_meta(lambda: PatchDiscriminator((3, 256, 256), norm="instance"))) == 2_764_737
    network = on_meta(lambda: PatchDiscriminator((3, 128, 128)))
    assert network(torch.zeros(1, 3, 128, 128, device="meta")).shape == (1, 1, 14, 14)


@pytest.mark.parametrize("field", [field for field, _, _ in FIELDS])
def test_receptive_field(field):
    """How far the pixels reach that one logit in the middle depends on."""
    size = 512 if field > 142 else 256
    network = PatchDiscriminator((1, size, size), field, width=4, norm="none")
    with torch.no_grad():  # weights of one sign: nothing cancels
        for p in network.parameters():
            p.copy_(p.abs() * 10)
    images = torch.ones(1, 1, size, size, requires_grad=True)
    logits = network(images)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    for dim in (2, 3):
        touched = (images.grad != 0).sum(dim=dim).flatten().nonzero()
        assert touched.max() - touched.min() + 1 == field


@pytest.mark.parametrize(("size", "downs"), [(32, 5), (64, 6), (128, 7), (256, 8)])
def test_innermost_map_is_one_pixel(size, downs):
    network, seen = UNetGenerator(square(3, size), square(3, size), width=2), []
    assert len(network.encoder) == downs
    assert network.size_multiple == size
    network.encoder[-1].register_forward_hook(lambda *at: seen.append(at[2].shape))
    images = network(torch.zeros(1, *square(3, size)))  # one image trains
    images.mean().backward()
    assert images.shape == (1, 3, size, size)
    assert seen == [(1, 16, 1, 1)]


def dropouts(**arguments):
    network = of_size(UNetGenerator, width=2, **arguments)
    return [i for i, stage in enumerate(network.decoder) if any(isinstance(m, nn.Dropout) for m in stage)]


def test_where_dropout_is():
    """Decoder stages are counted from the innermost."""
    assert dropouts(size=256) == dropouts(size=128) == dropouts(size=32) == [0, 1, 2]
    assert dropouts(size=256, skips=False) == [0, 1, 2]
    assert dropouts(size=256, dropout="middle") == [1, 2, 3]
    assert dropouts(size=128, dropout="middle") == [1, 2]
    assert dropouts(size=64, dropout="middle") == [1]
    assert dropouts(size=256, dropout="none") == []
    assert dropouts(size=16, downs=3) == [0, 1]  # never on the images themselves
    blocks = of_size(ResNetTranslator, 128, dropout=True).modules()
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.5 for m in blocks) == 6


@pytest.mark.parametrize("name", ["unet", "unet-plain", "unet-instance", "encoder-decoder"])
def test_unet_is_what_the_sheet_says(name):
    """A second way to write it: nothing in place, the skip is the map after LeakyReLU."""
    network, images = made(TRANSLATORS[name])
    network.eval()
    maps, skips = images, []
    for i, (conv, *norm) in enumerate(network.encoder):
        maps = conv(F.leaky_relu(maps, 0.2) if i else maps)
        for layer in norm:
            maps = layer(maps)
        skips.append(F.leaky_relu(maps, 0.2))
    skips.pop()
    for stage in network.decoder:
        maps = stage(F.relu(maps))
        if skips and not name.startswith("encoder"):
            maps = torch.cat([skips.pop(), maps], 1)
    expected = torch.tanh(network.last(F.relu(maps)))
    torch.testing.assert_close(network(images), expected)
    assert images.equal(made(TRANSLATORS[name])[1])


def test_resnet_is_what_the_sheet_says():
    network, images = made(TRANSLATORS["resnet"])
    (first, half, quarter, *_), last = convolutions(network)[:3], convolutions(network)[-3:]

    def reflected(conv, maps, pad):
        return F.conv2d(F.pad(maps, [pad] * 4, mode="reflect"), conv.weight, conv.bias)

    maps = F.relu(F.instance_norm(reflected(first, images, 3)))
    for conv in (half, quarter):
        maps = F.relu(F.instance_norm(F.conv2d(maps, conv.weight, conv.bias, 2, 1)))
    middle = convolutions(network)[3:-3]
    for one, two in zip(middle[::2], middle[1::2], strict=True):
        inner = F.relu(F.instance_norm(reflected(one, maps, 1)))
        maps = maps + F.instance_norm(reflected(two, inner, 1))
    for conv in last[:2]:
        maps = F.relu(F.instance_norm(F.conv_transpose2d(maps, conv.weight, conv.bias, 2, 1, 1)))
    torch.testing.assert_close(network(images), torch.tanh(reflected(last[2], maps, 3)))


def convolutions(network):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


def same_as_torchs(network, plain, shape, layout):
    """Values and gradients of a layer of ours and of torch's; the memory order is kept."""
    plain.load_state_dict(network.state_dict())
    found = []
    for layer in (network, plain):
        torch.manual_seed(0)
        images = torch.randn(shape).contiguous(memory_format=layout).requires_grad_()
        maps = layer.to(memory_format=layout)(images)
        (maps * torch.randn_like(maps.contiguous())).sum().backward()
        found.append([maps, images.grad, *(p.grad for p in layer.parameters())])
    for ours, torchs in zip(*found, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-4)
    return found[0][0]


@LAYOUTS
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("affine", [True, False])
def test_instance_norm_is_torchs(layout, count, affine):
    network = InstanceNorm(4, affine=affine)
    normed = same_as_torchs(network, nn.InstanceNorm2d(4, affine=affine), (count, 4, 6, 5), layout)
    assert normed.is_contiguous(memory_format=layout)
    images = torch.randn(count, 4, 6, 6).contiguous(memory_format=layout)
    wgan.gradient_penalty(lambda x: network(x).square().mean((1, 2, 3)), images, -images)


@LAYOUTS
def test_instance_norm_can_be_replaced(layout):
    """By what replaces torch's: modes that give parts of an image the statistics of the whole."""

    class Replaced(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return args[0] if func is F.instance_norm else func(*args, **(kwargs or {}))

    images = torch.randn(2, 4, 6, 6).contiguous(memory_format=layout)
    with Replaced():
        assert InstanceNorm(4)(images) is images


@LAYOUTS
@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 4, 2, 4), (1, 4, 8, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_transposed_convolution_is_torchs(layout, shape, bias):
    """With few pixels, which are multiplied, and with many."""
    same_as_torchs(UpConv(4, 3, bias), nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=bias), shape, layout)


@translators
def test_initial_weights(name):
    network, _ = made(TRANSLATORS[name])
    drawn = torch.cat([conv.weight.flatten() for conv in convolutions(network)])
    assert drawn.std().item() == pytest.approx(0.02, rel=0.05)
    assert all(conv.bias is None or not conv.bias.any() for conv in convolutions(network))
    gains = [m.weight for m in network.modules() if "Norm" in type(m).__name__ and m.weight is not None]
    assert all(0 < (gain - 1).abs().max() < 0.2 for gain in gains)


@translators
def test_translations(name):
    make = TRANSLATORS[name]
    network, inputs = made(make)
    images = network(inputs)
    assert images.shape == (3, *make.args[1])
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert images[0].ne(images[1]).any()


@translators
def test_every_translator_weight_learns(name):
    network, inputs = made(TRANSLATORS[name])
    images = network(inputs.requires_grad_())
    (images * torch.randn_like(images)).sum().backward()
    # What a norm follows has no use for a bias: its gradient is rounding noise, or none.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.abs().sum() > 0 for key, p in network.named_parameters() if key.endswith("weight"))
    assert inputs.grad.abs().sum() > 0


@discriminators
def test_every_discriminator_weight_learns(name):
    network, images = made(DISCRIMINATORS[name])
    logits = network(images)
    (logits * torch.randn_like(logits)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.abs().sum() > 0 for key, p in network.named_parameters() if key.endswith("weight"))


@discriminators
def test_penalty_can_be_trained(name):
    network, images = made(DISCRIMINATORS[name])
    critic = network.eval()
    wgan.gradient_penalty(lambda images: critic(images).mean((1, 2, 3)), images, -images).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("make", [*TRANSLATORS.values(), *DISCRIMINATORS.values()])
def test_one_by_one_in_eval_mode(make):
    network, images = made(make)
    network.eval()
    torch.testing.assert_close(network(images)[1:], network(images[1:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [*TRANSLATORS.values(), *DISCRIMINATORS.values()])
def test_rebuilt_from_plain_values(make):
    network, images = made(make)
    again = make.func(**describe(network)["init_args"])
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again.eval()(images), network.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize("make", [*TRANSLATORS.values(), *DISCRIMINATORS.values()])
def test_channels_last(make):
    network, images = made(make)
    expected = network.eval()(images)
    network.to(memory_format=torch.channels_last)
    given = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(given), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [*TRANSLATORS.values(), *DISCRIMINATORS.values()])
def test_bfloat16(make):
    network, images = made(make)
    network.eval()
    expected = network(images)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(images)
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)
    found.float().sum().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in network.parameters())


@pytest.mark.parametrize("make", [TRANSLATORS["unet"], TRANSLATORS["resnet"], DISCRIMINATORS["70"]])
def test_compiled_without_graph_breaks(make):
    network, images = made(make)
    expected = network.eval()(images)
    network.compile(backend="eager", fullgraph=True)
    torch.testing.assert_close(network(images), expected)


def test_other_sizes_than_in_training():
    unet, inputs = UNetGenerator(square(3, 32), square(1, 32), width=4), torch.randn(1, 3, 64, 96)
    assert unet(inputs).shape == (1, 1, 64, 96)
    resnet = ResNetTranslator(square(3, 16), square(1, 16), width=4, blocks=1)
    assert resnet(inputs[..., :20]).shape == (1, 1, 64, 20)
    assert resnet.size_multiple == 4
    patches = PatchDiscriminator(square(3, 32), width=4)
    assert patches(inputs[..., :33]).shape == (1, 1, 6, 2)
    assert UNetGenerator((1, 32, 96), (1, 32, 96), width=2).size_multiple == 32


def test_defaults_by_size():
    def blocks(size):
        return sum(type(m).__name__.endswith("Block") for m in of_size(ResNetTranslator, size).modules())

    assert (blocks(64), blocks(128), blocks(256), blocks(512)) == (6, 6, 9, 9)
    assert of_size(UNetGenerator, 512).size_multiple == 256
    assert of_size(UNetGenerator, 512, downs=9).size_multiple == 512


S64 = square(3, 64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UNetGenerator(square(3, 100), square(3, 100)), r"input_shape=\(3, 100, 100\).* 64 or 128"),
        (lambda: UNetGenerator((3, 64, 90), (3, 64, 90)), r"\(3, 64, 90\).* 64 or 128"),
        (lambda: UNetGenerator(square(3, 286), square(3, 286)), "256 or 512"),
        (lambda: UNetGenerator(S64, S64, downs=7), "128"),
        (lambda: UNetGenerator(square(3, 2), square(3, 2)), "4"),
        (lambda: UNetGenerator(S64, S64, downs=1), "downs=1"),
        (lambda: UNetGenerator(S64, S64, width=0), "width=0"),
        (lambda: UNetGenerator(S64, S64, norm="layer"), "norm='layer'"),
        (lambda: UNetGenerator(S64, S64, dropout="outer"), "dropout='outer'"),
        (lambda: UNetGenerator(S64, S64, norm="instance", innermost_norm=True), "innermost_norm=True.*batch"),
        (lambda: UNetGenerator(S64, square(3, 32)), r"image_shape=\(3, 32, 32\).*input_shape=\(3, 64, 64\)"),
        (lambda: UNetGenerator((64,), (64,)), r"input_shape=\(64,\)"),
        (lambda: UNetGenerator(S64, (64, 64)), r"image_shape=\(64, 64\)"),
        (lambda: ResNetTranslator(square(3, 30), square(3, 30)), r"input_shape=\(3, 30, 30\).* 28 or 32"),
        (lambda: ResNetTranslator(square(3, 4), square(3, 4)), "8"),
        (lambda: ResNetTranslator(S64, S64, blocks=-1), "blocks=-1"),
        (lambda: ResNetTranslator(S64, S64, norm="x"), "norm='x'"),
        (lambda: ResNetTranslator(S64, S64, width=0), "width=0"),
        (lambda: PatchDiscriminator(S64, receptive_field=71), "receptive_field=71.* 70"),
        (lambda: PatchDiscriminator(S64, receptive_field=286), "receptive_field=286.* 96 pixels.*142"),
        (lambda: PatchDiscriminator(square(3, 4), 16), "receptive_field=16.* 6 pixels"),
        (lambda: PatchDiscriminator((3, 64)), r"image_shape=\(3, 64\)"),
        (lambda: PatchDiscriminator((64,)), r"image_shape=\(64,\)"),
        (lambda: PatchDiscriminator(S64, norm="spectral"), "norm='spectral'"),
        (lambda: PatchDiscriminator(S64, width=0), "width=0"),
    ],
)
def test_unsupported_arguments(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (TRANSLATORS["unet"], (1, 3, 48, 64), r"images has shape \(1, 3, 48, 64\).* 32 or 64"),
        (TRANSLATORS["unet"], (1, 1, 32, 32), r"images has shape .*: this network takes \(N, 3,"),
        (TRANSLATORS["unet"], (3, 32, 32), "images has shape"),
        (TRANSLATORS["resnet"], (1, 2, 18, 16), "16 or 20"),
        (TRANSLATORS["resnet"], (1, 2, 4, 16), "8"),
        (DISCRIMINATORS["70"], (1, 3, 16, 64), "24 pixels"),
        (DISCRIMINATORS["70"], (1, 6, 64, 64), r"images has shape .*: this network takes \(N, 3,"),
    ],
)
def test_unsupported_images(make, shape, message):
    network, _ = made(make)
    with pytest.raises(ValueError, match=message):
        network(torch.zeros(shape))


def test_batch_norm_at_the_bottleneck_with_one_image():
    network, images = made(TRANSLATORS["innermost-norm"])
    with pytest.raises(ValueError, match=r"innermost_norm=True.*one image"):
        network(images[:1])
    assert network(torch.randn(1, 3, 64, 64)).shape == (1, 3, 64, 64)  # the bottleneck has four pixels
    assert network.eval()(images[:1]).shape == (1, 3, 32, 32)
