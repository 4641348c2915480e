"""The loaders of published data sets, on small files of the official formats."""

import gzip
import hashlib
import io
import os
import pickle
import re
import shutil
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import lmdb
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets

from lightning_gans.data import fetch, sources
from lightning_gans.data.celeba import CelebA
from lightning_gans.data.cifar import CIFAR10, CIFAR100
from lightning_gans.data.decode import DamagedImage
from lightning_gans.data.lsun import LSUN
from lightning_gans.data.mnist import MNIST, FashionMNIST, StackedMNIST
from lightning_gans.data.stl10 import STL10
from lightning_gans.data.svhn import SVHN
from tests.damage import damaged
from tests.data.test_datasets import write_idx


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    return path


def random_images(size, *shape, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (size, *shape), dtype=torch.uint8, generator=rng)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def served(loader):
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def as_float(images):
    return images / 127.5 - 1


def make(name, root, **arguments):
    """A data module of small batches, which has no network."""
    return OFFICIAL[name](root=str(root), batch_size=4, drop_last=False, num_workers=0, **arguments)


def is_one_line(error):
    return "\n" not in str(error.value)


# Writers of the official formats. They return what is to be read: {split: (images, labels)}.


def write_mnist(root, name="MNIST"):
    splits = {}
    for seed, (split, prefix, size) in enumerate([("train", "train", 50), ("test", "t10k", 20)]):
        images, labels = random_images(size, 28, 28, seed=seed), (torch.arange(size) % 10).to(torch.uint8)
        write_idx(root / name / "raw" / f"{prefix}-images-idx3-ubyte", images)
        write_idx(root / name / "raw" / f"{prefix}-labels-idx1-ubyte", labels)
        splits[split] = images[:, None], labels.long()
    return splits


def write_batch(path, images, **labels):
    # Plain lists and uint8 rows of 3072 (red, green, blue), protocol 2: what Python 2 wrote.
    content = {"batch_label": path.name, "data": images.reshape(-1, 3072).numpy(), "filenames": []}
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(content | labels, protocol=2))


def write_cifar10(root):
    folder = root / "cifar-10-batches-py"
    images, labels = random_images(60, 3, 32, 32), torch.arange(60) % 10
    for number, name in enumerate(["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4"]):
        part = slice(10 * number, 10 * number + 10)
        write_batch(folder / name, images[part], labels=labels[part].tolist())
    write_batch(folder / "data_batch_5", images[40:45], labels=labels[40:45].tolist())
    write_batch(folder / "test_batch", images[45:], labels=labels[45:].tolist())
    meta = {"label_names": list(CIFAR10.class_names), "num_vis": 3072, "num_cases_per_batch": 10}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return {"train": (images[:45], labels[:45]), "test": (images[45:], labels[45:])}


def write_cifar100(root):
    folder = root / "cifar-100-python"
    splits = {}
    for seed, (name, size) in enumerate([("train", 40), ("test", 12)]):
        images, labels = random_images(size, 3, 32, 32, seed=seed), torch.arange(size) * 7 % 100
        write_batch(folder / name, images, fine_labels=labels.tolist(), coarse_labels=[0] * size)
        splits[name] = images, labels
    meta = {"fine_label_names": list(CIFAR100.class_names), "coarse_label_names": ["fish"] * 20}
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))
    return splits


def write_svhn(root):
    splits = {}
    for seed, (split, size) in enumerate([("train", 30), ("test", 12), ("extra", 21)]):
        images, labels = random_images(size, 3, 32, 32, seed=seed), torch.arange(size) % 10
        content = {
            "X": images.permute(2, 3, 1, 0).numpy(),  # height, width, colour, number
            "y": labels.where(labels > 0, 10).to(torch.uint8)[:, None].numpy(),  # 10 is the digit 0
        }
        scipy.io.savemat(root / f"{split}_32x32.mat", content, do_compression=True)
        splits[split] = images, labels
    return splits


