"""The contact sheet and the report of ``lightning-gans preview``."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from lightning_gans.commands import preview as module
from lightning_gans.commands.preview import (
    class_balance,
    contact_sheet,
    endless,
    images_per_second,
    of_package,
    preview,
    report,
)
from lightning_gans.data.base import DataModule
from lightning_gans.data.digits import Digits
from lightning_gans.data.loader import MemoryLoader, ZipLoader
from lightning_gans.data.mixtures import GaussianMixtures


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
    return contact_sheet(of_package(data, loader), endless(loader), per_class)


def report_of(data, rate=1234.5):
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    return report(of_package(data, loader), next(iter(loader)), rate).split("\n")


def test_command_writes_sheet_and_report(capsys):
    preview(Digits(batch_size=64), "new/folder/look.PNG", per_class=3, seconds=0.05)
    with Image.open("new/folder/look.PNG") as picture:
        assert picture.mode == "RGB"
        assert picture.format == "PNG"
    said = capsys.readouterr().out
    assert "Digits: 1,500 training, 297 test samples (validation uses the test samples)" in said
    assert "images: float32 (64, 1, 8, 8), from -1 to 1, mean -0." in said
    assert "labels: int64 (64,)" in said
    assert "images/s" in said
    assert said.endswith("sheet    new/folder/look.PNG\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": "look.jpg"}, r"out=look.jpg: .*\.png"),
        ({"out": "look"}, r"out=look: .*\.png"),
        ({"per_class": 0}, "per_class=0"),
        ({"per_class": 101}, "per_class=101"),
        ({"seconds": 0.0}, "seconds=0.0"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"seconds": float("inf")}, "seconds=inf"),
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


class Foreign(LightningDataModule):
    """Any loader."""

    def __init__(self, loader, **attributes):
        super().__init__()
        self.loader = loader
        for name, value in attributes.items():
            setattr(self, name, value)

    def train_dataloader(self):
        return self.loader


def images(*shape, n=12):
    return torch.linspace(-1, 1, n).view(-1, *(1 for _ in shape)).expand(-1, *shape).contiguous()


def loader_of(*parts):
    return DataLoader(TensorDataset(*parts), batch_size=5, shuffle=True)


def test_any_data_module_is_shown_with_what_it_lacks(capsys, monkeypatch):
    calls = sheets(monkeypatch)
    preview(Foreign(loader_of(images(3, 4, 6), torch.arange(12) % 3)), per_class=4, seconds=0.01)
    said = capsys.readouterr().out
    assert "Foreign: 12 training samples" in said
    assert "images: float32 (5, 3, 4, 6), from -" in said
    assert "classes  3, of 4 samples; 0 unlabeled" in said
    assert "Foreign.image_shape" in said
    assert "self.image_shape = (3, 4, 6)" in said
    assert "self.num_classes = 3" in said
    assert calls[0]["rows"] == [f"{k}\n4 (33.3%)" for k in range(3)]

    known = Foreign(loader_of(images(3, 4, 6), torch.arange(12) % 3), image_shape=[3, 4, 6], num_classes=3)
    known.class_names = ("a", "b", "c")
    preview(known, seconds=0.01)
    assert "missing" not in capsys.readouterr().out
    assert [row[0] for row in calls[1]["rows"]] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("loader", "said"),
    [
        (DataLoader(images(1, 4, 4), batch_size=5), "classes  none: 12 unlabeled"),
        (
            DataLoader([{"image": image} for image in images(1, 4, 4)], batch_size=5),
            "self.image_shape = (1, 4, 4)",
        ),
        (loader_of(images(2)), "vectors: float32 (5, 2)"),
        (loader_of(images(1, 4, 4), images(3, 8, 8)), "self.input_shape = (1, 4, 4)"),
    ],
    ids=["bare", "mapping", "points", "pairs of two sizes"],
)
def test_other_batches(capsys, loader, said):
    preview(Foreign(loader), seconds=0.01)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LightningDataModule(), "train_dataloader"),
        (Foreign(None), "train_dataloader.. must return one loader, not a NoneType"),
        (Foreign([loader_of(images(1, 4, 4))]), "not a list"),
        (Foreign(loader_of(images(1, 4, 4).byte())), "torch.uint8: give float32"),
        (Foreign(loader_of(9 * images(1, 4, 4))), "scale images to"),
        (Foreign(loader_of(images(1, 4, 4), torch.zeros(12))), "labels of a batch are torch.float32"),
        (Foreign(loader_of(images(1, 4, 4)), image_shape=(1, 9, 4)), r"Foreign.image_shape is \(1, 9, 4\)"),
        (Foreign(loader_of(images(1, 4, 4), torch.arange(12)), num_classes=10), "num_classes is 10, .* 12"),
        (Foreign(DataLoader(["a"])), "a batch of the data is"),
    ],
)
def test_what_models_would_refuse_is_refused(data, message):
    with pytest.raises(Exception, match=message):
        preview(data, seconds=0.01)
    assert not Path("preview.png").exists()


@pytest.mark.parametrize("shape", [(1,), (3, 8), (1, 2, 4, 4)])
def test_what_cannot_be_drawn(shape):
    with pytest.raises(ValueError, match=r"Tensors serves batches .* can be drawn"):
        sheet_of(Tensors(torch.zeros(8, *shape)))


# The sheet


def sheets(monkeypatch):
    """Return what labelled_grid is given, call by call."""
    calls = []

    def note(images, columns, title, rows=(), headings=()):
        shown = images.flatten(1).mean(1).add(1).mul(127.5).round().int().reshape(-1, columns).tolist()
        calls.append({"shades": shown, "title": title, "rows": rows, "headings": headings, "images": images})
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(module, "labelled_grid", note)
    return calls


def test_a_row_a_class(monkeypatch):
    labels = [0] * 5 + [1, 1] + [-1] * 4
    images = shades([50 + 50 * k if k >= 0 else 200 for k in labels], 1, 8, 8)
    calls = sheets(monkeypatch)
    sheet_of(Tensors(images, labels, ("a", "b", "c")), 3)
    # The class without samples keeps its row; so do those without labels.
    assert calls[0]["shades"] == [[50] * 3, [100, 100, 255], [255] * 3, [200] * 3]
    assert calls[0]["rows"] == ["a\n5 (45.5%)", "b\n2 (18.2%)", "c\n0 (0.0%)", "unlabeled\n4 (36.4%)"]
    assert calls[0]["title"] == "Tensors: 11 training samples, 1x8x8"


def test_search_for_a_rare_class_ends(monkeypatch):
    monkeypatch.setattr(module, "SEARCHED", 40)
    served = []

    def counted(loader):
        for batch in endless(loader):
            served.append(len(batch[0]))
            yield batch

    labels = torch.zeros(1000, dtype=torch.int64)
    labels[0] = 1
    data = Tensors(shades([9] * 1000, 1, 8, 8), labels, ("common", "rare"))
    data.setup("fit")
    loader = data.train_dataloader()
    contact_sheet(of_package(data, loader), counted(loader), 2)
    assert sum(served) <= 44


def test_sixteen_classes_and_a_note(monkeypatch):
    calls = sheets(monkeypatch)
    labels = list(range(20)) * 2
    sheet_of(Tensors(shades(labels, 1, 8, 8), labels, [f"class {k}" for k in labels[:20]]), 1)
    assert calls[0]["rows"] == [f"class {k}\n2 (5.0%)" for k in range(16)]
    assert "the first 16 of 20 classes" in calls[0]["title"]


def test_unlabeled_images_come_in_a_grid(monkeypatch):
    calls = sheets(monkeypatch)
    sheet_of(Tensors(shades([70] * 100, 3, 8, 8)), 4)
    assert calls[0]["shades"] == [[70] * 4] * 8
    sheet_of(Tensors(shades([70] * 8, 3, 8, 8), names=("a", "b"), drop_last=False), 4)
    assert calls[1]["shades"] == [[70] * 4] * 2
    assert calls[1]["rows"] == ()


def test_large_images_shrink_and_keep_their_proportions(monkeypatch):
    calls = sheets(monkeypatch)
    sheet_of(Tensors(shades([60] * 4, 1, 100, 200)), 2)
    assert calls[0]["images"].shape == (4, 3, 48, 96)


def test_pairs_stand_side_by_side(monkeypatch):
    images = torch.cat([shades([60] * 40, 3, 8, 8), shades([120] * 40, 1, 8, 8)], 1)
    data = Tensors(images, cut=lambda x: (x[:, :3], x[:, 3:]))
    calls = sheets(monkeypatch)
    sheet_of(data, 4)
    assert calls[0]["shades"] == [[60, 120] * 4] * 2  # eight pairs
    assert calls[0]["headings"] == ["input", "target"] * 4
    lines = report_of(data)
    assert lines[1].startswith("batch    input: float32 (4, 3, 8, 8), from -0.529 to -0.529")
    assert lines[2].startswith("batch    target: float32 (4, 1, 8, 8), from -0.0588")
    assert lines[3] == "classes  none: 40 unlabeled samples"
    assert lines[-1].endswith("pairs/s")


def test_two_domains(capsys, monkeypatch):
    class Domains(Tensors):
        view_names = ("A", "B")

        def train_dataloader(self):
            images, labels = self.content
            options = {"shuffle": True, "drop_last": True, "epoch_size": 30}
            return ZipLoader(
                MemoryLoader(images, labels, 3, seed=0, **options),
                MemoryLoader(images[:20] + 60, labels[:20], 3, seed=1, **options),
            )

    calls = sheets(monkeypatch)
    preview(Domains(shades([60] * 30, 3, 8, 8)), per_class=2, seconds=0.01)
    said = capsys.readouterr().out
    assert "Domains: 30 + 20 training, " in said
    assert "batch    A: float32 (3, 3, 8, 8)" in said
    assert "batch    B: float32 (3, 3, 8, 8)" in said
    assert calls[0]["shades"] == [[60, 120] * 4]
    assert calls[0]["headings"] == ["A", "B"] * 4


def test_vectors_are_scattered(monkeypatch):
    calls = []
    drawn = module.labelled_points
    monkeypatch.setattr(module, "labelled_points", lambda *given: calls.append(given) or drawn(*given))
    sheet_of(GaussianMixtures("cube", samples=3000))
    points, labels, title = calls[0]
    assert points.shape == (3000, 3)
    assert len(labels) == 3000
    assert title == "GaussianMixtures: 3,000 training samples, 3 dimensions"
    assert report_of(GaussianMixtures("cube", samples=3000))[-1] == "speed    1,234 samples/s"


def test_the_same_sheet_every_time():
    first, second = sheet_of(Digits()), sheet_of(Digits())
    assert np.array_equal(np.asarray(first), np.asarray(second))
    assert first.width > 500


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
    assert [line.strip() for line in table] == ["zero: 2,999 (75.0%)", "one: 1 (0.0%)", "two: 0 (0.0%)"]
    assert class_balance(torch.tensor([0, 1]), "ab")[0] == "classes  2, of 1 samples; 0 unlabeled"
    assert class_balance(labels[-7:], ()) == ["classes  none: 7 unlabeled samples"]


def test_of_many_classes_the_smallest_are_listed():
    labels = torch.cat([torch.arange(1000), torch.arange(900)])
    first, *table = class_balance(labels, [f"class {k}" for k in range(1000)])
    assert first.endswith("; the 40 smallest:")
    assert len(table) == 40
    assert table[0].strip() == "class 900: 1 (0.1%)"


def test_slow_speed_keeps_two_digits():
    assert report_of(Digits(), 3.14159)[-1] == "speed    3.1 images/s"


@pytest.mark.parametrize(("seconds", "measured"), [(1.0, 10), (0.01, 4)])
def test_speed_is_measured_after_the_warm_up(monkeypatch, seconds, measured):
    """A batch of 10 takes 100 ms, but the first five take seconds."""
    clock, served = [0.0], []

    def batches():
        for k in itertools.count():
            served.append(k)
            clock[0] += 0.1 if k >= 5 else 3.0
            yield (torch.zeros(10, 1),)

    monkeypatch.setattr(module, "perf_counter", lambda: clock[0])
    assert images_per_second(batches(), seconds) == pytest.approx(100)
    assert len(served) in (5 + measured, 6 + measured)


def test_loader_without_batches():
    with pytest.raises(ValueError, match="serves no batch"):
        next(endless([]))
