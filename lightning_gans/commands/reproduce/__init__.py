"""Fill a paper's table: published figures beside measured ones."""

import argparse
import json
import os
import shlex
import signal
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn

import yaml

from lightning_gans.commands.lightning_cli import fit_parser
from lightning_gans.commands.reproduce.cells import (
    State,
    evaluations,
    last_line,
    read_status,
    state,
    write,
)
from lightning_gans.commands.reproduce.cells import run as run_cells
from lightning_gans.commands.reproduce.plot import draw
from lightning_gans.commands.reproduce.results import Figure, as_csv, as_markdown, duration, measure, plural
from lightning_gans.commands.reproduce.tables import (
    Budget,
    Cell,
    Table,
    cells_of,
    hint,
    load_table,
    slug,
    table_names,
)

__all__ = ["reproduce", "run"]

OUT = "runs/tables"


def run(arguments: Sequence[str]) -> None:
    """Run ``lightning-gans reproduce`` with arguments from the command line.

    Raises:
        ValueError: If they do not fit.
    """

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise ValueError(f"reproduce: {message}")

    parser = Parser("lightning-gans reproduce", description=__doc__, allow_abbrev=False)
    parser.add_argument("table", help=f"{', '.join(table_names())}; or the path of a YAML file")
    parser.add_argument("--budget", default="quick", help="quick (default), paper, or another of the table's")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default 1)")
    parser.add_argument("--only", nargs="+", action="extend", metavar="ROW", help="run these rows")
    parser.add_argument("--data", nargs="+", action="extend", metavar="DATA", help="run these data sets")
    parser.add_argument("--seeds", nargs="+", action="extend", type=int, metavar="K", help="run these seeds")
    parser.add_argument(
        "--cells",
        nargs="+",
        action="extend",
        metavar="CELL",
        help="run these, by the names in the plan of --dry-run",
    )
    parser.add_argument("--out", default=OUT, help=f"folder (default {OUT})")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and the time it takes")
    parser.add_argument("--as-sweep", action="store_true", help="write a W&B sweep over the same runs")
    try:
        reproduce(**vars(parser.parse_args(arguments)))
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where it stopped")
        raise SystemExit(130) from None


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
    known = load_table(table)
    chosen = _named("budget", [budget], known.budgets)[0]
    plan = known.budgets[chosen]
    if seeds is not None and (not seeds or min(seeds) < 0):
        raise ValueError(f"seeds={list(seeds)}: give numbers from 0")
    folder = Path(out) / slug(known.name) / slug(plan.name)
    wanted = cells_of(known, plan, folder, None if seeds is None else list(dict.fromkeys(seeds)))
    runnable = {cell.row for cell in wanted}
    for row in _named("only", only, known.rows):
        if row not in runnable:
            raise ValueError(f"only={row}: it is published only, and has no recipe to run")
    _named("data", data, plan.data)
    _named("cells", cells, [cell.title for cell in wanted])
    wanted = [
        cell
        for cell in wanted
        if (only is None or cell.row in only)
        and (data is None or cell.data in data)
        and (cells is None or cell.title in cells)
    ]
    if not wanted and (only or data or cells):
        asked = ", ".join([*(only or ()), *(data or ()), *(cells or ())])
        raise ValueError(f"{asked}: {known.name} has no such run with budget {plan.name}, see --dry-run")
    if as_sweep:
        _writable(out, folder)
        _write_sweep(known, plan, wanted, table, seeds, out, folder)
        return
    states = {cell.folder: state(cell) for cell in wanted}
    missing = [cell for cell in wanted if states[cell.folder] not in ("finished", "running")]
    times = _Times(_all_cells(known, plan, folder))
    if dry_run:
        _print_plan(known, plan, wanted, states, times, jobs)
        return
    _writable(out, folder)
    _check_configs(missing)
    with _sweep_run(known, plan, wanted) as agent:
        failed: list[str] = []
        try:
            failed = _run(known, plan, missing, jobs, times)
        finally:
            figures = _gather(known, plan, folder)
            _write_results(known, plan, figures, folder, _command(table, plan, out))
            if agent is not None:
                _report(agent, wanted[0], figures)
        if failed:  # a W&B run that sees it has failed, too
            raise OSError(f"{len(failed)} of {plural(len(missing), 'run')} failed: {'; '.join(failed)}")


