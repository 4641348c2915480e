"""``lightning-gans features``: what is classified by what, what is drawn, and what is refused."""

import json
from typing import ClassVar

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import max_pool2d

from lightning_gans import DCGAN, GAN, ConditionalGAN, Digits, load
from lightning_gans.commands.features import BATCH, _most_exciting, _Sets, _shapes, features
from lightning_gans.metrics.evaluation import RealImages, real_images_of
from lightning_gans.metrics.svm import Labelled, svm_error
from lightning_gans.networks import ConditionalDCGANDiscriminator, ConditionalDCGANGenerator
from lightning_gans.networks.rebuild import Rebuildable, built_again
from tests.commands.test_sample import saved
from tests.conformance.games import LATENT_GAMES, game, images_of
from tests.conformance.shapes import TwoTranslators

SHAPE = (1, 16, 16)
QUICK = ("--model.generator.width=4", "--model.discriminator.width=4", "--trainer.enable_progress_bar=false")


def small_dcgan(seed=0):
    torch.manual_seed(seed)
    return DCGAN(SHAPE, generator={"width": 4}, discriminator={"width": 4})


def rows(images, network):
    """The features of images, by hand: two layers, of 8x8 and of 4x4 pixels."""
    with torch.no_grad():
        low = network.layers[0](images)
        high = network.layers[1](low)
    return torch.cat([max_pool2d(low, 2).flatten(1), high.flatten(1)], 1)


def by_hand(images, network):
    """Features of all images, with the mean of the statistics that batch norm has in batches of 128."""
    convolution, norm, _ = network.layers[1]
    with torch.no_grad():
        inputs = [convolution(network.layers[0](x)) for x in images.split(BATCH) if len(x) == BATCH]
    norm.running_mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    norm.running_var = torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0)
    return lambda some: rows(some, network)


def test_a_run_is_classified_by_its_own_data(cli, tmp_path, capsys):
    cli("fit", "--model=DCGAN", "--data=Digits", "--data.image_size=16", "--trainer.max_steps=2", *QUICK)
    capsys.readouterr()
    run = tmp_path / "runs/dcgan/version_0"
    cli("features", run, "--num_labels", 50, "--draws", 2, "--c", "[0.01, 0.1]", "--json", "found.json")
    told = capsys.readouterr()
    assert "as in its run: data Digits" in told.err
    assert "SVMs of 50 labels of Digits, draws: 2; C by 250 other images" in told.out
    found = json.loads((tmp_path / "found.json").read_text())
    about = found["protocol"]
    assert (about["network"], about["maps"]) == ("DCGANDiscriminator", [[4, 8, 8], [8, 4, 4]])
    assert (about["num_labels"], about["draws"], about["validation_images"]) == (50, 2, 250)
    assert list(found["error"]) == ["discriminator", "random filters", "pixels"]
    for kind, size in (("discriminator", 192), ("random filters", 192), ("pixels", 256)):
        error = found["error"][kind]
        assert error["features"] == size
        assert 0 < error["error"] < 0.6  # by chance 0.9
        assert len(error["errors"]) == 2
        assert sorted(error["validation"]) == ["0.01", "0.1"]
    with Image.open("guided.png") as picture:
        assert picture.width > picture.height > 12 * 64
        narrow = picture.width
    cli("features", run, "--draws", 0, "--baselines", "false", "--out", "alone.png")
    with Image.open("alone.png") as picture:
        assert picture.width < 0.7 * narrow


def test_errors_are_those_of_the_features_by_hand():
    saved(small_dcgan())
    data = Digits(image_size=16)
    found = features("game.ckpt", data, "all", 1, (0.003,), 0.25, baselines=False, out=None)
    train, test = (real_images_of(data, split) for split in ("train", "test"))
    first, second = (images.at(torch.arange(images.count)) / 127.5 - 1 for images in (train, test))
    read = by_hand(first, load("game.ckpt").discriminator)
    sets = [
        Labelled(read(x).numpy(), images.labels.numpy()) for x, images in ((first, train), (second, test))
    ]
    error = found["error"]["discriminator"]
    assert error["errors"] == [pytest.approx(svm_error(*sets, 0.003), abs=0.006)]
    held_out = round(0.25 * train.count)
    split = [sets[0].at(torch.arange(*ends).numpy()) for ends in ((held_out, train.count), (held_out,))]
    assert error["validation"]["0.003"] == pytest.approx(svm_error(*split, 0.003), abs=0.006)
    assert found["protocol"]["num_labels"] == train.count


def test_the_same_seed_draws_the_same():
    saved(small_dcgan())
    data = Digits(image_size=16)
    first, again, other = (
        features("game.ckpt", data, 30, 2, (0.01,), out=None, seed=seed)["error"] for seed in (0, 0, 1)
    )
    assert first == again
    for kind in first:
        assert first[kind]["errors"] != other[kind]["errors"]


def test_draws_of_two_seeds_have_none_in_common():
    images = [real_images_of(Digits(), split) for split in ("train", "test")]
    sets = [_Sets(*images, 30, 2, 0.25, seed) for seed in (0, 1)]
    assert len({tuple(each.known[places].tolist()) for each in sets for places in each._draws}) == 4


