"""Fully connected networks, and the networks of the original GAN (Goodfellow et al., 2014, arXiv 1406.2661).

The GAN paper's nets, as its released code configures them, are these:

- MNIST: ``MLPGenerator(shape, output="sigmoid", init_range=0.05)``, ``MaxoutDiscriminator(shape)``;
- TFD: ``MaxoutDiscriminator(shape, hidden=(1200, 1200))``;
- CIFAR-10, fully connected: ``MLPGenerator(shape, hidden=(8000, 8000), activation=("relu", "sigmoid"),
  output="none", init_range=(0.05, 0.05, 0.5))``, ``MaxoutDiscriminator(shape, hidden=(1600, 1600))``;
- CIFAR-10, convolutional: ``DeconvGenerator(shape)``, ``ConvMaxoutDiscriminator(shape)``.

The 512-unit nets of WGAN's code are ``MLPGenerator(shape, hidden=(512, 512, 512))`` and
``MLPDiscriminator(shape, hidden=(512, 512, 512), activation="relu")``.

RealnessGAN's toy nets (arXiv 2002.05512) are ``MLPGenerator((2,), hidden=(400, 400, 400, 400), output="none",
batch_norm=True)`` and ``MaxoutDiscriminator((2,), hidden=(200, 200, 200), input_dropout=0, dropout=0,
init_range=None, outputs=N)``.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.networks import initialisers
from lightning_gans.networks.base import Discriminator, Generator

Activation = Literal["relu", "leaky_relu", "sigmoid", "tanh"]
Output = Literal["tanh", "sigmoid", "none"]


class _StretchedSigmoid(nn.Module):
    """The sigmoid, stretched from [0, 1] to the [-1, 1] of our images."""

    def forward(self, values: Tensor) -> Tensor:
        return 2 * values.sigmoid() - 1


_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.2),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}
_OUTPUTS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": _StretchedSigmoid,
    "none": nn.Identity,
}


def hidden_layers(
    inputs: int, hidden: Sequence[int], activation: str | Sequence[str], batch_norm: bool = False
) -> tuple[list[nn.Module], int]:
    """Return hidden layers and the size of the last. Gains of batch norm are drawn from N(1, 0.02)."""
    names = [activation] * len(hidden) if isinstance(activation, str) else list(activation)
    if len(names) != len(hidden):
        raise ValueError(f"activation={names} for {len(hidden)} hidden layers: give one for each")
    layers: list[nn.Module] = []
    for units, name in zip(hidden, names, strict=True):
        checks.at_least(1, hidden=units)
        checks.one_of(_ACTIVATIONS, activation=name)
        layers.append(nn.Linear(inputs, units))
        if batch_norm:
            norm = nn.BatchNorm1d(units)
            nn.init.normal_(norm.weight, 1.0, 0.02)
            layers.append(norm)
        layers.append(_ACTIVATIONS[name]())
        inputs = units
    return layers, inputs


def _initialise(network: nn.Module, init_range: float | Sequence[float] | None) -> None:
    """Draw weights from U(-init_range, init_range), a range a layer or one for all; None keeps torch's."""
    if init_range is None:
        return
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    bounds = [init_range] * len(linear) if isinstance(init_range, int | float) else list(init_range)
    if len(bounds) != len(linear):
        raise ValueError(f"init_range={bounds} for {len(linear)} layers: give one, or one for each")
    for layer, bound in zip(linear, bounds, strict=True):
        initialisers.uniform_(layer, bound)


class MLPGenerator(Generator):
    """Fully connected generator: latents (N, latent_dim) to (N, *image_shape).

    The module's docstring lists the arguments that give the papers' networks.

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
        latent_dim: Numbers in a latent.
        hidden: Units of the hidden layers.
        activation: Of all hidden layers, or one name for each.
        output: What the last layer's numbers go through: "tanh"; "sigmoid", stretched to [-1, 1]; or "none",
            for vectors, which may have any range.
        init_range: Weights are drawn from U(-init_range, init_range) and biases are 0; one number, or one for
            each layer. None: torch's defaults.
        batch_norm: Normalise the hidden layers before their activation.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 100,
        hidden: tuple[int, ...] = (1200, 1200),
        activation: Activation | tuple[Activation, ...] = "relu",
        output: Output = "tanh",
        init_range: float | tuple[float, ...] | None = None,
        batch_norm: bool = False,
    ) -> None:
        shape = checks.image_shape(image_shape)
        checks.at_least(1, latent_dim=latent_dim)
        checks.one_of(_OUTPUTS, output=output)
        layers, units = hidden_layers(latent_dim, hidden, activation, batch_norm)
        last = nn.Linear(units, math.prod(shape))
        super().__init__(latent_dim, *layers, last, _OUTPUTS[output](), nn.Unflatten(1, shape))
        _initialise(self, init_range)


class MLPDiscriminator(Discriminator):
    """Fully connected discriminator: (N, *image_shape) to logits (N,).

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
        hidden: Units of the hidden layers.
        activation: Of all hidden layers, or one name for each; "leaky_relu" has slope 0.2.
        outputs: Logits of a sample; the result is (N, outputs) if there are several.
        init_range: Weights are drawn from U(-init_range, init_range) and biases are 0; one number, or one for
            each layer. None: torch's defaults.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets data of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        hidden: tuple[int, ...] = (512, 512),
        activation: Activation | tuple[Activation, ...] = "leaky_relu",
        outputs: int = 1,
        init_range: float | tuple[float, ...] | None = None,
    ) -> None:
        checks.at_least(1, outputs=outputs)
        layers, units = hidden_layers(math.prod(checks.image_shape(image_shape)), hidden, activation)
        super().__init__(image_shape, nn.Flatten(), *layers, nn.Linear(units, outputs))
        _initialise(self, init_range)