def _command(table: str, budget: Budget, out: str) -> str:
    """Return what makes the table, without anything of this machine."""
    words = ["lightning-gans", "reproduce", Path(table).name if Path(table).is_file() else table]
    words += ["--budget", budget.name]
    if Path(out) != Path(OUT) and not Path(out).is_absolute():
        words += ["--out", out]
    return shlex.join(words)


def _writable(out: str, folder: Path) -> None:
    """Try whether there is a place for what runs make, before they do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"--out {out} cannot be written: {error.strerror}") from error


def _check_configs(cells: Sequence[Cell]) -> None:
    """Look whether ``fit`` accepts what each row is told on each data set."""
    parser: Any = fit_parser() if cells else None
    for cell in {(cell.row, cell.data): cell for cell in cells}.values():
        try:
            parser.parse_object(deepcopy(dict(cell.config)))
        except ValueError as error:
            raise ValueError(f"{cell.row}, {cell.data}: {error}") from error


def _named(argument: str, names: Sequence[str] | None, known: Any) -> list[str]:
    for name in names or ():
        if name not in known:
            raise ValueError(f"{argument}={name} is unknown: {hint(name, known, 'there is')}")
    return list(names or ())


# ---------------------------------------------------------------------- running


class _Times:
    """What runs take: as those of the row that have finished, or else as the table says."""

    def __init__(self, known: Sequence[Cell]) -> None:
        self._rows: dict[tuple[str, str], list[float]] = {}
        for cell in known:
            self.add(cell)

    def add(self, cell: Cell) -> None:
        """Take a run into account, if it has finished."""
        status = read_status(cell.folder)
        if status.get("state") == "finished" and status["identity"] == cell.identity:
            self._rows.setdefault((cell.row, cell.data), []).append(status["seconds"])

    def expected(self, cell: Cell) -> float | None:
        """Return seconds; None if nothing is known."""
        found = self._rows.get((cell.row, cell.data))
        return statistics.fmean(found) if found else cell.seconds

    def total(self, some: Sequence[Cell], jobs: int) -> str:
        """Return what some runs take, to read."""
        seconds = [self.expected(cell) for cell in some]
        known = [value for value in seconds if value is not None]
        if not some:
            return "nothing"
        if not known:
            return "an unknown time"
        # Runs without an expected time take as long as the others.
        total = statistics.fmean(known) * len(some) / min(jobs, len(some))
        return f"about {duration(max(total, max(known)))}"


def _run(table: Table, budget: Budget, missing: Sequence[Cell], jobs: int, times: _Times) -> list[str]:
    """Run cells and report each; return what is wrong with those that failed."""
    failed: list[str] = []
    left = list(missing)

    def done(cell: Cell, ended: State, code: int, seconds: float) -> None:
        left.remove(cell)
        times.add(cell)
        place = f"[{len(missing) - len(left)}/{len(missing)}] {cell.title}"
        rest = f"; {times.total(left, jobs)} left" if left else ""
        if ended == "finished":
            figures = measure(cell, ended, budget.data[cell.data].columns.values())
            scores = [
                f"{x.column.name} "
                + (x.problem or "" if x.value is None else f"{x.value:.{x.column.digits}f}")
                for x in figures
            ]
            print(f"{place}: {duration(seconds)}, {', '.join(scores)}{rest}", flush=True)
        elif ended == "running":
            print(f"{place}: another process runs it{rest}", flush=True)
        else:
            log = cell.folder / "log.txt"
            why = last_line(log) if ended == "failed" and log.is_file() else _end(code)
            see = f"; see {log}" if log.is_file() else ""
            failed.append(f"{cell.title} ({why})")
            print(f"{place}: {ended}, {why}{see}{rest}", flush=True)

    if missing:
        print(
            f"{table.name}, budget {budget.name}: {plural(len(missing), 'run')}, "
            f"{times.total(missing, jobs)}",
            flush=True,
        )
    run_cells(missing, jobs, done)
    return failed


def _end(code: int) -> str:
    """Say how a process ended that did not get to say so itself."""
    return f"exit code {code}" if code >= 0 else f"its process was ended by {signal.Signals(-code).name}"


def _all_cells(table: Table, budget: Budget, folder: Path) -> list[Cell]:
    """Return the budget's runs, and those with other seeds that have been made."""
    found = {
        int(number)
        for path in folder.glob("*/*/seed=*")
        if (number := path.name.removeprefix("seed=")).isdigit()
    }
    others = cells_of(table, budget, folder, sorted(found - set(budget.seeds)))
    return [*cells_of(table, budget, folder), *(cell for cell in others if cell.folder.is_dir())]


