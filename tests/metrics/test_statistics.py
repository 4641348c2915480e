import json
import os
import pickle
import stat
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_gans.commands.evaluate import read_images
from lightning_gans.metrics import statistics
from lightning_gans.metrics.statistics import RealStatistics, lookup, open_npz, store
from tests.damage import damaged

KEY = {"data": "digits", "split": "train", "n": 50, "resize": "tf", "hash": "abc", "size": (8, 8)}


def make(d=4, n=50, features=False, seed=0):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    extra = {"features": x, "labels": torch.arange(n) % 3, "order": torch.arange(n)} if features else {}
    return RealStatistics(x.double().mean(0), x.double().T.cov(), n, **extra)


def same(a, b):
    if a.n != b.n:
        return False
    for name in ("mu", "sigma", "features", "labels", "order"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None)
        if left is not None:
            assert left.dtype == right.dtype
            assert torch.equal(left, right)
    return True


# Files


@pytest.mark.parametrize("features", [False, True])
def test_round_trip(tmp_path, features):
    made = make(features=features)
    made.save(tmp_path / "new" / "real.npz")
    assert same(RealStatistics.load(tmp_path / "new" / "real.npz"), made)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["real.npz"]
    assert RealStatistics.load(tmp_path / "new" / "real.npz", features=False).features is None


def test_other_tools_read_ours(tmp_path):
    made = make()
    made.save(tmp_path / "real.npz")
    with np.load(tmp_path / "real.npz") as file:  # as pytorch-fid and TTUR do
        np.testing.assert_array_equal(file["mu"], made.mu.numpy())
        np.testing.assert_array_equal(file["sigma"], made.sigma.numpy())
        assert file["mu"].dtype == file["sigma"].dtype == np.float64
        assert json.loads(str(file["protocol"])) == {}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ours_reads_other_tools(tmp_path, dtype):
    np.savez_compressed(tmp_path / "real.npz", mu=np.ones(3, dtype), sigma=np.eye(3, dtype=dtype))
    read = RealStatistics.load(str(tmp_path / "real.npz"))
    assert same(read, RealStatistics(torch.ones(3).double(), torch.eye(3).double(), None))


def test_permissions_follow_the_umask(tmp_path):
    make().save(tmp_path / "real.npz")
    (tmp_path / "plain").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("real.npz", "plain")]
    assert modes[0] == modes[1]  # a shared cache folder


def truncate(content):
    return content[: len(content) // 2]


def flip(content):
    place = content.index(b"sigma.npy") + 200  # in the numbers
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [truncate, flip, lambda content: b"", lambda content: b"\x80nonsense"])
def test_damaged_files(tmp_path, damage):
    file = tmp_path / "real.npz"
    make().save(file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"real.npz: damaged, or no file of statistics \(.+\)") as caught:
        RealStatistics.load(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"mu": np.ones(3)}, "'sigma' is missing"),
        ({"mu": np.ones(3), "sigma": np.eye(4)}, r"sigma .*give \(3, 3\)"),
        ({"mu": np.ones((3, 1)), "sigma": np.eye(3)}, "mu "),
        ({"mu": np.ones(0), "sigma": np.eye(0)}, "mu"),
        ({"mu": np.array([np.nan]), "sigma": np.eye(1)}, "not finite"),
        ({"mu": np.array(["a"]), "sigma": np.eye(1)}, "could not convert"),
        ({"mu": np.array([{}]), "sigma": np.eye(1)}, "Object arrays"),
        ({"mu": np.ones(1), "sigma": np.eye(1), "n": 1}, "n=1"),
        ({"mu": np.ones(1), "sigma": np.eye(1), "n": 3, "features": np.ones((2, 1))}, r"features .*\(3, 1\)"),
        ({"mu": np.ones(1), "sigma": np.eye(1), "n": 3, "labels": np.ones(2)}, r"labels .*\(3,\)"),
        ({"mu": np.ones(1), "sigma": np.eye(1), "protocol": "{"}, "Expecting"),
        ({"mu": np.ones(1), "sigma": np.eye(1), "protocol": "3"}, "not iterable"),
    ],
    ids=str,
)
def test_files_of_something_else(tmp_path, arrays, reason):
    np.savez(tmp_path / "real.npz", **arrays)
    with pytest.raises(ValueError, match=reason):
        RealStatistics.load(tmp_path / "real.npz")


