"""CycleGAN: game and history of generated images."""

from lightning_gans.models.cyclegan.game import CycleGAN
from lightning_gans.models.cyclegan.pool import ImagePool

__all__ = ["CycleGAN", "ImagePool"]
