import errno
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from lightning_gans import files
from lightning_gans.data import cache
from lightning_gans.data.cache import CacheError, cache_folder, decode_all, decode_to_disk, find_usable
from lightning_gans.data.decode import DamagedImage, Decoder
from lightning_gans.data.sources import ImageFiles
from tests.damage import damaged

SIZE = 40


class Counted(ImageFiles):
    """Files that note in another file what was decoded, in whatever process."""

    def __init__(self, folder, names, decoder, log):
        super().__init__(folder, names, decoder)
        self.log = log

    def _pixels(self, item):
        with self.log.open("a") as file:
            file.write(f"{item}\n")
        return super()._pixels(item)

    def decoded(self):
        return sorted(map(int, self.log.read_text().split())) if self.log.exists() else []


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of four images, so that tests have several of them."""
    monkeypatch.setattr(cache, "_CHUNK_BYTES", 4 * 3 * 8 * 8)


@pytest.fixture
def source(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, 8, 8, 3), dtype=np.uint8)
    folder = tmp_path / "flowers"
    folder.mkdir()
    names = [f"{number}.png" for number in range(SIZE)]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(folder / name)
    return Counted(folder, names, Decoder(3, 8), tmp_path / "decoded.txt")


@pytest.fixture
def images(source):
    result = source.__getitems__(list(range(SIZE)))
    source.log.unlink()
    return result


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def damage(source, *indices):
    for index in indices:
        (source.folder / source.name(index)).write_bytes(b"text")


def left(store):
    """What lies in a cache folder, but for lock files (which stay)."""
    return sorted(path.name for path in store.iterdir() if path.suffix != ".lock")


def start(function, *arguments):
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    return process


# Into memory


def test_decode_all(source, images):
    assert torch.equal(decode_all(source), images)
    assert source.decoded() == list(range(SIZE))


def test_order_does_not_depend_on_threads(source, images, monkeypatch):
    before = threading.active_count()
    for threads in (1, 2, 7):
        monkeypatch.setattr(cache, "_threads", lambda threads=threads: threads)
        assert torch.equal(decode_all(source), images)
    assert threading.active_count() == before  # worker processes are forked later


def test_decode_a_subset(source, images):
    subset = source.at(torch.tensor([7, 3, 3]))
    assert torch.equal(decode_all(subset), images[[7, 3, 3]])


def test_decode_nothing(source, store):
    none = source.at(torch.tensor([], dtype=torch.int64))
    assert decode_all(none).shape == (0, 3, 8, 8)
    assert find_usable(none).tolist() == []
    for on_error in ("error", "skip"):
        assert decode_to_disk(none, store, on_error)[0].read().shape == (0, 3, 8, 8)


@pytest.mark.parametrize("decode", [decode_all, lambda source: decode_to_disk(source, Path("s"), "error")])
def test_first_damaged_file_ends_it(source, decode):
    damage(source, 30, 13, 14)
    for _ in range(3):
        with pytest.raises(DamagedImage, match=r"/13\.png: not an image .*on_error=skip"):
            decode(source)
    assert not Path("s").exists() or left(Path("s")) == []


def test_skip(source, images, store):
    damage(source, 0, 5, 6, SIZE - 1)
    expected = [index for index in range(SIZE) if index not in (0, 5, 6, SIZE - 1)]
    message = r"^skipped 4 of 40 files: 0\.png, 5\.png, 6\.png, \.\.\.$"
    with pytest.warns(UserWarning, match=message):
        assert find_usable(source).tolist() == expected
    for _ in range(2):  # written, found
        with pytest.warns(UserWarning, match=message):
            stored, kept = decode_to_disk(source, store, "skip")
        assert kept.tolist() == expected
        assert torch.equal(stored.read(), images[expected])


def test_skip_without_damage(source):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(find_usable(source), torch.arange(SIZE))


def test_all_damaged(source, store):
    damage(source, *range(SIZE))
    for decode in (find_usable, lambda source: decode_to_disk(source, store, "skip")):
        with pytest.raises(
            ValueError, match=r"^all 40 images of flowers are damaged; the first: .*/0\.png: not an"
        ):
            decode(source)
    assert left(store) == []


# Onto the disk


def test_second_call_decodes_nothing(source, images, store):
    stored, kept = decode_to_disk(source, store, "error")
    assert source.decoded() == list(range(SIZE))
    again, kept_again = decode_to_disk(source, store, "error")
    assert source.decoded() == list(range(SIZE))
    assert torch.equal(stored.read(), images)
    assert torch.equal(again.read(), images)
    assert torch.equal(again.read(), decode_all(source))
    assert kept.tolist() == kept_again.tolist() == list(range(SIZE))
    assert len(left(store)) == 1


def test_each_decoding_has_its_own_cache(source, store):
    for version in (source, source.resized(4), source.at(torch.tensor([1, 2]))):
        for on_error in ("error", "skip"):
            assert decode_to_disk(version, store, on_error)[0].shape == version.shape
    assert len(left(store)) == 6


def test_changed_file_is_decoded_anew(source, store):
    decode_to_disk(source, store, "error")
    Image.new("RGB", (8, 8)).save(source.folder / "3.png")
    assert decode_to_disk(source, store, "error")[0][3].max() == 0


@pytest.mark.parametrize(
    "harm",
    [
        lambda done: (done / "images.bin").write_bytes(b"short"),
        lambda done: (done / "images.bin").unlink(),
        lambda done: (done / "index.json").write_text('{"dama'),
        lambda done: (done / "index.json").write_bytes(b"\xff\xfe"),
        lambda done: (done / "index.json").write_text("[]"),
        lambda done: (done / "index.json").write_text('{"damaged": [40]}'),
        lambda done: (done / "index.json").write_text('{"damaged": null}'),
        lambda done: (done / "index.json").unlink(),
        lambda done: [shutil.rmtree(done), done.mkdir()],
        lambda done: [shutil.rmtree(done), done.touch()],
        lambda done: [(done / "images.bin").unlink(), (done / "images.bin").mkdir()],
        lambda done: (done / "index.json").write_text("[" * 100_000),
    ],
)
def test_damaged_cache_is_rebuilt(source, images, store, harm):
    decode_to_disk(source, store, "error")
    harm(store / left(store)[0])
    with pytest.warns(UserWarning, match="is damaged: flowers are decoded anew"):
        stored, _ = decode_to_disk(source, store, "error")
    assert torch.equal(stored.read(), images)
    assert len(source.decoded()) == 2 * SIZE
    assert len(left(store)) == 1


class Deadly(Counted):
    """Kills its process at the 20th image."""

    def _pixels(self, item):
        if item == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._pixels(item)


def test_killed_writer(source, images, store):
    deadly = Deadly(source.folder, [source.name(index) for index in range(SIZE)], Decoder(3, 8), source.log)
    process = start(decode_to_disk, deadly, store, "error")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [name[-5:] for name in left(store)] == [".part"]
    # The class is part of the fingerprint: the same files as the same class, which kills no more.
    deadly._pixels = lambda item: Counted._pixels(deadly, item)
    stored, _ = decode_to_disk(deadly, store, "error")
    assert torch.equal(stored.read(), images)
    assert [name[-5:] for name in left(store)] != [".part"]
    assert len(left(store)) == 1


def test_whatever_killed_processes_left_is_cleared_away(source, images, store):
    """Also what other files or settings would have become; not what a process is working on."""
    dead, alive = store / f"{'0' * 32}.part", store / f"{'1' * 32}.part"
    others = [store / "classifier.part", store / "weights.npz.part"]
    for folder in (dead, alive, *others):
        folder.mkdir(parents=True)
        (folder / "images.bin").write_bytes(b"some")
    with FileLock(alive.with_suffix(".lock")):
        stored, _ = decode_to_disk(source, store, "error")
    assert torch.equal(stored.read(), images)
    assert not dead.exists()
    assert all(folder.exists() for folder in (alive, *others))


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_damage_gives_a_wrong_pixel(source, images, store, count):
    """Also if images were left out: damage to their list would shift all others."""
    small = source.at(torch.arange(6))
    damage(source, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, kept = decode_to_disk(small, store, "skip")
        done = store / left(store)[0]
        for name in ("images.bin", "index.json"):
            intact = (done / name).read_bytes()
            for what, content in damaged(intact, count // 2, seed=3):
                (done / name).write_bytes(content)
                cache._crc32.cache_clear()  # as in a new process
                stored, found = decode_to_disk(small, store, "skip")
                assert torch.equal(found, kept), what
                assert torch.equal(stored.read(), images[kept]), what
                assert torch.equal(stored[3], images[kept[3]]), what
                if (done / name).read_bytes() != intact:  # the same content in other words
                    (done / name).write_bytes(intact)


def test_processes_at_once_decode_once(source, images, store, tmp_path):
    barrier = multiprocessing.get_context("fork").Barrier(3)

    def use(number):
        barrier.wait()
        stored, kept = decode_to_disk(source, store, "error")
        torch.save((stored.read(), kept), tmp_path / f"{number}.pt")

    processes = [start(use, number) for number in range(3)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert source.decoded() == list(range(SIZE))
    for number in range(3):
        result, kept = torch.load(tmp_path / f"{number}.pt")
        assert torch.equal(result, images)
        assert torch.equal(kept, torch.arange(SIZE))


def test_waiting_is_announced(source, store, monkeypatch):
    monkeypatch.setattr(files, "WAIT_SECONDS", 0.05)
    store.mkdir()
    key = cache._key(source, "error")
    held = threading.Event()

    def hold():
        with cache.FileLock(store / f"{key}.lock"):
            held.set()
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with pytest.warns(UserWarning, match="waiting for another process that decodes flowers to .*store"):
        decode_to_disk(source, store, "error")
    thread.join()


HINTS = r"name another folder \(cache=\.\.\., LIGHTNING_GANS_CACHE\), set cache=False"


def test_no_space_at_the_start(source, store, monkeypatch):
    usage = shutil.disk_usage(store.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=SIZE * 192 - 1))
    message = (
        rf"^cache folder .*store: decoded images need 7\.68e-06 GB, .* are free; {HINTS}, or lower image"
    )
    with pytest.raises(CacheError, match=message):
        decode_to_disk(source, store, "error")
    assert source.decoded() == []
    assert left(store) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=SIZE * 192))
    decode_to_disk(source, store, "error")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device without space")
def test_no_space_while_writing(source, store, monkeypatch):
    real = Path.open

    def full(self, mode="r", *arguments, **options):
        return real(Path("/dev/full") if self.name == "images.bin" else self, mode, *arguments, **options)

    before = threading.active_count()
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(CacheError, match=rf"need 7\.68e-06 GB, .*; {HINTS}, or lower image_size$") as error:
        decode_to_disk(source, store, "error")
    assert error.value.__cause__.errno == errno.ENOSPC
    assert left(store) == []
    assert threading.active_count() == before


def test_folder_that_cannot_be_written(source, store):
    store.write_text("a file")
    for folder in (store, store / "deeper"):
        with pytest.raises(CacheError, match=rf"^cache folder .*: [A-Z].*; {HINTS}$") as error:
            decode_to_disk(source, folder, "error")
        assert "\n" not in str(error.value)
    assert source.decoded() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(source, images, store):
    store.mkdir()
    store.chmod(0o500)
    with pytest.raises(CacheError, match=rf"Permission denied; {HINTS}"):
        decode_to_disk(source, store, "error")
    store.chmod(0o700)
    decode_to_disk(source, store, "error")
    store.chmod(0o500)
    assert torch.equal(decode_to_disk(source, store, "error")[0].read(), images)
    store.chmod(0o700)


def test_missing_file_is_not_the_cache_folder_s(source, store):
    names = ["0.png", "gone.png"]
    broken = ImageFiles(source.folder, names, Decoder(3, 8))
    (source.folder / "gone.png").symlink_to(source.folder / "1.png")
    broken._state = lambda: [b""]
    (source.folder / "1.png").unlink()
    for on_error in ("error", "skip"):  # a file that vanishes is not a damaged one
        with pytest.raises(FileNotFoundError, match=r"gone\.png"):
            decode_to_disk(broken, store, on_error)
    assert left(store) == []


def test_index_is_small(source, store):
    decode_to_disk(source, store, "error")
    assert json.loads((store / left(store)[0] / "index.json").read_text())["damaged"] == []
    assert (store / left(store)[0] / "images.bin").stat().st_size == SIZE * 192


def test_cache_folder(monkeypatch, tmp_path):
    for name in ("LIGHTNING_GANS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "lightning_gans"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/lightning_gans")
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", "~/c")
    assert cache_folder() == tmp_path / "c"
    assert cache_folder("~/d") == tmp_path / "d"
    assert cache_folder(Path("e")) == Path("e")
