"""Fill a paper's table: published figures beside measured ones."""

import argparse
import shlex
import signal
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from lightning_gans import checks
from lightning_gans.commands.parsing import explain
from lightning_gans.commands.reproduce.cells import (
    State,
    duration_of,
    last_line,
    read_status,
    run_cells,
    state,
)
from lightning_gans.commands.reproduce.checking import check
from lightning_gans.commands.reproduce.joint import as_runs
from lightning_gans.commands.reproduce.paired import differences_as_csv, has_baseline
from lightning_gans.commands.reproduce.report import as_csv, as_markdown, duration, measured, plural
from lightning_gans.commands.reproduce.results import Figure, gather, measure
from lightning_gans.commands.reproduce.sweep import reported, write_sweep
from lightning_gans.commands.reproduce.tables import Cell, Grid, Table, load_table, slug, table_names
from lightning_gans.commands.reproduce.verdicts import levels, verdicts, verdicts_as_json
from lightning_gans.files import write_whole

__all__ = ["reproduce", "reproduce_all", "run"]

OUT = "runs/tables"
ALL = "all"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"reproduce: {explain(message, self._option_string_actions)}")


def run(arguments: Sequence[str]) -> None:
    """Run ``lightning-gans reproduce`` with arguments from the command line.

    Raises:
        ValueError: If they do not fit.
    """
    parser = _Parser("lightning-gans reproduce", description=__doc__, allow_abbrev=False)
    what = f"{', '.join(table_names())}; or the path of a YAML file; {ALL}: all that have the budget"
    parser.add_argument("tables", metavar="table", nargs="+", help=what)
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
        options = vars(given)
        tables = options.pop("tables")
        if tables != [ALL] and len(tables) == 1:
            reproduce(tables[0], **options)
            return
        narrowed = [name for name in ("only", "data", "cells", "as_sweep") if options.pop(name)]
        if narrowed:
            raise ValueError(f"--{narrowed[0].replace('_', '-')} is for one table: leave it out, or name one")
        reproduce_all(None if tables == [ALL] else tables, **options)
    except KeyboardInterrupt:
        print("The same command goes on where it stopped")
        raise
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
    """Run the missing cells of a table, and write its figures beside the published ones.

    A run that has finished is not run again, one that was interrupted goes on from its checkpoint, one that
    failed is tried again, and one made before table or recipe were changed is kept beside the new one.
    ``results.csv``, ``table.md`` and the pictures in ``OUT/TABLE/BUDGET`` are written anew each time from all
    runs that are there.

    Args:
        table: Name of a table that comes with the package, or the path of a YAML file.
        budget: Name of one of the table's budgets.
        jobs: Number of processes at a time.
        only: Rows to run. Default: all.
        data: Data sets to run on. Default: all.
        seeds: Seeds to run, in place of the budget's.
        cells: Runs, by their titles, such as "GAN, ring, seed 0". Default: all.
        out: Folder of the results of all tables.
        dry_run: Run nothing; print how each run stands, and the time that the others take.
        as_sweep: Run nothing; write ``sweep.yaml``, whose agents fill the same folder.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If an argument or something in the table does not fit, or there is no such run.
        OSError: If ``out`` cannot be written, or runs have failed. The others are finished, and in the table.
        KeyboardInterrupt: If it was interrupted; the finished runs are in the table.
    """
    checks.at_least(1, jobs=jobs)
    if dry_run and as_sweep:
        raise ValueError("dry_run, as_sweep: give one of them")
    chosen = {"only": ("row", only), "data": ("data", data), "cells": ("title", cells)}
    grid, states = _plan(load_table(table), budget, seeds, out, **chosen)
    wanted, missing = list(states), as_runs(grid, states)
    if dry_run:
        how = f" with {jobs} jobs" * (jobs > 1) + ", seeds as replicas" * any(x.members for x in missing)
        _print_plan(grid, states, f"{_total(grid, missing, jobs)} to go{how}")
        return
    checks.writable_folder(out=grid.folder)
    check(grid, wanted if as_sweep else missing)
    grid.folder.mkdir(parents=True, exist_ok=True)
    if as_sweep:
        command = ["lightning-gans", "reproduce", table, "--budget", budget, "--out", out]
        command += ["--seeds", *map(str, seeds)] if seeds else []
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