def write_stl10(root):
    folder = root / "stl10_binary"
    folder.mkdir()
    splits = {}
    for seed, (split, size) in enumerate([("train", 10), ("test", 6), ("unlabeled", 9)]):
        images, labels = random_images(size, 3, 96, 96, seed=seed), torch.arange(size) % 10
        # Columns of red, of green, of blue; classes 1 to 10.
        (folder / f"{split}_X.bin").write_bytes(images.transpose(2, 3).contiguous().numpy().tobytes())
        if split == "unlabeled":
            labels = torch.full((size,), -1)
        else:
            (folder / f"{split}_y.bin").write_bytes((labels + 1).to(torch.uint8).numpy().tobytes())
        splits[split] = images, labels
    (folder / "class_names.txt").write_text("\n".join(STL10.class_names) + "\n")
    return splits


def coloured(number, width=178, height=218):
    """A photograph with a grey 108x108 centre, a red frame up to 178x178, and blue above and below."""
    picture = Image.new("RGB", (width, height), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 20, 178, 198))
    picture.paste((6 * number,) * 3, (35, 55, 143, 163))
    return picture


def write_celeba(root):
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{number:06d}.jpg" for number in range(1, 21)]
    for number, name in enumerate(names, start=1):
        coloured(number).save(folder / "img_align_celeba" / name, quality=100, subsampling=0)
    partition = [0] * 10 + [1] * 4 + [2] * 6
    male = [-1 if number % 3 else 1 for number in range(1, 21)]

    def table(rows, header=None):
        lines = [str(len(names)), header] if header else []
        lines += [
            f"{name} {' '.join(f'{value:2d}' for value in row)}"
            for name, row in zip(names, rows, strict=True)
        ]
        return "\n".join(lines) + "\n"

    (folder / "list_eval_partition.txt").write_text(table([[part] for part in partition]))
    (folder / "identity_CelebA.txt").write_text(table([[number] for number in range(20)]))
    (folder / "list_bbox_celeba.txt").write_text(
        table([[95, 71, 226, 313]] * 20, "image_id x_1 y_1 width height")
    )
    points = " ".join(f"{point}_{axis}" for point in ("lefteye", "righteye", "nose") for axis in "xy")
    (folder / "list_landmarks_align_celeba.txt").write_text(
        table([[69, 109, 106, 113, 77, 142]] * 20, points)
    )
    rows = [[-1] * 20 + [value] + [1] * 19 for value in male]
    (folder / "list_attr_celeba.txt").write_text(table(rows, " ".join(CelebA.attributes) + " "))
    return {"names": names, "male": (torch.tensor(male) + 1) // 2}


def write_lmdb(folder, sizes):
    """Write grey pictures as WebP under hashed keys; return their levels in the order of the keys."""
    entries = {}
    for level in sizes:
        buffer = io.BytesIO()
        Image.new("RGB", (300, 256), (level,) * 3).save(buffer, "webp", lossless=True)
        entries[hashlib.sha1(f"{folder.name} {level}".encode()).hexdigest().encode()] = (
            level,
            buffer.getvalue(),
        )
    with lmdb.open(str(folder), map_size=1 << 24) as database, database.begin(write=True) as transaction:
        for key, (_, value) in entries.items():
            transaction.put(key, value)
    return torch.tensor([entries[key][0] for key in sorted(entries)])


OFFICIAL = {"cifar10": CIFAR10, "cifar100": CIFAR100, "svhn": SVHN, "stl10": STL10, "celeba": CelebA}
WRITERS = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "stl10": write_stl10,
    "celeba": write_celeba,
}
ONE_FILE = {
    "cifar10": "cifar-10-batches-py/data_batch_3",
    "cifar100": "cifar-100-python/train",
    "svhn": "train_32x32.mat",
    "stl10": "stl10_binary/train_X.bin",
    "celeba": "celeba/list_eval_partition.txt",
}


