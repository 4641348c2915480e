"""Sources of images, decoded when they are read: files, pairs of files, LMDB, a memory-mapped cache."""

import copy
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lightning_gans import checks
from lightning_gans.data.decode import DamagedImage, Decoder, open_image, to_channels

if TYPE_CHECKING:
    import lmdb

Pixels = NDArray[np.uint8]


def read_at(data: "Tensor | ImageSource", indices: Tensor) -> Tensor:
    """Return the samples at some places (n,) of data in memory, or of images that are read now."""
    return data[indices] if isinstance(data, Tensor) else data.__getitems__(indices.tolist())


class ImageSource(Dataset[Tensor]):
    """A sequence of images that are decoded when they are read.

    Its pickle is small, and it can be used in threads and in forked and spawned processes.

    A subclass writes ``_pixels``, ``_name`` and ``_state``. They get an image's *item*: its index among all
    images of the whole source, also where this is a subset (:meth:`at`).

    Args:
        size: Number of images.
        shape: Of one image (C, H, W).
        title: Name of the set in progress bars and messages.
        decoders: Decoders to this shape, one for each image that a file holds.
    """

    def __init__(
        self, size: int, shape: tuple[int, int, int], title: str, decoders: Sequence[Decoder] = ()
    ) -> None:
        self.shape = shape
        self.title = title
        self._decoders = list(decoders)
        self._items: NDArray[np.int64] = np.arange(size)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._items)

    def __getitem__(self, index: int) -> Tensor:
        """Return one image, uint8 (C, H, W).

        Raises:
            DamagedImage: If the file holds no usable image.
        """
        return torch.from_numpy(np.array(self.pixels(index), order="C"))

    def __getitems__(self, indices: list[int]) -> Tensor:
        """Return a batch, uint8 (n, C, H, W); a DataLoader asks for whole batches by this name."""
        batch = np.empty((len(indices), *self.shape), np.uint8)
        for image, index in zip(batch, indices, strict=True):
            image[...] = self.pixels(index)
        return torch.from_numpy(batch)

    def pixels(self, index: int) -> Pixels:
        """Return one image as a read-only array, without any torch operation: for threads that decode."""
        return self._pixels(int(self._items[index]))

    def name(self, index: int) -> str:
        """Return the name of an image in messages: its path within the folder, its key, or its index."""
        return self._name(int(self._items[index]))

    def at(self, indices: Tensor) -> "ImageSource":
        """Return a subset of these images, in this order; nothing is decoded.

        Args:
            indices: int64 (n,), of these images.

        Raises:
            IndexError: If one lies beyond the images.
        """
        subset = copy.copy(self)
        subset._items = self._items[indices.cpu().numpy()]
        return subset

    def resized(self, size: int) -> "ImageSource":
        """Return these images, decoded to another height and width; nothing is decoded now.

        Raises:
            ValueError: If the images are decoded already and have another size.
        """
        if self.shape[1:] == (size, size):
            return self
        if not self._decoders:
            raise ValueError(f"size={size}: {self.title} are decoded to {self.shape} already")
        other = copy.copy(self)
        other._decoders = [replace(decoder, size=size) for decoder in self._decoders]
        other.shape = (self.shape[0], size, size)
        return other

    def fingerprint(self) -> str:
        """Return a hash, in hexadecimal, that changes if the files or the settings of the decoding change.

        It is made from folder, names, sizes and times of change; no file is read.
        """
        how = f"{type(self).__name__} {self.shape} {self._decoders} Pillow {PIL.__version__}"
        digest = hashlib.sha256(how.encode())
        for part in self._state():
            digest.update(b"\0" + part)
        return digest.hexdigest()[:32]

    def _pixels(self, item: int) -> Pixels:
        raise NotImplementedError

    def _name(self, item: int) -> str:
        return f"image {item}"

    def _state(self) -> Iterable[bytes]:
        """Yield the bytes that the fingerprint is a hash of."""
        raise NotImplementedError


class ImageFiles(ImageSource):
    """Image files with one image in each.

    Args:
        folder: The folder of the files.
        names: Their paths within the folder.
        decoder: Decodes them to a fixed size and number of channels.
    """

    def __init__(self, folder: Path, names: Sequence[str | tuple[str, ...]], *decoder: Decoder) -> None:
        channels, size = sum(each.channels for each in decoder), decoder[0].size
        super().__init__(len(names), (channels, size, size), folder.name, decoder)
        self.folder = folder
        each = ((files,) if isinstance(files, str) else files for files in names)
        self._names = _Packed(b"\0".join(map(os.fsencode, files)) for files in each)

    def _files(self, item: int) -> list[str]:
        """Return the paths of the files that hold an image."""
        return os.fsdecode(self._names[item]).split("\0")

    def _pixels(self, item: int) -> Pixels:
        path = str(self.folder / self._files(item)[0])
        return self._decoders[0].pixels(open_image(path, path), path)

    def _name(self, item: int) -> str:
        return ", ".join(self._files(item))

    def _state(self) -> Iterator[bytes]:
        yield os.fsencode(self.folder.absolute())
        for item in self._items:
            for file in self._files(int(item)):
                yield _file_state(self.folder, os.fsencode(file))


