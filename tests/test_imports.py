"""Imports go one way, without circles: see docs/design.md, "Where things are"."""

import ast
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import lightning_gans

PACKAGE = Path(lightning_gans.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FOR_ALL = {"checks", "files", "trust"}
BESIDE = {"__init__", "__main__", *FOR_ALL}
ALLOWED = {
    "losses": set(),
    "networks": set(),
    "game": {"losses", "networks"},
    "models": {"game", "losses", "networks"},
    "data": set(),
    "drawing": {"data"},
    "metrics": {"data", "drawing", "game", "losses", "networks"},
    "callbacks": {"data", "drawing", "game", "losses", "metrics"},
    "commands": {"callbacks", "data", "drawing", "game", "metrics", "models", "networks"},
}
"""What a folder imports beside itself and what is for all."""


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imported(path):
    """The modules of this package that a file imports, at its top or in a function; not for types alone."""
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner != "lightning_gans.__version__":  # a text, there before anything is imported
                    found.add(inner if inner in MODULES else str(node.module))
    return found


def folder(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


GRAPH = {module: {m for m in imported(path) if m in MODULES} for module, path in MODULES.items()}


def test_folders_are_those_of_the_map():
    assert {folder(module) for module in MODULES} == {*ALLOWED, *BESIDE}


@pytest.mark.parametrize("module", [m for m in MODULES if folder(m) not in BESIDE])
def test_imports_go_one_way(module):
    used = {folder(other) for other in GRAPH[module]}
    assert used - {folder(module), *FOR_ALL} <= ALLOWED[folder(module)]
    if folder(module) in ("losses", "networks", "drawing"):
        roots = {name.split(".")[0] for name in imported(MODULES[module])}
        assert not roots & {"lightning", "torchmetrics"}


@pytest.mark.parametrize("module", sorted(FOR_ALL))
def test_what_all_may_use_imports_nothing_of_the_package(module):
    assert not GRAPH[f"lightning_gans.{module}"]


def test_no_circles():
    done, under_way = set(), []

    def visit(module):
        assert module not in under_way, " -> ".join([*under_way[under_way.index(module) :], module])
        if module in done:
            return
        under_way.append(module)
        for other in sorted(GRAPH[module]):
            visit(other)
        done.add(under_way.pop())

    for module in MODULES:
        visit(module)


def test_the_engine_is_short():
    """A reader sees the whole base at once."""
    assert len((PACKAGE / "game" / "adversarial.py").read_text().splitlines()) <= 300
    assert len((PACKAGE / "commands" / "main.py").read_text().splitlines()) <= 120


@pytest.mark.slow
def test_importing_a_paper_takes_little_longer_than_its_libraries():
    """By processor time, in turns; ``import lightning_gans`` itself imports none of them."""
    times = {"import lightning, torchvision": [], "import lightning_gans; lightning_gans.DCGAN": []}
    for _ in range(5):
        for code, seconds in times.items():
            command = [sys.executable, "-c", f"{code}\nimport time\nprint(time.process_time())"]
            seconds.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    libraries, ours = map(median, times.values())
    assert ours < 1.15 * libraries
