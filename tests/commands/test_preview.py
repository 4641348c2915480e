"""The contact sheet and the report of ``lightning-gans preview``."""

import itertools
import time

import pytest
import torch
from PIL import Image, ImageDraw

from lightning_gans.commands.preview import (
    class_balance,
    contact_sheet,
    draw_sheet,
    endless,
    images_per_second,
    preview,
    report,
)
from lightning_gans.data.base import DataModule
from lightning_gans.data.digits import Digits
from lightning_gans.data.loader import MemoryLoader, WorkerLoader, ZipLoader
from lightning_gans.data.mixtures import GaussianMixtures
from lightning_gans.data.sources import ImageSource, TensorImages


class Tensors(DataModule):
    """Any images and labels; batches are what ``cut`` makes of the images."""

    def __init__(self, images, labels=None, names=(), cut=None, **kwargs):
        super().__init__(**{"batch_size": 4, **kwargs})
        self.content = images, torch.full((len(images),), -1) if labels is None else torch.as_tensor(labels)
        self.class_names, self.num_classes = tuple(names), len(names) or None
        self.image_shape, self.cut = tuple(images.shape[1:]), cut

    def load(self, split):
        images, labels = self.content
        return (images, labels) if split == "train" else (images[:5], labels[:5])

    def views(self):
        return Cut(self.cut) if self.cut else None


class Cut:
    draws = 0

    def __init__(self, cut):
        self.cut = cut

    def __call__(self, images, labels, draws):
        return self.cut(images)


def shades(values, *shape):
    """Images of one grey each."""
    values = torch.as_tensor(values, dtype=torch.uint8)
    return values.view(-1, *(1 for _ in shape)).expand(-1, *shape).contiguous()


def sheet_of(data, per_class=8):
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    return contact_sheet(data, loader, endless(loader), per_class)


def report_of(data, rate=1234.5):
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    return report(data, loader, next(iter(loader)), rate).split("\n")


@pytest.fixture
def plain(monkeypatch):
    """Sheets without text and frames, whose pixels can be counted."""
    from lightning_gans import preview as module

    monkeypatch.setattr(module, "LINE", "#ffffff")
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda *_, **__: None)


def areas(picture):
    """Return how many pixels have each grey, without the paper."""
    return {level: count for count, level in picture.convert("L").getcolors() if level != 255}


def test_command_writes_sheet_and_report(capsys):
    preview(Digits(batch_size=64), "new/folder/look.PNG", per_class=3, seconds=0.05)
    with Image.open("new/folder/look.PNG") as picture:
        assert picture.mode == "RGB"
        assert picture.format == "PNG"
    said = capsys.readouterr().out
    assert "Digits: 1,500 training, 297 test samples (validation uses the test samples)" in said
    assert "images: float32 (64, 1, 8, 8), from -1 to 1, mean -0." in said
    assert "labels: int64 (64,)" in said
    assert "from memory: 96 kB as uint8" in said
    assert "images/s" in said
    assert said.endswith("sheet    new/folder/look.PNG\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": "look.jpg"}, "out=look.jpg: give a .png"),
        ({"out": "look"}, "out=look: give a .png"),
        ({"per_class": 0}, "per_class=0 must be from 1 to 100"),
        ({"per_class": 101}, "per_class=101 must be from 1 to 100"),
        ({"seconds": 0.0}, "seconds=0.0 must be a positive number"),
        ({"seconds": float("nan")}, "seconds=nan must be a positive number"),
        ({"seconds": float("inf")}, "seconds=inf must be a positive number"),
    ],
)
def test_bad_arguments_are_refused_before_data_is_read(arguments, message):
    data = Digits()
    data.setup = None
    with pytest.raises(ValueError, match=message):
        preview(data, **arguments)


def test_folder_in_place_of_the_sheet(tmp_path):
    (tmp_path / "look.png").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        preview(Digits(), "look.png")


