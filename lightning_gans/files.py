"""Files that are whole at every moment, and those that come with the package."""

import os
import re
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


def remove_parts(folder: Path) -> None:
    """Remove the files that writers who were killed left unfinished in a folder."""
    for part in folder.glob("*.part"):
        if re.fullmatch(r".+\.[0-9a-f]{32}\.part", part.name):
            part.unlink(missing_ok=True)


def recipes_folder() -> Path:
    """Return the folder of the recipes: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"
