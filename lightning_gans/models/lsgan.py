"""Least Squares GAN (Mao et al., 2017, arXiv 1611.04076): a baseline of later papers."""

from torch import Tensor

from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.sides import Side
from lightning_gans.losses import lsgan as losses


class LSGAN(LatentGame):
    """D regresses 1 on real and 0 on fake images; G pulls D's output on its images to 1 (equation 9).

    Networks by default: DCGAN's, MLPs for vectors.
    """

    shares_fake = True

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``1/2 E[(D(x) - 1)^2] + 1/2 E[D(G(z))^2]``."""
        return losses.discriminator_loss(self.judge(real), self.judge(fake))

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``1/2 E[(D(G(z)) - 1)^2]``."""
        return losses.generator_loss(self.judge(fake))