def test_foreign_data_module_is_refused():
    from lightning import LightningDataModule

    with pytest.raises(TypeError, match="data=LightningDataModule: give a data module"):
        preview(LightningDataModule())


@pytest.mark.parametrize("shape", [(1,), (3, 8), (1, 2, 4, 4)])
def test_what_cannot_be_drawn(shape):
    with pytest.raises(ValueError, match=r"Tensors serves batches .* can be drawn"):
        sheet_of(Tensors(torch.zeros(8, *shape)))


# The sheet


@pytest.mark.parametrize(
    ("size", "side"),
    [(8, 64), (16, 64), (28, 56), (32, 64), (48, 48), (64, 64), (96, 96), (128, 96), (300, 96)],
)
@pytest.mark.usefixtures("plain")
def test_images_get_a_size_to_look_at(size, side):
    picture = sheet_of(Tensors(shades([60] * 4, 1, size, size)), per_class=2)
    assert areas(picture) == {60: 4 * side * side}


@pytest.mark.usefixtures("plain")
def test_small_images_are_not_smoothed():
    images = torch.randint(0, 2, (4, 1, 8, 8), dtype=torch.uint8) * 100
    assert areas(sheet_of(Tensors(images), 4)).keys() == {0, 100}


@pytest.mark.usefixtures("plain")
def test_a_row_a_class():
    labels = [0, 1, 2] * 12
    data = Tensors(shades([50 + 50 * k for k in labels], 1, 32, 32), labels, ("cat", "dog", "cow"))
    picture = sheet_of(data, per_class=5)
    assert areas(picture) == {50: 5 * 64**2, 100: 5 * 64**2, 150: 5 * 64**2}
    rows = [
        [y for y in range(picture.height) if picture.getpixel((picture.width - 40, y)) == (level,) * 3]
        for level in (50, 100, 150)
    ]
    assert [len(row) for row in rows] == [64, 64, 64]
    assert rows[0][-1] < rows[1][0] < rows[1][-1] < rows[2][0]


@pytest.mark.usefixtures("plain")
def test_rare_classes_are_looked_for_through_an_epoch():
    labels = [0] * 94 + [1, 1] + [-1] * 4
    data = Tensors(
        shades([50 + 50 * k if k >= 0 else 200 for k in labels], 1, 32, 32), labels, ("a", "b", "c")
    )
    # The class without samples keeps its row; so do those without labels.
    assert areas(sheet_of(data, 3)) == {50: 3 * 64**2, 100: 2 * 64**2, 200: 3 * 64**2}


def test_search_for_a_rare_class_ends_and_is_told(monkeypatch):
    from lightning_gans import preview as module

    monkeypatch.setattr(module, "SEARCHED", 40)
    notes = []
    monkeypatch.setattr(module, "draw_sheet", lambda rows, title, about, more: notes.extend(more))
    labels = torch.zeros(1000, dtype=torch.int64)
    labels[500:502] = 1
    sheet_of(Tensors(shades([9] * 1000, 1, 8, 8), labels, ("common", "rare")))
    assert notes == ["too few among the first 40 training images: rare"]


def test_sixteen_classes_and_a_note(monkeypatch):
    from lightning_gans import preview as module

    calls = []
    monkeypatch.setattr(module, "draw_sheet", lambda *arguments: calls.append(arguments))
    labels = list(range(20)) * 2
    sheet_of(Tensors(shades(labels, 1, 8, 8), labels, [f"class {k}" for k in labels[:20]]), 1)
    rows, title, about, notes = calls[0]
    assert [row.name for row in rows] == [f"class {k}" for k in range(16)]
    assert {row.detail for row in rows} == {"2  (5.0%)"}
    assert (title, about) == ("Tensors", "40 training samples, 8x8 grey")
    assert notes == ["the first 16 of 20 classes"]


@pytest.mark.usefixtures("plain")
def test_unlabeled_images_come_in_a_grid():
    assert areas(sheet_of(Tensors(shades([70] * 100, 3, 32, 32)), 4)) == {70: 32 * 64**2}
    few = sheet_of(Tensors(shades([70] * 6, 3, 32, 32), names=("a", "b"), drop_last=False), 4)
    assert areas(few) == {70: 6 * 64**2}


