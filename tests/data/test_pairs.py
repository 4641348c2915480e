import io
import pickle
import stat
import tarfile
import zipfile
from types import SimpleNamespace

import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image

from lightning_gans.data import DataModule, fetch, pairs
from lightning_gans.data.colour import rgb_to_lab
from lightning_gans.data.loader import to_float
from lightning_gans.data.pairs import Colorization, Facades, Inpainting, PairedImages, UnpairedImages

LAYOUTS = ["{split}", "{half}/{split}", "{split}{half}", "{split}/{half}"]


def noise(seed, size, channels=3):
    return torch.randint(
        0, 256, (channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))


def write(file, image):
    """Write uint8 (C, H, W) without loss."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()).save(file)


def write_pairs(folder, split, count=6, size=16, layout="{split}", equal=False, first=0):
    """Write pairs of noise; return A and B, uint8 (N, 3, H, W) each."""
    a = torch.stack([noise(first + i, size) for i in range(count)])
    b = a if equal else torch.stack([noise(1000 + first + i, size) for i in range(count)])
    for i in range(count):
        if layout == "{split}":
            write(folder / split / f"{i}.png", torch.cat([a[i], b[i]], dim=2))
        else:
            for half, image in (("A", a[i]), ("B", b[i])):
                write(folder / layout.format(split=split, half=half) / f"{i}.png", image)
    return a, b


def ready(data, stage=None):
    data.prepare_data()
    data.setup(stage)
    return data


def on_rank(data, rank, world_size=2):
    data.trainer = SimpleNamespace(
        global_rank=rank,
        world_size=world_size,
        overfit_batches=0,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    return data


def joined(loader):
    """The parts of all batches of an epoch."""
    return [torch.cat(part) for part in zip(*loader, strict=True)]


def window(image, whole):
    """Where a crop lies in a whole image: (top, left, mirrored), or None."""
    size = image.shape[-1]
    for mirrored in (False, True):
        wanted = image.flip(-1) if mirrored else image
        for top in range(whole.shape[-2] - size + 1):
            for left in range(whole.shape[-1] - size + 1):
                if torch.equal(whole[:, top : top + size, left : left + size], wanted):
                    return top, left, mirrored
    return None


# Pairs


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    train = write_pairs(tmp_path / "set", "train", layout=layout)
    val = write_pairs(tmp_path / "set", "val", count=3, layout=layout, first=50)
    test = write_pairs(tmp_path / "set", "test", count=4, layout=layout, first=80)
    data = ready(PairedImages(tmp_path / "set", image_size=16, load_size=16, flip=False, batch_size=2))
    assert isinstance(data, DataModule)
    assert data.image_shape == data.input_shape == (3, 16, 16)
    assert data.num_classes is None
    assert data.view_names == ("input", "target")
    for loader, expected in (
        (data.val_dataloader(), val),
        (data.test_dataloader(), test),
        (data.predict_dataloader(), test),
    ):
        for served, images in zip(joined(loader), expected, strict=True):
            assert torch.equal(served, to_float(images))
    a, b = joined(data.train_dataloader())
    assert a.dtype == b.dtype == torch.float32
    found = [int((to_float(train[0]) == image).flatten(1).all(1).nonzero()) for image in a]
    assert sorted(found) == list(range(6))
    assert torch.equal(b, to_float(train[1])[found])


@pytest.mark.parametrize(("there", "val", "test"), [("val", 50, 50), ("test", 80, 80)])
def test_one_evaluation_split_stands_in_for_the_other(tmp_path, there, val, test):
    write_pairs(tmp_path, "train")
    write_pairs(tmp_path, there, count=3, first=50 if there == "val" else 80)
    data = ready(PairedImages(tmp_path, image_size=16, batch_size=3))
    for loader, first in ((data.val_dataloader(), val), (data.test_dataloader(), test)):
        assert torch.equal(next(iter(loader))[0][0], to_float(noise(first, 16)))


def test_both_halves_are_cropped_and_mirrored_alike(tmp_path):
    whole, _ = write_pairs(tmp_path, "train", count=20, size=18, equal=True)
    write_pairs(tmp_path, "test", count=1, size=18)
    data = ready(PairedImages(tmp_path, image_size=16, batch_size=10))
    assert data.load_size == 18
    loader = data.train_dataloader()
    places = set()
    for _ in range(3):
        x, y = joined(loader)
        assert x.shape == (20, 3, 16, 16)
        assert torch.equal(x, y)
        found = [next(filter(None, (window(image, one) for one in to_float(whole)))) for image in x]
        places.update(found)
    assert {top for top, _, _ in places} == {left for _, left, _ in places} == {0, 1, 2}
    assert {mirrored for _, _, mirrored in places} == {False, True}


def test_evaluation_has_no_jitter(tmp_path):
    write_pairs(tmp_path, "train", size=16)
    a, b = write_pairs(tmp_path, "test", size=16)
    data = ready(PairedImages(tmp_path, image_size=16, batch_size=4))
    for _ in range(2):
        served = joined(data.val_dataloader())
        assert torch.equal(served[0], to_float(a))
        assert torch.equal(served[1], to_float(b))


def test_held_out_pairs_have_no_jitter(tmp_path):
    a, b = write_pairs(tmp_path, "train", count=10, size=16)
    data = ready(PairedImages(tmp_path, image_size=16, batch_size=2, val_fraction=0.3), "fit")
    x, y = joined(data.val_dataloader())
    found = [int((to_float(a) == image).flatten(1).all(1).nonzero()) for image in x]
    assert len(found) == 3
    assert torch.equal(y, to_float(b)[found])
    assert len(data.train_dataloader()) == 3


def test_training_alone_is_enough(tmp_path):
    write_pairs(tmp_path, "train")
    for kind in (PairedImages, UnpairedImages):
        data = ready(kind(str(tmp_path), image_size=16))
        assert len(data.train_dataloader()) == 6
        assert data.val_dataloader() == []
        with pytest.raises(ValueError, match="no test split"):
            data.test_dataloader()


@pytest.mark.parametrize("kind", [PairedImages, UnpairedImages])
def test_damaged_files_are_left_out(tmp_path, kind):
    write_pairs(tmp_path, "train")
    (tmp_path / "train" / "3.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"/train/3\.png: empty"):
        kind(str(tmp_path), image_size=16).setup("fit")
    data = kind(str(tmp_path), image_size=16, on_error="skip")
    with pytest.warns(UserWarning, match=r"train/3\.png"):
        data.setup("fit")
    assert len(data.train_dataloader()) == 5


def test_direction_and_channels(tmp_path):
    grey = [noise(i, 8, channels=1) for i in range(3)]
    colour = [noise(9 + i, 8) for i in range(3)]
    for split in ("train", "test"):
        for i in range(3):
            write(tmp_path / f"{split}A" / f"{i}.png", grey[i])
            write(tmp_path / f"{split}B" / f"{i}.png", colour[i])
    options = {"image_size": 8, "channels_a": 1, "batch_size": 3}
    data = ready(PairedImages(tmp_path, **options))
    assert (data.input_shape, data.image_shape) == ((1, 8, 8), (3, 8, 8))
    x, y = next(iter(data.test_dataloader()))
    assert torch.equal(x, to_float(torch.stack(grey)))
    assert torch.equal(y, to_float(torch.stack(colour)))
    data = ready(PairedImages(tmp_path, direction="BtoA", **options))
    assert (data.input_shape, data.image_shape) == ((3, 8, 8), (1, 8, 8))
    target, source = next(iter(data.test_dataloader()))
    assert torch.equal(target, y)
    assert torch.equal(source, x)
    assert source.is_contiguous()


@pytest.mark.parametrize("kind", [PairedImages, UnpairedImages])
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_each_domain_has_its_interpolation(tmp_path, kind, direction):
    """Labels of two values, resized by nearest, keep them; photographs get what is in between."""
    black_or_white = (torch.rand(4, 1, 24, 48, generator=torch.Generator().manual_seed(0)) < 0.5).to(
        torch.uint8
    ) * 255
    for split in ("train", "test"):
        for i, image in enumerate(black_or_white):
            write(tmp_path / split / f"{i}.png", image)
    data = ready(kind(tmp_path, image_size=16, batch_size=4, direction=direction, interpolation_b="nearest"))
    for loader in (data.train_dataloader(), data.test_dataloader()):
        a, b = next(iter(loader))[:: 1 if direction == "AtoB" else -1]
        assert b.unique().tolist() == [-1, 1]
        assert len(a.unique()) > 2


def test_names_with_other_endings_are_partners(tmp_path):
    for split in ("train", "test"):
        for i in range(3):
            write(tmp_path / "A" / split / "sub" / f"{i}.bmp", noise(i, 8))
            write(tmp_path / "B" / split / "sub" / f"{i}.png", noise(i, 8))
    data = ready(PairedImages(tmp_path, image_size=8, batch_size=3))
    x, y = next(iter(data.train_dataloader()))
    assert torch.equal(x, y)


def test_images_are_squashed_not_cropped(tmp_path):
    image = torch.zeros(3, 8, 32, dtype=torch.uint8)
    image[:, :, 12:16] = 255  # right quarter of A
    for split in ("train", "test"):
        write(tmp_path / split / "1.png", image)
    data = ready(PairedImages(tmp_path, image_size=4, interpolation="nearest"))
    x, y = next(iter(data.test_dataloader()))
    assert torch.equal(x[0, 0], torch.tensor([-1.0, -1.0, -1.0, 1.0]).expand(4, 4))
    assert (y == -1).all()


@pytest.mark.parametrize("kind", [PairedImages, UnpairedImages])
def test_photographs_are_not_cut_in_half_without_a_word(tmp_path, kind, recwarn):
    write_pairs(tmp_path / "pairs", "train")
    ready(kind(tmp_path / "pairs", image_size=8), "fit")
    assert not [w for w in recwarn if "cut into" in str(w.message)]
    for number in range(6):
        write(tmp_path / "photos" / "train" / f"{number}.png", noise(number, 16))
    with pytest.warns(UserWarning, match=r"0.png, 16x16 pixels, is cut into a left and a right half"):
        ready(kind(tmp_path / "photos", image_size=8), "fit")


def test_folder_under_the_root(tmp_path, monkeypatch):
    for split in ("train", "test"):
        write_pairs(tmp_path / "root" / "maps", split)
    for data in (PairedImages("maps", root=tmp_path / "root"), PairedImages("root/maps")):
        assert len(ready(data).train_dataloader()) == 6
    monkeypatch.setenv("LIGHTNING_GANS_DATA", str(tmp_path / "root"))
    data = PairedImages("maps")
    assert len(ready(data).train_dataloader()) == 6
    assert data.load_size == 286
    assert PairedImages("maps", image_size=128).load_size == 143
    assert PairedImages(tmp_path).hparams["folder"] == str(tmp_path)
    assert all(value is None or isinstance(value, int | float | str) for value in data.hparams.values())


def stream(loader):
    while True:
        yield from loader


def take(batches, n):
    return [next(batches) for _ in range(n)]


def same(one, other):
    return all(
        torch.equal(left, right)
        for batches in zip(one, other, strict=True)
        for left, right in zip(*batches, strict=True)
    )


def paired(folder, **kwargs):
    return PairedImages(folder, **{"image_size": 14, "batch_size": 2} | kwargs)


def unpaired(folder, **kwargs):
    return UnpairedImages(folder, **{"image_size": 14, "batch_size": 2} | kwargs)


def inpainting(folder, **kwargs):
    return Inpainting(str(folder), **{"image_size": 14, "batch_size": 2} | kwargs)


@pytest.mark.parametrize("kind", [paired, unpaired, inpainting])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_restored_position_goes_on_exactly(tmp_path, kind, in_memory):
    for split in ("train", "test"):
        write_pairs(tmp_path, split, count=7)

    def fresh():
        return ready(kind(tmp_path, in_memory=in_memory, num_workers=0)).train_dataloader()

    loader = fresh()
    batches = stream(loader)
    take(batches, 4)
    state = loader.state_dict()
    expected = take(batches, 7)
    restored = fresh()
    restored.load_state_dict(state)
    iter(restored)
    assert same(take(stream(restored), 7), expected)


@pytest.mark.parametrize("kind", [paired, unpaired, inpainting])
def test_ranks_together_see_the_batch_of_one_process(tmp_path, kind):
    for split in ("train", "test"):
        write_pairs(tmp_path, split, count=8)
    alone = list(ready(kind(tmp_path, batch_size=4)).train_dataloader())
    ranks = [list(on_rank(ready(kind(tmp_path)), rank).train_dataloader()) for rank in range(2)]
    for batch, left, right in zip(alone, *ranks, strict=True):
        for part, *parts in zip(batch, left, right, strict=True):
            assert torch.equal(part, torch.cat(parts))


def test_real_images_are_the_targets(tmp_path):
    for split in ("train", "test"):
        a, b = write_pairs(tmp_path / "pairs", split, count=3)
    photos = write_folder(tmp_path / "photos")
    options = {"image_size": 16, "load_size": 16}
    for data, expected in (
        (paired(tmp_path / "pairs", **options), to_float(b)),
        (paired(tmp_path / "pairs", direction="BtoA", in_memory=False, **options), to_float(a)),
        (unpaired(tmp_path / "pairs", **options), to_float(b)),
        (unpaired(tmp_path / "pairs", direction="BtoA", **options), to_float(a)),
        (inpainting(tmp_path / "photos", image_size=16), photos),
        (Colorization(str(tmp_path / "photos"), image_size=16), photos),
    ):
        images, labels, key = ready(data).real_images("test")
        assert images.shape[-3:] == data.image_shape
        assert torch.equal(to_float(in_bytes(images)), expected)
        assert labels.tolist() == [-1] * len(expected)
        assert key == ready(data).real_images("test")[2] != data.real_images("train")[2]
    grey = Colorization(str(tmp_path / "photos"), image_size=16, direction="BtoA", batch_size=4)
    served = next(iter(ready(grey).test_dataloader()))[1]
    images, _, key = grey.real_images("test")
    torch.testing.assert_close(to_float(in_bytes(images)), served, rtol=0, atol=0.004)
    assert key != data.real_images("test")[2]
    assert torch.equal(pickle.loads(pickle.dumps(images))[1], images[1])


def in_bytes(images):
    return images if isinstance(images, torch.Tensor) else images.__getitems__(list(range(len(images))))


# Facades


def test_facades(tmp_path):
    for split in ("train", "val"):
        write_pairs(tmp_path / "facades", split)
    data = ready(Facades(root=tmp_path, image_size=16, load_size=16))
    assert data.direction == "BtoA"
    labels, photo = next(iter(data.val_dataloader()))
    assert torch.equal(photo[0], to_float(noise(0, 16)))
    assert torch.equal(labels[0], to_float(noise(1000, 16)))


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A file that is fetched instead of the official one."""
    archive = tmp_path / "server" / "facades.tar.gz"
    archive.parent.mkdir()

    class Response(io.BytesIO):
        url, headers = "https://somewhere", {}

    def answer(request, timeout):
        (file,) = [file for file in archive.parent.iterdir() if request.full_url.endswith(f"/{file.name}")]
        return Response(file.read_bytes())

    monkeypatch.setattr(fetch, "urlopen", answer)
    return archive


