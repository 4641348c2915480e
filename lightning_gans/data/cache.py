"""Decode every image once: into memory, or into a memory-mapped file in the user's cache folder."""

import errno
import functools
import hashlib
import json
import math
import os
import shutil
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from lightning_gans.data.decode import DamagedImage
from lightning_gans.data.sources import ImageSource, MappedImages, Pixels
from lightning_gans.files import locked

Item = TypeVar("Item")
Result = TypeVar("Result")
OnError = Literal["error", "skip"]
Chunk = tuple[Pixels, list[tuple[int, str]]]  # usable images; indices of the damaged ones, with reasons

_LAYOUT = 2  # of the format of cached files; a new number makes older caches unused
_CHUNK_BYTES = 4 * 2**20
_BLOCK_BYTES = 2**20


class CacheError(OSError):
    """The cache folder cannot be used; one line that says why and what to do."""


def cache_folder(given: str | Path | bool = True) -> Path:
    """Return the folder of what is kept from run to run.

    Args:
        given: The folder. True: the environment variable ``LIGHTNING_GANS_CACHE``, else ``lightning_gans`` in
            the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``).
    """
    usual = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "lightning_gans")
    chosen = os.environ.get("LIGHTNING_GANS_CACHE") if isinstance(given, bool) else given
    return Path(chosen or usual).expanduser()


def decode_all(source: ImageSource) -> Tensor:
    """Decode all images into memory, uint8 (N, C, H, W).

    Raises:
        DamagedImage: At the first damaged image.
    """
    result = torch.empty(len(source), *source.shape, dtype=torch.uint8)
    pixels, filled = result.numpy(), 0
    for images in _decoded(source, "error", []):
        pixels[filled : filled + len(images)] = images
        filled += len(images)
    return result


def find_usable(source: ImageSource) -> Tensor:
    """Decode all images once, keeping none; return the indices of those that are not damaged, int64 (n,).

    Raises:
        ValueError: If all images are damaged.
    """
    damaged = list[int]()
    for _ in _decoded(source, "skip", damaged):
        pass
    return _kept(source, damaged)


def decode_to_disk(source: ImageSource, folder: Path, on_error: OnError) -> tuple[MappedImages, Tensor]:
    """Decode all images into a file, unless that was done before, and map it into memory.

    The file is named by the source's fingerprint: changed files, or other settings of the decoding, make a
    new one. Of several processes one decodes and the others wait. What a killed process leaves is never
    taken for a result, and cleared away the next time that something is decoded. A damaged file is noticed
    by its checksum when it is opened, and made anew. Each folder may be deleted at any time between runs.

    Args:
        source: The images.
        folder: Where decoded images are kept (:func:`cache_folder`).
        on_error: ``"error"``: end at the first damaged image; ``"skip"``: leave them out, with a warning.

    Returns:
        The images, and their indices in the source, int64 (n,).

    Raises:
        DamagedImage: If an image is damaged, under ``"error"``.
        ValueError: If all images are damaged, under ``"skip"``.
        CacheError: If the folder cannot be written or has no space left; nothing is left behind.
    """
    key = _key(source, on_error)
    cached = _read(folder / key, source)
    if cached is None:
        with ExitStack() as lock:
            with _explained(folder):
                lock.enter_context(locked(folder / key, f"decodes {source.title} to {folder}"))
            # The process that this one waited for may have written it by now.
            cached = _read(folder / key, source) or _build(source, folder, key, on_error)
    images, damaged = cached
    return images, _kept(source, damaged)


def _key(source: ImageSource, on_error: OnError) -> str:
    return hashlib.sha256(f"{_LAYOUT} {source.fingerprint()} {on_error}".encode()).hexdigest()[:32]


