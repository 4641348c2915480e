"""Samples over the training of several games, one below the other."""

from collections.abc import Mapping
from typing import Any

from PIL import Image
from torch import Tensor

from lightning_gans.drawing.scatter import FAKE_POINTS, SOLID, cloud, inside, set_limits, square_around
from lightning_gans.drawing.style import GREY, new_figure, render, styled

POINTS, IMAGES = 190, 320  # pixels a side
REAL: dict[str, Any] = {"color": GREY, "markersize": 3.0, "alpha": 0.6, "label": "real"}
FAKE: dict[str, Any] = {**FAKE_POINTS, "markersize": 2.0}


@styled
def draw_histories(
    histories: Mapping[str, Mapping[int, Tensor | Image.Image]], title: str, real: Tensor | None = None
) -> Image.Image:
    """Draw a row of samples for each game, from left to right as its training goes.

    Args:
        histories: By the name of each game its samples by generator update, all of them pictures, or all
            points ``(n, d)`` of two or more dimensions, of which the first three are drawn. The updates are
            written above the first row, and above each that has others than the one before.
        title: The line above all.
        real: ``(m, d)`` points, one at least, for games of points: they are drawn in grey beneath the
            generated ones, and set the axes.
    """
    *_, last = next(iter(histories.values())).values()
    given = None if real is None else cloud(real)
    wide, high = (
        (IMAGES, IMAGES * last.height / last.width) if isinstance(last, Image.Image) else [POINTS] * 2
    )
    down, across = len(histories), max(map(len, histories.values()))
    figure = new_figure(40 + wide * across, round(70 + (high + 8) * down))
    kind = SOLID if given is not None and given.shape[1] > 2 else {}
    panels = figure.subplots(down, across, squeeze=False, subplot_kw=kind)
    above: list[int] = []
    for row, (name, history) in zip(panels, histories.items(), strict=True):
        row[0].annotate(
            name, (0, 0.5), (-6, 0), "axes fraction", "offset points", rotation=90, ha="right", va="center"
        )
        for axes in row[len(history) :]:
            axes.set_axis_off()
        for axes, (update, samples) in zip(row, history.items(), strict=False):
            if list(history) != above:
                axes.set_title(f"update {update:,}", loc="center", size=9)
            if isinstance(samples, Image.Image):
                axes.imshow(samples, "gray", vmin=0, vmax=255)
                axes.set_axis_off()
            else:
                _draw_points(axes, given, samples)
        above = list(history)
    if given is not None:
        figure.legend(handles=panels[0][0].lines, loc="outside lower left", ncols=2, markerscale=2)
    figure.suptitle(title, x=0.02, ha="left")
    return render(figure)


def _draw_points(axes: Any, real: Any, fake: Tensor) -> None:
    limits = square_around(real)
    points, _ = inside(fake, limits)
    axes.plot(*real.T, "o", **REAL)
    axes.plot(*points.T, "o", **FAKE)
    set_limits(axes, limits)
    axes.set_aspect("equal")
    if real.shape[1] > 2:
        axes.set_box_aspect(None, zoom=1.2)
        axes.grid(visible=False)
    for axis in axes._axis_map.values():
        axis.set_ticks([])
    if beyond := len(fake) - len(points):
        axes.annotate(f"{beyond} outside", (0.98, 0.03), xycoords="axes fraction", ha="right", size=8)