def test_facades_are_fetched(tmp_path, server):
    for split in ("train", "val", "test"):
        write_pairs(tmp_path / "origin", split, count=2)
    with tarfile.open(server, "w:gz") as archive:
        archive.add(tmp_path / "origin", "facades")
    assert len(Facades(root=tmp_path / "scored", image_size=16).real_images("train")[1]) == 2
    data = ready(Facades(root=tmp_path / "root", image_size=16))
    assert len(data.train_dataloader()) == 2
    assert [file.name for file in (tmp_path / "root").iterdir()] == ["facades"]


@pytest.mark.parametrize("kind", [PairedImages, UnpairedImages])
def test_data_sets_are_fetched_by_name(tmp_path, server, kind):
    write_pairs(tmp_path / "maps", "train", count=3)
    write_pairs(tmp_path / "maps", "val", count=1)
    with tarfile.open(server.with_name("maps.tar.gz"), "w:gz") as archive:
        archive.add(tmp_path / "maps", "maps")
    assert len(ready(kind("maps", root=tmp_path / "root", image_size=16)).train_dataloader()) == 3
    with pytest.raises(FileNotFoundError, match=f"{kind.__name__}.*paintings"):
        kind("paintings", root=tmp_path / "root").prepare_data()
    with pytest.raises(FileNotFoundError, match=r"cityscapes-dataset\.com.*licence"):
        kind("cityscapes", root=tmp_path / "root").prepare_data()