def bless(name, root, monkeypatch):
    """Make the small files the official ones."""
    if name.startswith("cifar"):
        official = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
        folder = root / official.base_folder
        for listed in ("train_list", "test_list"):
            entries = [[file, md5(folder / file)] for file, _ in getattr(official, listed)]
            monkeypatch.setattr(official, listed, entries)
        meta = official.meta | {"md5": md5(folder / official.meta["filename"])}
        monkeypatch.setattr(official, "meta", meta)
    elif name == "svhn":
        entries = {
            key: [url, file, md5(root / file)] for key, (url, file, _) in datasets.SVHN.split_list.items()
        }
        monkeypatch.setattr(datasets.SVHN, "split_list", entries)
    elif name == "stl10":
        for listed in ("train_list", "test_list"):
            entries = [
                [file, md5(root / "stl10_binary" / file)] for file, _ in getattr(datasets.STL10, listed)
            ]
            monkeypatch.setattr(datasets.STL10, listed, entries)
    elif name == "celeba":
        entries = [
            (key, md5(root / "celeba" / file) if file.endswith("txt") else checksum, file)
            for key, checksum, file in datasets.CelebA.file_list
        ]
        monkeypatch.setattr(datasets.CelebA, "file_list", entries)


@pytest.fixture
def offline(monkeypatch):
    """No network: every address is refused."""

    def refuse(*arguments, **keywords):
        raise OSError("no network")

    monkeypatch.setattr(fetch, "urlopen", refuse)


TENSOR_SETS = ["cifar10", "cifar100", "svhn", "stl10"]


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", TENSOR_SETS)
def test_pixels_and_labels(name, verify, root, monkeypatch, offline):
    splits = WRITERS[name](root)
    if verify:
        bless(name, root, monkeypatch)
    data = make(name, root, verify=verify)
    assert data.num_classes == len(data.class_names) == (100 if name == "cifar100" else 10)
    data.prepare_data()
    data.setup()
    for split, loader in (("test", data.test_dataloader()), ("test", data.val_dataloader())):
        images, labels = served(loader)
        torch.testing.assert_close(images, as_float(splits[split][0]))
        assert torch.equal(labels, splits[split][1])
    images, labels = served(data.train_dataloader())
    assert len(images) == len(splits["train"][0])
    stored, labels = data.training_images()
    assert stored.is_contiguous()
    assert torch.equal(stored, splits["train"][0])
    assert torch.equal(labels, splits["train"][1])
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("size", [8, 32, 48, 96])
@pytest.mark.parametrize("name", TENSOR_SETS)
def test_sizes(name, size, root):
    splits = WRITERS[name](root)
    data = make(name, root, image_size=size, verify=False)
    assert data.image_shape == (3, size, size)
    data.setup()
    images, labels = served(data.test_dataloader())
    assert images.shape == (len(splits["test"][0]), 3, size, size)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64


def test_names_of_classes():
    assert CIFAR10.class_names[3] == "cat"
    assert CIFAR100.class_names[0] == "apple"
    assert CIFAR100.class_names[99] == "worm"
    assert list(CIFAR100.class_names) == sorted(set(CIFAR100.class_names))
    assert STL10.class_names[7] == "monkey"
    assert FashionMNIST.class_names[9] == "Ankle boot"
    assert len(CelebA.attributes) == 40
    assert CelebA.attributes[20] == "Male"


@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("name", OFFICIAL)
def test_wrong_checksum(name, download, root, monkeypatch, offline):
    WRITERS[name](root)
    bless(name, root, monkeypatch)
    path = root / ONE_FILE[name]
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    damaged = path.read_bytes()
    with pytest.raises(
        ValueError, match=rf"^{re.escape(str(path))}: wrong checksum; delete it and fetch it again$"
    ) as error:
        make(name, root, download=download).prepare_data()
    assert is_one_line(error)
    assert path.read_bytes() == damaged


def test_checksum_is_computed_anew_for_a_new_file(root, monkeypatch):
    write_svhn(root)
    bless("svhn", root, monkeypatch)
    make("svhn", root).setup()
    path = root / "test_32x32.mat"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"test_32x32\.mat: wrong checksum"):
        make("svhn", root).setup()


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("name", OFFICIAL)
def test_missing_files(name, download, verify, root, monkeypatch, offline):
    monkeypatch.setitem(sys.modules, "gdown", None)
    data = make(name, root, download=download, verify=verify)
    with pytest.raises(FileNotFoundError) as error:
        (data.prepare_data if download else data.setup)()
    assert is_one_line(error)
    for words in (data.files, str(root), data.source, "--data.root", "LIGHTNING_GANS_DATA"):
        assert words in str(error.value)
    if not download:
        assert ONE_FILE[name].rpartition("/")[2] in str(error.value)
    elif name == "celeba":
        assert "pip install gdown" in str(error.value)
    else:
        assert "no network" in str(error.value)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10", "celeba"])
