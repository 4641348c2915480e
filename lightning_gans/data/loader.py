"""A loader for data that fits in memory: one tensor, no worker processes, a position of three integers."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


class MemoryLoader:
    """Serve batches of one tensor by slicing a permutation that follows from ``(seed, epoch)``.

    The position (``seed``, ``epoch``, ``index``) belongs to the loader, not to its iterators, and Lightning
    stores it in every checkpoint, so that a resumed run sees exactly the batches that the killed one would
    have seen. ``iter()`` moves nothing by itself (Lightning may call it twice) and serves ``len(loader)``
    batches from the position on: one epoch or, if it begins within one, the rest of it and the front of the
    next. So the stream of batches does not depend on where Lightning begins and ends what it calls an epoch
    (``limit_train_batches``, resuming). Without ``shuffle`` every ``iter()`` begins at the front, as
    evaluation needs it, unless a position was just restored.

    Rank ``r`` of ``world_size`` takes the ``r``-th part of each global batch of ``batch_size * world_size``
    samples: shards are disjoint, cover the epoch, and their concatenation is the batch that one process
    would have seen. All ranks serve the same number of batches. Without ``drop_last`` the last global batch
    may be smaller, or larger by fewer than ``world_size`` samples, so that no rank is left without any.

    uint8 images become float32 in [-1, 1] (``x / 127.5 - 1``); float32 data is served as it is.

    Args:
        images: uint8 (N, C, H, W), or float32 of any shape (N, ...).
        labels: int64 (N,).
        batch_size: Samples a batch and rank.
        shuffle: Draw a new permutation for every epoch; otherwise the order of ``images``.
        drop_last: Leave out the samples that do not fill a batch on all ranks.
        seed: Decides the permutations and flips, the same on all ranks.
        rank: This process.
        world_size: Number of processes.
        flip: Mirror each image horizontally with probability 1/2.
        device: Where batches are delivered, and where the data is kept if it fits there. None: where
            ``images`` are.

    Raises:
        ValueError: If an argument does not fit; one line that says what to do.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        batch_size: int,
        *,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        flip: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        size, step = len(images), batch_size * world_size
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank} must lie between 0 and world_size - 1 = {world_size - 1}")
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative")
        if images.dtype not in (torch.uint8, torch.float32):
            raise ValueError(f"images have dtype {images.dtype}: convert them to uint8 (0 to 255) or float32")
        if labels.shape != (size,):
            raise ValueError(f"labels have shape {tuple(labels.shape)}: give one for each of {size} images")
        if flip and images.dim() != 4:
            raise ValueError(
                f"flip=True needs images (N, C, H, W), not {tuple(images.shape)}: set flip=False"
            )
        if size < (step if drop_last else world_size):
            ranks = f" on each of {world_size} ranks" if world_size > 1 else ""
            raise ValueError(
                f"batch_size={batch_size}{ranks} does not fit {size} samples: "
                + (f"use at most {size // world_size}" if size >= world_size else "use more data")
            )
        self.batch_size, self.shuffle, self.flip = batch_size, shuffle, flip
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.device = torch.device(device) if device is not None else images.device
        if images.device != self.device and _fits(images, self.device):
            images = images.to(self.device)
        self.images, self.labels = images, labels.to(images.device, torch.int64)

        # A rest of fewer samples than ranks would leave a rank without a batch: the last batch takes it in.
        self._length = size // step if drop_last or 0 < size % step < world_size else -(-size // step)
        self._samples = self._length * step if drop_last else size
        self._epoch, self._index = 0, 0
        self._restored = False
        self._plan: tuple[int, Tensor, Tensor | None] | None = None

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return an iterator over the next ``len(self)`` batches."""
        if not (self.shuffle or self._restored):
            self._index = 0
        return (self._next() for _ in range(self._length))

    def _next(self) -> tuple[Tensor, Tensor]:
        batch = self._batch(self._epoch, self._index)
        self._restored = False
        self._index += 1
        if self._index == self._length:
            self._epoch, self._index = self._epoch + 1, 0
        return batch

    def _batch(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        order, flipped = self._epoch_plan(epoch)
        step = self.batch_size * self.world_size
        start = index * step
        stop = start + step if index + 1 < self._length else self._samples
        size, rest = divmod(stop - start, self.world_size)
        start += self.rank * size + min(self.rank, rest)
        part = slice(start, start + size + (self.rank < rest))

        chosen = order[part]
        images = self.images.index_select(0, chosen).to(self.device, non_blocking=True)
        labels = self.labels.index_select(0, chosen).to(self.device, non_blocking=True)
        if flipped is not None:
            images = torch.where(flipped[part].view(-1, 1, 1, 1), images.flip(-1), images)
        return to_float(images), labels

    def _epoch_plan(self, epoch: int) -> tuple[Tensor, Tensor | None]:
        """Return the order of the samples (on the data's device) and who is mirrored (on the batches')."""
        if self._plan is None or self._plan[0] != epoch:
            size = len(self.images)
            state = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
            rng = torch.Generator().manual_seed(int(state))
            order = torch.randperm(size, generator=rng) if self.shuffle else torch.arange(size)
            flipped = (torch.rand(size, generator=rng) < 0.5).to(self.device) if self.flip else None
            self._plan = (epoch, order.to(self.images.device), flipped)
        return self._plan[1], self._plan[2]

    def state_dict(self) -> dict[str, int]:
        """Return the position of the next batch: ``seed``, ``epoch`` and ``index``."""
        return {"seed": self.seed, "epoch": self._epoch, "index": self._index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position that :meth:`state_dict` returned.

        Raises:
            ValueError: If it belongs to another seed, or lies beyond this loader's epoch (another data set or
                batch size).
        """
        if state["seed"] != self.seed:
            raise ValueError(
                f"seed={self.seed} differs from the checkpoint's data seed: resume with seed={state['seed']}"
            )
        if not 0 <= state["index"] < self._length:
            raise ValueError(
                f"index={state['index']} of the stored loader lies beyond the {self._length} batches of an "
                "epoch: resume with the data, batch size and number of devices of the checkpoint"
            )
        self._epoch, self._index = state["epoch"], state["index"]
        self._restored = True


def to_float(images: Tensor) -> Tensor:
    """Map uint8 0..255 to float32 [-1, 1]; return float data as it is."""
    if images.dtype != torch.uint8:
        return images
    # Faster than a division, and exactly 1 for 255 (one fused multiply-add would give 1 + 1e-7).
    return images.to(torch.float32).mul_(1 / 127.5).sub_(1)


def _fits(data: Tensor, device: torch.device) -> bool:
    """Tell whether data leaves at least half of a device's free memory to the training."""
    if device.type != "cuda":
        return True
    return data.nbytes <= torch.cuda.mem_get_info(device)[0] // 2