@pytest.mark.usefixtures("plain")
def test_channels():
    colours = torch.tensor([250, 120, 10, 77], dtype=torch.uint8).view(1, 4, 1, 1).expand(4, 4, 32, 32)
    for channels, expected in ((1, (250,) * 3), (2, (250, 120, 0)), (3, (250, 120, 10)), (4, (250, 120, 10))):
        picture = sheet_of(Tensors(colours[:, :channels].contiguous()), 4)
        assert (4 * 64**2, expected) in picture.getcolors(10_000)


@pytest.mark.usefixtures("plain")
def test_images_need_not_be_square():
    assert areas(sheet_of(Tensors(shades([60] * 4, 1, 20, 40)), 4)) == {60: 4 * 40 * 80}


@pytest.mark.usefixtures("plain")
def test_pairs_stand_side_by_side():
    images = torch.cat([shades([60] * 40, 3, 32, 32), shades([120] * 40, 1, 32, 32)], 1)
    data = Tensors(images, cut=lambda x: (x[:, :3], x[:, 3:]))
    picture = sheet_of(data, 3)
    assert areas(picture) == {60: 6 * 64**2, 120: 6 * 64**2}  # six pairs
    middle = [picture.getpixel((x, picture.height - 120))[0] for x in range(picture.width)]
    runs = [level for level, _ in itertools.groupby(middle) if level in (60, 120)]
    assert runs == [60, 120] * 4
    lines = report_of(data)
    assert lines[1].startswith("batch    input: float32 (4, 3, 32, 32), from -0.529 to -0.529")
    assert lines[2].startswith("         target: float32 (4, 1, 32, 32), from -0.0588")
    assert lines[3] == "classes  none: 40 unlabeled samples"
    assert lines[-1].endswith("pairs/s")


@pytest.mark.usefixtures("plain")
def test_two_domains(capsys):
    class Domains(Tensors):
        view_names = ("A", "B")

        def train_dataloader(self):
            images, labels = self.content
            options = {"shuffle": True, "drop_last": True, "epoch_size": 30}
            return ZipLoader(
                MemoryLoader(images, labels, 3, seed=0, **options),
                MemoryLoader(images[:20] + 60, labels[:20], 3, seed=1, **options),
            )

    preview(Domains(shades([60] * 30, 3, 16, 16)), per_class=2, seconds=0.01)
    said = capsys.readouterr().out
    assert "Domains: 30 + 20 training, " in said
    assert "batch    A: float32 (3, 3, 16, 16)" in said
    assert "         B: float32 (3, 3, 16, 16)" in said
    assert said.count("from memory") == 2
    with Image.open("preview.png") as picture:
        assert areas(picture) == {60: 4 * 64**2, 120: 4 * 64**2}


@pytest.mark.parametrize("layout", ["ring", "cube"])
def test_points_are_scattered_in_the_colours_of_their_modes(layout):
    picture = sheet_of(GaussianMixtures(layout, samples=3000))
    found = {colour for _, colour in picture.getcolors(100_000)}
    assert {(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40)} <= found or layout == "cube"
    assert len(found) > 100
    assert report_of(GaussianMixtures(layout, samples=3000))[-1] == "speed    1,230 samples/s"


def test_the_same_sheet_every_time():
    assert sheet_of(Digits()).tobytes() == sheet_of(Digits()).tobytes()


def test_texts_have_room():
    cell = Image.new("RGB", (10, 10))
    from lightning_gans.commands.preview import Row

    wide = draw_sheet([Row([cell], "n" * 200, "detail")], "A title that is long", "about", ["word " * 60], ())
    assert 200 < wide.width < 260
    edges = [
        wide.crop((wide.width - 10, 0, wide.width, wide.height)),
        wide.crop((0, wide.height - 8, 200, wide.height)),
    ]
    assert all(edge.getcolors() == [(edge.width * edge.height, (255, 255, 255))] for edge in edges)