def test_unpaired_data_sets_are_fetched_as_zip(tmp_path, server):
    write_domains(tmp_path, {"trainA": 2, "trainB": 4, "testA": 1, "testB": 1})
    with zipfile.ZipFile(server.with_name("horse2zebra.zip"), "w") as archive:
        for file in tmp_path.glob("t*/*.png"):
            archive.write(file, f"horse2zebra/{file.relative_to(tmp_path)}")
    data = ready(UnpairedImages("horse2zebra", root=tmp_path / "root", image_size=16))
    assert len(data.train_dataloader()) == 4
    assert [file.name for file in (tmp_path / "root").iterdir()] == ["horse2zebra"]


@pytest.mark.parametrize("name", ["../evil/a.jpg", "/evil/a.jpg", "horse2zebra/link"])
def test_evil_zip(tmp_path, server, name):
    (tmp_path / "evil").mkdir()
    entry = zipfile.ZipInfo(name.replace("/evil", f"{tmp_path}/evil") if name[0] == "/" else name)
    entry.external_attr = (stat.S_IFLNK if "link" in name else stat.S_IFREG) << 16
    with zipfile.ZipFile(server.with_name("horse2zebra.zip"), "w") as archive:
        archive.writestr(entry, f"{tmp_path}/evil")
    with pytest.raises(FileNotFoundError, match=r"cannot fetch .*horse2zebra\.zip"):
        UnpairedImages("horse2zebra", root=tmp_path / "root").prepare_data()
    assert not (tmp_path / "root").exists()
    assert not list((tmp_path / "evil").iterdir())


