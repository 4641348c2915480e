"""Any folder of images: layouts, labels, damaged files, cache and memory."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gans.data import ImageFolder, MemoryLoader, Sketches, WorkerLoader, base
from lightning_gans.data.decode import DamagedImage
from lightning_gans.data.folder import natural_order


def grey(path, level, size=(12, 10)):
    """Write an image of one grey level, by which tests recognise it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level,) * 3).save(path)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def flat(tmp_path):
    for number in range(12):
        grey(tmp_path / "flat" / f"{number}.png", 10 * number, (12 + number, 10))
    (tmp_path / "flat" / "notes.txt").write_text("no image")
    grey(tmp_path / "flat" / ".hidden.png", 255)
    return tmp_path / "flat"


@pytest.fixture
def labelled(tmp_path):
    for split, count in (("train", 6), ("test", 2), ("val", 1)):
        for label, name in enumerate(("cat", "dog", "emu")):
            for number in range(count):
                grey(tmp_path / "zoo" / split / name / "deep" / f"{number}.png", 80 * label + number)
    return tmp_path / "zoo"


def ready(data, stage=None):
    data.prepare_data()
    data.setup(stage)
    return data


def levels(loader):
    return [round((image[0, 0, 0].item() + 1) * 127.5) for images, _ in loader for image in images]


def labels_of(loader):
    return [label for _, labels in loader for label in labels.tolist()]


def folder(path, **given):
    return ImageFolder(str(path), **{"image_size": 8, "batch_size": 4, "num_workers": 0} | given)


def test_unlabeled_images_without_a_test_split(flat):
    data = folder(flat)
    assert data.num_classes is None
    assert data.image_shape == (3, 8, 8)
    ready(data)
    images, labels = data.training_images()
    assert images[:, 0, 0, 0].tolist() == [10 * number for number in range(12)]  # 2.png before 10.png
    assert labels.tolist() == [-1] * 12
    assert sorted(levels(data.train_dataloader())) == [10 * number for number in range(12)]
    assert list(data.val_dataloader()) == []
    with pytest.raises(ValueError, match="no test split"):
        data.test_dataloader()


def test_held_out_images(flat):
    data = ready(folder(flat, val_fraction=0.25))
    train, val = levels(data.train_dataloader()), levels(data.val_dataloader())
    assert len(val) == 3
    assert not set(train) & set(val)


def test_labels_by_folder(labelled):
    data = folder(labelled)
    assert data.class_names == ("cat", "dog", "emu")
    ready(data)
    for loader, count in ((data.test_dataloader(), 2), (data.val_dataloader(), 1)):
        assert labels_of(loader) == [label for label in range(3) for _ in range(count)]
        assert [level // 80 for level in levels(loader)] == labels_of(loader)
    assert len(data.training_images()[1]) == 18
    assert folder(labelled, labels="none").num_classes is None


def test_classes_weights_and_fractions(labelled):
    data = ready(folder(labelled, classes=["emu", "cat"], class_weights=[1, 0.5], label_fraction=0.5))
    assert data.class_names == ("emu", "cat")
    assert data.num_classes == 2
    images, labels = data.training_images()
    assert (images[:, 0, 0, 0] // 80).tolist() == [0] * 3 + [2] * 6
    assert sorted(labels.tolist()) == [-1] * 5 + [0, 0, 1, 1]
    assert labels_of(data.test_dataloader()) == [1, 1, 0, 0]
    for index in range(9):
        assert data.sample_name(index).startswith(
            "train/emu" if images[index, 0, 0, 0] >= 160 else "train/cat"
        )


def test_excluded_images(flat, tmp_path):
    (tmp_path / "out.txt").write_text("3.png\n10.png\n")
    data = ready(folder(flat, exclude=str(tmp_path / "out.txt")))
    assert len(data.training_images()[1]) == 10
    assert not {30, 100} & set(data.training_images()[0][:, 0, 0, 0].tolist())
    (tmp_path / "out.txt").write_text("3.png\nelsewhere.png\n")
    with pytest.raises(ValueError, match="1 of 2 samples are of other data"):
        ready(folder(flat, exclude=str(tmp_path / "out.txt")))


def test_a_list_of_labels(flat):
    rows = [f"{number}.png,{'even' if number % 2 == 0 else 'odd'}" for number in range(11)] + ["11.png,"]
    (flat / "labels.csv").write_text("\n".join(["file,label", *rows]))
    data = ready(folder(flat, labels="labels.csv"))
    assert data.class_names == ("even", "odd")
    assert data.training_images()[1].tolist() == [0, 1] * 5 + [0, -1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.png,a\n99.png,b", "1 images are listed but not in the folder, such as 99.png"),
        ("0.png,a\n1.png,b", "10 images are in the folder but not listed, such as 10.png"),
        ("0.png a", "row 1 is not of the form file,label"),
    ],
)
def test_a_list_that_does_not_match(flat, text, words):
    (flat / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        folder(flat, labels=str(flat / "labels.csv"))


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("cached", [True, False])
def test_all_ways_serve_the_same(labelled, in_memory, cached):
    expected = ready(folder(labelled, flip=True, load_size=11))
    data = ready(folder(labelled, flip=True, load_size=11, in_memory=in_memory, cache=cached))
    assert isinstance(data.train_dataloader(), MemoryLoader if in_memory else WorkerLoader)
    assert data.image_shape == (3, 8, 8)
    for get in ("train_dataloader", "test_dataloader"):
        ours, theirs = getattr(data, get)(), getattr(expected, get)()
        for mine, other in zip([*ours, *ours], [*theirs, *theirs], strict=True):
            assert mine[0].shape[1:] == (3, 8, 8)
            assert torch.equal(mine[0], other[0])
            assert torch.equal(mine[1], other[1])


def test_memory_decides(labelled, monkeypatch):
    size = 18 * 3 * 8 * 8
    monkeypatch.setattr(base, "free_memory", lambda: 2 * size)
    assert isinstance(ready(folder(labelled), "fit").train_dataloader(), MemoryLoader)
    monkeypatch.setattr(base, "free_memory", lambda: 2 * size - 2)
    assert isinstance(ready(folder(labelled), "fit").train_dataloader(), WorkerLoader)


def test_free_memory_is_plausible():
    assert 2**24 < base.free_memory() < 2**50


def test_the_second_start_reads_the_cache(flat, cache, monkeypatch):
    expected = ready(folder(flat)).training_images()[0]
    monkeypatch.setattr(Image, "open", None)
    assert torch.equal(ready(folder(flat)).training_images()[0], expected)
    with pytest.raises(ValueError, match="not callable"):  # another size is decoded anew
        ready(folder(flat, image_size=9))


def test_a_read_only_root(flat):
    flat.chmod(0o500)
    assert len(ready(folder(flat)).train_dataloader()) == 3
    flat.chmod(0o700)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("cached", [True, False])
def test_damaged_files_are_named_or_skipped(flat, in_memory, cached):
    (flat / "4.png").write_bytes((flat / "4.png").read_bytes()[:45])
    (flat / "7.png").write_text("no image")
    given = {"in_memory": in_memory, "cache": cached, "val_fraction": 0.0}
    advice = "on_error=skip" if in_memory or cached else "replace it"
    with pytest.raises(DamagedImage, match=rf"^{flat}/[47].png: .*{advice}"):
        list(ready(folder(flat, **given)).train_dataloader())
    with pytest.warns(UserWarning, match=r"skipped 2 of 12 files: 4.png, 7.png"):
        data = ready(folder(flat, on_error="skip", drop_last=False, **given))
    good = [number for number in range(12) if number not in (4, 7)]
    assert sorted(levels(data.train_dataloader())) == [10 * number for number in good]
    assert [data.sample_name(index) for index in range(10)] == [f"{number}.png" for number in good]


def test_a_damaged_file_is_named_by_the_command_line(flat, fails):
    (flat / "4.png").write_text("no image")
    line = fails("fit", "--model=GAN", "--data=ImageFolder", f"--data.folder={flat}", "--data.batch_size=4")
    assert f"{flat}/4.png: not an image" in line
    assert "on_error=skip" in line


def test_other_kinds_of_files_are_counted(flat):
    for name in ("a.txt", "b.MP4", "c.gif", "d.JFIF", "without"):
        grey(flat / "x.bmp", 7)
        (flat / "x.bmp").rename(flat / name)
    with pytest.warns(
        UserWarning, match=r"skipped what is no image: 2 \.txt, 1 \.mp4, 1 without ending"
    ) as caught:
        data = folder(flat)
    assert len([each for each in caught if "skipped" in str(each.message)]) == 1
    assert len(ready(data).stored("train")[1]) == 14
    (flat / "only" / "text").mkdir(parents=True)
    (flat / "only" / "text" / "a.txt").touch()
    with pytest.raises(ValueError, match=r"no images \(there are 1 \.txt\)"):
        folder(flat / "only")


@pytest.mark.parametrize("content", [b"0.png,\xff\xfe", b'0.png,"' + b"x" * 200_000 + b'"'])
def test_labels_that_are_no_text(flat, content):
    (flat / "labels.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"^labels=labels\.csv: no CSV file in UTF-8 \(.*\)$"):
        folder(flat, labels="labels.csv")


def test_folders_are_found_here_or_under_the_root(flat, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folder("flat").folder.samefile(flat)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert folder("flat", root=str(tmp_path)).folder.samefile(flat)
    monkeypatch.setenv("LIGHTNING_GANS_DATA", str(tmp_path))
    assert folder("flat").folder.samefile(flat)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"folder": "nowhere"}, FileNotFoundError, "folder=nowhere is neither .* LIGHTNING_GANS_DATA"),
        ({"folder": "empty"}, ValueError, r"has no images \(it is empty.*name another folder"),
        ({"channels": 2}, ValueError, "channels=2"),
        ({"labels": "folder"}, ValueError, "lies in no class's folder"),
        ({"labels": "missing.csv"}, ValueError, "labels=missing.csv is no file"),
        ({"classes": ["cat"]}, ValueError, "classes='cat'"),
        ({"label_fraction": 0.0}, ValueError, "label_fraction=0.0"),
        ({"class_weights": [0, 0]}, ValueError, "class_weights="),
        ({"load_size": 7}, ValueError, "load_size=7 is smaller than image_size=8"),
        ({"on_error": "ignore"}, ValueError, "on_error='ignore'"),
        ({"in_memory": "maybe"}, ValueError, "in_memory='maybe'"),
        ({"num_workers": -1}, ValueError, "num_workers=-1"),
        ({"exclude": "nowhere.txt"}, ValueError, "exclude=nowhere.txt"),
        ({"interpolation": "cubic"}, ValueError, "interpolation='cubic'"),
        ({"crop": 0}, ValueError, "crop=0"),
    ],
)
def test_bad_input(flat, tmp_path, given, error, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=words):
        folder(**{"path": given.pop("folder", flat), **given})


