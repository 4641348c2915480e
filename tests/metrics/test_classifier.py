"""Classifiers of data sets: training, checkpoints that know their accuracy, and their use as extractors."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
import torch.nn.functional as F
import yaml
from lightning.pytorch import Trainer
from PIL import Image
from torch import nn

import lightning_gans
from lightning_gans import GAN, Digits, files
from lightning_gans.callbacks import Checkpoint
from lightning_gans.metrics import judge as module
from lightning_gans.metrics.classifier import ClassifierExtractor, DatasetClassifier
from lightning_gans.metrics.judge import _one_cycle
from lightning_gans.networks.classifier import ConvClassifier, LeNet
from tests.damage import damaged

QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "num_sanity_val_steps": 0,
}


def classifier(**arguments):
    torch.manual_seed(0)
    return DatasetClassifier(image_shape=(1, 8, 8), num_classes=10, **arguments)


def fit(folder, module=None, data=None, ckpt_path=None, **arguments):
    module, data = module or classifier(), data or Digits(batch_size=50)
    trainer = Trainer(callbacks=[Checkpoint(dirpath=str(folder))], **QUIET, **{"max_epochs": 1, **arguments})
    trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
    return module


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The checkpoint of a classifier of the digits, and the classifier."""
    folder = tmp_path_factory.mktemp("classifier")
    module = fit(folder, max_epochs=6, limit_val_batches=0)
    return folder / "last.ckpt", module


def real_test(data=None):
    data = data or Digits(drop_last=False)
    data.setup("test")
    images, labels = zip(*data.test_dataloader(), strict=True)
    return torch.cat(images), torch.cat(labels)


def to_bytes(images):
    return ((images + 1) * 127.5).round().to(torch.uint8)


# ---------------------------------------------------------------------- networks


@pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_conv_classifier(size, channels):
    network = ConvClassifier((channels, size, size), 7, width=4, depth=2, features=12)
    features, logits = network.features_and_logits(torch.rand(3, channels, size, size))
    assert features.shape == (3, 12)
    assert (features >= 0).all()
    assert logits.shape == (3, 7)
    torch.testing.assert_close(network(torch.zeros(3, channels, size, size)).shape, (3, 7))


def test_lenet_is_the_published_one():
    """156 + 2,416 in the convolutions, 48,120 + 10,164 + 850 in the layers."""
    network = LeNet((1, 32, 32), 10)
    assert sum(p.numel() for p in network.parameters()) == 61_706
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.Dropout)]
    features, logits = network.features_and_logits(torch.rand(2, 1, 32, 32))
    assert features.shape == (2, 84)
    assert logits.shape == (2, 10)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: ConvClassifier((1, 4, 4), 10), "image_shape="),
        (lambda: ConvClassifier((1, 8, 9), 10), "square"),
        (lambda: ConvClassifier((2,), 10), "square"),
        (lambda: ConvClassifier((1, 8, 8), 0), "num_classes"),
        (lambda: ConvClassifier((1, 8, 8), 10, dropout=1.0), "dropout"),
        (lambda: LeNet((1, 28, 28), 10), "32"),
        (lambda: classifier(lr=0), "lr=0"),
        (lambda: classifier(label_smoothing=1), "label_smoothing"),
        (lambda: classifier(weight_decay=-1), "weight_decay"),
        (lambda: classifier(network=nn.Flatten()), "features_and_logits"),
        (lambda: DatasetClassifier((1, 8, 8), None), "labels"),
        (lambda: ConvClassifier((1, 8, 8), 10)(torch.rand(2, 3, 8, 8)), "images has shape"),
    ],
)
def test_refused(make, word):
    with pytest.raises(ValueError, match=word):
        make()


# ---------------------------------------------------------------------- training


def test_learns_the_digits_and_the_checkpoint_says_how_well(trained):
    path, module = trained
    loaded = lightning_gans.load(path)
    assert type(loaded) is DatasetClassifier
    assert not loaded.training
    images, labels = real_test()
    with torch.no_grad():
        accuracy = (loaded(images).argmax(1) == labels).double().mean().item()
    assert accuracy > 0.95
    assert loaded.accuracy == pytest.approx(accuracy)
    assert (loaded.tested_on, loaded.data_name) == (297, "Digits")
    for key, value in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_accuracy_belongs_to_the_weights_beside_it(tmp_path):
    """Saved at the last update, before any validation: still measured, and training goes on in its mode."""
    module = fit(tmp_path, max_epochs=-1, max_steps=30, limit_val_batches=0)
    assert module.training
    loaded = lightning_gans.load(tmp_path / "last.ckpt")
    images, labels = real_test()
    with torch.no_grad():
        assert loaded.accuracy == pytest.approx((loaded(images).argmax(1) == labels).double().mean().item())


