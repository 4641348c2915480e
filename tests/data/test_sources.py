import builtins
import multiprocessing
import os
import pickle
import shutil
from io import BytesIO

import lmdb
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_gans.data.decode import DamagedImage, Decoder
from lightning_gans.data.sources import ImageFiles, LmdbImages, MappedImages, PairFiles, TensorImages

RGB = Decoder(3, 8)
NAMES = [f"cats/{number}.png" for number in range(5)] + ["dög \udcff.png"]  # the last is no UTF-8


def random_images(size, channels=3, height=8, width=8, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (size, channels, height, width), dtype=torch.uint8, generator=rng)


def save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(image))


def encoded(image):
    file = BytesIO()
    Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()).save(file, "PNG")
    return file.getvalue()


def write_lmdb(folder, images, keys):
    with lmdb.open(str(folder), map_size=2**22) as database, database.begin(write=True) as transaction:
        for key, image in zip(keys, images, strict=True):
            transaction.put(key, encoded(image))


def image_files(folder):
    images = random_images(6)
    for image, name in zip(images, NAMES, strict=True):
        save(image, folder / name)
    return ImageFiles(folder, NAMES, RGB), images


def pair_files(folder):
    images = random_images(5, channels=6)
    for number, image in enumerate(images):
        save(torch.cat([image[:3], image[3:]], dim=-1), folder / f"{number}.png")
    return PairFiles(folder, [(f"{number}.png",) for number in range(5)], RGB, RGB), images


def lmdb_images(folder):
    images = random_images(7)
    write_lmdb(folder / "bedroom_train", images[:4], [b"a", b"bb", b"c\0", b"\xff"])
    write_lmdb(folder / "tower_train", images[4:], [b"a", b"b", b"c"])
    return LmdbImages([folder / "bedroom_train", folder / "tower_train"], RGB), images


def mapped_images(folder):
    images = random_images(5)
    (folder / "images.bin").write_bytes(images.numpy().tobytes())
    return MappedImages(folder / "images.bin", (5, 3, 8, 8)), images


def tensor_images(folder):
    images = random_images(5)
    return TensorImages(images), images


@pytest.fixture(params=[image_files, pair_files, lmdb_images, mapped_images, tensor_images])
def written(request, tmp_path):
    """A source, and the images it stands for."""
    return request.param(tmp_path)


def in_process(context, function, *arguments):
    """Call a function in a new process."""
    with multiprocessing.get_context(context).Pool(1) as pool:
        return pool.apply(function, arguments)


def sum_of(source):
    return int(source.__getitems__(list(range(len(source)))).sum())


def sums_of(sources):
    return [sum_of(source) for source in sources]


def fingerprint_of(source):
    return source.fingerprint()


# What all sources share


def test_images(written):
    source, images = written
    assert len(source) == len(images)
    assert source.shape == tuple(images.shape[1:])
    for index, image in enumerate(images):
        one = source[index]
        assert one.dtype == torch.uint8
        assert torch.equal(one, image)
        assert one.is_contiguous()
        one.zero_()  # belongs to the caller
    assert torch.equal(source[-1], images[-1])
    with pytest.raises(IndexError):
        source[len(source)]


def test_batches_equal_single_images(written):
    source, images = written
    indices = [3, 0, 3, len(source) - 1]
    batch = source.__getitems__(indices)
    assert torch.equal(batch, images[indices])
    assert torch.equal(batch, torch.stack([source[index] for index in indices]))
    batch.zero_()
    assert torch.equal(source.__getitems__(indices), images[indices])
    assert source.__getitems__([]).shape == (0, *source.shape)


def test_subsets(written):
    source, images = written
    subset = source.at(torch.tensor([4, 1, 1, 2]))
    assert len(subset) == 4
    assert subset.shape == source.shape
    assert torch.equal(subset.__getitems__([0, 1, 2, 3]), images[[4, 1, 1, 2]])
    assert torch.equal(subset[3], images[2])
    assert [subset.name(index) for index in range(4)] == [source.name(index) for index in (4, 1, 1, 2)]
    assert torch.equal(subset.at(torch.tensor([3]))[0], images[2])
    assert len(source.at(torch.tensor([], dtype=torch.int64))) == 0
    assert len(source) == len(images)
    with pytest.raises(IndexError):
        source.at(torch.tensor([len(source)]))


def test_pickling(written):
    source, images = written
    source[0]  # opens what it opens lazily
    twin = pickle.loads(pickle.dumps(source.at(torch.tensor([1, 0]))))
    assert torch.equal(twin.__getitems__([1, 0]), images[:2])
    assert twin.fingerprint() == source.at(torch.tensor([1, 0])).fingerprint()
    assert len(pickle.dumps(source)) < 4000


def test_forked_process(written):
    source, images = written
    assert sum_of(source) == int(images.sum())
    assert in_process("fork", sum_of, source) == int(images.sum())
    assert sum_of(source) == int(images.sum())


def test_forked_workers(written):
    source, images = written
    source[0]
    loader = DataLoader(source, batch_size=2, num_workers=2, collate_fn=lambda batch: batch)
    assert torch.equal(torch.cat(list(loader)), images)


