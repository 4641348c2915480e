"""Losses of the least-squares GAN (Mao et al., 2017, arXiv 1611.04076).

The discriminator regresses, without a sigmoid, the code ``b`` on real and ``a`` on generated data; the
generator pulls it towards ``c``. The defaults (0, 1, 1) are the paper's equation 9, the 0-1 coding of its
experiments. With (-1, 1, 0), equation 8, the game minimises Pearson's chi-squared divergence.
"""

from torch import Tensor

from lightning_gans.losses.precision import full_precision


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, *, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Return mean (D(x) - b)^2 / 2 + mean (D(G(z)) - a)^2 / 2 (equation 2 of the paper).

    Args:
        real_logits: Outputs for real data.
        fake_logits: Outputs for generated data.
        a: The code of generated data.
        b: The code of real data.

    Returns:
        A scalar >= 0.
    """
    real, fake = full_precision(real_logits), full_precision(fake_logits)
    return ((real - b).square().mean() + (fake - a).square().mean()) / 2


def generator_loss(fake_logits: Tensor, *, c: float = 1.0) -> Tensor:
    """Return mean (D(G(z)) - c)^2 / 2 (equation 2 of the paper).

    Args:
        fake_logits: Outputs for generated data.
        c: The value that the generator wants the discriminator to give.

    Returns:
        A scalar >= 0.
    """
    return (full_precision(fake_logits) - c).square().mean() / 2
