"""Learned mixtures: what their components generate, and where they lie."""

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba
from PIL import Image
from torch import Tensor

from lightning_gans.drawing.grids import GAP, beside, image_grid
from lightning_gans.drawing.style import GREY, new_figure, render, styled

SIDE, STRIP = 560, 10


def component_colours(n: int) -> Any:
    """Return ``(n, 4)`` colours of so many components."""
    return colormaps["turbo"](np.linspace(0.02, 0.98, n))


def component_images(samples: Tensor, components: int) -> Image.Image:
    """Draw a row of images for each component, with its colour at the left.

    Args:
        samples: ``(components * columns, channels, height, width)`` in [-1, 1].
        components: How many.
    """
    grid = image_grid(samples, len(samples) // components).convert("RGB")
    height = (grid.height - GAP) // components
    bars = np.full((grid.height, STRIP, 3), 255, np.uint8)
    for row, colour in enumerate(component_colours(components)):
        bars[row * height + GAP : (row + 1) * height, : STRIP - GAP] = 255 * colour[:3]
    return beside(Image.fromarray(bars), grid)


@styled
def component_points(samples: Tensor, components: int, real: Tensor | None) -> Image.Image:
    """Draw the first two coordinates of ``(components * n, d)`` points, over real ones in grey."""
    figure = new_figure(SIDE, SIDE)
    axes: Any = figure.add_subplot(title="samples")
    axes.set_aspect("equal", "datalim")
    if real is not None:
        axes.scatter(*_plane(real.cpu()).T, s=8, color=GREY, linewidths=0)
    colours = component_colours(components).repeat(len(samples) // components, axis=0)
    axes.scatter(*_plane(samples).T, s=9, c=colours, linewidths=0)
    return render(figure)


@styled
def component_ellipses(means: Tensor, sigma: Tensor, coloured: int) -> Image.Image:
    """Draw Gaussians with means and widths ``(n, d)`` as ellipses of one sigma; the first have colours.

    In two dimensions as they are, in more in the plane of the means' first two principal components.
    """
    plane = principal_plane(means)
    flat = "" if means.shape[1] <= 2 else ", first two principal components"
    figure = new_figure(SIDE, SIDE)
    axes: Any = figure.add_subplot(title=f"latents: means, and one sigma{flat}")
    axes.set_aspect("equal", "datalim")
    centres = means @ plane
    # What a Gaussian with these widths along the latent axes looks like in the plane.
    lengths, directions = torch.linalg.eigh(plane.T @ (sigma.square()[:, :, None] * plane))
    across, along = (2 * lengths.clamp(min=0).sqrt()).unbind(1)
    angles = torch.atan2(directions[:, 1, 1], directions[:, 0, 1]).rad2deg()
    colours = [*component_colours(coloured), *[to_rgba(GREY)] * (len(means) - coloured)]
    axes.add_collection(
        EllipseCollection(
            along.numpy(), across.numpy(), angles.numpy(), units="xy", offsets=centres.numpy(),
            offset_transform=axes.transData, facecolors=colours, alpha=0.25,
        )
    )  # fmt: skip
    axes.scatter(*centres.T, s=16, c=colours)
    reach = along[:, None] / 2
    axes.update_datalim(torch.cat([centres - reach, centres + reach]).numpy())
    axes.autoscale_view()
    return render(figure)


def principal_plane(means: Tensor) -> Tensor:
    """Return two orthonormal columns ``(d, 2)``: of two dimensions the axes, of more the principal ones."""
    dim = means.shape[1]
    if dim <= 2:
        return torch.eye(dim, 2)
    centred = means - means.mean(0)
    plane: Tensor = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, [-1, -2]]
    # Their sign is arbitrary: choose it, or the animation flips.
    largest = plane.gather(0, plane.abs().argmax(0, keepdim=True))
    return plane * largest.sign()


def _plane(points: Tensor) -> Tensor:
    """Return the first two coordinates ``(n, 2)``; those of one dimension lie on a line."""
    return torch.nn.functional.pad(points[:, :2], (0, 2 - min(2, points.shape[1])))
