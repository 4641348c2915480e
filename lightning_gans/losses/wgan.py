"""Losses of WGAN (Arjovsky et al., 2017, arXiv 1701.07875) and the penalty of WGAN-GP (arXiv 1704.00028).

The discriminator is the critic f: it has no sigmoid, and its outputs are called logits here as everywhere.
The signs are the paper's: f is large on real data.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.losses.precision import full_precision


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return mean f(fake) - mean f(real), which the critic minimises (Algorithm 1).

    Args:
        real_logits: Critic outputs of real data.
        fake_logits: Critic outputs of generated data.

    Returns:
        A scalar: minus the estimate of the Wasserstein distance.
    """
    return full_precision(fake_logits).mean() - full_precision(real_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Return -mean f(G(z)) (Algorithm 1).

    Args:
        fake_logits: Critic outputs of generated data.

    Returns:
        A scalar.
    """
    return -full_precision(fake_logits).mean()


def wasserstein_estimate(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return mean f(real) - mean f(fake), the estimate of the distance up to the critic's Lipschitz constant.

    Values are comparable only between runs with the same critic and the same clip or penalty.

    Args:
        real_logits: Critic outputs of real data.
        fake_logits: Critic outputs of generated data.

    Returns:
        A scalar.
    """
    return -discriminator_loss(real_logits, fake_logits)


def interpolate(real: Tensor, fake: Tensor, t: Tensor) -> Tensor:
    """Return real + t * (fake - real), with one ``t`` per sample.

    Args:
        real: Real data, (N, ...).
        fake: Generated data of the same shape.
        t: Shape (N,). 0 gives ``real`` and 1 gives ``fake``, both exactly.

    Returns:
        A tensor of the shape of ``real``.

    Raises:
        ValueError: If the shapes do not fit.
    """
    checks.shaped(tuple(real.shape), fake=fake)
    checks.shaped(tuple(real.shape[:1]), t=t)
    return torch.lerp(real, fake, t.to(real).reshape(-1, *[1] * (real.dim() - 1)))


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    t: Tensor | None = None,
    rng: torch.Generator | None = None,
) -> Tensor:
    """Return mean (||grad f(x)|| - 1)^2 at random points x between real and fake (WGAN-GP, equation 3).

    The norm is taken over all entries of a sample. The factor lambda is the caller's. Everything is computed
    in float32, outside autocast, since squared gradients underflow in half precision. The result can be
    differentiated with respect to the critic's weights, but not to ``real`` and ``fake``. The critic must not
    couple the samples of a batch: no batch norm.

    Args:
        discriminator: The critic: (N, ...) to logits of any shape, whose sum is differentiated.
        real: Real data, (N, ...).
        fake: Generated data of the same shape.
        t: Positions between real (0) and fake (1), shape (N,). Default: uniform in [0, 1).
        rng: Source of ``t``. Default: torch's global generator.

    Returns:
        A scalar >= 0, finite and with finite gradients even where the critic is constant.

    Raises:
        ValueError: If the shapes do not fit.
    """
    with torch.enable_grad(), torch.autocast(real.device.type, enabled=False):
        real, fake = full_precision(real.detach()), full_precision(fake.detach())
        if t is None:
            t = torch.rand(len(real), generator=rng, device=rng.device if rng else real.device)
        points = interpolate(real, fake, t).requires_grad_()
        (gradients,) = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)
        # The square root has no derivative at 0; 1e-12 keeps it finite and changes a norm of 1 by 5e-13.
        norms = (gradients.flatten(1).square().sum(1) + 1e-12).sqrt()
        return (norms - 1).square().mean()


@torch.no_grad()
def clip_weights(parameters: Sequence[Tensor], clip: float) -> None:
    """Clip every entry of every parameter to [-clip, clip], in place (Algorithm 1, line 7).

    Args:
        parameters: The critic's parameters, batch norm's gains included; not its buffers.
        clip: The paper's c, 0.01.

    Raises:
        ValueError: If ``clip`` is not positive.
    """
    checks.positive(clip=clip)
    if parameters:  # the fused calls refuse an empty list
        torch._foreach_clamp_min_(tuple(parameters), -clip)
        torch._foreach_clamp_max_(tuple(parameters), clip)
