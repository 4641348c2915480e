"""Images as numbers: from [-1, 1] to the 256 levels of files."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image


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


def as_png(picture: Image.Image | Tensor, compress_level: int = 6) -> bytes:
    """Return a picture, or a uint8 image ``(C, H, W)`` of 1 to 4 channels, as the content of a PNG file."""
    content = BytesIO()
    image = to_pil_image(picture) if isinstance(picture, Tensor) else picture
    image.save(content, "PNG", compress_level=compress_level)
    return content.getvalue()


def png_in_strips(strips: Iterable[Tensor], height: int, width: int) -> Iterator[bytes]:
    """Return the content of a PNG file piece by piece; Pillow writes only pictures that are in memory whole.

    Args:
        strips: Its rows from top to bottom, uint8 ``(C, rows, width)`` of 1 to 4 channels.
        height: Height of the picture.
        width: Width of the picture.
    """

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    packed = zlib.compressobj()
    for i, strip in enumerate(strips):
        if i == 0:
            kind = {1: 0, 2: 4, 3: 2, 4: 6}[len(strip)]  # grey and colour, without and with transparency
            yield b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, kind, 0, 0, 0))
        pixels = strip.permute(1, 2, 0).numpy()
        # Filter 1, named before each row: what is packed are differences to the pixel at the left.
        changes = np.diff(pixels, axis=1, prepend=np.uint8(0)).reshape(len(pixels), -1)
        yield chunk(b"IDAT", packed.compress(np.insert(changes, 0, 1, axis=1).tobytes()))
    yield chunk(b"IDAT", packed.flush()) + chunk(b"IEND", b"")


def drawn_part(shape: Sequence[int]) -> str:
    """Return a note if pictures show only a part of samples (channels, height, width) or (d,)."""
    if len(shape) == 3:
        shown, what = (3 if shape[0] >= 3 else 1), "channels"
    else:
        shown, what = 3, "dimensions"
    return f", {shown} of {shape[0]} {what}" if shape[0] > shown else ""
