"""The picture of a table: every seed a dot, means with deviations, published figures as diamonds."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lightning_gans.reproduce.results import Figure, published_figure, shown, summary, values_of
from lightning_gans.reproduce.tables import Budget, Column, DataSet, Row, Table

INK, GREY, RULE, ACCENT = "#22252b", "#7b8190", "#e3e5ea", "#c1442e"
COLOURS = ("#2a6f97", "#e08e2b", "#5b8e55", "#8b5fa8", "#b5495b", "#4a4e69")


def draw(table: Table, budget: Budget, figures: Sequence[Figure], path: Path) -> None:
    """Draw a panel a column and data set.

    Rows that have an ``x`` are drawn as lines over it, the others as levels; without any ``x``, each row has
    a line of its own. Published figures are drawn only if they are comparable.
    """
    panels = [(data, column) for data in budget.data.values() for column in data.columns.values()]
    lines = any(row.x is not None for row in table.rows.values())
    across = min(len(panels), 2 if lines else 4)
    down = math.ceil(len(panels) / across)
    rows = max(sum(shown(row, data, figures) for row in table.rows.values()) for data in budget.data.values())
    height = 3.4 if lines else 1.0 + 0.36 * rows
    canvas = Canvas(figsize=((4.6 if lines else 3.4) * across + 1.8, height * down + 1.0), facecolor="white")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(down, across, squeeze=False).flatten()
    for place, (axis, (data, column)) in enumerate(zip(axes, panels, strict=False)):
        _style(axis)
        arrow = {"high": "  ↑", "low": "  ↓", None: ""}[column.better]
        title = f"{data.name}: {column.name}" if len(budget.data) > 1 else column.name
        axis.set_title(f"{title}{arrow}", loc="left", fontsize=10, color=INK, fontweight="bold")
        if lines:
            _lines(axis, table, budget, data, column, figures)
        else:
            # Names stand at the left, and where the rows are others than in the panel before.
            named = place % across == 0 or _rows(table, data, figures) != _rows(
                table, panels[place - 1][0], figures
            )
            _dots(axis, table, budget, data, column, figures, named)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    _words(canvas, table, budget, figures, axes[0] if lines else None)
    canvas.savefig(path, dpi=150)


def _rows(table: Table, data: DataSet, figures: Sequence[Figure]) -> list[Row]:
    return [row for row in table.rows.values() if shown(row, data, figures)]


def _style(axis: Any) -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(RULE)
    axis.tick_params(colors=GREY, labelsize=9, length=0)
    axis.set_axisbelow(True)


def _words(canvas: Canvas, table: Table, budget: Budget, figures: Sequence[Figure], lines: Any) -> None:
    """Add title and legend; ``lines`` are the axes whose lines it names, if there are any."""
    wide, high = canvas.get_figwidth(), canvas.get_figheight()
    canvas.text(0.1 / wide, 1 - 0.12 / high, table.title, fontsize=13, color=INK, fontweight="bold", va="top")
    seeds = len({figure.cell.seed for figure in figures})
    text = f"budget {budget.name}; {'a dot a seed' if seeds > 1 else 'one seed'}, mean ± standard deviation"
    text += "" if budget.comparable else "; not comparable with the published figures"
    canvas.text(0.1 / wide, 1 - 0.42 / high, text, fontsize=9, color=GREY, va="top")
    handles = [] if lines is None else lines.get_legend_handles_labels()[0]
    published = any(
        published_figure(table, budget, row, data.name, column)[0] is not None
        for data in budget.data.values()
        for row in table.rows
        for column in data.columns
    )
    if published and budget.comparable:
        handles.append(
            Line2D([], [], marker="D", linestyle="", color=ACCENT, markersize=6, label="published")
        )
    if handles:
        canvas.legend(handles=handles, loc="upper right", bbox_to_anchor=(1 - 0.1 / wide, 1 - 0.62 / high),
                      frameon=False, fontsize=9, labelcolor=INK)  # fmt: skip
    right = 1 - (1.5 / wide if handles else 0)
    canvas.tight_layout(rect=(0, 0, right, 1 - 0.6 / high), w_pad=1.5, h_pad=1.2)


def _dots(
    axis: Any,
    table: Table,
    budget: Budget,
    data: DataSet,
    column: Column,
    figures: Sequence[Figure],
    named: bool,
) -> None:
    rows = _rows(table, data, figures)
    for place, row in enumerate(rows):
        values = values_of(figures, row.name, data.name, column)
        colour = COLOURS[list(table.rows).index(row.name) % len(COLOURS)]
        found = summary(values)
        if found is not None:
            mean, deviation = found
            if not math.isnan(deviation):
                axis.plot([mean - deviation, mean + deviation], [place, place], color=colour, linewidth=5,
                          alpha=0.25, solid_capstyle="round")  # fmt: skip
            spread = [place + 0.22 * ((i % 3) - 1) * (len(values) > 1) for i in range(len(values))]
            axis.scatter(values, spread, s=16, color=colour, alpha=0.65, linewidth=0)
            axis.plot([mean, mean], [place - 0.32, place + 0.32], color=colour, linewidth=2.2)
        value, deviation = published_figure(table, budget, row.name, data.name, column.name)  # type: ignore[assignment]
        if value is not None and budget.comparable:
            axis.errorbar(value, place, xerr=deviation, color=ACCENT, marker="D", markersize=6, linewidth=1)
        elif found is None:
            axis.annotate("missing", (0.02, place), xycoords=("axes fraction", "data"), color=GREY,
                          fontsize=8.5, va="center", style="italic")  # fmt: skip
    axis.set_yticks(range(len(rows)), [row.name for row in rows] if named else [""] * len(rows), color=INK)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="x", color=RULE, linewidth=0.8)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.margins(x=0.12)


def _lines(
    axis: Any, table: Table, budget: Budget, data: DataSet, column: Column, figures: Sequence[Figure]
) -> None:
    series: dict[str, list[Row]] = {}
    for row in _rows(table, data, figures):
        series.setdefault(row.series if row.x is not None else row.name, []).append(row)
    for (name, rows), colour in zip(series.items(), COLOURS * len(series), strict=False):
        points = [
            (row.x or 0.0, values, *found)
            for row in sorted(rows, key=lambda row: row.x or 0.0)
            if (values := values_of(figures, row.name, data.name, column))
            and (found := summary(values)) is not None
        ]
        if rows[0].x is None:
            level = points[0][2] if points else math.nan
            axis.axhline(level, color=colour, linewidth=1.4, linestyle=(0, (4, 2)), label=name)
            continue
        x = [place for place, *_ in points]
        wide = [0.0 if math.isnan(deviation) else deviation for *_, deviation in points]
        low, high = (
            [mean + sign * half for (_, _, mean, _), half in zip(points, wide, strict=True)]
            for sign in (-1, 1)
        )
        axis.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
        axis.plot(x, [mean for _, _, mean, _ in points], color=colour, linewidth=2, marker="o", markersize=5,
                  label=name)  # fmt: skip
        for place, values, *_ in points:
            axis.scatter([place] * len(values), values, s=12, color=colour, alpha=0.45, linewidth=0)
        for row in rows:
            value, deviation = published_figure(table, budget, row.name, data.name, column.name)
            if value is not None and budget.comparable:
                axis.errorbar(row.x, value, deviation, color=ACCENT, marker="D", markersize=6, linewidth=1)
    ticks = sorted({row.x for row in table.rows.values() if row.x is not None})
    margin = 0.06 * (ticks[-1] - ticks[0] or 1)
    axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axis.set_xlim(ticks[0] - margin, ticks[-1] + margin)
    axis.set_xlabel(table.x, color=GREY, fontsize=9)
    axis.grid(axis="y", color=RULE, linewidth=0.8)
    axis.margins(y=0.12)