def _decoded(source: ImageSource, on_error: OnError, damaged: list[int]) -> Generator[Pixels, None, None]:
    """Yield the usable images in order, uint8 (n, C, H, W); add the indices of the others to ``damaged``."""
    size = len(source)
    step = min(256, max(1, _CHUNK_BYTES // max(1, math.prod(source.shape))))
    chunks = (range(start, min(start + step, size)) for start in range(0, size, step))
    decode = partial(_decode, source, on_error=on_error)
    first = ""
    with (
        _Progress(desc=f"decoding {source.title}", total=size, unit=" images", delay=2) as progress,
        closing(read_ahead(decode, chunks, _threads())) as decoded,
    ):
        for images, failed in decoded:
            progress.update(len(images) + len(failed))
            damaged += [place for place, _ in failed]
            first = first or "".join(reason for _, reason in failed[:1])
            yield images
    if size and len(damaged) == size:
        raise ValueError(f"all {size} images of {source.title} are damaged; the first: {first}")


def read_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for all items in order, computed by threads at most two items each ahead."""
    rest = iter(items)
    pool = ThreadPoolExecutor(threads, "decode")
    try:
        waiting = deque(pool.submit(function, item) for item in islice(rest, 2 * threads))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in islice(rest, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(source: ImageSource, places: range, on_error: OnError) -> Chunk:
    """Decode the images at some indices; return the usable ones, and indices and reasons of the damaged."""
    images = np.empty((len(places), *source.shape), np.uint8)
    filled, failed = 0, list[tuple[int, str]]()
    for place in places:
        try:
            images[filled] = source.pixels(place)
            filled += 1
        except DamagedImage as error:
            if on_error == "error":
                raise DamagedImage(f"{error}; data.on_error=skip leaves such files out") from error
            failed.append((place, str(error)))
    return images[:filled], failed


def _kept(source: ImageSource, damaged: list[int]) -> Tensor:
    """Return the indices of the usable images, int64; warn of the damaged ones."""
    if damaged:
        names = ", ".join(source.name(place) for place in damaged[:3])
        more = ", ..." if len(damaged) > 3 else ""
        warnings.warn(f"skipped {len(damaged)} of {len(source)} files: {names}{more}", stacklevel=3)
    usable = torch.ones(len(source), dtype=torch.bool)
    usable[damaged] = False
    return usable.nonzero().squeeze(1)


def _read(done: Path, source: ImageSource) -> tuple[MappedImages, list[int]] | None:
    """Return the images that an earlier run cached, and the indices of the damaged ones; None if unusable."""
    file = done / "images.bin"
    try:
        content = (done / "index.json").read_text()
        index = json.loads(content)
        if content != _index(index["damaged"], index["crc32"]):
            return None
        images = MappedImages(file, (len(source) - len(index["damaged"]), *source.shape))
        state = file.stat()
        intact = _crc32(file, state.st_size, state.st_mtime_ns, source.title) == index["crc32"]
        return (images, index["damaged"]) if intact else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None


def _index(damaged: list[int], crc32: int) -> str:
    """Return the text of ``index.json``: the images' checksum, their damaged ones, and a checksum of both."""
    check = zlib.crc32(f"{crc32} {damaged}".encode())
    return json.dumps({"crc32": crc32, "damaged": damaged, "check": check})


@functools.cache
def _crc32(file: Path, size: int, changed: int, title: str) -> int:
    """Return the checksum of a file, computed once a process while its size and time of change stay."""
    crc32 = 0
    with (
        file.open("rb", buffering=0) as opened,
        _Progress(desc=f"checking {title}", total=size, unit="B", unit_scale=True, delay=2) as progress,
    ):
        while block := opened.read(_BLOCK_BYTES):
            crc32 = zlib.crc32(block, crc32)
            progress.update(len(block))
    return crc32


def _build(source: ImageSource, folder: Path, key: str, on_error: OnError) -> tuple[MappedImages, list[int]]:
    """Decode the images and write the cache of a key; this process must hold its lock."""
    done, part = folder / key, folder / f"{key}.part"
    needed = len(source) * math.prod(source.shape)
    damaged: list[int] = []
    crc32 = 0
    try:
        with _explained(folder, needed):
            if done.exists():
                warnings.warn(f"{done} is damaged: {source.title} are decoded anew", stacklevel=3)
                shutil.rmtree(done) if done.is_dir() else done.unlink()
            _clear(folder, key)
            if needed > shutil.disk_usage(folder).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            part.mkdir()
            opened = (part / "images.bin").open("wb", buffering=0)
        # Written as a file, not through a memory map: there a full disk would kill the process (SIGBUS).
        with opened as file, closing(_decoded(source, on_error, damaged)) as chunks:
            for images in chunks:
                with _explained(folder, needed):
                    rest = images.reshape(-1).data
                    crc32 = zlib.crc32(rest, crc32)
                    while rest:
                        rest = rest[file.write(rest) :]
            with _explained(folder, needed):
                os.fsync(file.fileno())
        with _explained(folder, needed):
            (part / "index.json").write_text(_index(damaged, crc32))
            part.rename(done)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    shape = (len(source) - len(damaged), *source.shape)
    return MappedImages(done / "images.bin", shape), damaged


def _clear(folder: Path, key: str) -> None:
    """Delete what killed processes left unfinished: of a key, whose lock is held, and all unlocked ones."""
    for part in folder.glob(f"{'[0-9a-f]' * 32}.part"):
        with suppress(Timeout), nullcontext() if part.stem == key else FileLock(part.with_suffix(".lock"), 0):
            shutil.rmtree(part)


@contextmanager
def _explained(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Turn an OSError within this block into a CacheError that names the folder and says what to do."""
    try:
        yield
    except OSError as error:
        advice = "name another folder (cache=..., LIGHTNING_GANS_CACHE), set cache=False"
        if needed is not None and error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(folder).free
            reason = f"decoded images need {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free"
            advice += ", or lower image_size"
        else:
            reason = (error.strerror or str(error)).split("\n")[0]
        raise CacheError(f"cache folder {folder}: {reason}; {advice}") from error


class _Progress(tqdm):  # type: ignore[misc]
    """A progress bar without tqdm's monitor thread, which would still run when worker processes fork."""

    monitor_interval = 0


def _threads() -> int:
    """Return how many threads decode images: more than Python's lock lets run at once would not help."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 8)
