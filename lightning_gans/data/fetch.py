"""Fetch data sets: download, compare, unpack, and put into their place what is complete."""

import http.client
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

from torchvision.datasets.utils import calculate_md5
from tqdm import tqdm

from lightning_gans import checks
from lightning_gans.files import locked

_TIMEOUT = 60  # seconds without any answer


@contextmanager
def fetching(place: Path) -> Iterator[Path]:
    """Give a folder to fetch something to, under the name of ``place``, to which it is then moved.

    The folder lies beside ``place``. If fetching fails, nothing is left; what a killed process leaves is
    cleared away by the next one.
    """
    part = place.with_name(f".{place.name}.part")
    with no_empty_folders(place), locked(part, f"fetches {place.name}"):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            yield part
            _move(part / place.name, place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
            Path(f"{part}.lock").unlink(missing_ok=True)


@contextmanager
def no_empty_folders(place: Path) -> Iterator[None]:
    """Remove at the end which of a folder and its parents were made meanwhile and are empty."""
    missing = [folder for folder in (place, *place.parents) if not folder.exists()]
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def _move(path: Path, place: Path) -> None:
    """Move a file or folder; files of a folder that exists already are replaced one by one."""
    if not (path.is_dir() and place.is_dir()):
        path.replace(place)
        return
    for inner in path.iterdir():
        _move(inner, place / inner.name)


def download(url: str, file: Path, md5: str | None, found: Path | None = None) -> None:
    """Download a file, or copy it from where an earlier download may have left it.

    Args:
        url: Its address.
        file: Where it is written.
        md5: Its checksum. None: none is known; then only https is accepted, also after redirects.
        found: Where a file with this checksum may lie already.

    Raises:
        OSError: If that fails, or it is another file.
    """
    if found is not None and found.is_file() and calculate_md5(found) == md5:
        shutil.copyfile(found, file)
        return
    try:
        with urlopen(Request(url, headers={"User-Agent": "lightning-gans"}), timeout=_TIMEOUT) as response:
            if md5 is None and not response.url.startswith("https:"):
                raise OSError(f"{response.url} is not encrypted, and no checksum is known")
            size = int(response.headers.get("Content-Length") or 0) or None
            with (
                file.open("wb") as out,
                tqdm.wrapattr(response, "read", total=size, desc=file.name, delay=2) as stream,
            ):
                shutil.copyfileobj(stream, out, 2**20)
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__} {checks.first_line(error)}") from error
    if md5 is not None and calculate_md5(file) != md5:
        raise OSError(f"what was downloaded from {url} has a wrong checksum")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive of plain files and folders, and delete it.

    Raises:
        OSError: If it is damaged, or holds links, devices, or paths that lead out of the folder.
    """
    try:
        (_unzip if archive.suffix == ".zip" else _untar)(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError, zlib.error) as error:
        raise OSError(f"{archive.name}: cannot be unpacked ({checks.first_line(error)})") from error
    archive.unlink()


def _untar(archive: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise OSError("this Python cannot unpack archives safely: use 3.10.12, 3.11.4 or newer")
    with tarfile.open(archive) as tar:
        for member in tar:
            # The filter alone has been deceived by links.
            if not (member.isfile() or member.isdir()):
                raise OSError(f"{archive.name}: {member.name} is neither a file nor a folder")
            tar.extract(member, folder, filter="data")


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            inside = (folder / member.filename).resolve().is_relative_to(folder.resolve())
            if not inside or stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise OSError(f"{archive.name}: {member.filename} is no file or folder inside of it")
            file.extract(member, folder)