class Maxout(nn.Module):
    """The maximum over groups of ``pieces`` adjacent channels: (N, C * pieces, ...) to (N, C, ...).

    Source: Goodfellow et al., 2013, arXiv 1302.4389, after a linear layer or a convolution.
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        checks.at_least(1, pieces=pieces)
        self.pieces = pieces

    def forward(self, values: Tensor) -> Tensor:
        """Return the maxima."""
        return values.reshape(len(values), -1, self.pieces, *values.shape[2:]).amax(2)


class MaxoutDiscriminator(Discriminator):
    """Discriminator of the original GAN: maxout layers with dropout, (N, *image_shape) to logits (N,).

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
        hidden: Maxout units of the hidden layers: (240, 240) for MNIST, (1200, 1200) for TFD, (1600, 1600)
            for CIFAR-10.
        pieces: Linear pieces of a unit.
        input_dropout: Probability that a pixel is dropped.
        dropout: Probability that a hidden unit is dropped.
        init_range: Weights are drawn from U(-init_range, init_range). None: torch's defaults.
        outputs: Logits of a sample; the result is (N, outputs) if there are several.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets data of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        hidden: tuple[int, ...] = (240, 240),
        pieces: int = 5,
        input_dropout: float = 0.2,
        dropout: float = 0.5,
        init_range: float | None = 0.005,
        outputs: int = 1,
    ) -> None:
        inputs = math.prod(checks.image_shape(image_shape))
        checks.at_least(1, outputs=outputs, pieces=pieces)
        layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(input_dropout)]
        for units in hidden:
            checks.at_least(1, hidden=units)
            layers += [nn.Linear(inputs, units * pieces), Maxout(pieces), nn.Dropout(dropout)]
            inputs = units
        super().__init__(image_shape, *layers, nn.Linear(inputs, outputs))
        _initialise(self, init_range)


class _PixelBias(nn.Module):
    """Add a number to each pixel, where a convolution's bias would be one a channel."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.bias


class DeconvGenerator(Generator):
    """Generator of the original GAN's convolutional CIFAR-10 model: two linear layers, one deconvolution.

    Args:
        image_shape: (channels, size, size) with size 3 * grid + 2; the paper's is (3, 32, 32).
        latent_dim: Numbers in a latent.
        hidden: Units of the first layer.
        width: Maps before the deconvolution, of 10x10 pixels for a size of 32.
        output: The paper's "none" (its data were contrast-normalised); "tanh" or "sigmoid", which is
            stretched to [-1, 1], for data in [-1, 1].
        init_range: Weights are drawn from U(-init_range, init_range).

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 100,
        hidden: int = 8000,
        width: int = 80,
        output: Output = "none",
        init_range: float = 0.05,
    ) -> None:
        channels, size = checks.square_image(image_shape, range(5, 1024, 3))
        checks.at_least(1, latent_dim=latent_dim, hidden=hidden, width=width)
        checks.one_of(_OUTPUTS, output=output)
        grid = (size - 5) // 3 + 1
        layers = [nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, width * grid**2), nn.Sigmoid()]
        layers += [
            nn.Unflatten(1, (width, grid, grid)),
            nn.ConvTranspose2d(width, channels, 5, 3, bias=False),
        ]
        super().__init__(latent_dim, *layers, _PixelBias(channels, size, size), _OUTPUTS[output]())
        initialisers.uniform_(self, init_range)


class ConvMaxoutDiscriminator(Discriminator):
    """Discriminator of the original GAN's convolutional CIFAR-10 model: images to logits (N,).

    Three convolutional maxout layers with pooling, one linear maxout layer, and dropout before each.

    Args:
        image_shape: (channels, height, width); the paper's is (3, 32, 32).
        widths: Maps of the convolutional layers.
        hidden: Units of the linear maxout layer.
        init_range: Weights are drawn from U(-init_range, init_range).

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        widths: tuple[int, int, int] = (32, 32, 192),
        hidden: int = 500,
        init_range: float = 0.005,
    ) -> None:
        channels, *sides = checks.image_shape(image_shape)
        if len(sides) != 2 or min(sides) < 8:
            raise ValueError(f"image_shape={tuple(image_shape)}: give (channels, height, width), 8 or more")
        layers: list[nn.Module] = []
        for width, kernel, padding, pool, dropout in zip(
            widths, (8, 8, 5), (4, 3, 3), (4, 4, 2), (0.2, 0.5, 0.5), strict=True
        ):
            layers += [nn.Dropout(dropout), nn.Conv2d(channels, width * 2, kernel, padding=padding)]
            layers += [Maxout(2), nn.MaxPool2d(pool, 2, ceil_mode=True)]
            # ceil((n + 2 padding - kernel + 1 - pool) / 2) + 1, in integers
            sides = [(n + 2 * padding - kernel + 2 - pool) // 2 + 1 for n in sides]
            channels = width
        layers += [nn.Flatten(), nn.Dropout(0.5), nn.Linear(channels * math.prod(sides), hidden * 5)]
        super().__init__(image_shape, *layers, Maxout(5), nn.Dropout(0.5), nn.Linear(hidden, 1))
        initialisers.uniform_(self, init_range)
