"""Links of the pages lead somewhere: to a file, a heading in it; of the web's only the form is looked at."""

import re
from pkgutil import resolve_name

import pytest

from tests.documented import PAGES, RECIPES, ROOT

OUTSIDE = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
ALL = [*PAGES, *OUTSIDE, *sorted((ROOT / "benchmarks").glob("*.md"))]
LINK = re.compile(r"\]\(\s*([^)\s]*)[^)]*\)|^\[[^\]]+\]:\s+(\S+)|\b(?:href|src)=\"([^\"]*)\"", re.MULTILINE)
WEB = re.compile(r"(https?://([\w-]+\.)+[a-z]{2,}(:\d+)?(/[\w.,;:~%+=@&?#/-]*)?|mailto:\S+@\S+)")


def prose(page):
    """A page's text without its code, in which brackets are no links."""
    return re.sub(r"^ *```.*?^ *```|`[^`\n]+`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def links(page):
    return ["".join(found) for found in LINK.findall(prose(page))]


def anchors(page):
    """The anchors of a page's headings, as GitHub and the site make them, and those that it names itself."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = {*re.findall(r"\{[^}\n]*#([\w.-]+)[^}\n]*\}|\bid=\"([^\"]+)\"", text)}
    found = {name for pair in found for name in pair if name}
    for heading in re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]|\{#.*\}", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\s-]", "", plain)
        found |= {re.sub(r"\s", "-", slug), re.sub(r"[-\s]+", "-", slug)}
    for name in re.findall(r"^::: ([\w.]+)", text, re.MULTILINE):  # the reference of a module
        found |= {name, *(f"{name}.{each}" for each in dir(resolve_name(name)))}
    return found


def wrong(page, root=ROOT):
    """The links of a page that lead nowhere."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            if WEB.fullmatch(link) is None:
                yield link
            continue
        target = (page.parent / path).resolve() if path else page
        if root not in target.parents or not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert [*wrong(page)] == []


def test_files_that_recipes_name_are_there():
    named = [
        (path.name, name) for path in RECIPES for name in re.findall(r"\bdocs/[\w/]+\.md", path.read_text())
    ]
    assert named
    assert [pair for pair in named if not (ROOT / pair[1]).is_file()] == []


def test_what_is_wrong_is_found(tmp_path):
    (tmp_path / "there.md").write_text("## A heading, of `code`\n\n```\n# none\n```\n")
    bad = [
        "gone.md",
        "there.md#gone",
        "there.md#none",
        "#gone",
        "http:/a.de",
        "https://a",
        "../x.md",
        "gone.png",
    ]
    good = ["there.md", "there.md#a-heading-of-code", "#here", "https://a.de/b#c", "mailto:a@b.de"]
    lines = ["# Here", *(f"[x]({link})" for link in (*good, *bad[:-1])), f'<img src="{bad[-1]}">']
    page = tmp_path / "page.md"
    page.write_text("\n".join([*lines, "`[x](gone)`", "```", "[x](gone)", "```"]))
    assert [*wrong(page, tmp_path)] == bad
