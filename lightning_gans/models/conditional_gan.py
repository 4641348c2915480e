"""Conditional Generative Adversarial Nets (Mirza and Osindero, 2014, arXiv 1411.1784)."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
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

    def __init__(self, image_shape: tuple[int, ...], num_classes: int | None = None, **kwargs: Any) -> None:
        super().__init__(image_shape, num_classes, **kwargs)
        for name in ("generator", "discriminator"):
            built_for = getattr(getattr(self, name), "num_classes", num_classes)
            if built_for != num_classes:
                raise ValueError(
                    f"{name} has num_classes={built_for}, but the data has {num_classes} classes"
                )

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """DCGAN's with the label before every layer."""
        assert self.num_classes is not None
        if len(self.image_shape) == 1:
            return partial(
                ConditionalMLPGenerator, num_classes=self.num_classes, hidden=(128, 128), output="none"
            )
        return partial(ConditionalDCGANGenerator, num_classes=self.num_classes)

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """DCGAN's with the label before every layer."""
        assert self.num_classes is not None
        if len(self.image_shape) == 1:
            return partial(ConditionalMLPDiscriminator, num_classes=self.num_classes, hidden=(128, 128))
        return partial(ConditionalDCGANDiscriminator, num_classes=self.num_classes)

    def draw_fakes(self, n: int, real_labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw a fake for each real label."""
        fake = self.generator(self.latent(n, self.rng), real_labels)
        return fake, {"real_labels": real_labels, "fake_labels": real_labels}

    def discriminator_loss(  # type: ignore[override]
        self, real: Tensor, fake: Tensor, real_labels: Tensor | None = None, fake_labels: Tensor | None = None
    ) -> Tensor:
        """``-E[log D(x|y)] - E[log(1 - D(G(z|y)|y))]``; without labels all are unlabeled."""
        return losses.discriminator_loss(self._judge(real, real_labels), self._judge(fake, fake_labels))

    def generator_loss(  # type: ignore[override]
        self, real: Tensor, fake: Tensor, real_labels: Tensor | None = None, fake_labels: Tensor | None = None
    ) -> Tensor:
        """``-E[log D(G(z|y)|y)]``."""
        return losses.generator_loss(self._judge(fake, fake_labels))

    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the logits ``(n,)`` of images, in evaluation mode; unlabeled by default."""
        return super().score(images, _or_unlabeled(labels, len(images)))

    def _judge(self, images: Tensor, labels: Tensor | None) -> Tensor:
        logits: Tensor = self.discriminator(images, _or_unlabeled(labels, len(images)).to(images.device))
        return logits


def _or_unlabeled(labels: Tensor | None, n: int) -> Tensor:
    return torch.full((n,), -1) if labels is None else labels