def test_saving_does_not_change_the_training(tmp_path):
    states = []
    for every in (1, 1000):
        module = classifier()
        callbacks = [Checkpoint(every_n_updates=every, dirpath=str(tmp_path / str(every)))]
        Trainer(callbacks=callbacks, **QUIET, max_steps=8, limit_val_batches=0).fit(
            module, Digits(batch_size=50)
        )
        states.append(module.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_unlabeled_images_are_left_out():
    module = classifier().eval()
    module.log = lambda *_, **__: None
    images, labels = torch.rand(6, 1, 8, 8), torch.tensor([3, -1, 5, -1, -1, 0])
    known = labels >= 0
    expected = F.cross_entropy(module(images[known]), labels[known])
    torch.testing.assert_close(module.training_step((images, labels), 0), expected)
    assert module.training_step((images, torch.full((6,), -1)), 0) == 0


def test_partly_labelled_data(tmp_path):
    module = fit(
        tmp_path, data=Digits(batch_size=50, label_fraction=0.1), max_epochs=1, limit_train_batches=5
    )
    assert all(p.isfinite().all() for p in module.parameters())


def test_one_cycle():
    rates = [_one_cycle(step, 100) for step in range(101)]
    assert max(rates) == rates[10] == 1
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[100] == 0
    assert _one_cycle(150, 100) == 0
    assert all(0 < _one_cycle(0, n) <= 1 for n in (1, 2, 3))


def test_a_resumed_run_may_last_longer(tmp_path):
    fit(tmp_path, max_epochs=1)
    longer = fit(tmp_path, ckpt_path=str(tmp_path / "last.ckpt"), max_epochs=2)
    assert longer.trainer.global_step == 60


def test_without_an_end_there_is_no_schedule(tmp_path):
    with pytest.raises(ValueError, match="max_epochs"):
        fit(tmp_path, max_epochs=-1)


def test_another_shape_is_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="does not fit"):
        fit(tmp_path, classifier(network=ConvClassifier((1, 8, 8), 10, width=8)), ckpt_path=str(trained[0]))
    with pytest.raises(ValueError, match="image_shape"):
        fit(tmp_path, data=Digits(image_size=16, batch_size=50))


# ---------------------------------------------------------------------- command line


def test_command_line(cli, fails):
    cli("fit", "--model", "DatasetClassifier", "--data", "Digits", "--data.batch_size", 50,
        "--trainer.max_epochs", 1, "--trainer.enable_progress_bar", "false")  # fmt: skip
    run = Path("runs/datasetclassifier/version_0")
    assert "val/accuracy" in (run / "metrics.csv").read_text().splitlines()[0]
    assert not (run / "samples").exists()
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["class_path"].endswith("Classifier")
    checkpoint = run / "checkpoints" / "last.ckpt"
    for command in ("validate", "test"):
        cli(command, "--ckpt_path", checkpoint)
    cli("fit", "--ckpt_path", checkpoint, "--trainer.max_epochs", 2, "--trainer.enable_progress_bar", "false")
    assert lightning_gans.load(run.parent / "version_1/checkpoints/last.ckpt").accuracy > 0.8
    assert "no latent" in fails("sample", "--ckpt_path", checkpoint)
    Path("unlabeled").mkdir()
    Image.new("L", (8, 8)).save("unlabeled/1.png")
    line = fails("fit", "--model", "DatasetClassifier", "--data", "ImageFolder", "--data.folder", "unlabeled",
                 "--data.batch_size", 1)  # fmt: skip
    assert "needs data with labels" in line


def test_the_network_by_name(cli):
    cli("fit", "--model", "DatasetClassifier", "--model.network", "ConvClassifier",
        "--model.network.width", 5, "--data", "Digits", "--trainer.max_epochs", 1,
        "--trainer.limit_train_batches", 2, "--trainer.enable_progress_bar", "false")  # fmt: skip
    loaded = lightning_gans.load("runs/datasetclassifier/version_0/checkpoints/last.ckpt")
    assert loaded.network.stages[0].out_channels == 5


# ---------------------------------------------------------------------- as an extractor