def member(name, kind=tarfile.REGTYPE, link=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


@pytest.mark.parametrize(
    "entries",
    [
        [member("facades/../../evil/a.jpg")],
        [member("../evil/a.jpg")],
        [member("facades/link", tarfile.SYMTYPE, "../../evil"), member("facades/link/a.jpg")],
        [member("facades/a.jpg", tarfile.LNKTYPE, "/etc/passwd")],
        [member("facades/a.jpg", tarfile.SYMTYPE, "/etc/passwd")],
        [member("facades/a.jpg", tarfile.FIFOTYPE)],
        [member("facades/a.jpg", tarfile.CHRTYPE)],
    ],
)
def test_facades_from_an_evil_server(tmp_path, server, entries):
    (tmp_path / "evil").mkdir()
    with tarfile.open(server, "w:gz") as archive:
        for entry in entries:
            archive.addfile(entry)
    with pytest.raises(FileNotFoundError, match=r"cannot fetch .*facades\.tar\.gz: .*") as error:
        Facades(root=tmp_path / "root").prepare_data()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "root").exists()
    assert not list((tmp_path / "evil").iterdir())


def test_absolute_paths_stay_in_the_archives_folder(tmp_path, server):
    with tarfile.open(server, "w:gz") as archive:
        archive.addfile(member(f"{tmp_path}/evil.jpg"))
        archive.addfile(member("facades/train/a.jpg"))
    with pytest.raises((ValueError, FileNotFoundError)):
        Facades(root=tmp_path / "root").prepare_data()
    assert not (tmp_path / "evil.jpg").exists()
    assert not (tmp_path / "root" / str(tmp_path).lstrip("/")).exists()


