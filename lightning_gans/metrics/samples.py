"""Samples that a metric keeps: checked when they come, and in one order whatever process they came to."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

Gather = Callable[[Tensor], list[Tensor]]


class MeetingMetric(Metric):
    """A metric whose ranks tell each other what they have before states are gathered.

    So a rank without a single sample, which cannot know the shape of the states, takes part too.
    """

    def meet(self, gather: Gather) -> None:
        """Make what states are missing.

        Args:
            gather: Returns a tensor of all ranks.
        """
        raise NotImplementedError

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any | None = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Meet, then gather the states of all ranks."""
        available = distributed_available or self.distributed_available_fn
        if should_sync and not self._is_synced and callable(available) and available():
            group = process_group or self.process_group
            self.meet(lambda mine: (dist_sync_fn or gather_all_tensors)(mine, group=group))
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)


class KeptImages(MeetingMetric):
    """A metric that needs all images at once; they come out in the order of their places.

    Memory: the images as bytes, those of all ranks on every rank. Ranks without a single one take part:
    before images are gathered, they learn the shape of the others.
    """

    is_differentiable = False
    full_state_update = False
    sides: ClassVar[tuple[str, ...]] = ("real", "fake")

    def __init__(self) -> None:
        super().__init__()
        for side in self.sides:
            self.add_state(f"{side}_images", [], dist_reduce_fx="cat")
            self.add_state(f"{side}_index", [], dist_reduce_fx="cat")

    def keep(self, images: Tensor, index: Tensor, side: str, count: int) -> None:
        """Keep those images of a batch whose places are below ``count``."""
        check_images(images, index)
        shape = self._shape()
        if shape is not None and shape != tuple(images.shape[1:]):
            raise ValueError(f"images have shape {tuple(images.shape[1:])}, those before {shape}")
        kept = index < count
        getattr(self, f"{side}_images").append(images[kept])
        getattr(self, f"{side}_index").append(index[kept])

    def kept(self, side: str, least: int = 2) -> tuple[Tensor, Tensor]:
        """Return places and images of a side, in order; refuse fewer than ``least``."""
        index, images = getattr(self, f"{side}_index"), getattr(self, f"{side}_images")
        name = {"fake": "generated"}.get(side, side)
        places, images = in_order(index, images, side=name, least=least)
        return places, images

    def empty(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Return what each state is without an image, of type and shape that fit the others."""
        images, index = torch.empty(0, *shape, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)
        return {
            f"{side}_{name}": value
            for side in self.sides
            for name, value in (("images", images), ("index", index))
        }

    def _shape(self) -> tuple[int, ...] | None:
        for side in self.sides:
            images = getattr(self, f"{side}_images")
            if len(images):
                return tuple(images[0].shape[1:])
        return None

    def meet(self, gather: Gather) -> None:
        """Learn the shape of the other ranks' images, and make empty states of it."""
        found = gather(torch.tensor(self._shape() or (0, 0, 0), device=self.device))
        shapes = {tuple(shape.tolist()) for shape in found} - {(0, 0, 0)}
        if len(shapes) > 1:
            raise ValueError(f"ranks have images of different shapes: {sorted(shapes)}")
        for shape in shapes:
            for name, value in self.empty(shape).items():
                if not len(getattr(self, name)):
                    getattr(self, name).append(value.to(self.device))


def check_images(images: Tensor, index: Tensor | None = None) -> None:
    """Refuse what is not a batch of images in bytes, or an index that does not fit them.

    Raises:
        ValueError: If images are not uint8 (n, C, H, W), or index is not int64 (n,).
    """
    if images.dtype != torch.uint8 or images.dim() != 4:
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}: give uint8 (n, C, H, W), 0 to 255"
        )
    if index is not None:
        check_index(index, len(images))


def check_index(index: Tensor, n: int) -> None:
    """Refuse an index that is not int64 (n,)."""
    if index.shape != (n,) or index.is_floating_point():
        raise ValueError(
            f"index is {index.dtype} of shape {tuple(index.shape)}: give the place of each of the {n} samples"
        )


def check_labels(labels: Tensor, num_classes: int, name: str = "labels") -> None:
    """Refuse labels that are not whole numbers (n,) from 0 to num_classes - 1."""
    if labels.dim() != 1 or labels.is_floating_point():
        raise ValueError(f"{name} are {labels.dtype} of shape {tuple(labels.shape)}: give int64 (n,)")
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        place = int(bad.nonzero()[0])
        raise ValueError(f"{name}[{place}] is {int(labels[place])}: give 0 to {num_classes - 1}")


def in_order(
    index: Tensor | list[Tensor], *values: Tensor | list[Tensor], side: str, least: int = 2
) -> tuple[Tensor, ...]:
    """Join what was kept and sort it by the samples' places: two processes have then what one would.

    Args:
        index: Places (n,), in parts.
        values: What belongs to the samples, in the same parts.
        side: "real" or "generated", for the message.
        least: Samples that are needed.

    Returns:
        The places in ascending order, and the values.

    Raises:
        ValueError: If there are too few samples, or a place came twice.
    """
    places = dim_zero_cat(index) if len(index) else torch.zeros(0)
    if len(places) < least:
        count = {0: "is no sample", 1: "is one sample"}.get(len(places), f"are {len(places)} samples")
        raise ValueError(f"there {count} on the {side} side: at least {least} are needed")
    places, order = places.sort()
    twice = (places[1:] == places[:-1]).nonzero()
    if len(twice):
        raise ValueError(
            f"{side} sample {int(places[twice[0, 0]])} came twice: call reset() before another evaluation, "
            "and give each sample to one process"
        )
    return places, *(dim_zero_cat(value)[order] for value in values)
