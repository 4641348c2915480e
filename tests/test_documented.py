"""Every program and command of the documentation and the recipes, as a reader pastes them."""

import os
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from jsonargparse import ActionConfigFile
from PIL import Image

from lightning_gans.commands.fit import prepare
from lightning_gans.commands.parsing import OneLine, take_trusted
from tests.documented import PAGES, RECIPES, ROOT, blocks, made_pictures, of_page, of_recipe, shrunk
from tests.tiny_data import write_colour, write_galaxies, write_grey, write_npz, write_pictures, write_session

PAPERS = [page for page in PAGES if page.parent.name == "papers"]


# ---------------------------------------------------------------------- parsed, in this process


@pytest.fixture(scope="module")
def parser():
    from lightning_gans.commands.fit_parser import parser_of_fit

    parser = parser_of_fit()
    parser.add_argument("--config", action=ActionConfigFile)
    return parser


@pytest.fixture
def own_modules(monkeypatch):
    """What is imported from the current folder is forgotten at the end; other tests have other files."""
    monkeypatch.syspath_prepend(Path.cwd())
    before = {*sys.modules}
    yield
    for name in {*sys.modules} - before:
        if Path.cwd() in Path(getattr(sys.modules[name], "__file__", None) or "/").parents:
            del sys.modules[name]


@pytest.mark.usefixtures("own_modules")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_understood(page, parser):
    prepare_folder(page)
    for command in of_page(page):
        given = shrunk(command)
        if given is None or not given.startswith("lightning-gans"):
            continue
        name, *arguments = shlex.split(given)[1:]
        module = import_module(f"lightning_gans.commands.{name.replace('-', '_')}")
        arguments, _ = take_trusted(arguments)
        if name == "fit" and "--ckpt_path" not in arguments:
            parser.parse_args(prepare(arguments)[0])
        elif name == "reproduce":
            module.run([*(each for each in arguments if each != "--as-sweep"), "--dry-run"])
        elif name in ("study-score", "sweep"):
            module.parser().parse_args(arguments)
        elif name != "fit":
            command = arguments.pop(0) if name == "latent" else name.replace("-", "_")
            function = OneLine()
            function.add_function_arguments(getattr(module, command), as_positional=False)
            function.parse_args(arguments)


def test_every_recipe_says_its_command():
    assert all(len(of_recipe(path)) == 1 for path in RECIPES)
    for command in (command for path in RECIPES for command in of_recipe(path)):
        assert shrunk(command)


def test_a_new_kind_of_command_is_noticed():
    with pytest.raises(AssertionError, match="a new kind of command"):
        shrunk("lightning-gans conquer --the world")


# ---------------------------------------------------------------------- run, by the console script


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Small files of all data sets."""
    folder = tmp_path_factory.mktemp("data")
    write_grey(folder)
    write_colour(folder)
    return folder


def prepare_folder(page):
    """What a page takes for granted: its files, photographs, samples of others."""
    for language in ("python", "yaml"):
        for title, content in blocks(page, language):
            if title:
                Path(title).write_text(smaller(content))
    if page.stem == "your_own":
        shutil.copytree(ROOT / "tests/example_project", ".", dirs_exist_ok=True)
    write_pictures(Path("my_photos"), 24, 40)
    write_galaxies(Path("my_data"))
    write_pictures(Path("my_samples"), 40, 32)
    for folder in ("my_pairs/train", "my_pairs/val", "my_domains/train", "my_domains/test"):
        write_pictures(Path(folder), 9, 64, width=128)
    for name in ("my_samples.npz", "other.npz"):
        write_npz(Path(name), 40, 32)
    write_npz(Path("cifar10.train.npz"), 0, 1, mu=np.zeros(2048), sigma=np.eye(2048))
    write_session("answers/ada.json", "ada", fooled=10)
    Path("dedup").mkdir()
    Path("dedup/exclude.txt").touch()


DCGAN = "lightning-gans fit --config dcgan/mnist"
NEEDS = {"design.md": [], "evaluation.md": ["lightning-gans fit --config conditional_gan/digits"]}
"""Runs that a page goes on with, beside that of dcgan/mnist."""


def environment(root):
    return {"LIGHTNING_GANS_DATA": str(root), "LIGHTNING_GANS_CACHE": str(root.parent / "cache")}


def run(script, root):
    """Run commands in a shell that stops at the first that fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, **environment(root), "PATH": path}
    shell = ["bash", "-euxo", "pipefail", "-c", script]
    done = subprocess.run(shell, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, "\n".join(done.stderr.splitlines()[-25:])
    assert "Traceback" not in done.stderr


def smaller(program):
    for steps, fewer in (("=10_000", "=2"), ("=2000", "=2"), (": 6000", ": 2000"), (": 1000}", ": 500}")):
        program = program.replace(f"max_steps{steps}", f"max_steps{fewer}")
    return program


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page not in PAPERS], ids=lambda page: page.stem)
def test_page(page, root):
    """By the installed console script."""
    needed = [DCGAN, *NEEDS[page.name]] if page.name in NEEDS else []
    lines = [shrunk(command) for command in [*needed, *of_page(page)]]
    prepare_folder(page)
    run("\n".join(line for line in lines if line), root)
    for name in made_pictures(page):
        with Image.open(name) as picture:
            assert len(picture.convert("RGB").getcolors(maxcolors=1 << 24)) > 1, name


@pytest.mark.slow
@pytest.mark.usefixtures("few_real")
@pytest.mark.parametrize("page", PAPERS, ids=lambda page: page.stem)
def test_page_of_a_paper(page, root, cli, monkeypatch):
    """They name recipes, so that many calls are alike: run in this process, which saves minutes."""
    for variable, value in environment(root).items():
        monkeypatch.setenv(variable, value)
    for title, program in blocks(page, "python"):
        if title:
            Path(title).write_text(program)
    monkeypatch.syspath_prepend(Path.cwd())
    for command in of_page(page):
        cli(*shlex.split(shrunk(command))[1:])


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/runs.md"])
def test_programs(page, root):
    run(shrunk(DCGAN), root)
    for number, (_, program) in enumerate(blocks(ROOT / page, "python")):
        Path(f"program{number}.py").write_text(smaller(program))
        run(f"python program{number}.py", root)
