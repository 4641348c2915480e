"""DCGAN: deep convolutional GANs (Radford et al., 2015, arXiv 1511.06434)."""

from typing import Any, Literal

from torch import nn

from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory
from lightning_gans.models.gan import GAN
from lightning_gans.networks.dcgan import (
    DCGANDiscriminator,
    DCGANGenerator,
    DCGANPaperDiscriminator,
    DCGANPaperGenerator,
)


class DCGAN(GAN):
    """GAN with the convolutional networks that made it train.

    The paper's rules (section 3) are the defaults: strided convolutions instead of pooling, batch norm but
    at G's output and D's input, ReLU in G and tanh at its end, LeakyReLU 0.2 in D, weights from N(0, 0.02),
    Adam 2e-4 with beta1 0.5. Real and fake go through D as two batches: one mixed batch would tell
    them apart by its statistics. G's update judges the same fakes again, as the authors' Torch code does.

    Args:
        image_shape: ``(channels, size, size)``.
        preset: ``lua``: 4x4 kernels and width 64 (the authors' Torch code; sizes 8 to 128). ``paper64``: the
            figure of the paper, 5x5 kernels, width 128, 64 pixels.
        kwargs: Arguments of :class:`~lightning_gans.models.gan.GAN`.
    """

    shares_fake = True

    def __init__(
        self, image_shape: tuple[int, ...], preset: Literal["lua", "paper64"] = "lua", **kwargs: Any
    ) -> None:
        self.preset = preset  # set first: the base makes the default networks
        super().__init__(image_shape, **kwargs)

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """Fractionally strided convolutions."""
        return DCGANGenerator if self.preset == "lua" else DCGANPaperGenerator

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """Strided convolutions."""
        return DCGANDiscriminator if self.preset == "lua" else DCGANPaperDiscriminator
