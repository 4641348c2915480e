"""MNIST handwritten digits, Fashion-MNIST, and Stacked MNIST with its 1,000 modes."""

import gzip
import shutil
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision import datasets

from lightning_gans import checks
from lightning_gans.data.base import ImageDataModule, Split
from lightning_gans.data.fetch import download, fetching
from lightning_gans.data.official import read

_STACKED_TEST_SAMPLES = 10_000


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
    dataset: ClassVar[type[datasets.MNIST]] = datasets.MNIST

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return uint8 (N, 1, 28, 28) and int64 (N,)."""
        folder = self.root / self.dataset.__name__ / "raw"
        names = [Path(name).stem for name, _ in self.dataset.resources]
        if self.download and not all((folder / name).is_file() for name in names):
            self._fetch(folder.parent)
        data = read(self.dataset, self.root, train=split == "train")
        if data.data.shape[1:] != (28, 28):
            raise ValueError(f"images of shape {tuple(data.data.shape[1:])}")
        return data.data.unsqueeze(1), data.targets.to(torch.int64)

    def _fetch(self, folder: Path) -> None:
        with fetching(folder) as part:
            raw = part / folder.name / "raw"
            raw.mkdir(parents=True)
            for name, checksum in self.dataset.resources:
                for number, mirror in enumerate(self.dataset.mirrors, 1):
                    try:
                        download(f"{mirror}{name}", part / name, checksum, folder / "raw" / name)
                        break
                    except OSError:
                        if number == len(self.dataset.mirrors):
                            raise
                with gzip.open(part / name) as packed, (raw / Path(name).stem).open("wb") as file:
                    shutil.copyfileobj(packed, file)


class FashionMNIST(MNIST):
    """60,000 + 10,000 pictures of clothes, grey, 28x28; black 0: MNIST's format and more varied content.

    Read by torchvision from ``root/FashionMNIST/raw``. The official test set is the test split.
    """

    class_names = tuple(datasets.FashionMNIST.classes)
    files = "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte"
    source = datasets.FashionMNIST.mirrors[0]
    dataset = datasets.FashionMNIST


class StackedMNIST(MNIST):
    """Three MNIST digits in red, green and blue, 28x28: 1,000 modes, on which lost modes are counted.

    The digits a, b, c of an image make the label ``100 a + 10 b + c``. Triples are drawn independently and
    with replacement, as in the Unrolled GAN paper: those of the training split from MNIST's training digits,
    the 10,000 of the test split from its test digits. Files are MNIST's.

    Args:
        samples: Number of training images.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.ImageDataModule`; ``seed`` decides the
            triples too.

    Raises:
        ValueError: If ``samples`` is not positive.
    """

    channels = 3
    class_names = tuple(f"{mode:03d}" for mode in range(1000))

    def __init__(self, *, samples: int = 60_000, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        checks.at_least(1, samples=samples)
        self.samples = samples

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return uint8 (N, 3, 28, 28) and int64 (N,) from 0 to 999."""
        digits, labels = super().load(split)
        training = split == "train"
        rng = torch.Generator().manual_seed(2 * self.seed + (not training))
        size = self.samples if training else _STACKED_TEST_SAMPLES
        triples = torch.randint(len(digits), (size, 3), generator=rng)
        # One indexing for all three channels, so that no copy of the images is in memory beside the result.
        return digits.squeeze(1)[triples], labels[triples] @ torch.tensor([100, 10, 1])
