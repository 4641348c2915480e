"""The residual generator of CycleGAN (Zhu et al., 2017, arXiv 1703.10593), after Johnson et al. (2016)."""

from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from lightning_gans import checks
from lightning_gans.networks import initialisers
from lightning_gans.networks.base import Norm, Translator, norm_of


class ReflectedConv(nn.Conv2d):
    """A convolution that keeps the size, with borders reflected.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel: Side of the kernel, odd.
        bias: Add a bias.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, inputs, height, width) to (N, outputs, height, width)."""
        border = self.kernel_size[0] // 2
        with torch.autocast("cpu", enabled=False):  # which would pad in float32, and convert there and back
            maps = pad(maps, (border,) * 4, "reflect")
        return super().forward(maps)


class ReflectedBlock(nn.Module):
    """3x3 convolution, norm, ReLU, 3x3 convolution, norm; plus the input. Borders are reflected.

    Args:
        channels: Of input and output.
        norm: As for :class:`ResNetTranslator`.
        dropout: Dropout of 0.5 after the ReLU.
        bias: Give the convolutions a bias.
    """

    def __init__(self, channels: int, norm: Norm, dropout: bool, bias: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ReflectedConv(channels, channels, 3, bias),
            *norm_of(norm, channels),
            nn.ReLU(inplace=True),
            *[nn.Dropout(0.5)] * dropout,
            ReflectedConv(channels, channels, 3, bias),
            *norm_of(norm, channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the same shape."""
        change: Tensor = self.layers(maps)
        return change.add_(maps)  # neither norms nor convolutions need their results for their gradients


class ResNetTranslator(Translator):
    """Generator from images to images (N, *image_shape) in [-1, 1]: residual blocks at a quarter of the size.

    A 7x7 convolution, two 3x3 ones of stride 2, ``blocks`` residual blocks, two transposed 3x3 ones, a 7x7
    one, tanh. Each but the last has a norm and ReLU. The 7x7 ones and the blocks reflect borders. Weights
    from N(0, 0.02). Source: the paper's section 4 and appendix 7.2; biases as in the authors' code.

    Args:
        input_shape: (channels, height, width) of the inputs, divisible by 4.
        image_shape: (channels, height, width) of the translations, of the same size.
        width: Channels of the first convolution; the blocks have 4 times as many.
        blocks: Residual blocks. Default: the paper's 9 from 256 pixels on, else 6.
        norm: "batch", "instance" (without gain and bias), "instance_affine" (with them), or "none".
        dropout: Dropout of 0.5 in the blocks; the paper has none.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of a size that does not fit.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        image_shape: tuple[int, ...],
        width: int = 64,
        blocks: int | None = None,
        norm: Norm = "instance",
        dropout: bool = False,
    ) -> None:
        checks.at_least(1, width=width)
        checks.at_least(0, blocks=blocks)
        checks.one_of(get_args(Norm), norm=norm)
        super().__init__(input_shape, image_shape, size_multiple=4, smallest=8)
        if blocks is None:
            blocks = 9 if min(self.input_shape[1:]) >= 256 else 6
        bias = norm != "batch"  # a batch norm has one of its own

        def normed(conv: nn.Module, outputs: int) -> list[nn.Module]:
            return [conv, *norm_of(norm, outputs), nn.ReLU(inplace=True)]

        layers = normed(ReflectedConv(self.input_shape[0], width, 7, bias), width)
        for maps in (width, 2 * width):
            layers += normed(nn.Conv2d(maps, 2 * maps, 3, 2, 1, bias=bias), 2 * maps)
        layers += [ReflectedBlock(4 * width, norm, dropout, bias) for _ in range(blocks)]
        for maps in (2 * width, width):
            layers += normed(nn.ConvTranspose2d(2 * maps, maps, 3, 2, 1, 1, bias=bias), maps)
        self.layers = nn.Sequential(*layers, ReflectedConv(width, self.image_shape[0], 7))
        initialisers.normal_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Translate images (N, channels, height, width), of any size that fits."""
        self.check(images)
        return torch.tanh(self.layers(images))
