"""GAN papers for PyTorch Lightning: train, compare, subclass, reproduce."""

from lightning_gans.data import (
    CIFAR10,
    CIFAR100,
    LSUN,
    MNIST,
    STL10,
    SVHN,
    CelebA,
    Colorization,
    Digits,
    Facades,
    FashionMNIST,
    GaussianMixtures,
    ImageDataModule,
    ImageFolder,
    Inpainting,
    PairedImages,
    Sketches,
    StackedMNIST,
    UnpairedImages,
)
from lightning_gans.game.adversarial import AdversarialModule
from lightning_gans.game.checkpoints import load
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.metrics.classifier import ClassifierExtractor, DatasetClassifier
from lightning_gans.models import (
    DCGAN,
    GAN,
    LSGAN,
    WGAN,
    WGANGP,
    ConditionalGAN,
    CoulombGAN,
    DeLiGAN,
    HingeGAN,
    RealnessGAN,
)

__version__ = "0.1.0"

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "DCGAN",
    "GAN",
    "LSGAN",
    "LSUN",
    "MNIST",
    "STL10",
    "SVHN",
    "WGAN",
    "WGANGP",
    "AdversarialModule",
    "CelebA",
    "ClassifierExtractor",
    "Colorization",
    "ConditionalGAN",
    "CoulombGAN",
    "DatasetClassifier",
    "DeLiGAN",
    "Digits",
    "Facades",
    "FashionMNIST",
    "GaussianMixtures",
    "HingeGAN",
    "ImageDataModule",
    "ImageFolder",
    "Inpainting",
    "LatentGame",
    "PairedImages",
    "RealnessGAN",
    "Sketches",
    "StackedMNIST",
    "UnpairedImages",
    "load",
]
