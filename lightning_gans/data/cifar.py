"""CIFAR-10 and CIFAR-100."""

import math
import pickle
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision import datasets

from lightning_gans import checks
from lightning_gans.data.base import Split
from lightning_gans.data.official import OfficialImages

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

    Read from ``root/cifar-10-batches-py``, as torchvision has it. The official test set is the test split.
    The files are pickles; they are read in a way that takes plain values and arrays of bytes out of them, and
    runs nothing.

    Args:
        **kwargs: Arguments of :class:`~lightning_gans.data.official.OfficialImages`.

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
        official = self.dataset
        folder = self.root / official.base_folder
        if not self.complete(folder, official.train_list + official.test_list):
            self.fetch_archive(official)
        names = official.train_list if split == "train" else official.test_list
        images, labels = zip(*(_read_batch(folder / name) for name, _ in names), strict=True)
        return torch.cat(images), torch.cat(labels)


class CIFAR100(CIFAR10):
    """50,000 + 10,000 photographs of 100 kinds of things (the fine classes), RGB, 32x32.

    Read from ``root/cifar-100-python``. The official test set is the test split.

    Args:
        **kwargs: Arguments of :class:`~lightning_gans.data.official.OfficialImages`.

    Raises:
        DataError: If a file has a wrong checksum.
    """

    class_names = tuple(_FINE_CLASSES.split())
    files = "cifar-100-python/{train,test}"
    source = datasets.CIFAR100.url
    dataset = datasets.CIFAR100


def _read_batch(file: Path) -> tuple[Tensor, Tensor]:
    """Return the images, uint8 (n, 3, 32, 32), and labels, int64 (n,), of one of the files.

    Raises:
        ValueError: If the file is not of this format.
    """
    try:
        with file.open("rb") as opened:
            content = _PlainPickle(opened, encoding="latin1").load()
        labels = content["labels"] if "labels" in content else content["fine_labels"]
        return content["data"].images(), torch.tensor(labels, dtype=torch.int64)
    except OSError:
        raise
    except Exception as error:  # damaged pickles raise nearly any exception
        raise ValueError(f"{file.name}: {type(error).__name__} {checks.first_line(error)}") from error


class _PlainPickle(pickle.Unpickler):
    """Reads plain values and arrays of bytes; whatever else a file names is refused, not even imported."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        known = {
            "numpy.core.multiarray._reconstruct": _Bytes,
            "numpy.ndarray": _Bytes,
            "numpy.dtype": _Kind,
            "_codecs.encode": str.encode,
        }
        if full not in known:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong into such a file")
        return known[full]


class _Kind:
    """Stands for a numpy type in a pickle."""

    def __init__(self, name: str, *rest: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Ignore the order of bytes and the like: only single bytes are used."""


class _Bytes:
    """Stands for a numpy array in a pickle, so that numpy itself is given nothing of a file."""

    def __init__(self, *rest: Any) -> None:
        self.content = bytearray()

    def __setstate__(self, state: Any) -> None:
        """Take shape, type and content as numpy writes them."""
        _, shape, kind, by_columns, content = state
        if kind.name not in ("u1", "uint8", "|u1") or by_columns:
            raise ValueError("data is no array of bytes in row order")
        if math.prod(shape) != len(content):
            raise ValueError(f"data has {len(content)} bytes, and not shape {shape}")
        # Python 2 wrote strings, which are read as Latin-1.
        self.content = bytearray(content, "latin1") if isinstance(content, str) else bytearray(content)

    def images(self) -> Tensor:
        """Return uint8 (n, 3, 32, 32)."""
        return torch.frombuffer(self.content, dtype=torch.uint8).view(-1, 3, 32, 32)
