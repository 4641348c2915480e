"""Scores during training, in validate and in test: right, cached, and without any trace in the training."""

import csv
import json
import math
import warnings
from functools import partial
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from lightning import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchvision.io import write_png

from lightning_gans import GAN, WGAN, Pix2Pix, RejectionSampler, load
from lightning_gans.callbacks import Checkpoint, Evaluate, GeneratorEMA, SampleGrid, clock
from lightning_gans.callbacks.scoring import check_names
from lightning_gans.data import Colorization, Digits, GaussianMixtures, PairedImages, UnpairedImages
from lightning_gans.drawing.pixels import to_bytes
from lightning_gans.game.latents import Normal
from lightning_gans.metrics import (
    FID,
    IS,
    KID,
    SWD,
    ClassBalance,
    DensityCoverage,
    FCNScore,
    FeatureNeighbours,
    MixtureJSD,
    ModeCoverage,
    ModifiedIS,
    NearestNeighbours,
    ParzenLikelihood,
    PerClassFID,
    PrecisionRecall,
    StackedModes,
    frechet_distance,
)
from lightning_gans.metrics.frechet import feature_statistics
from lightning_gans.metrics.stream import samples_of
from lightning_gans.networks.mlp import MLPDiscriminator, MLPGenerator

from ..conformance.shapes import TwoTranslators
from ..metrics.own import Brightness, MeanFeature, NeedsColour, Pixels
from ..metrics.tiny import MeanColour, TinyExtractor
from ..tiny_data import write_labelled
from .helpers import Save, digits, fit, image_game, norm_game, point_game, ring, weights
from .test_sample_grid import Watcher


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*biased|.*subset")
        yield


def evaluate(*metrics, **given):
    options = {"extractor": TinyExtractor(), "num_samples": 100, "batch_size": 32, **given}
    return Evaluate(list(metrics) or [FID(), IS()], **options)


def lines(folder):
    return [json.loads(line) for line in (Path(folder) / "evaluations.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("make", "data"), [(image_game, digits), (norm_game, digits)])
def test_training_is_the_same_bit_for_bit(tmp_path, make, data):
    ends = []
    for callbacks in ([], [evaluate(FID(), IS(), KID(), NearestNeighbours(4), every_n_updates=2)]):
        seed_everything(5, verbose=False)
        game, watcher = make(), Watcher()
        fit(tmp_path, game, data(), [*callbacks, watcher], 6)
        ends.append((weights(game), game.rng.get_state(), watcher.seen))
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])
    assert ends[0][2] == ends[1][2]


def test_scores_are_those_of_the_stored_images(tmp_path):
    callback = evaluate(every_n_updates=3)
    game = image_game()
    fit(tmp_path, game, digits(), [callback], 7)
    found = lines(tmp_path)
    assert [line["update"] for line in found] == [3, 6, 7]
    images = to_bytes(game.sample(100, seed=0))
    real = Digits()
    real.setup("fit")
    extractor = TinyExtractor()
    mu, sigma, _ = feature_statistics(extractor(images)[0])
    expected = frechet_distance(mu, sigma, *feature_statistics(extractor(real.training_images()[0])[0])[:2])
    assert found[-1]["fid"] == pytest.approx(float(expected), rel=1e-9)
    assert found[-1]["samples"] == 100
    assert found[-1]["real_samples"] == 1500
    protocol = found[-1]["protocol"]
    assert protocol["extractor"] == "tiny"
    assert protocol["weights"] == "raw"
    assert protocol["real"]["data"] == "Digits"
    assert callback.scores.scalars()["fid"] == found[-1]["fid"]


def test_accepted_samples_alone(tmp_path):
    """Each evaluation finds its own bound; a game without density ratios is refused before it trains."""
    callback = evaluate(every_n_updates=3, rejection=0.5, num_calibration=300)
    game = image_game()
    with torch.no_grad():  # sure of itself before it is trained
        list(game.discriminator.parameters())[-2].mul_(1000)
    fit(tmp_path, game, digits(), [callback], 6)
    found = lines(tmp_path)
    rates = [line["protocol"]["acceptance"] for line in found]
    assert [line["protocol"]["rejection"] for line in found] == [0.5, 0.5]
    assert len(set(rates)) == 2
    sampler = RejectionSampler(game, num_calibration=300)
    assert rates[-1] == pytest.approx(sampler.acceptance, abs=1e-4)
    stream = samples_of(game, 100, rejection=0.5, num_calibration=300)
    images = torch.cat([batch.values for batch in stream.batches(range(100), 32)])
    real = Digits()
    real.setup("fit")
    extractor = TinyExtractor()
    sides = [feature_statistics(extractor(x)[0])[:2] for x in (images, real.training_images()[0])]
    assert found[-1]["fid"] == pytest.approx(float(frechet_distance(*sides[0], *sides[1])), rel=1e-9)
    with pytest.raises(ValueError, match=r"rejection=1.0: "):
        evaluate(rejection=1.0)
    with pytest.raises(ValueError, match="the logits of a WGAN"):
        fit(tmp_path, WGAN((1, 8, 8)), digits(), [evaluate(rejection=0.5)], 3)