class WholeFiles(ImageFiles):
    """Image files of one size, square or not, which are not resized.

    Args:
        folder: The folder of the files.
        names: Their paths within the folder.
        channels: 1 or 3.
        size: Width and height.
    """

    def __init__(self, folder: Path, names: Sequence[str], channels: int, size: tuple[int, int]) -> None:
        super().__init__(folder, names, Decoder(channels, size[0]))
        self._decoders = []  # nothing is resized
        self.shape = (channels, size[1], size[0])

    def _pixels(self, item: int) -> Pixels:
        path = str(self.folder / self._files(item)[0])
        channels, height, width = self.shape
        image = to_channels(open_image(path, path), channels, path)
        if image.size != (width, height):
            found = f"{image.width}x{image.height} pixels"
            raise DamagedImage(f"{path}: {found}, and not {width}x{height} as it says; save it anew")
        return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


class PairFiles(ImageFiles):
    """Pairs of images A and B that belong together.

    Args:
        folder: The folder of the files.
        names: For each pair one path within the folder (A is the left half of the file, B the right one), or
            two (A's and B's file).
        decoder_a: Decodes A.
        decoder_b: Decodes B, to the same size.
        half: ``"both"``: A's and B's channels in one image, so that one crop and one flip hit both; or only
            ``"a"`` or ``"b"`` (the other one's file is not read).
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[tuple[str, ...]],
        decoder_a: Decoder,
        decoder_b: Decoder,
        half: Literal["both", "a", "b"] = "both",
    ) -> None:
        self._halves = [0, 1] if half == "both" else ["ab".index(half)]
        super().__init__(folder, names, *((decoder_a, decoder_b)[half] for half in self._halves))

    def _files(self, item: int) -> list[str]:
        files = super()._files(item)
        return files if len(files) == 1 else [files[half] for half in self._halves]

    def _pixels(self, item: int) -> Pixels:
        files = [str(self.folder / file) for file in self._files(item)]
        images = [open_image(file, file) for file in files]
        if b"\0" not in self._names[item]:
            files, images = files * len(self._halves), self._cut(images[0], files[0])
        parts = zip(self._decoders, images, files, strict=True)
        return np.concatenate([decoder.pixels(image, file) for decoder, image, file in parts])

    def _cut(self, image: Image.Image, name: str) -> list[Image.Image]:
        width, height = image.size
        if width % 2:
            raise DamagedImage(f"{name}: width {width} is odd: not two images side by side; replace it")
        half = width // 2
        return [image.crop((side * half, 0, (side + 1) * half, height)) for side in self._halves]

    def _state(self) -> Iterator[bytes]:
        yield bytes(self._halves)
        yield from super()._state()


class LmdbImages(ImageSource):
    """Encoded images (JPEG, WebP, PNG) that are the values of LMDB databases, in the order of their keys.

    Needs the package lmdb. A database is opened for reading only, without its lock file, once a process.

    Args:
        folders: Folders of the databases, each with a file ``data.mdb``. Their images follow each other;
            ``sizes`` has the number of images of each.
        decoder: Decodes them to a fixed size and number of channels.

    Raises:
        ImportError: If lmdb is not installed.
        FileNotFoundError: If there is no database in a folder.
        ValueError: If a database is damaged.
    """

    def __init__(self, folders: Sequence[Path], decoder: Decoder) -> None:
        self.folders = tuple(folders)
        keys: list[bytes] = []
        ends = []
        for folder in self.folders:
            _close(folder)  # its files may have been replaced since it was opened
            with _reading(folder), _environment(folder).begin() as transaction:
                keys += transaction.cursor().iternext(keys=True, values=False)
            ends.append(len(keys))
        self._keys, self._ends = _Packed(keys), np.array(ends, np.int64)
        self.sizes: list[int] = np.diff(self._ends, prepend=0).tolist()
        shape = (decoder.channels, decoder.size, decoder.size)
        title = ", ".join(folder.name for folder in self.folders)
        super().__init__(len(keys), shape, title, [decoder])

    def _folder(self, item: int) -> Path:
        return self.folders[int(np.searchsorted(self._ends, item, side="right"))]

    def _pixels(self, item: int) -> Pixels:
        folder = self._folder(item)
        with _reading(folder), _environment(folder).begin() as transaction:
            value = transaction.get(self._keys[item])
        name = self._name(item)
        if value is None:
            raise DamagedImage(f"{name}: not in the database any more; start the run again")
        return self._decoders[0].pixels(open_image(BytesIO(value), name), name)

    def _name(self, item: int) -> str:
        return f"{self._folder(item).name}/{self._keys[item].decode(errors='backslashreplace')}"

    def _state(self) -> Iterator[bytes]:
        for folder in self.folders:
            yield os.fsencode(folder.absolute())
            yield _file_state(folder, b"data.mdb")
        yield self._items.tobytes()


class MappedImages(ImageSource):
    """Decoded images in a file that is memory-mapped: the system keeps in memory what is used and fits.

    Args:
        file: Raw uint8, nothing else.
        shape: (N, C, H, W) of all images together.

    Raises:
        ValueError: If the file has another size.
    """

    def __init__(self, file: Path, shape: tuple[int, int, int, int]) -> None:
        wanted, found = int(np.prod(shape, dtype=np.int64)), file.stat().st_size
        if found != wanted:
            raise ValueError(f"{file}: {found} bytes are not the {wanted} of shape={shape}; delete it")
        super().__init__(shape[0], shape[1:], file.name)
        self.file = file
        self._size = shape[0]
        self._map: Pixels | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the memory map: another process maps the file again."""
        return {**self.__dict__, "_map": None}

    def __getitems__(self, indices: list[int]) -> Tensor:
        """Return a batch, uint8 (n, C, H, W)."""
        return torch.from_numpy(self._mapped().take(self._items[indices], axis=0))

    def read(self) -> Tensor:
        """Return these images as one uint8 tensor (n, C, H, W) in memory."""
        if not np.array_equal(self._items, np.arange(self._size)):
            return torch.from_numpy(self._mapped().take(self._items, axis=0))
        return torch.from_numpy(np.fromfile(self.file, np.uint8).reshape(len(self), *self.shape))

    def _mapped(self) -> Pixels:
        if self._map is None:
            shape = (self._size, *self.shape)
            self._map = (
                np.memmap(self.file, np.uint8, "r", shape=shape) if self._size else np.empty(shape, "u1")
            )
        return self._map

    def _pixels(self, item: int) -> Pixels:
        image: Pixels = self._mapped()[item]
        return image

    def _state(self) -> Iterator[bytes]:
        yield os.fsencode(self.file.parent.absolute())
        yield _file_state(self.file.parent, os.fsencode(self.file.name))
        yield self._items.tobytes()


