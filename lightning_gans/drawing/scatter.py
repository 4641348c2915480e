"""Points: real and generated ones, over a background of values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import Colormap
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
    render,
    styled,
)

Limits = Sequence[tuple[float, float]]


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


class Plane:
    """Axes of two dimensions with real and generated points, over a background of values.

    Args:
        axes: Empty axes.
        limits: Of both axes.
        real: ``(n, 2)`` real points.
        colours: Of the background.
        side: Of the :func:`mesh` of the background's values.
    """

    def __init__(self, axes: Any, limits: Limits, real: Any, colours: Colormap, side: int) -> None:
        self.axes, self.side = axes, side
        half = (limits[0][1] - limits[0][0]) / (side - 1) / 2  # a value is the middle of its cell
        extent = [end for low, high in limits for end in (low - half, high + half)]
        self.background = axes.imshow(
            np.zeros((side, side)), cmap=colours, origin="lower", extent=extent, interpolation="bilinear",
            interpolation_stage="data", visible=False,
        )  # fmt: skip
        axes.plot(*real.T, "o", color=REAL, markersize=6.0, alpha=0.35, label="real")
        self.fake = axes.plot([], [], "o", color=FAKE, markersize=3.4, alpha=0.75, label="fake")[0]
        axes.set(xlim=limits[0], ylim=limits[1])

    def update(self, fake: Any, values: Tensor | None = None, ends: tuple[float, float] = (0, 1)) -> None:
        """Move the generated points, and change the background.

        Args:
            fake: ``(n, 2)``.
            values: ``(side**2,)`` of :func:`mesh`; without any there is no background.
            ends: The values at both ends of the colour scale.
        """
        self.fake.set_data(*fake.T)
        self.background.set_visible(values is not None)
        if values is not None:
            self.background.set(data=values.reshape(self.side, self.side).numpy(), clim=ends)


def add_bar(figure: Any, plane: Plane) -> Any:
    """Add the colour scale of a background."""
    axes = plane.axes if figure.axes == [plane.axes] else figure.axes
    return figure.colorbar(plane.background, ax=axes, aspect=35, pad=0.02, ticks=MaxNLocator(5))


class Scatter:
    """Real and fake points of two or three dimensions; in two, over the discriminator's landscape.

    The axes follow the real points and stay the same from picture to picture.

    Args:
        points: ``(n, d)`` points that set the axes. Of more than three dimensions the first three are drawn.
        real: Whether these are the real points; otherwise only fake ones are drawn.
    """

    resolution = 64

    @styled
    def __init__(self, points: Tensor, real: bool = True) -> None:
        given = cloud(points)
        self.limits = square_around(given)
        self.flat = given.shape[1] == 2
        self.figure = new_figure(600, 560)
        shown = given if real else given[:0]
        if self.flat:
            self.axes: Any = self.figure.add_subplot(aspect="equal")
            self.plane = Plane(self.axes, self.limits, shown, LANDSCAPE, self.resolution)
            self.bar = add_bar(self.figure, self.plane)
            self.bar.set_label("discriminator's score")
        else:
            self.axes = self.figure.add_subplot(projection="3d")
            style: dict[str, Any] = {"markersize": 2.5}
            self.axes.plot(*shown.T, "o", color=REAL, alpha=0.35, label="real", **style)
            self.fake = self.axes.plot([], [], [], "o", color=FAKE, alpha=0.6, label="fake", **style)[0]
            self.axes.set(**dict(zip(("xlim", "ylim", "zlim"), self.limits, strict=True)))
        self.figure.legend(loc="outside lower left", ncols=2, markerscale=1.5)
        self.title = self.figure.suptitle(" ", x=0.02, ha="left")
        keep_layout(self.figure)

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
        points = fake.detach().float().cpu()[:, :3].numpy()
        inside = points[within(points, self.limits)]
        beyond = len(points) - len(inside)
        if self.flat:
            scores = None if landscape is None else landscape.detach().float().cpu().nan_to_num(0.0, 0.0, 0.0)
            self.bar.ax.set_visible(scores is not None)
            self.plane.update(inside, scores, (0, 1) if scores is None else value_range(scores))
        else:
            self.fake.set_data_3d(*inside.T)
        self.title.set_text(title + f"   ·   {beyond} fake points outside" * (beyond > 0))
        return render(self.figure)


def within(points: Any, limits: Limits) -> Any:
    """Return which of ``(n, d)`` points are between the limits."""
    low, high = np.transpose(limits)
    return ((points >= low) & (points <= high)).all(1)


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
    names = ("xlim", "ylim", "zlim")
    axes.set(**dict(zip(names, square_around(shown), strict=False)))  # as while training
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
