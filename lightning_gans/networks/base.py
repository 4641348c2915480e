"""Base classes of networks, checks of their inputs, and labels as one-hot vectors."""

from contextlib import nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, group_norm
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import register_parametrization
from torch.overrides import has_torch_function

from lightning_gans import checks
from lightning_gans.networks.rebuild import Rebuildable

POWERS_OF_TWO = tuple(2**n for n in range(3, 11))
"""The sizes of images that double from 4 pixels."""


def check_latents(latents: Tensor, latent_dim: int) -> None:
    """Raise a ValueError unless ``latents`` has the shape (N, latent_dim)."""
    if latents.shape[1:] != (latent_dim,):
        advice = f"this network takes (N, {latent_dim}), as its latent_dim says"
        raise ValueError(f"latents has shape {tuple(latents.shape)}: {advice}")


def check_images(images: Tensor, image_shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless ``images`` has the shape (N, *image_shape)."""
    if images.shape[1:] != image_shape:
        advice = f"this network was built for {('N', *image_shape)}, the image_shape of other data"
        raise ValueError(f"images has shape {tuple(images.shape)}: {advice}")


def one_hot(labels: Tensor, num_classes: int, like: Tensor) -> Tensor:
    """Return (N, num_classes) zeros and ones of the type of ``like``; label -1 gives a row of zeros."""
    # Unlike torch's one_hot, a comparison neither refuses -1 nor waits for the GPU.
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(like.dtype)


def up(inputs: int, outputs: int, kernel: int = 5, stride: int = 2, bias: bool = True) -> nn.ConvTranspose2d:
    """Return a transposed convolution that makes images ``stride`` times as large."""
    padding = 1 if kernel == 4 else kernel // 2
    extra = stride - 1 if kernel % 2 else 0  # an odd kernel alone would give 2n - 1 pixels
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride, padding, extra, bias=bias)


class _SpectralNorm(parametrizations._SpectralNorm):
    """torch's spectral norm, in float32 under autocast too: bfloat16 is too inexact for its iteration."""

    def forward(self, weight: Tensor) -> Tensor:
        with nullcontext() if weight.is_meta else torch.autocast(weight.device.type, enabled=False):
            normed: Tensor = super().forward(weight)
        return normed


def spectral_norm(network: nn.Module) -> None:
    """Divide the weights of each convolution of a network by their largest singular value.

    A wrapped weight is no parameter any more: initial weights have to be drawn before.
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d):
            register_parametrization(layer, "weight", _SpectralNorm(layer.weight))


Norm = Literal["batch", "instance", "instance_affine", "none"]
"""The norms of translators and their discriminators; an instance norm has neither gain nor bias, or both."""


class InstanceNorm(nn.InstanceNorm2d):
    """torch's instance norm without statistics, by kernels that are faster and keep the memory order.

    torch's own turns channels_last maps into contiguous ones, and is several times slower on the CPU.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return each map with mean 0 and variance 1, over its pixels, then gain and bias if there are."""
        if has_torch_function((maps,)):  # whoever replaces torch's norms, for parts of an image, say
            return super().forward(maps)
        if not maps.is_contiguous():
            if len(maps) == 1:  # its gradient need not be put together
                return batch_norm(maps, None, None, self.weight, self.bias, training=True, eps=self.eps)
            return torch.cat([self(image) for image in maps.split(1)])
        if maps.device.type == "cpu":
            return group_norm(maps, self.num_features, self.weight, self.bias, self.eps)
        return super().forward(maps)  # autocast on GPUs computes group norms in float32


def norm_of(kind: Norm, channels: int) -> list[nn.Module]:
    """Return the norm of a translator's or discriminator's layer as a list, empty for "none"."""
    checks.one_of(get_args(Norm), norm=kind)
    if kind == "none":
        return []
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    return [InstanceNorm(channels, affine=kind == "instance_affine")]


def three(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """Return the shape of images.

    Raises:
        ValueError: If it is none.
    """
    shape = checks.image_shape(shape, name)
    if len(shape) != 3:
        raise ValueError(f"{name}={shape}: this network needs images, (channels, height, width)")
    return shape


class Generator(Rebuildable, nn.Module):
    """A generator that is a row of layers: latents (N, latent_dim) to images.

    Args:
        latent_dim: Numbers in a latent.
        layers: From (N, latent_dim) to (N, *image_shape).

    Raises:
        ValueError: If ``forward`` gets latents of another shape.
    """

    def __init__(self, latent_dim: int, *layers: nn.Module) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (N, latent_dim) to images, or vectors."""
        check_latents(latents, self.latent_dim)
        images: Tensor = self.layers(latents)
        return images


class Discriminator(Rebuildable, nn.Module):
    """A discriminator that is a row of layers: images (N, *image_shape) to logits (N,), or (N, K).

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
        layers: From (N, *image_shape) to (N, K) or (N, K, 1, 1).

    Raises:
        ValueError: If ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], *layers: nn.Module) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, or vectors, to logits (N,), or (N, K) if the last layer makes several."""
        check_images(images, self.image_shape)
        logits: Tensor = self.layers(images)
        return logits.flatten(1).squeeze(1)


class Translator(Rebuildable, nn.Module):
    """A generator from images to images, fully convolutional: it takes other sizes than those of training.

    Args:
        input_shape: (channels, height, width) of what is translated.
        image_shape: (channels, height, width) of the translations, of the same size.
        size_multiple: What height and width must be divisible by.
        smallest: The least height and width.
        otherwise: What else can be done about images of another size, for the message.

    Raises:
        ValueError: If a shape is none of images, or of a size that does not fit.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        image_shape: tuple[int, ...],
        size_multiple: int,
        smallest: int,
        otherwise: str = "",
    ) -> None:
        super().__init__()
        self.input_shape, self.image_shape = (
            three(input_shape, "input_shape"),
            three(image_shape, "image_shape"),
        )
        self.size_multiple, self.smallest = size_multiple, smallest
        self._check_size(f"input_shape={self.input_shape}", self.input_shape[1:], otherwise)
        if self.image_shape[1:] != self.input_shape[1:]:
            raise ValueError(
                f"image_shape={self.image_shape} is of another size than input_shape={self.input_shape}: "
                "this network keeps height and width"
            )

    def _check_size(self, given: str, sizes: tuple[int, ...], otherwise: str = "") -> None:
        for size in sizes:
            if size % self.size_multiple or size < self.smallest:
                low = size // self.size_multiple * self.size_multiple
                near = sorted({max(low, self.smallest), max(low + self.size_multiple, self.smallest)})
                raise ValueError(
                    f"{given}: this network needs height and width divisible by {self.size_multiple}; "
                    f"for {size} the nearest is {' or '.join(map(str, near))}{otherwise}"
                )

    def check(self, images: Tensor) -> None:
        """Raise a ValueError unless ``images`` are (N, channels, height, width) of a size that fits."""
        check_channels(images, self.input_shape[0])
        self._check_size(f"images has shape {tuple(images.shape)}", tuple(images.shape[2:]))


def check_channels(images: Tensor, channels: int) -> None:
    """Raise a ValueError unless ``images`` are (N, channels, height, width) of any size."""
    if images.dim() != 4 or images.shape[1] != channels:
        advice = f"this network takes (N, {channels}, height, width)"
        raise ValueError(f"images has shape {tuple(images.shape)}: {advice}")
