"""Coulomb GAN: game, losses and networks."""

from lightning_gans.models.coulomb.game import CoulombGAN
from lightning_gans.models.coulomb.networks import CoulombDiscriminator, CoulombGenerator, ScaledTanh

__all__ = ["CoulombDiscriminator", "CoulombGAN", "CoulombGenerator", "ScaledTanh"]
