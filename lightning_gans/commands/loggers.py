"""Loggers of the command line: they are told the folder, the name and the settings of their run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from lightning_gans.checks import first_line
from lightning_gans.commands.run_folder import RUNS
from lightning_gans.game.csv_logger import WholeCSVLogger

PROJECT = "lightning_gans"


def in_run(
    kind: type[Logger], given: dict[str, Any], runs: Path, name: str, version: str | None
) -> dict[str, Any]:
    """Return the arguments of a logger, in which the defaults are those of its run.

    A run, its logger's folder and its name at Weights & Biases or MLflow are one. What is given beats that.

    Args:
        kind: The logger's class.
        given: Its arguments, defaults too.
        runs: The folder of all runs.
        name: The name of the run.
        version: ``version_K``; None where no run has claimed one.
    """
    title = f"{name}/{version}" if version else name
    of_run: dict[str, tuple[Any, Any]] = {}  # the default of an argument, and what takes its place
    if issubclass(kind, CSVLogger | TensorBoardLogger):
        of_run = {
            "save_dir": (str(RUNS), str(runs)),
            "name": ("lightning_logs", name),
            "version": (None, version),
        }
    elif issubclass(kind, WandbLogger):
        of_run = {
            "save_dir": (".", str(runs / title)),
            "project": (None, os.environ.get("WANDB_PROJECT", PROJECT)),
            "name": (None, os.environ.get("WANDB_NAME", title)),
        }
    elif issubclass(kind, MLFlowLogger):
        of_run = {"experiment_name": ("lightning_logs", PROJECT), "run_name": (None, title)}
    # Where another class replaces that of a stored configuration, it takes over folder and name of the first.
    if (given.get("save_dir"), given.get("name")) in ((str(RUNS), "lightning_logs"), (".", None)):
        given = {**given, **{key: of_run[key][0] for key in ("save_dir", "name") if key in of_run}}
    own = {key: value for key, (default, value) in of_run.items() if given.get(key, ...) == default}
    return {**given, **own}


def with_table(given: Sequence[Logger], runs: Path, name: str, version: str | None) -> list[Logger]:
    """Return the loggers of a run: those that are given, after that of ``metrics.csv``, which each run has.

    Args:
        given: Loggers; a CSVLogger without a folder of its own is what each run has.
        runs: The folder of all runs.
        name: The name of the run.
        version: ``version_K``; None where no run has claimed one.
    """
    number = int(version.rpartition("_")[2]) if version else "unknown"  # the progress bar shows it
    log = WholeCSVLogger(runs, name, number)
    return [log, *(x for x in given if type(x) is not CSVLogger or x.log_dir != log.log_dir)]


@rank_zero_only
def log_in(kind: type[Logger], given: dict[str, Any]) -> None:
    """Log in to Weights & Biases, if a logger needs it, before any long work.

    Raises:
        ValueError: If there is no key, a wrong one, or no network.
    """
    modes = [given.get("mode"), "offline" if given.get("offline") else None, os.environ.get("WANDB_MODE")]
    mode = next((mode for mode in modes if mode), "online")
    if not issubclass(kind, WandbLogger) or mode in ("offline", "disabled", "dryrun"):
        return
    import wandb

    try:
        wandb.login()
    except wandb.errors.Error as error:
        reason = first_line(error).rstrip(".")
        raise ValueError(
            f"trainer.logger={kind.__name__}: {reason}: run `wandb login`, or set WANDB_MODE=offline"
        ) from error
