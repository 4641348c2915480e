"""Games of other shapes than the catalogue's, as users would write them, for the conformance suite.

An encoder that trains with the generator and latents in the discriminator, two generators and two
discriminators between two kinds of images (CycleGAN), and the README's example.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss, softplus

from lightning_gans import Digits, LatentGame
from lightning_gans.game.players import Player
from lightning_gans.game.sides import Side
from lightning_gans.game.translation import TranslationGame
from lightning_gans.losses import gan, lsgan
from lightning_gans.networks import Rebuildable


class RelativisticGAN(LatentGame):
    """Real samples should look more real than generated ones, pair by pair."""

    def discriminator_loss(self, real, fake):
        return softplus(self.judge(fake) - self.judge(real)).mean()

    def generator_loss(self, real, fake):
        return softplus(self.judge(real) - self.judge(fake)).mean()


def mlp(inputs, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))


class EncoderGAN(LatentGame):
    """An encoder finds latents of real samples; the discriminator sees samples with their latents."""

    def __init__(self, image_shape, **arguments):
        super().__init__(image_shape, **arguments)
        self.encoder = mlp(torch.Size(image_shape).numel(), self.latent.dim)

    def default_discriminator(self):
        return mlp(torch.Size(self.image_shape).numel() + self.latent.dim, 1)

    def players(self):
        players = super().players()
        players["generator"] = Player(("generator", "latent", "encoder"), self.generator_optimizer)
        return players

    def real_side(self, real):
        return Side(real.images, real.labels, self.encoder(real.images))

    def judge(self, side):
        return self.discriminator(torch.cat([side.images.flatten(1), side.latents], 1)).flatten()

    def discriminator_loss(self, real, fake):
        return gan.discriminator_loss(self.judge(fake), self.judge(real))

    def generator_loss(self, real, fake):
        reconstruction = mse_loss(self.encoder(fake.images), fake.latents)
        return self.judge(fake).mean() - self.judge(real).mean() + reconstruction


class Convolutions(Rebuildable, nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, outputs, 3, padding=1)
        )

    def forward(self, images):
        return self.layers(images)


class TwoTranslators(TranslationGame):
    """There and back again: each kind of images has a generator and a discriminator, as in CycleGAN."""

    generators: ClassVar = {"AtoB": "there", "BtoA": "back"}
    discriminators: ClassVar = {"AtoB": "target_judge", "BtoA": "input_judge"}

    def __init__(self, input_shape, image_shape, **arguments):
        super().__init__(input_shape, image_shape, **arguments)
        inputs, outputs = input_shape[0], image_shape[0]
        self.there, self.back = Convolutions(inputs, outputs), Convolutions(outputs, inputs)
        self.target_judge, self.input_judge = Convolutions(outputs, 1), Convolutions(inputs, 1)

    def generate(self, inputs, ema=False, direction="AtoB"):
        return super().generate(inputs, ema, direction).tanh()

    def training_step(self, batch, batch_idx):
        real = self.read(batch)
        with self.frozen(self.target_judge, self.input_judge):
            fake = self.draw_fakes(real)
            back = Side(self.generate(real.images, direction="BtoA"))
            fooled = lsgan.generator_loss(self.judge(fake)) + lsgan.generator_loss(self.judge(back, "BtoA"))
            cycle = l1_loss(self.generate(fake.images, direction="BtoA"), real.inputs)
            cycle = cycle + l1_loss(self.generate(back.images), real.images)
            self.minimise("generator", fooled + 10 * cycle)
        loss = lsgan.discriminator_loss(self.judge(real), self.judge(fake.detach()))
        real_inputs, back = self.judge(Side(real.inputs), "BtoA"), self.judge(back.detach(), "BtoA")
        loss = loss + lsgan.discriminator_loss(real_inputs, back)
        self.minimise("discriminator", loss)
        self.report({"generator_loss": fooled, "discriminator_loss": loss, "cycle": cycle})


class Negatives(Digits):
    """Digits as pairs: the negative is the input, the digit the target."""

    view_names = ("input", "target")

    def __init__(self, batch_size: int = 16, limit: int | None = None, **arguments):
        super().__init__(batch_size=batch_size, limit=limit, **arguments)
        self.input_shape = self.image_shape

    def views(self):
        return Negative()


class Negative:
    draws = 1

    def __call__(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        return -images, images
