"""Networks of the Coulomb GAN (Unterthiner et al., 2017, arXiv 1708.08819): DCGAN with 5x5 kernels, a wide D.

As in the code that gave the paper's numbers; batch norm has its epsilon of 1e-3 and its decay of 0.99.
"""

import math

from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.networks.base import POWERS_OF_TWO, Discriminator, Generator, up

TRUNCATED = 0.8796256610342398  # standard deviation of N(0, 1) within [-2, 2]


def _norm(channels: int, running: bool = True) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01, track_running_stats=running)


def _initialise(network: nn.Module) -> None:
    """Glorot's uniform weights; biases 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


class ScaledTanh(nn.Module):
    """``1.7159 tanh(2 x / 3)`` (LeCun et al., 1998, Efficient BackProp), which is 1 at 1.

    Black and white are reached without saturation.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Map values elementwise into (-1.7159, 1.7159)."""
        return 1.7159 * (values * (2 / 3)).tanh()


class CoulombGenerator(Generator):
    """Generator: latents (N, latent_dim) to images (N, *image_shape).

    Images lie in (-1.7159, 1.7159) while it trains, and are cut off at -1 and 1 in evaluation mode.
    A linear layer and ReLU (no norm) to ``width`` maps of 4x4 pixels, then 5x5 transposed convolutions, batch
    norm and ReLU, doubling the size and halving the maps, and :class:`ScaledTanh`.

    Args:
        image_shape: (channels, size, size) with size 8, 16, 32, 64 or 128; the paper's are 32 and 64.
        latent_dim: Numbers in a latent; 32 in the paper, 16 for CIFAR-10.
        width: Maps at 4x4 pixels.
        batch_statistics: Normalise with the statistics of the batch in evaluation too, as the authors' code
            does: a sample then depends on those drawn with it. Default: running statistics.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        latent_dim: int = 32,
        width: int = 1024,
        batch_statistics: bool = False,
    ) -> None:
        channels, size = checks.square_image(image_shape, POWERS_OF_TWO)
        checks.at_least(1, latent_dim=latent_dim, width=width)
        if width % (size // 8):
            raise ValueError(f"width={width} is halved several times: give a multiple of {size // 8}")
        layers = [nn.Linear(latent_dim, 16 * width), nn.ReLU(), nn.Unflatten(1, (width, 4, 4))]
        hidden, maps = [], width
        for _ in range(int(math.log2(size // 8))):
            hidden.append(up(maps, maps // 2))
            layers += [hidden[-1], _norm(maps // 2, running=not batch_statistics), nn.ReLU()]
            maps //= 2
        super().__init__(latent_dim, *layers, up(maps, channels), ScaledTanh())
        _initialise(self)
        for layer in hidden:
            std = math.sqrt(4 / (25 * (layer.in_channels + layer.out_channels))) / TRUNCATED
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents (N, latent_dim) to images."""
        images = super().forward(latents)
        return images if self.training else images.clamp(-1, 1)


class CoulombDiscriminator(Discriminator):
    """Discriminator: images (N, *image_shape) to potentials (N,), twice as wide as the generator's last maps.

    Four 5x5 convolutions of stride 2 whatever the size, each with batch norm (the first too) and
    LeakyReLU(0.2), doubling the maps; then a linear layer. No output function: potentials are regressed.

    Args:
        image_shape: (channels, size, size) with size 8, 16, 32, 64 or 128; the paper's are 32 and 64.
        width: Maps of the first layer.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], width: int = 128) -> None:
        channels, size = checks.square_image(image_shape, POWERS_OF_TWO)
        checks.at_least(1, width=width)
        layers: list[nn.Module] = []
        for stage in range(4):
            maps = width * 2**stage
            layers += [nn.Conv2d(channels, maps, 5, stride=2, padding=2), _norm(maps), nn.LeakyReLU(0.2)]
            channels, size = maps, (size + 1) // 2
        super().__init__(image_shape, *layers, nn.Flatten(), nn.Linear(channels * size**2, 1))
        _initialise(self)
