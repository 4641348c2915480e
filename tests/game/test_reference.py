"""Files in the layout of the authors' code, written here, against forward passes by the names in them."""

import pickle
import re
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_gans import load, load_reference
from lightning_gans.networks import PatchDiscriminator, ResNetTranslator, UNetGenerator
from lightning_gans.networks.rebuild import describe


class Weights(OrderedDict):
    """Random weights under the names that the authors' modules give them."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm
        torch.manual_seed(0)

    def conv(self, name, inputs, outputs, kernel, bias=None, transposed=False):
        pair = (inputs, outputs) if transposed else (outputs, inputs)
        self[f"{name}.weight"] = torch.randn(*pair, kernel, kernel) / (inputs * kernel) ** 0.5
        if bias or (bias is None and self.norm.startswith("instance")):
            self[f"{name}.bias"] = torch.randn(outputs) / 4

    def normed(self, name, channels):
        if self.norm in ("batch", "instance_affine"):
            self[f"{name}.weight"] = torch.rand(channels) + 0.5
            self[f"{name}.bias"] = torch.randn(channels)
        if self.norm in ("batch", "instance_old"):
            self[f"{name}.running_mean"] = torch.randn(channels)
            self[f"{name}.running_var"] = torch.rand(channels) + 0.5
            self[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def through(self, name, maps, norm=None, pad=0, **arguments):
        """The convolution of a name, and the norm of another in evaluation mode."""
        maps = F.pad(maps, [pad] * 4, mode="reflect") if pad else maps
        call = F.conv_transpose2d if arguments.pop("transposed", False) else F.conv2d
        maps = call(maps, self[f"{name}.weight"], self.get(f"{name}.bias"), **arguments)
        if norm is None or self.norm == "none":
            return maps
        gain, bias = self.get(f"{norm}.weight"), self.get(f"{norm}.bias")
        if self.norm != "batch":
            return F.instance_norm(maps, weight=gain, bias=bias)
        return F.batch_norm(maps, self[f"{norm}.running_mean"], self[f"{norm}.running_var"], gain, bias)


def unet(downs, norm="batch", inputs=3, outputs=3, width=2):
    """The weights of a U-Net, written from its outermost level inwards, and its forward pass."""
    weights = Weights(norm)
    widths = [width * min(2**i, 8) for i in range(downs)]
    weights.conv("model.model.0", inputs, width, 4)

    def write(level, prefix):
        above, here = widths[level - 1], widths[level]
        innermost = level == downs - 1
        weights.conv(f"{prefix}.1", above, here, 4)
        if not innermost:
            weights.normed(f"{prefix}.2", here)
            write(level + 1, f"{prefix}.3.model")
        up, norm = ("3", "4") if innermost else ("5", "6")
        weights.conv(f"{prefix}.{up}", here if innermost else 2 * here, above, 4, transposed=True)
        weights.normed(f"{prefix}.{norm}", above)

    write(1, "model.model.1.model")
    weights.conv("model.model.3", 2 * width, outputs, 4, bias=True, transposed=True)
    half, double = {"stride": 2, "padding": 1}, {"stride": 2, "padding": 1, "transposed": True}

    def pass_through(maps, level, prefix):
        maps = F.leaky_relu(maps, 0.2)  # in place there: it is what the skip carries
        if level == downs - 1:
            inner = F.relu(weights.through(f"{prefix}.1", maps, **half))
            inner = weights.through(f"{prefix}.3", inner, f"{prefix}.4", **double)
        else:
            inner = weights.through(f"{prefix}.1", maps, f"{prefix}.2", **half)
            inner = F.relu(pass_through(inner, level + 1, f"{prefix}.3.model"))
            inner = weights.through(f"{prefix}.5", inner, f"{prefix}.6", **double)
        return torch.cat([maps, inner], 1)

    def forward(images):
        maps = weights.through("model.model.0", images, **half)
        maps = F.relu(pass_through(maps, 1, "model.model.1.model"))
        return torch.tanh(weights.through("model.model.3", maps, **double))

    return weights, forward


def resnet(blocks, norm="instance", dropout=False, inputs=3, outputs=3, width=4):
    weights = Weights(norm)
    second = 6 if dropout else 5
    end = 10 + blocks
    for place, before, after, kernel in ((1, inputs, width, 7), (4, width, 2 * width, 3),
                                         (7, 2 * width, 4 * width, 3)):  # fmt: skip
        weights.conv(f"model.{place}", before, after, kernel)
        weights.normed(f"model.{place + 1}", after)
    for i in range(10, end):
        for place in (1, second):
            weights.conv(f"model.{i}.conv_block.{place}", 4 * width, 4 * width, 3)
            weights.normed(f"model.{i}.conv_block.{place + 1}", 4 * width)
    for place, maps in ((end, 2 * width), (end + 3, width)):
        weights.conv(f"model.{place}", 2 * maps, maps, 3, transposed=True)
        weights.normed(f"model.{place + 1}", maps)
    weights.conv(f"model.{end + 7}", width, outputs, 7, bias=True)

    def forward(images):
        maps = F.relu(weights.through("model.1", images, "model.2", pad=3))
        for place in (4, 7):
            normed = weights.through(f"model.{place}", maps, f"model.{place + 1}", stride=2, padding=1)
            maps = F.relu(normed)
        for block in (f"model.{i}.conv_block" for i in range(10, end)):
            inner = F.relu(weights.through(f"{block}.1", maps, f"{block}.2", pad=1))
            maps = maps + weights.through(f"{block}.{second}", inner, f"{block}.{second + 1}", pad=1)
        up = {"stride": 2, "padding": 1, "output_padding": 1, "transposed": True}
        for place in (end, end + 3):
            maps = F.relu(weights.through(f"model.{place}", maps, f"model.{place + 1}", **up))
        return torch.tanh(weights.through(f"model.{end + 7}", maps, pad=3))

    return weights, forward


def patches(halvings, norm="batch", inputs=6, width=4):
    weights = Weights(norm)
    weights.conv("model.0", inputs, width, 4, bias=True)
    widths = [width * min(2**i, 8) for i in range(halvings + 1)]
    for i in range(1, halvings + 1):
        weights.conv(f"model.{3 * i - 1}", widths[i - 1], widths[i], 4)
        weights.normed(f"model.{3 * i}", widths[i])
    weights.conv(f"model.{3 * halvings + 2}", widths[-1], 1, 4, bias=True)

    def forward(images):
        maps = F.leaky_relu(weights.through("model.0", images, stride=2, padding=1), 0.2)
        for i in range(1, halvings + 1):
            step = {"stride": 1 if i == halvings else 2, "padding": 1}
            maps = F.leaky_relu(weights.through(f"model.{3 * i - 1}", maps, f"model.{3 * i}", **step), 0.2)
        return weights.through(f"model.{3 * halvings + 2}", maps, padding=1)

    return weights, forward


def pixels(norm="batch", inputs=6, width=4):
    weights = Weights(norm)
    weights.conv("net.0", inputs, width, 1, bias=True)
    weights.conv("net.2", width, 2 * width, 1)
    weights.normed("net.3", 2 * width)
    weights.conv("net.5", 2 * width, 1, 1)

    def forward(images):
        maps = F.leaky_relu(weights.through("net.0", images), 0.2)
        return weights.through("net.5", F.leaky_relu(weights.through("net.2", maps, "net.3"), 0.2))

    return weights, forward


def saved(weights, path, prefix="", **arguments):
    torch.save(OrderedDict((prefix + key, value) for key, value in weights.items()), path, **arguments)
    return path


NETWORKS = [
    (unet(7), UNetGenerator, {"downs": 7, "norm": "batch", "dropout": "middle"}),
    (unet(8, inputs=1, outputs=2), UNetGenerator, {"downs": 8, "width": 2}),
    (unet(8, "instance"), UNetGenerator, {"norm": "instance", "dropout": "none"}),
    (unet(7, "instance_old"), UNetGenerator, {"norm": "instance"}),
    (unet(5, "instance_affine"), UNetGenerator, {"norm": "instance_affine"}),
    (unet(5, "none"), UNetGenerator, {"norm": "none"}),
    (resnet(9), ResNetTranslator, {"blocks": 9, "norm": "instance", "dropout": False}),
    (resnet(6, dropout=True), ResNetTranslator, {"blocks": 6, "dropout": True}),
    (resnet(6, "batch"), ResNetTranslator, {"norm": "batch", "dropout": False}),
    (resnet(6, "batch", dropout=True, inputs=1), ResNetTranslator, {"norm": "batch", "dropout": True}),
    (resnet(9, "instance_old", outputs=1), ResNetTranslator, {"blocks": 9, "norm": "instance"}),
    (resnet(0, "none"), ResNetTranslator, {"blocks": 0, "norm": "none"}),
    (patches(3), PatchDiscriminator, {"receptive_field": 70, "norm": "batch"}),
    (patches(3, "instance", inputs=3), PatchDiscriminator, {"receptive_field": 70, "norm": "instance"}),
    (patches(1), PatchDiscriminator, {"receptive_field": 16}),
    (patches(5, "none"), PatchDiscriminator, {"receptive_field": 286, "norm": "none"}),
    (pixels(), PatchDiscriminator, {"receptive_field": 1, "norm": "batch"}),
    (pixels("instance"), PatchDiscriminator, {"receptive_field": 1, "norm": "instance"}),
    (pixels("none"), PatchDiscriminator, {"receptive_field": 1, "norm": "none"}),
]


@pytest.mark.parametrize(("made", "kind", "arguments"), NETWORKS)
def test_same_output(made, kind, arguments, tmp_path):
    weights, forward = made
    network = load_reference(saved(weights, tmp_path / "latest_net_G.pth")).eval()
    assert type(network) is kind
    found = describe(network)["init_args"]
    assert arguments.items() <= found.items()
    size = 256 if found.get("downs") == 8 or found.get("receptive_field") == 286 else 128
    channels = network.image_shape[0] if kind is PatchDiscriminator else network.input_shape[0]
    images = torch.rand(1, channels, size, size) * 2 - 1
    expected = forward(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-5)
    kind(**found).load_state_dict(network.state_dict())  # what a game's checkpoint does with it


def test_old_files(tmp_path):
    """Of several GPUs, in torch's format before 1.6, without batch norm's count of batches."""
    weights, forward = unet(5)
    images = torch.randn(1, 3, 32, 32)
    for key in [key for key in weights if "num_batches" in key]:
        del weights[key]
    for arguments in ({"prefix": "module."}, {"_use_new_zipfile_serialization": False}):
        network = load_reference(saved(weights, tmp_path / "1_net_G.pth", **arguments)).eval()
        torch.testing.assert_close(network(images), forward(images), rtol=1e-5, atol=1e-5)
    network.train()(torch.randn(2, 3, 32, 32)).mean().backward()
    assert all(p.dtype == torch.float32 and p.grad.isfinite().all() for p in network.parameters())


def test_dropout_of_a_unet_is_asked_for(tmp_path):
    def dropouts(norm, **arguments):
        network = load_reference(saved(unet(7, norm)[0], tmp_path / "latest_net_G.pth"), **arguments)
        return sum(isinstance(layer, nn.Dropout) for layer in network.modules())

    assert dropouts("batch") == dropouts("instance", dropout=True) == 2
    assert dropouts("instance") == dropouts("batch", dropout=False) == 0


def without(weights, key):
    return OrderedDict((k, v) for k, v in weights.items() if k != key)


def refused(path):
    with pytest.raises(ValueError, match=path.name) as error:
        load_reference(path)
    assert str(error.value).isprintable()
    return str(error.value)


U, R, D = unet(5)[0], resnet(6)[0], patches(3)[0]


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (without(U, "model.model.1.model.3.model.1.weight"), "model.model"),
        (without(U, "model.model.3.weight"), "model.model.3.weight is missing"),
        (without(U, "model.model.1.model.6.running_var"), "model.model.1.model.6.running_var is missing"),
        (without(R, "model.7.bias"), "model.7.bias is missing"),
        (without(R, "model.12.conv_block.1.weight"), "model.12"),
        (without(D, "model.5.weight"), "convolutions|model.5"),
        ({**R, "model.30.weight": torch.zeros(3)}, "ResNetTranslator has no model.30.weight"),
        ({**R, "model.4.weight": torch.zeros(8, 4, 4, 4)}, r"model.4.weight is of shape \(8, 4, 4, 4\)"),
        ({**R, "model.1.weight": torch.zeros(3)}, "model.1.weight is 1-dimensional"),
        ({**R, "model.1.weight": torch.zeros(0, 3, 7, 7)}, "width=0"),
        ({**R, "model.2.weight": torch.zeros(4)}, "model.2.bias is missing"),
        (patches(6)[0], "8 convolutions"),
        ({"model.0.weight": torch.zeros(4, 3, 4, 4)}, "2 convolutions"),
        ({"conv1.weight": torch.zeros(1)}, "no first layer"),
        ({}, "no first layer"),
        ({**R, "model.4.weight": torch.zeros(8, 4, 3, 3).to_sparse()}, "no dict of tensors"),
        ({"state": dict(R)}, "no dict of tensors"),
        ([torch.zeros(1)], "no dict of tensors"),
        ({"hyper_parameters": {}, "state_dict": {}}, "use load"),
    ],
)
def test_other_weights(weights, reason, tmp_path):
    path = tmp_path / "latest_net_G.pth"
    torch.save(dict(weights) if isinstance(weights, dict) else weights, path)
    assert re.search(reason, refused(path))


def test_load_says_who_reads_them(tmp_path):
    with pytest.raises(ValueError, match="not written by lightning_gans: load_reference"):
        load(saved(R, tmp_path / "latest_net_G.pth"))


class Trap:
    def __reduce__(self):
        return (exec, ("open('MARK', 'w').close()",))


def test_other_files(tmp_path, monkeypatch):
    """Nothing in a file is run, in none of torch's formats."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        load_reference("none.pth")
    path = tmp_path / "latest_net_G.pth"
    for new in (True, False):
        torch.save({**R, "model.1.weight": Trap()}, path, _use_new_zipfile_serialization=new)
        assert "other objects than tensors" in refused(path)
    path.write_bytes(pickle.dumps(Trap()))
    refused(path)
    path.write_bytes(b"")
    refused(path)
    content = saved(R, path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(path)
    path.write_bytes(content.replace(R["model.7.weight"].numpy().tobytes()[:4], b"\x00\x00\x80\x3f"))
    assert "checksum" in refused(path)
    assert not (tmp_path / "MARK").exists()