def test_extractor(trained):
    path, module = trained
    extractor = ClassifierExtractor(path)
    images, labels = real_test()
    features, logits = extractor(to_bytes(images))
    assert features.shape == (297, 128)
    assert (logits.argmax(1) == labels).double().mean().item() == pytest.approx(module.accuracy)
    protocol = extractor.protocol
    assert protocol["extractor"] == extractor.name == "digits-classifier"
    assert protocol["accuracy"] == f"{module.accuracy:.4f} of 297"
    assert len(protocol["hash"]) == 16
    assert ClassifierExtractor(module).protocol == protocol
    assert all(p.requires_grad for p in module.parameters())  # the caller's own is left alone
    assert ClassifierExtractor(classifier()).protocol["hash"] != protocol["hash"]
    assert ClassifierExtractor(classifier()).protocol["accuracy"] == "unknown"


def test_extractor_resizes(trained):
    extractor = ClassifierExtractor(trained[0])
    images, labels = real_test(Digits(image_size=32, drop_last=False))
    accuracy = (extractor(to_bytes(images))[1].argmax(1) == labels).double().mean()
    assert accuracy > 0.94
    assert extractor(to_bytes(images).repeat_interleave(2, 3))[0].shape == (297, 128)  # not square


def test_extractor_stays_in_evaluation_mode(trained):
    extractor = ClassifierExtractor(trained[0]).train()
    assert not any(m.training for m in extractor.modules())


def test_extractor_refuses(trained, tmp_path):
    extractor = ClassifierExtractor(trained[0])
    with pytest.raises(ValueError, match="3 channels"):
        extractor(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(TypeError, match="uint8"):
        extractor(torch.zeros(2, 1, 8, 8))
    with pytest.raises(FileNotFoundError, match=r"nothing\.ckpt"):
        ClassifierExtractor("nothing.ckpt")
    Trainer(callbacks=[Checkpoint(dirpath=str(tmp_path))], **QUIET, max_steps=1, limit_val_batches=0).fit(
        GAN((1, 8, 8)), Digits(batch_size=8)
    )
    with pytest.raises(ValueError, match="one of a GAN"):
        ClassifierExtractor(tmp_path / "last.ckpt")


def test_channels_of_stacked_digits(trained):
    extractor = ClassifierExtractor(trained[0])
    images, labels = real_test()
    sure = extractor(to_bytes(images))[1].argmax(1) == labels
    images, labels = to_bytes(images)[sure][:270].view(90, 3, 8, 8), labels[sure][:270].view(90, 3)
    modes = extractor.classify_channels(images)
    assert torch.equal(modes, labels[:, 0] * 100 + labels[:, 1] * 10 + labels[:, 2])
    with pytest.raises(ValueError, match="3, H, W"):
        extractor.classify_channels(images[:, :1])
    with pytest.raises(ValueError, match="grey"):
        ClassifierExtractor(DatasetClassifier((3, 8, 8), 10)).classify_channels(images)


# ---------------------------------------------------------------------- made once, kept in the cache folder


def another_class(content):
    content["hyper_parameters"]["_class_path"] = "lightning_gans.classifier.DatasetClassifier"


def no_weights(content):
    content["state_dict"].clear()


@pytest.fixture
def recipe(trained, tmp_path, monkeypatch):
    """A recipe whose training is a copy; what was run, and how the next training ends."""
    made, ends, file = [], [""], tmp_path / "recipes/classifier/mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("seed: 1")
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "recipes_folder", lambda: tmp_path / "recipes")

    copy = "import os, shutil, sys; print('20 40'); os.makedirs(sys.argv[2]); shutil.copy(*sys.argv[1:])"

    def process(command, **options):
        made.append(command)
        (place,) = (word for word in command if word.startswith("--trainer.default_root_dir="))
        target = Path(place.partition("=")[2], "checkpoints")
        return popen([sys.executable, "-c", copy + ends[-1], str(trained[0]), str(target)], **options)

    popen = subprocess.Popen
    monkeypatch.setattr(module.subprocess, "Popen", process)
    return file, made, ends


def test_a_classifier_is_trained_once_a_recipe(recipe):
    file, made, _ = recipe
    first, second = (ClassifierExtractor("classifier/mine").protocol for _ in range(2))
    assert first == second
    assert len(made) == 1
    file.write_text("seed: 2")
    ClassifierExtractor("classifier/mine")
    assert len(made) == 2
    with pytest.raises(ValueError, match=r"yours\.yaml: there is no such file"):
        ClassifierExtractor("classifier/yours")


