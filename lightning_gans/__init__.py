"""GAN papers for PyTorch Lightning: train, compare, subclass, reproduce."""

from lightning_gans.adversarial import AdversarialModule, load
from lightning_gans.data import MNIST, Digits, GaussianMixtures, ImageDataModule
from lightning_gans.latent_game import LatentGame
from lightning_gans.models import DCGAN, GAN, LSGAN, WGAN, WGANGP, HingeGAN

__version__ = "0.1.0"

__all__ = [
    "DCGAN",
    "GAN",
    "LSGAN",
    "MNIST",
    "WGAN",
    "WGANGP",
    "AdversarialModule",
    "Digits",
    "GaussianMixtures",
    "HingeGAN",
    "ImageDataModule",
    "LatentGame",
    "load",
]
