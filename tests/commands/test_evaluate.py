"""``lightning-gans evaluate``: any images against any others."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from lightning import Trainer
from PIL import Image
from torch.nn import functional as F
from torchvision.io import write_png

from lightning_gans.commands.evaluate import read_images
from lightning_gans.data import Colorization, Digits
from lightning_gans.metrics import FID, IS, KID, NearestNeighbours, PerClassFID, RealStatistics
from lightning_gans.metrics.evaluation import Evaluation, RealImages
from lightning_gans.metrics.frechet import feature_statistics
from lightning_gans.metrics.stream import Samples
from tests.conformance.shapes import TwoTranslators
from tests.metrics.tiny import TinyExtractor

TINY = ("--extractor", "tests.metrics.tiny.TinyExtractor", "--device", "cpu")


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def images():
    data = Digits()
    data.setup("fit")
    return data.training_images()[0]


def pngs(path, images):
    path.mkdir()
    for number, image in enumerate(images):
        write_png(image, str(path / f"{number}.png"))
    return path


@pytest.fixture
def folder(tmp_path, images):
    return pngs(tmp_path / "pictures", images[:60])


def enlarged(images, height, width):
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)


def fid_of(fake, real):
    fid = FID()
    fid.update(TinyExtractor()(fake)[0], real=False)
    fid.update(TinyExtractor()(real)[0], real=True)
    return float(fid.compute()["fid"])


def npz(path, images):
    np.savez(path, arr_0=images.permute(0, 2, 3, 1).numpy())
    return path


def scores(cli, tmp_path, *arguments):
    cli("evaluate", *arguments, *TINY, "--json", tmp_path / "scores.json", "--csv", tmp_path / "scores.csv")
    found = json.loads((tmp_path / "scores.json").read_text())
    row = next(csv.DictReader((tmp_path / "scores.csv").open()))
    assert float(row["is"]) == found["is"]
    return found


def test_a_set_with_itself(cli, tmp_path, images, folder, capsys):
    file = npz(tmp_path / "images.npz", images[:60])
    for first, second in ((file, folder), (folder, file), (folder, folder)):
        found = scores(cli, tmp_path, "--samples", first, "--reference", second)
        assert found["fid"] < 1e-6
        assert found["samples"] == found["real_samples"] == 60
    printed = capsys.readouterr().out
    assert "scores of 60 samples, 60 real images" in printed
    assert "extractor tiny, hash 0000000000000000" in printed


def test_a_file_against_a_data_set(cli, tmp_path, images):
    file = npz(tmp_path / "images.npz", 255 - images[:200])
    found = scores(cli, tmp_path, "--samples", file, "--data", "Digits", "--metrics", "[FID, IS, KID]")
    assert found["fid"] == pytest.approx(fid_of(255 - images[:200], images), rel=1e-9)
    assert found["real_samples"] == 1500
    assert found["protocol"]["real"]["split"] == "train"
    assert (found["protocol"]["real"]["size"], found["protocol"]["real"]["n"]) == ([8, 8], 1500)
    assert "kid" in found


def test_images_that_are_not_square_stay_whole(cli, tmp_path, images):
    wide = enlarged(images[:60], 16, 24)
    file, folder = npz(tmp_path / "wide.npz", wide), pngs(tmp_path / "wide", wide)
    for first, second in ((file, folder), (folder, file), (file, file)):
        found = scores(cli, tmp_path, "--samples", first, "--reference", second)
        assert found["fid"] < 1e-6
        assert found["protocol"]["real"]["size"] == [16, 24]
        assert found["protocol"]["real"]["n"] == 60
        assert "resized" not in found["protocol"] | found["protocol"]["real"]


@pytest.mark.parametrize("store", [lambda path, images: npz(path.with_suffix(".npz"), images), pngs])
def test_a_reference_keeps_its_size(cli, tmp_path, images, store):
    small, large = enlarged(images[:60], 16, 16), enlarged(images[60:150], 32, 32)
    first, second = store(tmp_path / "small", small), store(tmp_path / "large", large)
    found = scores(cli, tmp_path, "--samples", first, "--reference", second)
    assert found["fid"] == pytest.approx(fid_of(small, large), rel=1e-9)
    assert found["protocol"]["real"]["size"] == [32, 32]


def test_both_sides_go_through_the_same_sizes(cli, tmp_path, images):
    """The same folder on both sides: no size and no batch size of the data module comes between."""
    pictures = pngs(tmp_path / "few", enlarged(images[:20], 32, 32))
    data = ("--data", "ImageFolder", "--data.folder", pictures, "--data.channels", "1")
    found = scores(cli, tmp_path, "--samples", pictures, *data)
    assert found["fid"] < 1e-6
    assert found["protocol"]["real"]["size"] in (32, [32, 32])


def test_a_folder_is_grey_if_all_its_images_are(tmp_path, images):
    assert read_images(str(pngs(tmp_path / "grey", images[:3]))).shape == (1, 8, 8)
    mixed = pngs(tmp_path / "mixed", images[:3])
    colours = torch.randint(256, (3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_png(colours, str(mixed / "9.png"))
    found = read_images(str(mixed))
    assert found.shape == (3, 8, 8)
    assert any(torch.equal(image, colours) for image in found.at(torch.arange(3)))


def test_both_sides_are_read_at_one_size(cli, tmp_path, images):
    """The data would be decoded to 64 pixels, and is cut to batches of 128."""
    large = enlarged(images[:30], 96, 96)
    folder, found = pngs(tmp_path / "large", large), {}
    for name, real in {
        "data": ("--data", "ImageFolder", "--data.folder", folder, "--data.channels", 1),
        "reference": ("--reference", folder),
    }.items():
        found[name] = scores(cli, tmp_path, "--samples", folder, *real, "--metrics", ORDERED)
        assert found[name]["fid"] == 0
        assert found[name]["protocol"]["size"] == found[name]["protocol"]["real"]["size"] == [96, 96]
    assert found["data"]["kid"] == pytest.approx(found["reference"]["kid"], rel=1e-6)


ORDERED = json.dumps(
    [
        "FID",
        {"class_path": "IS", "init_args": {"splits": 4}},
        {"class_path": "KID", "init_args": {"subset_size": 11, "subsets": 3}},
    ]
)


def test_names_of_files_change_no_score(cli, tmp_path, images):
    """Not those of scores of a part of the images either."""
    large = enlarged(images[:40], 32, 32)
    odd = enlarged(images[40:42], 32, 40)
    parts = [
        {"class_path": "SWD", "init_args": {"num_images": 9, "patches": 4, "directions": 4}},
        {"class_path": "NearestNeighbours", "init_args": {"num_samples": 5}},
        {"class_path": "ParzenLikelihood", "init_args": {"num_validation": 9, "num_centres": 9}},
    ]
    metrics = json.dumps([*json.loads(ORDERED), *parts])
    found = []
    for reverse in (1, -1):
        folder = tmp_path / f"pictures{reverse}"
        folder.mkdir()
        for number, image in enumerate([*large, *odd]):
            write_png(image, str(folder / f"{reverse * number + 50}.png"))
        given = ("--samples", folder, "--reference", folder, "--n", 30, "--metrics", metrics)
        with pytest.warns(UserWarning, match="2 of 42 images to 32x32"):
            found.append(scores(cli, tmp_path, *given))
    for name in found[0].keys() - {"protocol"}:
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-6, abs=1e-9), name
    assert found[0]["neighbour_distance"] == 0


@pytest.mark.parametrize("ending", ["png", "tif"])  # Pillow turns TIFF files itself
def test_photographs_are_turned_upright(tmp_path, images, ending):
    picture = Image.fromarray(enlarged(images[:1], 16, 24)[0, 0].numpy())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    (tmp_path / "photographs").mkdir()
    picture.save(tmp_path / "photographs" / "1.png")
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "photographs" / f"2.{ending}", exif=exif)
    found = read_images(str(tmp_path / "photographs"))
    assert found.shape == (1, 16, 24)
    assert torch.equal(*found.at(torch.arange(2)))


def test_images_of_different_sizes_are_resized_and_it_is_said(cli, tmp_path, images, folder):
    write_png(enlarged(images[:1], 16, 12)[0], str(folder / "99.png"))
    with pytest.warns(UserWarning, match=r"2 sizes: 1 of 61 images to 8x8 are cropped") as caught:
        found = scores(cli, tmp_path, "--samples", folder, "--metrics", "[IS]")
    assert len([one for one in caught if "cropped" in str(one.message)]) == 1
    assert found["protocol"]["resized"] == "1 of 61 images to 8x8"
    file = npz(tmp_path / "images.npz", images[:60])
    with pytest.warns(UserWarning, match="cropped"):
        found = scores(cli, tmp_path, "--samples", file, "--reference", folder)
    assert found["protocol"]["real"]["resized"] == "1 of 61 images to 8x8"


def test_statistics_tell_what_they_were_computed_with(cli, fails, tmp_path, images, folder):
    mu, sigma, _ = feature_statistics(TinyExtractor()(images[:60])[0])
    ours = TinyExtractor().protocol
    arguments = ("--samples", folder, "--reference", tmp_path / "real.npz")
    for name in ("hash", "resize", "precision"):
        RealStatistics(mu, sigma, 60, protocol={**ours, name: "else"}).save(tmp_path / "real.npz")
        line = fails("evaluate", *arguments, *TINY)
        assert f"real.npz: the file of statistics was computed with {name}=else" in line
        assert f"has {name}={ours[name]}: use the same" in line
    RealStatistics(mu, sigma, 60, protocol=ours).save(tmp_path / "real.npz")
    assert scores(cli, tmp_path, *arguments)["protocol"]["real"]["n"] == 60


def test_what_does_not_fit_is_said_before_the_pass(images):
    extractor = TinyExtractor()
    mu, sigma, _ = feature_statistics(extractor(images[:60])[0])
    of_features = RealStatistics(mu, sigma, 60, TinyExtractor()(images[:60])[0])
    large = RealImages(enlarged(images[:60], 16, 16), torch.full((60,), -1), {})
    labels = torch.arange(60) % 10
    stream, samples = RealImages(images[:60], labels, {}), Samples(images[:60], torch.arange(60), labels)
    for metric, real, words in (
        (FID(), None, "FID compares with real images"),
        (FID(), RealStatistics(mu[:5], sigma[:5, :5], 60), "of 5 features, and the extractor makes 12"),
        (KID(), RealStatistics(mu, sigma, 60), "mu and sigma only"),
        (PerClassFID(10), of_features, "no labels, which PerClassFID needs"),
        (NearestNeighbours(4), large, r"shape \(1, 16, 16\) and samples \(1, 8, 8\)"),
    ):
        evaluation = Evaluation([metric], extractor, count=60, progress=False)
        with pytest.raises(ValueError, match=words):
            evaluation.try_out(stream, real)
        with pytest.raises(ValueError, match=words):
            evaluation.run(iter([samples, None]), real)  # None: the second batch is not asked for


def test_a_rank_without_a_share_is_refused_on_all(images):
    real = RealImages(images[:2], torch.full((2,), -1), {})
    for rank in range(3):
        with pytest.raises(ValueError, match="2 samples cannot be shared out over 3 processes"):
            Evaluation([IS()], TinyExtractor(), count=2, rank=rank, world_size=3)
        evaluation = Evaluation([FID()], TinyExtractor(), count=3, rank=rank, world_size=3)
        for begin in (evaluation.prepare, lambda real, run=evaluation.run: run([], real)):
            with pytest.raises(ValueError, match="2 real images cannot be shared out over 3 processes"):
                begin(real)


def test_statistics_of_other_tools(cli, tmp_path, images, folder):
    mu, sigma, _ = feature_statistics(TinyExtractor()(images[:60])[0])
    np.savez(tmp_path / "theirs.npz", mu=mu.numpy(), sigma=sigma.numpy())
    found = scores(cli, tmp_path, "--samples", folder, "--reference", tmp_path / "theirs.npz")
    assert found["fid"] < 1e-6
    assert found["real_samples"] is None
    RealStatistics(mu, sigma, 60).save(tmp_path / "ours.npz")
    assert (
        scores(cli, tmp_path, "--samples", folder, "--reference", tmp_path / "ours.npz")["real_samples"] == 60
    )


def test_without_real_images(cli, tmp_path, folder):
    found = scores(cli, tmp_path, "--samples", folder, "--n", 30)
    assert "fid" not in found
    assert found["samples"] == 30


def test_a_checkpoint_scores_as_its_samples(cli, tmp_path):
    quick = ("--trainer.max_steps=2", "--trainer.enable_progress_bar=false", "--trainer.limit_val_batches=0")
    cli("fit", "--model=GAN", "--model.latent=Normal", "--model.latent.dim=5", "--data=Digits", *quick)
    checkpoint = "runs/gan/version_0/checkpoints/last.ckpt"
    cli("sample", "--ckpt_path", checkpoint, "--n", 50, "--out", tmp_path / "samples.npz", "--seed", 3)
    real = ("--data", "Digits", "--data.batch_size", 10)
    cli("sample", "--ckpt_path", checkpoint, "--n", 50, "--out", tmp_path / "pngs", "--seed", 3)
    real = (*real, "--metrics", ORDERED)
    first = scores(cli, tmp_path, "--ckpt_path", checkpoint, "--n", 50, "--seed", 3, *real)
    assert first["protocol"]["weights"] == "raw"
    for stored in ("samples.npz", "pngs"):
        second = scores(cli, tmp_path, "--samples", tmp_path / stored, *real)
        for name in ("fid", "is", "is_std", "kid", "kid_std"):
            assert first[name] == pytest.approx(second[name], rel=1e-6), name


def test_a_run_is_scored_as_it_scored_itself(cli, tmp_path, capsys):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(OWN))
    cli("fit", "--config", "own.yaml")
    run = tmp_path / "runs/gan/version_0"
    last = json.loads((run / "evaluations.jsonl").read_text().splitlines()[-1])
    assert last.pop("update") == 2
    capsys.readouterr()
    cli("evaluate", "--ckpt_path", run / "checkpoints/last.ckpt", "--json", "found.json")
    assert "data Digits, extractor TinyExtractor, metrics FID and ParzenLikelihood" in capsys.readouterr().err
    found = json.loads((tmp_path / "found.json").read_text())
    for name in ("samples", "real_samples", "fid", "parzen"):
        assert found[name] == pytest.approx(last[name], rel=1e-6)
    assert found["protocol"].items() >= last["protocol"].items()
    # What is typed beats it.
    cli("evaluate", "--ckpt_path", run / "checkpoints/last.ckpt", "--json", "found.json", "--n", 20,
        "--data.classes", "[3, 4]", "--metrics", "[FID]")  # fmt: skip
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["samples"], found["real_samples"] < 80) == (20, True)
    assert found["fid"] != pytest.approx(last["fid"])
    assert "parzen" not in found


def test_a_single_callback_of_a_run_needs_no_list(cli, tmp_path, capsys):
    trainer = {**OWN["trainer"], "callbacks": OWN["trainer"]["callbacks"][1]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**OWN, "trainer": trainer}))
    cli("fit", "--config", "own.yaml")
    capsys.readouterr()
    cli("evaluate", "runs/gan/version_0")
    assert "extractor TinyExtractor, metrics FID and ParzenLikelihood" in capsys.readouterr().err


def test_rejection_as_in_the_run(cli, fails, tmp_path, capsys):
    trainer = json.loads(json.dumps(OWN["trainer"]))
    trainer["callbacks"] = trainer["callbacks"][1]
    trainer["callbacks"]["init_args"] |= {"rejection": 0.6, "num_calibration": 60}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**OWN, "trainer": trainer}))
    cli("fit", "--config", "own.yaml")
    last = json.loads((tmp_path / "runs/gan/version_0/evaluations.jsonl").read_text().splitlines()[-1])
    capsys.readouterr()
    cli("evaluate", "runs/gan/version_0", "--json", "found.json")
    assert "rejection 0.6, num_calibration 60" in capsys.readouterr().err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["fid"] == pytest.approx(last["fid"], rel=1e-6)
    assert found["protocol"].items() >= last["protocol"].items()
    assert found["protocol"]["rejection"] == 0.6
    assert 0.4 < found["protocol"]["acceptance"] <= 1
    cli("evaluate", "runs/gan/version_0", "--json", "found.json", "--rejection", "null")
    without = json.loads((tmp_path / "found.json").read_text())
    assert without["fid"] != found["fid"]
    assert "rejection" not in without["protocol"]
    assert "rejection=0.0: " in fails("evaluate", "runs/gan/version_0", "--rejection", 0)


OWN = {
    "model": {"class_path": "GAN"},
    "data": {"class_path": "Digits", "init_args": {"batch_size": 50}},
    "trainer": {
        "max_steps": 2,
        "limit_val_batches": 0,
        "enable_progress_bar": False,
        "callbacks": [
            {"class_path": "Evaluate", "init_args": {"metrics": ["IS"], "name": "x", "num_samples": 30,
             "extractor": "tests.metrics.tiny.TinyExtractor", "every_n_updates": 2}},
            {"class_path": "Evaluate", "init_args": {
                "metrics": ["FID", {"class_path": "ParzenLikelihood", "init_args": {"num_validation": 9}}],
                "extractor": "tests.metrics.tiny.TinyExtractor",
                "split": "test", "seed": 4, "num_samples": 50, "every_n_updates": 2,
            }},
        ],
    },
    "samples": {"gif": False},
}  # fmt: skip


OTHERS = json.dumps(
    [
        {"class_path": "tests.metrics.own.MeanFeature"},
        {"class_path": "tests.metrics.own.Brightness"},
        {
            "class_path": "torchmetrics.image.fid.FrechetInceptionDistance",
            "init_args": {"feature": {"class_path": "tests.metrics.own.Pixels"}},
        },
        "IS",
    ]
)


def test_metrics_of_others_by_class_path(cli, tmp_path, images):
    file = npz(tmp_path / "images.npz", 255 - images[:200])
    found = scores(cli, tmp_path, "--samples", file, "--data", "Digits", "--metrics", OTHERS)
    assert found["brightness"] == pytest.approx(float((255 - images[:200]).float().mean()), rel=1e-5)
    means = [TinyExtractor()(part)[0].mean() for part in (images, 255 - images[:200])]
    assert found["mean_feature"] == pytest.approx(float(means[0] - means[1]), rel=1e-3)
    assert found["frechet_inception_distance"] > 0


def test_metrics_of_others_while_a_recipe_trains(cli, tmp_path):
    callback = {
        "class_path": "Evaluate",
        "init_args": {
            "metrics": json.loads(OTHERS),
            "extractor": {"class_path": "tests.metrics.tiny.TinyExtractor"},
            "every_n_updates": 1,
            "num_samples": 20,
        },
    }
    cli("fit", "--model=GAN", "--data=Digits", "--trainer.max_steps=2", "--trainer.limit_val_batches=0",
        "--trainer.enable_progress_bar=false", "--samples.gif=false",
        f"--trainer.callbacks={json.dumps([callback])}")  # fmt: skip
    file = tmp_path / "runs/gan/version_0/evaluations.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["update"] for line in found] == [1, 2]
    assert {"brightness", "mean_feature", "frechet_inception_distance", "is"} <= found[-1].keys()


def test_translations_are_scored(cli, tmp_path, images):
    rgb = images[:8].expand(-1, 3, -1, -1)
    pngs(tmp_path / "all", rgb)
    (tmp_path / "data").mkdir()
    (tmp_path / "all").rename(tmp_path / "data" / "all")
    data = Colorization(str(tmp_path / "data"), image_size=8, val_fraction=0.5)
    game = TwoTranslators(data.input_shape, data.image_shape)
    trainer = Trainer(max_steps=1, logger=False, enable_checkpointing=False, limit_val_batches=0,
                      enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")  # fmt: skip
    trainer.fit(game, data)
    trainer.save_checkpoint(tmp_path / "game.ckpt")
    given = ("--data", "Colorization", "--data.folder", tmp_path / "data", "--data.image_size", 8,
             "--data.val_fraction", 0.5)  # fmt: skip
    cli("evaluate", "--ckpt_path", tmp_path / "game.ckpt", *given, "--json", tmp_path / "scores.json",
        "--metrics", '["FID"]', "--extractor", "tests.metrics.tiny.MeanColour")  # fmt: skip
    found = json.loads((tmp_path / "scores.json").read_text())
    assert (found["samples"], found["real_samples"]) == (4, 4)
    assert found["fid"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "ckpt_path, samples: give one of them"),
        (("--samples", "{folder}", "--ckpt_path", "x"), "ckpt_path, samples: give one of them"),
        (("--samples", "{folder}", "--data", "Digits", "--reference", "x"), "data, reference: give only one"),
        (("--samples", "{folder}", "--n", "1"), "n=1: give a whole number of at least 2"),
        (("--samples", "{folder}", "--n", "61"), "n=61 exceeds the 60 images"),
        (("--samples", "nowhere"), "nowhere is neither a folder nor a file"),
        (("--samples", "{folder}", "--reference", "{empty}"), "has no images"),
        (("--samples", "{text}"), "damaged, or no .npz of images"),
        (("--samples", "{cut}"), "damaged, or no .npz of images"),
        (("--samples", "{flipped}"), "damaged, or no .npz of images"),
        (("--samples", "{single}"), "damaged, or no .npz of images or statistics"),
        (("--samples", "{one_picture}"), "samples={one_picture} is one image: give a folder"),
        (("--samples", "{folder}", "--reference", "{one_picture}"), "reference={one_picture} is one image"),
        (("--samples", "{names}"), "it has labels, pictures: images are to be called arr_0"),
        (("--samples", "{folder}", "--reference", "{mu}"), "'sigma' is missing among mu, n"),
        (("--samples", "{folder}", "--reference", "{one}"), "1 real image: FID compares with two at least"),
        (
            (
                "--samples",
                "{folder}",
                "--data",
                "ImageFolder",
                "--data.folder",
                "{folder}",
                "--split",
                "test",
            ),
            "split=test: ImageFolder has no test split here",
        ),
        (
            ("--samples", "{folder}", "--data", "Digits", "--metrics", "[ParzenLikelihood]"),
            "ParzenLikelihood needs split=test, not train: give --split test",
        ),
        (("--samples", "{wide}", "--data", "Digits"), "samples={wide}: 24x16 pixels are not square"),
        (("--samples", "{folder}", "--reference", "{cut}"), "damaged, or no .npz of images"),
        (("--samples", "{one}"), "is 1 image: a score needs 2"),
        (
            ("--samples", "{folder}", "--reference", "{one}", "--metrics", "[NearestNeighbours]"),
            "one.npz: NearestNeighbours compares pixels, but real images have shape (1, 4, 4) and samples",
        ),
        (("--samples", "{folder}", "--rejection", "0.5"), "rejection=0.5: files have no discriminator"),
        (("--samples", "{floats}"), "arr_0 is float64 (4, 8, 8, 1): give uint8"),
        (
            ("--samples", "{folder}", "--json", "{folder}"),
            "is a folder: give a file",
        ),
        (
            ("--samples", "{folder}", "--metrics", "[FID]"),
            "FID compares with real images: give them, by --data",
        ),
        (("--samples", "{folder}", "--reference", "{statistics}", "--metrics", "[KID]"), "ask for FID alone"),
        (
            ("--samples", "{folder}", "--reference", "{folder}", "--metrics", "[PerClassFID]"),
            "PerClassFID needs labels",
        ),
    ],
)
def test_bad_input(fails, tmp_path, folder, arguments, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "floats.npz", arr_0=np.zeros((4, 8, 8, 1)))
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(12), sigma=np.eye(12))
    whole = npz(tmp_path / "one.npz", torch.zeros(1, 1, 4, 4, dtype=torch.uint8)).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:-40])
    (tmp_path / "flipped.npz").write_bytes(whole.replace(bytes(16), bytes(15) + b"1"))
    np.savez(tmp_path / "names.npz", labels=np.zeros(4), pictures=np.zeros((4, 8, 8, 1), np.uint8))
    np.savez(tmp_path / "mu.npz", mu=np.zeros(12), n=9)
    np.save(tmp_path / "single.npy", np.zeros((4, 8, 8, 1), np.uint8))
    places = {
        "folder": folder,
        "empty": tmp_path / "empty",
        "text": tmp_path / "text.npz",
        "floats": tmp_path / "floats.npz",
        **{n: tmp_path / f"{n}.npz" for n in ("statistics", "one", "cut", "flipped", "names", "mu")},
        "one_picture": folder / "1.png",
        "wide": pngs(tmp_path / "wide", enlarged(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 16, 24)),
        "single": tmp_path / "single.npy",
    }
    given = [argument.format(**places) for argument in arguments]
    assert words.format(**places) in fails("evaluate", *given, *TINY)


def test_a_damaged_image_is_named(fails, folder):
    (folder / "7.png").write_bytes(b"no image")
    assert "7.png: not an image" in fails("evaluate", "--samples", folder, *TINY)


def test_weights_that_cannot_be_had(fails, folder, monkeypatch):
    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    line = fails("evaluate", "--samples", folder, "--device", "cpu")
    assert "weights-inception-2015-12-05-6726825d.pth" in line
    assert "https://" in line


def test_metrics_of_pixels_need_no_weights(cli, folder, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    real = ("--reference", str(folder), "--device", "cpu", "--json", str(tmp_path / "s.json"))
    cli("evaluate", "--samples", folder, *real, "--metrics", "[NearestNeighbours]")
    assert json.loads((tmp_path / "s.json").read_text())["neighbour_distance"] == 0
