"""Base classes of networks, checks of their inputs, and labels as one-hot vectors."""

import torch
from torch import Tensor, nn

from lightning_gans.networks.rebuild import Rebuildable

POWERS_OF_TWO = tuple(2**n for n in range(3, 11))
"""The sizes of images that double from 4 pixels."""


def check_latents(latents: Tensor, latent_dim: int) -> None:
    """Raise a ValueError unless ``latents`` has the shape (N, latent_dim)."""
    if latents.shape[1:] != (latent_dim,):
        advice = f"this generator takes (N, {latent_dim}), as its latent_dim says"
        raise ValueError(f"latents has shape {tuple(latents.shape)}: {advice}")


def check_images(images: Tensor, image_shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless ``images`` has the shape (N, *image_shape)."""
    if images.shape[1:] != image_shape:
        advice = f"this network was built for {('N', *image_shape)}, the image_shape of other data"
        raise ValueError(f"images has shape {tuple(images.shape)}: {advice}")


def one_hot(labels: Tensor, num_classes: int, like: Tensor) -> Tensor:
    """Return (N, num_classes) zeros and ones of the type of ``like``; label -1 gives a row of zeros."""
    # Unlike torch's one_hot, a comparison neither refuses -1 nor waits for the GPU.
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(like.dtype)


def up(inputs: int, outputs: int, kernel: int = 5, stride: int = 2, bias: bool = True) -> nn.ConvTranspose2d:
    """Return a transposed convolution that makes images ``stride`` times as large."""
    padding = 1 if kernel == 4 else kernel // 2
    extra = stride - 1 if kernel % 2 else 0  # an odd kernel alone would give 2n - 1 pixels
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, extra, bias=bias)


class Generator(Rebuildable, nn.Module):
    """A generator that is a row of layers: latents (N, latent_dim) to images.

    Args:
        latent_dim: Numbers in a latent.
        layers: From (N, latent_dim) to (N, *image_shape).

    Raises:
        ValueError: If ``forward`` gets latents of another shape.
    """

    def __init__(self, latent_dim: int, *layers: nn.Module) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (N, latent_dim) to images, or vectors."""
        check_latents(latents, self.latent_dim)
        images: Tensor = self.layers(latents)
        return images


class Discriminator(Rebuildable, nn.Module):
    """A discriminator that is a row of layers: images (N, *image_shape) to logits (N,), or (N, K).

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
        layers: From (N, *image_shape) to (N, K) or (N, K, 1, 1).

    Raises:
        ValueError: If ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], *layers: nn.Module) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, or vectors, to logits (N,), or (N, K) if the last layer makes several."""
        check_images(images, self.image_shape)
        logits: Tensor = self.layers(images)
        return logits.flatten(1).squeeze(1)