def test_single_arrays_folders_and_missing_files(tmp_path):
    np.save(tmp_path / "real.npy", np.ones(3))
    for path in (tmp_path / "real.npy", tmp_path):
        with pytest.raises(ValueError, match="no file of statistics"):
            RealStatistics.load(path)
    with pytest.raises(FileNotFoundError, match=r"none\.npz: no such file of statistics"):
        RealStatistics.load(tmp_path / "none.npz")


def test_npz_with_a_damaged_array_is_refused_before_another_is_read(tmp_path):
    np.savez(tmp_path / "both.npz", damaged=np.ones(400), whole=np.arange(3))
    with open_npz(tmp_path / "both.npz", "file") as file:
        assert file["whole"].tolist() == [0, 1, 2]
    content = bytearray((tmp_path / "both.npz").read_bytes())
    content[content.index(b"damaged.npy") + 200] ^= 1
    (tmp_path / "both.npz").write_bytes(content)
    with (
        pytest.raises(ValueError, match=r"both.npz: damaged, or no file \(the checksum of damaged.npy"),
        open_npz(tmp_path / "both.npz", "file"),
    ):
        pass


def header(shape, dtype="|u1"):
    """An array's header that promises what is not there."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


NASTY = {
    "huge": header((10**9, 10**5, 10**3, 3)),
    "large": header((10**6, 10**4, 1, 1)),
    "negative": header((-1, 8, 8, 1)),
    "no shape": header("8"),
    "strings": header((4, 8, 8, 1), "<U0"),
    "objects": header((4, 8, 8, 1), "|O") + pickle.dumps([0] * 256),
    "code": header("__import__('os').system('touch mark')"),
    "deep": header("(" * 5000),
    "shorter": header((4, 8, 8, 1)) + bytes(200),
    "nothing": b"",
}


@pytest.mark.parametrize("name", NASTY)
def test_absurd_arrays_are_refused_in_one_line(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", NASTY[name])
    with pytest.raises(ValueError, match=r"x\.npz: damaged, or no \.npz of images") as caught:
        read_images(str(tmp_path / "x.npz"))
    assert "\n" not in str(caught.value)
    assert not Path("mark").exists()


def encrypted(content):
    """Set the flag in both places that have it."""
    for sign, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        where = content.index(sign) + place
        content = content[:where] + bytes([content[where] | 1]) + content[where + 1 :]
    return content


def claims(content):
    """Say that the first array takes 3 GB more than there is memory."""
    where = content.index(b"PK\1\2") + 24
    return content[:where] + (2**32 - 2).to_bytes(4, "little") + content[where + 4 :]


@pytest.mark.parametrize(("change", "words"), [(encrypted, "encrypted"), (claims, "4.29 GB of memory")])
def test_absurd_archives_are_refused_in_one_line(tmp_path, change, words, monkeypatch):
    monkeypatch.setattr(statistics, "free_memory", lambda: 10**9)
    np.savez_compressed(tmp_path / "x.npz", arr_0=np.zeros((4, 8, 8, 1), np.uint8))
    (tmp_path / "x.npz").write_bytes(change((tmp_path / "x.npz").read_bytes()))
    with pytest.raises(ValueError, match=words):
        read_images(str(tmp_path / "x.npz"))


def images_of(path):
    images = read_images(str(path))
    return images.at(torch.arange(images.count))


FILES = {
    "images": (lambda path: np.savez(path, arr_0=PIXELS), images_of, torch.equal),
    "compressed": (lambda path: np.savez_compressed(path, arr_0=PIXELS), images_of, torch.equal),
    "reference": (make(features=True).save, RealStatistics.load, same),
}
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)


def fuzz(file, write, read, same, count):
    write(file)
    good, content = read(file), file.read_bytes()
    for what, bad in damaged(content, count):
        file.write_bytes(bad)
        found, message = None, ""
        try:
            found = read(file)
        except ValueError as error:
            message = str(error)
        assert found is None or same(found, good), what
        assert "\n" not in message, what


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [200, pytest.param(6000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", FILES)
def test_damage_is_refused_or_harmless(tmp_path, kind, count):
    fuzz(tmp_path / "x.npz", *FILES[kind], count)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [200, pytest.param(6000, marks=pytest.mark.slow)])
def test_a_damaged_cache_is_missing_or_right(tmp_path, count):
    fuzz(
        statistics._file(KEY, tmp_path),
        lambda file: store(KEY, make(features=True), file.parent),
        lambda file: lookup(KEY, file.parent, features=True),
        same,
        count,
    )


# The cache


@pytest.mark.parametrize("features", [False, True])
def test_lookup_and_store(tmp_path, features):
    assert lookup(KEY, tmp_path / "none") is None
    store(KEY, make(features=features), tmp_path / "new")
    found = lookup(KEY, tmp_path / "new", features)
    assert same(found, make(features=features))
    assert found.protocol == {**KEY, "size": [8, 8]}
    assert same(lookup(KEY, tmp_path / "new"), make())


def test_file_tells_what_it_is_of(tmp_path):
    store(KEY, make(), tmp_path)
    (file,) = tmp_path.glob("*.npz")
    assert json.loads(str(np.load(file)["protocol"]))["split"] == "train"


@pytest.mark.parametrize(("name", "value"), [("n", 49), ("n", "50"), ("resize", "clean"), ("more", 1)])
def test_another_key_is_another_file(tmp_path, name, value):
    store(KEY, make(), tmp_path)
    assert lookup({**KEY, name: value}, tmp_path) is None
    store({**KEY, name: value}, make(seed=1), tmp_path)
    assert same(lookup({**KEY, name: value}, tmp_path), make(seed=1))
    assert same(lookup(dict(reversed(KEY.items())), tmp_path), make())


def test_key_of_something_else(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        store({"size": torch.ones(1)}, make(), tmp_path)


def test_file_without_features_does_not_do(tmp_path):
    store(KEY, make(), tmp_path)
    assert lookup(KEY, tmp_path, features=True) is None
    store(KEY, make(features=True), tmp_path)
    assert lookup(KEY, tmp_path, features=True).labels is not None
    assert same(lookup(KEY, tmp_path), make())


@pytest.mark.parametrize("damage", [truncate, flip, lambda content: b""])
def test_damaged_file_is_replaced(tmp_path, damage):
    store(KEY, make(), tmp_path)
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(damage(file.read_bytes()))
    assert lookup(KEY, tmp_path) is None
    store(KEY, make(), tmp_path)
    assert same(lookup(KEY, tmp_path), make())


def test_renamed_file_is_not_taken(tmp_path):
    store(KEY, make(), tmp_path)
    other = {**KEY, "n": 3}
    next(tmp_path.glob("*.npz")).rename(statistics._file(other, tmp_path))
    assert lookup(other, tmp_path) is None


def test_unusable_folder_costs_a_warning(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match=r"not kept.*LIGHTNING_GANS_CACHE"):
        store(KEY, make(), tmp_path / "file" / "cache")


def test_full_disk_costs_a_warning(tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match=r"not kept.*No space left"):
        store(KEY, make(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_leftovers_of_killed_processes_go(tmp_path):
    file = statistics._file(KEY, tmp_path).name
    dead, busy = (f"{file}.{letter * 32}.part" for letter in "ab")
    for name, hours in ((dead, 2), (busy, 0.1), ("of-others.part", 2)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - 3600 * hours,) * 2)
    store(KEY, make(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {file, busy, "of-others.part"}
