"""Hinge GAN (Geometric GAN, Lim and Ye, 2017, arXiv 1705.02894): a baseline of later papers."""

from torch import Tensor

from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.sides import Side
from lightning_gans.losses import hinge as losses


class HingeGAN(LatentGame):
    """D maximises the margin between real and fake images; G raises the scores of its images.

    Networks by default: DCGAN's, MLPs for vectors.
    """

    shares_fake = True

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]``."""
        return losses.discriminator_loss(self.judge(real), self.judge(fake))

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-E[D(G(z))]``."""
        return losses.generator_loss(self.judge(fake))
