"""What the figures of a table say of its claims, and whether its runs have converged."""

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from lightning_gans.commands.reproduce.paired import LEAST, by_pairs, interval
from lightning_gans.commands.reproduce.results import Results
from lightning_gans.commands.reproduce.tables import Claim, Column, DataSet, Level

OPPOSITE = "the opposite holds"


@dataclass(frozen=True)
class Reached:
    """A level of the budget, and how far a row has come.

    Attributes:
        level: The level.
        data: Name of the data set.
        row: Name of the row.
        column: The column.
        found: Mean over the seeds that have finished; None without any.
    """

    level: Level
    data: str
    row: str
    column: Column
    found: float | None

    @property
    def missed(self) -> bool | None:
        """Whether the level is missed; None: not known yet."""
        return None if self.found is None else self._short > 0

    @property
    def _short(self) -> float:
        least, most, found = self.level.least, self.level.most, self.found or 0.0
        return least - found if least is not None else found - (most or 0.0)

    @property
    def text(self) -> str:
        """What was found, beside what was asked for."""
        digits = self.column.digits
        bound = self.level.most if self.level.least is None else self.level.least
        asked = f"{'most' if self.level.least is None else 'least'} {bound:g} is asked for"
        found = "not known yet" if self.found is None else f"{self.found:.{digits}f}"
        short = f": it misses that by {self._short:.{digits}f}" * bool(self.missed)
        return f"{self.column.name} of {self.row} on {self.data} is {found}, at {asked}{short}"


@dataclass(frozen=True)
class Verdict:
    """What the figures say of a claim on a data set.

    Attributes:
        claim: Its name.
        says: The claim, in a sentence.
        source: Where the paper makes it.
        data: Name of the data set.
        verdict: What came out.
        estimate: Mean over the seeds: of the row, or of its differences from the other row or column.
        low: Lower end of its 95 % interval.
        high: Upper end.
        pairs: Number of seeds.
        why: Why not; or what else has to be known.
    """

    claim: str
    says: str
    source: str
    data: str
    verdict: Literal["holds", "does not hold", "not converged", "not run"]
    estimate: float | None
    low: float | None
    high: float | None
    pairs: int
    why: str

    @property
    def opposite(self) -> bool:
        """Whether the figures say the opposite of the claim, rather than nothing."""
        return self.why.startswith(OPPOSITE)


def levels(results: Results) -> list[Reached]:
    """Return the levels of the budget, for each row and data set that has to reach them."""
    return [x for data in results.grid.budget.data.values() for x in _levels(results, data)]


def _levels(results: Results, data: DataSet) -> Iterator[Reached]:
    run = dict.fromkeys(x.cell.row for x in results.figures if x.cell.data == data.name)
    for name, level in results.grid.budget.levels.items():
        if level.data in (None, data.name) and name in data.columns:
            column = data.columns[name]
            for row in run if level.row is None else [level.row]:
                values = results.values(row, data.name, column)
                yield Reached(level, data.name, row, column, statistics.fmean(values) if values else None)


def verdicts(results: Results) -> list[Verdict]:
    """Return what the figures say of each claim, on each data set that it is about."""
    known = results.grid.budget.data
    return [
        _verdict(results, claim, name)
        for claim in results.grid.table.claims.values()
        for name in (
            [x for x in known if claim.column in known[x].columns] if claim.data is None else [claim.data]
        )
    ]


def verdicts_as_json(results: Results) -> str:
    """Return the verdicts as a list of objects."""
    return json.dumps([asdict(x) for x in verdicts(results)], indent=1) + "\n"


def _verdict(results: Results, claim: Claim, name: str) -> Verdict:
    about = claim.name, claim.says, claim.source, name
    data = results.grid.budget.data.get(name)
    rows, columns = results.grid.table.rows, {} if data is None else data.columns
    column = columns.get(claim.column)
    if data is None or column is None or claim.than not in (None, *rows, *columns):
        return Verdict(*about, "not run", None, None, None, 0, "the budget has no such runs")
    asked = len(results.of(claim.row, name, column))
    if claim.than is None:
        values = results.values(claim.row, name, column)
    else:
        beside = (claim.than, column) if claim.than in rows else (claim.row, columns[claim.than])
        values = by_pairs(results, data, (claim.row, column), beside)
    count = f"{len(values)} of {asked} seeds have figures"
    if len(values) < LEAST:
        why = f"{count}; {LEAST} are needed"
        return Verdict(*about, "not run", None, None, None, len(values), why)
    figures = statistics.fmean(values), *interval(values), len(values)
    reached = list(_levels(results, data))
    if missed := [x.text for x in reached if x.missed]:
        return Verdict(*about, "not converged", *figures, "; ".join(missed))
    if unknown := [x.text for x in reached if x.missed is None]:
        return Verdict(*about, "not run", *figures, "; ".join(unknown))
    said = _against(claim, column, figures[1:3])
    why = "; ".join([*[said] * bool(said), *[count] * (len(values) < asked)])
    return Verdict(*about, "does not hold" if said else "holds", *figures, why)


def _against(claim: Claim, column: Column, ends: Sequence[float]) -> str:
    """Return why a claim does not hold, by the interval of what it is about; nothing if it does."""
    up = claim.above is not None or (claim.than is not None and column.better == "high")
    edge = (claim.by if up else 0.0 - claim.by) if claim.than else claim.above if up else claim.below
    assert edge is not None
    # Seen from below: the claim is of a value above the edge.
    low, high, at = (ends[0], ends[1], edge) if up else (-ends[1], -ends[0], -edge)
    # Better by at least so much, or at most so much worse: that includes the number itself.
    if low > at or (claim.by and low == at):
        return ""
    if high < at:
        return f"{OPPOSITE}: the whole interval is {'below' if up else 'above'} {edge:g}"
    return f"within noise: the interval contains {edge:g}"
