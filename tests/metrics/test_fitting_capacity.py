"""Fitting capacity, checked with games whose score is known: perfect, mislabelled, collapsed."""

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lightning_gans import GAN, Digits, GaussianMixtures
from lightning_gans.callbacks import Checkpoint, GeneratorEMA
from lightning_gans.callbacks.fitting_capacity import FittingCapacity
from lightning_gans.data.base import DataModule
from lightning_gans.metrics import fitting_capacity as module
from lightning_gans.metrics.fitting_capacity import Budget, fitting_capacity, real_data
from lightning_gans.models import ConditionalGAN

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


# ---------------------------------------------------------------------- protocol


def test_online_samples_are_new_in_each_epoch(data):
    generator = copies(data)
    fitting_capacity(generator, data, **{**SMALL, "epochs": 3}, weights="raw", real=False)
    assert len(generator.calls) == 2 * 3 * 2  # seeds, epochs, chunks of 1,000
    assert len({seed for _, _, seed in generator.calls}) == 12
    assert {ema for _, ema, _ in generator.calls} == {False}
    counts = torch.bincount(torch.cat([torch.tensor(labels) for labels, _, _ in generator.calls]))
    assert counts.sum() == 2 * 3 * 1500
    assert (counts - 900).abs().max() < 120


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
    assert isinstance(data, DataModule)


# ---------------------------------------------------------------------- the callback


def train(watchers, updates=4, **arguments):
    trainer = Trainer(
        callbacks=watchers, max_steps=updates, logger=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0,
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in watchers),
    )  # fmt: skip
    made = game()
    trainer.fit(made, Digits(batch_size=16), weights_only=True, **arguments)
    return trainer, made


def test_being_watched_changes_nothing():
    (_, alone), (trainer, watched) = (
        train([GeneratorEMA(0.5), *watchers]) for watchers in ([], [FittingCapacity(1, **TINY)])
    )
    for key, value in alone.state_dict().items():
        assert torch.equal(value, watched.state_dict()[key])
    assert torch.equal(alone.rng.get_state(), watched.rng.get_state())
    assert set(trainer.callback_metrics) >= {
        "val/fitting_capacity", "val/fitting_capacity_ceiling", "val/gan_test"
    }  # fmt: skip


def test_cadence_and_resume(monkeypatch):
    scored, judged = [], []
    score, judge = FittingCapacity._score, module.train_judges
    monkeypatch.setattr(
        FittingCapacity,
        "_score",
        lambda self, trainer, made: (scored.append(trainer.global_step), score(self, trainer, made)),
    )
    monkeypatch.setattr(
        "lightning_gans.callbacks.fitting_capacity.train_judges", lambda *a: judged.append(1) or judge(*a)
    )
    train([FittingCapacity(2, **TINY), Checkpoint(dirpath="here")], 5)
    assert scored == [2, 4, 5]
    assert len(judged) == 1
    scored.clear()
    train([FittingCapacity(2, **TINY), Checkpoint(dirpath="here")], 7, ckpt_path="here/last.ckpt")
    assert scored == [6, 7]


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
        "--samples_per_epoch", 20, "--progress", "false")  # fmt: skip
    printed = capsys.readouterr().out
    assert printed.startswith("fitting capacity (GAN-train)")
    assert "GAN-test" in printed
    line = fails("fitting-capacity", "--ckpt_path", checkpoint, "--data", "Digits", "--data.image_size", 16)
    assert "trained on" in line
    assert "seeds=0" in fails("fitting-capacity", "--ckpt_path", "no.ckpt", "--data", "Digits", "--seeds", 0)
    assert "no.ckpt" in fails("fitting-capacity", "--ckpt_path", "no.ckpt", "--data", "Digits")
