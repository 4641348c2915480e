import csv
import inspect
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gans.commands import dedup as module
from lightning_gans.commands.dedup import dedup, first_alike, standardise
from lightning_gans.data.base import ImageDataModule
from lightning_gans.data.sources import ImageSource

PLANTED = {40: 3, 41: 3, 17: 9, 42: 20}  # copies: of


class Source(ImageSource):
    """Images that are read when they are asked for."""

    def __init__(self, images):
        super().__init__(len(images), tuple(images.shape[1:]), "images")
        self.images = images

    def _pixels(self, item):
        return self.images[item].numpy()


class Images(ImageDataModule):
    native_size = 32
    has_test_split = False

    def __init__(self, images, source=False, **options):
        self.channels = images.shape[1]
        super().__init__(batch_size=1, **options)
        self.images, self.streamed = images, source

    def load(self, split):
        return self.images, torch.full((len(self.images),), -1)

    def _store(self, data, kept, *, training):
        return Source(data[kept]) if self.streamed else data[kept]


def random_images(n=43, channels=3, size=32):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, channels, size, size), generator=generator, dtype=torch.uint8)
    for copy, original in PLANTED.items():
        images[copy] = images[original]
    return images


def read(folder):
    with (folder / "pairs.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["kept", "dropped", "distance"]
    return (folder / "exclude.txt").read_text().split("\n")[:-1], rows


def packed(bits):
    return np.packbits(np.asarray(bits, bool), axis=1)


@pytest.mark.parametrize("distance", [0, 5])
@pytest.mark.parametrize(("channels", "size", "source"), [(3, 32, False), (1, 40, False), (3, 48, True)])
def test_finds_the_copies_and_nothing_else(tmp_path, channels, size, source, distance):
    report = dedup(
        Images(random_images(channels=channels, size=size), source), str(tmp_path / "a" / "b"), distance
    )
    excluded, rows = read(tmp_path / "a" / "b")
    # The first one is kept.
    assert excluded == ["17", "40", "41", "42"]
    assert rows == [["9", "17", "0"], ["3", "40", "0"], ["3", "41", "0"], ["20", "42", "0"]]
    assert (report["images"], report["codes"], report["groups"], report["duplicates"]) == (43, 39, 3, 4)
    assert report["share"] == pytest.approx(4 / 43)
    assert (report["uninformative"], report["idle_bits"]) == (0, 0)
    assert 0.5 < report["loss"] < 2
    assert json.loads((tmp_path / "a" / "b" / "report.json").read_text()) == report
    with Image.open(tmp_path / "a" / "b" / "pairs.png") as picture:
        assert picture.mode == "RGB"
        assert min(picture.size) > 100


def test_excluded_samples_are_gone(tmp_path):
    dedup(Images(random_images()), str(tmp_path))
    rest = Images(random_images(), exclude=str(tmp_path / "exclude.txt"))
    report = dedup(rest, str(tmp_path / "again"))
    assert (report["images"], report["duplicates"]) == (39, 0)
    # names are those of the whole set
    rest.images[1] = rest.images[20]
    rest = Images(rest.images, exclude=str(tmp_path / "exclude.txt"))
    dedup(rest, str(tmp_path / "again"))
    assert read(tmp_path / "again")[1] == [["1", "20", "0"]]


def test_nothing_found_leaves_no_old_results(tmp_path):
    dedup(Images(random_images()), str(tmp_path))
    assert (tmp_path / "pairs.png").is_file()
    report = dedup(Images(random_images()[:17]), str(tmp_path))
    assert (report["duplicates"], report["groups"], report["share"]) == (0, 0, 0)
    assert (tmp_path / "exclude.txt").read_text() == ""
    assert (tmp_path / "pairs.csv").read_text().splitlines() == ["kept,dropped,distance"]
    assert not (tmp_path / "pairs.png").exists()


def test_names_of_any_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(Images, "sample_name", lambda self, index: f"a very long folder/{index}\udcff.png")
    dedup(Images(random_images()), str(tmp_path))
    assert (tmp_path / "exclude.txt").read_bytes().split(b"\n")[0] == b"a very long folder/17\xff.png"
    assert (tmp_path / "pairs.png").is_file()


def test_no_picture(tmp_path):
    dedup(Images(random_images()), str(tmp_path), pairs_in_picture=0)
    assert {file.name for file in tmp_path.iterdir()} == {"exclude.txt", "pairs.csv", "report.json"}


def test_the_seed_decides_everything(tmp_path, monkeypatch):
    coded = []
    whole = first_alike

    def spy(codes, distance):
        coded.append(codes)
        return whole(codes, distance)

    monkeypatch.setattr(module, "first_alike", spy)
    state = torch.get_rng_state()
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        dedup(Images(random_images()), str(tmp_path / folder), seed=seed, pairs_in_picture=2)
    assert torch.equal(torch.get_rng_state(), state)
    for file in ("exclude.txt", "pairs.csv", "pairs.png", "report.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert np.array_equal(coded[0], coded[1])
    assert not np.array_equal(coded[0], coded[2])


def test_training_on_a_part_codes_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READ", 7)
    report = dedup(Images(random_images(), source=True), str(tmp_path), train_images=10)
    assert (report["images"], report["duplicates"]) == (43, 4)
    assert report["settings"]["train_images"] == 10


def test_large_images_are_read_in_small_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "READ_BYTES", 3 * 32 * 32 * 2)
    sizes = []
    images = Source.__getitems__

    def spy(self, indices):
        sizes.append(len(indices))
        return images(self, indices)

    monkeypatch.setattr(Source, "__getitems__", spy)
    dedup(Images(random_images(), source=True), str(tmp_path), pairs_in_picture=0)
    assert sorted(sizes) == [1] * 2 + [2] * 42


def test_images_that_say_nothing_are_kept(tmp_path):
    images = random_images()
    images[5:8] = 255
    images[6] = 0
    report = dedup(Images(images), str(tmp_path), distance=5)
    assert report["uninformative"] == 3
    assert read(tmp_path)[0] == ["17", "40", "41", "42"]


def test_brighter_copies_are_found(tmp_path):
    images = random_images()
    images[30] = images[2] // 2
    assert dedup(Images(images), str(tmp_path), distance=4)["duplicates"] == 5
    assert ["2", "30"] in [row[:2] for row in read(tmp_path)[1]]


def test_standardise():
    images = random_images()[:4]
    images[1] = 77
    images[2] //= 3
    pixels = standardise(images)
    assert pixels.shape == images.shape
    assert pixels.flatten(1).mean(1).abs().max() < 1e-5
    assert torch.allclose(pixels.flatten(1).std(1), torch.tensor([1.0, 0, 1, 1]), atol=1e-3)
    # colours stay apart
    images[0] = torch.tensor([255, 0, 0]).view(3, 1, 1)
    assert standardise(images)[0].abs().min() > 0.5


def test_one_bit_makes_codes_distinct():
    bits = np.random.default_rng(0).random((4, 128)) > 0.5
    bits[1:] = bits[0]
    bits[2, 77] ^= True
    bits[3, [5, 77]] ^= True
    codes = packed(bits)
    assert first_alike(codes)[0].tolist() == [0, 0, 2, 3]
    # The last one is near the one before, which is not kept: no chains.
    assert first_alike(codes, 1)[0].tolist() == [0, 0, 0, 3]
    assert first_alike(codes, 2)[0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("distance", [0, 1, 2])
def test_first_alike_by_brute_force(monkeypatch, bits, distance):
    monkeypatch.setattr(module, "ROWS", 7)
    monkeypatch.setattr(module, "COLUMNS", 11)
    random = np.random.default_rng(bits + distance)
    codes = random.random((150, bits)) > 0.5
    codes[::9] = codes[1]
    codes[[4, 50]] = False
    expected = []
    for i, code in enumerate(codes):
        kept = [j for j in range(i) if expected[j] == j and codes[j].any() and code.any()]
        apart = {j: (codes[j] != code).sum() for j in kept}
        near = [j for j in kept if apart[j] <= distance]
        expected.append(min(near, key=lambda j: (apart[j], j), default=i))
    found, distinct = first_alike(packed(codes), distance)
    assert found.tolist() == expected
    assert distinct == len(np.unique(codes, axis=0))


def test_only_silent_codes():
    assert first_alike(np.zeros((3, 16), np.uint8), 2)[0].tolist() == [0, 1, 2]


def test_too_many_pairs(monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 3)
    codes = packed(np.tril(np.ones((4, 8))))
    with pytest.raises(ValueError, match="distance=3 joins more than 3 pairs of 4 codes"):
        first_alike(codes, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distance": -1}, "distance=-1"),
        ({"distance": 128}, "distance=128"),
        ({"code_dim": 0}, "code_dim=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"train_images": 1}, "train_images=1"),
        ({"noise": 1.0}, "noise=1.0"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"seed": -1}, "seed=-1"),
        ({"pairs_in_picture": -1}, "pairs_in_picture=-1"),
    ],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dedup(Images(random_images()), str(tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()


def test_says_what_it_found(tmp_path, capsys):
    dedup(Images(random_images()), str(tmp_path / "out"), pairs_in_picture=0)
    said = capsys.readouterr().out
    assert "43 images" in said
    assert f"{len(PLANTED)} near-duplicates (9.30%) of 3 images" in said
    for copy, original in PLANTED.items():
        assert f"{copy} is like {original} (equal codes)" in said
    assert "exclude.txt, pairs.csv, report.json" in said
    assert f"--data.exclude {tmp_path / 'out' / 'exclude.txt'}" in said
    dedup(Images(random_images()[:10]), str(tmp_path / "out"))
    assert "no near-duplicates" in capsys.readouterr().out


def test_too_few_images(tmp_path):
    with pytest.raises(ValueError, match="1 training images"):
        dedup(Images(random_images()[:1]), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_out_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OSError, match=r"^out="):
        dedup(Images(random_images()), str(tmp_path / "out"))


def test_every_option_is_explained():
    text = inspect.getdoc(dedup)
    assert all(f"\n    {name}: " in text for name in inspect.signature(dedup).parameters)
