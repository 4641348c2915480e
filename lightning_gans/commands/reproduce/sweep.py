"""A table's runs as a W&B sweep: the file that starts it, and what its agents report."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lightning_gans.commands.reproduce.cells import evaluations, read_status
from lightning_gans.commands.reproduce.report import plural
from lightning_gans.commands.reproduce.results import gather
from lightning_gans.commands.reproduce.tables import Cell, Grid
from lightning_gans.files import write_whole


def write_sweep(grid: Grid, wanted: Sequence[Cell], path: Path, command: Sequence[str]) -> None:
    """Write a grid sweep: its agents call ``command`` once for each cell, and fill the same folder."""
    columns = next(iter(grid.budget.data.values())).columns.values()
    goals = {"high": "maximize", "low": "minimize"}
    metrics = [{"name": x.name, "goal": goals[x.better]} for x in columns if x.better]
    sweep = {
        "program": "lightning-gans",
        "name": f"{grid.table.name} {grid.budget.name}",
        "description": f"{grid.table.title}. {grid.budget.describe}",
        "method": "grid",
        **({"metric": metrics[0]} if metrics else {}),
        "parameters": {"cells": {"values": [cell.title for cell in wanted]}},
        "command": ["${env}", *command, "${args}"],
    }
    write_whole(path, yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True))
    print(f"{plural(len(wanted), 'run')}: {path}")
    print(f"Start with: wandb sweep {path}; then wandb agent ID on each machine")


@contextmanager
def reported(grid: Grid, wanted: Sequence[Cell]) -> Iterator[None]:
    """If a sweep's agent made this call, open the W&B run that it expects, and report the one cell to it."""
    if "WANDB_SWEEP_ID" not in os.environ or len(wanted) != 1:
        yield
        return
    import wandb

    cell = wanted[0]
    about = {"table": grid.table.name, "budget": grid.budget.name, "row": cell.row, "identity": cell.identity}
    with wandb.init(config=about) as agent:  # an error within marks the W&B run as failed
        try:
            yield
        finally:
            _report(agent, grid, cell)


def _report(agent: Any, grid: Grid, cell: Cell) -> None:
    """Send a cell's evaluations, and its figures of the table, to W&B."""
    for line in evaluations(cell.folder):
        scores: dict[str, Any] = {}
        for key, value in line.items():
            parts = (
                {f"{key}/{k}": x for k, x in enumerate(value)} if isinstance(value, list) else {key: value}
            )
            scores |= {name: x for name, x in parts.items() if isinstance(x, int | float)}
        update = scores.pop("update")
        prefix = f"{line['name']}/" if line["name"] else ""
        agent.log({"update": update, **{f"{prefix}{key}": value for key, value in scores.items()}})
    for figure in gather(grid).figures:
        if figure.cell.folder == cell.folder:
            agent.summary[figure.column.name] = figure.value
            agent.summary["state"] = figure.state
    agent.summary["status"] = json.dumps(read_status(cell.folder))
