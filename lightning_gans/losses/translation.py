"""Losses of pix2pix (Isola et al., 2016, arXiv 1611.07004) and CycleGAN (Zhu et al., 2017, arXiv 1703.10593).

Logits have any shape, one number a patch; all losses are means over all entries, of images too, and detach
nothing. The discriminator's are halved, which slows it down beside the generator (pix2pix, section 3.3).
"""

from typing import Literal

from torch import Tensor

from lightning_gans.losses import gan, lsgan
from lightning_gans.losses.precision import full_precision

Objective = Literal["gan", "lsgan"]
"""Cross entropy, pix2pix's, or least squares, CycleGAN's."""


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, objective: Objective = "gan") -> Tensor:
    """Return half of the loss on real images and of that on translations.

    Args:
        real_logits: Logits of real images.
        fake_logits: Logits of translations.
        objective: ``gan``: (mean softplus(-l_real) + mean softplus(l_fake)) / 2; ``lsgan``:
            (mean (l_real - 1)^2 + mean l_fake^2) / 2.

    Returns:
        A scalar >= 0; log 2, or 1/2, where all logits are 0.
    """
    if objective == "lsgan":
        return lsgan.discriminator_loss(real_logits, fake_logits)
    return gan.discriminator_loss(real_logits, fake_logits) / 2


def generator_loss(fake_logits: Tensor, objective: Objective = "gan") -> Tensor:
    """Return how little translations look real.

    Args:
        fake_logits: Logits of translations.
        objective: ``gan``: mean softplus(-l_fake); ``lsgan``: mean (l_fake - 1)^2.

    Returns:
        A scalar >= 0; log 2, or 1, where all logits are 0.
    """
    if objective == "lsgan":
        return 2 * lsgan.generator_loss(fake_logits)
    return gan.generator_loss(fake_logits)


def l1(images: Tensor, targets: Tensor) -> Tensor:
    """Return mean |images - targets|: of images in [-1, 1] a scalar in [0, 2]."""
    return (full_precision(images) - full_precision(targets)).abs().mean()


def l2(images: Tensor, targets: Tensor) -> Tensor:
    """Return mean (images - targets)^2: of images in [-1, 1] a scalar in [0, 4]."""
    return (full_precision(images) - full_precision(targets)).square().mean()