def test_nothing_is_downloaded_over_files_of_the_user(name, root, offline):
    WRITERS[name](root)
    (root / ONE_FILE[name]).unlink()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(
        FileNotFoundError, match=f"{ONE_FILE[name].rpartition('/')[2]}.*downloads nothing over"
    ):
        make(name, root, verify=False).prepare_data()
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", OFFICIAL)
def test_read_only_root(name, root, monkeypatch, offline):
    WRITERS[name](root)
    bless(name, root, monkeypatch)
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    before = sorted(root.rglob("*"))
    for folder in folders:
        folder.chmod(0o500)
    data = make(name, root)
    data.prepare_data()
    data.setup()
    assert len(served(data.train_dataloader())[0]) == len(data.training_images()[0])
    for folder in folders:
        folder.chmod(0o700)
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"\x80\x02]q\0.", b"cposix\nno_such_thing\n.", b"text, no data"])
@pytest.mark.parametrize("name", ["cifar10", "svhn", "stl10"])
def test_damaged_files_without_checks(name, content, root):
    WRITERS[name](root)
    (root / ONE_FILE[name]).write_bytes(content)
    data = make(name, root, verify=False)
    with pytest.raises((ValueError, OSError), match="damaged file among") as error:
        data.setup("fit")
    assert is_one_line(error)


def test_svhn_extra(root, monkeypatch):
    splits = write_svhn(root)
    bless("svhn", root, monkeypatch)
    data = make("svhn", root, extra=True)
    data.setup()
    images, labels = data.training_images()
    assert torch.equal(images, torch.cat([splits["train"][0], splits["extra"][0]]))
    assert torch.equal(labels, torch.cat([splits["train"][1], splits["extra"][1]]))
    assert len(data.load("test")[0]) == 12


def test_stl10_unlabeled(root, monkeypatch):
    splits = write_stl10(root)
    bless("stl10", root, monkeypatch)
    data = make("stl10", root, unlabeled=True)
    data.setup()
    images, labels = data.training_images()
    assert torch.equal(images, torch.cat([splits["train"][0], splits["unlabeled"][0]]))
    assert torch.equal(labels, torch.cat([splits["train"][1], torch.full((9,), -1)]))
    assert data.num_classes == 10
    (root / "stl10_binary" / "unlabeled_X.bin").unlink()
    make("stl10", root, download=False).setup()
    with pytest.raises(FileNotFoundError, match=r"unlabeled_X\.bin"):
        make("stl10", root, unlabeled=True, download=False).setup()


def test_svhn_is_downloaded(root, tmp_path, monkeypatch):
    write_svhn(tmp_path)
    bless("svhn", tmp_path, monkeypatch)
    entries = {
        key: [(tmp_path / file).as_uri(), file, checksum]
        for key, (_, file, checksum) in datasets.SVHN.split_list.items()
    }
    monkeypatch.setattr(datasets.SVHN, "split_list", entries)
    data = make("svhn", root)
    data.prepare_data()
    assert sorted(path.name for path in root.iterdir()) == ["test_32x32.mat", "train_32x32.mat"]
    data.setup()
    assert len(data.training_images()[0]) == 30


@pytest.mark.parametrize("before", ["nothing", "a part", "the archive"])
def test_cifar10_is_downloaded(root, tmp_path, monkeypatch, before):
    write_cifar10(tmp_path)
    bless("cifar10", tmp_path, monkeypatch)
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "url", archive.as_uri())
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
    if before == "a part":
        (root / ".cifar-10-batches-py.part" / "of a killed process").mkdir(parents=True)
        shutil.copytree(tmp_path / "cifar-10-batches-py", root / "cifar-10-batches-py")
        (root / "cifar-10-batches-py" / "data_batch_4").unlink()
    elif before == "the archive":
        shutil.move(archive, root)
    data = make("cifar10", root)
    data.prepare_data()
    data.setup()
    assert len(data.training_images()[0]) == 45
    assert {path.name for path in root.iterdir()} - {archive.name} == {"cifar-10-batches-py"}


