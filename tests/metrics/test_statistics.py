import json
import os
import stat
import time

import numpy as np
import pytest
import torch

from lightning_gans.metrics import statistics
from lightning_gans.metrics.statistics import RealStatistics, lookup, open_npz, store

KEY = {"data": "digits", "split": "train", "n": 50, "resize": "tf", "hash": "abc", "size": (8, 8)}


def make(d=4, n=50, features=False, seed=0):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    extra = {"features": x, "labels": torch.arange(n) % 3, "order": torch.arange(n)} if features else {}
    return RealStatistics(x.double().mean(0), x.double().T.cov(), n, **extra)


def same(a, b):
    for name in ("mu", "sigma", "features", "labels", "order"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None)
        if left is not None:
            assert left.dtype == right.dtype
            assert torch.equal(left, right)
    assert a.n == b.n
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


def test_npz_reads_only_what_is_asked_for(tmp_path):
    np.savez(tmp_path / "both.npz", damaged=np.ones(400), whole=np.arange(3))
    content = bytearray((tmp_path / "both.npz").read_bytes())
    content[content.index(b"damaged.npy") + 200] ^= 1
    (tmp_path / "both.npz").write_bytes(content)
    with open_npz(tmp_path / "both.npz", "file") as file:
        assert "damaged" in file
        assert file["whole"].tolist() == [0, 1, 2]
    with (
        pytest.raises(ValueError, match=r"both.npz: damaged, or no file \(Bad CRC-32"),
        open_npz(tmp_path / "both.npz", "file") as file,
    ):
        file["damaged"]


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
    file, other = (statistics._file(key, tmp_path).name for key in (KEY, {**KEY, "n": 3}))
    for name, hours in ((f"{file}.dead.part", 2), (f"{file}.busy.part", 0.1), (f"{other}.dead.part", 2)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - 3600 * hours,) * 2)
    store(KEY, make(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {file, f"{file}.busy.part", f"{other}.dead.part"}
