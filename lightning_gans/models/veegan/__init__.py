"""VEEGAN: the game, and discriminators of samples with their latents."""

from lightning_gans.models.veegan.game import VEEGAN
from lightning_gans.models.veegan.networks import DCGANPairDiscriminator, MLPPairDiscriminator

__all__ = ["VEEGAN", "DCGANPairDiscriminator", "MLPPairDiscriminator"]
