"""The catalogue of papers, one file each."""

from lightning_gans.models.acgan import ACGAN
from lightning_gans.models.conditional_gan import ConditionalGAN
from lightning_gans.models.coulomb import CoulombGAN
from lightning_gans.models.cyclegan import CycleGAN
from lightning_gans.models.dcgan import DCGAN
from lightning_gans.models.deligan import DeLiGAN
from lightning_gans.models.diwgan import DIWGAN
from lightning_gans.models.gan import GAN
from lightning_gans.models.gold import GOLDACGAN
from lightning_gans.models.hinge import HingeGAN
from lightning_gans.models.lsgan import LSGAN
from lightning_gans.models.pix2pix import Pix2Pix
from lightning_gans.models.realness import RealnessGAN
from lightning_gans.models.unrolled import UnrolledGAN
from lightning_gans.models.veegan import VEEGAN
from lightning_gans.models.wgan import WGAN, WGANGP

__all__ = [
    "ACGAN",
    "DCGAN",
    "DIWGAN",
    "GAN",
    "GOLDACGAN",
    "LSGAN",
    "VEEGAN",
    "WGAN",
    "WGANGP",
    "ConditionalGAN",
    "CoulombGAN",
    "CycleGAN",
    "DeLiGAN",
    "HingeGAN",
    "Pix2Pix",
    "RealnessGAN",
    "UnrolledGAN",
]
