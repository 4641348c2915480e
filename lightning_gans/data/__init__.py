"""Data modules, and the loader for data that fits in memory."""

from lightning_gans.data.base import DataModule, ImageDataModule
from lightning_gans.data.digits import Digits
from lightning_gans.data.loader import MemoryLoader
from lightning_gans.data.mixtures import GaussianMixtures
from lightning_gans.data.mnist import MNIST

__all__ = ["MNIST", "DataModule", "Digits", "GaussianMixtures", "ImageDataModule", "MemoryLoader"]