@pytest.mark.parametrize("before", ["nothing", "packed files"])
def test_mnist_is_downloaded(root, tmp_path, monkeypatch, before):
    splits = write_mnist(tmp_path / "unpacked")
    server, resources = tmp_path / "server", []
    server.mkdir()
    for name, _ in datasets.MNIST.resources:
        content = (tmp_path / "unpacked" / "MNIST" / "raw" / Path(name).stem).read_bytes()
        (server / name).write_bytes(gzip.compress(content))
        resources.append((name, md5(server / name)))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["file:///nowhere/", f"{server.as_uri()}/"])
    if before == "packed files":
        (root / "MNIST").mkdir(parents=True)
        server.rename(root / "MNIST" / "raw")
    data = MNIST(root=str(root), batch_size=10)
    data.prepare_data()
    data.setup()
    assert torch.equal(data.training_images()[0], splits["train"][0])
    assert [path.name for path in root.iterdir()] == ["MNIST"]


@pytest.mark.parametrize("name", [*OFFICIAL, "mnist"])
def test_a_wrong_root_is_not_left_behind(name, tmp_path, monkeypatch, offline):
    monkeypatch.setitem(sys.modules, "gdown", SimpleNamespace(download=fetch.urlopen))
    wrong = tmp_path / "a" / "wrong" / "root"
    data = MNIST(root=str(wrong)) if name == "mnist" else make(name, wrong)
    with pytest.raises(FileNotFoundError, match=str(wrong)):
        data.prepare_data()
    assert not (tmp_path / "a").exists()


# Pickles


