"""Networks of DCGAN (Radford et al., 2015, arXiv 1511.06434): all-convolutional, strided, batch-normalised.

Five presets, as in the authors' and the third author's code:

- ``DCGANGenerator`` / ``DCGANDiscriminator``: 4x4 kernels, the nets of most DCGAN code; also WGAN's.
- ``DCGANPaperGenerator`` / ``DCGANPaperDiscriminator``: 5x5 kernels, the paper's figure 1.
- ``DCGANImageNetGenerator`` / ``DCGANImageNetDiscriminator``: 32 pixels, whose features classify CIFAR-10.
- ``ConditionalDCGANGenerator`` / ``ConditionalDCGANDiscriminator``: MNIST digits of a wanted class.

Images are in [-1, 1]. Discriminators return logits, shape (N,), or (N, K) where K of them are asked for.
Real and generated images go through a discriminator in separate passes: batch norm would tell them apart
in a joint one.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.networks import initialisers
from lightning_gans.networks.base import (
    POWERS_OF_TWO,
    Discriminator,
    Generator,
    check_images,
    check_latents,
    one_hot,
    spectral_norm,
    up,
)
from lightning_gans.networks.rebuild import Rebuildable

SLOPE = 0.2


def _norm(kind: str, channels: int) -> list[nn.Module]:
    """Return the normalisation as a list, empty for "none"."""
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "layer":  # over C, H and W, with a gain and a bias per channel
        return [nn.GroupNorm(1, channels)]
    return []


def _down(maps: int, stages: Iterable[tuple[int, int]], norm: str, kernel: int) -> list[nn.Module]:
    """Return a discriminator's stages of convolution, normalisation and LeakyReLU.

    Args:
        maps: Channels of the input.
        stages: Channels and stride of each.
        norm: "batch" or "layer", or anything else for none.
        kernel: Side of the kernels.
    """
    layers: list[nn.Module] = []
    for width, stride in stages:
        conv = nn.Conv2d(maps, width, kernel, stride, 1 if kernel == 4 else kernel // 2, bias=False)
        layers.append(nn.Sequential(conv, *_norm(norm, width), nn.LeakyReLU(SLOPE)))
        maps = width
    return layers


def _up_stages(maps: int, stages: Iterable[tuple[int, int]], norm: str, kernel: int) -> list[nn.Module]:
    """Return a generator's layers between the first and the last; the arguments are those of ``_down``."""
    layers: list[nn.Module] = []
    for width, stride in stages:
        layers += [up(maps, width, kernel, stride, bias=False), *_norm(norm, width), nn.ReLU()]
        maps = width
    return layers


def _doubled(width: int, size: int) -> list[tuple[int, int]]:
    """Return channels and stride of each stage between half the image's size and 4 pixels."""
    return [(width << n, 2) for n in range(1, size.bit_length() - 3)]


def _halved(width: int, size: int) -> list[tuple[int, int]]:
    """Return the same from 4 pixels to half the image's size."""
    return [(width << n, 2) for n in reversed(range(size.bit_length() - 4))]


class _FirstLayer(nn.ConvTranspose2d):
    """The transposed convolution of images of one pixel: a product of matrices.

    It is faster, and as a convolution it cannot be compiled for a GPU with weights in channels-last order:
    cuDNN returns their gradient in another order than torch's compiler (2.11) expects.
    """

    def forward(self, latents: Tensor, output_size: list[int] | None = None) -> Tensor:
        last = self.weight.is_contiguous(memory_format=torch.channels_last)
        weight = self.weight.movedim(1, -1) if last else self.weight
        images: Tensor = (latents.flatten(1) @ weight.flatten(1)).unflatten(1, weight.shape[1:])
        return images.movedim(-1, 1) if last else images


