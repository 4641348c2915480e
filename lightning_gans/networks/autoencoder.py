"""The near-duplicate filter of DCGAN (Radford et al., 2015, arXiv 1511.06434, section 4.1)."""

import math

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.networks.base import check_images
from lightning_gans.networks.rebuild import Rebuildable


class HashAutoencoder(Rebuildable, nn.Module):
    """De-noising ReLU autoencoder, 3072-128-3072 in the paper, whose active units are a binary code.

    Train it to return its input (mean squared error); equal codes then mean near-duplicate images. The paper
    gives neither the noise nor the rate of its dropout: both are dropout, 0.5, here.

    Args:
        image_shape: (channels, height, width) of the crops; the paper's are (3, 32, 32).
        code_dim: Units of the hidden layer, bits of a code.
        noise: Probability that a number of the input is dropped.
        dropout: Probability that a hidden unit is dropped.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...] = (3, 32, 32),
        code_dim: int = 128,
        noise: float = 0.5,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.image_shape = checks.image_shape(image_shape)
        checks.at_least(1, code_dim=code_dim)
        size = math.prod(self.image_shape)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Dropout(noise), nn.Linear(size, code_dim))
        self.decoder = nn.Sequential(
            nn.ReLU(), nn.Dropout(dropout), nn.Linear(code_dim, size), nn.Unflatten(1, self.image_shape)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstructions of ``images``, of the same shape and without bounds."""
        check_images(images, self.image_shape)
        reconstructions: Tensor = self.decoder(self.encoder(images))
        return reconstructions

    @torch.no_grad()
    def codes(self, images: Tensor) -> Tensor:
        """Return which hidden units are active without noise and dropout: boolean, (N, code_dim)."""
        check_images(images, self.image_shape)
        linear = self.encoder[-1]
        assert isinstance(linear, nn.Linear)
        active: Tensor = linear(images.flatten(1)) > 0
        return active
