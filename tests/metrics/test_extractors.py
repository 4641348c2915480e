import copy
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from lightning_gans.metrics import extractors
from lightning_gans.metrics.extractors import Extractor, Inception, ModuleExtractor, resized


def images(n, channels=3, height=8, width=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (n, channels, height, width or height)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


class Net(nn.Module):
    """Remembers its input; has parts whose outputs are of several kinds."""

    def __init__(self, channels=3, classes=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 5, 3), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2))
        self.pair = nn.LSTM(20, 3, batch_first=True)
        self.unused = nn.Linear(1, 1)
        self.fc = nn.Linear(20, classes)

    def forward(self, x):
        self.seen = x
        features = self.body(x).flatten(1)
        self.pair(features[:, None])
        return self.fc(features)


# Resizes


@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (64, 64), (299, 299), (301, 512), (20, 50), (1, 1)])
def test_tf_resize_is_torch_fidelitys_to_the_bit(shape):
    x = images(2, 3, *shape)
    expected = interpolate_bilinear_2d_like_tensorflow1x(x.float(), (299, 299), align_corners=False)
    assert torch.equal(resized(x, 299, "tf"), expected)


@pytest.mark.parametrize("size", [32, 64, 299, 400])
def test_clean_resize_is_pils_in_floats(size):
    x = images(1, 3, size)
    channels = [Image.fromarray(channel.float().numpy()) for channel in x[0]]
    assert all(channel.mode == "F" for channel in channels)
    pil = [np.asarray(channel.resize((299, 299), Image.Resampling.BICUBIC)) for channel in channels]
    result = resized(x, 299, "clean")[0].numpy()
    np.testing.assert_allclose(result, np.stack(pil).clip(0, 255), atol=5e-3)
    assert result.min() >= 0
    assert result.max() <= 255
    assert (size == 299) == np.array_equal(result, result.round())


def test_resizes_differ():
    x = images(1, 3, 32)
    tf, antialias, clean = (resized(x, 299, way) for way in ("tf", "antialias", "clean"))
    assert (tf - antialias).abs().mean() > 5
    assert (clean - antialias).abs().mean() > 1
    assert torch.equal(antialias, F.interpolate(x.float(), (299, 299), mode="bilinear", antialias=True))


# Inception: finding and checking the weights


