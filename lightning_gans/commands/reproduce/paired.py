"""Differences of a table's rows, or columns, paired by seed: their means, and how sure they are."""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from itertools import product

from lightning_gans.commands.reproduce.results import Results
from lightning_gans.commands.reproduce.tables import Column, DataSet

LEAST = 3  # pairs; the interval of two is so wide that it says nothing


@dataclass(frozen=True)
class Difference:
    """What a row (or column) has more than its baseline, of the same seeds.

    Attributes:
        data: Name of the data set.
        row: Name of the row.
        column: Name of the column.
        baseline: Name of the row or column that is taken off.
        pairs: Number of seeds of which both have a figure.
        difference: Mean of the differences.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    data: str
    row: str
    column: str
    baseline: str
    pairs: int
    difference: float
    low: float
    high: float

    @property
    def within_noise(self) -> bool:
        """Whether the interval contains 0."""
        return self.low <= 0 <= self.high


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return the interval of the mean of normal values, by Student's t with n - 1 degrees of freedom.

    Args:
        values: Two or more.
        level: Share of such intervals that contain the true mean.
    """
    from scipy.stats import t  # slow to import, and a dry run needs none

    half = t.ppf((1 + level) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half


def has_baseline(results: Results) -> bool:
    """Return whether the table has a baseline."""
    grid = results.grid
    columns = (column for data in grid.budget.data.values() for column in data.columns.values())
    return any(row.baseline for row in grid.table.rows.values()) or any(x.baseline for x in columns)


def differences(results: Results, data: DataSet) -> list[Difference]:
    """Return what can be said of a data set: where 3 pairs of runs have finished, or more.

    Rows are compared where the column has a better direction; others, such as ceilings, are no aims.
    """
    found = []
    for row, column in product(results.rows(data), data.columns.values()):
        baselines: list[tuple[str, str, Column]] = []  # each with its row and column
        if row.baseline is not None and column.better is not None:
            baselines.append((row.baseline, row.baseline, column))
        if column.baseline is not None:
            baselines.append((column.baseline, row.name, data.columns[column.baseline]))
        for name, other_row, other_column in baselines:
            values = by_pairs(results, data, (row.name, column), (other_row, other_column))
            if len(values) >= LEAST:
                about = data.name, row.name, column.name, name, len(values)
                found.append(Difference(*about, statistics.fmean(values), *interval(values)))
    return found


def by_pairs(
    results: Results, data: DataSet, which: tuple[str, Column], than: tuple[str, Column]
) -> list[float]:
    """Return the differences of two rows' columns, of the seeds of which both have figures."""
    own, others = _by_seed(results, data, *which), _by_seed(results, data, *than)
    return [own[seed] - others[seed] for seed in own if seed in others]


def _by_seed(results: Results, data: DataSet, row: str, column: Column) -> dict[int, float]:
    return {x.cell.seed: x.value for x in results.of(row, data.name, column) if x.value is not None}


def differences_as_csv(results: Results) -> str:
    """Return a CSV with a line for each difference."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(x.name for x in fields(Difference)), "within_noise"])
    for data in results.grid.budget.data.values():
        for x in differences(results, data):
            writer.writerow([*astuple(x), str(x.within_noise).lower()])
    return file.getvalue()