def test_facades_come_encrypted(tmp_path, server, monkeypatch):
    server.write_bytes(b"something")
    response = fetch.urlopen

    def redirected(request, timeout):
        answer = response(request, timeout)
        answer.url = "http://somewhere"
        return answer

    monkeypatch.setattr(fetch, "urlopen", redirected)
    with pytest.raises(FileNotFoundError, match="is not encrypted"):
        Facades(root=tmp_path / "root").prepare_data()


@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_facades_that_arrive_damaged_leave_nothing(tmp_path, server, content):
    server.write_bytes(content)
    with pytest.raises(FileNotFoundError, match=r"facades\.tar\.gz") as error:
        Facades(root=tmp_path / "root").prepare_data()
    assert "\n" not in str(error.value)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("download", [True, False])
def test_missing_facades(tmp_path, monkeypatch, download):
    monkeypatch.setitem(pairs.SOURCES, "facades", "http://127.0.0.1:9/facades.tar.gz")
    data = Facades(root=tmp_path / "none", download=download)
    with pytest.raises(FileNotFoundError) as error:
        (data.prepare_data if download else data.setup)()
    message = str(error.value)
    assert "\n" not in message
    for words in (str(tmp_path / "none" / "facades"), "://", "--data.root", "LIGHTNING_GANS_DATA"):
        assert words in message


# Two domains


def write_domains(folder, sizes, size=16, first=0):
    for name, count in sizes.items():
        for i in range(count):
            write(folder / name / f"{name}{i}.png", noise(first + i, size))


def who(images, count, size=16):
    """Which of the written images a loader served (without jitter)."""
    known = to_float(torch.stack([noise(i, size) for i in range(count)]))
    return [int((known == image).flatten(1).all(1).nonzero()) for image in images]


