"""Images as numbers: from [-1, 1] to the 256 levels of files."""

import torch
from torch import Tensor


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
