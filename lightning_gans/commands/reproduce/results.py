"""The scores of a table's runs: gathered, and averaged.

Every figure is read from a run's ``evaluations.jsonl``. Without a finished run, it is missing.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_gans.commands.reproduce.cells import State, evaluations, state
from lightning_gans.commands.reproduce.tables import Cell, Column, DataSet, Grid, Row

MISSING = "missing"
CORRELATED = 4  # evaluations; of three, one order in six is perfect by chance
OVER: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda values: values[-1],
    "min": min,
    "max": max,
    "mean": statistics.fmean,
    "sd": statistics.pstdev,
}
"""What a column may be of a run's evaluations; ``sd`` is the population's."""


@dataclass(frozen=True)
class Figure:
    """The value of one column for one run.

    Attributes:
        cell: The run.
        column: The column.
        state: State of the run.
        value: None if the run has not finished, or has no finite score.
        evaluations: Number of evaluations that it summarises.
        update: Update of the last of them.
        protocol: Protocol of the last of them, with the numbers of samples.
        problem: Why a run that has finished has no value.
    """

    cell: Cell
    column: Column
    state: State
    value: float | None = None
    evaluations: int | None = None
    update: int | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class Results:
    """The figures of a grid's runs."""

    grid: Grid
    figures: Sequence[Figure]

    def of(self, row: str, data: str, column: Column | None = None) -> list[Figure]:
        """Return the figures of all seeds."""
        own = [x for x in self.figures if (x.cell.row, x.cell.data) == (row, data)]
        return [x for x in own if column in (None, x.column)]

    def values(self, row: str, data: str, column: Column) -> list[float]:
        """Return the values of all seeds."""
        return [x.value for x in self.of(row, data, column) if x.value is not None]

    def finished(self, row: str, data: str) -> list[Cell]:
        """Return the runs that have finished, by seed."""
        cells = {x.cell.folder: x.cell for x in self.of(row, data) if x.state == "finished"}
        return sorted(cells.values(), key=lambda cell: cell.seed)

    def rows(self, data: DataSet) -> list[Row]:
        """Return the rows that have runs or published figures on a data set."""
        return [
            row
            for row in self.grid.table.rows.values()
            if self.of(row.name, data.name)
            or any(self.grid.published(row.name, data.name, column) for column in data.columns)
        ]


def gather(grid: Grid) -> Results:
    """Read the scores of all runs that were made."""
    return Results(grid, [figure for cell in grid.made() for figure in measure(grid, cell)])


def measure(grid: Grid, cell: Cell) -> list[Figure]:
    """Return a cell's figures, from the evaluations of its run; ``problem`` says why one has no value."""
    now = state(cell)
    lines = evaluations(cell.folder) if now == "finished" else []
    columns = grid.budget.data[cell.data].columns.values()
    return [figure_of(cell, x, lines) if now == "finished" else Figure(cell, x, now) for x in columns]


def scored_by(column: Column, lines: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return those of a run's evaluations that have a column's score."""
    return [line for line in lines if column.score in line and column.evaluate in (None, line["name"])]


def figure_of(cell: Cell, column: Column, lines: Sequence[Mapping[str, Any]]) -> Figure:
    """Compute a figure of a finished run from its evaluations."""

    def problem(text: str) -> Figure:
        return Figure(cell, column, "finished", problem=text)

    scores = [x for x in (column.score, column.with_) if x is not None]
    scored = [line for line in scored_by(column, lines) if {*scores} <= {*line}]
    names = sorted({str(line["name"]) for line in scored})
    if len(names) > 1:
        return problem(f"{column.score} is of several callbacks ({', '.join(names)})")
    first = column.at or column.first
    scored = scored[first - 1 : column.at]
    if not scored:
        where = f"evaluation {column.at}" if column.at else "its evaluations"
        return problem(f"there is no {' with '.join(scores)} in {where}")
    used = scored[-1:] if column.over == "last" else scored
    values = [line[column.score] for line in used]
    classes = min((len(value) for value in values if isinstance(value, list)), default=None)
    if classes is not None and (column.of_class is None or column.of_class >= classes):
        return problem(f"{column.score} has classes 0 to {classes - 1}, not {column.of_class}")
    values = [value[column.of_class or 0] if isinstance(value, list) else value for value in values]
    # If an evaluation lacks the score, a minimum or mean over the others is not what the column promises.
    known = all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    why = None if known else f"{column.score} could not be computed in each evaluation"
    value = None
    if column.with_ is not None and known:
        value, why = correlation(values, [line[column.with_] for line in used], scores)
    elif known:
        value = OVER[column.over](values)
    value = None if value is None else float(value) * column.scale
    protocol = {"samples": used[-1]["samples"], **used[-1]["protocol"]}
    return Figure(cell, column, "finished", value, len(used), used[-1]["update"], protocol, why)


def correlation(
    values: Sequence[float], others: Sequence[Any], names: Sequence[str]
) -> tuple[float | None, str | None]:
    """Return Spearman's rank correlation of two scores, or None and why there is none."""
    from scipy.stats import spearmanr  # slow to import, and a dry run needs none

    if len(values) < CORRELATED:
        return None, f"{len(values)} evaluations are too few for a correlation, which needs {CORRELATED}"
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in others):
        return None, f"{names[1]} could not be computed in each evaluation"
    for name, score in zip(names, (values, others), strict=True):
        if len(set(score)) == 1:
            return None, f"{name} is the same in all evaluations: it has no correlation"
    return spearmanr(values, others).statistic, None


def summary(values: Sequence[float]) -> tuple[float, float] | None:
    """Return mean and sample deviation (n - 1) over seeds; the deviation of a single seed is NaN."""
    if not values:
        return None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan
