"""What the runs of a table's cells scored: gathered, averaged, and shown beside what was published.

Every figure is read from a run's ``evaluations.jsonl``. Where no finished run is behind it, it is missing.
"""

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_gans.commands.reproduce.cells import State, evaluations, read_status
from lightning_gans.commands.reproduce.tables import Budget, Cell, Column, DataSet, Row, Table

MISSING = "missing"
HEADS = (
    "row", "data", "seed", "column", "measured", "published", "published_sd", "comparable", "state", "update",
    "evaluations", "samples", "extractor", "hash", "seconds", "folder",
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A column of a cell.

    Attributes:
        cell: The run.
        column: The column.
        state: Of the run.
        value: None if the run has not finished, or has no finite score.
        evaluations: How many it is over.
        update: Of the last of them.
        protocol: Of the last of them, with the numbers of samples.
        problem: Why a run that has finished has no value.
    """

    cell: Cell
    column: Column
    state: State
    value: float | None = None
    evaluations: int = 0
    update: int | None = None
    protocol: Mapping[str, Any] | None = None
    problem: str | None = None


def measure(cell: Cell, state: State, columns: Iterable[Column]) -> list[Figure]:
    """Return a cell's figures, from the evaluations of its run. What is wrong with one is its ``problem``."""
    lines = evaluations(cell.folder) if state == "finished" else []
    return [_figure(cell, state, column, lines) for column in columns]


def _figure(cell: Cell, state: State, column: Column, lines: Sequence[Mapping[str, Any]]) -> Figure:
    if state != "finished":
        return Figure(cell, column, state)
    scored = [line for line in lines if column.score in line and column.evaluate in (None, line["name"])]
    names = {str(line["name"]) for line in scored}
    if len(names) > 1:
        callbacks = ", ".join(sorted(names))
        return Figure(cell, column, state, problem=f"{column.score} is of several callbacks ({callbacks})")
    scored = scored[column.first - 1 :]
    if not scored:
        return Figure(cell, column, state, problem=f"there is no {column.score} in its evaluations")
    last = scored[-1]
    try:
        values = [_value(line[column.score], column) for line in scored]
    except ValueError as error:
        return Figure(cell, column, state, problem=str(error))
    # A score that could not be computed leaves nothing that the smallest or the mean could be of.
    used = values[-1:] if column.over == "last" else values
    known = [value for value in used if value is not None]
    return Figure(
        cell,
        column,
        state,
        over(column.over, known) if len(known) == len(used) else None,
        len(used),
        last["update"],
        {"samples": last["samples"], **last["protocol"]},
        None if len(known) == len(used) else f"{column.score} could not be computed in each evaluation",
    )


def _value(score: Any, column: Column) -> float | None:
    if isinstance(score, list):
        if column.of_class is None or column.of_class >= len(score):
            raise ValueError(
                f"{column.score} has classes 0 to {len(score) - 1}, and class is {column.of_class}"
            )
        score = score[column.of_class]
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else None


def over(how: str, values: Sequence[float]) -> float:
    """Return the last, smallest, largest or mean value, or the deviation of the population."""
    functions: dict[str, Callable[[Sequence[float]], float]] = {
        "last": lambda given: given[-1],
        "min": min,
        "max": max,
        "mean": statistics.fmean,
        "sd": statistics.pstdev,
    }
    return functions[how](values)


def summary(values: Sequence[float]) -> tuple[float, float] | None:
    """Return mean and deviation over seeds: that of a sample, n - 1; NaN for a single seed."""
    if not values:
        return None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


# ---------------------------------------------------------------------- results.csv


def as_csv(table: Table, budget: Budget, figures: Sequence[Figure], out: Path) -> str:
    """Return a line a figure, and one for each that is published only."""
    file = io.StringIO()
    writer = csv.DictWriter(file, HEADS, lineterminator="\n")
    writer.writeheader()
    seconds = {figure.cell.folder: read_status(figure.cell.folder).get("seconds") for figure in figures}
    for figure in figures:
        cell, protocol = figure.cell, figure.protocol or {}
        published, deviation = published_figure(table, budget, cell.row, cell.data, figure.column.name)
        spent = seconds[cell.folder] if figure.state == "finished" else None
        entries = {
            "row": cell.row,
            "data": cell.data,
            "seed": cell.seed,
            "column": figure.column.name,
            "measured": figure.value,
            "published": published,
            "published_sd": deviation,
            "comparable": _comparable(budget, published),
            "state": figure.state,
            "update": figure.update,
            "evaluations": figure.evaluations or None,
            "samples": protocol.get("samples"),
            "extractor": protocol.get("extractor"),
            "hash": protocol.get("hash"),
            "seconds": None if spent is None else round(spent, 1),
            "folder": cell.folder.relative_to(out).as_posix(),
        }
        writer.writerow(entries)
    run = {(figure.cell.row, figure.cell.data) for figure in figures}
    for row in table.rows.values():
        for data in budget.data.values():
            for name in data.columns if (row.name, data.name) not in run else ():
                published, deviation = published_figure(table, budget, row.name, data.name, name)
                if published is not None:
                    entries = {
                        "row": row.name,
                        "data": data.name,
                        "column": name,
                        "published": published,
                        "published_sd": deviation,
                        "comparable": _comparable(budget, published),
                        "state": MISSING,
                    }
                    writer.writerow(entries)
    return file.getvalue()


def _comparable(budget: Budget, published: float | None) -> str | None:
    return None if published is None else str(budget.comparable).lower()


def published_figure(
    table: Table, budget: Budget, row: str, data: str, column: str
) -> tuple[float | None, float | None]:
    """Return what the paper says, and its deviation, for a data set or that which it stands for."""
    return table.rows[row].published.get(budget.data[data].stands_for, {}).get(column, (None, None))


# ---------------------------------------------------------------------- table.md


def as_markdown(table: Table, budget: Budget, figures: Sequence[Figure], command: str) -> str:
    """Return the table: measured mean and deviation over seeds, beside published."""
    lines = [f"# {table.title}", "", f"Source: {table.source}. Budget `{budget.name}`: {budget.describe}"]
    if table.compares and not budget.comparable:
        lines += ["", f"**Not comparable with the published figures:** {budget.note}"]
    elif budget.note:
        lines += ["", budget.note]
    for data in budget.data.values():
        lines += ["", f"## {data.name}", "", *_of_data(table, budget, data, figures)]
    lines += ["", *(f"- {note}" for note in _notes(table, budget, figures)), ""]
    lines += ["```bash", command, "```", ""]
    return "\n".join(lines)


def _of_data(table: Table, budget: Budget, data: DataSet, figures: Sequence[Figure]) -> list[str]:
    rows = [row for row in table.rows.values() if shown(row, data, figures)]
    columns = list(data.columns.values())
    beside = {
        column.name
        for column in columns
        if any(column.name in row.published.get(data.stands_for, {}) for row in rows)
    }
    heads = [""]
    for column in columns:
        heads += [column.name + {"high": " ↑", "low": " ↓", None: ""}[column.better]]
        stands_for = "" if data.stands_for == data.name else f" ({data.stands_for})"
        heads += [f"published{stands_for}"] * (column.name in beside)
    lines = [_line(heads), _line(["---"] + ["--:"] * (len(heads) - 1))]
    best = {column.name: _best(column, data, rows, figures) for column in columns}
    # Where rows have different numbers of seeds, each says how many.
    counts = {
        len(values)
        for column in columns
        for row in rows
        if (values := values_of(figures, row.name, data.name, column))
    }
    for row in rows:
        entries = [row.name]
        for column in columns:
            own = [x for x in figures if (x.cell.row, x.cell.data) == (row.name, data.name)]
            text = _measured(column, [x for x in own if x.column == column], len(counts) > 1)
            entries += [f"**{text}**" if row.name == best[column.name] else text]
            if column.name in beside:
                entries += [_published(column, row.published.get(data.stands_for, {}).get(column.name))]
        lines.append(_line(entries))
    return lines


def _line(entries: Iterable[str]) -> str:
    return f"| {' | '.join(entry.replace('|', chr(92) + '|') for entry in entries)} |"


def shown(row: Row, data: DataSet, figures: Sequence[Figure]) -> bool:
    """Whether a row has a place on a data set: runs, or published figures."""
    runs = any((x.cell.row, x.cell.data) == (row.name, data.name) for x in figures)
    return runs or bool(row.published.get(data.stands_for))


def values_of(figures: Iterable[Figure], row: str, data: str, column: Column) -> list[float]:
    """Return the values of all seeds."""
    key = row, data, column
    return [x.value for x in figures if (x.cell.row, x.cell.data, x.column) == key and x.value is not None]


def _best(column: Column, data: DataSet, rows: Sequence[Row], figures: Sequence[Figure]) -> str | None:
    """Return the row that is ahead, if rows have means of equally many seeds."""
    found = {row.name: values_of(figures, row.name, data.name, column) for row in rows}
    found = {name: values for name, values in found.items() if values}
    if column.better is None or len(found) < 2 or len({len(values) for values in found.values()}) > 1:
        return None
    means = {name: statistics.fmean(values) for name, values in found.items()}
    best = (max if column.better == "high" else min)(means.values())
    names = [name for name, mean in means.items() if round(mean - best, column.digits) == 0]
    return names[0] if len(names) == 1 else None


def _measured(column: Column, figures: Sequence[Figure], counted: bool) -> str:
    values = [figure.value for figure in figures if figure.value is not None]
    found = summary(values)
    if found is None:  # such as the score of a class in which no sample falls
        return "no score" if any(figure.state == "finished" for figure in figures) else MISSING
    mean, deviation = found
    text = f"{mean:.{column.digits}f}"
    if not math.isnan(deviation):
        text += f" ± {deviation:.{column.digits}f}"
    if len(values) < len(figures):
        text += f" ({len(values)} of {plural(len(figures), 'seed')})"
    elif counted:
        text += f" ({plural(len(values), 'seed')})"
    return text


def _published(column: Column, pair: tuple[float, float | None] | None) -> str:
    if pair is None:
        return "–"  # noqa: RUF001 - an empty place, not a minus
    value, deviation = (None if x is None else f"{x:.{column.digits}f}" for x in pair)
    return f"{value}" if deviation is None else f"{value} ± {deviation}"


def _notes(table: Table, budget: Budget, figures: Sequence[Figure]) -> list[str]:
    cells = {figure.cell.folder: figure.state for figure in figures}
    finished = [folder for folder, state in cells.items() if state == "finished"]
    seeds = sorted({figure.cell.seed for figure in figures if figure.value is not None})
    notes = [f"{len(finished)} of {plural(len(cells), 'run')} finished"]
    if seeds:
        notes[0] += f" (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"
    notes[0] += "."
    if len(seeds) > 1:
        notes[0] += " Measured: mean ± standard deviation over seeds (of a sample, n - 1)."
    others = [x for x in ("failed", "interrupted", "running", "stale") if x in cells.values()]
    if others:
        notes.append("; ".join(f"{list(cells.values()).count(x)} {x}" for x in others) + ".")
    problems: dict[str, list[str]] = {}
    for figure in figures:
        if figure.problem is not None:
            problems.setdefault(f"{figure.column.name}: {figure.problem}", []).append(figure.cell.title)
    notes += [f"No score for {text} ({'; '.join(titles)})." for text, titles in problems.items()]
    for first in sorted({figure.column.first for figure in figures if figure.column.over != "last"}):
        ways = {x.column.over for x in figures if x.column.first == first} - {"last"}
        some = "the evaluations of a run" if first == 1 else f"a run's evaluations from number {first} on"
        sd = "; sd is the population's" if "sd" in ways else ""
        notes.append(f"{', '.join(sorted(ways))}: over {some}{sd}.")
    notes += _protocols(budget, figures)
    statuses = [read_status(folder) for folder in finished]
    if statuses:
        machines = sorted({f"{x['device']}, {plural(x['threads'], 'thread')} a run" for x in statuses})
        programs = {
            ", ".join(f"{name} {x[name]}" for name in ("lightning-gans", "torch", "lightning"))
            for x in statuses
        }
        spent = [x["seconds"] for x in statuses]
        notes.append(f"On {'; '.join(machines)}. {'; '.join(sorted(programs))}.")
        notes.append(f"{duration(sum(spent))} in all, {duration(statistics.fmean(spent))} a run.")
    rows = [f"{row.name}: {row.note}" for row in table.rows.values() if row.note]
    absent = {row for row in table.rows if all(figure.cell.row != row for figure in figures)}
    listed = {row for row in absent if any(shown(table.rows[row], x, figures) for x in budget.data.values())}
    rows += [
        f"{name}: published only." for name in table.rows if name in listed and not table.rows[name].note
    ]
    return [*notes, *table.notes, *rows]


def _protocols(budget: Budget, figures: Sequence[Figure]) -> list[str]:
    """Say how each column was scored, and where rows were scored differently."""
    ways: dict[tuple[str, str], dict[str, None]] = {}
    for figure in figures:
        if figure.protocol is not None:
            way = _protocol(figure.protocol)
            ways.setdefault((figure.cell.data, figure.column.name), {})[way] = None
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for (data, column), found in ways.items():
        groups.setdefault(tuple(found), {}).setdefault(data, []).append(column)
    notes = []
    for scored, columns in groups.items():
        names = [
            data if len(own) == len(budget.data[data].columns) else f"{data} ({', '.join(own)})"
            for data, own in columns.items()
        ]
        warning = " **Not all runs were scored the same way.**" if len(scored) > 1 else ""
        notes.append(f"{', '.join(names)}: {'; or '.join(scored)}.{warning}")
    return notes


def _protocol(protocol: Mapping[str, Any]) -> str:
    parts = [f"{protocol['samples']:,} samples"]
    real = protocol.get("real")
    if isinstance(real, Mapping) and "n" in real:
        parts[0] += f", {real['n']:,} real"
    parts += [
        f"{name} {protocol[name]}" for name in ("extractor", "hash", "resize", "weights") if name in protocol
    ]
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration to read."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plural(number: int, noun: str) -> str:
    """Return a number of things, to read."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
