"""Base class of the data sets that torchvision downloads and checks by checksums."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torchvision.datasets.utils import calculate_md5

from lightning_gans import checks
from lightning_gans.data.base import DataError, ImageDataModule
from lightning_gans.data.fetch import download, fetching, unpack


class OfficialImages(ImageDataModule):
    """A data set whose official files have checksums.

    Args:
        verify: Compare the files with the official checksums. False: read whatever files of that format there
            are.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.ImageDataModule`.

    Raises:
        DataError: If a file has a wrong checksum.
    """

    def __init__(self, *, verify: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verify = verify

    def fetch_archive(self, dataset: Any) -> None:
        """Download and unpack the archive of one of torchvision's data sets, or one that lies in ``root``."""
        with fetching(self.root / dataset.base_folder) as place:
            archive = place / dataset.filename
            download(dataset.url, archive, dataset.tgz_md5, self.root / archive.name)
            unpack(archive, place)

    def complete(self, folder: Path, checksums: Iterable[tuple[str, str | None]]) -> bool:
        """Tell whether all files of a data set are there; refuse those with a wrong checksum.

        torchvision treats damaged files as missing ones: it would overwrite them by a download.

        Args:
            folder: Where the files should be.
            checksums: The MD5 of each file by its path in ``folder``; None: the file must only exist.

        Raises:
            DataError: If a file has a wrong checksum.
            FileNotFoundError: If files are missing and cannot be downloaded.
        """
        expected = {folder.absolute() / name: checksum for name, checksum in checksums}
        present = [path for path in expected if path.exists()]
        missing = [path.name for path in expected if path not in present]
        for path in present if self.verify else ():
            state, checksum = path.stat(), expected[path]
            if checksum and _md5(path, state.st_size, state.st_mtime_ns) != checksum:
                raise DataError(f"{path}: wrong checksum; delete it and fetch it again")
        if missing and not self.download:
            raise FileNotFoundError(f"not found: {', '.join(missing)}")
        if missing and present and not self.verify:
            # A download may overwrite files that are there, which may be the user's own.
            what = "; verify=False downloads nothing over the rest"
            raise FileNotFoundError(f"not found: {', '.join(missing)}{what}")
        return not missing


@functools.cache
def _md5(path: Path, size: int, changed: int) -> Any:
    """Return the MD5 of a file; cached by size and time of change, as every split asks for it."""
    return calculate_md5(path)


class _Unchecked:
    """Turns off the checks of a torchvision data set: `complete` has made those that are needed."""

    def _check_integrity(self) -> bool:
        return True

    def _check_legacy_exist(self) -> bool:
        """Leave out MNIST's files of earlier versions, which are pickles."""
        return False


def read(dataset: type, root: Path, **arguments: Any) -> Any:
    """Read files with one of torchvision's data sets, but without its checks.

    Raises:
        ValueError: If files are not of the expected format.
    """
    try:
        return type(dataset.__name__, (_Unchecked, dataset), {})(root, **arguments)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # damaged .mat files raise nearly any exception
        raise ValueError(f"{type(error).__name__}: {checks.first_line(error)}") from error
