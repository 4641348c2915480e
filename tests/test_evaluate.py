"""``lightning-gans evaluate``: any images against any others."""

import csv
import json

import numpy as np
import pytest
import torch
from torchvision.io import write_png

from lightning_gans.data import Digits
from lightning_gans.metrics import FID, RealStatistics
from lightning_gans.metrics.frechet import statistics

from .metrics.tiny import TinyExtractor

TINY = ("--extractor", "tests.metrics.tiny.TinyExtractor", "--device", "cpu")


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def images():
    data = Digits()
    data.setup("fit")
    return data.training_images()[0]


@pytest.fixture
def folder(tmp_path, images):
    path = tmp_path / "pictures"
    path.mkdir()
    for number, image in enumerate(images[:60]):
        write_png(image, str(path / f"{number}.png"))
    return path


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
    fid = FID()
    fid.update(TinyExtractor()(255 - images[:200])[0], real=False)
    fid.update(TinyExtractor()(images)[0], real=True)
    assert found["fid"] == pytest.approx(float(fid.compute()["fid"]), rel=1e-9)
    assert found["real_samples"] == 1500
    assert found["protocol"]["real"]["split"] == "train"
    assert "kid" in found


def test_statistics_of_other_tools(cli, tmp_path, images, folder):
    mu, sigma, _ = statistics(TinyExtractor()(images[:60])[0])
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
    first = scores(cli, tmp_path, "--ckpt_path", checkpoint, "--n", 50, "--seed", 3, *real)
    second = scores(cli, tmp_path, "--samples", tmp_path / "samples.npz", *real)
    assert first["fid"] == pytest.approx(second["fid"], rel=1e-9)
    assert first["protocol"]["weights"] == "raw"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "ckpt_path, samples: give one of them"),
        (("--samples", "{folder}", "--ckpt_path", "x"), "ckpt_path, samples: give one of them"),
        (("--samples", "{folder}", "--data", "Digits", "--reference", "x"), "data, reference: give only one"),
        (("--samples", "{folder}", "--n", "1"), "n=1: a score needs 2 samples"),
        (("--samples", "{folder}", "--n", "61"), "n=61 exceeds the 60 images"),
        (("--samples", "nowhere"), "nowhere is neither a folder nor a file"),
        (("--samples", "{folder}", "--reference", "{empty}"), "has no images"),
        (("--samples", "{text}"), "no readable .npz"),
        (("--samples", "{floats}"), "arr_0 must be uint8"),
        (
            ("--samples", "{folder}", "--json", "nowhere/a.json"),
            "json=nowhere/a.json: there is no such folder",
        ),
        (("--samples", "{folder}", "--metrics", "[FID]"), "FID compares with real images: give them"),
        (("--samples", "{folder}", "--reference", "{statistics}", "--metrics", "[KID]"), "ask for FID alone"),
        (("--samples", "{folder}", "--metrics", "[PerClassFID]"), "PerClassFID needs labels"),
    ],
)
def test_bad_input(fails, tmp_path, folder, arguments, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "floats.npz", arr_0=np.zeros((4, 8, 8, 1)))
    np.savez(tmp_path / "statistics.npz", mu=np.zeros(12), sigma=np.eye(12))
    places = {
        "folder": folder,
        "empty": tmp_path / "empty",
        "text": tmp_path / "text.npz",
        "floats": tmp_path / "floats.npz",
        "statistics": tmp_path / "statistics.npz",
    }
    given = [argument.format(**places) for argument in arguments]
    assert words in fails("evaluate", *given, *TINY)


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
