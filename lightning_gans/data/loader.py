"""Loaders whose position can be stored and restored: from memory, by worker processes, of two domains."""

import re
import signal
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_gans import checks
from lightning_gans.data.decode import DamagedImage
from lightning_gans.data.sources import ImageSource

_OTHER_KIND = "the checkpoint's position is one of another kind of data: resume with its data module"


class Views(Protocol):
    """Make batches of another form than ``(images, labels)``: pairs, images with holes, grey copies.

    Attributes:
        draws: How many random numbers each sample needs.
    """

    draws: int

    def __call__(self, images: Tensor, labels: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
        """Return the parts of the batch.

        Args:
            images: float32 (B, C, H, W) in [-1, 1].
            labels: int64 (B,).
            draws: float32 (B, ``draws``), uniform in [0, 1): new in each epoch of training, always the
                same in evaluation.
        """
        ...


class _Plan(NamedTuple):
    """The random choices of one epoch for all ranks: order, mirror images, crops, random numbers of views."""

    order: Tensor
    flipped: Tensor | None
    offsets: Tensor | None
    draws: Tensor | None


class BatchLoader(ABC):
    """Serve batches in an order that follows from ``(seed, epoch)``, from a position that can be restored.

    The position (``seed``, ``epoch``, ``index``) belongs to the loader, not to its iterators, and Lightning
    stores it in every checkpoint, so that a resumed run sees exactly the batches that the killed one would
    have seen. ``iter()`` does not change the position (Lightning may call it twice) and serves
    ``len(loader)`` batches from the position on: one epoch or, if it begins within one, the rest of it and
    the front of the next. So the stream of batches does not depend on where Lightning begins and ends what it
    calls an epoch (``limit_train_batches``, resuming). Without ``shuffle`` every ``iter()`` begins at the
    front, as evaluation needs it, unless a position was just restored.

    Rank ``r`` of ``world_size`` takes the ``r``-th part of each global batch of ``batch_size * world_size``
    samples: shards are disjoint, cover the epoch, and their concatenation is the batch that one process
    would have seen. All ranks serve the same number of batches. Without ``drop_last`` the last global batch
    may be smaller, or larger by fewer than ``world_size`` samples, so that no rank is left without any.

    uint8 images become float32 in [-1, 1] (``x / 127.5 - 1``); float32 data is served as it is. Crops and
    mirror images are made of whole batches, on the device to which the batch goes.

    Args:
        data: The samples; their kind depends on the subclass.
        labels: int64 (N,).
        batch_size: Samples a batch and rank.
        shuffle: Draw a new permutation for every epoch; otherwise the order of ``data``.
        drop_last: Leave out the samples that do not fill a batch on all ranks.
        seed: Decides permutations, crops, mirror images and views, the same on all ranks.
        rank: This process.
        world_size: Number of processes.
        flip: Mirror each image horizontally with probability 1/2.
        crop: Cut a square of so many pixels out of each image, at a random place. None: the whole image.
        views: Makes the parts of a batch. None: a batch is images and labels.
        epoch_size: Samples of an epoch. If there are fewer, they are served again, in another
            order. None: all samples, once.
        device: The device of the batches. None: that of ``data``.

    Raises:
        ValueError: If an argument does not fit; one line that says what to do.
    """

    def __init__(
        self,
        data: Any,
        labels: Tensor,
        batch_size: int,
        *,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        flip: bool = False,
        crop: int | None = None,
        views: Views | None = None,
        epoch_size: int | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        checks.at_least(1, batch_size=batch_size)
        checks.at_least(0, seed=seed)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank} must lie between 0 and world_size - 1 = {world_size - 1}")
        if labels.shape != (len(data),):
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}: give one for each of {len(data)} images"
            )
        shape = tuple(data.shape)[1:] if isinstance(data, Tensor) else tuple(data.shape)
        if (flip or crop is not None) and len(shape) != 3:
            asked = "flip=True" if flip else f"crop={crop}"
            raise ValueError(f"{asked} needs images (N, C, H, W), not (N, {', '.join(map(str, shape))})")
        if crop is not None and not 1 <= crop <= min(shape[1:]):
            raise ValueError(f"crop={crop} does not fit images of {shape[1]} x {shape[2]} pixels")
        size, step = epoch_size or len(data), batch_size * world_size
        if size < (step if drop_last else world_size):
            ranks = f" on each of {world_size} ranks" if world_size > 1 else ""
            raise ValueError(
                f"batch_size={batch_size}{ranks} does not fit {size} samples: "
                + (f"use at most {size // world_size}" if size >= world_size else "use more data")
            )
        self.batch_size, self.shuffle, self.flip, self.crop = batch_size, shuffle, flip, crop
        self.seed, self.rank, self.world_size, self.views = seed, rank, world_size, views
        self.data, self.labels = data, labels
        self.device = torch.device(device or labels.device)
        self._shape = shape
        self._epoch_size = size

        self._length = epoch_batches(size, batch_size, world_size, drop_last)[0]
        self._samples = self._length * step if drop_last else size
        self._epoch, self._index = 0, 0
        self._restored = False
        self._plans: dict[int, _Plan] = {}

    @abstractmethod
    def _fetch(self, chosen: Tensor) -> Tensor:
        """Return the chosen samples, on the device, as they are stored."""

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self._length

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Return an iterator over the next ``len(self)`` batches."""
        if not (self.shuffle or self._restored):
            self._move(self._epoch, 0)
        return (self._next() for _ in range(self._length))

    def _next(self) -> tuple[Tensor, ...]:
        batch = self._batch(self._epoch, self._index)
        self._restored = False
        self._epoch, self._index = self._after(self._epoch, self._index)
        return batch

    def _after(self, epoch: int, index: int) -> tuple[int, int]:
        return (epoch, index + 1) if index + 1 < self._length else (epoch + 1, 0)

    def _move(self, epoch: int, index: int) -> None:
        self._epoch, self._index = epoch, index

    def _part(self, index: int) -> slice:
        """Return the slice of the epoch's order that this rank serves as its batch ``index``."""
        step = self.batch_size * self.world_size
        start = index * step
        stop = start + step if index + 1 < self._length else self._samples
        size, rest = divmod(stop - start, self.world_size)
        start += self.rank * size + min(self.rank, rest)
        return slice(start, start + size + (self.rank < rest))

    def _batch(self, epoch: int, index: int) -> tuple[Tensor, ...]:
        plan, part = self._plan(epoch), self._part(index)
        chosen = plan.order[part]
        images = self._fetch(chosen)
        labels = self.labels.index_select(0, chosen).to(self.device, non_blocking=True)
        flipped = None if plan.flipped is None else plan.flipped[part]
        if plan.offsets is not None:
            assert self.crop is not None
            images = _cut(images, plan.offsets[part], self.crop, flipped)
        elif flipped is not None:
            images = _mirrored(images, flipped)
        images = to_float(images)
        if self.views is None:
            return images, labels
        assert plan.draws is not None
        return self.views(images, labels, plan.draws[part])

    def _plan(self, epoch: int) -> _Plan:
        if epoch not in self._plans:
            if len(self._plans) > 1:  # keep two: workers read ahead for the next epoch
                del self._plans[min(self._plans)]
            self._plans[epoch] = self._draw_plan(epoch)
        return self._plans[epoch]

    def _draw_plan(self, epoch: int) -> _Plan:
        size, available = self._epoch_size, len(self.data)
        state = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
        rng = torch.Generator().manual_seed(int(state))
        times = -(-size // available)
        if self.shuffle:
            orders = [torch.randperm(available, generator=rng) for _ in range(times)]
        else:
            orders = [torch.arange(available)] * times
        order = torch.cat(orders)[:size] if times > 1 else orders[0][:size]
        flipped = torch.rand(size, generator=rng) < 0.5 if self.flip else None
        if flipped is not None and self.crop is None:
            flipped = flipped.to(self.device)
        offsets = None if self.crop is None else _offsets(size, self._shape, self.crop, rng)
        draws = None
        if self.views is not None:
            if not self.shuffle:
                rng.manual_seed(self.seed)  # evaluation sees the same views every time
            draws = torch.rand(size, self.views.draws, generator=rng).to(self.device)
        return _Plan(order.to(self.labels.device), flipped, offsets, draws)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the next batch (seed, epoch, index), and samples and step for checks."""
        return {"seed": self.seed, "epoch": self._epoch, "index": self._index, **self._counted()}

    def _counted(self) -> dict[str, int]:
        return {"samples": self._epoch_size, "step": self.batch_size * self.world_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the position to one that :meth:`state_dict` returned.

        Raises:
            ValueError: If it belongs to another seed, or lies beyond this loader's epoch (another data set or
                batch size).
        """
        if not {"seed", "epoch", "index"} <= state.keys():
            raise ValueError(_OTHER_KIND)
        if state["seed"] != self.seed:
            raise ValueError(
                f"seed={self.seed} differs from the checkpoint's data seed: resume with seed={state['seed']}"
            )
        here = self._counted()
        stored = {name: state.get(name, count) for name, count in here.items()}
        if stored != here or not 0 <= state["index"] < self._length:
            raise ValueError(
                f"the checkpoint is at batch {state['index']} of {stored['samples']} samples by "
                f"{stored['step']}, and here are {here['samples']} by {here['step']}: resume with its data, "
                "batch size and number of devices"
            )
        self._move(state["epoch"], state["index"])
        self._restored = True


class MemoryLoader(BatchLoader):
    """Serve data that fits in memory: batches are slices of one tensor, without worker processes.

    The tensor is kept on ``device`` if it leaves half of the free memory there to the training.

    Args:
        data: uint8 (N, C, H, W), or float32 of any shape (N, ...).
        labels: int64 (N,).
        batch_size: Samples a batch and rank.
        **kwargs: Arguments of :class:`BatchLoader`.

    Raises:
        ValueError: If an argument does not fit; one line that says what to do.
    """

    data: Tensor

    def __init__(self, data: Tensor, labels: Tensor, batch_size: int, **kwargs: Any) -> None:
        if data.dtype not in (torch.uint8, torch.float32):
            raise ValueError(f"data has dtype {data.dtype}: convert it to uint8 (0 to 255) or float32")
        device = torch.device(kwargs.get("device") or data.device)
        if data.device != device and _fits(data, device):
            data = data.to(device)
        labels = labels.to(data.device, torch.int64)
        super().__init__(data, labels, batch_size, **kwargs | {"device": device})

    def _fetch(self, chosen: Tensor) -> Tensor:
        return self.data.index_select(0, chosen).to(self.device, non_blocking=True)


class WorkerLoader(BatchLoader):
    """Serve data that does not fit in memory: worker processes of a ``DataLoader`` read batches ahead.

    It serves the batches that a :class:`MemoryLoader` with the same arguments would serve. Batches that
    workers have read ahead do not change the position.

    Args:
        data: Images that are read when they are asked for.
        labels: int64 (N,).
        batch_size: Samples a batch and rank.
        num_workers: Processes that read. 0: this process reads, when a batch is asked for.
        **kwargs: Arguments of :class:`BatchLoader`.

    Raises:
        ValueError: If an argument does not fit; one line that says what to do.
        DamagedImage: When a batch has an image that cannot be read.
    """

    data: ImageSource

    def __init__(
        self, data: ImageSource, labels: Tensor, batch_size: int, *, num_workers: int, **kwargs: Any
    ) -> None:
        checks.at_least(0, num_workers=num_workers)
        self.num_workers = num_workers
        self._stream: Iterator[Tensor] | None = None
        super().__init__(data, labels.to("cpu", torch.int64), batch_size, **kwargs)

    def _fetch(self, chosen: Tensor) -> Tensor:
        if self._stream is None:
            # Given a generator, a DataLoader draws no numbers from torch's global one.
            loader = DataLoader(
                self.data,
                batch_sampler=_ahead(weakref.ref(self), self._epoch, self._index),
                num_workers=self.num_workers,
                collate_fn=_as_it_is,  # type: ignore[arg-type]
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator(),
                worker_init_fn=_ignore_interrupts,
            )
            self._stream = iter(loader)
        try:
            return next(self._stream).to(self.device, non_blocking=True)
        except (DamagedImage, OSError) as error:
            self._stream = None
            if not str(error).startswith("Caught "):
                raise
            last = str(error).strip().split("\n")[-1]  # the last line of a worker's traceback
            raise DamagedImage(re.sub(r"^[\w.]*(DamagedImage|Error): ", "", last)) from None

    def _next(self) -> tuple[Tensor, ...]:
        batch = super()._next()
        if self._index == 0 and not self.shuffle:
            self._stream = None
        return batch

    def _move(self, epoch: int, index: int) -> None:
        self._stream = None
        super()._move(epoch, index)


def _ahead(served: "weakref.ref[WorkerLoader]", epoch: int, index: int) -> Iterator[list[int]]:
    """Yield the sample indices of a rank's batches from a position on: endlessly, if they are shuffled.

    The reference to the loader is weak: in a reference cycle the loader would be collected late, and the
    queues of its workers before the workers, for which Python would then wait without end.
    """
    while (loader := served()) is not None:
        chosen: list[int] = loader._plan(epoch).order[loader._part(index)].tolist()
        epoch, index = loader._after(epoch, index)
        ended = index == 0 and not loader.shuffle
        del loader
        yield chosen
        if ended:
            return


def _as_it_is(batch: Tensor) -> Tensor:
    return batch


def _ignore_interrupts(worker: int) -> None:
    # A terminal sends Ctrl-C to all processes: workers ignore it, and the main process ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class ZipLoader:
    """Serve the images of several loaders side by side: the domains of unpaired translation.

    Args:
        *loaders: With equally many batches an epoch (``epoch_size``), each with a seed of its own.

    Raises:
        ValueError: If the numbers of batches differ.
    """

    def __init__(self, *loaders: BatchLoader) -> None:
        lengths = [len(loader) for loader in loaders]
        if len(set(lengths)) != 1:
            raise ValueError(f"the loaders have {lengths} batches: give them the same epoch_size")
        self.loaders = loaders

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self.loaders[0])

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Return an iterator over the next ``len(self)`` batches: one image tensor (B, C, H, W) a loader."""
        return (tuple(batch[0] for batch in batches) for batches in zip(*self.loaders, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return the positions of all loaders."""
        return {"loaders": [loader.state_dict() for loader in self.loaders]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the positions of all loaders to those that :meth:`state_dict` returned.

        Raises:
            ValueError: If they do not fit these loaders.
        """
        if len(state.get("loaders", ())) != len(self.loaders):
            raise ValueError(_OTHER_KIND)
        for loader, part in zip(self.loaders, state["loaders"], strict=True):
            loader.load_state_dict(part)


class ReplicaLoader(ZipLoader):
    """Serve the batches of several loaders as one: those of the first, then those of the second.

    Args:
        *loaders: Of the replicas of a game, with equally many batches an epoch, each with a seed of its own.

    Raises:
        ValueError: If the numbers of batches differ.
    """

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Return an iterator over the next ``len(self)`` batches, ``(replicas * batch_size, ...)``."""
        for batches in zip(*self.loaders, strict=True):
            yield tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


def first_loader(loaders: Any) -> Any:
    """Return the first of what a method of a data module returned, one loader or several; None without."""
    if isinstance(loaders, list | tuple):
        return loaders[0] if loaders else None
    return loaders


def epoch_batches(size: int, batch_size: int, world_size: int, drop_last: bool) -> tuple[int, int]:
    """Return how many batches an epoch of ``size`` samples has, and how many samples its smallest one has.

    Fewer left-over samples than ranks would leave a rank without a batch: they join the last batch.
    """
    full, rest = divmod(size, batch_size * world_size)
    if drop_last or rest < world_size:
        return full, batch_size
    return full + 1, rest // world_size


def to_float(images: Tensor) -> Tensor:
    """Map uint8 0..255 to float32 [-1, 1]; return float data as it is."""
    if images.dtype != torch.uint8:
        return images
    # Faster than a division; 255 becomes exactly 1 (a single fused multiply-add would make it 1 + 1e-7).
    return images.to(torch.float32).mul_(1 / 127.5).sub_(1)


def as_in_batches(images: Tensor, flip: bool, crop: int | None, rng: torch.Generator) -> Tensor:
    """Cut, mirror and scale stored samples as a loader does in training.

    Args:
        images: uint8 (B, C, H, W), or float32 of any shape (B, ...), which stay as they are.
        flip: Mirror each with probability 1/2.
        crop: Pixels of the square that is cut out. None: the whole image.
        rng: Decides which and where.

    Returns:
        float32; images are in [-1, 1].
    """
    flipped = torch.rand(len(images), generator=rng) < 0.5 if flip else None
    if crop is not None:
        offsets = _offsets(len(images), images.shape[1:], crop, rng)
        images = _cut(images, offsets, crop, flipped)
    elif flipped is not None:
        images = _mirrored(images, flipped)
    return to_float(images)


def _offsets(size: int, shape: Sequence[int], crop: int, rng: torch.Generator) -> Tensor:
    """Draw the places (size, 2) at which squares are cut out of images of a shape (C, H, W)."""
    room = torch.tensor([shape[1] - crop + 1, shape[2] - crop + 1])
    return (torch.rand(size, 2, generator=rng) * room).long()


def _cut(images: Tensor, offsets: Tensor, size: int, flipped: Tensor | None) -> Tensor:
    """Cut squares out of images (B, C, H, W), each at its own offset (B, 2); mirror some (B,)."""
    mirrored = [False] * len(images) if flipped is None else flipped.tolist()
    parts = []
    for image, (y, x), mirror in zip(images, offsets.tolist(), mirrored, strict=True):
        part = image[:, y : y + size, x : x + size]
        parts.append(part.flip(-1) if mirror else part)
    return torch.stack(parts)


def _mirrored(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirror some images (B, C, H, W): faster by whole images than by torch.where."""
    size = len(images)
    chosen = torch.arange(size, device=flipped.device) + size * flipped
    return torch.cat([images, images.flip(-1)]).index_select(0, chosen)


def _fits(data: Tensor, device: torch.device) -> bool:
    """Tell whether data leaves at least half of a device's free memory to the training."""
    if device.type != "cuda":
        return True
    return data.nbytes <= torch.cuda.mem_get_info(device)[0] // 2
