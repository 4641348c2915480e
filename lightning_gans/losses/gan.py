"""Losses of the original GAN (Goodfellow et al., 2014, arXiv 1406.2661), on logits.

The discriminator is D = sigmoid(l). Its value, which it ascends, is Algorithm 1's

    V = mean log D(x) + mean log(1 - D(G(z))).

All functions take logits of any shape, average over all entries, and detach nothing. With
softplus(t) = log(1 + e^t) they are exact for logits of any size: no sigmoid is taken, no logarithm clamped.
"""

import math

from torch import Tensor
from torch.nn.functional import softplus

from lightning_gans.losses.precision import full_precision


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return -V = mean softplus(-l_real) + mean softplus(l_fake).

    Its minimum over D for a fixed generator is log 4 - 2 JSD(p_data, p_g) (Theorem 1 of the paper).

    Args:
        real_logits: Logits of real data.
        fake_logits: Logits of generated data.

    Returns:
        A scalar >= 0; 2 log 2 where all logits are 0.
    """
    return softplus(-full_precision(real_logits)).mean() + softplus(full_precision(fake_logits)).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Return the non-saturating loss -mean log D(G(z)) = mean softplus(-l_fake).

    Its gradient does not vanish while the discriminator rejects the fakes (section 3 of the paper).

    Args:
        fake_logits: Logits of generated data.

    Returns:
        A scalar >= 0; log 2 where all logits are 0.
    """
    return softplus(-full_precision(fake_logits)).mean()


def minimax_generator_loss(fake_logits: Tensor) -> Tensor:
    """Return the loss of Algorithm 1, mean log(1 - D(G(z))) = -mean softplus(l_fake).

    Args:
        fake_logits: Logits of generated data.

    Returns:
        A scalar <= 0; -log 2 where all logits are 0.
    """
    return -softplus(full_precision(fake_logits)).mean()


def jensen_shannon_bound(discriminator_loss: Tensor) -> Tensor:
    """Return log 2 - loss / 2, a lower bound of the Jensen-Shannon divergence of data and generator.

    It is V / 2 + log 2, the curve of the WGAN paper (arXiv 1701.07875, figure 4); tight for the best D.

    Args:
        discriminator_loss: Value of :func:`discriminator_loss`.

    Returns:
        A tensor of the same shape, at most log 2; negative while D is worse than a constant 1/2.
    """
    return math.log(2) - full_precision(discriminator_loss) / 2