def test_one_pass_feeds_all_metrics(tmp_path):
    extractor = TinyExtractor()
    metrics = [FID(), IS(), KID(), ModifiedIS(), PrecisionRecall(), DensityCoverage(), ClassBalance()]
    callback = Evaluate(metrics, extractor, every_n_updates=2, num_samples=60, num_real=80)
    fit(tmp_path, image_game(), digits(), [callback], 4)
    assert extractor.images == 2 + 2 + 80 + 60 + 60  # a trial, the real images once, the samples of each
    values = lines(tmp_path)[-1]
    assert {"fid", "is", "kid", "mis", "precision", "density", "class_balance"} <= values.keys()


def test_real_statistics_are_kept_for_later_runs(tmp_path):
    counts, fids = [], []
    for _ in range(2):
        extractor = TinyExtractor()
        seed_everything(1, verbose=False)
        fit(tmp_path, image_game(), digits(), [evaluate(extractor=extractor, every_n_updates=9)], 2)
        counts.append(extractor.images)
        fids.append(lines(tmp_path)[-1]["fid"])
    assert counts == [4 + 1500 + 100, 4 + 100]
    assert fids[0] == fids[1]
    other = TinyExtractor(seed=1)  # other weights: other statistics
    fit(tmp_path, image_game(), digits(), [evaluate(extractor=other, every_n_updates=9)], 2)
    assert other.images == 4 + 1500 + 100
    for file in (tmp_path / "cache").glob("*.npz"):
        file.write_bytes(b"damaged")
    again = TinyExtractor()
    seed_everything(1, verbose=False)
    fit(tmp_path, image_game(), digits(), [evaluate(extractor=again, every_n_updates=9)], 2)
    assert again.images == 4 + 1500 + 100
    assert lines(tmp_path)[-1]["fid"] == fids[0]


def test_averaged_weights_are_scored_if_there_are_any(tmp_path):
    seed_everything(0, verbose=False)
    game = image_game()
    callbacks = [
        GeneratorEMA(0.5),
        evaluate(every_n_updates=5),
    ]
    fit(tmp_path, game, digits(), callbacks, 5)
    averaged = lines(tmp_path)[-1]
    assert averaged["protocol"]["weights"] == "ema"
    raw = evaluate(every_n_updates=5, weights="raw")
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[raw],
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.validate(game, digits(), verbose=False)
    assert raw.scores.protocol["weights"] == "raw"
    assert raw.scores.scalars()["fid"] != averaged["fid"]


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_validate_and_test(tmp_path, stage):
    callback = evaluate(FID(), IS(), split="test")
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[callback],
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    row = getattr(trainer, stage)(image_game(), digits(), verbose=False)[0]
    prefix = "val" if stage == "validate" else "test"
    assert row[f"{prefix}/fid"] == pytest.approx(callback.scores.scalars()["fid"], rel=1e-6)
    assert f"{prefix}/is" in row
    assert callback.scores.real_samples == 297


def test_best_checkpoint_by_the_updates_cadence(tmp_path):
    best = ModelCheckpoint(tmp_path / "best", monitor="val/fid", every_n_train_steps=2, save_top_k=1)
    fit(tmp_path, image_game(), digits(), [evaluate(every_n_updates=2), best], 8, enable_checkpointing=True)
    scores = {line["update"]: line["fid"] for line in lines(tmp_path)}
    assert best.best_model_score.item() == pytest.approx(min(scores.values()), rel=1e-6)
    assert f"step={min(scores, key=scores.get)}" in best.best_model_path


def test_lightnings_callbacks_go_by_scores_of_validations(tmp_path):
    stop = EarlyStopping("val/is", mode="max", patience=1, min_delta=1e9)
    best = ModelCheckpoint(tmp_path / "best", monitor="val/fid", save_top_k=1)
    trainer = fit(
        tmp_path, image_game(), Digits(batch_size=100), [evaluate(), stop, best], 900,
        val_check_interval=5, limit_val_batches=1, num_sanity_val_steps=0, enable_checkpointing=True,
    )  # fmt: skip
    assert trainer.global_step == 10
    assert [line["update"] for line in lines(tmp_path)] == [5, 10]
    assert best.best_model_score.item() == pytest.approx(min(x["fid"] for x in lines(tmp_path)), rel=1e-6)


def test_logged_at_the_generators_updates(tmp_path):
    logger = CSVLogger(tmp_path, name="", version="")
    fit(tmp_path, image_game(), digits(), [evaluate(every_n_updates=2)], 4, logger=logger)
    rows = [row for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row["val/fid"]]
    assert [row["step"] for row in rows] == ["2", "4"]


def test_a_resumed_run_goes_on_with_the_same_scores(tmp_path):
    def run(folder, updates, ckpt_path=None):
        seed_everything(0, verbose=False)
        callbacks = [evaluate(every_n_updates=3), Checkpoint(1, dirpath=str(tmp_path / folder / "ckpt"))]
        fit(tmp_path / folder, image_game(), digits(), callbacks, updates, ckpt_path=ckpt_path,
            enable_checkpointing=True)  # fmt: skip

    run("whole", 9)
    run("part", 4)
    run("part", 9, str(tmp_path / "part" / "ckpt" / "last.ckpt"))
    whole, part = (
        {line["update"]: line["fid"] for line in lines(tmp_path / name)} for name in ("whole", "part")
    )
    assert set(whole) == {3, 6, 9}
    assert {update: part[update] for update in whole} == whole