class Watching(ConditionalDCGANDiscriminator):
    """Remembers the labels that it is shown."""

    seen: ClassVar[set[int]] = set()

    def forward(self, images, labels):
        self.seen.update(labels.tolist())
        return super().forward(images, labels)


def test_a_discriminator_that_takes_labels_gets_none():
    small = {"width": 4, "hidden": 8}
    watching = Watching((1, 8, 8), 10, **small)
    saved(
        ConditionalGAN((1, 8, 8), 10, None, ConditionalDCGANGenerator((1, 8, 8), 100, 10, **small), watching)
    )
    Watching.seen.clear()
    found = features("game.ckpt", Digits(), 50, 1, (0.01,), trusted=(Watching.__module__,))
    assert Watching.seen == {-1}
    assert found["error"]["discriminator"]["features"] == 4 * 16 + 8 * 4


@pytest.mark.parametrize("name", LATENT_GAMES)
def test_every_game_has_features_or_says_why_not(name):
    module = game(name, images_of(name)).eval()
    if any(isinstance(part, nn.Conv2d) for part in module.discriminator.modules()):
        assert _shapes(module)[0][1:] == (4, 4)
    else:
        network = type(module.discriminator).__name__
        with pytest.raises(ValueError, match=f"{name}, {network}, has no convolution"):
            _shapes(module)


class Bright(Rebuildable, nn.Module):
    """The first feature is a pixel's brightness, the second its darkness."""

    def __init__(self, image_shape):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 1, bias=False)
        self.convolution.weight.data[:, 0, 0, 0] = torch.tensor([1.0, -1.0])

    def forward(self, images):
        return torch.relu(self.convolution(images)).flatten(1).sum(1)


def test_images_that_excite_most():
    images = torch.zeros(20, 1, 4, 4, dtype=torch.uint8)
    images[torch.arange(20), 0, 1, 2] = torch.arange(20).byte() * 5 + 150
    real = RealImages(images, torch.zeros(20), {})
    module = GAN((1, 4, 4), discriminator=Bright).eval()
    scaled = real.at(torch.arange(20)) / 127.5 - 1
    maxima = torch.stack([scaled.flatten(1).amax(1), -scaled.flatten(1).amin(1)], 1)
    views, shown, dark, _ = _most_exciting(module, real, maxima)
    assert len(shown) == 9
    assert ((shown[:, 0, 1, 2] + 1) * 127.5).round().int().tolist() == list(range(245, 200, -5))
    # Only the brightest pixel counts, and views are stretched to [-1, 1].
    assert views[:, 0, 1, 2].tolist() == [1] * 9
    assert (views == -1).sum() == 9 * 15
    # What is dark excites the second, whose gradient is negative, as its weight is: its only pixel is black.
    assert (dark == -1).sum(dim=(1, 2, 3)).tolist() == [1] * 9


def test_bad_input(fails, tmp_path, monkeypatch):
    def refused(*arguments, data="Digits"):
        return fails("features", "game.ckpt", "--data", data, *arguments)

    saved(small_dcgan())
    assert "num_labels=5 is less than a label for each class: use 10 or more" in refused("--num_labels", 5)
    assert "num_labels=5000 exceeds the 1250 labels" in refused("--num_labels", 5000)
    assert "num_labels=0: give a whole number of at least 1" in refused("--num_labels", 0)
    assert "give a whole number or 'all', not many" in refused("--num_labels", "many")
    assert "data=None: the run says none" in fails("features", "--ckpt_path", "game.ckpt")
    assert "draws=0: there is no SVM" in refused("--draws", 0, "--out", "null")
    assert "c=-1.0: give a finite number, more than 0" in refused("--c", "[-1]")
    assert "out=x.gif: give a file that ends in .png" in refused("--out", "x.gif")
    assert "val_fraction=1e-05 leaves 0 images to choose C by" in refused("--val_fraction", 1e-5)
    one = ("--data.classes", "[3]")
    assert "Digits has 1 classes in training" in refused(*one)
    for number, colour in enumerate(("red", "blue")):
        folder = tmp_path / "photos" / colour
        folder.mkdir(parents=True)
        Image.new("RGB", (16, 16), colour).save(folder / f"{number}.png")
    line = refused("--data.folder", "photos", data="ImageFolder")
    assert "data=ImageFolder has images (3, 16, 16), but the discriminator judges (1, 16, 16)" in line

    with monkeypatch.context() as patched:
        patched.setattr("lightning_gans.commands.features.free_memory", lambda: 10**6)
        assert "192 features of 1,797 images need 0.0 GiB of memory" in refused("--num_labels", "all")
    monkeypatch.setattr(DCGAN, "another", lambda game, seed: built_again(nn.Linear(1, 1)))
    assert "or leave them out: --baselines false" in refused()

    saved(GAN((1, 8, 8)))
    assert "the discriminator of this GAN, MaxoutDiscriminator, has no convolution" in refused()
    saved(TwoTranslators((1, 8, 8), (1, 8, 8)))
    line = refused("--trusted", TwoTranslators.__module__)
    assert "a TwoTranslators is no game from latents to images" in line