def test_unpaired_domains(tmp_path):
    write_domains(tmp_path, {"trainA": 4, "trainB": 10, "testA": 3, "testB": 2})
    options = {"image_size": 16, "load_size": 16, "flip": False, "batch_size": 2}
    data = ready(UnpairedImages(tmp_path, **options))
    assert data.view_names == ("A", "B")
    assert data.image_shape == data.input_shape == (3, 16, 16)
    assert data.num_classes is None
    loader = data.train_dataloader()
    assert len(loader) == 5
    rest = ready(UnpairedImages(tmp_path, drop_last=False, **options | {"batch_size": 3}))
    assert (data.smallest_batch, rest.smallest_batch) == (2, 1)
    epochs = [[who(part, 10) for part in joined(loader)] for _ in range(2)]
    for a, b in epochs:
        assert sorted(b) == list(range(10))
        assert sorted(a[:4]) == sorted(a[4:8]) == list(range(4))
        assert a[:4] != b[:4]
    assert epochs[0] != epochs[1]
    assert len({b - a for a, b in zip(*epochs[0], strict=True)}) > 2
    again = ready(UnpairedImages(tmp_path, **options)).train_dataloader()
    assert [who(part, 10) for part in joined(again)] == epochs[0]
    a, b = joined(data.test_dataloader())
    assert who(a, 10) == [0, 1, 2]
    assert who(b, 10)[:2] == [0, 1]

    swapped = ready(UnpairedImages(tmp_path, direction="BtoA", **options))
    assert swapped.view_names == ("B", "A")
    assert who(joined(swapped.test_dataloader())[0], 10)[:2] == [0, 1]
    assert [who(part, 10) for part in joined(swapped.train_dataloader())] == epochs[0][::-1]


def test_a_domain_may_be_smaller_than_a_batch(tmp_path):
    write_domains(tmp_path, {"trainA": 3, "trainB": 8})
    data = ready(UnpairedImages(tmp_path, image_size=16, batch_size=4))
    assert [len(part) for batch in data.train_dataloader() for part in batch] == [4] * 4
    with pytest.raises(ValueError, match="batch_size=9"):
        ready(UnpairedImages(tmp_path, image_size=16, batch_size=9)).train_dataloader()
    with pytest.raises(ValueError, match="two sets of images"):
        data.training_images()
    with pytest.raises(RuntimeError, match="setup"):
        UnpairedImages(tmp_path).train_dataloader()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_serve_as_unpaired_images(tmp_path, layout):
    for split in ("train", "val"):
        write_pairs(tmp_path, split, count=20, equal=True, layout=layout)
    data = ready(
        UnpairedImages(tmp_path, image_size=16, load_size=16, flip=False, batch_size=20, channels_b=1)
    )
    assert data.image_shape == (1, 16, 16)
    a, b = next(iter(data.train_dataloader()))
    assert b.shape == (20, 1, 16, 16)
    order = who(a, 20)
    assert sorted(order) == list(range(20))
    a_eval, b_eval = next(iter(data.test_dataloader()))
    assert who(a_eval, 20) == list(range(20))
    luma = [int((b_eval == image).flatten(1).all(1).nonzero()) for image in b]
    assert sorted(luma) == list(range(20))
    assert luma != order


def test_unpaired_crops_are_independent(tmp_path):
    for split in ("train", "test"):
        write_pairs(tmp_path, split, count=1, size=18, equal=True)
    data = ready(UnpairedImages(tmp_path, image_size=16))
    whole = to_float(noise(0, 18))
    loader = data.train_dataloader()
    places = []
    for _ in range(20):
        a, b = next(iter(loader))
        places.append((window(a[0], whole), window(b[0], whole)))
    assert sum(a == b for a, b in places) < 10
    assert None not in {place for pair in places for place in pair}


# Derived pairs


def write_folder(folder, count=4, size=16):
    for split in ("train", "test"):
        for i in range(count):
            write(folder / split / f"{i}.png", noise(i, size))
    return to_float(torch.stack([noise(i, size) for i in range(count)]))


def test_grey_and_colour(tmp_path):
    images = write_folder(tmp_path)
    data = ready(Colorization(str(tmp_path), image_size=16, batch_size=4))
    assert (data.input_shape, data.image_shape) == ((1, 16, 16), (3, 16, 16))
    assert data.view_names == ("input", "target")
    grey, colour = next(iter(data.test_dataloader()))
    assert torch.equal(colour, images)
    expected = 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]
    torch.testing.assert_close(grey, expected, rtol=0, atol=1e-6)
    backwards = ready(Colorization(str(tmp_path), image_size=16, batch_size=4, direction="BtoA"))
    assert (backwards.input_shape, backwards.image_shape) == ((3, 16, 16), (1, 16, 16))
    source, target = next(iter(backwards.test_dataloader()))
    assert torch.equal(source, colour)
    assert torch.equal(target, grey)