class Leaves:
    """Leaves a mark when it is unpickled."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_no_pickle_runs_code(name, root):
    WRITERS[name](root)
    attacks = [
        Leaves(os.system, f"touch {root}/mark"),
        Leaves(exec, f"open('{root}/mark', 'w')"),
        {"data": Leaves(Path(root, "mark").touch), "labels": [1], "fine_labels": [1]},
        Leaves(getattr, Path, "touch"),
        Leaves(torch.load, f"{root}/other"),
        Leaves(np.load, f"{root}/other", None, True),
    ]
    for attack in attacks:
        for protocol in range(6):
            (root / ONE_FILE[name]).write_bytes(pickle.dumps(attack, protocol=protocol))
            with pytest.raises(ValueError, match=r"does not belong into such a file") as error:
                make(name, root, verify=False).setup("fit")
            assert is_one_line(error)
    assert not (root / "mark").exists()


def test_mnist_of_earlier_versions_is_not_unpickled(root):
    splits = write_mnist(root)
    (root / "MNIST" / "processed").mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save(Leaves(os.system, f"touch {root}/mark"), root / "MNIST" / "processed" / name)
    assert torch.equal(MNIST(root=str(root)).load("test")[0], splits["test"][0])
    assert not (root / "mark").exists()


def test_no_pickle_imports_anything(root):
    write_cifar10(root)
    (root / "evil_module_of_the_test.py").write_text(f"open('{root}/mark', 'w')")
    sys.path.insert(0, str(root))
    try:
        (root / ONE_FILE["cifar10"]).write_bytes(b"cevil_module_of_the_test\nanything\n.")
        with pytest.raises(ValueError, match="evil_module_of_the_test"):
            make("cifar10", root, verify=False).setup("fit")
    finally:
        sys.path.remove(str(root))
    assert not (root / "mark").exists()


@pytest.mark.parametrize("protocol", range(5))
def test_pickles_of_every_protocol(root, protocol):
    splits = write_cifar10(root)
    for path in (root / "cifar-10-batches-py").iterdir():
        path.write_bytes(pickle.dumps(pickle.loads(path.read_bytes()), protocol=protocol))
    data = make("cifar10", root, verify=False)
    assert torch.equal(data.load("train")[0], splits["train"][0])


# Damaged files


@pytest.mark.parametrize("count", [80, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["mnist", *WRITERS])
def test_damaged_source_files(name, count, root):
    """Whatever the damage: one line, or images and labels of the right shape and range."""
    writer = write_mnist if name == "mnist" else WRITERS[name]
    writer(root)
    path = root / (ONE_FILE | {"mnist": "MNIST/raw/train-labels-idx1-ubyte"})[name]
    content = path.read_bytes()
    refused = []
    for _, changed in damaged(content, count, seed=1):
        path.write_bytes(changed)
        try:
            data = MNIST(root=str(root)) if name == "mnist" else make(name, root, verify=False)
            images, labels = data._read("train")[:2]
        except (ValueError, OSError) as error:
            refused.append(str(error))
        else:
            assert len(images) == len(labels)
            assert (labels >= -1).all()
            assert (labels < (data.num_classes or 1)).all()
    assert len(refused) > 10
    for line in refused:
        assert "\n" not in line
        assert line.startswith(type(data).__name__) or str(path.parent) in line


def test_classes(root):
    splits = write_cifar10(root)
    data = make("cifar10", root, verify=False, classes=["dog", "cat"])
    assert data.class_names == ("dog", "cat")
    data.setup()
    images, labels = data.training_images()
    kept = (splits["train"][1] == 5) | (splits["train"][1] == 3)
    assert torch.equal(images, splits["train"][0][kept])
    assert torch.equal(labels, (splits["train"][1][kept] == 3).long())


# MNIST's relatives


def test_fashion_mnist(root):
    splits = write_mnist(root, "FashionMNIST")
    data = FashionMNIST(root=str(root), batch_size=10)
    assert (data.image_shape, data.num_classes) == ((1, 28, 28), 10)
    data.prepare_data()
    data.setup()
    images, labels = served(data.test_dataloader())
    torch.testing.assert_close(images, as_float(splits["test"][0]))
    assert torch.equal(labels, splits["test"][1])


def test_missing_fashion_mnist(root, offline):
    with pytest.raises(FileNotFoundError, match=r"FashionMNIST/raw/.*no network.*fashion-mnist"):
        FashionMNIST(root=str(root)).prepare_data()


def test_stacked_mnist(root):
    splits = write_mnist(root)
    data = StackedMNIST(root=str(root), samples=300, batch_size=100)
    assert (data.image_shape, data.num_classes) == ((3, 28, 28), 1000)
    assert (data.class_names[0], data.class_names[42], data.class_names[999]) == ("000", "042", "999")
    for split, size in (("train", 300), ("test", 10_000)):
        images, labels = data.load(split)
        assert images.dtype == torch.uint8
        assert images.shape == (size, 3, 28, 28)
        digits, digit_labels = splits[split]
        known = {
            digit.numpy().tobytes(): int(label) for digit, label in zip(digits, digit_labels, strict=True)
        }
        for image, label in zip(images[:300], labels[:300], strict=True):
            a, b, c = (known[channel.numpy().tobytes()] for channel in image)
            assert label == 100 * a + 10 * b + c
    assert len(data.load("test")[1].unique()) > 990


def test_stacked_mnist_follows_from_the_seed(root):
    write_mnist(root)

    def load(split="train", **arguments):
        return StackedMNIST(root=str(root), samples=200, batch_size=10, **arguments).load(split)

    first, again, other = load(), load(), load(seed=1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert not torch.equal(first[1], load("test")[1][:200])
    assert not torch.equal(load("test")[1], load("test", seed=1)[1])


def test_stacked_mnist_is_resized(root):
    write_mnist(root)
    data = StackedMNIST(root=str(root), samples=20, image_size=32, batch_size=10)
    data.setup("fit")
    images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (10, 3, 32, 32)


def test_bad_stacked_mnist():
    with pytest.raises(ValueError, match="samples=0"):
        StackedMNIST(samples=0)


# CelebA


def levels(images):
    """Mean grey level of each image's centre, 0 to 255."""
    size = images.shape[-1]
    part = slice(size // 2 - size // 8, size // 2 + size // 8)
    return (images[..., part, part].mean(dim=(1, 2, 3)) + 1) * 127.5


@pytest.mark.parametrize("verify", [True, False])
def test_celeba(root, monkeypatch, offline, verify):
    write_celeba(root)
    if verify:
        bless("celeba", root, monkeypatch)
    data = make("celeba", root, verify=verify)
    assert (data.image_shape, data.num_classes, data.class_names) == ((3, 64, 64), None, ())
    data.prepare_data()
    data.setup()
    images, labels = served(data.test_dataloader())
    assert torch.equal(labels, torch.full((6,), -1))
    torch.testing.assert_close(levels(images), 6.0 * torch.arange(15, 21), rtol=0, atol=1.5)
    # 108 pixels: no red frame within.
    assert (images[:, 0] - images[:, 2]).abs().max() < 0.2
    assert len(data.training_images()[0]) == 10
    assert data.sample_name(3) == "000004.jpg"


@pytest.mark.parametrize(
    ("size", "crop", "red"), [(32, None, 0), (128, None, 1), (64, 178, 1), (128, 108, 0)]
)
def test_crop_of_celeba(root, size, crop, red):
    write_celeba(root)
    data = make("celeba", root, image_size=size, crop=crop, verify=False)
    data.setup("test")
    images, _ = served(data.test_dataloader())
    assert images.shape == (6, 3, size, size)
    corner = (images[:, :, 2, 2] + 1) * 127.5
    assert ((corner[:, 0] - corner[:, 2]) > 200).all() == bool(red)
    assert ((corner[:, 2] - corner[:, 0]) < 60).all()  # no blue


def test_attribute_of_celeba(root, monkeypatch):
    written = write_celeba(root)
    bless("celeba", root, monkeypatch)
    data = make("celeba", root, attribute="Male")
    assert (data.num_classes, data.class_names) == (2, ("not Male", "Male"))
    data.setup()
    assert torch.equal(data.training_images()[1], written["male"][:10])
    assert torch.equal(served(data.test_dataloader())[1], written["male"][14:])
    chosen = make("celeba", root, attribute="Male", classes=["Male"])
    chosen.setup("fit")
    assert [chosen.sample_name(index) for index in range(3)] == ["000003.jpg", "000006.jpg", "000009.jpg"]


def test_all_images_of_celeba(root):
    written = write_celeba(root)
    data = make("celeba", root, all_images=True, attribute="Male", verify=False)
    assert torch.equal(data.load("train")[1], written["male"])
    assert len(data.load("test")[0]) == 6


def test_celeba_needs_no_other_lists(root):
    write_celeba(root)
    for name in ("identity_CelebA", "list_bbox_celeba", "list_landmarks_align_celeba", "list_attr_celeba"):
        (root / "celeba" / f"{name}.txt").unlink()
    make("celeba", root, download=False, verify=False).setup("test")
    with pytest.raises(FileNotFoundError, match="not found: list_attr_celeba"):
        make("celeba", root, download=False, attribute="Male", verify=False).setup()


def test_unpacked_in_part(root):
    written = write_celeba(root)
    (root / "celeba" / "img_align_celeba" / written["names"][7]).unlink()
    with pytest.raises(
        ValueError, match=r"img_align_celeba: 1 of 10 images are missing, such as 000008\.jpg"
    ):
        make("celeba", root, verify=False).setup("fit")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"attribute": "male"}, "attribute='male'.* did you mean Male"),
        ({"attribute": "Eye_glasses"}, "did you mean Eyeglasses"),
        ({"attribute": ""}, "attribute=''"),
        ({"crop": 200}, "crop=200.* 178"),
        ({"crop": 0}, "crop=0"),
    ],
)
def test_bad_celeba(arguments, words):
    with pytest.raises(ValueError, match=words):
        CelebA(**arguments)