@pytest.mark.parametrize(
    "given", [{"class_weights": [1, 1]}, {"label_fraction": 0.5}, {"limit_per_class": 1}]
)
def test_unlabeled_images_have_no_classes(flat, given):
    with pytest.raises(ValueError, match="need labels"):
        ready(folder(flat, **given))


def test_wrong_classes(labelled):
    with pytest.raises(ValueError, match=r"'cow'.* cat, dog, emu"):
        folder(labelled, classes=["cow"])
    with pytest.raises(ValueError, match="each only once"):
        folder(labelled, classes=["cat", "cat"])
    with pytest.raises(ValueError, match="give 3 of them"):
        ready(folder(labelled, class_weights=[1, 1]))


def test_a_test_class_without_training_images(labelled):
    grey(labelled / "test" / "fox" / "0.png", 0)
    with pytest.raises(ValueError, match="class 'fox' has test images but no training images"):
        folder(labelled)


def test_images_too_small_for_the_crop(flat):
    with pytest.raises(DamagedImage, match=r"0.png: .*crop=11"):
        ready(folder(flat, crop=11))


def test_official_sketches(tmp_path):
    for name in ("ant", "pear"):
        for number in range(1, 25):
            grey(tmp_path / "png" / name / f"{number}.png", number, (20, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = ready(Sketches("png", root=str(tmp_path), batch_size=7))
    assert data.image_shape == (1, 32, 32)
    assert data.class_names == ("ant", "pear")
    assert levels(data.test_dataloader()) == [*range(1, 11)] * 2
    assert data.training_images()[0][:, 0, 0, 0].tolist() == [*range(11, 25)] * 2
    thick = ready(Sketches("png", root=str(tmp_path), batch_size=7, thicken=True))
    assert not thick.training_images()[0].any()  # all of it was darker than white


def test_missing_sketches():
    with pytest.raises(FileNotFoundError, match="get the files from http"):
        Sketches()


def test_two_seeds_share_one_cache(flat, cache):
    for seed in (0, 1):
        data = ready(folder(flat, val_fraction=0.25, seed=seed))
        assert sorted(levels(data.train_dataloader()) + levels(data.val_dataloader()))[-1] <= 110
        train = levels(data.train_dataloader())
        assert [
            10 * int(data.sample_name(i).removesuffix(".png")) for i in range(9)
        ] == data.training_images()[0][:, 0, 0, 0].tolist()
        assert len(set(train)) == 8
    assert len(list(cache.glob("*/images.bin"))) == 1


def test_limits_count_images_that_can_be_read(labelled):
    for number in range(3):
        (labelled / "train" / "cat" / "deep" / f"{number}.png").write_text("no image")
    with pytest.warns(UserWarning, match="skipped 3 of 18"):
        data = ready(folder(labelled, on_error="skip", limit=15, label_fraction=0.4))
    labels = data.training_images()[1]
    assert len(labels) == 15
    assert torch.bincount(labels[labels >= 0]).tolist() == [2, 2, 2]


@pytest.mark.parametrize("name", ["valid", "validation", "val"])
def test_names_of_the_validation_split(flat, tmp_path, name):
    root = tmp_path / "split"
    for split in ("train", name):
        (root / split).mkdir(parents=True)
        for file in list(flat.glob("*.png"))[:6]:
            (root / split / file.name).write_bytes(file.read_bytes())
    assert len(ready(folder(root)).test_dataloader()) == 2


def test_a_class_called_train_is_not_taken_for_a_split(labelled):
    grey(labelled / "bus" / "0.png", 0)
    with pytest.raises(ValueError, match=r"images beside train, in bus, no split"):
        folder(labelled)


def test_linked_folders(labelled, tmp_path):
    zoo = tmp_path / "links"
    zoo.mkdir()
    for name in ("cat", "dog"):
        (zoo / name).symlink_to(labelled / "train" / "cat")
    (zoo / "dog" / "again").symlink_to(zoo)  # leads back
    data = ready(folder(zoo))
    assert data.class_names == ("cat", "dog")
    counts = torch.bincount(data.training_images()[1])
    assert counts[0] >= 6
    (zoo / "dog" / "again").unlink()
    (zoo / "cat" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(OSError, match=r"gone.png"):
        ready(folder(zoo))


@pytest.mark.parametrize("name", ["folder", "root", "cache", "exclude"])
def test_paths_do_not_reach_checkpoints(flat, tmp_path, name):
    (tmp_path / "out.txt").write_text("3.png")
    given = {"root": tmp_path, "cache": tmp_path / "other", "exclude": tmp_path / "out.txt", "folder": flat}
    data = ImageFolder(**{"folder": str(flat), "batch_size": 4, name: given[name]})
    assert isinstance(data.hparams[name], str)
    ready(data)


def test_a_file_listed_twice(flat):
    rows = [f"{number}.png,a" for number in range(12)]
    (flat / "labels.csv").write_text("\n".join([*rows, "3.png,b"]))
    with pytest.raises(ValueError, match=r"3.png is listed twice"):
        folder(flat, labels="labels.csv")


def test_a_list_of_a_spreadsheet(flat):
    rows = [f"{number}.png,{'ab'[number % 2]}" for number in range(12)]
    (flat / "labels.csv").write_text("\n".join(["File,Label", *rows]), encoding="utf-8-sig")
    assert folder(flat, labels="labels.csv").class_names == ("a", "b")


def test_resuming_with_other_data_is_refused(flat):
    whole = ready(folder(flat)).train_dataloader()
    next(iter(whole))
    for changed in ({"limit": 8}, {"batch_size": 2}):
        with pytest.raises(ValueError, match=r"of 12 samples by 4, and here.*resume with its data"):
            ready(folder(flat, **changed)).train_dataloader().load_state_dict(whole.state_dict())


def test_natural_order():
    assert natural_order({"1", "01", "001"}) == ["001", "01", "1"]
    assert natural_order(["b10", "b9", "a", "10", "9"]) == ["9", "10", "a", "b9", "b10"]
    assert np.array_equal(natural_order({"2²", "10"}), ["2²", "10"])
