"""Statistics of real images: stored by key, in files that other tools can read, and looked up again."""

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_gans import checks
from lightning_gans.data.base import free_memory
from lightning_gans.files import remove_parts, written_whole

_LAYOUT = 2  # of the format of cached files; a new number makes older ones unused
_DTYPES = {
    "mu": np.float64,
    "sigma": np.float64,
    "features": np.float32,
    "labels": np.int64,
    "order": np.int64,
}
_LEFTOVER_SECONDS = 3600.0  # an unfinished file older than this is of a killed process


@dataclass(frozen=True)
class RealStatistics:
    """Mean and covariance of features of real images, and the features themselves where a metric needs them.

    Attributes:
        mu: Mean, float64 (d,).
        sigma: Covariance, float64 (d, d).
        n: Number of images; None if the file, of another tool, does not have it.
        features: float32 (n, d).
        labels: int64 (n,).
        order: int64 (n,), which sorts the images by their content, see
            :func:`~lightning_gans.metrics.order.content_order`.
        protocol: From which images, and how, they were computed; JSON values.

    Raises:
        ValueError: If shapes do not fit, or a value of mu or sigma is not finite.
    """

    mu: Tensor
    sigma: Tensor
    n: int | None
    features: Tensor | None = None
    labels: Tensor | None = None
    order: Tensor | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes and values."""
        d = self.mu.shape[-1] if self.mu.dim() else 0
        checks.at_least(1, **{"length of mu": d})
        checks.shaped((d,), mu=self.mu)
        checks.shaped((d, d), sigma=self.sigma)
        if not (self.mu.isfinite().all() and self.sigma.isfinite().all()):
            raise ValueError("mu or sigma is not finite")
        checks.at_least(2, n=self.n)
        n: int | str = self.n or ("n" if self.features is None else len(self.features))
        checks.shaped((n, d), features=self.features)
        checks.shaped((n,), labels=self.labels, order=self.order)

    def save(self, path: str | Path) -> None:
        """Write an ``.npz``: mu and sigma under the keys that TTUR and pytorch-fid use, the rest beside them.

        The file is either complete or does not exist.

        Raises:
            OSError: If it cannot be written.
        """
        content: dict[str, Any] = {
            name: getattr(self, name).detach().cpu().numpy().astype(dtype)
            for name, dtype in _DTYPES.items()
            if getattr(self, name) is not None
        }
        if self.n is not None:
            content["n"] = np.int64(self.n)
        content["protocol"] = np.array(_canonical(self.protocol))
        with written_whole(path) as part, part.open("wb") as file:
            np.savez(file, **content)

    @classmethod
    def load(cls, path: str | Path, features: bool = True) -> "RealStatistics":
        """Read a file of :meth:`save`, or one of another tool with the keys ``mu`` and ``sigma``.

        Args:
            path: The file.
            features: Read features and labels too, if there are any.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        with open_npz(path, "file of statistics") as file:
            for key in ("mu", "sigma"):
                if key not in file:
                    raise ValueError(
                        f"{key!r} is missing among {', '.join(file)}: an .npz with the keys mu and sigma is "
                        "needed"
                    )
            tensors = {
                key: torch.from_numpy(np.ascontiguousarray(file[key], dtype))
                for key, dtype in _DTYPES.items()
                if key in file and (features or key in ("mu", "sigma"))
            }
            n = int(file["n"]) if "n" in file else None
            protocol = dict(json.loads(str(file["protocol"]))) if "protocol" in file else {}
            return cls(n=n, protocol=protocol, **tensors)


def _check_archive(archive: zipfile.ZipFile) -> None:
    """Check all entries of an archive by their checksums, which NumPy does not, and that none is missing.

    (NumPy reads as many bytes as an array's header says, which a flipped bit can make fewer.)

    Raises:
        ValueError: If an entry is damaged or missing, or does not fit into memory.
        zipfile.BadZipFile: If an entry has two names.
    """
    for entry in archive.infolist():
        if entry.file_size > (free := free_memory()):
            needed = f"{entry.file_size / 1e9:.3g} GB of memory, {free / 1e9:.3g} are free"
            raise ValueError(f"{entry.filename} takes {needed}")
    if (damaged := archive.testzip()) is not None:
        raise ValueError(f"the checksum of {damaged} is wrong")
    assert archive.fp is not None
    archive.fp.seek(0, os.SEEK_END)
    archive.fp.seek(max(0, archive.fp.tell() - 2**16 - 22))
    end = archive.fp.read().rpartition(b"PK\5\6")[2]
    if int.from_bytes(end[6:8], "little") != len(archive.infolist()):
        raise ValueError("entries are missing")


@contextmanager
def open_npz(path: str | Path, what: str) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open an ``.npz`` that is whole; its arrays are read when they are asked for. Nothing is unpickled.

    Args:
        path: The file.
        what: Name for messages: what the file should be.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or something else, also if that shows only while it is read or its
            content is used. The message is one line.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(archive)
        with np.load(path, allow_pickle=False) as file:
            yield file
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such {what}") from None
    except Exception as error:  # zipfile, its decompressors and NumPy raise exceptions of a dozen classes
        raise ValueError(f"{path}: damaged, or no {what} ({checks.first_line(error)})") from error


def lookup(key: Mapping[str, Any], folder: str | Path, features: bool = False) -> RealStatistics | None:
    """Return the statistics of a key from their file; None if there is none, or a damaged one.

    Args:
        key: As for :func:`store`.
        folder: Where they are kept.
        features: Whether the features are needed: then a file without them counts as missing.
    """
    try:
        found = RealStatistics.load(_file(key, Path(folder)), features)
    except (OSError, ValueError):
        return None
    needed = [found.n, *((found.features, found.labels, found.order) if features else ())]
    whole = all(part is not None for part in needed)
    return found if whole and _canonical(found.protocol) == _canonical(key) else None


def store(key: Mapping[str, Any], statistics: RealStatistics, folder: str | Path) -> None:
    """Write statistics to the file of their key; warn if that is not possible.

    Args:
        key: Everything that the statistics depend on: data set, split, n, preprocessing, the extractor's
            protocol. JSON values; becomes the protocol of the file.
        statistics: What to write.
        folder: Where they are kept.

    Raises:
        TypeError: If the key holds values that are not JSON's.
    """
    file = _file(key, Path(folder))
    try:
        remove_parts(file.parent, _LEFTOVER_SECONDS)  # younger ones may be being written
        replace(statistics, protocol=dict(key)).save(file)
    except OSError as error:
        reason = error.strerror or checks.first_line(error)
        warnings.warn(
            f"statistics of real images are not kept, the next run computes them anew: cache folder "
            f"{folder}: {reason} (LIGHTNING_GANS_CACHE names another one)",
            stacklevel=2,
        )


def _file(key: Mapping[str, Any], folder: Path) -> Path:
    digest = hashlib.sha256(f"{_LAYOUT} {_canonical(key)}".encode()).hexdigest()[:32]
    return folder / f"statistics-{digest}.npz"


def _canonical(key: Mapping[str, Any]) -> str:
    return json.dumps(dict(key), sort_keys=True)