def test_neighbours_are_drawn(tmp_path):
    callback = evaluate(NearestNeighbours(3, 2), extractor=None, every_n_updates=2)
    fit(tmp_path, image_game(), digits(), [callback], 2)
    assert (tmp_path / "neighbours" / "neighbour-update=00000002.png").is_file()


def test_neighbours_of_two_metrics_and_names(tmp_path):
    def run(name):
        callback = evaluate(NearestNeighbours(3, 2), FeatureNeighbours(3, 2), every_n_updates=2, name=name)
        torch.manual_seed(0)
        fit(tmp_path, image_game(), digits(), [callback], 2)

    run(None)
    run("near")
    found = {path.name.partition("-update=")[0] for path in (tmp_path / "neighbours").iterdir()}
    assert found == {"neighbour", "feature_neighbour", "near-neighbour", "near-feature_neighbour"}


def test_points(tmp_path):
    data = ring()
    callback = evaluate(ModeCoverage(data.means, data.covariances), extractor=None, every_n_updates=2)
    fit(tmp_path, point_game(), data, [callback], 2)
    assert "modes" in lines(tmp_path)[-1]


def test_modes_of_the_data(tmp_path):
    data = ring()
    callback = evaluate(ModeCoverage(), extractor=None, every_n_updates=2)
    logger = CSVLogger(tmp_path, name="", version="")
    grid = SampleGrid(every_n_updates=1, gif=False)
    fit(tmp_path, point_game(), data, [callback, grid], 2, logger=logger)
    assert torch.equal(callback.metrics[0].means, data.means)
    with (tmp_path / "metrics.csv").open() as file:
        rows = [row["step"] for row in csv.DictReader(file) if row["val/modes"]]
    assert rows == ["2"]  # none of the grid's
    fit(tmp_path, point_game(3), GaussianMixtures("cube", samples=500), [callback], 2)  # other modes
    assert callback.metrics[0].means.shape[1] == 3


def test_points_are_compared_with_held_out_ones(tmp_path):
    data = ring()
    metrics = [ModeCoverage(), MixtureJSD()]
    fit(tmp_path, point_game(), data, [Evaluate(metrics, num_samples=100, split="test")], 2)
    line = lines(tmp_path)[-1]
    assert line["real_samples"] == 10_000
    assert line["protocol"]["real"].keys() == {"data", "split", "content", "n"}
    assert line["protocol"]["bins"] == 32
    assert 0 < line["cell_jsd"] <= math.log(2)
    with pytest.raises(ValueError, match="MixtureJSD needs split=test, not train"):
        fit(tmp_path, point_game(), data, [Evaluate(metrics, num_samples=100)], 1)


def test_modes_that_nobody_knows(tmp_path):
    callback = evaluate(ModeCoverage(), extractor=None, every_n_updates=2)
    with pytest.raises(ValueError, match=r"ModeCoverage needs means and covariances.* Digits has none"):
        fit(tmp_path, image_game(), digits(), [callback], 2)


def test_two_of_them(tmp_path):
    logger = CSVLogger(tmp_path, name="", version="")
    callbacks = [
        evaluate(FID(), every_n_updates=2),
        evaluate(FID(), every_n_updates=3, split="test", name="held_out"),
    ]
    trainer = fit(tmp_path, image_game(), digits(), callbacks, 6, logger=logger)
    found = lines(tmp_path)
    assert sorted((line["name"] or "", line["update"]) for line in found) == [
        ("", 2), ("", 4), ("", 6), ("held_out", 3), ("held_out", 6)
    ]  # fmt: skip
    metrics = trainer.callback_metrics
    assert float(metrics["val/fid"]) != float(metrics["val/held_out/fid"])
    assert callbacks[0].state_key != callbacks[1].state_key
    with pytest.raises(ValueError, match="two Evaluate callbacks have name=a"):
        check_names([evaluate(name="a"), evaluate(name="a")])
    with pytest.raises(ValueError, match="name='a/b'"):
        evaluate(name="a/b")


@pytest.mark.parametrize(
    ("metric", "split", "words"),
    [
        (NearestNeighbours, "test", "NearestNeighbours needs split=train, not test: give it an Evaluate"),
        (FeatureNeighbours, "test", "FeatureNeighbours needs split=train, not test"),
        (ParzenLikelihood, "train", "ParzenLikelihood needs split=test, not train"),
    ],
)
def test_the_split_that_a_metric_needs(tmp_path, metric, split, words):
    with pytest.raises(ValueError, match=words):
        fit(tmp_path, image_game(), digits(), [evaluate(metric(), split=split)], 1)


