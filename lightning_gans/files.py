"""Files that are whole at every moment, and those that come with the package."""

import csv
import io
import json
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

WAIT_SECONDS = 5.0  # for another process, before a warning says so


@contextmanager
def written_whole(path: str | Path, synced: bool = True) -> Iterator[Path]:
    """Give a file beside ``path`` to write to, and put it in its place when it is complete.

    After a crash or a power cut there is the old file or the new one, never a part. A writer that raises, or
    writes nothing, leaves the old one. Folders that are missing are made. What the system refuses (a full
    disk) is an error that names ``path``.

    Args:
        path: Where the file goes.
        synced: Wait until the disk has it, which a power cut needs.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        yield part
        if part.exists():
            if synced:
                with part.open("rb") as file:
                    os.fsync(file.fileno())
            part.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(part)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: str | Path, content: str | bytes, synced: bool = True) -> None:
    """Write a whole file at once; text in UTF-8, file names in it may be of any bytes."""
    with written_whole(path, synced) as part:
        part.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)


def scores_in(folder: Path | None) -> Iterator[dict[str, Any]]:
    """Yield the lines of ``evaluations.jsonl`` in a run's folder; none without a file, or a folder."""
    file = None if folder is None else folder / "evaluations.jsonl"
    for text in file.read_text().splitlines() if file is not None and file.is_file() else ():
        with suppress(json.JSONDecodeError):  # the process was killed while it wrote
            yield json.loads(text)


def write_csv(path: str | Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write a whole table at once."""
    table = io.StringIO()
    csv.writer(table).writerows(rows)
    write_whole(path, table.getvalue())


def remove_parts(folder: Path, seconds: float = 0.0) -> None:
    """Remove what writers who were killed left unfinished in a folder: what is older than some seconds."""
    for part in folder.glob("*.part"):
        if re.fullmatch(r".+\.[0-9a-f]{32}\.part", part.name):
            with suppress(OSError):  # another process may remove it, or finish it, or own it
                if time.time() - part.stat().st_mtime >= seconds:
                    part.unlink()


@contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock beside a file or folder, which a killed process frees.

    Args:
        path: What is locked; the folder around it is made.
        doing: What another process does that holds it, for the warning if that takes long.

    Raises:
        OSError: If the lock cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        held = lock.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        warnings.warn(f"waiting for another process that {doing}", stacklevel=4)
        held = lock.acquire()
    with held:
        yield


def write_folder(
    folder: str | Path, files: Iterable[tuple[str, bytes | Iterable[bytes]]], count: int
) -> None:
    """Write files, each whole, into a folder; if something goes wrong, the error says how many there are.

    Args:
        folder: Made if it is missing.
        files: The path of each in the folder, and its content, whole or in pieces; it may be made meanwhile.
        count: How many there will be.

    Raises:
        OSError: If a file cannot be written, or read while ``files`` are made.
        ValueError: If one cannot be made.
    """
    done = 0
    try:
        for name, content in files:
            path = Path(folder) / name  # not synced: thousands of them would wait for hours
            if isinstance(content, bytes):
                write_whole(path, content, synced=False)
            else:
                with written_whole(path, synced=False) as part, part.open("wb") as file:
                    file.writelines(content)
            done += 1
    except (OSError, ValueError) as error:
        kind = OSError if isinstance(error, OSError) else ValueError
        raise kind(f"{error} ({done:,} of {count:,} files were written to {folder})") from error


def recipes_folder() -> Path:
    """Return the folder of the recipes: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"