# LSUN


def lsun(root, *categories, **arguments):
    categories = {"categories": list(categories)} if categories else {}
    return LSUN(root=str(root), batch_size=2, drop_last=False, num_workers=0, **categories, **arguments)


def test_lsun(root):
    train = write_lmdb(root / "bedroom_train_lmdb", range(10, 18))
    test = write_lmdb(root / "bedroom_val_lmdb", range(100, 105))
    data = lsun(root)
    assert (data.image_shape, data.num_classes, data.class_names) == ((3, 64, 64), None, ())
    data.prepare_data()
    data.setup()
    images, labels = served(data.test_dataloader())
    torch.testing.assert_close(images, as_float(test.view(-1, 1, 1, 1).expand(-1, 3, 64, 64)))
    assert torch.equal(labels, torch.zeros(5, dtype=torch.int64))
    assert torch.equal(data.load("train")[0].at(torch.arange(8))[3][0, 0, 0].long(), train[3])
    assert not any(
        "lock" in path.name for path in (root / "bedroom_val_lmdb").iterdir() if path.stat().st_size == 0
    )


def test_categories_of_lsun(root):
    kitchens = write_lmdb(root / "kitchen_train_lmdb", range(10, 14))
    towers = write_lmdb(root / "tower_train_lmdb", range(20, 26))
    data = lsun(root, "tower", "kitchen", image_size=16)
    assert (data.num_classes, data.class_names) == (2, ("tower", "kitchen"))
    images, labels = data.load("train")
    assert labels.tolist() == [0] * 6 + [1] * 4
    assert images.shape == (3, 16, 16)
    found = torch.stack([images[index][0, 0, 0] for index in range(10)]).long()
    assert torch.equal(found, torch.cat([towers, kitchens]))


