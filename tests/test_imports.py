"""Imports go one way: see DESIGN section 1."""

import ast
from pathlib import Path

import pytest

import lightning_gans

PACKAGE = Path(lightning_gans.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    used = imports(path)
    own = {name.split(".")[1] for name in used if name.startswith("lightning_gans.")}
    if part(path) in ("losses", "networks", "latents", "rebuild", "optimizers", "latent_space", "pictures"):
        assert not any(name.split(".")[0] in ("lightning", "torchmetrics") for name in used)
        assert own <= {"losses", "networks", "latents", "rebuild"}
    if part(path) not in ("models", "cli", "__init__"):
        assert "models" not in own
    if part(path) in ("data", "metrics"):
        assert own <= {"data", "metrics", "rebuild"}
    if part(path) in ("adversarial", "latent_game", "models"):
        assert not own & {"callbacks", "data", "metrics", "cli"}
    if part(path) == "callbacks":
        assert own <= {"callbacks", "data", "metrics", "pictures", "adversarial", "fitting_capacity"}
