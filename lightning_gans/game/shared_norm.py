"""Parts of one image through a network that normalises each image: with the same statistics for all parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Statistics = list[tuple[Tensor, Tensor]]
"""Variance and mean of each channel in each norm, in the order of their calls."""


class SharedNorm:
    """Instance norm of parts of an image, by statistics that were measured once.

    An image that is translated in parts would change its colours from part to part: instance norm, and batch
    norm as a :class:`~lightning_gans.game.translation.TranslationGame` uses it in tests, make mean and
    variance of every part the same, an empty sky's and a forest's.
    """

    def __init__(self) -> None:
        self._measured: list[Statistics] = []

    @contextmanager
    def measured(self) -> Iterator[Statistics]:
        """Within this block, which calls a network once, its norms use the whole batch's statistics.

        They are remembered, those of several such blocks joined.

        Yields:
            The statistics, which are there when the block ends.
        """
        found: Statistics = []
        with torch.compiler.set_stance("force_eager"), _Replaced(found, measure=True):
            yield found
        self._measured.append(found)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within this block, which calls the network once, its norms use what was measured."""
        joined = []
        for parts in zip(*self._measured, strict=True):
            variances, means = map(torch.stack, zip(*parts, strict=True))
            mean = means.mean(0)
            joined.append((variances.mean(0) + (means - mean).square().mean(0), mean))
        with torch.compiler.set_stance("force_eager"), _Replaced(joined, measure=False):
            yield


class _Replaced(TorchFunctionMode):
    def __init__(self, statistics: Statistics, measure: bool) -> None:
        super().__init__()
        self.statistics, self.measure, self.calls = statistics, measure, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.instance_norm:
            return self._norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _norm(
        self,
        images: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if use_input_stats:
            if self.measure:
                self.statistics.append(torch.var_mean(images.float(), (0, 2, 3), correction=0))
            running_var, running_mean = self.statistics[self.calls]
            self.calls += 1
        return functional.batch_norm(images, running_mean, running_var, weight, bias, eps=eps)