@pytest.mark.parametrize("folder", ["cat", "cat_lmdb"])
def test_objects_of_lsun(root, folder):
    cats = write_lmdb(root / folder, range(40))
    write_lmdb(root / "bridge_train_lmdb", range(100, 103))
    write_lmdb(root / "bridge_val_lmdb", range(200, 202))
    data = lsun(root, "cat", "bridge", image_size=8)
    train, test = data.load("train"), data.load("test")
    assert train[1].tolist() == [0] * 36 + [1] * 3
    assert test[1].tolist() == [0] * 4 + [1] * 2
    assert [int(train[0][index][0, 0, 0]) for index in range(36)] == cats[:36].tolist()
    assert [int(test[0][index][0, 0, 0]) for index in range(4)] == cats[36:].tolist()


def test_missing_lsun(root):
    write_lmdb(root / "bedroom_train_lmdb", range(3))
    with pytest.raises(
        FileNotFoundError, match=r"not found: .*bedroom_val_lmdb.*fyu/lsun.*LIGHTNING_GANS_DATA"
    ) as error:
        lsun(root).prepare_data()
    assert is_one_line(error)


def test_damaged_lsun(root):
    write_lmdb(root / "bedroom_train_lmdb", range(3))
    (root / "bedroom_train_lmdb" / "data.mdb").write_bytes(b"something else" * 1000)
    with pytest.raises(ValueError, match=r"/bedroom_train_lmdb/data\.mdb: damaged database") as error:
        lsun(root).setup("fit")
    assert is_one_line(error)


def test_lsun_with_a_damaged_page(root, monkeypatch):
    """LMDB notices it when it reads the page."""
    write_lmdb(root / "bedroom_train_lmdb", range(3))
    data = lsun(root, cache=False)
    images, _ = data.load("train")

    def fail():
        raise lmdb.CorruptedError("mdb_get: MDB_CORRUPTED: Located page was wrong type")

    monkeypatch.setattr(sources, "_environment", lambda folder: SimpleNamespace(begin=fail))
    for read in (lambda: images[1], lambda: data.load("train")):
        with pytest.raises(DamagedImage, match=r"/bedroom_train_lmdb/data\.mdb: damaged database"):
            read()


def test_lsun_without_its_package(root, monkeypatch):
    write_lmdb(root / "bedroom_train_lmdb", range(3))
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(ValueError, match=r"LSUN: .*lightning-gans\[lsun\]"):
        lsun(root).setup("fit")


@pytest.mark.parametrize(
    ("categories", "words"),
    [
        (["bedrom"], "'bedrom'.* did you mean bedroom"),
        (["church"], "did you mean church_outdoor"),
        ([], "name at least one"),
        (["cat", "cat"], "each only once"),
    ],
)
def test_bad_lsun(categories, words):
    with pytest.raises(ValueError, match=words):
        LSUN(categories=categories)