@pytest.fixture(scope="module")
def zeros(tmp_path_factory):
    """A file of the right tensors, all of them zero."""
    state = {
        name: torch.zeros(value.shape, dtype=value.dtype)
        for name, value in extractors._empty_network().state_dict().items()
    }
    file = tmp_path_factory.mktemp("weights") / "zeros.pth"
    torch.save(state, file)
    return file


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and no network."""
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(extractors, "_URL", (tmp_path / "unreachable.pth").as_uri())
    return tmp_path / "cache"


def sha(file):
    return extractors.hashlib.sha256(file.read_bytes()).hexdigest()


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_constructor_opens_nothing(cache):
    network = Inception(weights="nowhere.pth")
    assert not list(network.parameters())
    assert network.name == "inception-2015-12-05"
    assert not cache.exists()


@pytest.mark.parametrize("arguments", [{"resize": "bilinear"}, {"precision": "fp16"}])
def test_unknown_options_are_refused(arguments):
    with pytest.raises(ValueError, match=r"unknown: .*(tf, antialias, clean|fp32, bf16)"):
        Inception(**arguments)


def test_build_is_lazy_frozen_and_leaves_random_numbers_alone(zeros):
    network = Inception(zeros, verify=False)
    before = torch.get_rng_state()
    protocol = network.protocol
    assert torch.equal(torch.get_rng_state(), before)
    assert (
        protocol
        == {
            "extractor": "inception",  # not the official weights
            "hash": sha(zeros)[:16],
            "resize": "tf",
            "precision": "fp32",
        }
    )
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not any(part.training for part in network.train().modules())
    assert not copy.deepcopy(network).network.training


def test_nothing_in_nothing_out(zeros):
    features, logits = Inception(zeros, verify=False)(images(0, 3, 32))
    assert features.shape == (0, 2048)
    assert logits.shape == (0, 1008)


def test_official_weights_from_the_cache_folder(cache, zeros, monkeypatch):
    monkeypatch.setattr(extractors, "_SHA", sha(zeros)[:8])
    cache.mkdir()
    (cache / extractors._FILE).write_bytes(zeros.read_bytes())
    assert Inception().protocol["extractor"] == "inception-2015-12-05"
    assert [file.name for file in cache.iterdir()] == [extractors._FILE]  # a folder that is only read may do


def test_download_into_the_cache_folder(cache, zeros, monkeypatch, capsys):
    monkeypatch.setattr(extractors, "_SHA", sha(zeros)[:8])
    monkeypatch.setattr(extractors, "_URL", zeros.as_uri())
    cache.mkdir()
    leftover = cache / f"{extractors._FILE}.123.partial"
    leftover.write_bytes(b"of a killed process")
    assert Inception().protocol["hash"] == sha(zeros)[:16]
    assert (cache / extractors._FILE).read_bytes() == zeros.read_bytes()
    assert not leftover.exists()
    monkeypatch.setattr(extractors, "_URL", "file:///nowhere")
    assert Inception().protocol["hash"] == sha(zeros)[:16]


def test_no_network(cache):
    with pytest.raises(OSError, match="cannot be downloaded") as caught:
        Inception()(images(1, 3, 32))
    message = one_line(caught)
    for part in (extractors._FILE, str(cache), extractors._URL, "weights="):
        assert part in message


def test_download_of_something_else(cache, zeros, monkeypatch, capsys):
    monkeypatch.setattr(extractors, "_URL", zeros.as_uri())
    with pytest.raises(OSError, match=r"invalid hash value.*weights=") as caught:
        _ = Inception().protocol
    one_line(caught)
    assert not list(cache.glob("*.pth*")) or [f.name for f in cache.glob("*.pth*")] == [
        f"{extractors._FILE}.lock"
    ]


def test_unusable_cache_folder(cache):
    cache.write_text("a file")
    with pytest.raises(OSError, match=r"weights=") as caught:
        _ = Inception().protocol
    one_line(caught)


def test_damaged_file_in_the_cache_folder(cache):
    cache.mkdir()
    (cache / extractors._FILE).write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"cache.*6726825d.*damaged.*delete it") as caught:
        _ = Inception().protocol
    one_line(caught)


def test_missing_weights(tmp_path):
    for weights in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"weights=.*no such file"):
            _ = Inception(weights).protocol


def test_unofficial_weights_need_verify_false(zeros):
    with pytest.raises(ValueError, match=r"weights=.*sha256 begins with.*verify=False") as caught:
        _ = Inception(zeros).protocol
    one_line(caught)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the file was unpickled",))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no file of weights"),
        (b"\x80nonsense", "no file of weights"),
        (pickle.dumps(Trap()), "no file of weights"),
        ("truncated", "no file of weights"),
        (torch.zeros(3), "not the weights"),
        ([torch.zeros(3)], "not the weights"),
        ({1: torch.zeros(3)}, "not the weights"),
        (pickle.dumps({"fc.weight": [1.0]}), "no file of weights"),
        ({"fc.weight": torch.zeros(2, 2)}, "Missing.*Conv2d_1a_3x3.conv.weight"),
        ("shape", r"fc.bias.*\[1000\].*\[1008\]"),
        ("surplus", "Unexpected.*AuxLogits.weight"),
    ],
    ids=str,
)
def test_damaged_and_foreign_weights(tmp_path, zeros, content, reason):
    file = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif isinstance(content, str) and content == "truncated":
        file.write_bytes(zeros.read_bytes()[:100_000])
    elif isinstance(content, str):
        state = torch.load(zeros, weights_only=True)
        state["fc.bias" if content == "shape" else "AuxLogits.weight"] = torch.zeros(1000)
        torch.save(state, file)
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match=reason) as caught:
        _ = Inception(file, verify=False).protocol
    assert "weights=" in one_line(caught)


# Every extractor


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_only_bytes(dtype):
    with pytest.raises(TypeError, match=r"give torch.uint8 in \[0, 255\]; from \[-1, 1\]"):
        ModuleExtractor(Net())(images(2).to(dtype))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 3, 8, 8, 1), (2, 3, 0, 8), (2, 0, 8, 8)])
def test_only_batches_of_images(shape):
    with pytest.raises(ValueError, match=r"\(n, C, H, W\) is needed"):
        Inception()(torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize("channels", [2, 4])
def test_only_grey_and_colour(channels):
    with pytest.raises(ValueError, match=rf"{channels} channels: .* takes 3 or 1 \(grey\)"):
        Inception()(images(2, channels))


def test_grey_network_takes_no_colour():
    extractor = ModuleExtractor(Net(1), mean=[0.5], std=[0.5])
    assert extractor(images(2, 1))[0].shape == (2, 4)
    with pytest.raises(ValueError, match=r"3 channels: Net takes 1$"):
        extractor(images(2, 3))


def test_autocast_is_ignored():
    extractor = ModuleExtractor(Net())
    expected = extractor(images(4))[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(extractor(images(4))[0], expected)
    assert expected.dtype == torch.float32
    assert not expected.requires_grad


OLDER_SWITCHES = """
torch.backends.cudnn.allow_tf32 = True
torch.set_float32_matmul_precision("medium")
def read():
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
exact = (False, "highest")
"""
NEWER_SWITCHES = """
torch.backends.cudnn.conv.fp32_precision = torch.backends.mkldnn.matmul.fp32_precision = "tf32"
torch.backends.cuda.matmul.fp32_precision = "tf32"
def read():
    places = torch.backends.cudnn.conv, torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    return tuple(place.fp32_precision for place in places)