def test_used_again_with_other_data(tmp_path):
    extractor = TinyExtractor()
    callback = evaluate(FID(), extractor=extractor, split="test", cache=False)
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[callback],
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    game, found, counts = image_game(), [], []
    for classes in (None, None, ["1", "2"]):
        trainer.validate(game, Digits(batch_size=16, classes=classes), verbose=False)
        found.append(callback.scores.scalars()["fid"])
        counts.append(callback.scores.real_samples)
    assert counts[:2] == [297, 297]
    assert counts[2] < 100
    assert found[0] == found[1] != found[2]
    assert extractor.images == 3 * (4 + 100) + 297 + counts[2]  # not again for the same data


def test_fast_dev_run_tries_out_only(tmp_path):
    extractor = TinyExtractor()
    callbacks = [evaluate(extractor=extractor, every_n_updates=1), evaluate(extractor=extractor, name="b")]
    trainer = fit(tmp_path, image_game(), digits(), callbacks, 1, fast_dev_run=True, limit_val_batches=1)
    assert extractor.images == 8
    assert callbacks[0].scores is None
    assert not [name for name in trainer.callback_metrics if "fid" in name]
    assert not (tmp_path / "evaluations.jsonl").exists()


def test_validate_writes_only_where_there_is_a_logger(tmp_path):
    for logger, written in ((False, False), (CSVLogger(tmp_path, name="", version=""), True)):
        trainer = Trainer(accelerator="cpu", logger=logger, default_root_dir=tmp_path, callbacks=[evaluate()],
                          enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
        trainer.validate(image_game(), digits(), verbose=False)
        assert (tmp_path / "evaluations.jsonl").exists() is written


class Bare(LightningModule):
    """Somebody's module: no averaged weights."""

    def __init__(self, **known):
        super().__init__()
        self.layer = torch.nn.Linear(4, 64)
        for name, value in known.items():
            setattr(self, name, value)

    def draw_latents(self, n, ema=True, seed=None):
        return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)), None

    def sample_from(self, latents, labels=None, ema=True):
        return self.layer(latents).tanh().unflatten(1, (1, 8, 8))

    def validation_step(self, batch, index):
        pass


def test_modules_of_others(tmp_path):
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[evaluate()],
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    row = trainer.validate(Bare(image_shape=(1, 8, 8), num_classes=None), digits(), verbose=False)[0]
    assert "val/fid" in row
    with pytest.raises(TypeError, match="Evaluate asks Bare for image_shape and num_classes"):
        trainer.validate(Bare(), digits(), verbose=False)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EarlyStopping("val/fid"), "use every_n_updates=null"),
        (lambda: EarlyStopping("val/is_std"), "EarlyStopping looks at val/is_std"),
        (lambda: ModelCheckpoint(monitor="val/fid"), "give it every_n_train_steps=4"),
        (lambda: ModelCheckpoint(monitor="val/fid", every_n_train_steps=6), "every_n_train_steps=4"),
    ],
)
def test_callbacks_that_would_go_by_old_scores(tmp_path, make, words):
    with pytest.raises(ValueError, match=words):
        fit(tmp_path, image_game(), digits(), [evaluate(every_n_updates=4), make()], 4,
            enable_checkpointing=True)  # fmt: skip


def test_checkpoints_by_score_within_rounds(tmp_path):
    best = ModelCheckpoint(tmp_path, monitor="val/fid", every_n_train_steps=4, save_top_k=-1)
    game = image_game(generator_steps=3)
    fit(tmp_path, game, digits(), [evaluate(every_n_updates=4), best], 8, enable_checkpointing=True)
    assert len(best.best_k_models) == 2


class Between0And1(torch.nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, latents):
        return self.scale * latents.sigmoid().mean(1).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)


@pytest.mark.parametrize(("scale", "words"), [(1, r"looks like \[0, 1\]"), (9, "what is beyond is cut off")])
def test_images_of_another_range(tmp_path, scale, words):
    game = image_game()
    game.generator = Between0And1(scale)
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[evaluate(IS())],
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    with pytest.warns(UserWarning, match=words) as caught:
        trainer.validate(game, digits(), verbose=False)
    assert sum("samples lie in" in str(warning.message) for warning in caught) == 1


def test_loading_draws_no_random_numbers(tmp_path):
    game, path = image_game(), tmp_path / "game.ckpt"
    trainer = fit(tmp_path, game, digits(), [], 1)
    trainer.save_checkpoint(path)
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    loaded = load(path)
    assert torch.equal(torch.rand(5), expected)
    assert torch.equal(weights(loaded), weights(game))


class Diverged(torch.nn.Module):
    def forward(self, latents):
        images = torch.zeros(len(latents), 1, 8, 8)
        images[latents[:, 0] > 1] = torch.nan
        return images


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"every_n_updates": 0}, "every_n_updates=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"num_samples": 1}, "num_samples=1: give a whole number of at least 2"),
        ({"num_real": 1}, "num_real=1"),
        ({"split": "val"}, "split='val'"),
        ({"weights": "best"}, "weights='best'"),
    ],
)
def test_bad_arguments(given, words):
    with pytest.raises(ValueError, match=words):
        evaluate(**given)


