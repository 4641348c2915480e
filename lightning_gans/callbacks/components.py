"""Pictures of a learned mixture: what each component generates, and where it lies."""

from typing import Protocol, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor, nn

from lightning_gans.callbacks.pictures import Pictures, real_samples
from lightning_gans.drawing.pictures import INK, PAPER, font, image_grid, snapshot, thin

SIDE, STRIP, REAL_POINTS, GREY = 560, 10, 1_000, "#b5b5b5"
Colour = tuple[float, ...]


class _Mixture(Protocol):
    """A learned mixture of Gaussians."""

    num_components: int
    mu: Tensor
    sigma: Tensor

    def of_components(self, components: Tensor, rng: torch.Generator) -> Tensor: ...


class _Game(Protocol):
    """What a module must offer to be drawn."""

    image_shape: tuple[int, ...]
    num_classes: int | None

    def network(self, name: str, ema: bool) -> nn.Module: ...

    def generate(self, latents: Tensor, labels: Tensor | None = None, ema: bool = True) -> Tensor: ...


class Components(Pictures):
    """Draw what the components of a learned mixture generate, and where they lie, and animate it at the end.

    For every game whose latents are a :class:`~lightning_gans.game.latents.GaussianMixture`. On the left a
    row of images for each of the first components, or, of vectors, the first two coordinates of points of all
    components, over real ones in grey. On the right the means and the ellipses of one sigma: in two
    dimensions as they are, in more in the plane of the means' first two principal components. Colours are
    components; on the right, those without samples on the left are grey.

    A picture at the start, one every ``every_n_updates`` generator updates and one at the end go to
    ``components/step=<update>.png`` in the run's folder, and to TensorBoard and W&B where such a logger is
    attached; ``components.gif`` is the whole training. Averaged weights are drawn if there are any; classes
    take turns in conditional games. The noise is the same in all pictures, and the training is not changed.
    Other latents are not drawn, with a warning.

    Args:
        every_n_updates: Generator updates between two pictures.
        rows: Components whose images are drawn.
        columns: Images of each; of vectors, points of each component.
        seed: Of the noise.
        gif: Whether to make the animation.
        frame_duration: Seconds that the animation shows a picture.

    Raises:
        ValueError: If a number is not positive.
    """

    folder = "components"

    def __init__(
        self,
        every_n_updates: int = 1_000,
        rows: int = 10,
        columns: int = 10,
        seed: int = 0,
        gif: bool = True,
        frame_duration: float = 0.12,
    ) -> None:
        super().__init__(every_n_updates, gif, frame_duration, rows=rows, columns=columns)
        self.rows, self.columns, self.seed = rows, columns, seed

    def stands_aside(self, module: LightningModule) -> str | None:
        """Draw nothing where there is no mixture."""
        latent = getattr(module, "latent", None)
        if hasattr(latent, "of_components"):
            return None
        return f"the latents of {type(module).__name__} are {type(latent).__name__}, no GaussianMixture"

    def picture(self, trainer: Trainer, module: LightningModule) -> tuple[Image.Image, dict[str, float]]:
        """Draw samples and latents side by side."""
        game = cast(_Game, module)
        latent = cast(_Mixture, game.network("latent", ema=True))
        drawn = latent.num_components
        if len(game.image_shape) == 3:
            drawn = min(drawn, self.rows)
        components = torch.arange(drawn).repeat_interleave(self.columns)
        with torch.no_grad():
            latents = latent.of_components(components, torch.Generator().manual_seed(self.seed))
        labels = None
        if getattr(game, "conditional", False):
            labels = torch.arange(len(components)) % self.columns % (game.num_classes or 1)
        samples = game.sample_from(latents, labels).cpu()
        colours: list[Colour] = list(colormaps["turbo"](np.linspace(0.02, 0.98, drawn)))
        if len(game.image_shape) == 3:
            left = _images(samples, colours, self.columns)
        else:
            left = _points(samples, real_samples(trainer, REAL_POINTS), colours)
        right = _latents(latent, colours)
        strip = 26
        sheet = Image.new("RGB", (left.width + right.width, strip + max(left.height, right.height)), PAPER)
        sheet.paste(left, (0, strip))
        sheet.paste(right, (left.width, strip))
        ImageDraw.Draw(sheet).text(
            (8, strip / 2), f"step {trainer.global_step:,}", fill=INK, font=font(15), anchor="lm"
        )
        return sheet, {}


def _images(samples: Tensor, colours: list[Colour], columns: int) -> Image.Image:
    """A row of images for each component, with its colour at the left."""
    grid = image_grid(samples, columns).convert("RGB")
    sheet = Image.new("RGB", (STRIP + grid.width, grid.height), PAPER)
    sheet.paste(grid, (STRIP, 0))
    pen, height = ImageDraw.Draw(sheet), (grid.height - 2) / len(colours)
    for row, colour in enumerate(colours):
        top = round(2 + row * height)
        fill = (round(255 * colour[0]), round(255 * colour[1]), round(255 * colour[2]))
        pen.rectangle((0, top, STRIP - 3, round(top + height) - 3), fill=fill)
    return sheet


def _points(samples: Tensor, real: Tensor | None, colours: list[Colour]) -> Image.Image:
    """The first two coordinates of points, in the colours of their components, over real ones."""
    figure, axes = _axes("samples")
    if real is not None:
        real = _plane(real.cpu())
        axes.scatter(real[:, 0], real[:, 1], s=8, color=GREY, linewidths=0)
    samples, of_each = _plane(samples), len(samples) // len(colours)
    axes.scatter(samples[:, 0], samples[:, 1], s=9, c=np.repeat(colours, of_each, 0), linewidths=0)
    return _drawn(figure)


def _latents(latent: _Mixture, colours: list[Colour]) -> Image.Image:
    """The means, and ellipses of one sigma."""
    means, sigma = latent.mu.detach().float().cpu(), latent.sigma.detach().float().cpu()
    plane = _principal_plane(means)
    flat = "" if means.shape[1] <= 2 else ", first two principal components"
    figure, axes = _axes(f"latents: means, and one sigma{flat}")
    centres = means @ plane
    # What a Gaussian with these widths along the latent axes looks like in the plane.
    lengths, directions = torch.linalg.eigh(plane.T @ (sigma.square()[:, :, None] * plane))
    across, along = (2 * lengths.clamp(min=0).sqrt()).unbind(1)
    angles = torch.atan2(directions[:, 1, 1], directions[:, 0, 1]).rad2deg()
    shades = [*colours, *[to_rgba(GREY)] * (len(means) - len(colours))]
    axes.add_collection(
        EllipseCollection(
            along.numpy(),
            across.numpy(),
            angles.numpy(),
            units="xy",
            offsets=centres.numpy(),
            offset_transform=axes.transData,
            facecolors=shades,
            alpha=0.25,
        )
    )
    axes.scatter(centres[:, 0], centres[:, 1], s=16, c=shades)
    reach = along[:, None] / 2
    axes.update_datalim(torch.cat([centres - reach, centres + reach]).numpy())
    axes.autoscale_view()
    return _drawn(figure)


def _principal_plane(means: Tensor) -> Tensor:
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


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(SIDE / 100, SIDE / 100), dpi=100, facecolor=PAPER)
    axes = figure.add_axes((0.09, 0.07, 0.88, 0.86))
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_aspect("equal", "datalim")
    thin(axes)
    return figure, axes


def _drawn(figure: Figure) -> Image.Image:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return snapshot(canvas)
