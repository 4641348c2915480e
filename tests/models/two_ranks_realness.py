"""Run by two processes (torch.distributed.run): gradients of resampled logits over both."""

import torch

from lightning_gans.models.realness import losses as realness


def gradients(rows, gather=False):
    """Loss and gradient of weights that make the logits of ``rows``; noise belongs to the rows too."""
    rng = torch.Generator().manual_seed(0)
    inputs, noise = (torch.randn(8, n, generator=rng, dtype=torch.float64) for n in (3, 4))
    weights = torch.randn(3, 4, generator=rng, dtype=torch.float64).requires_grad_()
    logits = realness.resample(inputs[rows] @ weights, noise[rows], gather)
    loss = realness.cross_entropy(torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64), logits)
    loss.backward()
    return [loss.item(), *weights.grad.flatten().tolist()]


def found(folder):
    rank = torch.distributed.get_rank()
    together = torch.tensor(gradients(slice(4 * rank, 4 * rank + 4), gather=True), dtype=torch.float64)
    torch.distributed.all_reduce(together)  # averaged over ranks, as the game averages gradients
    return (together / 2).tolist()
