"""Points: real and generated ones, over a background of values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from lightning_gans.drawing.style import (
    FAKE,
    GREY,
    LANDSCAPE,
    PAPER,
    REAL,
    keep_layout,
    new_figure,
    picture_of,
    render,
    styled,
)

Limits = Sequence[tuple[float, float]]
REAL_POINTS: dict[str, Any] = {"color": REAL, "markersize": 6.0, "alpha": 0.35, "label": "real"}
FAKE_POINTS: dict[str, Any] = {"color": FAKE, "markersize": 3.4, "alpha": 0.75, "label": "fake"}
SOLID: dict[str, Any] = {"projection": "3d", "proj_type": "ortho", "elev": 18, "azim": -72}
"""From where no point of a 3 x 3 x 3 lattice hides another."""


def cloud(points: Tensor) -> Any:
    """Return the first three coordinates of ``(n, d)`` points as an array; what is not finite becomes 0."""
    return points.detach().float().cpu()[:, :3].nan_to_num(0.0, 0.0, 0.0).numpy()


def square_around(points: Any, room: float = 0.12) -> list[tuple[float, float]]:
    """Return the limits of axes of equal length, with room on all sides of ``(n, d)`` points."""
    low, high = points.min(0), points.max(0)
    middle, reach = (low + high) / 2, max(float((high - low).max()) * (0.5 + room), 1e-3)
    return [(float(m - reach), float(m + reach)) for m in middle]


def mesh(limits: Limits, side: int) -> Tensor:
    """Return ``(side**2, 2)`` points, evenly spaced between the limits, row by row from below."""
    (left, right), (bottom, top) = limits
    x, y = torch.linspace(left, right, side), torch.linspace(bottom, top, side)
    grid = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid[1].flatten(), grid[0].flatten()], 1)


def value_range(values: Tensor, signed: bool = False) -> tuple[float, float]:
    """Return the values at both ends of a colour scale: the tails of an unbounded critic do not count.

    They would leave one colour for all that lies between the points.
    """
    if signed:
        high = max(float(torch.quantile(values.abs(), 0.98)), 1e-12)
        return -high, high
    low, high = torch.quantile(values, torch.tensor([0.02, 0.98])).tolist()
    return low, high if high - low > 1e-12 else low + 1.0


def draw_values(axes: Any, limits: Limits, values: Tensor, scale: ScalarMappable) -> Any:
    """Draw ``(side**2,)`` values of a :func:`mesh` as a background, in the colours of a scale."""
    side = round(len(values) ** 0.5)
    half = (limits[0][1] - limits[0][0]) / (side - 1) / 2  # a value is the middle of its cell
    extent = [end for low, high in limits for end in (low - half, high + half)]
    style: dict[str, Any] = {"interpolation": "bilinear", "interpolation_stage": "data", "cmap": scale.cmap}
    return axes.imshow(
        values.reshape(side, side).numpy(), origin="lower", extent=extent, norm=scale.norm, **style
    )


def add_scale(figure: Figure, axes: Any, colours: Colormap) -> Any:
    """Add a colour scale beside axes; ``mappable.set_clim`` changes its ends."""
    scale = ScalarMappable(Normalize(-1000, 1000), colours)  # the layout leaves room for long numbers
    return figure.colorbar(scale, ax=axes, aspect=35, pad=0.02, ticks=MaxNLocator(5))


class Scatter:
    """Real and fake points of two or three dimensions; in two, over the discriminator's landscape.

    The axes follow the real points and stay the same from picture to picture.

    Args:
        points: ``(n, d)`` points that set the axes. Of more than three dimensions the first three are drawn.
        real: Whether these are the real points; otherwise only fake ones are drawn.
        landscape: Whether there will be one.
    """

    resolution = 64

    @styled
    def __init__(self, points: Tensor, real: bool = True, landscape: bool = True) -> None:
        given = cloud(points)
        self.limits = square_around(given)
        self.flat = given.shape[1] == 2
        self.figure = new_figure(600, 560)
        self.axes: Any = self.figure.add_subplot(projection=None if self.flat else "3d")
        self.axes.set_aspect("equal")
        set_limits(self.axes, self.limits)
        self.real = self.axes.plot(*(given if real else given[:0]).T, "o", **REAL_POINTS)[0]
        fake = self.axes.plot(*given[:0].T, "o", **FAKE_POINTS)[0]  # empty: it is there for the legend
        self.bar = add_scale(self.figure, self.axes, LANDSCAPE)
        self.bar.ax.set_visible(self.flat)
        shade = Patch(color="#b4bac2", label="low score of the discriminator")
        shown = [*[self.real] * real, fake, *[shade] * (self.flat and landscape)]
        self.figure.legend(handles=shown, loc="outside lower left", ncols=3)
        self.title = self.figure.suptitle(" ", x=0.02, ha="left")
        keep_layout(self.figure)
        fake.remove()
        if self.flat:
            self._keep_what_stays()

    def _keep_what_stays(self) -> None:
        """Draw axes and legend once: their texts take most of the time of a picture."""
        changing = (self.real, self.bar.ax, self.title)
        for artist in changing:
            artist.set_visible(False)
        canvas: Any = self.figure.canvas
        canvas.draw()
        self.background = canvas.copy_from_bbox(self.figure.bbox)
        for artist in changing:
            artist.set_visible(True)

    def mesh(self) -> Tensor:
        """Return ``(resolution**2, 2)`` points whose scores make the landscape, row by row from below."""
        return mesh(self.limits, self.resolution)

    @styled
    def draw(self, fake: Tensor, title: str, landscape: Tensor | None = None) -> Image.Image:
        """Draw one picture.

        Args:
            fake: ``(n, d)`` generated points.
            title: The line above.
            landscape: The discriminator's scores of :meth:`mesh`.
        """
        points, beyond = inside(fake, self.limits)
        moving = [*self.axes.plot(*points.T, "o", **FAKE_POINTS)]
        self.bar.ax.set_visible(landscape is not None)
        if landscape is not None:
            scores = landscape.detach().float().cpu().nan_to_num(0.0, 0.0, 0.0)
            self.bar.mappable.set_clim(*value_range(scores))
            moving.insert(0, draw_values(self.axes, self.limits, scores, self.bar.mappable))
        self.title.set_text(title + beyond)
        if not self.flat:
            return render(self.figure, moving)
        canvas: Any = self.figure.canvas
        canvas.restore_region(self.background)
        *under, fake_points = moving
        for artist in (*under, self.real, fake_points, *self.axes.spines.values(), self.bar.ax, self.title):
            artist.draw(canvas.renderer)
        for artist in moving:
            artist.remove()
        return picture_of(self.figure)


def set_limits(axes: Any, limits: Limits) -> None:
    """Set the limits of axes of two or three dimensions."""
    axes.set(**dict(zip(("xlim", "ylim", "zlim"), limits, strict=False)))


def inside(points: Tensor, limits: Limits) -> tuple[Any, str]:
    """Return those of ``(n, d)`` points that are between the limits, and a note on the others."""
    given = points.detach().float().cpu()[:, :3].numpy()
    low, high = np.transpose(limits)
    shown = given[((given >= low) & (given <= high)).all(1)]
    beyond = len(given) - len(shown)
    return shown, f"   ·   {beyond} fake points outside" * (beyond > 0)


@styled
def labelled_points(points: Tensor, labels: Tensor, title: str) -> Image.Image:
    """Draw ``(n, d)`` points of two or more dimensions in the colours of their labels, with their numbers.

    Args:
        points: Of more than three dimensions the first three are drawn.
        labels: ``(n,)``; those of -1 are grey, without number.
        title: The line above.
    """
    shown = cloud(points)
    figure = new_figure(600, 620)
    flat = shown.shape[1] == 2
    axes: Any = figure.add_subplot(projection=None if flat else "3d", title=title)
    set_limits(axes, square_around(shown))  # the same limits as in pictures of the training
    for k in labels.unique().tolist():
        # Neighbours among the modes differ: strong colours first, then the pale ones.
        colour = colormaps["tab20"](2 * (k % 10) + k // 10 % 2) if k >= 0 else GREY
        part = shown[(labels == k).numpy()]
        axes.plot(*part.T, "o", color=colour, markersize=3, alpha=0.6)
        if k >= 0:
            axes.text(
                *part.mean(0), str(k), size=9, path_effects=[withStroke(linewidth=2.5, foreground=PAPER)]
            )
    return render(figure)
