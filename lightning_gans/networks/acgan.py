"""Networks of GOLD's ACGANs (Mo et al., NeurIPS 2019, arXiv 1910.09170), as its released code has them.

Generators see the label as a one-hot vector beside the latent. Discriminators have a common trunk and two
linear heads, one logit of "real" and a logit for each class; the convolutions of the trunk are divided by
their largest singular value (spectral norm), its linear layers and the heads are not. Images are in [-1, 1].
"""

from typing import Literal

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.networks import initialisers
from lightning_gans.networks.base import check_images, check_latents, one_hot, spectral_norm, up
from lightning_gans.networks.mlp import hidden_layers
from lightning_gans.networks.rebuild import Rebuildable

SLOPE = 0.2

Initial = Literal["dcgan", "torch"]
"""Initial weights: normal ones with deviation 0.02, or torch's defaults."""


class _Generator(Rebuildable, nn.Module):
    """Latents (N, latent_dim) and labels (N,) to images, by a row of layers."""

    def __init__(self, latent_dim: int, num_classes: int, *layers: nn.Module) -> None:
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Map latents (N, latent_dim) and labels (N,) to images."""
        check_latents(latents, self.latent_dim)
        images: Tensor = self.layers(torch.cat([latents, one_hot(labels, self.num_classes, latents)], 1))
        return images


class TwoHeadedDiscriminator(Rebuildable, nn.Module):
    """A trunk and two linear heads: images (N, *image_shape) to logits (N,) and class logits (N, K).

    Args:
        image_shape: (channels, height, width), or (d,) for vectors.
        num_classes: Number of classes.
        features: Numbers that the trunk returns.
        layers: The trunk, from (N, *image_shape) to (N, features).

    Raises:
        ValueError: If ``forward`` gets images of another shape.
    """

    def __init__(
        self, image_shape: tuple[int, ...], num_classes: int, features: int, *layers: nn.Module
    ) -> None:
        super().__init__()
        checks.at_least(1, num_classes=num_classes)
        self.image_shape, self.num_classes = tuple(image_shape), num_classes
        self.trunk = nn.Sequential(*layers)
        self.source, self.classes = nn.Linear(features, 1), nn.Linear(features, num_classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images to the logits (N,) of "real" and those of the classes, (N, num_classes)."""
        check_images(images, self.image_shape)
        features = self.trunk(images)
        return self.source(features).squeeze(1), self.classes(features)


