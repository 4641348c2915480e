"""The plot of a table: a dot for each seed, means with deviations; and curves of scores over the training."""

import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from lightning_gans.commands.reproduce.cells import evaluations, read_status
from lightning_gans.commands.reproduce.report import ARROWS
from lightning_gans.commands.reproduce.results import Results, figure_of, scored_by, summary
from lightning_gans.commands.reproduce.tables import Cell, Column, DataSet, Row
from lightning_gans.drawing.style import INK, new_figure, styled

GREY, RULE, ACCENT = "#7b8190", "#e3e5ea", "#c1442e"
COLOURS = ("#2a6f97", "#e08e2b", "#5b8e55", "#8b5fa8", "#b5495b", "#4a4e69")
STYLES = ("-", "--", ":")
SLANTED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor", "color": INK}

Pair = tuple[float, float | None] | None
"""A published figure and its deviation."""


class Point(NamedTuple):
    """A score in the course of a row's runs, over seeds; NaN: unknown.

    Attributes:
        update: Generator updates, a mean.
        seconds: Seconds of training, of the wall clock or of the processor (:func:`clock_of`), a mean.
        mean: Mean of the score.
        deviation: Its standard deviation.
        labels: Labelled training samples, a mean.
    """

    update: float
    seconds: float
    mean: float
    deviation: float
    labels: float


