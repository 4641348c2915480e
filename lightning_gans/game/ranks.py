"""Exchange of gradients and buffers between the processes of a run."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def noise_seed(seed: int, rank: int) -> int:
    """Return the seed of a rank's noise: Lightning gives all the same, and all would draw the same fakes."""
    return (seed * 1_000_003 + 7_919 * (rank + 1)) % 2**63


def batch_length(batch: Any) -> int:
    """Return how many samples a batch of tensors has, whatever holds them."""
    return next(len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor))


def average_over_ranks(parameters: list[nn.Parameter], loss: Tensor, samples: int) -> Tensor:
    """Average the gradients of ``parameters`` over ranks, in one call; return the average loss.

    Each rank counts by its samples, so that unequal parts of a batch give the gradient of the whole. The loss
    travels along, so that all ranks stop together when one of them has lost it.

    Args:
        parameters: Of one player, with the gradients of a mean over this rank's samples.
        loss: That mean.
        samples: How many this rank has.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients] + [loss.to(gradients[0].dtype).reshape(1)])
    flat = torch.cat([flat.mul_(samples), flat.new_full((1,), samples)])
    torch.distributed.all_reduce(flat)
    flat /= flat[-1].clone()
    pieces = flat.split([*(g.numel() for g in gradients), 1, 1])
    torch._foreach_copy_(gradients, [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=False)])
    averaged: Tensor = pieces[-2].reshape(())
    return averaged


def share_buffers(module: LightningModule) -> None:
    """Give all ranks the buffers of the first. All ranks call this, before they score one generator together.

    The running statistics of batch norm follow the samples that a rank has seen. DDP shares them before the
    first batch and, where it does not average the gradients itself, never again. No training step reads them.
    """
    if module.trainer.world_size > 1:
        for buffer in module.buffers():
            torch.distributed.broadcast(buffer, 0)
