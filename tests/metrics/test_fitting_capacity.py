"""Fitting capacity, checked with games whose score is known: perfect, mislabelled, collapsed."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lightning_gans import GAN, Digits, GaussianMixtures
from lightning_gans.callbacks import GeneratorEMA
from lightning_gans.callbacks.fitting_capacity import FittingCapacity
from lightning_gans.callbacks.scoring import check_names
from lightning_gans.data.base import DataModule
from lightning_gans.metrics import fitting_capacity as module
from lightning_gans.metrics.fitting_capacity import Budget, fitting_capacity, real_data
from lightning_gans.models import ConditionalGAN
from lightning_gans.networks import ConditionalMLPDiscriminator, ConditionalMLPGenerator
from tests.callbacks.helpers import Save

SMALL = {"seeds": 2, "epochs": 5, "samples_per_epoch": 1500, "per_class": 100}
TINY = {"seeds": 1, "epochs": 1, "samples_per_epoch": 20, "per_class": 2}


def digits(**arguments):
    data = Digits(batch_size=16, **arguments)
    data.setup()
    return data


class Copies(ConditionalGAN):
    """Generates training images of the label asked for, or of another."""

    shift = 0

    def learn(self, data, shift=0):
        images, labels = data.training_images()
        self.images, self.shift, self.calls = images.float() / 127.5 - 1, shift, []
        most = int(torch.bincount(labels).min())
        self.table = torch.stack([(labels == k).nonzero()[:most, 0] for k in range(10)])
        return self

    def sample(self, n, labels=None, ema=True, seed=None):
        self.calls.append((labels.tolist(), ema, seed))
        rng = torch.Generator().manual_seed(seed)
        place = torch.randint(self.table.shape[1], (n,), generator=rng)
        return self.images[self.table[(labels + self.shift) % 10, place]]


def copies(data, shift=0):
    return Copies((1, 8, 8), 10).learn(data, shift)


def game(**arguments):
    torch.manual_seed(0)
    return ConditionalGAN((1, 8, 8), 10, **arguments)


@pytest.fixture(autouse=True)
def no_cache(tmp_path, monkeypatch):
    """Each test trains its classifiers of real images anew."""
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def data():
    return digits()


# ---------------------------------------------------------------------- known answers


def test_perfect_samples_reach_the_ceiling(data):
    scores = fitting_capacity(copies(data), data, **SMALL)
    assert len(scores.gan_train) == len(scores.ceiling) == len(scores.gan_test) == 2
    assert min(scores.gan_train + scores.ceiling + scores.gan_test) > 0.8
    values = scores.values()
    assert abs(values["fitting_capacity"] - values["fitting_capacity_ceiling"]) < 0.08
    a, b = scores.gan_train
    assert values["fitting_capacity_sd"] == pytest.approx(abs(a - b) / math.sqrt(2))
    assert scores.n_test == 297
    lines = str(scores).splitlines()
    assert len(lines) == 4
    assert "+-" in lines[0]
    assert "5 epochs of 1,500 new images, 2 seeds; 297 test images" in lines[3]


def test_wrong_labels_fit_nothing(data):
    scores = fitting_capacity(copies(data, shift=1), data, **SMALL)
    assert max(scores.gan_train + scores.gan_test) < 0.1
    assert min(scores.ceiling) > 0.8


def test_fixed_samples(data):
    scores = fitting_capacity(copies(data), data, mode="fixed", **{**SMALL, "per_class": 150, "seeds": 1})
    assert min(scores.gan_train + scores.ceiling) > 0.8
    assert "150 images a class, 1 seed;" in str(scores)
    assert "fitting_capacity_sd" not in scores.values()


class HalfWrong(Copies):
    """Half of the samples are of another class; a bright corner says so, which the discriminator knows of."""

    log_ratio = True

    def sample_from(self, latents, labels=None, ema=True):
        wrong = latents[:, 0] > 0
        images = self.images[self.table[(labels + wrong) % 10, (latents[:, 1].abs() * 50).long() % 140]]
        images[:, :, 0, 0] = 2 * wrong[:, None].float() - 1
        return images

    def sample(self, n, labels=None, ema=True, seed=None):
        return self.sample_from(self.draw_latents(n, seed=seed)[0], labels)

    def judge(self, side):
        return -20 * (side.images[:, 0, 0, 0] > 0).float()


def test_what_the_discriminator_rejects_is_not_learned_from(data):
    generator = HalfWrong((1, 8, 8), 10).learn(data)
    small = {**SMALL, "seeds": 1, "real": False}
    taken = fitting_capacity(generator, data, **small)
    assert max(taken.gan_train) < 0.75
    assert taken.acceptance is None
    chosen = fitting_capacity(generator, data, **small, rejection=0.6, num_calibration=2000)
    assert min(chosen.gan_train) > 0.8
    assert chosen.values()["acceptance"] == chosen.acceptance == pytest.approx(0.5, abs=0.05)
    assert "50" in str(chosen).splitlines()[-1]
    fixed = fitting_capacity(
        generator, data, **{**small, "epochs": 1}, mode="fixed", rejection=0.6, num_calibration=2000
    )
    assert fixed.acceptance == chosen.acceptance


# ---------------------------------------------------------------------- protocol


def test_accuracy_is_correct_by_total():
    """Not the mean over parts, which would count the last, short one too much."""

    class First(torch.nn.Linear):
        def forward(self, images):
            return super().forward(images.flatten(1))

    network = First(1, 2)
    images = torch.zeros(module.CHUNK + 1, 1, 1, 1, dtype=torch.uint8)
    images[-1] = 255
    with torch.no_grad():
        network.weight[:], network.bias[:] = torch.tensor([[-1.0], [1.0]]), 0
    found = module._accuracies([network], images, torch.zeros(len(images), dtype=torch.int64))
    assert found == (module.CHUNK / (module.CHUNK + 1),)


def test_precision_is_that_of_the_generator_alone(data, monkeypatch):
    seen = []
    generator = copies(data)
    sample, forward = generator.sample, module.LeNet.forward
    monkeypatch.setattr(
        generator, "sample", lambda *a, **k: seen.append(torch.is_autocast_enabled("cpu")) or sample(*a, **k)
    )
    monkeypatch.setattr(
        module.LeNet,
        "forward",
        lambda self, x: seen.append(torch.is_autocast_enabled("cpu")) or forward(self, x),
    )
    fitting_capacity(generator, data, **TINY, real=False, precision="bf16")
    assert seen[0]
    assert not any(seen[1:])


def test_online_samples_are_new_in_each_epoch(data):
    generator = copies(data)
    fitting_capacity(generator, data, **{**SMALL, "epochs": 3}, weights="raw", real=False)
    assert len(generator.calls) == 3 * 2  # epochs, chunks of 1,000: all classifiers learn from them
    assert len({seed for _, _, seed in generator.calls}) == 6
    assert {ema for _, ema, _ in generator.calls} == {False}
    assert len({tuple(labels) for labels, _, _ in generator.calls}) == 6
    counts = torch.bincount(torch.cat([torch.tensor(labels) for labels, _, _ in generator.calls]))
    assert counts.sum() == 3 * 1500
    assert (counts - 450).abs().max() < 85


def test_fixed_samples_are_drawn_once_and_balanced(data):
    generator = copies(data)
    fitting_capacity(generator, data, mode="fixed", **{**SMALL, "seeds": 1}, real=False)
    assert len(generator.calls) == 1
    assert torch.bincount(torch.tensor(generator.calls[0][0])).tolist() == [100] * 10


def test_optimizer_and_schedule(data, monkeypatch):
    """Epochs are counted from 1: the 20th is the first at 1e-4, the 40th runs at 1e-5."""
    rates, made = [], []

    class Spy(module.Adam):
        def __init__(self, params, **arguments):
            made.append(arguments)
            super().__init__(params, **arguments)

        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(module, "Adam", Spy)
    fitting_capacity(copies(data), data, seeds=1, epochs=41, samples_per_epoch=130, real=False)
    assert made == [{"lr": 1e-3, "beta1": 0.5}]
    assert rates == pytest.approx([1e-3] * 2 * 19 + [1e-4] * 2 * 20 + [1e-5] * 2 * 2)


def test_defaults_of_the_paper():
    given = Budget()
    assert (given.epochs, given.samples_per_epoch, given.per_class) == (40, 10_000, 5_000)
    assert (given.mode, given.rejection, given.num_calibration) == ("online", None, 50_000)
    assert (module.SIZE, module.BATCH) == (32, 128)


def test_each_epoch_has_an_order_of_its_own(data, monkeypatch):
    seen, images = [], torch.arange(200, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 32, 32)
    pupil = module._Pupil(real_data(data), 0, torch.device("cpu"))
    read = module.to_float
    monkeypatch.setattr(module, "to_float", lambda part: seen.append(part[:, 0, 0, 0]) or read(part))
    for epoch in (1, 2):
        pupil.learn(epoch, images, images[:, 0, 0, 0].long() % 10)
    assert [len(part) for part in seen] == [128, 72] * 2
    first, second = (torch.cat(seen[start : start + 2]).tolist() for start in (0, 2))
    assert sorted(first) == sorted(second) == list(range(200))
    assert list(range(200)) not in (first, second)
    assert first != second


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_accepted_samples_are_new_ones_too(data, weights, monkeypatch):
    generator, asked, averaged = copies(data), [], []

    class Sampler:
        acceptance = 0.5

        def __init__(self, game, p, ema, **given):
            averaged.append(ema)
            assert (game, p) == (generator, 0.3)

        def sample(self, n, labels, seed):
            asked.append((tuple(labels.tolist()), seed))
            return generator.sample(n, labels, seed=seed)

    monkeypatch.setattr(module, "RejectionSampler", Sampler)
    online = {**SMALL, "epochs": 2, "seeds": 1, "real": False}
    fitting_capacity(generator, data, **online, rejection=0.3, weights=weights)
    assert averaged[-1] == (weights == "ema")  # the first was made to check the arguments
    assert len({labels for labels, _ in asked}) == len({seed for _, seed in asked}) == 2 * 2


def test_real_images_come_in_turn(data):
    real = real_data(data)
    assert real.train.shape == (1500, 1, 32, 32)
    assert real.test.shape == (297, 1, 32, 32)
    assert real.train.dtype == torch.uint8
    epochs = module._real_epochs(real, Budget(samples_per_epoch=750), seed=3)
    images = torch.cat([next(epochs)[0] for _ in range(2)])
    assert torch.equal(
        images.flatten(1).double().sum(1).sort().values, real.train.flatten(1).double().sum(1).sort().values
    )


def test_unlabeled_images_are_left_out():
    partly = digits(label_fraction=0.1)
    assert len(real_data(partly).train) == 150


def test_the_same_seed_gives_the_same_scores_and_nothing_else_changes(data):
    generator = game().train()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    runs = [fitting_capacity(generator, data, **{**TINY, "seeds": 2}, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert generator.training
    assert generator.generator.training
    assert all(p.grad is None and p.requires_grad for p in generator.parameters())


# ---------------------------------------------------------------------- classifiers that are kept


def weights(judges):
    return [value for network in judges for value in network.state_dict().values()]


def test_classifiers_of_real_images_are_trained_once(data, tmp_path, monkeypatch):
    trained = []
    train = module._train
    monkeypatch.setattr(module, "_train", lambda *a: trained.append(1) or train(*a))
    real, budget, cpu = real_data(data), Budget(**TINY), torch.device("cpu")

    def judges(real=real, folder=tmp_path, **other):
        trained.clear()
        made = module.train_judges(real, replace(budget, **other), cpu, folder)
        return weights(made), len(trained)

    first, count = judges()
    assert count == 1
    again, count = judges()
    assert count == 0
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert judges(seeds=2)[1] == 1  # the first is there
    assert judges(precision="bf16", rejection=0.5)[1] == 0  # of generated images
    for other in ({"seed": 1}, {"epochs": 2}, {"samples_per_epoch": 21}, {"mode": "fixed", "per_class": 3}):
        assert judges(**other)[1] == 1
    labels, images = real.train_labels.clone(), real.train.clone()
    labels[0] = (labels[0] + 1) % 10
    images[0, 0, 0, 0] ^= 1
    for other in (replace(real, train_labels=labels), replace(real, train=images)):
        assert judges(real=other)[1] == 1
    monkeypatch.setattr(module, "PROTOCOL", -1)
    assert judges()[1] == 1
    assert judges(folder=None)[1] == 1


def test_a_damaged_classifier_is_trained_anew(data, tmp_path):
    real, budget, cpu = real_data(data), Budget(**TINY), torch.device("cpu")
    first = weights(module.train_judges(real, budget, cpu, tmp_path))
    (file,) = tmp_path.glob("*.npz")
    whole = file.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", whole.replace(b"head.bias", b"head.bios")):
        file.write_bytes(broken)
        again = weights(module.train_judges(real, budget, cpu, tmp_path))
        assert all(map(torch.equal, first, again))
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    with pytest.warns(UserWarning, match="LIGHTNING_GANS_CACHE"):
        made = module.train_judges(real, budget, cpu, nowhere / "folder")
    assert torch.equal(weights(made)[0], first[0])


# ---------------------------------------------------------------------- refused


def test_samples_that_are_not_finite(data):
    broken = copies(data)
    broken.images[:] = torch.nan
    with pytest.raises(ValueError, match="sample 0 is not finite"):
        fitting_capacity(broken, data, **TINY, real=False)


class NoTest(Digits):
    has_test_split = False


class WrongLabels(Digits):
    def load(self, split):
        images, labels = super().load(split)
        return images, labels + 1


class NoLabels(Digits):
    def load(self, split):
        images, labels = super().load(split)
        return images, torch.full_like(labels, -1)


class Unlabeled(Digits):
    class_names = ()


class NoRatio(ConditionalGAN):
    log_ratio = False


@pytest.mark.parametrize(
    ("make", "arguments", "word"),
    [
        (lambda: (GAN((1, 8, 8), num_classes=10), Digits()), {}, "without labels"),
        (lambda: (game(), Unlabeled()), {}, "no labels"),
        (lambda: (game(), NoLabels()), {}, "no labelled train images"),
        (lambda: (game(), WrongLabels()), {}, r"labels\[4\]=10"),
        (lambda: (game(), Digits(classes=["1", "2"])), {}, "2 classes, the game 10"),
        (lambda: (game(), Digits(image_size=16)), {}, "trained on"),
        (lambda: (game(), NoTest()), {}, "no test split"),
        (lambda: (ConditionalGAN((2,), 8), GaussianMixtures(layout="ring")), {}, "needs images"),
        (lambda: (game(), Digits()), {"samples_per_epoch": 9}, "at least 10"),
        (lambda: (game(), Digits()), {"seeds": 0}, "seeds=0"),
        (lambda: (game(), Digits()), {"per_class": 0}, "per_class=0"),
        (lambda: (game(), Digits()), {"epochs": 0}, "epochs=0"),
        (lambda: (game(), Digits()), {"mode": "offline"}, "mode"),
        (lambda: (game(), Digits()), {"precision": "fp16"}, "precision"),
        (lambda: (game(), Digits()), {"rejection": 1.0}, "rejection=1.0"),
        (lambda: (game(), Digits()), {"rejection": 0.5, "num_calibration": 9}, "num_calibration=9"),
        (lambda: (NoRatio((1, 8, 8), 10), Digits()), {"rejection": 0.5}, "no log density"),
    ],
)
def test_refused(make, arguments, word):
    with pytest.raises(ValueError, match=word):
        fitting_capacity(*make(), **{**TINY, **arguments})


def test_refused_kinds(data):
    with pytest.raises(TypeError, match="game with latents"):
        fitting_capacity(torch.nn.Identity(), data)
    with pytest.raises(TypeError, match="data module"):
        fitting_capacity(game(), [1, 2])
    with pytest.raises(ValueError, match="every_n_updates"):
        FittingCapacity(every_n_updates=0)
    with pytest.raises(ValueError, match="name='a/b'"):
        FittingCapacity(name="a/b")
    assert isinstance(data, DataModule)


# ---------------------------------------------------------------------- the callback


def train(watchers, updates=4, folder="run", of=None, **arguments):
    trainer = Trainer(
        callbacks=watchers, max_steps=updates, logger=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0, default_root_dir=folder,
        enable_checkpointing=False,
    )  # fmt: skip
    made = game(**of or {})
    trainer.fit(made, Digits(batch_size=16), weights_only=True, **arguments)
    return trainer, made


def lines(folder="run"):
    return [json.loads(line) for line in Path(folder, "evaluations.jsonl").read_text().splitlines()]


def test_being_watched_changes_nothing():
    budget = {**TINY, "num_calibration": 40}
    watchers = [FittingCapacity(1, **TINY), FittingCapacity(None, "chosen", rejection=0.5, **budget)]
    (_, alone), (trainer, watched) = (train([GeneratorEMA(0.5), *some]) for some in ([], watchers))
    for key, value in alone.state_dict().items():
        assert torch.equal(value, watched.state_dict()[key])
    assert torch.equal(alone.rng.get_state(), watched.rng.get_state())
    assert set(trainer.callback_metrics) >= {
        "val/fitting_capacity", "val/fitting_capacity_ceiling", "val/gan_test",
        "val/chosen/fitting_capacity", "val/chosen/acceptance",
    }  # fmt: skip
    assert [(line["name"], line["update"]) for line in lines()] == [
        *((None, update) for update in (1, 2, 3, 4)), ("chosen", 4)
    ]  # fmt: skip
    last = lines()[-1]
    assert 0 < last["seconds"] < 60
    assert 0 < last["classifier_seconds"] < 60
    assert last["fitting_capacity"] == pytest.approx(
        float(trainer.callback_metrics["val/chosen/fitting_capacity"])
    )
    assert (last["labels"], last["samples"], last["real_samples"]) == (1500, 20, 297)
    assert last["protocol"]["rejection"].startswith("p = 0.5")
    assert last["protocol"]["weights"] == "ema"


def test_cadence_and_resume(tmp_path, monkeypatch):
    """Saved before the score that is due with the checkpoint: the resumed run scores the same weights."""
    judged = []
    train_judges = module.train_judges
    monkeypatch.setattr(
        "lightning_gans.callbacks.fitting_capacity.train_judges",
        lambda *a: judged.append(1) or train_judges(*a),
    )

    def watchers():
        return [FittingCapacity(2, **TINY), FittingCapacity(None, "end", **TINY)]

    def scores(folder):
        return [(line["update"], line["fitting_capacity"]) for line in lines(folder)]

    saves = [Save(f"at{update}.ckpt", update) for update in (3, 4, 5)]
    train([*saves, *watchers()], 5, "whole")
    whole = scores("whole")
    assert [update for update, _ in whole] == [2, 4, 5, 5]
    assert len(judged) == 2  # once a run and callback
    for update in (3, 4, 5):
        train(watchers(), 5, f"from{update}", ckpt_path=f"at{update}.ckpt")
    assert scores("from3") == scores("from4") == whole[1:]
    assert scores("from5") == whole[2:]


def test_replicas_are_scored_as_the_runs_of_their_seeds():
    dense = {"generator": ConditionalMLPGenerator, "discriminator": ConditionalMLPDiscriminator}
    trainer, _ = train([FittingCapacity(None, **TINY)], of={"replicas": 2, **dense})
    found = lines()
    assert [(line["replica"], line["replicas"], line["seed"]) for line in found] == [(0, 2, 0), (1, 2, 1)]
    values = [line["fitting_capacity"] for line in found]
    metrics = trainer.callback_metrics
    assert float(metrics["val/fitting_capacity"]) == pytest.approx(sum(values) / 2)
    assert float(metrics["val/fitting_capacity_std"]) == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    train([FittingCapacity(None, **TINY)], folder="alone", of=dense)
    assert lines("alone")[0]["fitting_capacity"] == pytest.approx(values[0], abs=0.02)


def test_names_differ():
    twice = [FittingCapacity(None, "a", **TINY), FittingCapacity(None, "a", **TINY)]
    with pytest.raises(ValueError, match="two FittingCapacity callbacks have name=a"):
        check_names(twice)
    check_names([*twice[:1], FittingCapacity(None, **TINY)])


def test_the_callback_refuses_before_training():
    trainer = Trainer(callbacks=[FittingCapacity()], max_steps=1, logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="without labels"):
        trainer.fit(GAN((1, 8, 8), num_classes=10), Digits())


# ---------------------------------------------------------------------- command line


def test_command_line(cli, fails, capsys):
    cli("fit", "--model", "ConditionalGAN", "--data", "Digits", "--data.batch_size", 16,
        "--trainer.max_steps", 2, "--trainer.enable_progress_bar", "false", "--trainer.limit_val_batches", 0,
        "--samples.gif", "false",
        "--trainer.callbacks", "lightning_gans.callbacks.fitting_capacity.FittingCapacity",
        "--trainer.callbacks.seeds", 1, "--trainer.callbacks.epochs", 1,
        "--trainer.callbacks.samples_per_epoch", 20)  # fmt: skip
    run = Path("runs/conditionalgan/version_0")
    assert "val/fitting_capacity" in (run / "metrics.csv").read_text().splitlines()[0]
    checkpoint = run / "checkpoints/last.ckpt"
    capsys.readouterr()
    cli("fitting-capacity", "--ckpt_path", checkpoint, "--data", "Digits", "--seeds", 1, "--epochs", 1,
        "--samples_per_epoch", 20, "--progress", "false", "--rejection", 0.5, "--num_calibration", 40,
        "--precision", "bf16")  # fmt: skip
    printed = capsys.readouterr().out
    assert printed.startswith("fitting capacity (GAN-train)")
    assert "GAN-test" in printed
    assert "p = 0.5" in printed
    line = fails("fitting-capacity", "--ckpt_path", checkpoint, "--data", "Digits", "--data.image_size", 16)
    assert "trained on" in line
    assert "seeds=0" in fails("fitting-capacity", "--ckpt_path", "no.ckpt", "--data", "Digits", "--seeds", 0)
    assert "rejection=2" in fails(
        "fitting-capacity", "--ckpt_path", "no.ckpt", "--data", "Digits", "--rejection", 2
    )
    assert "no.ckpt" in fails("fitting-capacity", "--ckpt_path", "no.ckpt", "--data", "Digits")