@pytest.mark.slow
def test_spawned_process(tmp_path):
    # One process for all: it takes seconds to import.
    sources, sums = [], []
    for make in (image_files, lmdb_images, mapped_images):
        source, images = make(tmp_path)
        source[0]  # opens what it opens lazily
        sources.append(source)
        sums.append(int(images.sum()))
    assert in_process("spawn", sums_of, sources) == sums


def test_fingerprint(written):
    source, _ = written
    print_of_all = source.fingerprint()
    assert source.fingerprint() == print_of_all
    assert int(print_of_all, 16) >= 0
    assert in_process("fork", fingerprint_of, source) == print_of_all
    subsets = [source.at(torch.tensor(indices)).fingerprint() for indices in ([0, 1], [1, 0], [0])]
    assert len({*subsets, print_of_all}) == 4
    assert source.at(torch.arange(len(source))).fingerprint() == print_of_all


# Files


@pytest.mark.parametrize("make", [image_files, pair_files, lmdb_images, mapped_images])
def test_fingerprint_of_changed_files(make, tmp_path):
    source, _ = make(tmp_path)
    before = source.fingerprint()
    changed = next(path for path in sorted(tmp_path.rglob("*")) if path.suffix in (".png", ".mdb", ".bin"))
    times = changed.stat()
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    touched = source.fingerprint()
    changed.write_bytes(changed.read_bytes() + b"x")
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    longer = source.fingerprint()
    assert len({before, touched, longer}) == 3


def test_fingerprint_of_other_decoding(tmp_path):
    _, _ = image_files(tmp_path)
    decoders = [RGB, Decoder(1, 8), Decoder(3, 9), Decoder(3, 8, 4), Decoder(3, 8, aspect="squash")]
    decoders.append(Decoder(3, 8, interpolation="bicubic"))
    assert len({ImageFiles(tmp_path, NAMES, decoder).fingerprint() for decoder in decoders}) == len(decoders)
    assert ImageFiles(tmp_path, NAMES, RGB).resized(9).fingerprint() == (
        ImageFiles(tmp_path, NAMES, Decoder(3, 9)).fingerprint()
    )
    shutil.copytree(tmp_path, tmp_path.parent / "elsewhere")
    assert ImageFiles(tmp_path.parent / "elsewhere", NAMES, RGB).fingerprint() != (
        ImageFiles(tmp_path, NAMES, RGB).fingerprint()
    )


def test_fingerprint_of_missing_file(tmp_path):
    source, _ = image_files(tmp_path)
    (tmp_path / "cats" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r" '.*cats/3\.png'$"):
        source.fingerprint()


def test_resized(tmp_path):
    source, images = image_files(tmp_path)
    small = source.resized(4).at(torch.tensor([2]))
    assert small.shape == (3, 4, 4)
    expected = Decoder(3, 4)(Image.fromarray(images[2].permute(1, 2, 0).numpy()))
    assert torch.equal(small[0], expected)
    assert source.shape == (3, 8, 8)
    assert source.resized(8) is source
    for make in (mapped_images, tensor_images):
        decoded, _ = make(tmp_path)
        assert decoded.resized(8) is decoded
        with pytest.raises(ValueError, match=r"size=4: .* decoded to"):
            decoded.resized(4)


def test_damaged_file_is_named(tmp_path):
    source, _ = image_files(tmp_path)
    (tmp_path / "cats" / "3.png").write_bytes(b"")
    subset = source.at(torch.tensor([3, 0]))
    for read in (lambda: subset[0], lambda: subset.__getitems__([1, 0]), lambda: source[3]):
        with pytest.raises(DamagedImage, match=rf"^{tmp_path}/cats/3\.png: empty"):
            read()
    assert subset.name(0) == "cats/3.png"
    assert subset.title == tmp_path.name


# Pairs


def test_pairs_of_two_files(tmp_path):
    images = random_images(2, channels=4)
    for number, image in enumerate(images):
        save(image[:1], tmp_path / "sketch" / f"{number}.png")
        save(image[1:], tmp_path / "photo" / f"{number}.png")
    names = [(f"sketch/{number}.png", f"photo/{number}.png") for number in range(2)]
    both = PairFiles(tmp_path, names, Decoder(1, 8), RGB)
    assert both.shape == (4, 8, 8)
    assert torch.equal(both.__getitems__([0, 1]), images)
    assert both.name(1) == "sketch/1.png, photo/1.png"
    shutil.rmtree(tmp_path / "photo")
    sketches = PairFiles(tmp_path, names, Decoder(1, 8), Decoder(3, 99), "a")
    assert sketches.shape == (1, 8, 8)
    assert torch.equal(sketches.__getitems__([0, 1]), images[:, :1])
    assert sketches.name(1) == "sketch/1.png"
    (tmp_path / "sketch" / "0.png").write_bytes(b"text")
    with pytest.raises(DamagedImage, match=rf"^{tmp_path}/sketch/0\.png: not an image"):
        sketches[0]


