"""The folder of a run: its name and its number, claimed before any long work."""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from lightning_gans.callbacks.checkpoint import tidy
from lightning_gans.commands.recipes import find_config
from lightning_gans.files import write_whole

RUNS = Path("runs")

JOB = "slurm.json"
START = re.compile(
    rf"config\.yaml|hparams\.yaml|{re.escape(JOB)}|last\.ckpt\.lock|update=0+\.png|events\.out\.tfevents\..*"
)
"""The files that a run writes before its first update."""


def run_name(name: str | None, classes: Mapping[str, str], arguments: Sequence[str]) -> str:
    """Return the name of a run.

    A recipe, or a configuration with a ``name`` in it, names the runs of its own model and data. With another
    class the run is another one: ``--config dcgan/mnist --model LSGAN`` is ``dcgan/mnist-lsgan``.

    Args:
        name: What was parsed: typed, or from a configuration.
        classes: The class paths of ``model`` and ``data``.
        arguments: The command's arguments, prepared by :func:`lightning_gans.commands.fit.prepare`.

    Raises:
        ValueError: If the run would lie outside of ``runs``.
    """
    if name is None:
        return _last(classes["model"])
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"--name {name}: a run goes to {RUNS}/NAME, give a name such as mine or mine/first")
    if any(argument.partition("=")[0] == "--name" for argument in arguments):
        return name
    for config in (a.removeprefix("--config=") for a in reversed(arguments) if a.startswith("--config=")):
        file, recipe = find_config(config)
        content = yaml.safe_load(file if file.lstrip().startswith("{") else Path(file).read_text())
        if name in (content.get("name"), recipe):
            changed = [_last(path) for key, path in classes.items() if not _names(content.get(key), path)]
            return "-".join([name, *changed])
    return name


def _names(given: Any, path: str) -> bool:
    """Return whether what a configuration has for a class is the class of this path; nothing fits all."""
    given = given.get("class_path") if isinstance(given, dict) else given
    short = path.startswith("lightning_gans.") and path.endswith(f".{given}")
    return given in (None, path) or short


def _last(path: str) -> str:
    return path.rpartition(".")[2].lower()


def claim(root: Path, name: str) -> Path:
    """Make the next folder ``ROOT/runs/NAME/version_K`` and return it: no other run gets the same one.

    Checkpoints that earlier runs, which were killed, left half written there are removed.

    Raises:
        OSError: If it cannot be made.
    """
    runs = root / RUNS / name
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for part in runs.glob("version_*/checkpoints/*.part"):
            tidy(part.parent)
        taken = [re.fullmatch(r"version_(\d+)", path.name) for path in runs.iterdir()]
        number = max((int(found[1]) + 1 for found in taken if found), default=0)
        while True:
            folder = runs / f"version_{number}"
            try:
                folder.mkdir(parents=True)  # another run's failed start may just have removed the parents
                return folder
            except FileExistsError:
                number += 1
    except OSError as error:
        raise OSError(f"--name {name}: cannot make a folder in {runs} ({error.strerror})") from error


def note_job(folder: Path, arguments: Sequence[str]) -> None:
    """Write into a run's folder which job of SLURM it belongs to, if it does, and by which command."""
    if job := _job(arguments):
        write_whole(folder / JOB, job)


def saved_by_job(root: Path, name: str, arguments: Sequence[str]) -> Path | None:
    """Return the newest checkpoint that a job of SLURM left, if it was queued again and this is its command.

    A job is queued again when its time was up, when it had to make way, or when its machine failed. All ranks
    find the same checkpoint: those of this attempt come after the ranks have met.
    """
    job, found = _job(arguments), []
    if job and int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0:
        for file in (root / RUNS / name).glob(f"version_*/{JOB}"):
            last = file.parent / "checkpoints" / "last.ckpt"
            if last.is_file() and file.read_text() == job:
                found.append((int(file.parent.name.removeprefix("version_")), last))
    return max(found)[1] if found else None


def _job(arguments: Sequence[str]) -> str | None:
    job = SLURMEnvironment.job_id() if SLURMEnvironment.detect() else None
    return None if job is None else json.dumps({"job": job, "arguments": list(arguments)})


def give_back(folder: Path, root: Path) -> None:
    """Remove a claimed folder, if the run left nothing there but what it writes at its start."""
    if all(path.is_dir() or START.fullmatch(path.name) for path in folder.rglob("*")):
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # up to the first parent that has something else in it
            for parent in folder.parents[: folder.parents.index(root)]:
                parent.rmdir()