@pytest.mark.parametrize(
    ("metrics", "given", "words"),
    [
        ([], {"metrics": []}, "metrics are empty"),
        ([FID()], {"extractor": None}, "extractor=None, but FID needs features"),
        ([FID(), FID()], {}, "FID is there twice"),
        ([torch.nn.Identity()], {}, "Identity is no torchmetrics.Metric"),
        ([FID()], {"num_real": 2000}, "num_real=2000 exceeds the 1500 images"),
        ([PerClassFID()], {}, "PerClassFID needs labels of the samples.* or use a conditional game"),
        ([SWD()], {}, "at least 16x16"),
        ([StackedModes()], {}, "does not read three digits"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, metrics, given, words):
    callback = Evaluate(**{"metrics": metrics, "extractor": TinyExtractor(), "num_samples": 10} | given)
    with pytest.raises(ValueError, match=words):
        fit(tmp_path, image_game(), digits(), [callback], 1)


def test_data_that_cannot_be_compared_with(tmp_path):
    with pytest.raises(ValueError, match=r"images is float32 of shape \(2, 2\): give uint8"):
        fit(tmp_path, point_game(), ring(), [evaluate(SWD(), extractor=None)], 1)


def test_a_diverged_generator_is_named(tmp_path):
    game = image_game()
    game.generator = Diverged()
    trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, callbacks=[evaluate()],
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    with pytest.raises(ValueError, match=r"sample \d+ is not finite: the generator has diverged"):
        trainer.validate(game, digits(), verbose=False)


# ---------------------------------------------------------------------- metrics of others


def foreign():
    return [FrechetInceptionDistance(Pixels()), MeanFeature(), Brightness()]


def test_metrics_of_others(tmp_path):
    logger = CSVLogger(tmp_path, name="", version="")
    best = ModelCheckpoint(tmp_path / "best", monitor="val/brightness", every_n_train_steps=2)
    callbacks = [evaluate(*foreign(), every_n_updates=2), best]
    trainer = fit(tmp_path, image_game(), digits(), callbacks, 4, logger=logger, enable_checkpointing=True)
    found = lines(tmp_path)[-1]
    assert found["brightness"] == pytest.approx(float(trainer.callback_metrics["val/brightness"]))
    assert {"frechet_inception_distance", "mean_feature"} <= found.keys()
    assert best.best_model_path
    stop = EarlyStopping("val/frechet_inception_distance")
    with pytest.raises(ValueError, match="EarlyStopping looks at val/frechet_inception_distance"):
        fit(tmp_path, image_game(), digits(), [evaluate(*foreign(), every_n_updates=2), stop], 2)


def test_metrics_of_others_that_do_not_fit_end_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"NeedsColour.update cannot take images uint8 \(2, 1, 8, 8\)"):
        fit(tmp_path, image_game(), digits(), [evaluate(NeedsColour(), every_n_updates=9)], 1)


class Plain(Metric):
    """Nothing but what torchmetrics asks for."""

    def __init__(self):
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, pictures):
        self.total += pictures.sum()

    def compute(self):
        return self.total


class Forgets(Plain):
    def compute(self):
        pass


class Words(Plain):
    def compute(self):
        return {"verdict": "good"}


class Misspelt(Plain):
    def compute(self):
        return self.totl


class GreyOnly(Plain):
    def update(self, pictures, real):
        assert not real or pictures.shape[1] == 3, "real images must have colours"


class Draws(Plain):
    def update(self, pictures, real):
        self.total += 1

    def pictures(self):
        return {}


class FillsIn(Plain):
    def fill_in(self, data):
        pass


class SameName(Plain):
    scores = ("plain",)


def test_a_metric_needs_nothing_beside_what_torchmetrics_asks_for(tmp_path):
    best = ModelCheckpoint(tmp_path, "{step}", monitor="val/plain", mode="max", every_n_train_steps=2)
    fit(tmp_path, image_game(), digits(), [Evaluate([Plain()], every_n_updates=2, num_samples=10), best], 4,
        enable_checkpointing=True)  # fmt: skip
    assert lines(tmp_path)[-1]["plain"] > 0
    assert best.best_model_score > 0


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ([Forgets()], "Forgets.compute gives NoneType for the score forgets: return a number"),
        ([Words()], "Words.compute gives str for the score verdict"),
        ([Misspelt()], "Misspelt fails when tried out: .*totl"),
        (
            [GreyOnly()],
            r"GreyOnly.update cannot take images uint8 \(2, 1, 8, 8\) of real images: real images must",
        ),
        ([Draws()], "Draws fails when tried out: .*pictures"),
        ([FillsIn()], "FillsIn.fill_in"),
        ([Plain(), SameName()], "two of them call a score plain"),
    ],
)
def test_a_metric_that_would_fail_later_ends_the_run_before_it_begins(tmp_path, metrics, words):
    watcher = Watcher()
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        fit(tmp_path, image_game(), digits(), [Evaluate(metrics, every_n_updates=2), watcher], 2)
    assert "\n" not in str(caught.value)
    assert not watcher.seen


