"""Equations as MathML, which browsers draw without scripts; pages whose text lies elsewhere."""

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s#]+)")
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
FROM_ROOT = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/RESULTS.md": "results.md",
}
"""Files of the repository that are pages of the site too, from their one text."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside of ``docs``."""
    for path, page in FROM_ROOT.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to files of the repository to their pages, and fill in what has its source elsewhere."""
    uri = page.file.src_uri
    where = next((path for path, name in FROM_ROOT.items() if name == uri), f"docs/{uri}")
    markdown = _linked(markdown, where, uri)
    if uri == "recipes.md":
        for mark, table in zip(("<!-- recipes -->", "<!-- added -->"), _recipes(), strict=True):
            markdown = markdown.replace(mark, table)
    if uri == "sweeps.md":
        markdown = markdown.replace("<!-- sweeps -->", _sweeps())
    readme = re.split(r"<!-- (\w+) -->", (ROOT / "README.md").read_text())
    for name, block in zip(readme[1::4], readme[2::4], strict=True):
        markdown = markdown.replace(f"<!-- {name} -->", _linked(block, "README.md", uri))
    return markdown


def on_page_content(content: str, **_: Any) -> str:
    """Replace what arithmatex marked, inline or displayed."""
    return EQUATION.sub(
        lambda match: convert(html.unescape(match[2]), display="inline" if match[1] == "span" else "block"),
        content,
    )


def _recipes() -> tuple[str, str]:
    """Return a table of all recipes, and one of what is added to them, from the files' heads."""
    recipes = ["| Recipe | Time | Result |", "|---|---|---|"]
    added = ["| Added | What it is |", "|---|---|"]
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        text = re.sub(r"\bdocs/(\S+?\.md)", r"[its page](\1)", path.read_text())
        says, *head = re.findall(r"^# (.*)", text, re.MULTILINE)
        facts = dict(re.findall(r"^(Time|Result): +(.*)", "\n".join(head), re.MULTILINE))
        name = path.relative_to(ROOT / "recipes").with_suffix("").as_posix()
        if "Result" in facts:
            recipes.append(f"| `{name}`: {says} | {facts.get('Time', '')} | {facts['Result']} |")
        elif name.startswith(("loggers/", "strategies/")):
            added.append(f"| `{name}` | {says} |")
    return "\n".join(recipes), "\n".join(added)


def _sweeps() -> str:
    """Return a table of all sweeps, from their heads and metrics."""
    rows = ["| Sweep | What it is | Metric | Time |", "|---|---|---|---|"]
    for path in sorted((ROOT / "recipes/sweeps").glob("*.yaml")):
        text = path.read_text()
        says, time = re.findall(r"^# ((?!Command).*)", text, re.MULTILINE)
        metric = re.search(r"^metric: {name: (.*), goal: (.*)}", text, re.MULTILINE)
        cell = f"`{metric[1]}`, {metric[2]}d" if metric else ""
        rows.append(f"| `{path.stem}` | {says} | {cell} | {time.removeprefix('Time:').strip()} |")
    return "\n".join(rows)


def _linked(markdown: str, where: str, uri: str) -> str:
    """Return a text of the file ``where`` with the links of the page ``uri``."""

    def lead(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(where), match[2]))
        target = FROM_ROOT.get(target, target.removeprefix("docs/"))
        return match[1] + posixpath.relpath(target, posixpath.dirname(uri) or ".")

    return "".join(
        part if part.lstrip().startswith("```") else LINK.sub(lead, part) for part in FENCE.split(markdown)
    )
