"""States of metrics: sums and samples, whose size follows from the first batch, over any number of ranks."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.metric import jit_distributed_available
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from lightning_gans import checks
from lightning_gans.metrics.order import place_of


class LazyMetric(Metric):
    """Base class of metrics whose states are created at the first batch, with the size of its samples.

    Subclasses give ``sums`` (states added over ranks, made at the first batch) and ``rows`` (samples, joined
    over ranks). Ranks without any sample take part: before states are gathered, they get the size from the
    other ranks.
    """

    higher_is_better: bool | None = None
    full_state_update = False
    what: ClassVar[str] = "features"
    dims: ClassVar[int] = 1
    """Dimensions of a sample: 1, or 3 for images in bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.shape: tuple[int, ...] | None = None
        for name in self.rows(()):
            self.add_state(name, [], dist_reduce_fx="cat")

    def sums(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the float64 states that are added over ranks."""
        return {}

    def rows(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Return empty tensors (0, ...) with the types and shapes of the states that keep samples."""
        return {}

    def _start(self, shape: tuple[int, ...]) -> None:
        """Create the sums for samples of this shape; only the first call has an effect."""
        if self.shape is None:
            for name, size in self.sums(shape[0]).items():
                zeros = torch.zeros(size, dtype=torch.float64, device=self.device)
                self.add_state(name, zeros, dist_reduce_fx="sum")
            self.shape = shape
        elif shape != self.shape:
            got, before = (x[0] if self.dims == 1 else x for x in (shape, self.shape))
            raise ValueError(
                f"{type(self).__name__} got {self.what} of size {got} after {before}: use one metric for each"
            )

    def _check(self, values: Tensor, first: Tensor | int) -> Tensor:
        """Check and detach values (n, ...); ``first``: their numbers (n,) or the first one's place."""
        if self.dims == 3:
            check_images(values)
        elif values.dim() != 2 or values.shape[1] == 0 or not values.is_floating_point():
            raise ValueError(
                f"{type(self).__name__} got {self.what} of shape {tuple(values.shape)}, {values.dtype}: "
                "it needs floats (n, d) with d > 0; an extractor without logits has none"
            )
        else:
            check_finite(values, self.what, first)
        self._start(tuple(values.shape[1:]))
        return values.detach()

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Create the states that this rank lacks, then gather those of all ranks."""
        if kwargs.get("should_sync", True) and not self._is_synced and jit_distributed_available():
            mine = torch.tensor(self.shape or (0,) * self.dims, device=self.device)
            shapes = {tuple(shape.tolist()) for shape in gather_all_tensors(mine)} - {(0,) * self.dims}
            if len(shapes) > 1:
                raise ValueError(f"{type(self).__name__}: ranks have {self.what} of sizes {sorted(shapes)}")
            for shape in shapes:
                self._start(shape)
                for name, empty in self.rows(shape).items():
                    # So that the joined state has a type and dimensions on ranks without samples, too.
                    getattr(self, name).append(empty.to(self.device))
        super().sync(*args, **kwargs)


class KeptSamples(LazyMetric):
    """A metric that needs many samples at once; they are returned in ascending order of their numbers.

    In an evaluation these are the numbers of :func:`~lightning_gans.metrics.order.content_order`. A
    subclass that needs some of the samples only overrides :meth:`most`; then those of the lowest numbers
    are kept.

    Memory: the samples of all ranks on every rank, and as much again while ranks exchange them: 410 MB for
        50,000 features of size 2048. Of ``most`` samples up to twice as many.
    """

    sides: ClassVar[tuple[str, ...]] = ("real", "fake")

    def rows(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the types of the states: numbers and values of each side; numbers come first."""
        order = torch.empty(0, dtype=torch.int64)
        values = torch.empty(0, *shape, dtype=torch.float32 if self.dims == 1 else torch.uint8)
        return {f"{s}_{name}": x for s in self.sides for name, x in (("order", order), ("values", values))}

    def most(self, side: str) -> int | None:
        """Return how many samples of a side are needed at most; None: all."""
        return None

    def keep(self, values: Tensor, order: Tensor, side: str, **more: Tensor) -> None:
        """Keep a batch of samples, and what belongs to them under the names of further states."""
        checks.shaped((len(values),), "whole", order=order)
        values, order = self._check(values, order), order.to(values.device)
        batch = {"order": order, "values": values if self.dims == 3 else values.float(), **more}
        for name, part in batch.items():
            getattr(self, f"{side}_{name}").append(part)
        most, numbers = self.most(side), getattr(self, f"{side}_order")
        if most is not None and sum(map(len, numbers)) >= 2 * most:
            lowest = torch.cat(numbers).argsort()[:most]
            for name in batch:
                setattr(self, f"{side}_{name}", [torch.cat(getattr(self, f"{side}_{name}"))[lowest]])

    def kept(self, side: str, least: int = 2) -> tuple[Tensor, ...]:
        """Return numbers and samples of a side, ascending, so that the number of ranks does not matter.

        Raises:
            ValueError: If there are fewer than ``least``, or a number came twice.
        """
        states = []
        for name, empty in self.rows(self.shape or ()).items():
            if name.startswith(side):
                parts = getattr(self, name)
                states.append(dim_zero_cat(parts) if len(parts) else empty.to(self.device))
        most = self.most(side)
        side = {"fake": "generated"}.get(side, side)
        check_count(len(states[0]), side, type(self).__name__, least)
        numbers, places = (part[:most] for part in states[0].sort())
        twice = (numbers[1:] == numbers[:-1]).nonzero()
        if len(twice):
            raise ValueError(
                f"{side} sample {place_of(int(numbers[twice[0, 0]]))} came twice: call reset() before "
                "another evaluation, and give each sample to one process"
            )
        return numbers, *(state[places] for state in states[1:])


class FeatureSets(KeptSamples):
    """A metric that needs all features of both sets at once; see :class:`KeptSamples` for the memory."""

    def update(self, features: Tensor, order: Tensor, real: bool) -> None:
        """Add the features of a batch of real or generated samples.

        Args:
            features: (n, d), finite.
            order: int64 (n,), numbers that sort the samples, the same whatever the sharding over ranks.
            real: Whether these are real samples.

        Raises:
            ValueError: If shapes do not fit, or a feature is not finite.
        """
        self.keep(features, order, "real" if real else "fake")

    def both(self, least: int = 2) -> tuple[Tensor, Tensor]:
        """Return real and generated features, in order.

        Args:
            least: Samples that each set must have.

        Raises:
            ValueError: If there are fewer, or a number occurs twice.
        """
        return self.kept("real", least)[1], self.kept("fake", least)[1]


class KeptImages(KeptSamples):
    """A metric that needs all images at once, kept as bytes."""

    what = "images"
    dims = 3


def check_finite(values: Tensor, what: str, first: Tensor | int) -> None:
    """Check that values are neither NaN nor infinite.

    Args:
        values: (n, d).
        what: Name for the message.
        first: The samples' numbers (n,), or the place of the first one.

    Raises:
        ValueError: Naming the first bad sample.
    """
    good = values.isfinite().all(dim=1)
    if not good.all():
        bad = int((~good).nonzero()[0])
        place = place_of(int(first[bad])) if isinstance(first, Tensor) else first + bad
        raise ValueError(
            f"the {what} of sample {place} are not finite: the generator or the extractor has diverged"
        )


def check_count(count: int, side: str, name: str, least: int = 2) -> None:
    """Check that there are enough samples.

    Raises:
        ValueError: Naming the set.
    """
    if count < least:
        number = {0: "no", 1: "one"}.get(count, str(count))
        raise ValueError(f"{name} got {number} {side} sample{'s' * (count != 1)}: it needs at least {least}")


def check_sets(real: Tensor, fake: Tensor, name: str, least: int = 2) -> None:
    """Check that two sets of features can be compared.

    Raises:
        ValueError: If shapes do not fit, a set is too small, or a feature is not finite.
    """
    if real.dim() != 2 or fake.dim() != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"real and generated features have shapes {tuple(real.shape)} and {tuple(fake.shape)}: {name} "
            "needs (n, d) and (m, d)"
        )
    for side, features in (("real", real), ("generated", fake)):
        check_count(len(features), side, name, least)
        check_finite(features, f"{side} features", 0)


def check_images(images: Tensor, name: str = "", smallest: int = 1) -> None:
    """Check that images are a batch of bytes; given a metric's name, that they have one or three channels.

    Raises:
        ValueError: If images are not uint8 (n, C, H, W), of another number of channels, or too small.
    """
    checks.shaped(("n", "C", "H", "W"), "uint8", images=images)
    if name and (images.shape[1] not in (1, 3) or min(images.shape[2:]) < smallest):
        raise ValueError(
            f"images have shape {tuple(images.shape)}: {name} needs one or three channels and at least "
            f"{smallest}x{smallest} pixels"
        )
