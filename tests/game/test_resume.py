"""Killed at any hook and resumed, a run leaves to the bit what it would have left without that."""

from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from PIL import Image
from torch.optim.lr_scheduler import ExponentialLR

from lightning_gans import GAN, GaussianMixtures
from lightning_gans.callbacks import Checkpoint, Evaluate, GeneratorEMA
from lightning_gans.callbacks.pictures import Pictures
from lightning_gans.data import MemoryLoader
from lightning_gans.game.csv_logger import WholeCSVLogger
from lightning_gans.game.latents import Normal
from lightning_gans.metrics import ModeCoverage
from lightning_gans.metrics.classifier import DatasetClassifier
from lightning_gans.networks import MLPDiscriminator, MLPGenerator
from tests.kill import differences, killed_and_resumed, remains, undisturbed


class Dots(Pictures):
    """Draws a few samples as grey values: as cheap as can be."""

    folder = "dots"

    def picture(self, trainer, module):
        shades = (module.sample(4, seed=0).clamp(-1, 1) * 100 + 128).byte()
        return Image.fromarray(shades.numpy()), {"dots/mean": float(shades.float().mean())}


class Ring(GaussianMixtures):
    """Four batches an epoch, two of validation."""

    def __init__(self, **arguments):
        super().__init__(**{"samples": 64, "batch_size": 16, "val_fraction": 0.25, **arguments})
        self.has_test_split = False


class Logging(GAN):
    """Logs by Lightning's own means."""

    def training_step(self, batch, batch_idx):
        super().training_step(batch, batch_idx)
        self.log("own", float(self.trainer.fit_loop.total_batch_idx))


def points(paper=GAN, **arguments):
    return paper(
        (2,),
        latent=Normal(4),
        generator=partial(MLPGenerator, hidden=(8,), output="none"),
        discriminator=partial(MLPDiscriminator, hidden=(8,)),
        **arguments,
    )


def game(data):
    return points()


def by_epochs(data):
    return points(
        scheduler_interval="epoch",
        generator_scheduler=partial(ExponentialLR, gamma=0.5),
        discriminator_scheduler=partial(ExponentialLR, gamma=0.7),
    )


class Probe(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 8)

    def features_and_logits(self, x):
        logits = self.layer(x)
        return x, logits


def classifier(data):
    return DatasetClassifier((2,), 8, Probe(), lr=0.1)


def ours(every=3):
    return lambda: [Checkpoint(every_n_updates=every)]


def every_epoch(**options):
    return lambda: [
        ModelCheckpoint(filename="{epoch}", save_top_k=-1, enable_version_counter=False, **options)
    ]


def case(model=game, callbacks=None, data=Ring, pictures=True, **trainer):
    callbacks = callbacks or ours()
    return {"model": model, "callbacks": callbacks, "data": data, "pictures": pictures, "trainer": trainer}


def make(case):
    """Return what makes and fits a run of a case."""

    def run(folder, extra, ckpt_path):
        torch.manual_seed(5)
        data = case["data"]()
        model = case["model"](data)
        callbacks = [Dots(every_n_updates=5), GeneratorEMA(0.9)] if case["pictures"] else []
        callbacks += case["callbacks"]()
        for callback in callbacks:
            if isinstance(callback, ModelCheckpoint) and not isinstance(callback, Checkpoint):
                callback.dirpath = str(folder / "checkpoints")  # elsewhere it forgets its earlier ones
        trainer = Trainer(
            callbacks=[extra[0], *callbacks, *extra[1:]],
            logger=WholeCSVLogger(folder, name=""),
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            **{"log_every_n_steps": 2, "num_sanity_val_steps": 2} | case["trainer"],
        )
        if isinstance(data, MemoryLoader):
            trainer.fit(model, data, ckpt_path=ckpt_path)
        else:
            trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)

    return run


def bare(data=None):
    data = data or Ring()
    data.setup("fit")
    images, labels = data.training_images()
    return MemoryLoader(images, labels, data.batch_size, shuffle=True, drop_last=True, seed=data.seed)


