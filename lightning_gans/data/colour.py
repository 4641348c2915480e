"""Colours as lightness and two axes of colour: CIE Lab of sRGB images, with the white point D65."""

import torch
from torch import Tensor

# From linear sRGB to XYZ (IEC 61966-2-1), each row divided by its sum: white is (1, 1, 1).
_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_XYZ /= _XYZ.sum(1, keepdim=True)
_KNEE = 6 / 29


def rgb_to_lab(images: Tensor) -> tuple[Tensor, Tensor]:
    """Split sRGB images into lightness and colour.

    Args:
        images: ``(n, 3, H, W)`` float in [-1, 1].

    Returns:
        ``L / 50 - 1``, ``(n, 1, H, W)`` in [-1, 1]; and ``a / 110`` and ``b / 110``, ``(n, 2, H, W)`` within
        (-1, 1), as pix2pix's colorization has them.
    """
    rgb = images.add(1).div(2).clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,njhw->nihw", _XYZ.to(images), linear)
    root = torch.where(xyz > _KNEE**3, xyz ** (1 / 3), xyz / (3 * _KNEE**2) + 4 / 29)
    x, y, z = root.split(1, dim=1)
    # rounding can give values slightly outside
    return ((116 * y - 16) / 50 - 1).clamp(-1, 1), torch.cat([500 * (x - y), 200 * (y - z)], 1) / 110


def lab_to_rgb(lightness: Tensor, colour: Tensor) -> Tensor:
    """Put images together again; colours that a screen does not have become the nearest of each channel.

    Args:
        lightness: ``L / 50 - 1``, ``(n, 1, H, W)``.
        colour: ``a / 110`` and ``b / 110``, ``(n, 2, H, W)``.

    Returns:
        sRGB, ``(n, 3, H, W)`` in [-1, 1].
    """
    y = ((lightness + 1) * 50 + 16) / 116
    a, b = (colour * 110).split(1, dim=1)
    root = torch.cat([y + a / 500, y, y - b / 200], 1)
    xyz = torch.where(root > _KNEE, root**3, 3 * _KNEE**2 * (root - 4 / 29))
    linear = torch.einsum("ij,njhw->nihw", _XYZ.inverse().to(xyz), xyz).clamp(0, 1)
    rgb = torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb.mul(2).sub(1).clamp(-1, 1)
