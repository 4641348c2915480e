"""Real points, generated ones, and lines between those that are paired."""

from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from PIL import Image
from torch import Tensor

from lightning_gans.drawing.scatter import (
    FAKE_POINTS,
    REAL_POINTS,
    SOLID,
    cloud,
    inside,
    set_limits,
    square_around,
)
from lightning_gans.drawing.style import new_figure, render, styled

WEIGHTS = LinearSegmentedColormap.from_list("weights", ["#dcdcdc", "#8c8c8c", "#7f2704"])
SHADES = [0.25, 0.5, 1, 2, 4]  # of weights; beyond the ends nothing changes


@styled
def draw_pairs(real: Tensor, fake: Tensor, weights: Tensor, title: str) -> Image.Image:
    """Draw pairs of points with a line between them, the broader and darker the more a pair weighs.

    The axes follow the real points; generated ones outside are not drawn, but counted.

    Args:
        real: ``(n, d)`` points of two or more dimensions, of which the first three are drawn.
        fake: ``(n, d)``, each with the real one of the same index.
        weights: ``(n,)``, positive; 1 is usual.
        title: The line above.
    """
    ends = np.stack([cloud(real), cloud(fake)], 1)
    limits = square_around(ends[:, 0], room=0.2)
    shown, beyond = inside(fake, limits)
    figure = new_figure(660, 600)
    flat = ends.shape[2] == 2
    axes: Any = figure.add_subplot(**({} if flat else SOLID), aspect="equal")
    set_limits(axes, limits)
    pull = weights.detach().float().cpu().numpy()
    style: dict[str, Any] = {
        "cmap": WEIGHTS,
        "norm": LogNorm(SHADES[0], SHADES[-1]),
        "array": pull,
        "zorder": 1,
    }
    kind: Any = LineCollection if flat else Line3DCollection
    lines = kind(ends, linewidths=np.clip(1.2 * np.sqrt(pull), 0.4, 3.5), **style)
    axes.add_collection(lines, autolim=False)
    points = [*axes.plot(*ends[:, 0].T, "o", **REAL_POINTS), *axes.plot(*shown.T, "o", **FAKE_POINTS)]
    style = {"aspect": 35, "pad": 0.02, "extend": "both", "ticks": SHADES, "format": "%g"}
    figure.colorbar(lines, ax=axes, label="weight of a pair", **style).minorticks_off()
    figure.legend(handles=points, loc="outside lower left", ncols=2)
    figure.suptitle(title + beyond, x=0.02, ha="left")
    return render(figure)
