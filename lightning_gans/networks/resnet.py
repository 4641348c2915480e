"""Residual networks of WGAN-GP (Gulrajani et al., 2017, arXiv 1704.00028), for 32 and 64 pixels.

The released code has one pair for CIFAR-10 and one for 64 pixels. Both start from
4x4 pixels, double or halve the size block by block, and differ in widths, norms and the critic's head.
"""

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from lightning_gans import checks
from lightning_gans.networks.base import Discriminator, Generator
from lightning_gans.networks.initialisers import fan_average_uniform_

HE, GLOROT = 4.0, 2.0
"""Gains of the initial weights: before rectifiers, and elsewhere."""


def _conv(inputs: int, outputs: int, kernel: int = 3, bias: bool = True, gain: float = HE) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    fan_average_uniform_(conv, gain)
    return conv


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    fan_average_uniform_(linear, GLOROT)
    return linear


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    # The code's layer norm is over C, H and W, with a gain and a bias a channel: a group norm of one group.
    return nn.GroupNorm(1, channels) if kind == "layer" else nn.Identity()


class ResidualBlock(nn.Module):
    """norm, ReLU, convolution, norm, ReLU, convolution; plus the input, resampled and with a 1x1 convolution.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        resample: "up" doubles the size (nearest neighbour, before the first convolution), "down" halves it
            (average, after the second), "none" keeps it.
        norm: "batch", "layer" or "none".
        bias: Give the first convolution a bias.
        first: The critic's first block of the 32-pixel pair: neither norm nor ReLU before the first
            convolution, which already has ``outputs`` channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        resample: Literal["up", "down", "none"],
        norm: str,
        bias: bool,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.resample = resample
        between = inputs if resample == "down" and not first else outputs
        self.before = nn.Identity() if first else nn.Sequential(_norm(norm, inputs), nn.ReLU())
        self.conv1 = _conv(inputs, between, bias=bias)
        self.after = nn.Sequential(_norm(norm, between), nn.ReLU(), _conv(between, outputs))
        plain = inputs == outputs and resample == "none"
        self.shortcut = nn.Identity() if plain else _conv(inputs, outputs, kernel=1, gain=GLOROT)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the new size and number."""
        # A 1x1 convolution and a resampling commute: do the convolution where there are fewer pixels.
        short, long = maps, self.before(maps)
        if self.resample == "down":
            short = avg_pool2d(short, 2)
        short = self.shortcut(short)
        if self.resample == "up":
            short, long = interpolate(short, scale_factor=2.0), interpolate(long, scale_factor=2.0)
        long = self.after(self.conv1(long))
        if self.resample == "down":
            long = avg_pool2d(long, 2)
        summed: Tensor = short + long
        return summed


class ResNetGenerator(Generator):
    """WGAN-GP's generator: latents (N, latent_dim) to images (N, *image_shape) in [-1, 1].

    A linear layer to 4x4 pixels, three or four blocks that double the size, batch norm, ReLU, a convolution
    and tanh. Source: the released code's CIFAR-10 and 64-pixel nets.

    Args:
        image_shape: (channels, size, size) with size 32 or 64.
        latent_dim: Numbers in a latent.
        width: Channels of the last block. Default: the code's 128 for 32 pixels (all blocks the same), 64 for
            64 pixels (blocks of 8, 4, 2 and 1 times the width).

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int = 128, width: int | None = None) -> None:
        channels, size = checks.square_image(image_shape, (32, 64))
        width = width if width is not None else {32: 128, 64: 64}[size]
        checks.at_least(1, latent_dim=latent_dim, width=width)
        multiples = {32: (1, 1, 1, 1), 64: (8, 8, 4, 2, 1)}[size]
        maps = [m * width for m in multiples]
        layers: list[nn.Module] = [_linear(latent_dim, 16 * maps[0]), nn.Unflatten(1, (maps[0], 4, 4))]
        layers += [ResidualBlock(*pair, "up", "batch", bias=size == 32) for pair in pairwise(maps)]
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        last = _conv(width, channels, gain={32: GLOROT, 64: HE}[size])
        super().__init__(latent_dim, *layers, last, nn.Tanh())


class ResNetDiscriminator(Discriminator):
    """WGAN-GP's critic: images (N, *image_shape) to (N,).

    No batch norm: the gradient penalty is one of each sample. With 32 pixels there is no norm at all and the
    head averages over pixels; with 64 pixels there is layer norm and a linear head.
    Source: the released code's (unconditional) CIFAR-10 and 64-pixel nets.

    Args:
        image_shape: (channels, size, size) with size 32 or 64.
        width: Channels of the first layer. Default: the code's 128 for 32 pixels (all blocks the same), 64
            for 64 pixels (blocks of 2, 4, 8 and 8 times the width).

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], width: int | None = None) -> None:
        channels, size = checks.square_image(image_shape, (32, 64))
        width = width if width is not None else {32: 128, 64: 64}[size]
        checks.at_least(1, width=width)
        if size == 32:
            layers: list[nn.Module] = [ResidualBlock(channels, width, "down", "none", bias=True, first=True)]
            layers.append(ResidualBlock(width, width, "down", "none", bias=True))
            layers += [ResidualBlock(width, width, "none", "none", bias=True) for _ in range(2)]
            layers += [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), _linear(width, 1)]
        else:
            maps = [m * width for m in (1, 2, 4, 8, 8)]
            layers = [_conv(channels, width, gain=GLOROT)]
            layers += [ResidualBlock(*pair, "down", "layer", bias=False) for pair in pairwise(maps)]
            layers += [nn.Flatten(), _linear(16 * maps[-1], 1)]
        super().__init__(image_shape, *layers)
