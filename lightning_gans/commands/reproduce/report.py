"""What a table's runs have found, as a list and as a table beside the published figures."""

import csv
import io
import math
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from lightning_gans.commands.reproduce.cells import PROGRAMS, SPENT, duration_of, evaluations, read_status
from lightning_gans.commands.reproduce.paired import differences
from lightning_gans.commands.reproduce.results import MISSING, Figure, Results, summary
from lightning_gans.commands.reproduce.tables import Cell, Column, DataSet
from lightning_gans.commands.reproduce.verdicts import levels, verdicts

ARROWS = {"high": " ↑", "low": " ↓", None: ""}
CLAIMED = (
    "A claim holds if the whole 95 % interval (Student's t over the seeds) is on its side. Estimates are "
    "means of the row, or, where it is said to be better than another, of its differences from that, paired "
    "by seed."
)
OFF = 2  # factor between expected and measured seconds from which on a row is named
SHOWN = ("epochs", "rejection")  # numbers of a protocol in which columns may differ

# ---------------------------------------------------------------------- results.csv


def as_csv(results: Results) -> str:
    """Return a CSV with a line for each figure, and for each that is only published."""
    grid, lines = results.grid, list[dict[str, Any]]()
    for data in grid.budget.data.values():
        for row, column in product(results.rows(data), data.columns.values()):
            published = grid.published(row.name, data.name, column.name)
            value, deviation = published or (None, None)
            absent = Figure(Cell(row.name, data.name, -1, {}, grid.folder), column, MISSING)
            for x in results.of(row.name, data.name, column) or [absent] * bool(published):
                status = read_status(x.cell.folder) if x.state == "finished" else {}
                line = {"row": row.name, "data": data.name, "seed": x.cell.seed, "column": column.name}
                line |= {"measured": x.value, "published": value, "published_sd": deviation}
                comparable = bool(grid.budget.comparable and column.comparable)
                line |= {"comparable": published and str(comparable).lower()}
                line |= {"state": x.state, "update": x.update, "evaluations": x.evaluations}
                line |= {name: x.protocol.get(name) for name in ("samples", "extractor", "hash")}
                # Runs of older versions have the first alone.
                line |= {name: round(status[name], 1) if name in status else None for name in SPENT}
                line |= {name: status.get(name) for name in ("date", "revision")}
                line |= {"folder": x.cell.folder.relative_to(grid.folder).as_posix()}
                line |= {"seed": None, "folder": None} if x is absent else {}
                lines.append(line)
    file = io.StringIO()
    writer = csv.DictWriter(file, lines[0] if lines else (), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


# ---------------------------------------------------------------------- table.md


def as_markdown(results: Results, command: str) -> str:
    """Return the table: measured mean and deviation over seeds, beside published."""
    table, budget = results.grid.table, results.grid.budget
    lines = [f"# {table.title}", "", f"Source: {table.source}. Budget `{budget.name}`: {budget.describe}"]
    if table.compares and not budget.comparable:
        lines += ["", f"**Not comparable with the published figures:** {budget.note}"]
    elif budget.note:
        lines += ["", budget.note]
    lines += _claims(results)
    for data in budget.data.values():
        lines += ["", f"## {data.name}", "", *_of_data(results, data), *_paired(results, data)]
    lines += ["", *(f"- {note}" for note in _notes(results)), "", "```bash", command, "```", ""]
    return "\n".join(lines)


def _claims(results: Results) -> list[str]:
    """Return the lines of what the table's claims come to, and whether its levels are reached."""
    found, reached = verdicts(results), levels(results)
    lines = [f"**Not converged**: {x.text}." for x in reached if x.missed]
    met = "; ".join(x.text for x in reached if x.missed is False)
    lines += [f"Converged: {met}."] if met and not lines else []
    text = [part for line in lines for part in (line, "")]
    if found:
        text += [as_line(["claim", "source", "data", "verdict", "estimate", "95 % interval", "seeds", ""])]
        text += [as_line(["---"] * 4 + ["--:"] * 3 + ["---"])]
    for x in found:
        mean = between = ""
        if x.estimate is not None:
            columns = results.grid.budget.data[x.data].columns
            digits = columns[results.grid.table.claims[x.claim].column].digits
            mean, between = f"{x.estimate:.{digits}f}", f"{x.low:.{digits}f} to {x.high:.{digits}f}"
        text.append(
            as_line([x.says, x.source, x.data, f"**{x.verdict}**", mean, between, str(x.pairs), x.why])
        )
    if found:
        text += ["", CLAIMED]
    return ["", "## Claims", "", *text] if text else []


def _of_data(results: Results, data: DataSet) -> list[str]:
    grid, rows, columns = results.grid, results.rows(data), data.columns.values()
    found = {(r.name, c.name): results.values(r.name, data.name, c) for r in rows for c in columns}
    # If rows have different numbers of seeds, each shows its own.
    counted = len({len(values) for values in found.values() if values}) > 1
    heads, entries = [""], [[row.name] for row in rows]
    for column in columns:
        best = _best(column, {row.name: found[row.name, column.name] for row in rows})
        published = [grid.published(row.name, data.name, column.name) for row in rows]
        beside = any(published)
        heads += [column.name + ARROWS[column.better]]
        about = [data.stands_for] if data.stands_for != data.name else []
        about += [] if column.comparable else ["not comparable"]
        heads += [f"published ({', '.join(about)})" if about else "published"] * beside
        for row, pair, line in zip(rows, published, entries, strict=True):
            text = measured(results.of(row.name, data.name, column), counted)
            line += [f"**{text}**" if row.name == best else text]
            line += [as_pair(column, pair) if pair else "–"] * beside  # noqa: RUF001 - a dash for an empty cell, no minus
    return [as_line(heads), as_line(["---"] + ["--:"] * (len(heads) - 1)), *map(as_line, entries)]


def _paired(results: Results, data: DataSet) -> list[str]:
    """Return the lines of a table of differences from baselines; none if there are too few pairs of runs."""
    found = differences(results, data)
    heads = ["row", "column", "baseline", "difference", "95 % interval", "pairs", ""]
    lines = ["", "Differences from the baseline, paired by seed:", ""] * bool(found)
    lines += [as_line(heads), as_line(["---"] * 3 + ["--:"] * 3 + ["---"])] * bool(found)
    for x in found:
        digits = data.columns[x.column].digits
        mean, low, high = (f"{value:+.{digits}f}" for value in (x.difference, x.low, x.high))
        said = (
            "within noise: the interval contains 0" if x.within_noise else "higher" if x.low > 0 else "lower"
        )
        lines.append(as_line([x.row, x.column, x.baseline, mean, f"{low} to {high}", str(x.pairs), said]))
    return lines


def as_line(entries: Iterable[str]) -> str:
    """Return a line of a table in Markdown."""
    return f"| {' | '.join(entry.replace('|', chr(92) + '|') for entry in entries)} |"


def _best(column: Column, found: Mapping[str, Sequence[float]]) -> str | None:
    """Return the row with the best mean, if all rows have equally many seeds."""
    means = {row: statistics.fmean(values) for row, values in found.items() if values}
    if column.better is None or len(means) < 2 or len({len(found[row]) for row in means}) > 1:
        return None
    best = (max if column.better == "high" else min)(means.values())
    names = [name for name, mean in means.items() if round(mean - best, column.digits) == 0]
    return names[0] if len(names) == 1 else None


def measured(figures: Sequence[Figure], counted: bool = False) -> str:
    """Return mean and deviation of a column over seeds, as text; ``counted``: with their number."""
    values = [figure.value for figure in figures if figure.value is not None]
    pair = summary(values)
    if pair is None:  # the score of a class without samples, for example
        return "no score" if any(figure.state == "finished" for figure in figures) else MISSING
    text = as_pair(figures[0].column, pair)
    if len(values) < len(figures):
        return f"{text} ({len(values)} of {plural(len(figures), 'seed')})"
    return f"{text} ({plural(len(values), 'seed')})" if counted else text


def as_pair(column: Column, pair: tuple[float, float | None]) -> str:
    """Return a figure and its deviation as text, with the column's digits."""
    value, deviation = pair
    text = f"{value:.{column.digits}f}"
    return text if deviation is None or math.isnan(deviation) else f"{text} ± {deviation:.{column.digits}f}"


def _notes(results: Results) -> list[str]:
    table, figures = results.grid.table, results.figures
    states = {figure.cell.folder: figure.state for figure in figures}
    counts = Counter(states.values())
    seeds = sorted({figure.cell.seed for figure in figures if figure.value is not None})
    named = f" (seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})" if seeds else ""
    how = " Measured: mean ± standard deviation over seeds (of a sample, n - 1)." * (len(seeds) > 1)
    notes = [f"{counts['finished']} of {plural(len(states), 'run')} finished{named}.{how}"]
    others = [f"{number} {name}" for name, number in counts.items() if name not in ("finished", MISSING)]
    notes += [f"{'; '.join(others)}."] if others else []
    problems: dict[str, list[str]] = {}
    for figure in figures:
        if figure.problem is not None:
            problems.setdefault(f"{figure.column.name}: {figure.problem}", []).append(figure.cell.title)
    notes += [f"No score for {text} ({'; '.join(titles)})." for text, titles in problems.items()]
    if any(differences(results, data) for data in results.grid.budget.data.values()):
        notes.append(
            "Differences: means over the seeds of which both runs have finished, and the 95 % interval of "
            "Student's t; each by itself, not corrected for their number."
        )
    columns = {(x.column.first, x.column.over, x.column.with_ or "") for x in figures}
    for first, how, other in sorted(columns):
        if how == "last":
            continue
        what = {"sd": "sd (of the population)", "correlation": f"Spearman's rank correlation with {other}"}
        text = f"{what.get(how, how)}: over the evaluations of a run"
        notes.append(f"{text}{f' from number {first} on' * (first > 1)}.")
    notes += _protocols(results)
    statuses = [read_status(folder) for folder, now in states.items() if now == "finished"]
    if statuses:
        machines = {f"{x['device']}, {plural(x['threads'], 'thread')} a run" for x in statuses}
        programs = {", ".join(f"{name} {x[name]}" for name in PROGRAMS) for x in statuses}
        notes.append(f"On {'; '.join(sorted(machines))}. {'; '.join(sorted(programs))}.")
        if revisions := {x["revision"]: None for x in statuses if "revision" in x}:
            days = sorted({x["date"][:10] for x in statuses if "date" in x})
            notes.append(f"Run {' to '.join(dict.fromkeys((days[0], days[-1])))} at {', '.join(revisions)}.")
        notes += [*_times(results), *_share_of_classifiers(results)]
    shown = {row.name for data in results.grid.budget.data.values() for row in results.rows(data)}
    shown -= {figure.cell.row for figure in figures}
    about = {row.name: row.note or "published only." * (row.name in shown) for row in table.rows.values()}
    return [*notes, *table.notes, *(f"{name}: {note}" for name, note in about.items() if note)]


def _times(results: Results) -> list[str]:
    """Return lines with the time that the runs took, beside what the table expects."""
    cells = {x.cell.folder: x.cell for x in results.figures if x.state == "finished"}
    statuses = {folder: read_status(folder) for folder in cells}
    took = {folder: duration_of(status) for folder, status in statuses.items()}
    of_processor = all(took[folder] < status["seconds"] for folder, status in statuses.items())
    text = f"{_total(took.values())}{' (of the processor)' * of_processor}"
    expected = [x.seconds for x in cells.values() if x.seconds is not None]
    if len(expected) < len(cells):
        return [f"{text}."]
    by_row: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells.values():
        by_row.setdefault((cell.row, cell.data), []).append(cell)
    others = []
    for (row, data), own in by_row.items():
        measured, wanted = statistics.fmean(took[x.folder] for x in own), own[0].seconds or 0.0
        if max(measured, wanted) > OFF * min(measured, wanted):
            others.append(f"{row}, {data} ({duration(measured)}, not {duration(wanted)})")
    wrong = f"Other times than the table expects, by more than a factor of {OFF}: {'; '.join(others)}."
    return [f"{text}; by the table {_total(expected)}.", *[wrong] * bool(others)]


def _total(seconds: Collection[float]) -> str:
    return f"{duration(sum(seconds))} in all, {duration(statistics.fmean(seconds))} a run"


def _share_of_classifiers(results: Results) -> list[str]:
    """Return a line with the part of the runs' seconds in which classifiers were trained, if they were."""
    shares = []
    for data in results.grid.budget.data.values():
        for row in results.rows(data):
            folders = [cell.folder for cell in results.finished(row.name, data.name)]
            lines = [line for folder in folders for line in evaluations(folder)]
            if seconds := sum(line.get("classifier_seconds", 0.0) for line in lines):
                share = seconds / sum(read_status(folder)["seconds"] for folder in folders)
                shares.append(f"{share:.0%} of {row.name}, {data.name}".replace("%", " %"))
    return [f"Fitting capacity took of the seconds of the runs: {'; '.join(shares)}."] if shares else []


def _protocols(results: Results) -> list[str]:
    """Return lines that say how each column was scored, and which rows were scored differently."""
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    data_sets = results.grid.budget.data
    for data in data_sets.values():
        for column in data.columns.values():
            found = [x for x in results.figures if (x.cell.data, x.column) == (data.name, column)]
            ways = tuple(dict.fromkeys(_protocol(x.protocol) for x in found if x.protocol))
            groups.setdefault(ways, {}).setdefault(data.name, []).append(column.name)
    groups.pop((), None)
    notes = []
    for ways, columns in groups.items():
        all_of = {name: len(own) == len(data_sets[name].columns) for name, own in columns.items()}
        names = [name if all_of[name] else f"{name} ({', '.join(own)})" for name, own in columns.items()]
        warning = " **Not all runs were scored the same way.**" * (len(ways) > 1)
        notes.append(f"{', '.join(names)}: {'; or '.join(ways)}.{warning}")
    return notes


def _protocol(protocol: Mapping[str, Any]) -> str:
    real = protocol.get("real")  # of fitting capacity, only whether there is a ceiling
    counts = [f"{protocol['samples']:,} samples"]
    counts += [f"{real['n']:,} real"] if isinstance(real, Mapping) and "n" in real else []
    known = {name: x for name, x in protocol.items() if x is not None}
    return ", ".join(counts + [f"{n} {x}" for n, x in known.items() if isinstance(x, str) or n in SHOWN])


def duration(seconds: float) -> str:
    """Return a duration as text."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
