"""GAN papers for PyTorch Lightning: train, compare, subclass, reproduce.

What has a name here is imported when it is first used: ``lightning-gans --help`` needs no torch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_gans.data import *
    from lightning_gans.game.adversarial import AdversarialModule
    from lightning_gans.game.checkpoints import load
    from lightning_gans.game.latent_game import LatentGame
    from lightning_gans.game.players import Player
    from lightning_gans.game.reference import load_reference
    from lightning_gans.game.rejection import RejectionSampler
    from lightning_gans.game.sides import Side
    from lightning_gans.game.translation import TranslationGame
    from lightning_gans.metrics.classifier import ClassifierExtractor, DatasetClassifier
    from lightning_gans.metrics.segmenter import DatasetSegmenter, TrainedSegmenter
    from lightning_gans.models import *

__version__ = "0.1.0"

__all__ = [
    "ACGAN",
    "CIFAR10",
    "CIFAR100",
    "DCGAN",
    "DIWGAN",
    "GAN",
    "GOLDACGAN",
    "LSGAN",
    "LSUN",
    "MNIST",
    "STL10",
    "SVHN",
    "VEEGAN",
    "WGAN",
    "WGANGP",
    "AdversarialModule",
    "CelebA",
    "ClassifierExtractor",
    "Colorization",
    "ConditionalGAN",
    "CoulombGAN",
    "CycleGAN",
    "DatasetClassifier",
    "DatasetSegmenter",
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
    "Pix2Pix",
    "Player",
    "RealnessGAN",
    "RejectionSampler",
    "Side",
    "Sketches",
    "StackedMNIST",
    "TrainedSegmenter",
    "TranslationGame",
    "UnpairedImages",
    "UnrolledGAN",
    "load",
    "load_reference",
]

_HOMES = (
    "game.checkpoints",
    "game.players",
    "game.reference",
    "game.rejection",
    "game.sides",
    "game.latent_game",
    "game.translation",
    "data",
    "models",
    "metrics.classifier",
    "metrics.segmenter",
)

if not TYPE_CHECKING:  # which would take every name for one that is there

    def __getattr__(name: str) -> Any:
        if name in __all__:
            homes = (import_module(f"{__name__}.{home}") for home in _HOMES)
            globals()[name] = next(vars(home)[name] for home in homes if name in vars(home))
            return globals()[name]
        if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__} has no attribute {name}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
