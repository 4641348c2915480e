"""Active learning: the samples whose labels were asked for, and what the labels were good for."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from lightning_gans.drawing.grids import in_colour
from lightning_gans.drawing.pixels import to_bytes
from lightning_gans.drawing.style import FAKE, REAL, new_figure, render, styled

COLUMNS, SIDE, TEXT = 10, 96, 34  # images in a row; pixels of one, and of the two lines above it
COLOURS = (REAL, FAKE, "#2ca02c", "#9467bd", "#8c564b", "#7f7f7f")


@styled
def draw_queries(images: Tensor, captions: Sequence[str], title: str) -> Image.Image:
    """Draw images with a text of up to two lines above each, at most 10 in a row.

    Args:
        images: ``(n, channels, height, width)`` in [-1, 1].
        captions: One for each.
        title: The line above all.
    """
    across, down = min(len(images), COLUMNS), ceil(len(images) / COLUMNS)
    figure = new_figure(max(across * (SIDE + 12), 420), down * (SIDE + TEXT) + 40)
    panels = figure.subplots(down, across, squeeze=False).flatten()
    for panel in panels:
        panel.set_axis_off()
    pixels = to_bytes(in_colour(images)).permute(0, 2, 3, 1).numpy()
    for panel, image, caption in zip(panels, pixels, captions, strict=False):
        panel.imshow(image, interpolation="nearest")
        panel.set_title(caption, size=8, loc="center", parse_math=False)
    figure.suptitle(title, x=0.02, ha="left", parse_math=False)
    return render(figure)


@styled
def draw_label_curves(curves: Mapping[str, Mapping[int, float]], title: str) -> Image.Image:
    """Draw fitting capacity over the number of labels.

    Args:
        curves: By the name of each curve, which may be "", its values in [0, 1] by numbers of labels.
        title: The line above.
    """
    figure = new_figure(560, 380)
    axes: Any = figure.add_subplot(xlabel="labels", ylabel="fitting capacity, %")
    for number, (name, curve) in enumerate(curves.items()):
        percent = [100 * value for value in curve.values()]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(list(curve), percent, color=colour, linewidth=1.8, marker="o", markersize=4, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    if any(curves):
        axes.legend()
    axes.set_title(title, parse_math=False)
    return render(figure)
