"""The discriminators of patches of pix2pix (Isola et al., 2016, arXiv 1611.07004), CycleGAN's too."""

from typing import get_args

from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.networks import initialisers
from lightning_gans.networks.base import Norm, check_channels, norm_of, three
from lightning_gans.networks.rebuild import Rebuildable

HALVINGS = {1: 0, 16: 1, 34: 2, 70: 3, 142: 4, 286: 5}
"""Convolutions of stride 2 by receptive field."""


class PatchDiscriminator(Rebuildable, nn.Module):
    """Discriminator that judges every patch of an image: images to logits (N, 1, h, w), one a patch.

    4x4 convolutions with LeakyReLU 0.2: so many of stride 2 that a logit sees ``receptive_field`` pixels a
    side, then two of stride 1. A norm follows each but the first and the last. Receptive field 1 ("PixelGAN")
    is three 1x1 convolutions, 286 on 256 pixels is "ImageGAN". Weights from N(0, 0.02). Source: the paper's
    section 6.1.2; the sizes of maps and the biases are those of the authors' code.

    Args:
        image_shape: (channels, height, width), with all channels that it sees: those of input and
            translation where a game shows both. Other sizes work too.
        receptive_field: Side of a patch, in pixels: 1, 16, 34, 70, 142 or 286.
        width: Channels of the first convolution; the next have 2, 4 and from then on 8 times as many.
        norm: "batch", "instance" (without gain and bias), "instance_affine" (with them), or "none".

    Raises:
        ValueError: If an argument is out of range, or images are too small, also in ``forward``.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        receptive_field: int = 70,
        width: int = 64,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.image_shape, self.receptive_field = three(image_shape, "image_shape"), receptive_field
        checks.one_of(HALVINGS, receptive_field=receptive_field)
        checks.at_least(1, width=width)
        checks.one_of(get_args(Norm), norm=norm)
        self._check_size(f"image_shape={self.image_shape}", *self.image_shape[1:])
        halvings, bias = HALVINGS[receptive_field], norm != "batch"  # a batch norm has a bias of its own
        widths = [width * min(2**i, 8) for i in range(halvings + 1)] if halvings else [width, 2 * width]
        maps = self.image_shape[0]
        layers: list[nn.Module] = []
        for i, outputs in enumerate(widths):
            kernel, stride, padding = (4, 2 if i < halvings else 1, 1) if halvings else (1, 1, 0)
            layers.append(nn.Conv2d(maps, outputs, kernel, stride, padding, bias=bias or i == 0))
            layers += [*norm_of(norm if i else "none", outputs), nn.LeakyReLU(0.2, inplace=True)]
            maps = outputs
        last = nn.Conv2d(maps, 1, 4, 1, 1) if halvings else nn.Conv2d(maps, 1, 1, bias=bias)
        self.layers = nn.Sequential(*layers, last)
        initialisers.normal_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, channels, height, width) of any size, but the smallest, to logits (N, 1, h, w)."""
        check_channels(images, self.image_shape[0])
        self._check_size(f"images has shape {tuple(images.shape)}", *images.shape[2:])
        logits: Tensor = self.layers(images)
        return logits

    def _check_size(self, given: str, height: int, width: int) -> None:
        def smallest(field: int) -> int:
            return 3 * 2 ** HALVINGS[field] if field > 1 else 2  # 3: the last two convolutions take one each

        if min(height, width) < smallest(self.receptive_field):
            fitting = [field for field in HALVINGS if smallest(field) <= min(height, width)]
            raise ValueError(
                f"{given}: receptive_field={self.receptive_field} needs at least "
                f"{smallest(self.receptive_field)} pixels a side"
                + (f", use one of at most {fitting[-1]}" if fitting else "")
            )
