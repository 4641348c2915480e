"""The project in ``tests/example_project``, used as its owner does: from a folder outside of the package."""

import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from lightning_gans import load

HERE = Path(__file__).parent / "example_project"
TINY = ("--trainer.max_steps", 2, "--trainer.enable_progress_bar", "false", "--data.samples", 64,
        "--data.batch_size", 16, "--trainer.log_every_n_steps", 1,
        "--trainer.callbacks.num_samples", 8)  # fmt: skip


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A copy as the current folder, whose modules are forgotten at the end."""
    shutil.copytree(HERE, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "discs"]:
        del sys.modules[name]


def small(program):
    program = re.sub(r"max_steps=\d+", "max_steps=2", program)
    return program.replace("num_samples=500, every_n_updates=", "num_samples=8, every_n_updates=2 or ")


@pytest.mark.parametrize("data", ["Discs", "LabelledDiscs"])
def test_by_the_command_line(cli, capsys, data):
    cli("fit", "--config", "recipe.yaml", "--data", f"discs.data.{data}", *TINY)
    printed = capsys.readouterr().out
    run = "runs/discs/version_0" if data == "Discs" else "runs/discs-labelleddiscs/version_0"
    assert f"The run is in {run}\n" in printed
    assert re.search(r"Its last scores: one_disc [\d.]+\n", printed)
    assert "train/at_the_boundary" in Path(run, "metrics.csv").read_text().partition("\n")[0]
    for command in ("sample", "evaluate"):
        (arguments,) = re.findall(rf"with: lightning-gans ({command} .*)", printed)
        cli(*arguments.split())
    assert Path("samples.png").is_file()
    game = load(run, trusted=["discs"])
    assert game.generator.width == 32
    assert game.sample(3, seed=0).shape == (3, 1, 16, 16)


def test_a_game_that_knows_classes(cli, fails):
    fit = ("fit", "--model", "ConditionalGAN", "--data")
    line = fails(*fit, "discs.data.Discs", *TINY[:-2])
    assert "ConditionalGAN needs data with labels, and the number of their classes" in line
    cli(*fit, "discs.data.LabelledDiscs", *TINY[:-2])


def test_in_plain_python(capsys):
    exec(compile(small(Path("train.py").read_text()), "train.py", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert re.search(r"\d% of the samples are one disc", printed)
    assert "torch.Size([4, 1, 16, 16])" in printed
    assert "torch.Size([2, 1, 16, 16])" in printed


def cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_cells_of_the_notebook(capsys):
    names = {}
    for cell in cells(nbformat.read("notebook.ipynb", 4)):
        exec(small(cell.source), names)
    assert names["trainer"].global_step == 2
    assert "2/2 updates" in capsys.readouterr().out


@pytest.mark.slow
def test_the_notebook():
    notebook = nbformat.read("notebook.ipynb", 4)
    for cell in cells(notebook):
        cell.source = small(cell.source)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    *_, fit, picture = cells(notebook)
    shown = "".join(output.text for output in fit.outputs if output.get("name") == "stdout")
    assert shown.split("scores of")[0].count("\n") == 1  # one bar
    assert re.search(r"100%\|.*2/2 updates \[.*one_disc=[\d.]+\]\n", shown)
    assert "image/png" in picture.outputs[-1].data