EPOCHS, STEPS = {"max_epochs": 3}, {"max_steps": 9}
CASES = {
    "epochs": case(**EPOCHS),
    "steps": case(**STEPS),
    "each update, epochs": case(callbacks=ours(1), **EPOCHS),
    "each update, steps": case(callbacks=ours(1), **STEPS),
    "second epochs are validated": case(by_epochs, ours(1), check_val_every_n_epoch=2, max_epochs=4),
    "second epochs are validated, steps": case(by_epochs, ours(1), check_val_every_n_epoch=2, max_steps=11),
    "Lightning's, by epoch": case(
        by_epochs, every_epoch(save_on_train_epoch_end=True), pictures=False, **EPOCHS
    ),
    "Lightning's, by epoch, steps": case(
        by_epochs, every_epoch(save_on_train_epoch_end=True), pictures=False, **STEPS
    ),
    "Lightning's, after validation": case(
        by_epochs, every_epoch(save_on_train_epoch_end=False), pictures=False, **EPOCHS
    ),
    "Lightning's, after validation, steps": case(
        by_epochs, every_epoch(save_on_train_epoch_end=False), pictures=False, **STEPS
    ),
    "parts of epochs": case(by_epochs, ours(1), limit_train_batches=2, max_epochs=5),
    "parts of epochs, steps": case(by_epochs, ours(1), limit_train_batches=2, max_steps=9),
    "scored": case(
        callbacks=lambda: [Evaluate([ModeCoverage()], num_samples=20), *ours(1)()], pictures=False, **EPOCHS
    ),
    "new loaders": case(callbacks=ours(1), reload_dataloaders_every_n_epochs=1, **EPOCHS),
    "validated within epochs": case(callbacks=ours(1), val_check_interval=2, **EPOCHS),
    "validated across epochs": case(
        callbacks=ours(1), val_check_interval=5, check_val_every_n_epoch=None, **STEPS
    ),
    "rounds across epochs": case(lambda data: points(discriminator_steps=2), ours(1), **EPOCHS),
    "Lightning's log": case(
        lambda data: points(Logging, discriminator_steps=2),
        lambda: [LearningRateMonitor(), *ours(1)()],
        pictures=False,
        **EPOCHS,
    ),
    "bare loader": case(callbacks=ours(1), data=bare, **EPOCHS),
    "bare loader, steps": case(callbacks=ours(1), data=bare, **STEPS),
    "stopped early": case(
        callbacks=lambda: [EarlyStopping("val/generator_loss", patience=1, mode="max"), *ours(1)()],
        max_epochs=9,
    ),
    "stopped early, Lightning's": case(
        callbacks=lambda: [
            EarlyStopping("val/generator_loss", patience=1, mode="max", check_on_train_epoch_end=False),
            *every_epoch(save_on_train_epoch_end=False)(),
        ],
        pictures=False,
        max_epochs=9,
    ),
    "stopped early, within an epoch": case(
        callbacks=lambda: [
            EarlyStopping("val/generator_loss", patience=4, mode="max", check_on_train_epoch_end=False),
            *ours(1)(),
        ],
        val_check_interval=1,
        max_epochs=9,
    ),
    "classifier": case(classifier, ours(1), pictures=False, **EPOCHS),
    "classifier, steps": case(classifier, ours(1), pictures=False, **STEPS),
    "classifier, Lightning's": case(classifier, every_epoch(), pictures=False, **EPOCHS),
}

SLOW = {
    "second epochs are validated, steps",
    "Lightning's, after validation, steps",
    "parts of epochs, steps",
    "bare loader, steps",
    "classifier, steps",
}


def check(name, folder, whole, *at):
    killed_and_resumed(make(CASES[name]), folder, *at)
    different = differences(whole, remains(folder))
    assert not different, (*map(str, at), different[:5])


def around_the_second_end(moments):
    ends = [i for i, moment in enumerate(moments) if moment.hook == "on_train_epoch_end" and moment.after]
    return moments[ends[1] - 10 : ends[1] + 2], moments[ends[0]], moments[ends[1]]


@pytest.mark.parametrize("name", [name for name in CASES if name not in SLOW])
def test_killed_around_the_end_of_an_epoch(name, tmp_path):
    moments = undisturbed(make(CASES[name]), tmp_path / "whole")
    whole = remains(tmp_path / "whole")
    around, first, second = around_the_second_end(moments)
    for i, at in enumerate([*((moment,) for moment in (*around[::3], *moments[-3:-1])), (first, second)]):
        check(name, tmp_path / str(i), whole, *at)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_at_any_moment(name, tmp_path):
    moments = undisturbed(make(CASES[name]), tmp_path / "whole")
    whole = remains(tmp_path / "whole")
    pairs = [(moments[i // 2], moments[i]) for i in range(0, len(moments), 4)]
    for i, at in enumerate([*((moment,) for moment in moments), *pairs]):
        check(name, tmp_path / str(i), whole, *at)


class StopAt(Callback):
    """Asks a run to stop after an update, within an epoch."""

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.should_stop or trainer.global_step == 5


PROLONGED = {
    "ours": case(by_epochs, ours(), pictures=False),
    "Lightning's": case(by_epochs, every_epoch(save_on_train_epoch_end=True), pictures=False),
    "bare loader's": case(callbacks=ours(), data=bare, pictures=False),
}


@pytest.mark.parametrize("first", ["an epoch", "within an epoch", "stopped"])
@pytest.mark.parametrize("name", PROLONGED)
def test_a_run_that_is_prolonged_is_the_longer_run(name, first, tmp_path):
    limit = {"an epoch": {"max_epochs": 1}, "within an epoch": {"max_steps": 5}, "stopped": {"max_epochs": 3}}
    parts = [({"max_epochs": 3}, []), (limit[first], [StopAt()] if first == "stopped" else [])]
    for folder, (trainer, extra) in zip(("whole", "parts"), parts, strict=True):
        make({**PROLONGED[name], "trainer": trainer})(tmp_path / folder, [Callback(), *extra], None)
    last = max((tmp_path / "parts").rglob("*.ckpt"))  # epoch=1.ckpt after epoch=0.ckpt
    make({**PROLONGED[name], "trainer": {"max_epochs": 3}})(tmp_path / "parts", [Callback()], str(last))
    whole, parts = remains(tmp_path / "whole"), remains(tmp_path / "parts")
    end = max(whole["checkpoints"])
    assert differences(whole["checkpoints"][end], parts["checkpoints"][end]) == []


@pytest.mark.parametrize("seen", [3, 4], ids=["after an epoch", "within one"])
@pytest.mark.parametrize("loader", [False, True], ids=["data module", "bare loader"])
@pytest.mark.parametrize("changed", [{"batch_size": 8}, {"samples": 48}, {"seed": 1}], ids=str)
def test_other_data_is_refused(changed, loader, seen, tmp_path):
    def data(**arguments):
        module = Ring(**arguments)
        return module if not loader else bare(module)

    run = make(case(data=data, max_steps=seen))
    run(tmp_path, [Callback()], None)
    with pytest.raises(ValueError, match="resume with"):
        make(case(data=lambda: data(**changed), max_steps=9))(
            tmp_path, [Callback()], str(tmp_path / "version_0" / "checkpoints" / "last.ckpt")
        )
