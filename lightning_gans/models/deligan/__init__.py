"""DeLiGAN: game, networks and the schedule of the released code."""

from lightning_gans.models.deligan.game import DeLiGAN
from lightning_gans.models.deligan.networks import (
    DeLiGANCIFARDiscriminator,
    DeLiGANGenerator,
    DeLiGANMNISTDiscriminator,
    DeLiGANMNISTGenerator,
    DeLiGANSketchDiscriminator,
    GaussianNoise,
    MinibatchDiscrimination,
)
from lightning_gans.models.deligan.threshold import Threshold

__all__ = [
    "DeLiGAN",
    "DeLiGANCIFARDiscriminator",
    "DeLiGANGenerator",
    "DeLiGANMNISTDiscriminator",
    "DeLiGANMNISTGenerator",
    "DeLiGANSketchDiscriminator",
    "GaussianNoise",
    "MinibatchDiscrimination",
    "Threshold",
]
