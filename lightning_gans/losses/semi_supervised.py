"""Losses of a discriminator with a logit for each class (Improved GAN, Salimans et al., arXiv 1606.03498).

There is no logit for "generated": of class logits a, ``Z = logsumexp(a)`` is the logit of "real", so that
``D = e^Z / (1 + e^Z)``. The generator's losses are those of :mod:`~lightning_gans.losses.gan` on Z.
"""

from torch import Tensor
from torch.nn.functional import cross_entropy

from lightning_gans.losses import gan
from lightning_gans.losses.precision import full_precision


def real_logit(class_logits: Tensor) -> Tensor:
    """Return Z = logsumexp(a).

    Args:
        class_logits: (N, K).

    Returns:
        (N,).
    """
    return full_precision(class_logits).logsumexp(1)


def class_loss(class_logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over labelled samples of Z - a_y, the cross entropy of their classes.

    Args:
        class_logits: (N, K), of real data.
        labels: int64 (N,); -1 for samples without label, which are left out.

    Returns:
        A scalar >= 0; 0 without labels.
    """
    total = cross_entropy(full_precision(class_logits), labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp(min=1)


def discriminator_loss(real_class_logits: Tensor, fake_class_logits: Tensor, labels: Tensor) -> Tensor:
    """Return the class loss + mean softplus(-Z(x)) / 2 + mean softplus(Z(G(z))) / 2.

    As in DeLiGAN's released CIFAR-10 code, whose -Z + softplus(Z) is softplus(-Z).

    Args:
        real_class_logits: (N, K), of real data.
        fake_class_logits: (M, K), of generated data.
        labels: int64 (N,) of the real data; -1 for samples without label.

    Returns:
        A scalar >= 0.
    """
    game = gan.discriminator_loss(real_logit(real_class_logits), real_logit(fake_class_logits))
    return class_loss(real_class_logits, labels) + game / 2