@pytest.mark.parametrize("every", [None, 2])
def test_nothing_but_scores_and_losses_is_logged(tmp_path, every):
    """A metric called step would win over the update in file names of checkpoints."""
    logger = CSVLogger(tmp_path, name="", version="")
    trainer = fit(
        tmp_path, image_game(), Digits(batch_size=100), [evaluate(every_n_updates=every)], 20, logger=logger,
        val_check_interval=5, limit_val_batches=1, num_sanity_val_steps=0,
    )  # fmt: skip
    assert "step" not in trainer.callback_metrics
    rows = [row for row in csv.DictReader((tmp_path / "metrics.csv").open()) if row["val/fid"]]
    assert [int(row["step"]) for row in rows] == [line["update"] for line in lines(tmp_path)]
    assert [int(row["step"]) for row in rows][-1] == 20


def test_an_evaluation_that_a_kill_prevented_is_made_up(tmp_path):
    save = Save(tmp_path / "at4.ckpt", 4)
    callback = evaluate(every_n_updates=4)
    fit(tmp_path / "whole", image_game(), digits(), [save, callback], 6)  # saved before it is evaluated
    fit(tmp_path / "part", image_game(), digits(), [evaluate(every_n_updates=4)], 6,
        ckpt_path=tmp_path / "at4.ckpt")  # fmt: skip
    whole, part = ({x["update"]: x["fid"] for x in lines(tmp_path / name)} for name in ("whole", "part"))
    assert part == whole
    assert set(part) == {4, 6}


# ---------------------------------------------------------------------- translations


class LabelledPairs(Colorization):
    def label_maps(self, split):
        return (torch.arange(len(self.stored(split)[1])) % 2)[:, None, None].expand(-1, 8, 8)


class Batchwise(Metric):
    """Keeps what it is given, in the order of the data."""

    wants = ("index", "images", "inputs", "targets", "label_maps")

    def __init__(self):
        super().__init__()
        self.add_state("seen", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, *given):
        index, images, inputs, targets, maps = given
        assert torch.equal(index, torch.arange(int(self.seen), int(self.seen) + len(images)))
        assert torch.equal(maps[:, 0, 0], index % 2)
        assert images.dtype == inputs.dtype == targets.dtype == torch.uint8
        assert targets.shape[1] == 3 * inputs.shape[1]
        self.seen += len(images)

    def compute(self):
        return self.seen.float()


def pair_folder(tmp_path, n=12):
    rng = torch.Generator().manual_seed(0)
    folder = tmp_path / "pictures" / "all"
    folder.mkdir(parents=True)
    for i in range(n):
        write_png(torch.randint(256, (3, 8, 8), dtype=torch.uint8, generator=rng), str(folder / f"{i}.png"))
    return folder.parent


def test_translations_of_held_out_inputs(tmp_path):
    data = LabelledPairs(
        str(pair_folder(tmp_path)), image_size=8, batch_size=2, val_fraction=0.5, in_memory=True
    )
    game = TwoTranslators(data.input_shape, data.image_shape)
    metrics = [FID(), Batchwise(), FCNScore(2, palette=[[0, 0, 0], [255, 255, 255]], labels="targets")]
    callback = evaluate(*metrics, extractor=MeanColour(), every_n_updates=2, num_samples=100)
    fit(tmp_path, game, data, [callback], 2)
    found = lines(tmp_path)[-1]
    assert found["samples"] == found["batchwise"] == 6
    assert found["real_samples"] == 6
    inputs, targets = map(torch.cat, zip(*data.val_dataloader(), strict=True))
    translated = to_bytes(game.translate(inputs))
    real = data.real_images("train")[0]
    expected = FID()
    expected.update(MeanColour()(translated)[0], real=False)
    expected.update(MeanColour()(torch.stack([real[i] for i in range(6)]))[0], real=True)
    assert found["fid"] == pytest.approx(float(expected.compute()["fid"]), rel=1e-6)
    fcn = FCNScore(2, palette=[[0, 0, 0], [255, 255, 255]], labels="targets")
    fcn.update(translated, to_bytes(targets))
    assert found["pixel_accuracy"] == pytest.approx(float(fcn.compute()["pixel_accuracy"]))


def test_translations_back(tmp_path):
    """Of colours to grey, as grey to colours is the direction of the data."""
    data = Colorization(str(pair_folder(tmp_path)), image_size=8, batch_size=2, val_fraction=0.5)
    game = TwoTranslators(data.input_shape, data.image_shape)
    fcn = partial(FCNScore, 2, palette=[[0], [255]], labels="targets")
    back = partial(evaluate, every_n_updates=2, direction="BtoA")
    fit(tmp_path, game, data, [back(fcn(), extractor=None)], 2)
    grey, colour = map(torch.cat, zip(*data.val_dataloader(), strict=True))
    expected = fcn()
    expected.update(to_bytes(game.translate(colour, direction="BtoA")), to_bytes(grey))
    assert lines(tmp_path)[-1]["pixel_accuracy"] == pytest.approx(float(expected.compute()["pixel_accuracy"]))
    fit(tmp_path, game, data, [back(FID(), extractor=TinyExtractor())], 2)
    real, fid = data.real_images("train", inputs=True)[0], FID()
    assert real.shape == (1, 8, 8)
    fid.update(TinyExtractor()(real.__getitems__([*range(6)]))[0], real=True)
    fid.update(TinyExtractor()(to_bytes(game.translate(colour, direction="BtoA")))[0], real=False)
    assert lines(tmp_path)[-1]["fid"] == pytest.approx(float(fid.compute()["fid"]), rel=1e-5)
    with pytest.raises(ValueError, match="direction='BtoA' is unknown"):
        fit(tmp_path, image_game(), digits(), [back(FID())], 2)


