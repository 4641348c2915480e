"""Shared by all pictures: colours, font, and figures that are drawn without pyplot."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context, rc_params_from_file
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageFont

REAL, FAKE = "#2166ac", "#e6550d"
INK, PAPER, GREY = "#333333", "#ffffff", "#b5b5b5"

# In bands, so that a background looks like a map with contour lines; light, so that points stand out.
LANDSCAPE = LinearSegmentedColormap.from_list("landscape", ["#b4bac2", "#d9dce1", "#fafafa"], 12)
# The hues of the points. The number of bands is odd, so that the middle one is zero.
POTENTIAL = LinearSegmentedColormap.from_list(
    "potential", ["#f3b98f", "#fae3d3", "#fbfbfb", "#d6e4f1", "#9cc1e0"], 17
)

styled = rc_context(rc_params_from_file(Path(__file__).with_name("pictures.mplstyle"), False, False))
"""Decorates functions that make or draw figures."""


def new_figure(width: int, height: int, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure of so many pixels; with a layout there will be room for all labels."""
    figure = Figure(figsize=(width / 100, height / 100), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def keep_layout(figure: Figure) -> None:
    """Find the places of axes once, for all pictures that follow: it takes as long as to draw them."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def render(figure: Figure, moving: Iterable[Any] = ()) -> Image.Image:
    """Draw a figure; take what is ``moving`` out of it afterwards."""
    canvas: Any = figure.canvas
    canvas.draw()
    for artist in moving:
        artist.remove()
    return picture_of(figure)


def picture_of(figure: Figure) -> Image.Image:
    """Return what was drawn of a figure."""
    canvas: Any = figure.canvas
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of all pictures."""
    return ImageFont.truetype(findfont("DejaVu Sans"), size)