exact = ("ieee",) * 3
"""
CHECK = """
before, inside = read(), []
net = torch.nn.Flatten()
net.register_forward_hook(lambda *_: inside.append(read()))
ModuleExtractor(net)(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
assert inside == [exact] != [before], (inside, before)
assert read() == before, (read(), before)
"""


@pytest.mark.parametrize("switches", [OLDER_SWITCHES, NEWER_SWITCHES], ids=["older", "newer"])
def test_float32_is_not_rounded_to_tf32(switches):
    if switches is NEWER_SWITCHES and not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this torch has only the older switches")
    # Another process: the switches are not to be mixed, and hold for all of it.
    process = multiprocessing.get_context("fork").Process(target=exec, args=(switches + CHECK, globals()))
    process.start()
    process.join(30)
    assert process.exitcode == 0


# Any module


def test_preparation_of_images():
    net = Net()
    extractor = ModuleExtractor(net, size=6, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    x = images(2)
    extractor(x)
    small = F.interpolate(x.float(), (6, 6), mode="bilinear", antialias=True) / 255
    expected = (small - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.6, 0.7]).view(
        3, 1, 1
    )
    torch.testing.assert_close(net.seen, expected)
    ModuleExtractor(net)(images(2, 1))
    assert net.seen.shape == (2, 3, 8, 8)


def test_output_as_features():
    net = Net()
    features, logits = ModuleExtractor(net)(images(3))
    torch.testing.assert_close(features, net(net.seen))
    assert logits.shape == (3, 0)


def test_part_as_features_output_as_logits():
    net = Net()
    extractor = ModuleExtractor(net, features="body.2").train()
    features, logits = extractor(images(3))
    torch.testing.assert_close(features, net.body(net.seen).flatten(1))
    torch.testing.assert_close(logits, net(net.seen))
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    assert not net.body[2]._forward_hooks


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("nothing", "features='nothing' is unknown: use body, .*unused, fc"),
        ("", "features='' is unknown"),
        ("unused", "ran 0 times, not once"),
        ("pair", "Net returns tuple: features must be a tensor"),
    ],
)
def test_bad_parts(features, message):
    with pytest.raises(ValueError, match=message):
        ModuleExtractor(Net(), features=features)(images(2))


def test_pictures_are_no_features():
    with pytest.raises(
        ValueError, match=r"shape \(2, 3, 8, 8\) for 2 images.*features=\.\.\. names the part"
    ):
        ModuleExtractor(nn.ReLU())(images(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size=0"),
        ({"mean": [0.5]}, "mean has 1 values and std 3"),
        ({"mean": [], "std": []}, "give one per channel"),
        ({"std": [1, 0, 1]}, "std.*more than 0"),
    ],
)
def test_bad_preparation(arguments, message):
    with pytest.raises(ValueError, match=message):
        ModuleExtractor(Net(), **arguments)


def test_protocol_tells_modules_apart():
    net = Net()
    protocol = ModuleExtractor(net, size=6, features="fc", name="mine").protocol
    assert protocol["extractor"] == "mine"
    assert protocol["resize"] == "antialias-6"
    assert len(protocol["hash"]) == 16
    assert protocol == ModuleExtractor(copy.deepcopy(net), size=6, features="fc", name="mine").protocol
    with torch.no_grad():
        net.fc.bias[0] += 1e-3
    assert ModuleExtractor(net).protocol["hash"] != protocol["hash"]
    assert ModuleExtractor(net.bfloat16()).protocol["extractor"] == "Net"


def test_from_yaml():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--extractor", type=Extractor)
    config = {
        "class_path": "lightning_gans.metrics.extractors.ModuleExtractor",
        "init_args": {
            "module": {"class_path": "torchvision.models.resnet18", "init_args": {"num_classes": 7}},
            "size": 32,
            "features": "avgpool",
        },
    }
    extractor = parser.instantiate_classes(parser.parse_object({"extractor": config})).extractor
    features, logits = extractor(images(2, 1))
    assert features.shape == (2, 512)
    assert logits.shape == (2, 7)
    assert extractor.name == "ResNet"
