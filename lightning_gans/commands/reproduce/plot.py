"""The picture of a table: every seed a dot, means with deviations, published figures as diamonds."""

import io
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from lightning_gans.commands.reproduce.results import ARROWS, Results, summary
from lightning_gans.commands.reproduce.tables import Column, DataSet, Row

INK, GREY, RULE, ACCENT = "#22252b", "#7b8190", "#e3e5ea", "#c1442e"
COLOURS = ("#2a6f97", "#e08e2b", "#5b8e55", "#8b5fa8", "#b5495b", "#4a4e69")


def draw(results: Results) -> bytes:
    """Draw a panel a column and data set; return a PNG.

    Rows that have an ``x`` are drawn as lines over it, the others as levels; without any ``x``, each row has
    a line of its own. Published figures are drawn only if they are comparable.
    """
    table, budget = results.grid.table, results.grid.budget
    panels = [(data, column) for data in budget.data.values() for column in data.columns.values()]
    lines = any(row.x is not None for row in table.rows.values())
    across = min(len(panels), 2 if lines else 4)
    down = math.ceil(len(panels) / across)
    high = 3.4 if lines else 1.0 + 0.36 * max(len(results.rows(data)) for data in budget.data.values())
    canvas = Canvas(figsize=((4.6 if lines else 3.4) * across + 1.8, high * down + 1.0), layout="constrained")
    axes = canvas.subplots(down, across, squeeze=False).flatten()
    for axis, (data, column) in zip(axes, panels, strict=False):
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.spines["bottom"].set_color(RULE)
        axis.tick_params(colors=GREY, labelsize=9, length=0)
        axis.set_axisbelow(True)
        axis.grid(axis="y" if lines else "x", color=RULE, linewidth=0.8)
        title = f"{data.name}: {column.name}" if len(budget.data) > 1 else column.name
        axis.set_title(f"{title} {ARROWS[column.better]}", loc="left", fontsize=10, color=INK, weight="bold")
        (_lines if lines else _levels)(axis, results, data, column)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    canvas.suptitle(f"{table.title}\n{_subtitle(results)}", x=0.01, ha="left", fontsize=11, color=INK)
    named: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    if named:
        canvas.legend(named.values(), named, loc="outside right upper", frameon=False, fontsize=9)
    file = io.BytesIO()
    canvas.savefig(file, dpi=150, format="png")
    return file.getvalue()


def _subtitle(results: Results) -> str:
    table, budget = results.grid.table, results.grid.budget
    runs = {(x.cell.row, x.cell.data, x.cell.seed) for x in results.figures if x.value is not None}
    seeds = len({seed for *_, seed in runs})
    if len({run[:2] for run in runs}) < len(runs):
        text = "a dot a seed, mean ± standard deviation"
    else:
        text = ("no finished run", "one seed", "a seed a row")[min(seeds, 2)]
    warning = "; not comparable with the published figures" * (table.compares and not budget.comparable)
    return f"budget {budget.name}; {text}{warning}"


def _levels(axis: Any, results: Results, data: DataSet, column: Column) -> None:
    """Draw each row at a height of its own."""
    rows = results.rows(data)
    for place, row in enumerate(rows):
        colour = COLOURS[list(results.grid.table.rows).index(row.name) % len(COLOURS)]
        _draw_row(axis, results, row, data, column, place, colour, across=True)
    axis.margins(x=0.3)
    axis.set_yticks(range(len(rows)), [row.name for row in rows], color=INK)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(4))


def _lines(axis: Any, results: Results, data: DataSet, column: Column) -> None:
    """Draw rows over their ``x``, a line a series; those without ``x`` stand right of them, as levels."""
    ticks = sorted({row.x for row in results.grid.table.rows.values() if row.x is not None})
    margin = 0.06 * (ticks[-1] - ticks[0] or 1)
    series: dict[str, list[Row]] = {}
    for row in sorted(results.rows(data), key=lambda row: math.inf if row.x is None else row.x):
        series.setdefault(row.name if row.x is None else row.series, []).append(row)
    levels = 0
    for number, (name, rows) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        found = [summary(results.values(row.name, data.name, column)) for row in rows]
        means = [pair[0] if pair else math.nan for pair in found]  # no line goes through where there is none
        label = name if any(found) else f"{name} (missing)"
        if rows[0].x is None:
            levels += 1
            places = [ticks[-1] + margin * levels]
            axis.axhline(means[0], color=colour, linewidth=1.4, linestyle=(0, (4, 2)), label=label)
        else:
            places = [row.x or 0.0 for row in rows]
            axis.plot(places, means, color=colour, linewidth=2, label=label)
        for place, row in zip(places, rows, strict=True):
            _draw_row(axis, results, row, data, column, place, colour, across=False, shift=number)
    axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axis.set_xlim(ticks[0] - margin, ticks[-1] + margin * (1 + levels))
    axis.set_xlabel(results.grid.table.x, color=GREY, fontsize=9)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.margins(y=0.12)


def _draw_row(
    axis: Any,
    results: Results,
    row: Row,
    data: DataSet,
    column: Column,
    place: float,
    colour: str,
    across: bool,
    shift: int = 0,
) -> None:
    """Draw a row's seeds, mean with deviation, and published figure; ``across``: along x, at a height."""

    def at(values: Sequence[float] | float) -> tuple[Any, Any]:
        places = [place] * len(values) if isinstance(values, Sequence) else place
        return (values, places) if across else (places, values)

    error = "xerr" if across else "yerr"
    values = results.values(row.name, data.name, column)
    pair = summary(values)
    if pair is not None:
        axis.scatter(*at(values), s=16, color=colour, alpha=0.65, linewidth=0)
        axis.errorbar(*at(pair[0]), **{error: pair[1]}, color=colour, alpha=0.5, linewidth=5)
        axis.plot(*at(pair[0]), color=colour, marker="|" if across else "_", markersize=12, markeredgewidth=2)
    published = results.grid.published(row.name, data.name, column.name)
    if published and results.grid.budget.comparable:
        axis.errorbar(
            *at(published[0]), **{error: published[1]}, color=ACCENT, marker="D", markersize=6,
            linestyle="", zorder=3, label="published",
        )  # fmt: skip
    if pair is None:
        where = axis.get_yaxis_transform() if across else axis.get_xaxis_transform()
        axis.annotate(
            "missing", at(0.02), xycoords=where, xytext=(0, 0) if across else (9 * (shift - 1), 0),
            textcoords="offset points", rotation=0 if across else 90, color=GREY if across else colour,
            ha="left" if across else "center", va="center" if across else "bottom", fontsize=8.5,
        )  # fmt: skip
