"""What the metrics of features and logits share: sizes that the first batch tells, samples kept in order."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from lightning_gans.metrics.samples import Gather, MeetingMetric, check_index, in_order

Input = Literal["features", "logits", "images", "labels", "index"]


class LazyMetric(MeetingMetric):
    """A metric whose states are made at the first batch, which tells how wide features or logits are.

    Subclasses give ``sums`` (states added over ranks) and ``rows`` (samples, joined over ranks) for a size.
    Ranks without a single sample take part: before states are gathered, they learn the size of the others.

    Args:
        size: Number of features or of classes, if it is known.
    """

    is_differentiable = False
    full_state_update = False
    what: ClassVar[str] = "features"

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        self.size: int | None = None
        if size is not None:
            if size < 1:
                raise ValueError(
                    f"{type(self).__name__} needs at least one column of {self.what}: got {size}"
                )
            self._start(size)

    def sums(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the float64 states that are added over ranks."""
        return {}

    def rows(self, size: int) -> dict[str, Tensor]:
        """Return empty tensors (0, ...) that tell type and shape of the states that keep samples."""
        return {}

    def _start(self, size: int) -> None:
        """Make the states; only the first call has an effect."""
        if self.size is None:
            shapes, rows = self.sums(size), self.rows(size)
            self.size = size  # only now: either may refuse
            for name, shape in shapes.items():
                zeros = torch.zeros(shape, dtype=torch.float64, device=self.device)
                self.add_state(name, zeros, dist_reduce_fx="sum")
            for name in rows:
                self.add_state(name, [], dist_reduce_fx="cat")
        elif size != self.size:
            raise ValueError(
                f"{type(self).__name__} got {self.what} of size {size} after {self.size}: "
                "one metric is for one extractor"
            )

    def _check(self, values: Tensor, first: Tensor | int) -> Tensor:
        """Return values (n, size), detached; first is their index (n,), or the first one's place."""
        if values.dim() != 2 or values.shape[1] == 0:
            raise ValueError(
                f"{type(self).__name__} got {self.what} of shape {tuple(values.shape)}: "
                "it needs (n, d) with d > 0; an extractor without logits has none"
            )
        check_finite(values, self.what, first)
        self._start(values.shape[1])
        return values.detach()

    def meet(self, gather: Gather) -> None:
        """Learn the size from the other ranks, and make the states of a rank without samples."""
        sizes = {int(size) for size in gather(torch.tensor(self.size or 0, device=self.device))} - {0}
        if len(sizes) > 1:
            raise ValueError(
                f"{type(self).__name__}: ranks have {self.what} of different sizes {sorted(sizes)}"
            )
        for size in sizes:
            self._start(size)
            for name, empty in self.rows(size).items():
                if isinstance(getattr(self, name), list):
                    # Joined with the others, it tells the type and the number of dimensions.
                    getattr(self, name).append(empty.to(self.device))


class FeatureSets(LazyMetric):
    """A metric that needs all features of both sets at once; they come out in the order of their index.

    Memory: n * d * 4 bytes a set on every rank (410 MB for 50,000 features of size 2048), and as much again
    for the time in which ranks exchange them.

    Args:
        num_features: Size d of the features; the first batch tells it otherwise.
    """

    wants: ClassVar[tuple[Input, ...]] = ("features", "index")
    compares: ClassVar[bool] = True
    real_needs: ClassVar[Literal["statistics", "features", "images"] | None] = "features"
    real_features: list[Tensor]
    real_index: list[Tensor]
    fake_features: list[Tensor]
    fake_index: list[Tensor]

    def __init__(self, num_features: int | None = None) -> None:
        super().__init__(num_features)

    def rows(self, size: int) -> dict[str, Tensor]:
        """Return the states' types: features and index of both sets."""
        features, index = torch.empty(0, size), torch.empty(0, dtype=torch.int64)
        return {
            "real_features": features,
            "real_index": index,
            "fake_features": features,
            "fake_index": index,
        }

    def update(self, features: Tensor, index: Tensor, real: bool) -> None:
        """Add a batch.

        Args:
            features: (n, d), finite.
            index: int64 (n,), the samples' places in their set, the same whatever the sharding over ranks.
            real: Whether these are real samples.

        Raises:
            ValueError: If shapes do not fit, or a feature is not finite.
        """
        check_index(index, len(features))
        features = self._check(features, index)
        index = index.to(features.device)
        if real:
            self.real_features.append(features.float())
            self.real_index.append(index)
        else:
            self.fake_features.append(features.float())
            self.fake_index.append(index)

    def both(self, least: int = 2) -> tuple[Tensor, Tensor]:
        """Return real and generated features, in order.

        Args:
            least: Samples that each set must have.

        Raises:
            ValueError: If there are fewer, or an index occurs twice.
        """
        if self.size is None:
            check_count(0, "generated", type(self).__name__, least)
        _, real = in_order(self.real_index, self.real_features, side="real", least=least)
        _, fake = in_order(self.fake_index, self.fake_features, side="generated", least=least)
        return real, fake


def check_finite(values: Tensor, what: str, first: Tensor | int) -> None:
    """Refuse NaN and infinity.

    Args:
        values: (n, d).
        what: Name for the message.
        first: The samples' index (n,), or the place of the first one.

    Raises:
        ValueError: Naming the first bad sample.
    """
    good = values.isfinite().all(dim=1)
    if not good.all():
        bad = int((~good).nonzero()[0])
        place = int(first[bad]) if isinstance(first, Tensor) else first + bad
        raise ValueError(
            f"the {what} of sample {place} are not finite: the generator or the extractor has diverged"
        )


def check_count(count: int, side: str, name: str, least: int = 2) -> None:
    """Refuse too few samples.

    Raises:
        ValueError: Naming the set.
    """
    if count < least:
        number = {0: "no", 1: "one"}.get(count, str(count))
        raise ValueError(f"{name} got {number} {side} sample{'s' * (count != 1)}: it needs at least {least}")
