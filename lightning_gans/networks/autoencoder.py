"""Auto-encoders: those whose codes DIWGAN pairs, and DCGAN's near-duplicate filter."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.networks.base import check_images, three
from lightning_gans.networks.rebuild import Rebuildable


class Autoencoder(Rebuildable, nn.Module):
    """An encoder of samples into vectors, and a decoder back.

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
        encoder: From (N, *image_shape) to codes (N, code_dim).
        decoder: From codes to reconstructions (N, *image_shape).

    Raises:
        ValueError: If it is given samples of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.encoder, self.decoder = encoder, decoder

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes of samples, (N, code_dim)."""
        check_images(images, self.image_shape)
        codes: Tensor = self.encoder(images)
        return codes

    def forward(self, images: Tensor) -> Tensor:
        """Return the reconstructions of samples, of the same shape."""
        reconstructions: Tensor = self.decoder(self.encode(images))
        return reconstructions


class IdentityAutoencoder(Autoencoder):
    """Codes that are the samples themselves, as vectors: for data of few dimensions.

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
    """

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        shape = checks.image_shape(image_shape)
        super().__init__(shape, nn.Flatten(), nn.Unflatten(1, shape))


class MLPAutoencoder(Autoencoder):
    """Fully connected: d-128-128-k-128-128-d with ReLU by default.

    DIWGAN's paper names no auto-encoder for points in the plane; this has the width of its other networks.

    Args:
        image_shape: (d,), or (channels, height, width), which is flattened.
        code_dim: Numbers in a code. None: as many as in a sample.
        hidden: Units of the encoder's hidden layers; the decoder has them in the opposite order.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self, image_shape: tuple[int, ...], code_dim: int | None = None, hidden: Sequence[int] = (128, 128)
    ) -> None:
        shape = checks.image_shape(image_shape)
        checks.at_least(1, code_dim=code_dim)
        for units in hidden:
            checks.at_least(1, hidden=units)
        size = math.prod(shape)
        sizes = [size, *hidden, code_dim or size]
        super().__init__(
            shape,
            nn.Sequential(nn.Flatten(), *_linear(sizes)),
            nn.Sequential(*_linear(sizes[::-1]), nn.Unflatten(1, shape)),
        )


class ConvAutoencoder(Autoencoder):
    """DIWGAN's for images: three convolutions 5x5 and two linear layers; one and three transposed back.

    The paper gives the number of layers and the kernels. Here each convolution halves height and width, of
    any size; leaky ReLU in the encoder, ReLU in the decoder, tanh at its end, no normalisation. Where most
    pixels are black, call :meth:`start_at` before training: the first updates would push all pixels there,
    and the decoder's ReLUs would die of it.

    Args:
        image_shape: (channels, height, width), images in [-1, 1].
        code_dim: Numbers in a code. None: 32 for one channel, 128 for more.
        width: Channels of the first convolution; the second has twice, the third four times as many.
        features: Units of the linear layer before the code.

    Raises:
        ValueError: If an argument is out of range, or the samples are no images.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        code_dim: int | None = None,
        width: int = 32,
        features: int = 256,
    ) -> None:
        shape = three(image_shape, "image_shape")
        checks.at_least(1, code_dim=code_dim, width=width, features=features)
        code_dim = code_dim or (32 if shape[0] == 1 else 128)
        widths = [shape[0], width, 2 * width, 4 * width]
        sizes = [shape[1:]]
        down: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            down += [nn.Conv2d(inputs, outputs, 5, 2, 2), nn.LeakyReLU(0.2)]
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        up: list[nn.Module] = []
        for inputs, outputs, (height, width) in zip(
            widths[:0:-1], widths[-2::-1], sizes[-2::-1], strict=True
        ):
            extra = (1 - height % 2, 1 - width % 2)  # without, 2n - 1 pixels
            up += [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 5, 2, 2, extra)]
        smallest = (widths[-1], *sizes[-1])
        size = math.prod(smallest)
        super().__init__(
            shape,
            nn.Sequential(
                *down,
                nn.Flatten(),
                nn.Linear(size, features),
                nn.LeakyReLU(0.2),
                nn.Linear(features, code_dim),
            ),
            nn.Sequential(nn.Linear(code_dim, size), nn.Unflatten(1, smallest), *up, nn.Tanh()),
        )

    @torch.no_grad()
    def start_at(self, images: Tensor) -> None:
        """Make the first reconstructions the mean of images in each channel."""
        *_, last = (layer for layer in self.decoder.modules() if isinstance(layer, nn.ConvTranspose2d))
        assert last.bias is not None
        last.bias.copy_(images.mean((0, 2, 3)).clamp(-0.95, 0.95).atanh())


def _linear(sizes: Sequence[int]) -> list[nn.Module]:
    """Return linear layers of these sizes with ReLU between them."""
    layers: list[nn.Module] = [
        layer for inputs, outputs in pairwise(sizes) for layer in (nn.Linear(inputs, outputs), nn.ReLU())
    ]
    return layers[:-1]


class HashAutoencoder(Rebuildable, nn.Module):
    """DCGAN's near-duplicate filter (Radford et al., 2015, arXiv 1511.06434, section 4.1).

    A de-noising ReLU autoencoder, 3072-128-3072 in the paper, whose active units are a binary code.

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
