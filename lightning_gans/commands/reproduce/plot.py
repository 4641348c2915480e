"""The picture of a table: every seed a dot, means with deviations, published figures as diamonds."""

import io
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lightning_gans.commands.reproduce.results import Figure, published_figure, shown, summary, values_of
from lightning_gans.commands.reproduce.tables import Budget, Column, DataSet, Row, Table

INK, GREY, RULE, ACCENT = "#22252b", "#7b8190", "#e3e5ea", "#c1442e"
_MISSING: dict[str, Any] = {"color": GREY, "fontsize": 8.5, "style": "italic"}
COLOURS = ("#2a6f97", "#e08e2b", "#5b8e55", "#8b5fa8", "#b5495b", "#4a4e69")


def draw(table: Table, budget: Budget, figures: Sequence[Figure]) -> bytes:
    """Draw a panel a column and data set; return a PNG.

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
    file = io.BytesIO()
    canvas.savefig(file, dpi=150, format="png")
    return file.getvalue()


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
    runs = {(x.cell.row, x.cell.data, x.cell.seed) for x in figures if x.value is not None}
    several = len({run[:2] for run in runs}) < len(runs)
    seeds = len({seed for *_, seed in runs})
    text = f"budget {budget.name}; "
    if several:
        text += "a dot a seed, mean ± standard deviation"
    else:
        text += ("no finished run", "one seed")[seeds] if seeds < 2 else "a seed a row"
    if table.compares and not budget.comparable:
        text += "; not comparable with the published figures"
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
    missing = []
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
        diamond = _diamond(axis, table, budget, row, data, column, place, across=True)
        if found is None:
            missing.append((place, diamond))
    axis.margins(x=0.12)
    middle = sum(axis.get_xlim()) / 2
    for place, diamond in missing:
        # Beside the published figure, on the side where there is room.
        side = 0 if diamond is None else 1 if diamond <= middle else -1
        where = ((0.02, place), ("axes fraction", "data")) if diamond is None else ((diamond, place), "data")
        axis.annotate("missing", where[0], xycoords=where[1], xytext=(9 * side, 0),
                      textcoords="offset points", ha="right" if side < 0 else "left", va="center",
                      **_MISSING)  # fmt: skip
    axis.set_yticks(range(len(rows)), [row.name for row in rows] if named else [""] * len(rows), color=INK)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="x", color=RULE, linewidth=0.8)
    axis.xaxis.set_major_locator(MaxNLocator(4))


def _diamond(
    axis: Any,
    table: Table,
    budget: Budget,
    row: Row,
    data: DataSet,
    column: Column,
    place: float,
    across: bool,
) -> float | None:
    """Draw a published figure, if it is comparable; ``across``: along x, at the place in y."""
    value, deviation = published_figure(table, budget, row.name, data.name, column.name)
    if value is None or not budget.comparable:
        return None
    x, y, error = (value, place, "xerr") if across else (place, value, "yerr")
    axis.errorbar(x, y, **{error: deviation}, color=ACCENT, marker="D", markersize=6, linewidth=1, zorder=3)
    return value


def _lines(
    axis: Any, table: Table, budget: Budget, data: DataSet, column: Column, figures: Sequence[Figure]
) -> None:
    ticks = sorted({row.x for row in table.rows.values() if row.x is not None})
    margin = 0.06 * (ticks[-1] - ticks[0] or 1)
    series: dict[str, list[Row]] = {}
    for row in _rows(table, data, figures):
        series.setdefault(row.series if row.x is not None else row.name, []).append(row)
    levels = [name for name, rows in series.items() if rows[0].x is None]
    absent: dict[float, list[str]] = {}
    for number, (name, rows) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        if name in levels:
            # A level's seeds stand right of all lines, each level's in a column of its own.
            place = ticks[-1] + margin * (1 + levels.index(name))
            values = values_of(figures, name, data.name, column)
            mean, deviation = summary(values) or (math.nan, math.nan)
            label = name if values else f"{name} (missing)"
            axis.axhline(mean, color=colour, linewidth=1.4, linestyle=(0, (4, 2)), label=label)
            axis.scatter([place] * len(values), values, s=12, color=colour, alpha=0.6, linewidth=0)
            if not math.isnan(deviation):
                axis.plot([place] * 2, [mean - deviation, mean + deviation], color=colour, linewidth=5,
                          alpha=0.25, solid_capstyle="round")  # fmt: skip
            _diamond(axis, table, budget, rows[0], data, column, place, across=False)
            continue
        rows = sorted(rows, key=lambda row: row.x or 0.0)
        x = [row.x or 0.0 for row in rows]
        seeds = [values_of(figures, row.name, data.name, column) for row in rows]
        # No line goes through where there is no value.
        found = [summary(values) or (math.nan, math.nan) for values in seeds]
        means = [mean for mean, _ in found]
        low, high = (
            [mean + sign * (0.0 if math.isnan(deviation) else deviation) for mean, deviation in found]
            for sign in (-1, 1)
        )
        axis.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
        label = name if any(seeds) else f"{name} (missing)"
        axis.plot(x, means, color=colour, linewidth=2, marker="o", markersize=5, label=label)
        for place, row, values in zip(x, rows, seeds, strict=True):
            axis.scatter([place] * len(values), values, s=12, color=colour, alpha=0.45, linewidth=0)
            diamond = _diamond(axis, table, budget, row, data, column, place, across=False)
            if not values and diamond is None:
                absent.setdefault(place, []).append(colour)
            elif not values:
                side = 1 if place <= (ticks[0] + ticks[-1]) / 2 else -1
                axis.annotate("missing", (place, diamond), xytext=(9 * side, 0), textcoords="offset points",
                              ha="left" if side > 0 else "right", va="center", **_MISSING)  # fmt: skip
    for place, colours in absent.items():
        for number, colour in enumerate(colours):
            axis.annotate("missing", (place, 0.02), xycoords=("data", "axes fraction"), rotation=90,
                          xytext=(10 * (number - (len(colours) - 1) / 2), 0), textcoords="offset points",
                          ha="center", va="bottom", **{**_MISSING, "color": colour})  # fmt: skip
    axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axis.set_xlim(ticks[0] - margin, ticks[-1] + margin * (1 + len(levels)))
    axis.set_xlabel(table.x, color=GREY, fontsize=9)
    axis.grid(axis="y", color=RULE, linewidth=0.8)
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.margins(y=0.12)
