"""GOLD: the gap of log-densities between data and generator (Mo et al., NeurIPS 2019, arXiv 1910.09170).

A discriminator with two heads, the logit l of "real" and the logits a of the classes, says how far data and
generator are apart at a sample x with class c:

    log p_data(x, c) / p_g(x, c)  =  log p_data(x) / p_g(x)  +  log p_data(c | x) / p_g(c | x).

The first, the *marginal* term, is l where the discriminator is at its best. Of the second, the *conditional*
term, one of the two posteriors is D_C = softmax(a), and the other is taken to be 1. Where the gap is above 0
the generator makes too little, where it is below too much, or of the wrong class. All functions compute in
float32 or better.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from lightning_gans.losses.precision import full_precision

SURE = 1e-6
"""Standard deviation of the conditional term below which D_C says the same of all samples."""
LEAST = math.log(1e-6)
"""The least log-probability of a class that a weight is made of, from the released code."""


def log_posterior(class_logits: Tensor, labels: Tensor) -> Tensor:
    """Return log D_C(c | x).

    Args:
        class_logits: (N, K).
        labels: int64 (N,), 0 to K - 1.

    Returns:
        (N,), at most 0.
    """
    return full_precision(class_logits).log_softmax(1).gather(1, labels[:, None]).squeeze(1)


def entropy(class_logits: Tensor) -> Tensor:
    """Return the entropy H of D_C(. | x), the expectation of -log D_C(c | x) under D_C itself.

    Args:
        class_logits: (N, K).

    Returns:
        (N,), from 0 to log K, in nats.
    """
    logs = full_precision(class_logits).log_softmax(1)
    return -(logs.exp() * logs).sum(1)


def gold(logits: Tensor, class_logits: Tensor, labels: Tensor, generated: bool = True) -> Tensor:
    """Return the gap at samples with a class: l + log D_C(c | x) of generated, l - log D_C(c | x) of real.

    Of a generated sample p_g(c | x) is taken to be 1, of a real one p_data(c | x).

    Args:
        logits: (N,).
        class_logits: (N, K).
        labels: int64 (N,), 0 to K - 1: what the samples were made for, or what real ones are.
        generated: Whether the samples are generated.

    Returns:
        (N,).
    """
    conditional = log_posterior(class_logits, labels)
    return full_precision(logits) + (conditional if generated else -conditional)


def gold_unlabeled(logits: Tensor, class_logits: Tensor) -> Tensor:
    """Return the gap at real samples without a class, l + H: the expectation of that with one under D_C.

    Args:
        logits: (N,).
        class_logits: (N, K).

    Returns:
        (N,).
    """
    return full_precision(logits) + entropy(class_logits)


def balance(marginal: Tensor, conditional: Tensor, how: Literal["std", "rms"] = "std") -> Tensor:
    """Return the factor of the conditional term that makes it vary as much as the marginal one.

    Args:
        marginal: l, (..., N).
        conditional: log D_C(c | x), or H, (..., N).
        how: ``std``: the ratio of both standard deviations, of the paper. ``rms``: by the conditional term's
            root mean square, not centred, of the released code.

    Returns:
        (...) >= 0; 0 where D_C says the same of all samples, to whose order the term adds nothing.
    """
    marginal, conditional = full_precision(marginal), full_precision(conditional)
    spread = conditional.std(-1, correction=0)
    by = spread if how == "std" else conditional.square().mean(-1).sqrt()
    return torch.where(spread < SURE, 0.0, marginal.std(-1, correction=0) / by.clamp(min=SURE))


def gold_balanced(
    marginal: Tensor,
    conditional: Tensor,
    ratio: Tensor | float | None = None,
    how: Literal["std", "rms"] = "std",
) -> Tensor:
    """Return the gap with balanced terms, marginal + ratio * conditional.

    Args:
        marginal: l, (..., N).
        conditional: log D_C(c | x) of generated samples, -log D_C(c | x) of real ones, H of those without a
            class; (..., N).
        ratio: The factor. None: :func:`balance` of these samples.
        how: See :func:`balance`.

    Returns:
        (..., N).
    """
    ratio = balance(marginal, conditional, how).unsqueeze(-1) if ratio is None else ratio
    return full_precision(marginal) + ratio * full_precision(conditional)


def weights(
    gap: Tensor,
    beta: float = 1.0,
    nonnegative: bool = False,
    normalize: bool = False,
    clip: tuple[float, float] | None = None,
) -> Tensor:
    """Return sign(d) |d|^beta, by which the discriminator's losses on generated samples are weighted.

    A negative weight rewards the discriminator for calling a sample real, of which there are too many. The
    paper's weights are these; the other arguments, for studies of stability, act in their order.

    Args:
        gap: d, (..., N).
        beta: At least 0. With 0 there are no weights: they are 1.
        nonnegative: Negative weights become 0.
        normalize: Divide by the mean of |w| over the N samples.
        clip: Bounds of the weights.

    Returns:
        (..., N), without gradient.
    """
    gap = full_precision(gap.detach())
    if beta == 0:
        return torch.ones_like(gap)
    w = gap.sign() * gap.abs() ** beta
    if nonnegative:
        w = w.clamp(min=0)
    if normalize:
        w = w / w.abs().mean(-1, keepdim=True).clamp(min=SURE)
    return w if clip is None else w.clamp(*clip)


def log_bound(gap: Tensor, p: float) -> Tensor:
    """Return log M, the p-quantile of the gap, above which samples are always accepted.

    Quantiles between two samples are interpolated.

    Args:
        gap: d, (N,).
        p: From 0 to 1; 1 is the largest gap.

    Returns:
        A scalar.
    """
    gap = full_precision(gap).sort().values  # torch.quantile takes 16 million numbers at most
    place = p * (len(gap) - 1)
    return torch.lerp(gap[math.floor(place)], gap[math.ceil(place)], place - math.floor(place))


def acceptance(gap: Tensor, log_m: Tensor | float) -> Tensor:
    """Return the probabilities min(1, e^d / M) with which samples are accepted.

    Args:
        gap: d, (N,).
        log_m: log M.

    Returns:
        (N,), from 0 to 1.
    """
    return (full_precision(gap) - log_m).clamp(max=0).exp()


def drs_logits(gap: Tensor, log_m: Tensor | float) -> Tensor:
    """Return the logits of min(1, e^d / M), which discriminator rejection sampling centres.

    Args:
        gap: d, (N,).
        log_m: log M.

    Returns:
        (N,), finite.
    """
    ratio = acceptance(gap, log_m)
    return (ratio + 1e-6).log() - (1 - ratio + 1e-6).log()


def drs_acceptance(gap: Tensor, log_m: Tensor | float, percentile: float = 0.1) -> Tensor:
    """Return the probabilities of discriminator rejection sampling, which centres them by a percentile.

    Azadi et al. (arXiv 1810.06758), as in GOLD's released code: the logit of min(1, e^d / M), less its
    percentile over these samples, through a sigmoid.

    Args:
        gap: d, (N,).
        log_m: log M.
        percentile: Which is accepted in half of the cases, from 0 to 1.

    Returns:
        (N,), from 0 to 1.
    """
    logits = drs_logits(gap, log_m)
    return (logits - log_bound(logits, percentile)).sigmoid()