def reproduce_all(
    tables: Sequence[str] | None = None,
    budget: str = "quick",
    jobs: int = 1,
    seeds: Sequence[int] | None = None,
    out: str = OUT,
    dry_run: bool = False,
) -> None:
    """Run the missing cells of several tables, one table after the other.

    Args:
        tables: Names, or paths of YAML files. None: all that come with the package and have the budget.
        budget: Name of one of their budgets.
        jobs: Number of processes at a time.
        seeds: Seeds to run, in place of the budget's.
        out: Folder of the results of all tables.
        dry_run: Run nothing; print how many runs of each table are missing, and the time that they take.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If an argument or something in a table does not fit.
        OSError: If ``out`` cannot be written, or runs have failed. The others are finished, of all tables.
        KeyboardInterrupt: If it was interrupted.
    """
    checks.at_least(1, jobs=jobs)
    known = {name: load_table(name) for name in (table_names() if tables is None else tables)}
    if tables is None:
        checks.one_of(sorted({name for table in known.values() for name in table.budgets}), budget=budget)
        known = {name: table for name, table in known.items() if budget in table.budgets}
    plans = {name: _plan(table, budget, seeds, out) for name, table in known.items()}
    if dry_run:
        _print_totals(plans, jobs)
        return
    failed: list[str] = []
    for name in plans:
        try:
            reproduce(name, budget, jobs, seeds=seeds, out=out)
        except (OSError, ValueError) as error:
            failed.append(f"{name}: {error}")
            print(failed[-1], flush=True)
    if failed:
        raise OSError(f"{plural(len(failed), 'table')} of {len(plans)} not finished: {'; '.join(failed)}")


def _plan(
    table: Table,
    budget: str,
    seeds: Sequence[int] | None,
    out: str,
    **asked: tuple[str, Sequence[str] | None],
) -> tuple[Grid, dict[Cell, State]]:
    """Return the grid of a table, and how the runs that are asked for stand."""
    for seed in seeds or ():
        checks.seed(seeds=seed)
    checks.one_of(table.budgets, budget=budget)
    grid = Grid(table, table.budgets[budget], Path(out) / slug(table.name) / slug(budget))
    wanted = _choose(grid, grid.cells(seeds and list(dict.fromkeys(seeds))), **asked)
    return grid, {cell: state(cell) for cell in wanted}


def _choose(grid: Grid, wanted: list[Cell], **asked: tuple[str, Sequence[str] | None]) -> list[Cell]:
    """Select runs; ``asked`` has by an argument's name the attribute of a run and the values to keep."""
    for argument, (what, values) in asked.items():
        known = list(dict.fromkeys(getattr(cell, what) for cell in wanted))
        for value in values or ():
            if value not in known:
                where = f"{grid.table.name} has no such run with budget {grid.budget.name}"
                raise ValueError(f"{argument}={value!r}: {where}: {checks.suggestion(value, known)}")
        wanted = [cell for cell in wanted if values is None or getattr(cell, what) in values]
    return wanted


def _command(table: str, budget: str, out: str) -> str:
    """Return the command that makes the table, without paths of this machine."""
    words = ["lightning-gans", "reproduce", Path(table).name if Path(table).is_file() else table]
    words += ["--budget", budget]
    if Path(out) != Path(OUT) and not Path(out).is_absolute():
        words += ["--out", out]
    return shlex.join(words)


def _expected(grid: Grid, cells: Sequence[Cell]) -> list[float | None]:
    """Return the seconds that runs take: the mean of finished ones of their row and data, or the table's."""
    spent: dict[tuple[str, str], list[float]] = {}
    for cell in grid.made():
        if state(cell, locked=True) == "finished":
            spent.setdefault((cell.row, cell.data), []).append(duration_of(read_status(cell.folder)))
    means = {which: statistics.fmean(seconds) for which, seconds in spent.items()}
    return [
        means[x.row, x.data] * max(1, len(x.members)) if (x.row, x.data) in means else x.seconds
        for x in cells
    ]


def _seconds(grid: Grid, cells: Sequence[Cell], jobs: int) -> float | None:
    """Return the expected seconds of some runs; those without count as the mean of the others."""
    known = [seconds for seconds in _expected(grid, cells) if seconds is not None]
    if not cells or not known:
        return None if cells else 0.0
    return max(statistics.fmean(known) * len(cells) / min(jobs, len(cells)), *known)