@styled
def draw(results: Results) -> bytes:
    """Draw a panel for each column and data set; return the bytes of a PNG.

    A column and those of which it is the baseline share a panel, over their names, with a line a run. Rows
    that have an ``x`` are drawn over it, with a line a series; the others follow to the right of the lines,
    or fill the panel alone. Published figures are drawn only if they are comparable.
    """
    table, budget = results.grid.table, results.grid.budget
    panels = [(data, columns) for data in budget.data.values() for columns in _groups(data)]
    wide = max(240, 80 + 32 * max(max(len(results.rows(data)), len(columns)) for data, columns in panels))
    across = min(len(panels), max(2, 1400 // wide))
    down = math.ceil(len(panels) / across)
    canvas = new_figure(max(wide * across, 600), 320 * down + 70)
    axes = canvas.subplots(down, across, squeeze=False).flatten()
    named: dict[str, Any] = {}
    for axis, (data, (column, *others)) in zip(axes, panels, strict=False):
        name = column.score if others else column.name
        title = f"{data.name}: {name}" if len(budget.data) > 1 else name
        _plain(axis, f"{title} {ARROWS[column.better]}")
        if others:
            _draw_columns(axis, results, data, [column, *others])
        else:
            _draw_rows(axis, results, data, column)
        handles, labels = axis.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    about = f"budget {budget.name}; a dot a seed, mean ± standard deviation"
    about += "; not comparable with the published figures" * (table.compares and not budget.comparable)
    canvas.suptitle(f"{table.title}\n{about}", x=0.01, ha="left")
    return _png(canvas, named)


@styled
def draw_curves(results: Results, data: DataSet) -> bytes | None:
    """Draw the scores of a data set's runs, a panel each, over updates and over seconds of training.

    The seconds are the processor's, if all runs were on a CPU: other programs may have slowed some down.
    If labels were added during the runs, over their number too, with the last score that each number has.
    Scores that differ by more than a factor of 30 are drawn on a logarithmic axis. Scores that each run has
    once, at its end, are no curves, and left out.

    Returns:
        The bytes of a PNG; None if no run that has finished has several evaluations.
    """
    curves = {
        title: rows for title, rows in curves_of(results, data).items() if max(map(len, rows.values())) > 1
    }
    if not curves:
        return None
    drawn = [curve for rows in curves.values() for curve in rows.values()]
    over = {"generator updates": "update"}
    if any(point.seconds >= 0 for curve in drawn for point in curve):
        clock = clock_of(_lines(results, data))
        kind = "processor seconds" if clock == "processor_seconds" else "seconds"
        over[f"{kind} of training"] = "seconds"
    if any(curve[0].labels < curve[-1].labels for curve in drawn):
        over["labelled training samples"] = "labels"
    canvas = new_figure(max(330 * len(curves), 500) + 150, 270 * len(over) + 70)
    panels = canvas.subplots(len(over), len(curves), squeeze=False, sharey="col")
    names, named = list(results.grid.table.rows), dict[str, Any]()
    for column, (title, rows) in zip(panels.T, curves.items(), strict=True):
        means = [point.mean for curve in rows.values() for point in curve]
        log = 0 < 30 * min(means) < max(means)
        for axis, (label, of_point) in zip(column, over.items(), strict=True):
            _plain(axis, "" if axis is not column[0] else title)
            axis.set_xlabel(label, color=GREY)
            axis.locator_params("x" if log else "both", nbins=5)  # a logarithmic axis takes no number
            if log:
                axis.set_yscale("log")
            for name, curve in rows.items():
                points = {x.labels: x for x in curve}.values() if of_point == "labels" else curve
                x, mean, deviation = np.transpose([(getattr(p, of_point), *p[2:4]) for p in points])
                number = names.index(name)
                colour = COLOURS[number % len(COLOURS)]
                style = STYLES[number // len(COLOURS) % len(STYLES)]
                (named[name],) = axis.plot(x, mean, style, color=colour, linewidth=1.6)
                axis.fill_between(
                    x, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0
                )
    canvas.suptitle(title_of(results, data, "mean ± standard deviation over seeds"), x=0.01, ha="left")
    return _png(canvas, {name: named[name] for name in names if name in named})


def _lines(results: Results, data: DataSet) -> dict[Cell, list[dict[str, Any]]]:
    """Return the evaluations of each run that has finished."""
    rows = results.rows(data)
    return {x: evaluations(x.folder) for row in rows for x in results.finished(row.name, data.name)}


def clock_of(lines: Mapping[Cell, Sequence[Mapping[str, Any]]]) -> str:
    """Return which seconds the evaluations of runs are drawn over: what all of them have."""
    on_cpu = all(read_status(cell.folder).get("accelerator", "cpu") == "cpu" for cell in lines)
    known = all("processor_seconds" in line for own in lines.values() for line in own)
    return "processor_seconds" if on_cpu and known else "seconds"


def curves_of(results: Results, data: DataSet) -> dict[str, dict[str, list[Point]]]:
    """Return, by the title of each score and the name of each row, the means over seeds.

    The first evaluations of all runs are a point, the second ones another: if time ends the runs, their
    updates differ.
    """
    found: dict[str, dict[str, list[Point]]] = {}
    lines = _lines(results, data)
    clock = clock_of(lines)
    for column in data.columns.values():
        # Columns may be the minimum, the mean, the third, ... of one score.
        whole = column.over == "last" and column.at is None
        better = None if column.with_ else column.better  # of the correlation, not of the score
        title = f"{column.name if whole else column.score}{ARROWS[better]}"
        single = replace(column, over="last", with_=None, first=1, at=None)
        for row in results.rows(data):
            scored = [
                (number, line["update"], seconds, value, line.get("labels", math.nan))
                for cell in results.finished(row.name, data.name)
                for number, line in enumerate(scored_by(column, lines[cell]))
                if (value := figure_of(cell, single, [line]).value) is not None
                for seconds in [line.get(clock, math.nan) / line.get("replicas", 1)]
            ]
            curve = []
            for _, seeds in groupby(sorted(scored, key=itemgetter(0)), itemgetter(0)):
                _, updates, seconds, values, labels = zip(*seeds, strict=True)
                mean, deviation = summary(values) or (math.nan, math.nan)
                update, spent, labelled = map(statistics.fmean, (updates, seconds, labels))
                curve.append(Point(update, spent, mean, deviation, labelled))
            if curve:
                found.setdefault(title, {}).setdefault(row.name, curve)
    return found


def title_of(results: Results, data: DataSet, about: str) -> str:
    """Return the title of a picture of a data set's runs."""
    table, budget = results.grid.table, results.grid.budget
    return f"{table.title}\n{data.name}; budget {budget.name}; {about}"


def _plain(axis: Any, title: str) -> None:
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(RULE)
    axis.tick_params(labelcolor=GREY, length=0)
    axis.grid(axis="y", color=RULE, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.set_title(title, weight="bold")


def _png(canvas: Canvas, named: Mapping[str, Any]) -> bytes:
    if named:
        canvas.legend(named.values(), named, loc="outside right upper", handletextpad=0.5)
    file = io.BytesIO()
    canvas.savefig(file, dpi=150, format="png")
    return file.getvalue()


def _groups(data: DataSet) -> list[list[Column]]:
    """Return the columns, each with those of which it is the baseline."""
    groups: dict[str, list[Column]] = {}
    for column in data.columns.values():
        groups.setdefault(column.baseline or column.name, []).append(column)
    return list(groups.values())


def _draw_columns(axis: Any, results: Results, data: DataSet, columns: Sequence[Column]) -> None:
    places = range(len(columns))
    for number, row in enumerate(results.rows(data)):
        colour = COLOURS[number % len(COLOURS)]
        for cell in results.finished(row.name, data.name):
            own = {x.column.name: x.value for x in results.of(row.name, data.name) if x.cell is cell}
            values = [math.nan if (value := own[column.name]) is None else value for column in columns]
            axis.plot(places, values, color=colour, alpha=0.35, linewidth=1)
        means = [_mark(axis, place, *_of(results, row, data, columns[place]), colour) for place in places]
        axis.plot(places, means, color=colour, linewidth=2, label=row.name)
    axis.set_xticks(places, [column.name for column in columns])
    axis.set_xlim(-0.5, len(columns) - 0.5)
    for label in axis.get_xticklabels():
        label.set(**SLANTED)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.margins(y=0.12)


def _of(results: Results, row: Row, data: DataSet, column: Column) -> tuple[list[float], Pair]:
    """Return the values of all seeds, and the published figure if it is comparable."""
    comparable = results.grid.budget.comparable and column.comparable
    published = results.grid.published(row.name, data.name, column.name) if comparable else None
    return results.values(row.name, data.name, column), published


def _mark(
    axis: Any, place: float, values: Sequence[float], published: Pair, colour: str, shift: float = 0
) -> float:
    """Draw values and the published figure, or at ``shift`` points that they are missing; return the mean."""
    mean, deviation = summary(values) or (math.nan, math.nan)
    axis.scatter([place] * len(values), values, s=16, color=colour, alpha=0.65, linewidth=0)
    axis.errorbar(place, mean, deviation, color=colour, alpha=0.4, linewidth=5)
    axis.plot(place, mean, color=colour, marker="_", markersize=12, markeredgewidth=2)
    if published:
        style = {"color": ACCENT, "marker": "D", "linestyle": "", "zorder": 3}
        axis.errorbar(place, *published, label="published", **style)
    if not values:
        where = {"xycoords": axis.get_xaxis_transform(), "textcoords": "offset points"}
        text = {"rotation": 90, "color": colour, "ha": "center", "va": "bottom", "fontsize": 8.5}
        axis.annotate("missing", (place, 0.02), (shift, 0), **where, **text)
    return mean


def _draw_rows(axis: Any, results: Results, data: DataSet, column: Column) -> None:
    series: dict[str, list[tuple[float, Row]]] = {}
    rows = results.rows(data)
    ticks = {row.x: f"{row.x:g}" for row in rows if row.x is not None}
    step = 0.1 * (max(ticks) - min(ticks) or 1.0) if ticks else 1.0
    for row in rows:
        place = max(ticks, default=0.0) + step if row.x is None else row.x
        ticks.setdefault(place, row.name)
        series.setdefault(_series(row), []).append((place, row))
    ordered = sorted(results.grid.table.rows.values(), key=lambda row: row.x is None)
    names = list(dict.fromkeys(map(_series, ordered)))
    for name, places in series.items():
        number = names.index(name)
        colour = COLOURS[number % len(COLOURS)]
        means = []
        for place, row in sorted(places, key=lambda pair: pair[0]):
            values, published = _of(results, row, data, column)
            # Beside other marks of the same place.
            shift = 9 * (bool(published) if row.x is None else number)
            mean = _mark(axis, place, values, published, colour, shift)
            means.append((place, mean))  # NaN interrupts the line
        if places[0][1].x is not None:
            axis.plot(*zip(*means, strict=True), color=colour, linewidth=2, label=name)
    axis.set_xticks(list(ticks), ticks.values())
    for label in axis.get_xticklabels():
        if label.get_text() in results.grid.table.rows:
            label.set(**SLANTED)
    axis.set_xlim(min(ticks) - step, max(ticks) + step)
    axis.set_xlabel(results.grid.table.x, color=GREY)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.margins(y=0.12)


def _series(row: Row) -> str:
    return row.name if row.x is None else row.series
