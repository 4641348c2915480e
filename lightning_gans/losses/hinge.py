"""Hinge losses: Geometric GAN (Lim & Ye, 2017, arXiv 1705.02894), as used by SNGAN (arXiv 1802.05957)."""

from torch import Tensor
from torch.nn.functional import relu

from lightning_gans.losses.precision import full_precision


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z))) (SNGAN, equation 16).

    Args:
        real_logits: Outputs for real data.
        fake_logits: Outputs for generated data.

    Returns:
        A scalar >= 0; 2 where all logits are 0.
    """
    return relu(1 - full_precision(real_logits)).mean() + relu(1 + full_precision(fake_logits)).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Return -mean D(G(z)) (SNGAN, equation 17).

    Args:
        fake_logits: Outputs for generated data.

    Returns:
        A scalar.
    """
    return -full_precision(fake_logits).mean()
