"""The convolutional features of a discriminator, by which DCGAN's section 5 classifies images.

Source: Radford et al., 2015, arXiv 1511.06434, sections 5.1 and 5.2, and the authors' code for SVHN.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

GRID = 4
"""Cells a side that each map is pooled to."""
RECTIFIERS = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.leaky_relu)
ACTIVATIONS = (*RECTIFIERS, F.elu, F.silu, F.gelu, F.prelu, Tensor.amax)  # the last one is maxout's


class _Maps(TorchFunctionMode):
    """Collects the maps of convolutions, whether activations are modules or calls of functions."""

    def __init__(self, rectified: Callable[[Tensor, Tensor], Tensor] | None) -> None:
        super().__init__()
        self.found: list[Tensor] = []
        self._rectified, self._convolved = rectified, False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.conv2d:
            self._convolved = True
        elif func in ACTIVATIONS:
            if self._rectified is not None and func in RECTIFIERS:
                result = self._rectified(args[0], result)
            if self._convolved and result.dim() == 4:
                self.found.append(result)
            self._convolved = False
        return result


def feature_maps(
    network: Callable[[Tensor], Any],
    images: Tensor,
    rectified: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> list[Tensor]:
    """Return the maps of each hidden convolution after its activation, from the image upwards.

    Args:
        network: Maps images to anything: a network, or a function that calls one. A convolution counts if an
            activation follows it, after a norm or not: (leaky, parametric) ReLU, ELU, SiLU, GELU or maxout.
        images: (N, channels, height, width) in [-1, 1].
        rectified: Returns what takes the place of a rectifier's output, of its input and its output.

    Returns:
        Maps (N, features, h, w); none of a network without such convolutions.
    """
    maps = _Maps(rectified)
    with maps:
        network(images)
    return maps.found


def pooled_features(maps: list[Tensor]) -> Tensor:
    """Return the features of section 5.1: all maps (N, features, h, w), max-pooled to 4x4, a row an image.

    Maps of fewer pixels stay as they are. Where the size is no multiple of 4, windows overlap by a pixel.
    """
    sizes = [tuple(min(GRID, side) for side in each.shape[2:]) for each in maps]
    return torch.cat(
        [F.adaptive_max_pool2d(m, size).flatten(1) for m, size in zip(maps, sizes, strict=True)], 1
    )


@contextmanager
def averaged_batch_norm(network: nn.Module) -> Iterator[None]:
    """Give batch norms the mean statistics of all batches that pass through the network in this block.

    Each batch is normalised by its own. Afterwards their means are the running statistics, in the place of
    those that training has left (variances by n - 1; the authors' code divides by n). Whether a part is in
    training or evaluation mode stays as it was.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.training, norm.momentum = True, None  # None: all batches count alike
    try:
        yield
    finally:
        for norm, (training, momentum) in zip(norms, before, strict=True):
            norm.training, norm.momentum = training, momentum
