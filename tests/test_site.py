"""What the pages say of recipes, commands, extras and classes is what there is."""

import re
import subprocess
import sys
import zlib
from importlib import import_module, util

import pytest
import yaml

from lightning_gans import models
from lightning_gans.commands.main import known_commands
from lightning_gans.commands.recipes import recipe_names
from tests.documented import ROOT

PUBLIC = ("", ".callbacks", ".data", ".losses", ".metrics", ".models", ".networks")


@pytest.fixture(scope="module")
def papers_table():
    spec = util.spec_from_file_location("papers_table", ROOT / "docs/papers_table.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_papers_is_current(papers_table):
    shown = (ROOT / "README.md").read_text().split(papers_table.MARK)[1]
    assert shown == papers_table.table(), "call `make papers`"


def test_the_table_has_every_paper_and_its_page():
    papers = yaml.safe_load((ROOT / "docs/papers.yaml").read_text()).values()
    assert sorted(paper["class"] for paper in papers) == sorted(models.__all__)
    assert {paper["start"].split()[0] for paper in papers} <= {*recipe_names()}
    pages = {path.stem for path in (ROOT / "docs/papers").glob("*.md")} - {"index"}
    assert {paper["page"] for paper in papers} == pages


def test_figures_are_those_of_the_exhibits(papers_table):
    """All claims of the page are read, and those that runs have decided are counted."""
    claims = papers_table.read_claims()
    all_of_them = re.search(r"\*\*Of (\d+) claims", (ROOT / "docs/exhibits.md").read_text())
    assert len(claims) == int(all_of_them[1])
    made_up = {
        "a": {"paper": "X", "Verdict": "holds"},
        "b": {"paper": "X", "Verdict": "does not hold"},
        "c": {"paper": "X", "Verdict": "not run"},
        "d": {"paper": "Y", "Verdict": "holds"},
    }
    assert papers_table.tally("X", made_up) == "1 of 2, 1 not run"
    assert papers_table.tally("Z", made_up) == "none put"


def test_every_command_and_extra_has_its_place():
    reference = (ROOT / "docs/reference/commands.md").read_text()
    assert re.findall(r"^## lightning-gans (.*)", reference, re.MULTILINE) == sorted(known_commands())
    extras = re.search(r"optional-dependencies\](.*?)\n\[", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    listed = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs/install.md").read_text(), re.MULTILINE)
    assert {*re.findall(r"^([\w-]+) = \[", extras[1], re.MULTILINE)} <= {*listed}


@pytest.mark.slow
def test_the_reference_has_every_public_name(tmp_path):
    """As CI builds the site: without a warning."""
    pytest.importorskip("mkdocstrings", reason="pip install 'lightning-gans[docs]'")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, _, _, _, names = (tmp_path / "site/objects.inv").read_bytes().split(b"\n", 4)
    found = {line.split()[0] for line in zlib.decompress(names).decode().splitlines()}
    for package in PUBLIC:
        module = import_module(f"lightning_gans{package}")
        missing = {f"{module.__name__}.{name}" for name in module.__all__} - found
        # A function whose file has its name stands under the file's.
        assert {name for name in missing if f"{name}.{name.split('.')[-1]}" not in found} == set()
