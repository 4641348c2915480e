"""Data modules, and the loaders that serve their batches."""

from lightning_gans.data.base import DataError, DataModule, FileDataModule, ImageDataModule
from lightning_gans.data.celeba import CelebA
from lightning_gans.data.cifar import CIFAR10, CIFAR100
from lightning_gans.data.digits import Digits
from lightning_gans.data.folder import ImageFolder, Sketches
from lightning_gans.data.loader import (
    BatchLoader,
    MemoryLoader,
    ReplicaLoader,
    Views,
    WorkerLoader,
    ZipLoader,
)
from lightning_gans.data.lsun import LSUN
from lightning_gans.data.mixtures import GaussianMixtures
from lightning_gans.data.mnist import MNIST, FashionMNIST, StackedMNIST
from lightning_gans.data.pairs import Colorization, Facades, Inpainting, PairedImages, UnpairedImages
from lightning_gans.data.stl10 import STL10
from lightning_gans.data.svhn import SVHN

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "LSUN",
    "MNIST",
    "STL10",
    "SVHN",
    "BatchLoader",
    "CelebA",
    "Colorization",
    "DataError",
    "DataModule",
    "Digits",
    "Facades",
    "FashionMNIST",
    "FileDataModule",
    "GaussianMixtures",
    "ImageDataModule",
    "ImageFolder",
    "Inpainting",
    "MemoryLoader",
    "PairedImages",
    "ReplicaLoader",
    "Sketches",
    "StackedMNIST",
    "UnpairedImages",
    "Views",
    "WorkerLoader",
    "ZipLoader",
]