def _total(grid: Grid, cells: Sequence[Cell], jobs: int) -> str:
    """Return the expected time of some runs, as text."""
    seconds = _seconds(grid, cells, jobs)
    return "nothing" if not cells else "an unknown time" if seconds is None else f"about {duration(seconds)}"


def _run(grid: Grid, missing: Sequence[Cell], jobs: int) -> list[str]:
    """Run cells and print how each ended; return the errors of those that failed."""
    failed: list[str] = []
    left = list(missing)

    def done(cell: Cell, ended: State, code: int, seconds: float) -> None:
        left.remove(cell)
        if ended == "finished":
            text = ", ".join([duration(seconds), *_scores(grid, cell)])
        elif ended == "running":
            text = "another process runs it"
        else:
            log = cell.folder / "log.txt"
            killed = (
                f"its process was ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            )
            why = (ended == "failed" and last_line(log)) or killed
            failed.append(f"{cell.title} ({why})")
            text = f"{ended}, {why}{f'; see {log}' * log.is_file()}"
        rest = f"; {_total(grid, left, jobs)} left" if left else ""
        print(f"[{len(missing) - len(left)}/{len(missing)}] {cell.title}: {text}{rest}", flush=True)

    if missing:
        runs = f"{plural(len(missing), 'run')}, {_total(grid, missing, jobs)}"
        print(f"{grid.table.name}, budget {grid.budget.name}: {runs}", flush=True)
    run_cells(missing, jobs, done)
    return failed


def _scores(grid: Grid, cell: Cell) -> list[str]:
    """Return what a finished run found, as text: each column over its seeds, or why there is none."""
    figures: dict[str, list[Figure]] = {}
    for member in cell.members or (cell,):
        for figure in measure(grid, member):
            figures.setdefault(figure.column.name, []).append(figure)
    problems = {name: [x.problem for x in own if x.problem] for name, own in figures.items()}
    return [f"{name} {problems[name][0] if problems[name] else measured(x)}" for name, x in figures.items()]


def _write_results(grid: Grid, command: str) -> None:
    from lightning_gans.commands.reproduce.figures import figures

    results = gather(grid)
    write_whole(grid.folder / "results.csv", as_csv(results))
    write_whole(grid.folder / "table.md", as_markdown(results, command))
    names = ["results.csv"]
    if has_baseline(results):
        names.append("differences.csv")
        write_whole(grid.folder / names[-1], differences_as_csv(results))
    if grid.table.claims:
        names.append("verdicts.json")
        write_whole(grid.folder / names[-1], verdicts_as_json(results))
    for name, content in figures(results):
        write_whole(grid.folder / name, content)
        names.append(name)
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    print(*(f"Not converged: {x.text}\n" for x in levels(results) if x.missed), sep="", end="")
    for x in verdicts(results):
        print(f"{x.claim}, {x.data}: {x.verdict}{f' ({x.why})' * bool(x.why)}")
    print(f"The table is in {grid.folder / 'table.md'}, with {listed}", flush=True)


def _print_totals(plans: Mapping[str, tuple[Grid, Mapping[Cell, State]]], jobs: int) -> None:
    total = 0.0
    for name, (grid, states) in plans.items():
        missing = as_runs(grid, states)
        total += _seconds(grid, missing, jobs) or 0.0
        print(f"  {name:25} {_counts(states)}: {_total(grid, missing, jobs)} to go")
    how = f" with {jobs} jobs" * (jobs > 1)
    print(f"\n{plural(len(plans), 'table')}: about {duration(total)} to go{how}")


def _counts(states: Mapping[Cell, State]) -> str:
    return ", ".join(f"{number} {name}" for name, number in Counter(states.values()).items())


def _print_plan(grid: Grid, states: Mapping[Cell, State], rest: str) -> None:
    print(f"{grid.table.title}\nBudget {grid.budget.name}: {grid.budget.describe}\n")
    for (cell, now), expected in zip(states.items(), _expected(grid, list(states)), strict=True):
        seconds = None if now == "finished" else expected
        print(f"  {now:12} {cell.title:50} {'' if seconds is None else duration(seconds)}".rstrip())
    print(f"\n{_counts(states)}: {rest}")
    runnable = {cell.row for cell in grid.cells()}
    print(*(f"{row} is published only\n" for row in grid.table.rows if row not in runnable), sep="", end="")
