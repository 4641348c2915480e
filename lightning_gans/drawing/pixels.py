"""Images as numbers: from [-1, 1] to the 256 levels of files."""

from collections.abc import Sequence
from io import BytesIO

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


def drawn_part(shape: Sequence[int]) -> str:
    """Return a note if pictures show only a part of samples (channels, height, width) or (d,)."""
    if len(shape) == 3:
        shown, what = (3 if shape[0] >= 3 else 1), "channels"
    else:
        shown, what = 3, "dimensions"
    return f", {shown} of {shape[0]} {what}" if shape[0] > shown else ""