class TensorImages(ImageSource):
    """A source of images that are in memory already.

    Args:
        images: uint8 (N, C, H, W).

    Raises:
        ValueError: If they are of another type or shape.
    """

    def __init__(self, images: Tensor) -> None:
        checks.shaped(("N", "C", "H", "W"), "uint8", images=images)
        channels, height, width = images.shape[1:]
        super().__init__(len(images), (channels, height, width), "images")
        self.images = images

    def __getitems__(self, indices: list[int]) -> Tensor:
        """Return a batch, uint8 (n, C, H, W)."""
        return self.images[torch.from_numpy(self._items[indices])]

    def _pixels(self, item: int) -> Pixels:
        image: Pixels = self.images[item].numpy()
        return image

    def _state(self) -> Iterator[bytes]:
        for item in self._items:
            yield self._pixels(int(item)).tobytes()


class _Packed:
    """Many byte strings stored as two objects, because each forked worker would copy a list of millions.

    (Reading an object changes its reference count, and memory that is written to is no longer shared.)
    """

    def __init__(self, strings: Iterable[bytes]) -> None:
        strings = list(strings)
        self._bytes = b"".join(strings)
        self._starts = np.fromiter(accumulate(map(len, strings), initial=0), np.int64, len(strings) + 1)

    def __getitem__(self, item: int) -> bytes:
        return self._bytes[self._starts[item] : self._starts[item + 1]]


# LMDB databases that are open, by folder: one may be opened once a process, and not be used across a fork.
_open: dict[Path, tuple[int, "lmdb.Environment"]] = {}
_lock = threading.Lock()


def _environment(folder: Path) -> "lmdb.Environment":
    folder = folder.resolve()
    with _lock:
        process, environment = _open.get(folder, (0, None))
        if environment is None or process != os.getpid():
            if environment is not None:
                environment.close()
            environment = _opened(folder / "data.mdb")
            _open[folder] = os.getpid(), environment
        return environment


def _close(folder: Path) -> None:
    with _lock:
        _, environment = _open.pop(folder.resolve(), (0, None))
        if environment is not None:
            environment.close()


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Name the database in errors that lmdb raises within this block."""
    try:
        yield
    except Exception as error:
        if type(error).__module__ != "lmdb":  # which is optional, and imported when it is first needed
            raise
        reason = checks.first_line(error)
        raise DamagedImage(f"{folder / 'data.mdb'}: damaged database ({reason}); fetch it again") from error


def _opened(file: Path) -> "lmdb.Environment":
    try:
        import lmdb
    except ImportError as error:
        raise ImportError('LMDB needs lmdb: pip install "lightning-gans[lsun]"') from error
    if not file.is_file():
        raise FileNotFoundError(f"not found: {file}")
    environment = lmdb.open(str(file.parent), readonly=True, lock=False, readahead=False)
    # LMDB maps also what is missing of a file that was cut off: to read it would kill the process (SIGBUS).
    wanted = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    found = file.stat().st_size
    if found < wanted:
        environment.close()
        raise ValueError(f"{file}: cut off, {found} of {wanted} bytes are there; fetch it again")
    return environment


def _file_state(folder: Path, name: bytes) -> bytes:
    # There may be millions of files: with Path objects this would take several times as long.
    status = os.stat(os.path.join(folder, os.fsdecode(name)))  # noqa: PTH116, PTH118
    return name + f"\0{status.st_size} {status.st_mtime_ns}".encode()
