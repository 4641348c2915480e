"""Pictures of what a generator makes: grids of images, scatters of points, animations."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from math import ceil, isqrt, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.lines import Line2D
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

REAL, FAKE = "#2166ac", "#e6550d"
INK, PAPER = "#333333", "#ffffff"
Place = tuple[float, float, float, float]
Box = tuple[int, int, int, int]
FORCE = "#7f2704"
THIN: dict[str, Any] = {"width": 1.1, "color": "#4d4d4d", "alpha": 0.5}
BOLD: dict[str, Any] = {"width": 1.8, "color": FORCE}
CELL = 48
GIF_FRAMES, GIF_PIXELS, GIF_SIDE = 120, 24_000_000, 640


def to_bytes(images: Tensor) -> Tensor:
    """Turn images in [-1, 1] into uint8, rounded to the nearest of 256 levels."""
    return images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def as_stored(samples: Tensor, first: int = 0) -> Tensor:
    """Return images as files would hold them, in 256 levels; vectors as they are.

    Args:
        samples: Images ``(n, C, H, W)`` in [-1, 1], or vectors ``(n, d)``.
        first: Number of the first one, for the message.

    Raises:
        ValueError: If a sample is not finite.
    """
    good = samples.flatten(1).isfinite().all(1)
    if not good.all():
        bad = first + int((~good).nonzero()[0])
        raise ValueError(f"sample {bad} is not finite: the generator has diverged")
    return to_bytes(samples) if samples.ndim == 4 else samples


def warn_of_range(samples: Tensor) -> None:
    """Warn of images ``(n, C, H, W)`` that cannot be meant as ones in [-1, 1]; vectors have no range."""
    if samples.ndim != 4:
        return
    low, high = float(samples.min()), float(samples.max())
    if max(-low, high) > 1.05:
        found = "what is beyond is cut off"
    elif low >= 0:
        found = "this looks like [0, 1]"
    else:
        return
    warnings.warn(f"samples lie in [{low:.3g}, {high:.3g}], not in [-1, 1]: {found}", stacklevel=2)


def image_grid(images: Tensor, columns: int = 8, scale: int | None = None) -> Image.Image:
    """Arrange images in rows, with thin lines between them.

    Args:
        images: ``(n, channels, height, width)`` in [-1, 1]. One channel is drawn in grey, three in colour;
            of any other number the first, or the first three.
        columns: Images in a row.
        scale: Each pixel becomes a square of this side. By default small images grow to about 48 pixels.

    Returns:
        The picture, in mode ``L`` or ``RGB``.
    """
    images = images.detach().float().cpu().nan_to_num(-1.0, 1.0, -1.0)
    n, channels, height, width = images.shape
    if scale is None:
        scale = ceil(CELL / min(height, width))
    images = images[:, : 3 if channels >= 3 else 1]
    pixels = to_bytes(images).permute(0, 2, 3, 1).numpy()
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width, columns = height * scale, width * scale, min(columns, n)
    rows, gap = ceil(n / columns), 2
    sheet = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, pixels.shape[3]), 80, np.uint8
    )
    for index, image in enumerate(pixels):
        row, column = divmod(index, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet)


def neighbours_picture(samples: Tensor, neighbours: Tensor, scale: int | None = None) -> Image.Image:
    """Put beside each sample what is nearest to it in the training data.

    Args:
        samples: ``(n, channels, height, width)`` in [-1, 1], or bytes.
        neighbours: ``(n, k, channels, height, width)``, as the samples; the nearest first.
        scale: As in :func:`image_grid`.

    Returns:
        A row for each sample, which is at the left; a broad line separates it from its neighbours.

    Raises:
        ValueError: If shapes do not fit.
    """
    if neighbours.dim() != 5 or samples.shape != (len(neighbours), *neighbours.shape[2:]):
        raise ValueError(
            f"samples {tuple(samples.shape)} and neighbours {tuple(neighbours.shape)} must have shapes "
            "(n, C, H, W) and (n, k, C, H, W)"
        )
    left, right = (
        image_grid(images / 127.5 - 1 if images.dtype == torch.uint8 else images, columns, scale)
        for images, columns in ((samples, 1), (neighbours.flatten(0, 1), neighbours.shape[1]))
    )
    picture = Image.new(left.mode, (left.width + 4 + right.width, left.height), "white")
    picture.paste(left, (0, 0))
    picture.paste(right, (left.width + 4, 0))
    return picture


class Shades:
    """A scale of colours in bands: a background in them reads like a map with contour lines.

    Args:
        colours: From the lowest value to the highest.
        bands: How many.
    """

    def __init__(self, colours: Sequence[str], bands: int) -> None:
        scale = LinearSegmentedColormap.from_list("shades", colours)
        self.bands = (scale(np.linspace(0, 1, bands)) * 255).round().astype(np.uint8)
        self._pixels = self.bands.view(np.uint32)[:, 0]  # a pixel in one piece

    def paint(self, canvas: Any, box: Box, values: Tensor) -> None:
        """Fill ``box`` with a square of ``(n * n,)`` values, row by row from below; 0 to 1 are the scale."""
        left, top, right, bottom = box
        side = isqrt(len(values))
        square = values.reshape(1, 1, side, side)
        size = (bottom - top, right - left)
        fine = nn.functional.interpolate(square, size, mode="bilinear", align_corners=True)[0, 0]
        last = len(self.bands) - 1
        bands = fine.mul(last + 1).clamp(0, last).to(torch.uint8).numpy()
        # Straight into the canvas: an image that matplotlib resamples takes as long as all the rest.
        pixels = np.asarray(canvas.buffer_rgba()).view(np.uint32)[:, :, 0]
        pixels[top:bottom, left:right] = self._pixels[bands[::-1]]

    def add_bar(self, figure: Figure, place: Place) -> None:
        """Draw the scale, lowest value below."""
        axes = figure.add_axes(place)
        extent = (0, 1, 0, 1)
        axes.imshow(
            self.bands[:, None], aspect="auto", origin="lower", extent=extent, interpolation="nearest"
        )
        axes.set(xticks=[], yticks=[])
        thin(axes)


# Light and without hue, so that neither colour of points is lost on it.
LANDSCAPE = Shades(["#b4bac2", "#d9dce1", "#fafafa"], 12)
# The hues of the points, light enough for them to stand out. The middle band of an odd number is zero.
POTENTIAL = Shades(["#f3b98f", "#fae3d3", "#fbfbfb", "#d6e4f1", "#9cc1e0"], 17)


def square_around(points: Any, room: float = 0.12) -> list[tuple[float, float]]:
    """Return the limits of axes of equal length, with room on all sides of ``(n, d)`` points."""
    low, high = points.min(0), points.max(0)
    middle, reach = (low + high) / 2, max(float((high - low).max()) * (0.5 + room), 1e-3)
    return [(float(m - reach), float(m + reach)) for m in middle]


def mesh(limits: Sequence[tuple[float, float]], side: int) -> Tensor:
    """Return ``(side**2, 2)`` points, evenly spaced between the limits, row by row from below."""
    (left, right), (bottom, top) = limits
    x, y = torch.linspace(left, right, side), torch.linspace(bottom, top, side)
    grid = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid[1].flatten(), grid[0].flatten()], 1)


class _Panel:
    """Axes of real and fake points of two dimensions, over a background that is painted by others.

    What does not change is drawn once: a picture takes a few milliseconds.
    """

    def __init__(
        self, figure: Figure, place: Place, limits: Sequence[tuple[float, float]], real: Any
    ) -> None:
        self.axes = figure.add_axes(place, facecolor="#fafafa")
        self.axes.set(xlim=limits[0], ylim=limits[1])
        thin(self.axes)
        style: dict[str, Any] = {"linestyle": "none", "marker": "o", "markeredgewidth": 0, "animated": True}
        self.real_points = self.axes.plot(*real.T, color=REAL, markersize=6.0, alpha=0.35, **style)[0]
        self.fake_points = self.axes.plot([], [], color=FAKE, markersize=3.4, alpha=0.75, **style)[0]
        area, height = self.axes.get_window_extent(), round(figure.bbox.height)
        self.box: Box = (round(area.x0), height - round(area.y1), round(area.x1), height - round(area.y0))

    def draw(self, fake: Any, under: Sequence[Any] = (), over: Sequence[Any] = ()) -> None:
        """Draw real points and ``(n, 2)`` fake ones, between other artists of the axes."""
        self.fake_points.set_data(fake[:, 0], fake[:, 1])
        for artist in (*under, self.real_points, self.fake_points, *over, *self.axes.spines.values()):
            self.axes.draw_artist(artist)

    def outside(self, fake: Any) -> str:
        """Return a note on how many fake points the axes do not show."""
        low, high = np.transpose([self.axes.get_xlim(), self.axes.get_ylim()])
        n = int((~((fake >= low) & (fake <= high)).all(1)).sum())
        return f"{n} of {len(fake)} fake points are outside" if n else ""


class Scatter:
    """Real and fake points of two or three dimensions; in two, over the discriminator's landscape.

    The axes follow the real points and stay the same from picture to picture.

    Args:
        points: ``(n, d)`` points that set the axes. Of more than three dimensions the first three are drawn.
        real: Whether these are the real points; otherwise only fake ones are drawn.
    """

    resolution = 64

    def __init__(self, points: Tensor, real: bool = True) -> None:
        cloud = points.detach().float().cpu()[:, :3].nan_to_num(0.0, 0.0, 0.0).numpy()
        self.real = cloud if real else cloud[:0]
        self.limits = square_around(cloud)
        self.figure = Figure(figsize=(6.0, 5.6), dpi=100, facecolor=PAPER)
        self.canvas: Any = FigureCanvasAgg(self.figure)  # has few types
        self.flat = cloud.shape[1] == 2
        if self.flat:
            self._draw_frame()

    def mesh(self) -> Tensor:
        """Return ``(resolution**2, 2)`` points whose scores make the landscape, row by row from below."""
        return mesh(self.limits, self.resolution)

    def draw(self, fake: Tensor, title: str, landscape: Tensor | None = None) -> Image.Image:
        """Draw one picture.

        Args:
            fake: ``(n, d)`` generated points.
            title: The line above.
            landscape: The discriminator's scores of :meth:`mesh`.
        """
        points = fake.detach().float().cpu()[:, :3].numpy()
        if not self.flat:
            return self._draw_space(points, title)
        self.canvas.restore_region(self.background)
        ends = None
        if landscape is not None:
            scores = landscape.detach().float().cpu().nan_to_num(0.0, 0.0, 0.0)
            low, high = ends = _scale(scores)
            LANDSCAPE.paint(self.canvas, self.panel.box, (scores - low) / (high - low))
        self.panel.draw(points)
        # Pillow sets a line of text in a tenth of the time that matplotlib needs.
        picture = snapshot(self.canvas)
        pen, (left, top, right, bottom) = ImageDraw.Draw(picture), self.box
        pen.text((left, top - 6), title, fill=INK, font=font(15), anchor="ls")
        pen.text((right - 7, bottom - 6), self.panel.outside(points), fill=INK, font=font(11), anchor="rs")
        if ends is not None:
            _mark_bar(pen, (right + 37, top, bottom), ends)
        return picture

    def _draw_frame(self) -> None:
        self.panel = _Panel(self.figure, (0.08, 0.12, 0.756, 0.81), self.limits, self.real)
        self.box = self.panel.box
        LANDSCAPE.add_bar(self.figure, (0.865, 0.12, 0.025, 0.81))
        self.figure.legend(handles=_legend(), loc="lower left", bbox_to_anchor=(0.07, 0.005), **LEGEND)
        self.figure.text(0.835, 0.03, "shade: the discriminator's score", ha="right", fontsize=9, color=INK)
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(self.figure.bbox)

    def _draw_space(self, points: Any, title: str) -> Image.Image:
        self.figure.clear()
        axes: Any = self.figure.add_axes((0.0, 0.04, 1.0, 0.9), projection="3d")
        for cloud, colour, alpha in ((self.real, REAL, 0.35), (points, FAKE, 0.6)):
            inside = np.all([(x >= a) & (x <= b) for x, (a, b) in zip(cloud.T, self.limits, strict=True)], 0)
            axes.scatter(*cloud[inside].T, s=5, color=colour, alpha=alpha, linewidths=0, depthshade=False)
        axes.set(xlim=self.limits[0], ylim=self.limits[1], zlim=self.limits[2])
        axes.tick_params(labelsize=7, colors=INK)
        self.figure.text(0.03, 0.95, title, fontsize=11, color=INK)
        self.figure.legend(handles=_legend(), loc="lower left", bbox_to_anchor=(0.01, 0.005), **LEGEND)
        self.canvas.draw()
        return snapshot(self.canvas)


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
        signed: Shade around zero; otherwise from the lowest to the highest value.
    """

    resolution = 48
    lattice_side = 18

    def __init__(self, real: Tensor, panels: int, signed: bool) -> None:
        cloud = real.detach().float().cpu().nan_to_num(0.0, 0.0, 0.0).numpy()
        self.limits = square_around(cloud, room=0.2)
        self.cell = (self.limits[0][1] - self.limits[0][0]) / self.lattice_side
        self.signed = signed
        side, gap, left, right, above, below = 470, 26, 46, 76, 66, 58
        width, height = left + panels * side + (panels - 1) * gap + right, above + side + below
        figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=PAPER)
        self.canvas: Any = FigureCanvasAgg(figure)
        self.panels = []
        for index in range(panels):
            place = (left + index * (side + gap)) / width, below / height, side / width, side / height
            self.panels.append(_Panel(figure, place, self.limits, cloud))
            if index:
                self.panels[-1].axes.set_yticklabels([])
        bar = (width - right + 12) / width, below / height, 15 / width, side / height
        POTENTIAL.add_bar(figure, bar)
        handles = [*_legend(), _handle(FORCE, "force on a fake point", marker=r"$\rightarrow$", size=14)]
        corner = ((left - 6) / width, 6 / height)
        figure.legend(handles=handles, loc="lower left", bbox_to_anchor=corner, **{**LEGEND, "ncols": 3})
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def mesh(self) -> Tensor:
        """Return ``(resolution**2, 2)`` points whose values make the background, row by row from below."""
        return mesh(self.limits, self.resolution)

    def lattice(self) -> Tensor:
        """Return ``(lattice_side**2, 2)`` points that the thin arrows stand on, row by row from below."""
        middle = self.cell / 2
        return mesh([(low + middle, high - middle) for low, high in self.limits], self.lattice_side)

    def draw(self, fake: Tensor, title: str, views: Sequence[FieldView]) -> Image.Image:
        """Draw one picture.

        Args:
            fake: ``(n, 2)`` generated points.
            title: The line above all.
            views: One a panel. The first sets the scales.
        """
        fake = fake.detach().float().cpu()
        low, high = _scale(views[0].values, self.signed)
        unit = typical_length(torch.cat([views[0].around, views[0].forces]))
        chosen = one_a_square(fake, 1.3 * self.cell)
        self.canvas.restore_region(self.background)
        for view, panel in zip(views, self.panels, strict=True):
            POTENTIAL.paint(self.canvas, panel.box, (view.values - low) / (high - low))
            around = bounded(view.around, unit, self.cell)
            forces = bounded(view.forces[chosen], unit, 1.8 * self.cell)
            with (
                _arrows(panel.axes, self.lattice(), around, pivot="mid", **THIN) as under,
                _arrows(panel.axes, fake[chosen], forces, **BOLD) as over,
            ):
                panel.draw(fake.numpy(), [under], [over])
        picture = snapshot(self.canvas)
        pen = ImageDraw.Draw(picture)
        for view, panel in zip(views, self.panels, strict=True):
            pen.text((panel.box[0], panel.box[1] - 8), view.title, fill=INK, font=font(13), anchor="ls")
        _, top, right, bottom = self.panels[-1].box
        pen.text((self.panels[0].box[0], top - 34), title, fill=INK, font=font(15), anchor="ls")
        note = self.panels[0].outside(fake.numpy())
        pen.text((right, top - 34), note, fill=INK, font=font(11), anchor="rs")
        _mark_bar(pen, (right + 33, top, bottom), (low, high))
        return picture


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


