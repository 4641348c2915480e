"""What a release says of itself."""

import re
import runpy

import pytest
import yaml

import lightning_gans
from tests.documented import ROOT

notes = runpy.run_path(str(ROOT / ".ci/release_notes.py"))["notes"]


@pytest.fixture
def checkout(tmp_path):
    """The files that the notes are made from, as of version 1.2.0."""
    (tmp_path / "lightning_gans").mkdir()
    (tmp_path / "lightning_gans/__init__.py").write_text('__version__ = "1.2.0"\n')
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 1.2.0\n")
    parts = [
        "# Changelog",
        "## [Unreleased]",
        "## [1.2.0] - 2030-01-31",
        "### Added",
        "- A.",
        "## [1.1.0]",
        "- B.",
    ]
    (tmp_path / "CHANGELOG.md").write_text("\n\n".join(parts) + "\n")
    return tmp_path


def test_notes_are_those_of_the_tag(checkout):
    assert notes("v1.2.0", checkout) == "### Added\n\n- A."


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("lightning_gans/__init__.py", "1.2.0", "1.2.1"),
        ("CITATION.cff", "\nversion: 1.2.0", "\nversion: 1.1.0"),
        ("CHANGELOG.md", "[1.2.0] - 2030", "[1.2.0], 2030"),
        ("CHANGELOG.md", "### Added\n\n- A.\n", ""),
    ],
)
def test_a_tag_that_does_not_fit_is_refused(file, old, new, checkout):
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new))
    with pytest.raises(SystemExit, match=file):
        notes("v1.2.0", checkout)


def test_versions_are_alike():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == lightning_gans.__version__
    assert re.search(
        rf"^## \[({re.escape(cited['version'])}|Unreleased)\]", (ROOT / "CHANGELOG.md").read_text(), re.M
    )


def test_ci_runs_every_python_and_the_oldest_of_all_others():
    project = (ROOT / "pyproject.toml").read_text()
    minors = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    runs = [(run["python"], run["versions"]) for run in jobs["test"]["strategy"]["matrix"]["include"]]
    assert runs == [(minors[0], "oldest"), *((minor, "newest") for minor in minors[1:])]
    assert f'requires-python = ">={minors[0]}"' in project
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+?)(?:\.\*)?$", (ROOT / ".ci/oldest.txt").read_text(), re.M))
    needed = project[project.index("dependencies = [") : project.index("[project.optional-dependencies]")]
    bounds = dict(re.findall(r'"([\w-]+)(?:\[\w+\])?>=([\d.]+)', needed))
    assert bounds.items() <= pins.items()
