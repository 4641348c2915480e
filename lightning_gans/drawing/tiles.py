"""An image that is too large for a network at once: translated in tiles whose seams are blended."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import ceil
from typing import TypeVar

import torch
from torch import Tensor

Part = TypeVar("Part")


def tile_starts(length: int, tile: int, overlap: int, multiple: int = 1) -> list[int]:
    """Return where tiles begin along a side, at equal distances as far as ``multiple`` allows.

    Tiles that begin at multiples of a network's stride see its grid at the same places as the whole image.

    Args:
        length: The side in pixels; like ``tile``, a multiple of ``multiple``.
        tile: Side of a tile.
        overlap: Pixels that neighbours share, or more.
        multiple: All tiles begin at a multiple of it.

    Raises:
        ValueError: If the tiles are too small to go on by ``multiple`` pixels.
    """
    if length <= tile:
        return [0]
    step = (tile - overlap) // multiple
    if step < 1:
        raise ValueError(
            f"tile={tile}, overlap={overlap}: tiles go on by {multiple} pixels or more with this generator: "
            f"give a tile of at least {-(-(overlap + multiple) // multiple) * multiple}"
        )
    steps = (length - tile) // multiple
    gaps = ceil(steps / step)
    return [i * steps // gaps * multiple for i in range(gaps + 1)]


def tile_weights(starts: list[int], tile: int) -> Tensor:
    """Return how much each tile counts at its pixels along a side; at each place the sum is 1.

    Of the pixels that two neighbours share, the outer quarters belong to one of them alone: close to its
    border a tile does not see what is beyond. Between them the weight goes over in a line.

    Returns:
        ``(number of tiles, tile)``.
    """
    places = torch.arange(starts[-1] + tile) + 0.5
    later = [torch.ones_like(places)]  # what each tile and those after it count together
    for start, end in zip(starts[1:], (start + tile for start in starts), strict=False):
        later.append(((places - start) / (end - start) * 2 - 0.5).clamp(0, 1))
    later.append(torch.zeros_like(places))
    own = [one - rest for one, rest in pairwise(later)]
    return torch.stack([line[start : start + tile] for line, start in zip(own, starts, strict=True)])


def in_tiles(
    read: Callable[[int, int, int, int], Part],
    translate: Callable[[Part], Tensor],
    height: int,
    width: int,
    tile: int,
    overlap: int,
    multiple: int = 1,
) -> Iterator[Tensor]:
    """Translate an image in tiles, and yield the result in strips, from top to bottom.

    Held are one tile and, of the result, as many rows as a tile has. A network whose output depends on its
    input no farther away than a quarter of ``overlap`` gives what it gives for the whole image.

    Args:
        read: Returns a part of the image, as ``translate`` takes it, by its top, left, height and width. It
            can reach beyond the image's end by less than ``multiple`` pixels.
        translate: Maps a part to ``(channels, height, width)``.
        height: Height of the image.
        width: Width of the image.
        tile: Side of a tile in pixels, a multiple of ``multiple``.
        overlap: Pixels that neighbours share, or more.
        multiple: What the height and width of a part, and its place, are multiples of.

    Yields:
        ``(channels, rows, width)``.

    Raises:
        ValueError: If the tiles are too small to go on by ``multiple`` pixels.
    """
    padded = [ceil(side / multiple) * multiple for side in (height, width)]
    tall, wide = (min(side, tile) for side in padded)
    tops, lefts = (tile_starts(side, tile, overlap, multiple) for side in padded)
    down, across = tile_weights(tops, tall), tile_weights(lefts, wide)
    strip: Tensor | None = None
    for i, (top, after) in enumerate(zip(tops, [*tops[1:], height], strict=True)):
        for left, weights in zip(lefts, across, strict=True):
            part = translate(read(top, left, tall, wide))
            if strip is None:
                strip = part.new_zeros(len(part), tall, padded[1])
            strip[:, :, left : left + wide] += part * (down[i, :, None] * weights)
        assert strip is not None
        done, rest = strip[:, : after - top], strip[:, after - top :]
        yield done[:, :, :width]
        strip = torch.cat([rest, torch.zeros_like(done)], 1)