@contextmanager
def _arrows(axes: Any, tails: Tensor, vectors: Tensor, **style: Any) -> Iterator[Any]:
    head = {"headwidth": 4.2, "headlength": 4.6, "headaxislength": 4.0, "minlength": 0.6}
    place = {"units": "dots", "scale_units": "xy", "scale": 1.0}
    quiver = axes.quiver(*tails.T.numpy(), *vectors.T.numpy(), animated=True, **place, **head, **style)
    try:
        yield quiver
    finally:
        quiver.remove()


def _scale(values: Tensor, signed: bool = False) -> tuple[float, float]:
    """Return the values at both ends of the shades: the tails of an unbounded critic do not count.

    They would leave one shade for all that lies between the points.
    """
    if signed:
        high = max(float(torch.quantile(values.abs(), 0.98)), 1e-12)
        return -high, high
    low, high = torch.quantile(values, torch.tensor([0.02, 0.98])).tolist()
    return low, high if high - low > 1e-12 else low + 1.0


def _mark_bar(pen: ImageDraw.ImageDraw, place: tuple[float, float, float], ends: tuple[float, float]) -> None:
    """Write what the ends and the middle of the shades mean, at x between top and bottom."""
    (x, top, bottom), (low, high) = place, ends
    for value, y, anchor in (
        (low, bottom, "ls"),
        ((low + high) / 2, (top + bottom) / 2, "lm"),
        (high, top, "lt"),
    ):
        pen.text((x, y), f"{value:.3g}", fill=INK, font=font(11), anchor=anchor)


