"""Losses of RealnessGAN (Xiangli et al., ICLR 2020, arXiv 2002.05512), on the logits of N outcomes.

The discriminator returns a distribution over N outcomes of realness, ``D(x) = softmax(l(x))``. Real images
are to have the anchor A1, generated ones A0; the value, which D descends and the generator ascends, is

    V = mean KL(A1 || D(x)) + mean KL(A0 || D(G(z))).

Its minimum over D, where data and generator agree, is 2 JSD(A1, A0) (:func:`optimum`); two outcomes with
A1 = (0, 1) and A0 = (1, 0) are the first GAN, with logit l_1 - l_0. Logits have shape (n, N), anchors (N,).
Everything goes through log_softmax, and 0 log 0 = 0: finite for anchors with zeros and logits of any size.
"""

import torch
from torch import Tensor

from lightning_gans.losses.precision import full_precision


def cross_entropy(target: Tensor, logits: Tensor) -> Tensor:
    """Return -mean sum_u A(u) log D(u): KL(A || D) plus the entropy of A, which no gradient sees.

    Args:
        target: A, a distribution (N,) for all rows, or (n, N) with one each.
        logits: (n, N).

    Returns:
        A scalar >= 0.
    """
    return -(target * full_precision(logits).log_softmax(-1)).sum(-1).mean()


def kl_divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Return mean KL(A || D), in nats.

    Args:
        target: A, a distribution (N,) for all rows, or (n, N) with one each.
        logits: (n, N).

    Returns:
        A scalar >= 0.
    """
    return cross_entropy(target, logits) + torch.xlogy(target, target).sum(-1).mean()


def discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, anchor_real: Tensor, anchor_fake: Tensor
) -> Tensor:
    """Return V plus the entropies of both anchors, which are constants: a sum of two cross-entropies.

    Args:
        real_logits: Logits of real images, (n, N).
        fake_logits: Logits of generated images, (m, N).
        anchor_real: A1, (N,).
        anchor_fake: A0, (N,).

    Returns:
        A scalar >= 0.
    """
    return cross_entropy(anchor_real, real_logits) + cross_entropy(anchor_fake, fake_logits)


def ideal_generator_loss(fake_logits: Tensor, anchor_fake: Tensor) -> Tensor:
    """Return objective 1, -mean KL(A0 || D(G(z))): away from the anchor of fakes, as in the game itself.

    Its gradient is A0 - D(G(z)) and vanishes while D is right.

    Args:
        fake_logits: Logits of generated images, (n, N).
        anchor_fake: A0, (N,).

    Returns:
        A scalar <= 0.
    """
    return -kl_divergence(anchor_fake, fake_logits)


def generator_loss(real_logits: Tensor, fake_logits: Tensor, anchor_fake: Tensor) -> Tensor:
    """Return objective 2, mean KL(D(x) || D(G(z))) - mean KL(A0 || D(G(z))): away from A0, to real images.

    Each generated image is paired with the real one of the same row. The gradient of a fake's logits is
    A0 - D(x): the loss is linear in them, and none flows to ``real_logits``.

    Args:
        real_logits: Logits of real images, (n, N).
        fake_logits: Logits of generated images, (n, N).
        anchor_fake: A0, (N,).

    Returns:
        A scalar.
    """
    real = full_precision(real_logits).detach().softmax(-1)
    return kl_divergence(real, fake_logits) - kl_divergence(anchor_fake, fake_logits)


def anchor_generator_loss(fake_logits: Tensor, anchor_real: Tensor, anchor_fake: Tensor) -> Tensor:
    """Return objective 3, mean KL(A1 || D(G(z))) - mean KL(A0 || D(G(z))): away from A0, to A1.

    The gradient of a fake's logits is A0 - A1, whatever D says.

    Args:
        fake_logits: Logits of generated images, (n, N).
        anchor_real: A1, (N,).
        anchor_fake: A0, (N,).

    Returns:
        A scalar.
    """
    return kl_divergence(anchor_real, fake_logits) - kl_divergence(anchor_fake, fake_logits)


def optimum(anchor_real: Tensor, anchor_fake: Tensor) -> Tensor:
    """Return 2 JSD(A1, A0), the value of the game where data and generator agree (Theorem 1 of the paper).

    Args:
        anchor_real: A1, (N,).
        anchor_fake: A0, (N,).

    Returns:
        A scalar in (0, 2 log 2].
    """
    anchors = torch.stack([anchor_real, anchor_fake])
    return (torch.xlogy(anchors, anchors) - torch.xlogy(anchors, anchors.mean(0))).sum()


def resample(logits: Tensor, noise: Tensor, gather: bool = False) -> Tensor:
    """Replace each outcome's logits by draws from the Gaussian that fits them over the batch.

    ``l'_u = mu_u + sigma_u * noise``; gradients pass through the mean and the standard deviation (of the
    population). The rows are no longer those of the images (feature resampling, section 3.3 of the paper).

    Args:
        logits: (..., n, N), of images of one kind: real or generated; a Gaussian for each of the others.
        noise: Standard normal, (..., n, N).
        gather: Fit the Gaussian over the equally large batches of all processes. Gradients reach the logits
            of all of them: averaged over processes, they are those of the joined batch.

    Returns:
        (..., n, N).

    Raises:
        ValueError: If there are fewer than two samples, which have no spread.
    """
    n = logits.shape[-2] * (_world_size() if gather else 1)
    if n < 2:
        raise ValueError(f"logits of {n} sample have no spread: use batches of 2 or more, the last one too")
    logits = full_precision(logits)
    mean = _mean(logits, gather)
    variance = _mean((logits - mean).square(), gather)
    return mean + (variance + 1e-8).sqrt() * noise  # the root of 0 would have an infinite gradient


def _mean(values: Tensor, gather: bool) -> Tensor:
    """Return the mean over rows, of all processes if ``gather``."""
    mean = values.mean(-2, keepdim=True)
    if gather and _world_size() > 1:
        # Differentiable; imported here, as not every torch has it.
        from torch.distributed.nn.functional import all_reduce

        mean = all_reduce(mean) / _world_size()
    return mean


def _world_size() -> int:
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 1
    return torch.distributed.get_world_size()


def reparametrise(outputs: Tensor, noise: Tensor) -> Tensor:
    """Draw each image's logits from a Gaussian of its own, as the released code does.

    Args:
        outputs: (n, 2 N): N means, then the logarithms of N variances.
        noise: Standard normal, (n, N); 0 for the means.

    Returns:
        (n, N): ``mean + exp(log_variance / 2) * noise``.
    """
    mean, log_variance = full_precision(outputs).chunk(2, dim=-1)
    return mean + (log_variance / 2).exp() * noise
