"""The U-Net of pix2pix (Isola et al., 2016, arXiv 1611.07004, section 3.2.1), and its encoder-decoder."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, leaky_relu, relu

from lightning_gans import checks
from lightning_gans.networks import initialisers
from lightning_gans.networks.base import Norm, Translator, norm_of, three

DEEPEST = 8
"""So often the default network halves at most: images of 256 pixels to one."""

FEW = 16
"""Up to so many pixels of a batch the weights of a convolution take longer than its sums."""

Dropout = Literal["paper", "middle", "none"]


class UpConv(nn.ConvTranspose2d):
    """A transposed 4x4 convolution of stride 2 that is fast on the CPU where there are few pixels.

    There the time goes into the weights, which torch's CPU kernel reorders in every pass. So few pixels are
    multiplied with them as they lie in memory, and the products added up where patches overlap.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        bias: Add a bias.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 4, 2, 1, bias=bias)

    def forward(self, maps: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (N, inputs, height, width) to (N, outputs, 2 height, 2 width)."""
        count, _, height, width = maps.shape
        if maps.device.type != "cpu" or count * height * width > FEW:
            return super().forward(maps, output_size)
        pixels = maps.flatten(2).transpose(1, 2)
        if self.weight.is_contiguous():
            patches = (pixels @ self.weight.flatten(1)).transpose(1, 2)
        else:  # channels_last: a kernel's places first
            products = pixels @ self.weight.permute(0, 2, 3, 1).flatten(1)
            patches = products.unflatten(2, (16, -1)).permute(0, 3, 2, 1).flatten(1, 2)
        summed = fold(patches, (2 * height, 2 * width), 4, padding=1, stride=2)
        return summed if self.bias is None else summed + self.bias[:, None, None]


class UNetGenerator(Translator):
    """Generator from images to images (N, *image_shape) in [-1, 1], whose decoder sees the encoder's maps.

    4x4 convolutions of stride 2 with LeakyReLU 0.2 before each but the first, down to one pixel at the size
    of training (256 pixels: 8 of them; 512: 8 too, down to 2x2); as many transposed ones with ReLU before
    each; tanh. A norm follows each but the first, the innermost and the last. The decoder's maps are joined
    with the encoder's of the same size after their LeakyReLU, as in the authors' code; the ReLU that follows
    makes that the same as before it. Weights from N(0, 0.02).

    Dropout of 0.5 is the network's only noise: a game leaves it on when it translates.

    Args:
        input_shape: (channels, height, width) of the inputs, divisible by 2 to the power of ``downs``.
        image_shape: (channels, height, width) of the translations, of the same size.
        width: Channels of the first convolution; the next have 2, 4 and from then on 8 times as many.
        downs: How often the size is halved, at least twice. Default: as often as the shorter side allows, at
            most 8 times.
        skips: Join the encoder's maps; without, this is the paper's encoder-decoder.
        norm: "batch", "instance" (without gain and bias), "instance_affine" (with them), or "none".
        dropout: After the first three stages of the decoder ("paper", and the authors' first code), after
            those of 8 times the width behind the innermost ("middle", their PyTorch code), or "none".
        innermost_norm: Put a batch norm at the bottleneck too, as in the paper's runs. With a bottleneck of
            one pixel and a batch of one image it would only pass its bias on, so such a batch is refused.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of a size that does not fit.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        image_shape: tuple[int, ...],
        width: int = 64,
        downs: int | None = None,
        skips: bool = True,
        norm: Norm = "batch",
        dropout: Dropout = "paper",
        innermost_norm: bool = False,
    ) -> None:
        checks.at_least(1, width=width)
        checks.at_least(2, downs=downs)
        checks.one_of(get_args(Norm), norm=norm)
        checks.one_of(get_args(Dropout), dropout=dropout)
        if innermost_norm and norm != "batch":
            raise ValueError(f"innermost_norm=True is for norm='batch', not {norm!r}: leave it out")
        shorter = min(three(input_shape, "input_shape")[1:])
        halvings = downs or max(2, min(DEEPEST, shorter.bit_length() - 1))
        super().__init__(input_shape, image_shape, 2**halvings, 2**halvings, ", or give fewer downs")
        self.skips, self.innermost_norm = skips, innermost_norm

        widths = [width * min(2**i, 8) for i in range(halvings)]
        bias = norm != "batch"  # a batch norm has one of its own

        def down(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=bias), *norm_of(norm, outputs))

        self.encoder = nn.ModuleList([down(self.input_shape[0], width, "none")])
        for i in range(1, halvings):
            innermost = i == halvings - 1
            self.encoder.append(
                down(widths[i - 1], widths[i], norm if innermost_norm or not innermost else "none")
            )
        dropped = {"paper": range(3), "middle": range(1, halvings - 4), "none": range(0)}[dropout]
        self.decoder = nn.ModuleList()
        inputs = widths[-1]
        for i, outputs in enumerate(reversed(widths[:-1])):
            stage = [UpConv(inputs, outputs, bias), *norm_of(norm, outputs)]
            self.decoder.append(nn.Sequential(*stage, *[nn.Dropout(0.5)] * (i in dropped)))
            inputs = outputs * (2 if skips else 1)
        self.last = UpConv(inputs, self.image_shape[0])
        initialisers.normal_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Translate images (N, channels, height, width), of any size that fits."""
        self.check(images)
        *outer, innermost = self.encoder
        maps, joined = images, []
        for stage in outer:
            # In place: neither norms nor convolutions need what they have returned for their gradients.
            maps = leaky_relu(stage(maps), 0.2, inplace=True)
            joined.append(maps)
        if self.innermost_norm:
            self._check_bottleneck(maps)
        maps = relu(innermost(maps), inplace=True)
        for stage in self.decoder:
            # Also before they are joined: a norm's gradient is slow for maps that are a part of others.
            maps = relu(stage(maps), inplace=True)
            if self.skips:
                maps = relu(torch.cat([joined.pop(), maps], 1), inplace=True)
        return torch.tanh(self.last(maps))

    def _check_bottleneck(self, maps: Tensor) -> None:
        training = any(norm.training for norm in self.encoder[-1].children())
        if training and maps.shape[0] * maps.shape[2] * maps.shape[3] == 4:  # 2x2 pixels, which become one
            raise ValueError(
                "innermost_norm=True: with one image and a bottleneck of one pixel batch norm has nothing to "
                "average over: use batches of two or more, or leave innermost_norm out"
            )