def test_halves_of_side_by_side_files(tmp_path):
    _, images = pair_files(tmp_path)
    names = [(f"{number}.png",) for number in range(5)]
    prints = set()
    for half, part in (("a", images[:, :3]), ("b", images[:, 3:]), ("both", images)):
        source = PairFiles(tmp_path, names, RGB, RGB, half)
        assert torch.equal(source.__getitems__(list(range(5))), part)
        prints.add(source.fingerprint())
    assert len(prints) == 3
    assert source.resized(4).shape == (6, 4, 4)
    assert source.resized(4)[0].shape == (6, 4, 4)


def test_halves_are_squashed_or_cropped_each(tmp_path):
    save(torch.cat([torch.zeros(1, 4, 8), torch.ones(1, 4, 8)], -1).mul(255).byte(), tmp_path / "x.png")
    for aspect in ("squash", "crop"):
        decoder = Decoder(1, 4, aspect=aspect)
        pair = PairFiles(tmp_path, [("x.png",)], decoder, decoder)[0]
        assert pair[0].max() == 0
        assert pair[1].min() == 255


def test_odd_width(tmp_path):
    save(random_images(1, width=17)[0], tmp_path / "x.png")
    for half in ("both", "a", "b"):
        with pytest.raises(DamagedImage, match=rf"^{tmp_path}/x\.png: width 17 is odd"):
            PairFiles(tmp_path, [("x.png",)], RGB, RGB, half)[0]


# LMDB


def test_lmdb_names(tmp_path):
    source, _ = lmdb_images(tmp_path)
    assert source.sizes == [4, 3]
    assert source.name(1) == "bedroom_train/bb"
    assert source.name(3) == "bedroom_train/\\xff"
    assert source.name(4) == "tower_train/a"
    write_lmdb(tmp_path / "bad", random_images(1), [b"k"])
    with lmdb.open(str(tmp_path / "bad")) as database, database.begin(write=True) as transaction:
        transaction.put(b"k", b"no image")
    with pytest.raises(DamagedImage, match=r"^bad/k: not an image"):
        LmdbImages([tmp_path / "bad"], RGB)[0]


def test_lmdb_of_read_only_folder_leaves_no_lock_file(tmp_path):
    lmdb_images(tmp_path)
    folder = tmp_path / "tower_train"
    (folder / "lock.mdb").unlink()
    folder.chmod(0o500)
    assert len(LmdbImages([folder], RGB)) == 3
    assert [path.name for path in folder.iterdir()] == ["data.mdb"]


def test_lmdb_of_several_sources(tmp_path):
    # A database may be opened once a process.
    first, images = lmdb_images(tmp_path)
    second = LmdbImages([tmp_path / "tower_train"], RGB)
    assert torch.equal(first[4], images[4])
    assert torch.equal(second[0], images[4])
    third = LmdbImages([tmp_path / "tower_train" / ".." / "tower_train"], RGB)
    assert torch.equal(third[0], first[4])


def test_lmdb_that_was_replaced(tmp_path):
    source, images = lmdb_images(tmp_path)
    source[4]
    shutil.rmtree(tmp_path / "tower_train")
    write_lmdb(tmp_path / "tower_train", images[:1], [b"z"])
    assert torch.equal(LmdbImages([tmp_path / "tower_train"], RGB)[0], images[0])


def test_missing_lmdb(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"not found: .*none/data\.mdb"):
        LmdbImages([tmp_path / "none"], RGB)


def test_damaged_lmdb(tmp_path):
    lmdb_images(tmp_path)
    file = tmp_path / "tower_train" / "data.mdb"
    file.write_bytes(file.read_bytes()[:-4096])  # mapped, its end would be a SIGBUS
    with pytest.raises(ValueError, match=r"tower_train/data\.mdb: cut off, \d+ of \d+ bytes") as error:
        LmdbImages([tmp_path / "tower_train"], RGB)
    assert "\n" not in str(error.value)
    file.write_bytes(b"text" * 4096)
    with pytest.raises(ValueError, match=r"tower_train/data\.mdb: damaged database"):
        LmdbImages([tmp_path / "tower_train"], RGB)


def test_lmdb_is_optional(tmp_path, monkeypatch):
    lmdb_images(tmp_path)
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "lmdb":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r'pip install "lightning-gans\[lsun\]"'):
        LmdbImages([tmp_path / "tower_train"], RGB)


# Decoded images


def test_mapped_images_in_memory(tmp_path):
    source, images = mapped_images(tmp_path)
    assert torch.equal(source.read(), images)
    assert torch.equal(source.at(torch.tensor([2, 0])).read(), images[[2, 0]])


def test_mapped_file_of_wrong_size(tmp_path):
    mapped_images(tmp_path)
    with pytest.raises(ValueError, match=r"images\.bin: 960 bytes are not the 1152 of shape"):
        MappedImages(tmp_path / "images.bin", (6, 3, 8, 8))


def test_empty_map(tmp_path):
    (tmp_path / "images.bin").touch()
    source = MappedImages(tmp_path / "images.bin", (0, 3, 8, 8))
    assert source.read().shape == (0, 3, 8, 8)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)])
def test_tensor_of_other_kind(images):
    with pytest.raises(ValueError, match="images is "):
        TensorImages(images)