def test_luma_of_the_primaries(tmp_path):
    colours = torch.eye(3, dtype=torch.uint8).mul(255).tolist()
    colours += [[255] * 3, [0] * 3, [100] * 3]
    for split in ("train", "test"):
        for i, colour in enumerate(colours):
            write(
                tmp_path / split / f"{i}.png",
                torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1).expand(3, 4, 4),
            )
    grey, _ = next(iter(ready(Colorization(str(tmp_path), image_size=4, batch_size=6)).test_dataloader()))
    levels = (grey[:, 0, 0, 0] + 1) * 127.5
    torch.testing.assert_close(levels, torch.tensor([76.245, 149.685, 29.07, 255, 0, 100]), rtol=0, atol=1e-4)
    assert grey.abs().max() <= 1


def test_colorization_mirrors_both(tmp_path):
    images = write_folder(tmp_path, count=20)
    grey, colour = next(
        iter(ready(Colorization(str(tmp_path), image_size=16, batch_size=20)).train_dataloader())
    )
    mirrored = [window(image, one) for image in colour for one in images if window(image, one)]
    assert {place[2] for place in mirrored} == {False, True}
    luma = (colour * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(grey, luma, rtol=0, atol=1e-6)


def test_lab_of_known_colours():
    """Red, green, blue, white, black, and a dark grey below the knee of both curves."""
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255] * 3, [0] * 3, [10] * 3])
    light, colour = rgb_to_lab(to_float(colours.to(torch.uint8)[:, :, None, None]))
    lab = torch.cat([(light + 1) * 50, colour * 110], 1).flatten(1)
    expected = [[53.241, 80.092, 67.203], [87.735, -86.183, 83.179], [32.297, 79.188, -107.860]]
    expected += [[100, 0, 0], [0, 0, 0], [2.742, 0, 0]]
    torch.testing.assert_close(lab, torch.tensor(expected), rtol=0, atol=0.02)


def test_colorization_in_lab(tmp_path):
    images = write_folder(tmp_path)
    data = ready(Colorization(str(tmp_path), image_size=16, batch_size=4, space="lab"))
    assert (data.input_shape, data.image_shape) == ((1, 16, 16), (2, 16, 16))
    light, colour = next(iter(data.test_dataloader()))
    assert max(light.abs().max(), colour.abs().max()) <= 1
    torch.testing.assert_close(data.to_show(light, colour), images, rtol=0, atol=1e-3)
    assert data.to_show(light, 9 * colour).abs().max() <= 1  # beyond what a screen has
    assert data.real_images("test")[0][0].shape == (2, 16, 16)


def holes(broken, whole):
    """Top, left, height and width of each image's hole."""
    places = []
    for one, other in zip(broken, whole, strict=True):
        hidden = (one == 0).all(0)
        rows, columns = hidden.any(1).nonzero(), hidden.any(0).nonzero()
        height, width = len(rows), len(columns)
        assert hidden.sum() == height * width
        assert torch.equal(one[:, ~hidden], other[:, ~hidden])
        places.append((int(rows[0]), int(columns[0]), height, width))
    return places