def thin(axes: Any) -> None:
    """Give axes thin grey lines and small writing."""
    axes.tick_params(labelsize=8, colors=INK, length=3, width=0.6)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(size=9, color=INK)
    for side in axes.spines.values():
        side.set(color="#aaaaaa", linewidth=0.6)


def snapshot(canvas: Any) -> Image.Image:
    """Return what is drawn on a canvas, in RGB."""
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of all pictures."""
    return ImageFont.truetype(findfont("DejaVu Sans"), size)


LEGEND = {"ncols": 2, "frameon": False, "fontsize": 9, "labelcolor": INK, "handletextpad": 0.1}


def _legend() -> list[Any]:
    return [_handle(REAL, "real"), _handle(FAKE, "fake")]


def _handle(colour: str, label: str, marker: str = "o", size: float = 6) -> Line2D:
    style: dict[str, Any] = {"linestyle": "none", "marker": marker, "markersize": size, "markeredgewidth": 0}
    return Line2D([], [], color=colour, label=label, **style)


def save_gif(
    frames: Sequence[Path], path: Path, frame_duration: float = 0.12, captions: Sequence[str] | None = None
) -> None:
    """Join pictures to an animation that stays small; the last frame is held for two seconds.

    At most 120 frames are taken, evenly spaced, and fewer of large ones; first and last are always among
    them. Frames of more than 640 x 640 pixels are made smaller.

    Args:
        frames: PNG files, in order. Those that are not there any more are skipped; without any, nothing is
            written.
        path: The GIF.
        frame_duration: Seconds that a frame is shown.
        captions: A line for each frame, written on a strip above it.
    """
    there = [(frame, captions[i] if captions else "") for i, frame in enumerate(frames) if frame.is_file()]
    if not there:
        return
    with Image.open(there[-1][0]) as last:
        size = last.size
    shrink = min(1.0, GIF_SIDE / sqrt(size[0] * size[1]))
    most = max(2, min(GIF_FRAMES, int(GIF_PIXELS / (size[0] * size[1] * shrink**2))))
    if len(there) > most:
        there = [there[round(i * (len(there) - 1) / (most - 1))] for i in range(most)]
    pictures = []
    for frame, caption in there:
        with Image.open(frame) as file:
            picture = file.convert("RGB")
        if picture.size != size:  # left by a run with other settings
            picture = picture.resize(size)
        if shrink < 1:
            small = (round(size[0] * shrink), round(size[1] * shrink))
            picture = picture.resize(small, Image.Resampling.LANCZOS)
        pictures.append(_with_caption(picture, caption) if captions else picture)
    palette = _palette([pictures[0], pictures[len(pictures) // 2], pictures[-1]])
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [round(frame_duration * 1000)] * (len(pictures) - 1) + [2000]
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=False
    )


def _palette(pictures: Sequence[Image.Image]) -> Image.Image:
    """Choose colours for a whole animation: chosen frame by frame, rare ones (a legend's) would flicker."""
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width, height * len(pictures)))
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (0, index * height))
    # One method is fine for photographs, the other for drawings, whose few points it keeps in colour.
    methods = (Image.Quantize.MEDIANCUT, Image.Quantize.FASTOCTREE)
    return min((sheet.quantize(64, method) for method in methods), key=lambda found: _damage(sheet, found))


def _damage(sheet: Image.Image, palette: Image.Image) -> float:
    """Return how wrong the colours of a palette are; few that are far off count more than many nuances."""
    shown = sheet.quantize(palette=palette, dither=Image.Dither.NONE).convert("RGB")
    errors = np.asarray(shown).astype(np.float32) - np.asarray(sheet)
    return float((errors**4).mean())


def _with_caption(picture: Image.Image, caption: str) -> Image.Image:
    strip = 22
    canvas = Image.new("RGB", (picture.width, picture.height + strip), PAPER)
    canvas.paste(picture, (0, strip))
    ImageDraw.Draw(canvas).text((4, strip / 2), caption, fill=INK, font=font(13), anchor="lm")
    return canvas
