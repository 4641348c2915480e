"""Grids of images, and labels around them."""

from collections.abc import Sequence
from io import BytesIO
from math import ceil, sqrt

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision.utils import make_grid

from lightning_gans.data.decode import to_channels
from lightning_gans.drawing.pixels import to_bytes
from lightning_gans.drawing.style import INK, PAPER, font, new_figure, styled

CELL, LARGE = 48, 96  # pixels a side that small images grow to, and large ones shrink to
SHOWN = 256  # where an image is to be looked at closely
GAP, STRIP = 2, 22


def magnification(shape: Sequence[int]) -> int:
    """Return the side of the square that each pixel of small images (channels, height, width) becomes."""
    return ceil(CELL / sqrt(shape[1] * shape[2]))


def most_images(shape: Sequence[int], scale: int | None = None) -> int:
    """Return how many images (channels, height, width) a grid can have that Pillow opens again."""
    scale = scale or magnification(shape)
    return 2 * (Image.MAX_IMAGE_PIXELS or 10**9) // (shape[1] * shape[2] * scale**2)


def image_grid(images: Tensor, columns: int = 8, scale: int | None = None) -> Image.Image:
    """Arrange images in rows, with thin lines between them.

    Args:
        images: ``(n, channels, height, width)``, uint8 or in [-1, 1]. One channel is drawn in grey, three in
            colour; of any other number the first, or the first three.
        columns: Images in a row.
        scale: Each pixel becomes a square of this side. By default small images grow to about 48 pixels.

    Returns:
        The picture, in mode ``L`` or ``RGB``.
    """
    if scale is None:
        scale = magnification(images.shape[1:])
    pixels = images.detach().cpu()[:, : 3 if images.shape[1] >= 3 else 1]
    if pixels.dtype != torch.uint8:
        pixels = to_bytes(pixels.float().nan_to_num(-1.0, 1.0, -1.0))
    pixels = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    if len(pixels) == 1:
        sheet = nn.functional.pad(pixels[0], [GAP] * 4, value=80)  # make_grid would draw no lines
    else:
        sheet = make_grid(pixels, nrow=columns, padding=GAP, pad_value=80)
    return Image.fromarray((sheet[0] if pixels.shape[1] == 1 else sheet.permute(1, 2, 0)).numpy())


def in_colour(images: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Return images as ``(n, 3, height, width)``, the grey ones too; ``size`` is another height and width."""
    if size is not None and tuple(images.shape[2:]) != tuple(size):
        images = nn.functional.interpolate(images, tuple(size), mode="bilinear", antialias=True)
    return images[:, : 3 if images.shape[1] >= 3 else 1].expand(-1, 3, -1, -1)


def shrunk(images: Tensor) -> Tensor:
    """Return float images as ``(n, 3, height, width)`` of at most 96 pixels a side, in their proportions."""
    scale = min(1.0, LARGE / max(images.shape[2:]))
    return in_colour(images, [max(1, round(side * scale)) for side in images.shape[2:]])


@styled
def labelled_grid(
    images: Tensor, columns: int, title: str, rows: Sequence[str] = (), headings: Sequence[str] = ()
) -> Image.Image:
    """Arrange images in rows, with a title and with names of rows and columns.

    Args:
        images: As in :func:`image_grid`.
        columns: Images in a row.
        title: A line, or some.
        rows: Written at the left of each row.
        headings: Written above each column.
    """
    grid = image_grid(images, columns, max(1, round(64 / max(images.shape[2:])))).convert("RGB")
    figure = new_figure(grid.width, grid.height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1), title=title)  # the image keeps its pixels; labels are outside
    axes.imshow(grid, interpolation="nearest", aspect="auto")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, bottom=False, labelbottom=False, labeltop=True, labelsize=10)
    down, across = len(images) // columns or 1, min(columns, len(images))
    axes.set_yticks([(i + 0.5) * grid.height / down for i in range(len(rows))], rows, parse_math=False)
    axes.set_xticks(
        [(i + 0.5) * grid.width / across for i in range(len(headings))], headings, parse_math=False
    )
    file = BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.15)
    return Image.open(file).convert("RGB")


def with_headings(picture: Image.Image, headings: Sequence[str]) -> Image.Image:
    """Add a strip above a picture, with texts at equal distances."""
    canvas = Image.new(picture.mode, (picture.width, picture.height + STRIP), PAPER)
    canvas.paste(picture, (0, STRIP))
    pen = ImageDraw.Draw(canvas)
    for i, text in enumerate(headings):
        place = (4 + i * picture.width / len(headings), STRIP / 2)
        pen.text(place, text, fill=INK, font=font(13), anchor="lm")
    return canvas


def beside(*pictures: Image.Image, gap: int = 0) -> Image.Image:
    """Put pictures side by side, on white."""
    size = sum(p.width for p in pictures) + gap * (len(pictures) - 1), max(p.height for p in pictures)
    canvas, left = Image.new("RGB", size, PAPER), 0
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width + gap
    return canvas


def captioned_pair(left: Image.Image, right: Image.Image, name: str) -> Image.Image:
    """Draw two images of any mode side by side, both as large as the left one is shown, under a name."""
    scale = SHOWN / max(left.size)
    scale = scale if scale < 1 else magnification((1, *left.size))
    width, height = (max(1, round(side * scale)) for side in left.size)
    how = None if scale < 1 else Image.Resampling.NEAREST  # of Pillow's own choice: some modes have but one
    both = (picture.resize((width, height), how, reducing_gap=2) for picture in (left, right))
    return with_headings(beside(*(to_channels(picture, 3) for picture in both), gap=GAP), [name])


def in_rows(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Arrange pictures of any size in rows, on white, each row and column as large as the largest picture."""
    width, height = (
        max(sides) + 4 * GAP for sides in zip(*(picture.size for picture in pictures), strict=True)
    )
    columns = min(columns, len(pictures))
    canvas = Image.new("RGB", (columns * width, ceil(len(pictures) / columns) * height), PAPER)
    for i, picture in enumerate(pictures):
        canvas.paste(picture, (i % columns * width, i // columns * height))
    return canvas


def neighbours_picture(samples: Tensor, neighbours: Tensor, scale: int | None = None) -> Image.Image:
    """Put beside each sample what is nearest to it in the training data.

    Args:
        samples: ``(n, channels, height, width)`` in [-1, 1], or uint8.
        neighbours: ``(n, k, channels, height, width)``, as the samples; the nearest first.
        scale: As in :func:`image_grid`.

    Returns:
        A row for each sample, which is at the left; a broad line separates it from its neighbours.

    Raises:
        ValueError: If shapes do not fit.
    """
    if neighbours.dim() != 5 or samples.shape != (len(neighbours), *neighbours.shape[2:]):
        shapes = f"{tuple(samples.shape)} and {tuple(neighbours.shape)}"
        raise ValueError(f"samples, neighbours have shapes {shapes}: give (n, C, H, W) and (n, k, C, H, W)")
    left = image_grid(samples, 1, scale)
    return beside(left, image_grid(neighbours.flatten(0, 1), neighbours.shape[1], scale), gap=4)
