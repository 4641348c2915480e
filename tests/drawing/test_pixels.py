"""PNG files that are written piece by piece."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gans.drawing.pixels import png_in_strips


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
@pytest.mark.parametrize("rows", [[7], [1, 3, 2, 1]])
def test_strips_of_a_png(channels, mode, rows):
    image = torch.randint(0, 256, (channels, 7, 5), generator=torch.Generator().manual_seed(0)).byte()
    content = b"".join(png_in_strips(image.split(rows, 1), 7, 5))
    found = Image.open(BytesIO(content))
    found.load()
    assert (found.format, found.mode, found.size) == ("PNG", mode, (5, 7))
    assert np.array_equal(np.asarray(found).reshape(7, 5, channels), image.permute(1, 2, 0))