class ACGANGenerator(_Generator):
    """The generator for MNIST and Fashion-MNIST at 32 pixels: latents and labels (N,) to images.

    Two linear layers and two transposed convolutions, batch norm and ReLU between them, tanh at the end.

    Args:
        image_shape: (channels, size, size) with a size divisible by 4.
        latent_dim: Numbers in a latent.
        num_classes: Number of labels; label -1 is a row of zeros.
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
        channels, size = checks.square_image(image_shape, range(8, 1025, 4))
        checks.at_least(1, latent_dim=latent_dim, num_classes=num_classes, width=width, hidden=hidden)
        grid = size // 4
        units = 2 * width * grid**2
        super().__init__(
            latent_dim,
            num_classes,
            nn.Sequential(nn.Linear(latent_dim + num_classes, hidden), nn.BatchNorm1d(hidden), nn.ReLU()),
            nn.Sequential(nn.Linear(hidden, units), nn.BatchNorm1d(units), nn.ReLU()),
            nn.Unflatten(1, (2 * width, grid, grid)),
            nn.Sequential(up(2 * width, width, 4), nn.BatchNorm2d(width), nn.ReLU()),
            nn.Sequential(up(width, channels, 4), nn.Tanh()),
        )
        initialisers.normal_(self, norms=False)


class ACGANDiscriminator(TwoHeadedDiscriminator):
    """The discriminator for MNIST and Fashion-MNIST at 32 pixels: images to logits and class logits.

    Two strided convolutions and a linear layer, each with LeakyReLU 0.2; batch norm in the last two.

    Args:
        image_shape: (channels, size, size) with a size divisible by 4.
        num_classes: Number of classes.
        width: Maps of the first convolution; the second has twice as many.
        hidden: Units of the linear layer.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(
        self, image_shape: tuple[int, ...], num_classes: int = 10, width: int = 64, hidden: int = 1024
    ) -> None:
        channels, size = checks.square_image(image_shape, range(8, 1025, 4))
        checks.at_least(1, width=width, hidden=hidden)
        units = 2 * width * (size // 4) ** 2
        super().__init__(
            image_shape,
            num_classes,
            hidden,
            nn.Sequential(nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(SLOPE)),
            nn.Sequential(
                nn.Conv2d(width, 2 * width, 4, 2, 1), nn.BatchNorm2d(2 * width), nn.LeakyReLU(SLOPE)
            ),
            nn.Flatten(),
            nn.Sequential(nn.Linear(units, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(SLOPE)),
        )
        initialisers.normal_(self, norms=False)
        spectral_norm(self)


class ACGANColourGenerator(_Generator):
    """The generator for colour images of 32 pixels (SVHN, CIFAR-10) and more: latents and labels to images.

    A linear layer and four transposed convolutions, the first from one pixel to ``size / 8`` of them, batch
    norm and ReLU between them, tanh at the end.

    Args:
        image_shape: (channels, size, size) with a size divisible by 8; the released code's is 32, others are
            our extension.
        latent_dim: Numbers in a latent.
        num_classes: Number of labels; label -1 is a row of zeros.
        width: Maps at half the image's size; twice as many at each smaller one.
        init: ``dcgan``: convolutions from N(0, 0.02), gains of batch norm from N(1, 0.02), as the released
            code means it; ``torch``: torch's own, as it does it (its initialisation matches no layer).

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 100,
        num_classes: int = 10,
        width: int = 48,
        init: Initial = "dcgan",
    ) -> None:
        channels, size = checks.square_image(image_shape, range(16, 1025, 8))
        checks.at_least(1, latent_dim=latent_dim, num_classes=num_classes, width=width)
        checks.one_of(("dcgan", "torch"), init=init)
        layers: list[nn.Module] = [
            nn.Linear(latent_dim + num_classes, 8 * width),
            nn.Unflatten(1, (8 * width, 1, 1)),
        ]
        first = nn.ConvTranspose2d(8 * width, 4 * width, size // 8, bias=False)
        for layer in (first, up(4 * width, 2 * width, 4, bias=False), up(2 * width, width, 4, bias=False)):
            layers.append(nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU()))
        layers.append(nn.Sequential(up(width, channels, 4, bias=False), nn.Tanh()))
        super().__init__(latent_dim, num_classes, *layers)
        if init == "dcgan":
            initialisers.normal_(self.layers[2:])


class ACGANColourDiscriminator(TwoHeadedDiscriminator):
    """The discriminator for colour images of 32 pixels and more: images to logits and class logits.

    Six 3x3 convolutions, every other one strided, with batch norm but in the first, LeakyReLU 0.2, dropout.

    Args:
        image_shape: (channels, size, size) with a size divisible by 8; the released code's is 32, others are
            our extension.
        num_classes: Number of classes.
        width: Maps of the first convolution; each has twice as many as the one before.
        dropout: Share of the numbers that is dropped after each convolution in training.
        init: See :class:`ACGANColourGenerator`.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int = 10,
        width: int = 16,
        dropout: float = 0.5,
        init: Initial = "dcgan",
    ) -> None:
        channels, size = checks.square_image(image_shape, range(16, 1025, 8))
        checks.at_least(1, width=width)
        checks.within("[0, 1)", dropout=dropout)
        checks.one_of(("dcgan", "torch"), init=init)
        layers: list[nn.Module] = []
        maps = channels
        for n in range(6):
            conv = nn.Conv2d(maps, maps := width << n, 3, 1 if n % 2 else 2, 1, bias=False)
            norm = [nn.BatchNorm2d(maps)] if n else []
            layers.append(nn.Sequential(conv, *norm, nn.LeakyReLU(SLOPE), nn.Dropout(dropout)))
        super().__init__(image_shape, num_classes, maps * (size // 8) ** 2, *layers, nn.Flatten())
        if init == "dcgan":
            initialisers.normal_(self.trunk)
        spectral_norm(self)


class ACGANMLPGenerator(_Generator):
    """The generator of GOLD's toy points, layers of 512 ReLU: latents and labels (N,) to vectors.

    Args:
        image_shape: (d,).
        latent_dim: Numbers in a latent.
        num_classes: Number of labels; label -1 is a row of zeros.
        hidden: Units of the hidden layers.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 2,
        num_classes: int = 2,
        hidden: tuple[int, ...] = (512, 512, 512),
    ) -> None:
        (outputs,) = _vector(image_shape)
        checks.at_least(1, latent_dim=latent_dim, num_classes=num_classes)
        layers, units = hidden_layers(latent_dim + num_classes, hidden, "relu")
        super().__init__(latent_dim, num_classes, *layers, nn.Linear(units, outputs))
        initialisers.normal_(self)


class ACGANMLPDiscriminator(TwoHeadedDiscriminator):
    """The discriminator of GOLD's toy points, layers of 512 ReLU: vectors to logits and class logits.

    Args:
        image_shape: (d,).
        num_classes: Number of classes.
        hidden: Units of the hidden layers.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets vectors of another shape.
    """

    def __init__(
        self, image_shape: tuple[int, ...], num_classes: int = 2, hidden: tuple[int, ...] = (512, 512, 512)
    ) -> None:
        (inputs,) = _vector(image_shape)
        layers, units = hidden_layers(inputs, hidden, "relu")
        super().__init__(image_shape, num_classes, units, *layers)
        initialisers.normal_(self)


def _vector(image_shape: tuple[int, ...]) -> tuple[int, ...]:
    shape = checks.image_shape(image_shape)
    if len(shape) != 1:
        raise ValueError(f"image_shape={shape}: this network makes or reads vectors, (d,)")
    return shape
