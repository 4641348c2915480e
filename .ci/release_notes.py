"""Print the notes of a release, by its tag: ``release_notes.py v0.2.0``; 1 where versions differ."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def notes(tag: str, root: Path = ROOT) -> str:
    """Return the changelog's part for a tag; raises SystemExit with one line if a version is another one."""
    version = tag.removeprefix("v")
    for file, pattern in (
        ("lightning_gans/__init__.py", r'__version__ = "(.*)"'),
        ("CITATION.cff", r"version: (.*)"),
    ):
        found = re.search(f"^{pattern}$", (root / file).read_text(), re.MULTILINE)
        if found is None or found[1] != version:
            raise SystemExit(f"{file}: version {found and found[1]}, but the tag is {tag}")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$\n(.*?)(?=^## |^\[[^\]]+\]: |\Z)"
    part = re.search(heading, (root / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL)
    if part is None or not part[1].strip():
        raise SystemExit(f"CHANGELOG.md: no notes under a heading '## [{version}] - YYYY-MM-DD'")
    return part[1].strip()


if __name__ == "__main__":
    print(notes(sys.argv[1]))
