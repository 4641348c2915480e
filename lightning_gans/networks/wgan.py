"""Small convolutional networks of the WGAN-GP code (Gulrajani et al., 2017, arXiv 1704.00028)."""

from torch import nn

from lightning_gans import checks
from lightning_gans.networks.base import POWERS_OF_TWO, Discriminator, Generator, up
from lightning_gans.networks.initialisers import fan_average_uniform_


def _initialise(network: nn.Module) -> None:
    """Linear layers get Glorot's gain, convolutions He's."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            fan_average_uniform_(layer, gain=2)
        elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            fan_average_uniform_(layer, gain=4)


class SmallGenerator(Generator):
    """The code's small CIFAR-10 generator: latents (N, latent_dim) to images in [-1, 1].

    A linear layer to 4x4 pixels, then 5x5 transposed convolutions, batch norm (of each unit in the first
    layer) and ReLU, and tanh at the end.

    Args:
        image_shape: (channels, size, size) with size 8, 16, 32, 64 or 128; the code's is 32.
        latent_dim: Numbers in a latent.
        width: Channels at half the image's size; the code has 128, and notes that 64 overfits less.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int = 128, width: int = 128) -> None:
        channels, size = checks.square_image(image_shape, POWERS_OF_TWO)
        checks.at_least(1, latent_dim=latent_dim, width=width)
        maps = width * size // 8
        layers = [nn.Linear(latent_dim, 16 * maps), nn.BatchNorm1d(16 * maps), nn.ReLU()]
        layers.append(nn.Unflatten(1, (maps, 4, 4)))
        while maps > width:
            layers += [up(maps, maps // 2), nn.BatchNorm2d(maps // 2), nn.ReLU()]
            maps //= 2
        super().__init__(latent_dim, *layers, up(maps, channels), nn.Tanh())
        _initialise(self)


class SmallDiscriminator(Discriminator):
    """The code's small CIFAR-10 critic: images to (N,). 5x5 convolutions, LeakyReLU(0.2), no norm.

    Args:
        image_shape: (channels, size, size) with size 8, 16, 32, 64 or 128; the code's is 32.
        width: Channels of the first layer.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], width: int = 128) -> None:
        channels, size = checks.square_image(image_shape, POWERS_OF_TWO)
        checks.at_least(1, width=width)
        layers: list[nn.Module] = []
        outputs = width
        while size > 4:
            layers += [nn.Conv2d(channels, outputs, 5, stride=2, padding=2), nn.LeakyReLU(0.2)]
            channels, outputs, size = outputs, 2 * outputs, size // 2
        super().__init__(image_shape, *layers, nn.Flatten(), nn.Linear(16 * channels, 1))
        _initialise(self)


class ConstantFiltersGenerator(Generator):
    """A deliberately poor generator: no norm, the same number of filters everywhere.

    With it the WGAN paper (arXiv 1701.07875, figure 6) shows that its training is robust and GAN's is not.

    Args:
        image_shape: (channels, size, size) with size 8, 16, 32, 64 or 128; the paper's is 64.
        latent_dim: Numbers in a latent.
        width: Filters of every layer.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int = 128, width: int = 64) -> None:
        channels, size = checks.square_image(image_shape, POWERS_OF_TWO)
        checks.at_least(1, latent_dim=latent_dim, width=width)
        layers = [nn.Linear(latent_dim, 16 * width), nn.ReLU(), nn.Unflatten(1, (width, 4, 4))]
        while size > 8:
            layers += [up(width, width), nn.ReLU()]
            size //= 2
        super().__init__(latent_dim, *layers, up(width, channels), nn.Tanh())
        _initialise(self)
