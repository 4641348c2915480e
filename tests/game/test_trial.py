"""What is looked at before a run: wrong networks, losses and batches end it with one line."""

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_gans import GAN, ConditionalGAN, LatentGame
from lightning_gans.game.players import Player
from lightning_gans.game.sides import Side
from lightning_gans.game.translation import TranslationGame
from lightning_gans.game.trial import batch_sizes
from tests.conformance.games import PlainNet, digits, game, pairs, ring, small_networks, trainer
from tests.conformance.shapes import TwoTranslators


def refused(module, data, *words):
    """A run that ends with one line, which has all the words."""
    with pytest.raises(ValueError) as found:  # noqa: PT011
        trainer(max_steps=3).fit(module, data)
    line = str(found.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


class Broken(nn.Module):
    """A network with whatever somebody wrote in it."""

    def __init__(self, forward):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.wrong = forward

    def forward(self, *given):
        return self.wrong(*given)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"generator": PlainNet(7, 2)}, ["generator=PlainNet of GAN", "float32 (2, 100)", "2x100 and 7x2"]),
        ({"generator": PlainNet(100, 3)}, ["generator of GAN", "(3,)", "image_shape=(2,)"]),
        ({"generator": Broken(lambda z: (z, z))}, ["generator of GAN", "a tuple of", "(N, 2)"]),
        ({"generator": Broken(lambda z: z[:1, :2])}, ["generator of GAN"]),
        ({"generator": Broken(lambda z: z[:, :2] / 0)}, ["generator of GAN", "not finite"]),
        ({"generator": Broken(lambda z: missing)}, ["generator=Broken of GAN", "NameError", "missing"]),  # noqa: F821
        ({"generator": Broken(lambda: 0)}, ["generator=Broken", "float32 (2, 100)", "TypeError"]),
        ({"discriminator": PlainNet(3, 1)}, ["discriminator=PlainNet of GAN", "float32 (2, 2)"]),
        ({"discriminator": PlainNet(2, 5)}, ["discriminator of GAN", "(2, 5)", "(N,)"]),
        ({"discriminator": Broken(lambda x: None)}, ["discriminator of GAN", "None", "(N,)"]),
        ({"discriminator": Broken(lambda x: x.sum())}, ["discriminator of GAN", "()", "(N,)"]),
    ],
)
def test_networks_that_do_not_fit(arguments, words):
    refused(GAN((2,), **arguments), ring(), *words)


def test_networks_without_labels_in_a_conditional_game():
    plain = small_networks((1, 8, 8))
    words = ["=MLP", "of ConditionalGAN", "float32 (2, ", "int64 (2,)", "TypeError"]
    for network in ("generator", "discriminator"):
        module = ConditionalGAN((1, 8, 8), 10, **{network: plain[network]})
        refused(module, digits(), network, *words)


def test_images_in_another_range_are_named():
    scaled = nn.Sequential(nn.Linear(100, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
    with pytest.warns(UserWarning, match=r"generator of GAN makes images in .*looks like \[0, 1\]"):
        trainer(max_steps=1).fit(GAN((1, 8, 8), generator=scaled), digits())


def test_translations():
    module = TwoTranslators((1, 8, 8), (1, 8, 8))
    module.there = nn.Conv2d(2, 1, 1)
    refused(module, pairs(), "there=Conv2d of TwoTranslators", "float32 (2, 1, 8, 8)")
    module.there = nn.Conv2d(1, 1, 1)
    module.target_judge = nn.Linear(3, 1)
    refused(module, pairs(), "target_judge=Linear of TwoTranslators", "float32 (2, 1, 8, 8)")


# ---------------------------------------------------------------------- losses


def losses(**written):
    """A game with losses of somebody's own."""

    def discriminator_loss(self, real, fake):
        return self.judge(fake).mean() - self.judge(real).mean()

    def generator_loss(self, real, fake):
        return -self.judge(fake).mean()

    known = {"discriminator_loss": discriminator_loss, "generator_loss": generator_loss}
    kept = {name: loss for name, loss in {**known, **written}.items() if loss is not None}
    return type("Mine", (LatentGame,), kept)((2,), **small_networks((2,)))


@pytest.mark.parametrize("name", ["discriminator_loss", "generator_loss"])
def test_a_loss_that_is_missing(name):
    with pytest.raises(TypeError, match=f"abstract class Mine .*{name}"):
        losses(**{name: None})


@pytest.mark.parametrize("player", ["discriminator", "generator"])
@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda self, real, fake: self.judge(fake), ["float32 (16,)", "scalar"]),
        (lambda self, real, fake: None, ["None", "scalar"]),
        (lambda self, real, fake: 1.5, ["a float", "scalar"]),
        (lambda self, real, fake: self.judge(fake).mean().detach(), ["without a gradient", "detach()"]),
        (lambda self, real, fake: torch.zeros(1, requires_grad=True).sum(), ["does not depend on"]),
    ],
)
def test_a_loss_that_cannot_be_minimised(player, loss, words):
    refused(losses(**{f"{player}_loss": loss}), ring(), f"the {player}'s loss of Mine", *words)


