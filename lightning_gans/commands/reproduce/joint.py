"""Seeds that run as replicas of one process: which they are."""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from lightning_gans.commands.reproduce.cells import State, read_status, state
from lightning_gans.commands.reproduce.tables import Cell, Grid, merge


def as_runs(grid: Grid, states: Mapping[Cell, State]) -> list[Cell]:
    """Return the runs to make, of cells and how each stands: those that are missing, several as one or not.

    If the budget has replicas, consecutive seeds of a row and data set are one run. What was begun goes on as
    it was begun: alone, or with all that it was begun with, even if not all of them are asked for. Only if
    such a run has failed, leaving some of its seeds out makes other runs of the rest.
    """
    missing = {cell: now for cell, now in states.items() if now not in ("finished", "running")}
    if not grid.budget.replicas:
        return list(missing)
    folders = {cell.folder for cell in missing}
    begun: dict[Path, list[Cell]] = {}
    new: dict[tuple[str, str, int], list[Cell]] = {}  # by row, data set and the seed that would follow
    for cell in sorted(missing, key=lambda cell: cell.seed):
        members = _begun_with(grid, cell, missing[cell], folders)
        if members:
            begun[members[0].folder] = members
        else:
            before = new.pop((cell.row, cell.data, cell.seed), [])
            new[cell.row, cell.data, cell.seed + 1] = [*before, cell]
    return [joint(members) for members in (*begun.values(), *new.values())]


def _begun_with(grid: Grid, cell: Cell, now: State, folders: Collection[Path]) -> list[Cell]:
    """Return the cells with which one was begun, in the order of their seeds; none if it starts anew."""
    if now not in ("interrupted", "failed"):
        return []
    name = read_status(cell.folder).get("joint")
    if name is None:
        return [cell]
    first, last = map(int, name.removeprefix("seeds=").split("-"))
    all_rows = grid.cells(range(first, last + 1))
    members = [x for x in all_rows if (x.row, x.data) == (cell.row, cell.data)]
    whole = all(x.folder in folders or state(x) == "finished" for x in members)
    return members if whole or now == "interrupted" else []


def joint(members: Sequence[Cell]) -> Cell:
    """Return the run of consecutive seeds of one row and data set; of one seed, its own."""
    first, last = members[0], members[-1]
    if first is last:
        return first
    config = deepcopy(dict(first.config))
    merge(config, {"model.replicas": len(members)})
    folder = first.folder.with_name(f"seeds={first.seed}-{last.seed}")
    seconds = None if first.seconds is None else first.seconds * len(members)
    return replace(first, config=config, folder=folder, seconds=seconds, members=tuple(members))
