"""Run by two processes (torch.distributed.run): gradients of resampled logits over both; writes JSON."""

import json
import sys
from pathlib import Path

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


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    together = torch.tensor(gradients(slice(4 * rank, 4 * rank + 4), gather=True), dtype=torch.float64)
    torch.distributed.all_reduce(together)  # averaged over ranks, as the game averages gradients
    (Path(sys.argv[1]) / f"rank{rank}.json").write_text(json.dumps((together / 2).tolist()))
    torch.distributed.destroy_process_group()
