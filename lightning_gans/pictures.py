"""Pictures of what a generator makes: grids of images, scatters of points, animations."""

import warnings
from collections.abc import Sequence
from functools import cache
from math import ceil
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
# Light and without hue, so that neither colour of points is lost on it.
LANDSCAPE = LinearSegmentedColormap.from_list("landscape", ["#b4bac2", "#d9dce1", "#fafafa"])
BANDS = 12
SHADES = (LANDSCAPE(np.linspace(0, 1, BANDS)) * 255).round().astype(np.uint8)
WORDS = SHADES.view(np.uint32)[:, 0]  # a pixel in one piece
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


class Scatter:
    """Real and fake points of two or three dimensions; in two, over the discriminator's landscape.

    The axes follow the real points and stay the same from picture to picture. What does not change is
    drawn once: a picture of 2-D points takes a few milliseconds.

    Args:
        points: ``(n, d)`` points that set the axes. Of more than three dimensions the first three are drawn.
        real: Whether these are the real points; otherwise only fake ones are drawn.
    """

    resolution = 64

    def __init__(self, points: Tensor, real: bool = True) -> None:
        cloud = points.detach().float().cpu()[:, :3].nan_to_num(0.0, 0.0, 0.0).numpy()
        self.real = cloud if real else cloud[:0]
        low, high = cloud.min(0), cloud.max(0)
        middle, reach = (low + high) / 2, max(float((high - low).max()) * 0.62, 1e-3)
        self.limits = [(float(m - reach), float(m + reach)) for m in middle]
        self.figure = Figure(figsize=(6.0, 5.6), dpi=100, facecolor=PAPER)
        self.canvas: Any = FigureCanvasAgg(self.figure)  # has few types
        self.flat = cloud.shape[1] == 2
        if self.flat:
            self._draw_frame()

    def mesh(self) -> Tensor:
        """Return ``(resolution**2, 2)`` points whose scores make the landscape, row by row from below."""
        (left, right), (bottom, top) = self.limits
        x, y = torch.linspace(left, right, self.resolution), torch.linspace(bottom, top, self.resolution)
        grid = torch.meshgrid(y, x, indexing="ij")
        return torch.stack([grid[1].flatten(), grid[0].flatten()], 1)

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
        low, high = np.transpose(self.limits)
        outside = int((~((points >= low) & (points <= high)).all(1)).sum())
        self.canvas.restore_region(self.background)
        labels = self._paint(landscape.detach().float().cpu()) if landscape is not None else []
        self.fake_points.set_data(points[:, 0], points[:, 1])
        for artist in (self.real_points, self.fake_points, *self.axes.spines.values()):
            self.axes.draw_artist(artist)
        # Pillow sets a line of text in a tenth of the time that matplotlib needs.
        picture = self._picture()
        pen, (left, top, right, bottom) = ImageDraw.Draw(picture), self.box
        pen.text((left, top - 6), title, fill=INK, font=font(15), anchor="ls")
        if outside:
            note = f"{outside} of {len(points)} fake points are outside"
            pen.text((right - 7, bottom - 6), note, fill=INK, font=font(11), anchor="rs")
        for label, height, anchor in zip(
            labels, (bottom, (top + bottom) / 2, top), ("ls", "lm", "lt"), strict=False
        ):
            pen.text((right + 37, height), label, fill=INK, font=font(11), anchor=anchor)
        return picture

    def _draw_frame(self) -> None:
        self.axes = self.figure.add_axes((0.08, 0.12, 0.756, 0.81), facecolor="#fafafa")
        self.axes.set(xlim=self.limits[0], ylim=self.limits[1])
        self.bar = self.figure.add_axes((0.865, 0.12, 0.025, 0.81))
        self.bar.imshow(
            SHADES[:, None], aspect="auto", origin="lower", extent=(0, 1, 0, 1), interpolation="nearest"
        )
        self.bar.set(xticks=[], yticks=[])
        for axes in (self.axes, self.bar):
            axes.tick_params(labelsize=8, colors=INK, length=3, width=0.6)
            for side in axes.spines.values():
                side.set(color="#aaaaaa", linewidth=0.6)
        style: dict[str, Any] = {"linestyle": "none", "marker": "o", "markeredgewidth": 0}
        self.real_points, self.fake_points = (
            self.axes.plot([], [], color=colour, markersize=size, alpha=alpha, animated=True, **style)[0]
            for colour, size, alpha in ((REAL, 6.0, 0.35), (FAKE, 3.4, 0.75))
        )
        self.real_points.set_data(self.real[:, 0], self.real[:, 1])
        self.figure.legend(handles=_legend(), loc="lower left", bbox_to_anchor=(0.07, 0.005), **LEGEND)
        self.figure.text(0.835, 0.03, "shade: the discriminator's score", ha="right", fontsize=9, color=INK)
        self.canvas.draw()
        area = self.axes.get_window_extent()
        height = self.canvas.get_width_height()[1]
        self.box = (round(area.x0), height - round(area.y1), round(area.x1), height - round(area.y0))
        self.background = self.canvas.copy_from_bbox(self.figure.bbox)

    def _paint(self, scores: Tensor) -> list[str]:
        """Shade the background; return what the ends and the middle of the shades mean."""
        scores = scores.nan_to_num(0.0, 0.0, 0.0)
        # The tails of an unbounded critic would leave one shade for all that lies between the points.
        low, high = torch.quantile(scores, torch.tensor([0.02, 0.98])).tolist()
        span = high - low if high - low > 1e-12 else 1.0
        scores = ((scores - low) / span).reshape(1, 1, self.resolution, self.resolution)
        left, top, right, bottom = self.box
        size = (bottom - top, right - left)
        fine = nn.functional.interpolate(scores, size, mode="bilinear", align_corners=True)[0, 0]
        bands = fine.mul(BANDS).clamp(0, BANDS - 1).to(torch.uint8).numpy()
        # Straight into the canvas: an image that matplotlib resamples takes as long as all the rest.
        np.asarray(self.canvas.buffer_rgba()).view(np.uint32)[top:bottom, left:right, 0] = WORDS[bands[::-1]]
        return [f"{value:.3g}" for value in (low, (low + high) / 2, high)]

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
        return self._picture()

    def _picture(self) -> Image.Image:
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba())[:, :, :3].copy())


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font of all pictures."""
    return ImageFont.truetype(findfont("DejaVu Sans"), size)


LEGEND = {"ncols": 2, "frameon": False, "fontsize": 9, "labelcolor": INK, "handletextpad": 0.1}


def _legend() -> list[Any]:
    return [
        Line2D(
            [], [], linestyle="none", marker="o", markersize=6, markeredgewidth=0, color=colour, label=label
        )
        for colour, label in ((REAL, "real"), (FAKE, "fake"))
    ]


def save_gif(
    frames: Sequence[Path], path: Path, frame_duration: float = 0.12, captions: Sequence[str] | None = None
) -> None:
    """Join pictures to an animation that stays small; the last frame is held for two seconds.

    At most 120 frames are taken, evenly spaced, and fewer of large ones; first and last are always among
    them. Frames wider or higher than 640 pixels are made smaller.

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
    shrink = min(1.0, GIF_SIDE / max(size))
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
    return sheet.quantize(64)


def _with_caption(picture: Image.Image, caption: str) -> Image.Image:
    strip = 22
    canvas = Image.new("RGB", (picture.width, picture.height + strip), PAPER)
    canvas.paste(picture, (0, strip))
    ImageDraw.Draw(canvas).text((4, strip / 2), caption, fill=INK, font=font(13), anchor="lm")
    return canvas
