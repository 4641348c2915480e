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

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import register_parametrization

from lightning_gans.networks import initialisers
from lightning_gans.networks.checks import (
    check_images,
    check_latents,
    check_positive,
    power_of_two_image,
    sized_image,
    square_image,
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


def _check_norm(norm: str, allowed: tuple[str, ...]) -> None:
    if norm not in allowed:
        raise ValueError(f"norm is {norm!r}: choose one of {', '.join(allowed)}")


def _down(in_channels: int, out_channels: int, norm: str, kernel: int, stride: int = 2) -> nn.Sequential:
    """A discriminator's stage: convolution, normalisation, LeakyReLU."""
    padding = 1 if kernel == 4 else kernel // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False),
        *_norm(norm, out_channels),
        nn.LeakyReLU(SLOPE),
    )


def _up(in_channels: int, out_channels: int, kernel: int, stride: int = 2) -> nn.ConvTranspose2d:
    """A transposed convolution that makes images ``stride`` times as large."""
    padding = 1 if kernel == 4 else kernel // 2
    extra = stride - 1 if kernel % 2 else 0  # an odd kernel alone would give 2n - 1 pixels
    return nn.ConvTranspose2d(in_channels, out_channels, kernel, stride, padding, extra, bias=False)


class _SpectralNorm(parametrizations._SpectralNorm):
    """torch's, in float32 under autocast too: an iteration of bfloat16 products would miss the norm."""

    def forward(self, weight: Tensor) -> Tensor:
        with nullcontext() if weight.is_meta else torch.autocast(weight.device.type, enabled=False):
            normed: Tensor = super().forward(weight)
        return normed