def _gather(table: Table, budget: Budget, folder: Path) -> list[Figure]:
    return [
        figure
        for cell in _all_cells(table, budget, folder)
        for figure in measure(cell, state(cell), budget.data[cell.data].columns.values())
    ]


def _write_results(table: Table, budget: Budget, figures: Sequence[Figure], folder: Path, words: str) -> None:
    write(folder / "results.csv", as_csv(table, budget, figures, folder))
    write(folder / "table.md", as_markdown(table, budget, figures, words))
    write(folder / "plot.png", draw(table, budget, figures))
    print(f"The table is in {folder / 'table.md'}, with results.csv and plot.png", flush=True)


def _print_plan(
    table: Table,
    budget: Budget,
    wanted: Sequence[Cell],
    states: dict[Path, State],
    times: _Times,
    jobs: int,
) -> None:
    print(f"{table.title}\nBudget {budget.name}: {budget.describe}\n")
    for cell in wanted:
        now = states[cell.folder]
        seconds = times.expected(cell)
        expected = "" if now == "finished" or seconds is None else duration(seconds)
        print(f"  {now:12} {cell.title:50} {expected}".rstrip())
    counts = Counter(states.values())
    missing = [cell for cell in wanted if states[cell.folder] not in ("finished", "running")]
    print(f"\n{', '.join(f'{n} {name}' for name, n in counts.items())}: {times.total(missing, jobs)} to go"
          f"{f' with {jobs} jobs' if jobs > 1 else ''}")  # fmt: skip
    for row in table.rows:
        if all(cell.row != row for cell in cells_of(table, budget, Path())):
            print(f"{row} is published only")


# ---------------------------------------------------------------------- W&B sweeps


def _write_sweep(
    table: Table,
    budget: Budget,
    wanted: Sequence[Cell],
    name: str,
    seeds: Sequence[int] | None,
    out: str,
    folder: Path,
) -> None:
    """Write a grid whose agents run this command, a cell each, into the same folder."""
    columns = next(iter(budget.data.values())).columns.values()
    goal = next((column for column in columns if column.better), None)
    goals = {"high": "maximize", "low": "minimize"}
    sweep: dict[str, Any] = {
        "program": "lightning-gans",
        "name": f"{table.name} {budget.name}",
        "description": f"{table.title}. {budget.describe}",
        "method": "grid",
    }
    if goal is not None and goal.better is not None:
        sweep["metric"] = {"name": goal.name, "goal": goals[goal.better]}
    sweep["parameters"] = {"cells": {"values": [cell.title for cell in wanted]}}
    options = ["--budget", budget.name, "--out", out]
    options += [] if seeds is None else ["--seeds", *map(str, seeds)]
    sweep["command"] = ["${env}", "lightning-gans", "reproduce", name, *options, "${args}"]
    path = folder / "sweep.yaml"
    write(path, yaml.safe_dump(sweep, sort_keys=False, allow_unicode=True))
    print(f"{plural(len(wanted), 'run')}: {path}")
    print(f"Start with: wandb sweep {path}; then wandb agent ID on each machine")


@contextmanager
def _sweep_run(table: Table, budget: Budget, wanted: Sequence[Cell]) -> Iterator[Any]:
    """Open the W&B run that an agent expects of each of its calls."""
    if "WANDB_SWEEP_ID" not in os.environ or len(wanted) != 1:
        yield None
        return
    import wandb

    cell = wanted[0]
    about = {"table": table.name, "budget": budget.name, "row": cell.row, "identity": cell.identity}
    with wandb.init(config=about) as agent:
        yield agent


def _report(agent: Any, cell: Cell, figures: Sequence[Figure]) -> None:
    """Send an agent's cell to W&B: each evaluation, and the table's figures."""
    for line in evaluations(cell.folder):
        scores: dict[str, float] = {}
        for key, value in line.items():
            parts = (
                {f"{key}/{k}": x for k, x in enumerate(value)} if isinstance(value, list) else {key: value}
            )
            scores |= {name: x for name, x in parts.items() if isinstance(x, int | float)}
        del scores["update"]
        prefix = f"{line['name']}/" if line["name"] else ""
        agent.log({"update": line["update"], **{f"{prefix}{key}": value for key, value in scores.items()}})
    for figure in figures:
        if figure.cell.folder == cell.folder:
            agent.summary[figure.column.name] = figure.value
            agent.summary["state"] = figure.state
    agent.summary["status"] = json.dumps(read_status(cell.folder))
