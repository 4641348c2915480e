"""Tiles of large images: their places, their weights, and what a network makes of them."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from lightning_gans.drawing.tiles import in_tiles, tile_starts, tile_weights


@pytest.mark.parametrize("multiple", [1, 4, 16])
@pytest.mark.parametrize(("tile", "overlap"), [(32, 0), (32, 8), (64, 16), (96, 64), (48, 31)])
@pytest.mark.parametrize("blocks", [1, 6, 7, 13, 40])
def test_tiles_cover_a_side_and_share_what_they_must(blocks, tile, overlap, multiple):
    length = 16 * blocks
    if multiple > tile - overlap:
        with pytest.raises(ValueError, match=f"tile={tile}, overlap={overlap}"):
            tile_starts(10 * length + tile, tile, overlap, multiple)
        return
    starts = tile_starts(length, tile, overlap, multiple)
    assert starts[0] == 0
    assert starts[-1] + tile == max(length, tile)
    assert all(start % multiple == 0 for start in starts)
    assert all(0 < after - before <= tile - overlap for before, after in pairwise(starts))
    weights = tile_weights(starts, tile)
    total = torch.zeros(starts[-1] + tile)
    for start, own in zip(starts, weights, strict=True):
        total[start : start + tile] += own
    assert weights.min() >= 0
    assert total.allclose(torch.ones(()), atol=1e-6)


def test_weights_by_hand():
    """Of 8 shared pixels the outer 2 at either side belong to one tile, between them it is a line."""
    first, second = tile_weights([0, 4], 12)
    line = torch.tensor([1, 1, 7 / 8, 5 / 8, 3 / 8, 1 / 8, 0, 0])
    assert first.allclose(torch.cat([torch.ones(4), line]))
    assert second.allclose(torch.cat([1 - line, torch.ones(4)]))


def in_parts(image, network, tile, overlap, multiple=1):
    """Translate an image (C, H, W) in tiles, as the command does; return it and the tiles' shapes."""
    shapes = []

    def read(top, left, height, width):
        part = image[:, top : top + height, left : left + width].numpy()
        missing = (0, height - part.shape[1]), (0, width - part.shape[2])
        return torch.from_numpy(np.pad(part, ((0, 0), *missing), mode="reflect"))

    def translate(part):
        shapes.append(tuple(part.shape))
        with torch.no_grad():
            return network(part[None])[0]

    strips = [*in_tiles(read, translate, *image.shape[1:], tile, overlap, multiple)]
    return torch.cat(strips, 1), shapes


@pytest.mark.parametrize("size", [(5, 7), (32, 32), (33, 100), (101, 31), (90, 77)])
@pytest.mark.parametrize("multiple", [1, 8])
def test_the_identity_keeps_every_pixel(size, multiple):
    image = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(0))
    made, shapes = in_parts(image.float(), nn.Identity(), 32, 10, multiple)
    assert made.round().equal(image.float())  # in float32 the weights sum to 1 up to rounding
    assert all(height <= 32 and width <= 32 and not (height % multiple or width % multiple)
               for _, height, width in shapes)  # fmt: skip


def test_a_local_network_gives_what_it_gives_for_the_whole_image():
    """Its strides, too, as tiles begin at their multiples; radius 12, and 48 pixels are shared."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 5, 2, 2), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 4, 2, 1),
    ).eval()  # fmt: skip
    image = torch.rand(3, 200, 264)
    with torch.no_grad():
        whole = network(image[None])[0]
    made, shapes = in_parts(image, network, 96, 48, 4)
    assert len(shapes) > 9
    torch.testing.assert_close(made, whole)
    seams = in_parts(image, network, 96, 0, 4)[0]
    assert (seams - whole).abs().max() > 1e-3  # what the overlap is for