class DCGANGenerator(Generator):
    """Generator with 4x4 kernels: latents (N, latent_dim) to images (N, *image_shape) in [-1, 1].

    Transposed convolutions from width * size / 8 channels at 4x4, halving the channels and doubling the size,
    with batch norm and ReLU between them and tanh at the end. Weights from N(0, 0.02).
    Source: sections 3 and 4 of the paper, the third author's released code; the DCGAN generator of WGAN.

    Args:
        image_shape: (channels, size, size) with size 8, 16, 32, 64, 128 or 256.
        latent_dim: Numbers in a latent.
        width: Channels at half the image's size.
        norm: "batch", or "none" as in WGAN's robustness experiments.
        extra_layers: 3x3 convolutions of constant width to add before the last layer (WGAN's code).

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 100,
        width: int = 64,
        norm: Literal["batch", "none"] = "batch",
        extra_layers: int = 0,
    ) -> None:
        channels, size = checks.square_image(image_shape, POWERS_OF_TWO)
        checks.at_least(1, latent_dim=latent_dim, width=width)
        checks.at_least(0, extra_layers=extra_layers)
        checks.one_of(("batch", "none"), norm=norm)
        maps = width * size // 8
        layers = [nn.Unflatten(1, (latent_dim, 1, 1)), _FirstLayer(latent_dim, maps, 4, bias=False)]
        layers += [*_norm(norm, maps), nn.ReLU(), *_up_stages(maps, _halved(width, size), norm, 4)]
        for _ in range(extra_layers):
            layers += [nn.Conv2d(width, width, 3, 1, 1, bias=False), *_norm(norm, width), nn.ReLU()]
        super().__init__(latent_dim, *layers, up(width, channels, 4, bias=False), nn.Tanh())
        initialisers.normal_(self)


class ConvolutionalDiscriminator(Discriminator):
    """Base of the discriminators: stages of convolutions, then a head with the numbers of an image.

    Args:
        image_shape: (channels, height, width).
        stages: The convolutional stages.
        head: From the last stage's maps to (N, K) or (N, K, 1, 1).
    """

    def __init__(self, image_shape: tuple[int, ...], stages: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__(image_shape, *stages, head)
        initialisers.normal_(self)


class DCGANDiscriminator(ConvolutionalDiscriminator):
    """Discriminator with 4x4 kernels: images (N, *image_shape) to logits (N,).

    Convolutions of stride 2 to 4x4 pixels, doubling the channels, with LeakyReLU(0.2) and with batch norm
    except in the first; then one convolution to a number. Weights from N(0, 0.02).
    Source: sections 3 and 4 of the paper, the third author's released code; also the critic of WGAN.

    Args:
        image_shape: (channels, size, size) with size 8, 16, 32, 64, 128 or 256.
        width: Channels of the first layer.
        norm: "batch"; "layer" (over channels and pixels) for gradient penalties, which batch norm would
            invalidate; "spectral" (arXiv 1802.05957) divides the weights of every layer, the first and the
            last too, by their spectral norm, and normalises no activations; or "none".
        extra_layers: 3x3 convolutions of constant width to add after the first layer (WGAN's code).
        outputs: Logits of an image; the result is (N, outputs) if there are several.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        width: int = 64,
        norm: Literal["batch", "layer", "spectral", "none"] = "batch",
        extra_layers: int = 0,
        outputs: int = 1,
    ) -> None:
        channels, size = checks.square_image(image_shape, POWERS_OF_TWO)
        checks.at_least(1, width=width, outputs=outputs)
        checks.at_least(0, extra_layers=extra_layers)
        checks.one_of(("batch", "layer", "spectral", "none"), norm=norm)
        stages = _down(channels, [(width, 2)], "none", 4)
        stages += _down(width, [(width, 1)] * extra_layers, norm, 3)
        stages += _down(width, _doubled(width, size), norm, 4)
        super().__init__(image_shape, stages, nn.Conv2d(width * size // 8, outputs, 4, bias=False))
        if norm == "spectral":  # after the weights are drawn, as a wrapped weight is no parameter any more
            spectral_norm(self)


class DCGANPaperGenerator(Generator):
    """Generator with 5x5 kernels (the paper's figure 1): latents (N, latent_dim) to images in [-1, 1].

    Source: figure 1 and section 4 of the paper; details from the authors' code for faces.

    Args:
        image_shape: (channels, size, size) with size 8, 16, 32, 64, 128 or 256; the paper's is 64.
        latent_dim: Numbers in a latent.
        width: Channels at half the image's size.
        per_unit: Normalise each unit of the first layer (the authors' code), not each of its channels.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(
        self, image_shape: tuple[int, ...], latent_dim: int = 100, width: int = 128, per_unit: bool = True
    ) -> None:
        channels, size = checks.square_image(image_shape, POWERS_OF_TWO)
        checks.at_least(1, latent_dim=latent_dim, width=width)
        maps = width * size // 8
        layers = _projection(latent_dim, maps, per_unit) + _up_stages(maps, _halved(width, size), "batch", 5)
        super().__init__(latent_dim, *layers, up(width, channels, bias=False), nn.Tanh())
        initialisers.normal_(self)


def _projection(latent_dim: int, maps: int, per_unit: bool) -> list[nn.Module]:
    """A generator's first stage: latents to ``maps`` maps of 4x4 pixels, normalised and rectified."""
    linear, reshape = nn.Linear(latent_dim, maps * 16, bias=False), nn.Unflatten(1, (maps, 4, 4))
    if per_unit:
        return [linear, nn.BatchNorm1d(maps * 16), nn.ReLU(), reshape]
    return [linear, reshape, nn.BatchNorm2d(maps), nn.ReLU()]


class DCGANPaperDiscriminator(ConvolutionalDiscriminator):
    """Discriminator with 5x5 kernels: images (N, *image_shape) to logits (N,).

    With 64 pixels and width 128 it is the authors' net for faces, with 32 pixels and width 64 that for SVHN.

    Args:
        image_shape: (channels, size, size) with size 8, 16, 32, 64, 128 or 256.
        width: Channels of the first layer.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], width: int = 128) -> None:
        channels, size = checks.square_image(image_shape, POWERS_OF_TWO)
        checks.at_least(1, width=width)
        stages = _down(channels, [(width, 2)], "none", 5) + _down(width, _doubled(width, size), "batch", 5)
        head = nn.Sequential(nn.Flatten(), nn.Linear(2 * width * size, 1, bias=False))
        super().__init__(image_shape, stages, head)


class DCGANImageNetGenerator(Generator):
    """Generator of 32x32 images with 3x3 kernels, trained on ImageNet in the paper's section 5.1.

    The authors' code gives strides, kernels and the first width; the widths between are chosen to mirror
    the discriminator.

    Args:
        image_shape: (channels, 32, 32).
        latent_dim: Numbers in a latent.
        width: Channels of the last hidden layers.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int = 256, width: int = 128) -> None:
        channels, _ = checks.square_image(image_shape, (32,))
        checks.at_least(1, latent_dim=latent_dim, width=width)
        stages = [(4 * width, 2), (2 * width, 1), (2 * width, 2), (width, 1), (width, 2)]
        layers = _projection(latent_dim, 4 * width, per_unit=True)
        layers += _up_stages(4 * width, stages, "batch", 3)
        super().__init__(latent_dim, *layers, up(width, channels, 3, 1, bias=False), nn.Tanh())
        initialisers.normal_(self)


class DCGANImageNetDiscriminator(ConvolutionalDiscriminator):
    """Discriminator of 32x32 images with 3x3 kernels, whose 28,672 features classify CIFAR-10 (section 5.1).

    Args:
        image_shape: (channels, 32, 32).
        width: Channels of the first layers.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], width: int = 128) -> None:
        channels, _ = checks.square_image(image_shape, (32,))
        checks.at_least(1, width=width)
        normed = [(width, 2), (2 * width, 1), (2 * width, 2), (4 * width, 1), (4 * width, 2)]
        stages = _down(channels, [(width, 1)], "none", 3) + _down(width, normed, "batch", 3)
        head = nn.Sequential(nn.Flatten(), nn.Linear(64 * width, 1, bias=False))
        super().__init__(image_shape, stages, head)


class _Conditional(Rebuildable, nn.Module):
    """Layers before each of which the label enters: as a constant map, or beside the units.

    Args:
        num_classes: Number of labels.
        layers: Each takes ``num_classes`` channels, or units, more than the one before gives.
    """

    def __init__(self, num_classes: int, *layers: nn.Module) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.layers = nn.ModuleList(layers)
        initialisers.normal_(self)

    def through(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return the values after the last layer."""
        condition = one_hot(labels, self.num_classes, values)
        for layer in self.layers:
            joined = condition.to(values.dtype)
            if values.dim() == 4:
                joined = joined[:, :, None, None].expand(-1, -1, *values.shape[2:])
            values = layer(torch.cat([values, joined], dim=1))
        return values


class ConditionalDCGANGenerator(_Conditional):
    """Generator of the paper's MNIST digits: latents (N, latent_dim) and labels (N,) to images in [-1, 1].

    The label enters before every layer. Batch norms have no gain and no bias. The authors' sigmoid is
    stretched from [0, 1] to [-1, 1].

    Args:
        image_shape: (channels, size, size) with a size divisible by 4; the paper's is (1, 28, 28).
        latent_dim: Numbers in a latent.
        num_classes: Number of labels.
        width: Maps at half the image's size; there are twice as many at a quarter.
        hidden: Units of the first layer.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 100,
        num_classes: int = 10,
        width: int = 64,
        hidden: int = 1024,
    ) -> None:
        channels, size = checks.square_image(image_shape, range(4, 1025, 4))
        checks.at_least(1, latent_dim=latent_dim, num_classes=num_classes, width=width, hidden=hidden)
        grid = size // 4
        maps, units = 2 * width, 2 * width * grid**2

        def normed(layer: nn.Module, norm: nn.Module, *after: nn.Module) -> nn.Module:
            return nn.Sequential(layer, norm, nn.ReLU(), *after)

        super().__init__(
            num_classes,
            normed(
                nn.Linear(latent_dim + num_classes, hidden, bias=False), nn.BatchNorm1d(hidden, affine=False)
            ),
            normed(
                nn.Linear(hidden + num_classes, units, bias=False),
                nn.BatchNorm1d(units, affine=False),
                nn.Unflatten(1, (maps, grid, grid)),
            ),
            normed(up(maps + num_classes, width, bias=False), nn.BatchNorm2d(width, affine=False)),
            nn.Sequential(up(width + num_classes, channels, bias=False), nn.Sigmoid()),
        )
        self.latent_dim = latent_dim

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Map latents (N, latent_dim) and labels (N,) to images."""
        check_latents(latents, self.latent_dim)
        return 2 * self.through(latents, labels) - 1


class ConditionalDCGANDiscriminator(_Conditional):
    """Discriminator of the paper's MNIST digits: images and labels (N,) to logits (N,).

    Args:
        image_shape: (channels, size, size) with a size divisible by 4; the paper's is (1, 28, 28).
        num_classes: Number of labels.
        width: Maps of the first convolution; the second has twice as many.
        hidden: Units of the linear layer.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(
        self, image_shape: tuple[int, ...], num_classes: int = 10, width: int = 64, hidden: int = 1024
    ) -> None:
        channels, size = checks.square_image(image_shape, range(4, 1025, 4))
        checks.at_least(1, num_classes=num_classes, width=width, hidden=hidden)
        maps = 2 * width
        conv2 = nn.Conv2d(width + num_classes, maps, 5, 2, 2, bias=False)
        linear1 = nn.Linear(maps * (size // 4) ** 2 + num_classes, hidden, bias=False)
        super().__init__(
            num_classes,
            nn.Sequential(nn.Conv2d(channels + num_classes, width, 5, 2, 2, bias=False), nn.LeakyReLU(SLOPE)),
            nn.Sequential(conv2, nn.BatchNorm2d(maps, affine=False), nn.LeakyReLU(SLOPE), nn.Flatten()),
            nn.Sequential(linear1, nn.BatchNorm1d(hidden, affine=False), nn.LeakyReLU(SLOPE)),
            nn.Linear(hidden + num_classes, 1, bias=False),
        )
        self.image_shape = tuple(image_shape)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Map images and labels (N,) to logits (N,)."""
        check_images(images, self.image_shape)
        return self.through(images, labels).flatten()