@pytest.mark.parametrize("damage", [None, another_class, no_weights])
def test_a_cached_classifier_that_cannot_be_read_is_made_anew(recipe, tmp_path, damage):
    expected = ClassifierExtractor("classifier/mine").protocol
    (cached,) = (tmp_path / "cache/classifiers").glob("*.ckpt")
    if damage is None:
        cached.write_bytes(cached.read_bytes()[:1000])
    else:
        content = torch.load(cached, weights_only=True)
        damage(content)
        torch.save(content, cached)
    assert ClassifierExtractor("classifier/mine").protocol == expected
    assert len(recipe[1]) == 2


@pytest.mark.parametrize("count", [40, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_damaged_classifier_is_made_anew_or_right(recipe, tmp_path, monkeypatch, count):
    expected = ClassifierExtractor("classifier/mine").protocol
    (cached,) = (tmp_path / "cache/classifiers").glob("*.ckpt")
    content = cached.read_bytes()

    def train(recipe, config, file):
        anew.append(what)
        file.write_bytes(content)

    monkeypatch.setattr(module, "_train", train)
    anew = []
    for what, bad in damaged(content, count):
        cached.write_bytes(bad)
        assert ClassifierExtractor("classifier/mine").protocol == expected, what
    assert count / 4 < len(anew) < count


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("; sys.exit(143)", "it was stopped by SIGTERM"),
        ("; os.kill(os.getpid(), 9)", "it was stopped by SIGKILL"),
        ("; sys.exit('lightning-gans: no such data')", "could not be trained: no such data"),
    ],
)
def test_a_training_that_did_not_finish_is_not_kept(recipe, tmp_path, end, words):
    recipe[2].append(end)
    with pytest.raises(OSError, match=words):
        ClassifierExtractor("classifier/mine")
    left = [path.suffix for path in (tmp_path / "cache/classifiers").iterdir()]
    assert left == [".lock"]
    recipe[2].append("")
    ClassifierExtractor("classifier/mine")
    assert len(recipe[1]) == 2


def test_an_interrupted_wait_ends_the_training(recipe, tmp_path, monkeypatch):
    class Interrupted:
        def __init__(self, **_):
            raise KeyboardInterrupt

    recipe[2].append("; time.sleep(60)")
    monkeypatch.setattr(module, "tqdm", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        ClassifierExtractor("classifier/mine")
    assert [path.suffix for path in (tmp_path / "cache/classifiers").iterdir()] == [".lock"]


def test_what_a_killed_process_left_goes(recipe, tmp_path):
    ClassifierExtractor("classifier/mine")
    (cached,) = (tmp_path / "cache/classifiers").glob("*.ckpt")
    cached.unlink()
    left = cached.with_name(f"{cached.name}.dead.part")
    left.mkdir()
    (left / "last.ckpt.part").touch()
    ClassifierExtractor("classifier/mine")
    assert cached.is_file()
    assert not left.exists()


def test_a_cache_that_cannot_be_written(recipe, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"LIGHTNING_GANS_CACHE=.*file/classifiers: cannot write"):
        ClassifierExtractor("classifier/mine")
    assert not recipe[1]


def test_two_processes_train_once(recipe, monkeypatch):
    """The second one says that it waits, and takes what the first has made."""
    monkeypatch.setattr(files, "WAIT_SECONDS", 0.1)
    recipe[2].append("; import time; time.sleep(1)")
    waiting = pytest.warns(UserWarning, match="waiting for another process that trains classifier/mine")
    with waiting, ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: ClassifierExtractor("classifier/mine").protocol, range(2)))
    assert found[0] == found[1]
    assert len(recipe[1]) == 1


@pytest.mark.slow
def test_a_real_training_that_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))
    seen = []

    class Bar(module.tqdm):
        def refresh(self, *_, **__):
            seen.append((self.n, self.total))
            if self.n == 200:
                os.kill(psutil.Process().children()[0].pid, signal.SIGTERM)

    monkeypatch.setattr(module, "tqdm", Bar)
    with pytest.raises(OSError, match="classifier/digits could not be trained: it was stopped by SIGTERM"):
        ClassifierExtractor("classifier/digits")
    assert (200, 600) in seen
    assert (600, 600) not in seen
    assert not list((tmp_path / "cache").rglob("*.ckpt"))
