"""Conditional Generative Adversarial Nets (Mirza and Osindero, 2014, arXiv 1411.1784)."""

from functools import partial

from torch import Tensor, nn

from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
from lightning_gans.game.sides import Side
from lightning_gans.losses import gan as losses
from lightning_gans.networks.conditional import ConditionalMLPDiscriminator, ConditionalMLPGenerator
from lightning_gans.networks.dcgan import ConditionalDCGANDiscriminator, ConditionalDCGANGenerator


class ConditionalGAN(LatentGame):
    """The GAN in which both players see the label: ``min_G max_D E[log D(x|y)] + E[log(1 - D(G(z|y)|y))]``.

    Fakes get the labels of the real batch, so that D can tell the two apart neither by the frequency of a
    label nor by its absence: data that is imbalanced or labelled in part (-1) trains too. The generator's
    loss is the non-saturating one. Networks by default: the DCGAN paper's conditional ones for MNIST (sizes
    divisible by 4), small MLPs for vectors.

    Args:
        image_shape: ``(channels, size, size)``, or ``(d,)`` for vectors.
        num_classes: Number of classes of the data.
        kwargs: Arguments of :class:`~lightning_gans.game.latent_game.LatentGame`. Networks are called with
            ``(latents, labels)`` and ``(images, labels)``.

    Raises:
        ValueError: If the data has no labels, or a network was built for another number of them.
    """

    conditional = True
    semi_supervised = True
    shares_fake = True
    log_ratio = True

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """DCGAN's with the label before every layer."""
        assert self.num_classes is not None
        classes = self.num_classes
        if len(self.image_shape) == 1:
            return partial(ConditionalMLPGenerator, num_classes=classes, hidden=(128, 128), output="none")
        return partial(ConditionalDCGANGenerator, num_classes=classes)

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """DCGAN's with the label before every layer."""
        assert self.num_classes is not None
        if len(self.image_shape) == 1:
            return partial(ConditionalMLPDiscriminator, num_classes=self.num_classes, hidden=(128, 128))
        return partial(ConditionalDCGANDiscriminator, num_classes=self.num_classes)

    def fake_labels(self, real: Side) -> Tensor | None:
        """Give each fake the label of a real sample."""
        return real.labels

    def judge(self, side: Side) -> Tensor:
        """Show D the label too."""
        logits: Tensor = self.discriminator(side.images, side.labels)
        return logits

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-E[log D(x|y)] - E[log(1 - D(G(z|y)|y))]``."""
        return losses.discriminator_loss(self.judge(real), self.judge(fake))

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-E[log D(G(z|y)|y)]``."""
        return losses.generator_loss(self.judge(fake))
