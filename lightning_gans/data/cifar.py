"""CIFAR-10 and CIFAR-100."""

from typing import ClassVar

import torch
from torch import Tensor
from torchvision import datasets

from lightning_gans.data.base import Split
from lightning_gans.data.official import OfficialImages, read

_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
_FINE_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
    shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
    telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""


class CIFAR10(OfficialImages):
    """50,000 + 10,000 photographs of 10 kinds of animals and vehicles, RGB, 32x32.

    Read by torchvision from ``root/cifar-10-batches-py``. The official test set is the test split.

    Args:
        verify: Compare the files with the official checksums. False: read whatever files of that format there
            are. They are pickles, which can run any code: use only files that you trust.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.ImageDataModule`.

    Raises:
        DataError: If a file has a wrong checksum.
    """

    channels = 3
    native_size = 32
    class_names: tuple[str, ...] = tuple(_CLASSES.split())
    files = "cifar-10-batches-py/{data_batch_1..5,test_batch}"
    source = datasets.CIFAR10.url
    dataset: ClassVar[type[datasets.CIFAR10]] = datasets.CIFAR10

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return uint8 (N, 3, 32, 32) and int64 (N,)."""
        folder = self.root / self.dataset.base_folder
        files = self.dataset.train_list + self.dataset.test_list
        if not self.complete(folder, files):
            self.dataset(self.root, download=True)
        data = read(self.dataset, self.root, train=split == "train")
        return torch.from_numpy(data.data).permute(0, 3, 1, 2), torch.tensor(data.targets)


class CIFAR100(CIFAR10):
    """50,000 + 10,000 photographs of 100 kinds of things (the fine classes), RGB, 32x32.

    Read by torchvision from ``root/cifar-100-python``. The official test set is the test split.

    Args:
        verify: As for :class:`CIFAR10`.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.ImageDataModule`.

    Raises:
        DataError: If a file has a wrong checksum.
    """

    class_names = tuple(_FINE_CLASSES.split())
    files = "cifar-100-python/{train,test}"
    source = datasets.CIFAR100.url
    dataset = datasets.CIFAR100
