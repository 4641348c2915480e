"""fill a paper's table: published figures beside measured ones."""

import argparse
import shlex
import signal
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from lightning_gans.commands.reproduce.cells import State, last_line, read_status, run_cells, state, write
from lightning_gans.commands.reproduce.results import as_csv, as_markdown, duration, gather, measure, plural
from lightning_gans.commands.reproduce.sweep import reported, write_sweep
from lightning_gans.commands.reproduce.tables import (
    Cell,
    Grid,
    check,
    check_names,
    load_table,
    slug,
    table_names,
)

__all__ = ["reproduce", "run"]

OUT = "runs/tables"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"reproduce: {message}")


def run(arguments: Sequence[str]) -> None:
    """Run ``lightning-gans reproduce`` with arguments from the command line.

    Raises:
        ValueError: If they do not fit.
    """
    parser = _Parser("lightning-gans reproduce", description=reproduce.__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("table", help=f"{', '.join(table_names())}; or the path of a YAML file")
    parser.add_argument("--budget", default="quick", help="quick (default), paper, or another of the table's")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default 1)")
    for name, kind, what in (
        ("only", str, "rows"),
        ("data", str, "data sets"),
        ("seeds", int, "seeds, instead of the budget's"),
        ("cells", str, "runs, by their names in the plan of --dry-run"),
    ):
        parser.add_argument(f"--{name}", type=kind, nargs="+", action="extend", help=f"run these {what}")
    parser.add_argument("--out", default=OUT, help=f"folder (default {OUT})")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and the time it takes")
    parser.add_argument("--as-sweep", action="store_true", help="write a W&B sweep over the same runs")
    given = parser.parse_args(arguments)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        reproduce(**vars(given))
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where it stopped")
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def reproduce(
    table: str,
    budget: str = "quick",
    jobs: int = 1,
    only: Sequence[str] | None = None,
    data: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    cells: Sequence[str] | None = None,
    out: str = OUT,
    dry_run: bool = False,
    as_sweep: bool = False,
) -> None:
    """Run what is missing of a table, and write its figures beside the published ones.

    A run that has finished is not run again, one that was interrupted goes on from its checkpoint, one that
    failed is tried again, and one made before table or recipe were changed is kept beside the new one.
    ``results.csv``, ``table.md`` and ``plot.png`` in ``OUT/TABLE/BUDGET`` are written anew each time from all
    runs that are there.

    Args:
        table: Name of a table that comes with the package, or the path of a YAML file.
        budget: One of the table's.
        jobs: Processes at a time.
        only: Rows to run. Default: all.
        data: Data sets to run on. Default: all.
        seeds: To run, instead of the budget's.
        cells: Runs, by their titles, such as "GAN, ring, seed 0". Default: all.
        out: Folder of all tables.
        dry_run: Run nothing; print how each run stands, and the time that the others take.
        as_sweep: Run nothing; write ``sweep.yaml``, whose agents fill the same folder.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If an argument or something in the table does not fit, or there is no such run.
        OSError: If ``out`` cannot be written, or runs have failed. The others are finished, and in the table.
        KeyboardInterrupt: If it was interrupted; what is there is in the table.
    """
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: give the number of processes, 1 or more")
    if dry_run and as_sweep:
        raise ValueError("dry_run, as_sweep: give one of them")
    if seeds is not None and (not seeds or min(seeds) < 0):
        raise ValueError(f"seeds={list(seeds)}: give numbers from 0")
    known = load_table(table)
    check_names("budget", [budget], known.budgets)
    grid = Grid(known, known.budgets[budget], Path(out) / slug(known.name) / slug(budget))
    wanted = _choose(grid, None if seeds is None else list(dict.fromkeys(seeds)), only, data, cells)
    states = {cell.title: state(cell) for cell in wanted}
    missing = [cell for cell in wanted if states[cell.title] not in ("finished", "running")]
    if dry_run:
        _print_plan(grid, wanted, states, jobs)
        return
    _check_writable(out, grid.folder)
    check(grid, wanted if as_sweep else missing)
    if as_sweep:
        command = ["lightning-gans", "reproduce", table, "--budget", budget, "--out", out]
        command += [] if seeds is None else ["--seeds", *map(str, seeds)]
        write_sweep(grid, wanted, grid.folder / "sweep.yaml", command)
        return
    with reported(grid, wanted):
        failed: list[str] = []
        try:
            failed = _run(grid, missing, jobs)
        finally:
            _write_results(grid, _command(table, budget, out))
        if failed:
            raise OSError(f"{len(failed)} of {plural(len(missing), 'run')} failed: {'; '.join(failed)}")


def _choose(
    grid: Grid,
    seeds: Sequence[int] | None,
    rows: Sequence[str] | None,
    data: Sequence[str] | None,
    cells: Sequence[str] | None,
) -> list[Cell]:
    """Return the runs that are asked for."""
    wanted = grid.cells(seeds)
    check_names("only", rows or (), grid.table.rows)
    for row in rows or ():
        if row not in {cell.row for cell in wanted}:
            raise ValueError(f"only={row}: it is published only, and has no recipe to run")
    check_names("data", data or (), grid.budget.data)
    check_names("cells", cells or (), [cell.title for cell in wanted])
    chosen = [
        cell
        for cell in wanted
        if (rows is None or cell.row in rows)
        and (data is None or cell.data in data)
        and (cells is None or cell.title in cells)
    ]
    asked = [*(rows or ()), *(data or ()), *(cells or ())]
    if asked and not chosen:
        where = f"{grid.table.name} has no such run with budget {grid.budget.name}"
        raise ValueError(f"{', '.join(asked)}: {where}, see --dry-run")
    return chosen


def _command(table: str, budget: str, out: str) -> str:
    """Return what makes the table, without anything of this machine."""
    words = ["lightning-gans", "reproduce", Path(table).name if Path(table).is_file() else table]
    words += ["--budget", budget]
    if Path(out) != Path(OUT) and not Path(out).is_absolute():
        words += ["--out", out]
    return shlex.join(words)


def _check_writable(out: str, folder: Path) -> None:
    """Try whether there is a place for what runs make, before they do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"--out {out} cannot be written: {error.strerror}") from error


def _expected(grid: Grid) -> dict[Cell, float]:
    """Return seconds of runs: as those of the row that have finished, or else as the table says."""
    spent: dict[tuple[str, str], list[float]] = {}
    made = grid.made()
    for cell in made:
        status = read_status(cell.folder)
        if (status.get("state"), status.get("identity")) == ("finished", cell.identity):
            spent.setdefault((cell.row, cell.data), []).append(status["seconds"])
    ...
