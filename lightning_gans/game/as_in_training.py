"""Networks at test time as in training with one image a batch: batch statistics, and dropout as the noise.

Pix2pix translates in this way (arXiv 1611.07004, section 3). Nothing of a network is changed: calls of batch
norm and dropout are replaced while they are made. So many images go through a network at once, each with its
own statistics and noise.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@contextmanager
def as_in_training(batch_statistics: bool, seeds: Sequence[int] | None) -> Iterator[None]:
    """Within this block, networks in evaluation mode act as in training on batches of one image.

    Args:
        batch_statistics: Batch norm uses the statistics of each image, and keeps none.
        seeds: Dropout is on, with the noise of these seeds, one an image of the batch. It is drawn on the
            CPU: the same on every device. None: off.

    Raises:
        ValueError: If batch norm has only one value a channel.
    """
    if not batch_statistics and seeds is None:
        yield
        return
    rngs = None if seeds is None else [torch.Generator().manual_seed(seed) for seed in seeds]
    # Compiled code would not see the replacements.
    with torch.compiler.set_stance("force_eager"), _Replaced(batch_statistics, rngs):
        yield


class _Replaced(TorchFunctionMode):
    """Replaces batch norm and dropout."""

    def __init__(self, batch_statistics: bool, rngs: list[torch.Generator] | None) -> None:
        super().__init__()
        self.batch_statistics, self.rngs = batch_statistics, rngs

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.batch_norm and self.batch_statistics:
            return _norm(*args, **kwargs)
        if func in (functional.dropout, functional.dropout2d) and self.rngs is not None:
            return _drop(self.rngs, func is functional.dropout2d, *args, **kwargs)
        return func(*args, **(kwargs or {}))


def _norm(
    images: Tensor,
    running_mean: Any,
    running_var: Any,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    **_: Any,
) -> Tensor:
    """Normalise each image (n, C, ...) by itself: batch norm of a batch of one."""
    if images[0, 0].numel() == 1:
        raise ValueError(
            f"batch norm of {tuple(images.shape[1:])} has one value a channel in a batch of one image: leave "
            "it out there (innermost_norm: false), or use larger batches and norm_at_test: running"
        )
    return functional.instance_norm(images, weight=weight, bias=bias, eps=eps)


def _drop(
    rngs: list[torch.Generator], channels: bool, values: Tensor, p: float, training: bool, inplace: bool
) -> Tensor:
    """Drop values, or whole channels, of each image (C, ...) by its own generator."""
    shape = [n if i == 0 or not channels else 1 for i, n in enumerate(values.shape[1:])]
    kept = [torch.empty(shape, dtype=torch.bool).bernoulli_(1 - p, generator=rng) for rng in rngs]
    return values * torch.stack(kept).to(values.device) / (1 - p)
