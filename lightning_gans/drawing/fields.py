"""Fields in the plane: potentials as colours, forces as arrows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.lines import Line2D
from PIL import Image
from torch import Tensor

from lightning_gans.drawing import scatter
from lightning_gans.drawing.style import POTENTIAL, keep_layout, new_figure, render, styled

FORCE = "#7f2704"
ARROWS: dict[str, Any] = {
    "units": "dots", "angles": "xy", "scale_units": "xy", "scale": 1.0, "headwidth": 4.2, "headlength": 4.6,
    "headaxislength": 4.0, "minlength": 0.6,
}  # fmt: skip
THIN: dict[str, Any] = {"width": 1.1, "color": "#4d4d4d", "alpha": 0.5, "pivot": "mid", "zorder": 1.5}
BOLD: dict[str, Any] = {"width": 1.8, "color": FORCE, "zorder": 3}


@dataclass(frozen=True)
class FieldView:
    """A scalar field and its gradient, as :class:`FieldPlot` wants them.

    Attributes:
        title: The line above the panel.
        values: ``(resolution**2,)``, of :meth:`FieldPlot.mesh`.
        around: ``(lattice_side**2, 2)`` gradients, of :meth:`FieldPlot.lattice`.
        forces: ``(n, 2)`` gradients at the generated points.
    """

    title: str
    values: Tensor
    around: Tensor
    forces: Tensor


class FieldPlot:
    """Real and generated points of two dimensions over a field, with the forces as arrows.

    Thin arrows show the field all over, bold ones what pulls the generated points, one point in each square
    of a grid that has some; they are as long as the gradient is steep, up to a bound. Fields of one unit may
    stand side by side, with one scale of colours and of arrows. The axes follow the real points.

    Args:
        real: ``(n, 2)`` real points.
        panels: Fields side by side.
        signed: Colour around zero; otherwise from the lowest to the highest value.
    """

    resolution = 48
    lattice_side = 18

    @styled
    def __init__(self, real: Tensor, panels: int, signed: bool) -> None:
        given = scatter.cloud(real)
        self.limits = scatter.square_around(given, room=0.2)
        self.cell = (self.limits[0][1] - self.limits[0][0]) / self.lattice_side
        self.signed = signed
        self.figure = new_figure(110 + 500 * panels, 590)
        self.axes = self.figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        for axes in self.axes:
            axes.set(aspect="equal", title=" ")
            scatter.set_limits(axes, self.limits)
            axes.plot(*given.T, "o", **scatter.REAL_POINTS)
        points = [*self.axes[0].lines, *self.axes[0].plot([], [], "o", **scatter.FAKE_POINTS)]
        self.scale = scatter.add_scale(self.figure, self.axes, POTENTIAL).mappable
        style: dict[str, Any] = {"linestyle": "none", "marker": r"$\rightarrow$", "markersize": 14}
        arrow = Line2D([], [], color=FORCE, label="force on a fake point", **style)
        self.figure.legend(handles=[*points, arrow], loc="outside lower left", ncols=3)
        self.title = self.figure.suptitle(" ", x=0.02, ha="left")
        keep_layout(self.figure)

    def mesh(self) -> Tensor:
        """Return ``(resolution**2, 2)`` points whose values make the background, row by row from below."""
        return scatter.mesh(self.limits, self.resolution)

    def lattice(self) -> Tensor:
        """Return ``(lattice_side**2, 2)`` points that the thin arrows stand on, row by row from below."""
        middle = self.cell / 2
        return scatter.mesh([(low + middle, high - middle) for low, high in self.limits], self.lattice_side)

    @styled
    def draw(self, fake: Tensor, title: str, views: Sequence[FieldView]) -> Image.Image:
        """Draw one picture.

        Args:
            fake: ``(n, 2)`` generated points.
            title: The line above all.
            views: One a panel. The first sets the scales.
        """
        fake = fake.detach().float().cpu()
        unit = typical_length(torch.cat([views[0].around, views[0].forces]))
        chosen = one_a_square(fake, 1.3 * self.cell)
        self.scale.set_clim(*scatter.value_range(views[0].values, self.signed))
        points, beyond = scatter.inside(fake, self.limits)
        self.title.set_text(title + beyond)
        moving = []
        for view, axes in zip(views, self.axes, strict=True):
            axes.set_title(view.title)
            around = bounded(view.around, unit, self.cell)
            forces = bounded(view.forces[chosen], unit, 1.8 * self.cell)
            moving += [
                scatter.draw_values(axes, self.limits, view.values, self.scale),
                *axes.plot(*points.T, "o", **scatter.FAKE_POINTS),
                axes.quiver(*self.lattice().T.numpy(), *around.T.numpy(), **ARROWS, **THIN),
                axes.quiver(*fake[chosen].T.numpy(), *forces.T.numpy(), **ARROWS, **BOLD),
            ]
        return render(self.figure, moving)


def typical_length(vectors: Tensor) -> float:
    """Return the 0.9-quantile of the lengths of ``(n, d)`` vectors: a few wild ones do not count."""
    return float(torch.quantile(vectors.norm(dim=1), 0.9))


def bounded(vectors: Tensor, unit: float, reach: float) -> Tensor:
    """Scale ``(n, d)`` vectors so that length ``unit`` becomes ``reach``, and cut longer ones there."""
    lengths: Tensor = vectors.norm(dim=1, keepdim=True)
    return vectors * (reach / lengths.clamp(min=max(unit, 1e-30)))


def one_a_square(points: Tensor, side: float) -> Tensor:
    """Return the indices of the first of ``(n, 2)`` points in each square of a grid that has some."""
    squares = torch.unique(points.div(side).floor(), dim=0, return_inverse=True)[1]
    first = torch.full((int(squares.max()) + 1,), len(points))
    return first.scatter_reduce(0, squares, torch.arange(len(points)), "amin")