# The report


def test_counts_of_a_held_out_part():
    data = Tensors(shades([1] * 40, 1, 8, 8), [0, 1] * 20, "ab", val_fraction=0.25)
    assert report_of(data)[0] == "Tensors: 30 training, 10 validation, 5 test samples"


def test_data_without_test_split():
    data = Tensors(shades([1] * 40, 1, 8, 8), [0, 1] * 20, "ab")
    data.has_test_split = False
    assert report_of(data)[0] == "Tensors: 40 training samples"


def test_class_balance():
    labels = torch.tensor([0] * 2999 + [1] + [-1] * 1000)
    first, *table = class_balance(labels, ("zero", "one", "two"))
    assert first == "classes  3, of 0 to 2,999 samples; 1,000 unlabeled"
    assert [line.split() for line in table] == [
        ["zero", "2,999", "75.0%", "one", "1", "<0.1%", "two", "0", "0.0%"],
    ]
    assert class_balance(torch.tensor([0, 1]), "ab")[0] == "classes  2, of 1 samples; 0 unlabeled"
    assert class_balance(labels[-7:], ()) == ["classes  none: 7 unlabeled samples"]


def test_table_of_many_classes_stays_compact():
    labels = torch.cat([torch.arange(1000), torch.arange(900)])
    first, *table = class_balance(labels, [f"a class with a long name {k}" for k in range(1000)])
    assert first.endswith("; the 100 smallest:")
    assert len(table) <= 50
    assert max(map(len, table)) < 110


def test_how_data_is_served():
    images, labels = shades([1] * 40, 1, 8, 8), torch.arange(40) % 2
    options = {"shuffle": True, "drop_last": True, "seed": 0}

    def served(loader):
        data = Tensors(images, labels, "ab")
        data.setup("fit")
        return next(
            line for line in report(data, loader, next(iter(loader)), 1.0).split("\n") if "served" in line
        )

    memory = MemoryLoader(images, labels, 4, flip=True, crop=6, **options)
    assert (
        served(memory) == "served   from memory: 2.56 kB as uint8, cut to 6x6 at random, mirrored at random"
    )
    workers = WorkerLoader(TensorImages(images), labels, 4, num_workers=0, **options)
    assert served(workers) == "served   from memory: 2.56 kB as uint8"

    class Decoded(ImageSource):
        def _pixels(self, item):
            return images[item].numpy()

    files = WorkerLoader(Decoded(40, (1, 8, 8), "images"), labels, 4, num_workers=0, **options)
    assert served(files) == "served   decoded for every batch: 2.56 kB as uint8 if they were kept"


@pytest.mark.parametrize(
    ("rate", "text"),
    [(2_949_123.0, "2,950,000"), (1234.5, "1,230"), (99.4, "99"), (3.14159, "3.1"), (0.02, "0.02")],
)
def test_speed_in_digits_that_mean_something(rate, text):
    assert report_of(Digits(), rate)[-1] == f"speed    {text} images/s"


def test_speed_is_measured_after_the_warm_up():
    def slow_start():
        time.sleep(0.2)
        for _ in itertools.repeat(None):
            time.sleep(0.002)
            yield (torch.zeros(10, 1),)

    begin = time.perf_counter()
    rate = images_per_second(slow_start(), 0.3)
    assert 0.3 < time.perf_counter() - begin < 3
    assert 1000 < rate < 5000


def test_speed_of_a_slow_loader_takes_few_batches():
    served = []

    def slow():
        for k in itertools.count():
            time.sleep(0.01)
            served.append(k)
            yield (torch.zeros(10, 1),)

    assert 200 < images_per_second(slow(), 0.001) < 1000
    assert len(served) == 9


def test_loader_without_batches():
    with pytest.raises(ValueError, match="serves no batch"):
        next(endless([]))