def test_random_holes(tmp_path):
    images = write_folder(tmp_path, count=40)
    data = ready(Inpainting(str(tmp_path), image_size=16, batch_size=40, flip=False))
    assert data.input_shape == data.image_shape == (3, 16, 16)
    loader = data.train_dataloader()
    epochs = [holes(*next(iter(loader))) for _ in range(2)]
    for places in epochs:
        assert {place[2:] for place in places} == {(8, 8)}
    assert epochs[0] != epochs[1]
    both = epochs[0] + epochs[1]
    assert {top for top, *_ in both} == {left for _, left, *_ in both} == set(range(9))
    assert len({top - left for top, left, *_ in both}) > 5
    first, second = (next(iter(data.test_dataloader())) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert len(set(holes(*first))) > 10
    assert sorted(image.sum().item() for image in first[1]) == sorted(image.sum().item() for image in images)


@pytest.mark.parametrize(("hole", "side"), [(0.25, 4), (0.5, 8), (0.01, 1), (0.999, 15)])
def test_central_holes(tmp_path, hole, side):
    write_folder(tmp_path)
    data = ready(Inpainting(str(tmp_path), image_size=16, batch_size=4, hole=hole, mask="center"))
    start = (16 - side) // 2
    for loader in (data.train_dataloader(), data.test_dataloader()):
        assert set(holes(*next(iter(loader)))) == {(start, start, side, side)}


# Arguments


def test_command_line_arguments(tmp_path):
    write(tmp_path / "mine" / "1.png", noise(0, 8))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data")
    for kind, arguments in (
        (PairedImages, ["direction=BtoA", "load_size=300", "on_error=skip", "limit=3"]),
        (Facades, ["direction=AtoB", "interpolation=nearest", "batch_size=4", "root=x"]),
        (UnpairedImages, ["channels_b=1", "seed=3", "cache=false", "val_fraction=0.1"]),
        (Colorization, ["direction=BtoA", "labels=none", "crop=8"]),
        (Inpainting, ["hole=0.3", "mask=center", "channels=1"]),
    ):
        command = [f"--data={kind.__module__}.{kind.__name__}", "--data.folder=mine"]
        config = parser.parse_args(command + [f"--data.{argument}" for argument in arguments])
        new = hasattr(parser, "instantiate")
        data = (parser.instantiate(config) if new else parser.instantiate_classes(config)).data
        assert type(data) is kind
        assert data.hparams["folder"] == "mine"
        assert all(value is None or isinstance(value, int | float | str) for value in data.hparams.values())


# Mistakes


def test_images_without_partner(tmp_path):
    write_domains(tmp_path, {"A/train": 0, "B/train": 0})
    for i in range(4):
        write(tmp_path / "trainA" / f"{i}.png", noise(i, 8))
    for i in (0, 2, 3, 4, 5):
        write(tmp_path / "trainB" / f"{i}.png", noise(i, 8))
    with pytest.raises(
        ValueError, match=r"trainA/1\.png has no partner .* \(4 images in trainA, 5 in trainB"
    ) as error:
        PairedImages(tmp_path).setup("fit")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("half", "missing"), [("A/train", "B/train"), ("trainB", "trainA"), ("train/A", "train/B")]
)
@pytest.mark.parametrize("kind", [PairedImages, UnpairedImages])
def test_a_missing_half(tmp_path, kind, half, missing):
    write(tmp_path / half / "1.png", noise(0, 8))
    with pytest.raises(ValueError, match=f"{missing} is missing"):
        kind(str(tmp_path)).setup("fit")


def test_two_files_of_one_name(tmp_path):
    for name in ("trainA/1.png", "trainA/1.bmp", "trainB/1.png"):
        write(tmp_path / name, noise(0, 8))
    with pytest.raises(ValueError, match=r"trainA/1.bmp and trainA/1.png have one name"):
        PairedImages(tmp_path).setup("fit")


def test_a_file_that_cannot_be_halved(tmp_path):
    write(tmp_path / "train" / "odd.png", torch.zeros(3, 8, 15, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"odd\.png.*15"):
        PairedImages(tmp_path).setup("fit")


@pytest.mark.parametrize("kind", [PairedImages, UnpairedImages])
def test_folders_without_images(tmp_path, kind):
    with pytest.raises(FileNotFoundError, match=r"folder=elsewhere .*LIGHTNING_GANS_DATA"):
        kind("elsewhere").setup("fit")
    with pytest.raises(ValueError, match="has no train images") as error:
        kind(str(tmp_path)).setup("fit")
    for words in ("A/train/ + B/train/", "trainA/ + trainB/", "train/A/ + train/B/", ", train/"):
        assert words in str(error.value)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "Thumbs.db").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"train has no images"):
        kind(str(tmp_path)).setup("fit")


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (PairedImages, {"load_size": 255}, "load_size=255 is smaller than image_size=256"),
        (UnpairedImages, {"load_size": 255}, "load_size=255 is smaller than image_size=256"),
        (PairedImages, {"direction": "AB"}, "direction='AB'.* AtoB"),
        (UnpairedImages, {"direction": "AB"}, "direction='AB'"),
        (Colorization, {"direction": "AB"}, "direction='AB'"),
        (PairedImages, {"image_size": 0}, "image_size=0"),
        (PairedImages, {"channels_a": 2}, "channels_a=2"),
        (UnpairedImages, {"channels_b": 4}, "channels_b=4"),
        (PairedImages, {"interpolation": "cubic"}, "interpolation='cubic'"),
        (Inpainting, {"hole": 0.0}, "hole=0.0"),
        (Inpainting, {"hole": 1}, "hole=1"),
        (Inpainting, {"mask": "corner"}, "mask='corner'"),
    ],
)
def test_bad_arguments_are_refused_at_once(tmp_path, kind, arguments, words):
    write(tmp_path / "train" / "1.png", noise(0, 8))
    with pytest.raises(ValueError, match=words) as error:
        kind(str(tmp_path), **arguments)
    assert "\n" not in str(error.value)
