"""MNIST handwritten digits."""

import torch
from torch import Tensor
from torchvision import datasets

from lightning_gans.data.base import ImageDataModule, Split


class MNIST(ImageDataModule):
    """60,000 + 10,000 handwritten digits, grey, 28x28; black 0, ink 255.

    Read by torchvision from ``root/MNIST/raw``. Other sizes are resized, not padded, as in DCGAN's usual
    preparation. The official test set is the test split.
    """

    channels = 1
    native_size = 28
    class_names = tuple("0123456789")
    files = "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte"
    source = datasets.MNIST.mirrors[0]

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return uint8 (N, 1, 28, 28) and int64 (N,)."""
        data = datasets.MNIST(self.root, train=split == "train", download=self.download)
        return data.data.unsqueeze(1), data.targets.to(torch.int64)