@pytest.mark.parametrize("paired", [True, False])
def test_shares_of_translations_are_the_whole(tmp_path, paired):
    """Each rank translates its part, whatever batches the loader serves."""
    rng = torch.Generator().manual_seed(0)
    for name, n in (("trainA", 4), ("trainB", 4), ("testA", 7), ("testB", 7 if paired else 3)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(n):
            image = torch.randint(256, (3, 8, 8), dtype=torch.uint8, generator=rng)
            write_png(image, str(tmp_path / "data" / name / f"{i}.png"))
    kind = PairedImages if paired else UnpairedImages
    data = kind(str(tmp_path / "data"), image_size=8, batch_size=3, drop_last=False)
    data.setup("fit")
    game = TwoTranslators(data.input_shape, data.image_shape)
    stream = samples_of(game, 100, data=data)
    assert stream.count == 7
    whole, parts = (
        [
            (batch.index, batch.values, batch.inputs, batch.targets)
            for share in shares
            for batch in stream.batches(share, size)
        ]
        for shares, size in (((range(7),), 100), ((range(2), range(2, 5), range(5, 7)), 2))
    )
    for one, other in zip(zip(*whole, strict=True), zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(one), torch.cat(other), rtol=0, atol=1)  # of 255: of batches
    real, _, key = data.real_images("test")
    assert len(real) == (7 if paired else 3)
    assert tuple(real[0].shape) == (3, 8, 8)
    assert key["split"] == "test"


def test_noise_of_translations_follows_from_seed_and_place(tmp_path):
    """pix2pix's protocol, batch statistics and dropout: the same each time, on each number of ranks."""
    write_labelled(tmp_path / "pairs", 5, 16)
    data = PairedImages(str(tmp_path / "pairs"), image_size=16, batch_size=2, cache=False, drop_last=False)
    data.setup("fit")
    torch.manual_seed(0)
    game = Pix2Pix(data.input_shape, data.image_shape, {"width": 4}, {"width": 4, "receptive_field": 16})

    def made(*shares, seed=3):
        stream = samples_of(game, 100, seed=seed, data=data)
        return torch.cat([batch.values for share in shares for batch in stream.batches(share, 250)]).int()

    whole, inputs = made(range(5)), torch.cat([batch[0] for batch in data.val_dataloader()])
    assert torch.equal(whole, made(range(5)))
    assert (whole - made(range(1), range(1, 4), range(4, 5))).abs().max() <= 1  # of 255: of batches
    assert (whole - to_bytes(game.translate(inputs, seed=3)).int()).abs().max() <= 1
    assert (whole - made(range(5), seed=30)).abs().max() > 1
    assert (whole - to_bytes(game.translate(inputs, deterministic=True)).int()).abs().max() > 1


def test_translations_without_held_out_inputs(tmp_path):
    data = Colorization(str(pair_folder(tmp_path)), image_size=8, batch_size=2)
    game = TwoTranslators(data.input_shape, data.image_shape)
    with pytest.raises(ValueError, match="Colorization has 0 val images to translate"):
        fit(tmp_path, game, data, [evaluate(Brightness(), every_n_updates=2)], 2)


def test_wandb_shows_the_best_of_scores_that_have_one(tmp_path):
    run = MagicMock()
    metrics = evaluate(FID(), IS(), ClassBalance(), every_n_updates=2)
    fit(tmp_path, image_game(), digits(), [metrics], 2, logger=WandbLogger(save_dir=tmp_path, experiment=run))
    shown = {call.args[0]: call.kwargs["summary"] for call in run.define_metric.call_args_list}
    assert shown == {"val/fid": "min,last", "val/is": "max,last"}


# ---------------------------------------------------------------------- replicas and seconds


class Spread(Metric):
    """The mean of the samples, and a deviation of its own."""

    scores = ("middle", "middle_std", "axes_per_class")

    def __init__(self):
        super().__init__()
        self.add_state("seen", [], dist_reduce_fx="cat")

    def update(self, samples):
        self.seen.append(samples)

    def compute(self):
        samples = torch.cat(self.seen)
        return {"middle": samples.mean(), "middle_std": samples.std(), "axes_per_class": samples.mean(0)}


def test_replicas_are_scored_as_the_runs_of_their_seeds(tmp_path):
    def run(folder, seed, **kwargs):
        seed_everything(seed, verbose=False)
        callbacks = [
            GeneratorEMA(0.5),
            evaluate(ModeCoverage(), Spread(), extractor=None, every_n_updates=2, name="a"),
        ]
        game, logger = point_game(**kwargs), CSVLogger(tmp_path / folder, name="", version="")
        trainer = fit(tmp_path, game, ring(seed=seed), callbacks, 5, seed=seed, logger=logger)
        return lines(tmp_path / folder), trainer, callbacks[1]

    together, trainer, callback = run("all", 3, replicas=3)
    alone = [run(str(r), 3 + r)[0] for r in range(3)]
    assert [(x["update"], x["replica"], x["replicas"], x["seed"]) for x in together] == [
        (update, r, 3, 3 + r) for update in (2, 4, 5) for r in range(3)
    ]
    for r in range(3):
        for found, wanted in zip(together[r::3], alone[r], strict=True):
            assert found["protocol"] == wanted["protocol"]
            assert found["samples"] == wanted["samples"]
            for name in ("modes", "high_quality", "jsd", "middle", "middle_std", "axes_per_class"):
                assert found[name] == pytest.approx(wanted[name], rel=1e-4, abs=1e-6)
    last = torch.tensor([x["middle"] for x in together[-3:]], dtype=torch.float64)
    logged = trainer.callback_metrics
    assert float(logged["val/a/middle"]) == pytest.approx(float(last.mean()))
    assert float(logged["val/a/middle_std"]) == pytest.approx(float(last.std()))
    assert callback.scores.values["axes_per_class"].shape == (2,)
    assert "replicas 3" in callback.scores.table()
    assert not set(callback.scores.values) & {"middle_std_std", "axes_per_class_std"}


def test_replicas_are_compared_with_their_own_data(tmp_path):
    """Games are made once and refilled; the best checkpoint goes by the mean."""

    def run(folder, seed, **kwargs):
        seed_everything(seed, verbose=False)
        generator = partial(MLPGenerator, hidden=(8,))
        game = GAN((1, 8, 8), latent=Normal(4), generator=generator,
                   discriminator=partial(MLPDiscriminator, hidden=(8,)), **kwargs)  # fmt: skip
        made = []
        if kwargs:
            build, game._built = game._built, lambda number: made.append(number) or build(number)
        best = ModelCheckpoint(
            tmp_path / folder / "best", monitor="val/fid", every_n_train_steps=2, save_top_k=1
        )
        data = Digits(batch_size=16, limit=100, seed=seed)
        callbacks = [evaluate(FID(), NearestNeighbours(2, 2), every_n_updates=2), best]
        fit(tmp_path / folder, game, data, callbacks, 4, seed=seed, enable_checkpointing=True)
        return lines(tmp_path / folder), best, made

    together, best, made = run("all", 5, replicas=2)
    assert made == [1, 0, 0]  # to be stacked, and to be scored
    for r in range(2):
        for found, wanted in zip(together[r::2], run(str(r), 5 + r)[0], strict=True):
            assert found["fid"] == pytest.approx(wanted["fid"], rel=1e-4)
            assert found["protocol"] == wanted["protocol"]
        assert (tmp_path / f"all/replica={r}/neighbours/neighbour-update=00000004.png").is_file()
    assert together[0]["protocol"]["real"] != together[1]["protocol"]["real"]
    means = [(together[i]["fid"] + together[i + 1]["fid"]) / 2 for i in (0, 2)]
    assert best.best_model_score.item() == pytest.approx(min(means), rel=1e-6)


def test_seconds_of_training(tmp_path, monkeypatch):
    """Without those of evaluations, validations and pictures; a resumed run goes on from those it had."""
    now = [0.0]
    monkeypatch.setattr(clock, "perf_counter", lambda: now[0])
    monkeypatch.setattr(clock, "process_time", lambda: now[0] / 4)  # three other programs share the processor

    class Slow(Spread):
        def update(self, samples):
            now[0] += 1000
            super().update(samples)

    class Second(Callback):
        """Each batch takes a second, and each validation a hundred."""

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            now[0] += 1

        def on_validation_batch_end(self, *_):
            now[0] += 100

    class SlowPicture(SampleGrid):
        def picture(self, trainer, module):
            now[0] += 30
            return super().picture(trainer, module)

    def run(steps, ckpt_path=None):
        callbacks = [
            Second(),
            SlowPicture(2),
            evaluate(Slow(), extractor=None, every_n_updates=2, num_samples=10, name="a"),
            evaluate(Slow(), extractor=None, every_n_updates=3, num_samples=10, name="b"),
            Checkpoint(1, dirpath=str(tmp_path / "ckpt")),
        ]
        fit(tmp_path, point_game(), ring(), callbacks, steps, ckpt_path=ckpt_path, enable_checkpointing=True,
            limit_val_batches=1, val_check_interval=1, num_sanity_val_steps=1)  # fmt: skip
        found = [(line["name"], line["update"], line["seconds"]) for line in lines(tmp_path)]
        assert all(line["processor_seconds"] == line["seconds"] / 4 for line in lines(tmp_path))
        (tmp_path / "evaluations.jsonl").unlink()
        return found

    assert run(4) == [("a", 2, 2), ("b", 3, 3), ("a", 4, 4), ("b", 4, 4)]
    now[0] += 5000
    assert run(6, str(tmp_path / "ckpt" / "last.ckpt")) == [("a", 6, 6), ("b", 6, 6)]
