"""Discriminators of pairs, a sample with its latent, as VEEGAN has them (arXiv 1705.07761, section 3)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from lightning_gans import checks
from lightning_gans.networks.base import check_images, check_latents
from lightning_gans.networks.dcgan import SLOPE, DCGANDiscriminator
from lightning_gans.networks.mlp import Activation, MLPDiscriminator
from lightning_gans.networks.rebuild import Rebuildable


class MLPPairDiscriminator(Rebuildable, nn.Module):
    """MLP that gets the latent beside the data: (N, *image_shape) and (N, latent_dim) to logits (N,).

    One hidden layer of 128 is what the authors' code for two-dimensional data has.

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
        latent_dim: Numbers in a latent.
        hidden: Units of the hidden layers.
        activation: Of all hidden layers, or one name for each; "leaky_relu" has slope 0.2.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets data or latents of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 100,
        hidden: tuple[int, ...] = (128,),
        activation: Activation | tuple[Activation, ...] = "relu",
    ) -> None:
        super().__init__()
        self.image_shape, self.latent_dim = checks.image_shape(image_shape), latent_dim
        checks.at_least(1, latent_dim=latent_dim)
        self.mlp = MLPDiscriminator((math.prod(self.image_shape) + latent_dim,), hidden, activation)

    def forward(self, images: Tensor, latents: Tensor) -> Tensor:
        """Map images or vectors and their latents (N, latent_dim) to logits (N,)."""
        check_images(images, self.image_shape)
        check_latents(latents, self.latent_dim)
        logits: Tensor = self.mlp(torch.cat([images.flatten(1), latents], 1))
        return logits


class DCGANPairDiscriminator(Rebuildable, nn.Module):
    """DCGAN's convolutions, then the latent beside what they found: images and latents to logits (N,).

    A hidden layer stands between both and the logit: one layer alone would add a number of the image and one
    of the latent, and could not see whether they belong together.

    Args:
        image_shape: (channels, size, size) with size 8, 16, 32, 64, 128 or 256.
        latent_dim: Numbers in a latent.
        width: Channels of the first layer.
        norm: Of the convolutions: see :class:`~lightning_gans.networks.DCGANDiscriminator`.
        features: Numbers that the convolutions find in an image.
        hidden: Units of the hidden layer.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images or latents of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 100,
        width: int = 64,
        norm: Literal["batch", "layer", "spectral", "none"] = "batch",
        features: int = 256,
        hidden: int = 512,
    ) -> None:
        super().__init__()
        checks.at_least(1, latent_dim=latent_dim, hidden=hidden)
        checks.at_least(2, features=features)
        self.latent_dim = latent_dim
        self.convolutions = DCGANDiscriminator(image_shape, width, norm, outputs=features)
        self.head = nn.Sequential(
            nn.Linear(features + latent_dim, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, 1)
        )

    def forward(self, images: Tensor, latents: Tensor) -> Tensor:
        """Map images and their latents (N, latent_dim) to logits (N,)."""
        check_latents(latents, self.latent_dim)
        found = leaky_relu(self.convolutions(images), SLOPE)
        logits: Tensor = self.head(torch.cat([found, latents], 1))
        return logits.squeeze(1)
