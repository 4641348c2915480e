"""Files that are whole at every moment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a file beside ``path`` to write to, and put it in its place when it is complete.

    After a crash or a power cut there is the old file or the new one, never a part. A writer that raises, or
    writes nothing, leaves the old one. Folders that are missing are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        yield part
        if part.exists():
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a whole file at once; text in UTF-8, file names in it may be of any bytes."""
    with written_whole(path) as part:
        part.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