def test_a_generator_loss_of_detached_fakes():
    mine = losses(generator_loss=lambda self, real, fake: -self.judge(fake.detach()).mean())
    refused(mine, ring(), "the generator's loss of Mine", "without a gradient")


def test_a_translation_without_a_generator():
    class NoGenerator(TranslationGame):
        def players(self):
            return {"generator": Player((), None)}

        def training_step(self, batch, batch_idx):
            pass

    refused(NoGenerator((1, 8, 8), (1, 8, 8)), pairs(), "NoGenerator has no generator: write generate()")


# ---------------------------------------------------------------------- batches


def test_batch_norm_needs_a_batch():
    words = ["data.batch_size=1 leaves batch norm without statistics"]
    refused(game("DCGAN", digits()), digits(batch_size=1), *words)


def normed():
    return GAN((2,), generator=nn.Sequential(nn.Linear(100, 2), nn.BatchNorm1d(2)))


def test_the_rest_of_an_epoch_is_a_batch_too():
    """Two updates, and then one sample without statistics."""
    rest = {"samples": 129, "batch_size": 64, "drop_last": False}
    refused(normed(), ring(**rest), "ends with a batch of 1", "drop_last", "batch norm")
    trainer(max_steps=3).fit(GAN((2,), **small_networks((2,))), ring(**rest))
    trainer(max_steps=3).fit(normed(), ring(**{**rest, "samples": 130}))


class Mine(LightningDataModule):
    """A data module that knows nothing of games."""

    def __init__(self, samples, batch_size, **options):
        super().__init__()
        self.points, self.size, self.options = TensorDataset(torch.zeros(samples, 2)), batch_size, options

    def train_dataloader(self):
        return DataLoader(self.points, self.size, **self.options)


def test_the_rest_of_a_loader_of_ones_own():
    for data in (Mine(129, 64), Mine(129, 64).train_dataloader()):
        refused(normed(), data, "ends with a batch of 1", "batch norm")
    refused(normed(), Mine(129, 1), "batch_size=1", "batch norm")
    for data in (Mine(129, 64, drop_last=True), Mine(130, 64)):
        trainer(max_steps=3).fit(normed(), data)


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.zeros(5, 2)


def test_sizes_of_batches():
    points = TensorDataset(torch.zeros(10, 2))
    assert batch_sizes(DataLoader(points, 4)) == (4, 2)
    assert batch_sizes(DataLoader(points, 5)) == (5, 5)
    assert batch_sizes(DataLoader(points, 4, drop_last=True)) == (4, 4)
    assert batch_sizes(DataLoader(Stream(), 4)) is None
    assert batch_sizes(DataLoader(points, batch_size=None)) is None
    assert batch_sizes([1, 2]) is None


# ---------------------------------------------------------------------- samples and scores


def test_samples_of_classes():
    plain, conditional = game("GAN"), game("ConditionalGAN")
    labels = torch.arange(4)
    for wrong, module, given in (
        ("not conditional", plain, labels),
        (r"labels\[3\]=10: give 0 to 9", conditional, torch.tensor([1, 2, 3, 10])),
        (r"labels\[0\]=-1", conditional, torch.full((4,), -1)),
        (r"labels is int64 of shape \(3,\): give \(4,\)", conditional, labels[:3]),
        (r"labels is float32", conditional, labels.float()),
    ):
        with pytest.raises(ValueError, match=wrong):
            module.sample(4, given)
    for n in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"n={n}"):
            plain.sample(n)
    with pytest.raises(ValueError, match=r"latents is float32 of shape \(4, 7\): give float \(4, 100\)"):
        plain.sample_from(torch.zeros(4, 7))
    assert conditional.sample(4, labels).shape == (4, 1, 8, 8)


class NeedsClasses(LatentGame):
    """Its discriminator looks up the class."""

    conditional = True

    discriminator_loss = generator_loss = None

    def judge(self, side):
        return self.discriminator(side.images) + self.bias(side.labels).flatten()


def test_scores_without_classes():
    images, labels = torch.zeros(3, 1, 8, 8), torch.tensor([0, 1, 9])
    module = NeedsClasses((1, 8, 8), 10, **small_networks((1, 8, 8)))
    module.bias = nn.Embedding(10, 1)
    assert module.score(images, labels).shape == (3,)
    with pytest.raises(ValueError, match="labels=None: the judge of a NeedsClasses"):
        module.score(images)
    for name in ("ACGAN", "ConditionalGAN", "GAN"):  # these do without
        assert game(name).score(images).shape == (3,)


def test_scores_of_what_does_not_fit():
    module = game("ConditionalGAN")
    images = torch.zeros(3, 1, 8, 8)
    for wrong, given in (
        (r"images is uint8", (images.byte(),)),
        (r"images is float32 of shape \(3, 1, 8, 7\)", (images[..., 1:],)),
        (r"labels is int64 of shape \(2,\)", (images, torch.zeros(2, dtype=torch.long))),
        (r"labels\[0\]=10", (images, torch.full((3,), 10))),
    ):
        with pytest.raises(ValueError, match=wrong):
            module.score(*given)


def test_a_side_on_another_device():
    side = Side(torch.zeros(2, 3), torch.arange(2)).to(torch.device("meta"))
    assert side.images.device.type == side.labels.device.type == "meta"
    assert side.latents is None
