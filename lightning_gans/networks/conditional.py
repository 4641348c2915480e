"""Fully connected networks that see labels, for vectors."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.networks.base import check_images, check_latents, one_hot
from lightning_gans.networks.mlp import MLPDiscriminator, MLPGenerator
from lightning_gans.networks.rebuild import Rebuildable


class ConditionalMLPGenerator(Rebuildable, nn.Module):
    """MLP that gets the label beside the latent: (N, latent_dim) and labels (N,) to (N, *image_shape).

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
        latent_dim: Numbers in a latent.
        num_classes: Number of labels; label -1 is a row of zeros.
        kwargs: Other arguments of :class:`~lightning_gans.networks.MLPGenerator`.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(
        self, image_shape: tuple[int, ...], latent_dim: int = 100, num_classes: int = 10, **kwargs: Any
    ) -> None:
        super().__init__()
        checks.at_least(1, latent_dim=latent_dim, num_classes=num_classes)
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.mlp = MLPGenerator(image_shape, latent_dim + num_classes, **kwargs)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Map latents (N, latent_dim) and labels (N,) to images or vectors."""
        check_latents(latents, self.latent_dim)
        images: Tensor = self.mlp(torch.cat([latents, one_hot(labels, self.num_classes, latents)], 1))
        return images


class ConditionalMLPDiscriminator(Rebuildable, nn.Module):
    """MLP that gets the label beside the data: (N, *image_shape) and labels (N,) to logits (N,).

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
        num_classes: Number of labels; label -1 is a row of zeros.
        kwargs: Other arguments of :class:`~lightning_gans.networks.MLPDiscriminator`.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets data of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], num_classes: int = 10, **kwargs: Any) -> None:
        super().__init__()
        self.image_shape, self.num_classes = checks.image_shape(image_shape), num_classes
        checks.at_least(1, num_classes=num_classes)
        self.mlp = MLPDiscriminator((math.prod(self.image_shape) + num_classes,), **kwargs)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Map images or vectors and labels (N,) to logits (N,)."""
        check_images(images, self.image_shape)
        condition = one_hot(labels, self.num_classes, images)
        logits: Tensor = self.mlp(torch.cat([images.flatten(1), condition], 1))
        return logits