class DCGANGenerator(Rebuildable, nn.Module):
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
        super().__init__()
        channels, size = power_of_two_image(image_shape)
        check_positive(latent_dim=latent_dim, width=width)
        _check_norm(norm, ("batch", "none"))
        self.latent_dim = latent_dim
        maps = width * size // 8
        layers = [nn.ConvTranspose2d(latent_dim, maps, 4, bias=False), *_norm(norm, maps), nn.ReLU()]
        while maps > width:
            layers += [_up(maps, maps // 2, 4), *_norm(norm, maps // 2), nn.ReLU()]
            maps //= 2
        for _ in range(extra_layers):
            layers += [nn.Conv2d(maps, maps, 3, 1, 1, bias=False), *_norm(norm, maps), nn.ReLU()]
        self.layers = nn.Sequential(*layers, _up(maps, channels, 4), nn.Tanh())
        initialisers.normal_(self)

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (N, latent_dim) to images."""
        check_latents(latents, self.latent_dim)
        images: Tensor = self.layers(latents[:, :, None, None])
        return images


class ConvolutionalDiscriminator(Rebuildable, nn.Module):
    """Base of the discriminators: stages of convolutions, then a head with the numbers of an image.

    Args:
        image_shape: (channels, height, width).
        stages: The convolutional stages.
        head: From the last stage's maps to (N, K) or (N, K, 1, 1).
    """

    def __init__(self, image_shape: tuple[int, ...], stages: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.stages = nn.Sequential(*stages)
        self.head = head
        initialisers.normal_(self)

    def forward(self, images: Tensor) -> Tensor:
        """Map images to logits (N,), or (N, K) if the head makes several."""
        check_images(images, self.image_shape)
        logits: Tensor = self.head(self.stages(images))
        return logits.flatten(1).squeeze(1)

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return every stage's maps (after LeakyReLU), from the image upwards."""
        check_images(images, self.image_shape)
        maps = [images]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def features(self, images: Tensor) -> Tensor:
        """Return the features of section 5.1: all maps, max-pooled to 4x4, one row per image."""
        maps = self.feature_maps(images)
        return torch.cat([max_pool2d(m, m.shape[-1] // 4).flatten(1) for m in maps], dim=1)


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
        channels, size = power_of_two_image(image_shape)
        check_positive(width=width, outputs=outputs)
        _check_norm(norm, ("batch", "layer", "spectral", "none"))
        stages = [_down(channels, width, "none", 4)]
        stages += [_down(width, width, norm, 3, stride=1) for _ in range(extra_layers)]
        maps = width
        while maps < width * size // 8:
            stages.append(_down(maps, 2 * maps, norm, 4))
            maps *= 2
        super().__init__(image_shape, stages, nn.Conv2d(maps, outputs, 4, bias=False))
        if norm == "spectral":  # after the first weights are drawn: what is wrapped is no longer a parameter
            for layer in list(self.modules()):
                if isinstance(layer, nn.Conv2d):
                    register_parametrization(layer, "weight", _SpectralNorm(layer.weight))


class DCGANPaperGenerator(Rebuildable, nn.Module):
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
        super().__init__()
        channels, size = power_of_two_image(image_shape)
        check_positive(latent_dim=latent_dim, width=width)
        self.latent_dim = latent_dim
        maps = width * size // 8
        layers = _projection(latent_dim, maps, per_unit)
        while maps > width:
            layers += [_up(maps, maps // 2, 5), nn.BatchNorm2d(maps // 2), nn.ReLU()]
            maps //= 2
        self.layers = nn.Sequential(*layers, _up(maps, channels, 5), nn.Tanh())
        initialisers.normal_(self)

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (N, latent_dim) to images."""
        check_latents(latents, self.latent_dim)
        images: Tensor = self.layers(latents)
        return images


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
        channels, size = power_of_two_image(image_shape)
        check_positive(width=width)
        stages, maps = [_down(channels, width, "none", 5)], width
        while maps < width * size // 8:
            stages.append(_down(maps, 2 * maps, "batch", 5))
            maps *= 2
        head = nn.Sequential(nn.Flatten(), nn.Linear(maps * 16, 1, bias=False))
        super().__init__(image_shape, stages, head)


class DCGANImageNetGenerator(Rebuildable, nn.Module):
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
        super().__init__()
        channels = sized_image(image_shape, 32)
        check_positive(latent_dim=latent_dim, width=width)
        self.latent_dim = latent_dim
        layers, maps = _projection(latent_dim, 4 * width, per_unit=True), 4 * width
        for multiple, stride in ((4, 2), (2, 1), (2, 2), (1, 1), (1, 2)):
            layers += [_up(maps, multiple * width, 3, stride), nn.BatchNorm2d(multiple * width), nn.ReLU()]
            maps = multiple * width
        self.layers = nn.Sequential(*layers, _up(maps, channels, 3, 1), nn.Tanh())
        initialisers.normal_(self)

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (N, latent_dim) to images."""
        check_latents(latents, self.latent_dim)
        images: Tensor = self.layers(latents)
        return images


class DCGANImageNetDiscriminator(ConvolutionalDiscriminator):
    """Discriminator of 32x32 images with 3x3 kernels, whose 28,672 features classify CIFAR-10 (section 5.1).

    Args:
        image_shape: (channels, 32, 32).
        width: Channels of the first layers.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], width: int = 128) -> None:
        channels = sized_image(image_shape, 32)
        check_positive(width=width)
        stages, maps = [_down(channels, width, "none", 3, stride=1)], width
        for multiple, stride in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2)):
            stages.append(_down(maps, multiple * width, "batch", 3, stride))
            maps = multiple * width
        head = nn.Sequential(nn.Flatten(), nn.Linear(maps * 16, 1, bias=False))
        super().__init__(image_shape, stages, head)


def _one_hot(labels: Tensor, num_classes: int, like: Tensor) -> Tensor:
    """Return (N, num_classes) zeros and ones; label -1 gives a row of zeros."""
    # Unlike torch's one_hot, a comparison neither refuses -1 nor waits for the GPU.
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(like.dtype)


def _append(values: Tensor, condition: Tensor) -> Tensor:
    """Append the condition (N, K) to units (N, F), or as constant maps to maps (N, C, H, W)."""
    if values.dim() == 4:
        condition = condition[:, :, None, None].expand(-1, -1, *values.shape[2:])
    return torch.cat([values, condition.to(values.dtype)], dim=1)


class ConditionalDCGANGenerator(Rebuildable, nn.Module):
    """Generator of the paper's MNIST digits: latents (N, latent_dim) and labels (N,) to images in [-1, 1].

    The label enters before every layer. Batch norms have no gain and no bias. The authors' sigmoid is
    stretched from [0, 1] to [-1, 1].

    Args:
        image_shape: (channels, size, size) with a size divisible by 4; the paper's is (1, 28, 28).
        latent_dim: Numbers in a latent.
        num_classes: Number of labels.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int = 100, num_classes: int = 10) -> None:
        super().__init__()
        channels, grid = _quarter(image_shape)
        check_positive(latent_dim=latent_dim, num_classes=num_classes)
        self.latent_dim, self.num_classes = latent_dim, num_classes
        units = 128 * grid * grid
        self.linear1 = nn.Sequential(
            nn.Linear(latent_dim + num_classes, 1024, bias=False),
            nn.BatchNorm1d(1024, affine=False),
            nn.ReLU(),
        )
        self.linear2 = nn.Sequential(
            nn.Linear(1024 + num_classes, units, bias=False),
            nn.BatchNorm1d(units, affine=False),
            nn.ReLU(),
            nn.Unflatten(1, (128, grid, grid)),
        )
        self.up1 = nn.Sequential(_up(128 + num_classes, 64, 5), nn.BatchNorm2d(64, affine=False), nn.ReLU())
        self.up2 = nn.Sequential(_up(64 + num_classes, channels, 5), nn.Sigmoid())
        initialisers.normal_(self)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Map latents (N, latent_dim) and labels (N,) to images."""
        check_latents(latents, self.latent_dim)
        values, condition = latents, _one_hot(labels, self.num_classes, latents)
        for layer in (self.linear1, self.linear2, self.up1, self.up2):
            values = layer(_append(values, condition))
        return 2 * values - 1


class ConditionalDCGANDiscriminator(Rebuildable, nn.Module):
    """Discriminator of the paper's MNIST digits: images and labels (N,) to logits (N,).

    Args:
        image_shape: (channels, size, size) with a size divisible by 4; the paper's is (1, 28, 28).
        num_classes: Number of labels.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], num_classes: int = 10) -> None:
        super().__init__()
        channels, grid = _quarter(image_shape)
        check_positive(num_classes=num_classes)
        self.image_shape, self.num_classes = tuple(image_shape), num_classes
        self.down1 = nn.Sequential(
            nn.Conv2d(channels + num_classes, 64, 5, 2, 2, bias=False), nn.LeakyReLU(SLOPE)
        )
        self.down2 = nn.Sequential(
            nn.Conv2d(64 + num_classes, 128, 5, 2, 2, bias=False),
            nn.BatchNorm2d(128, affine=False),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
        )
        self.linear1 = nn.Sequential(
            nn.Linear(128 * grid * grid + num_classes, 1024, bias=False),
            nn.BatchNorm1d(1024, affine=False),
            nn.LeakyReLU(SLOPE),
        )
        self.linear2 = nn.Linear(1024 + num_classes, 1, bias=False)
        initialisers.normal_(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Map images and labels (N,) to logits (N,)."""
        check_images(images, self.image_shape)
        values, condition = images, _one_hot(labels, self.num_classes, images)
        for layer in (self.down1, self.down2, self.linear1, self.linear2):
            values = layer(_append(values, condition))
        return values.flatten()


def _quarter(image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the channels and a quarter of the size."""
    channels, size = square_image(image_shape)
    if size % 4:
        raise ValueError(f"image_shape is {tuple(image_shape)}: the size must be divisible by 4, such as 28")
    return channels, size // 4
