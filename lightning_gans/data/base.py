"""Base classes of all data modules; a data set adds class attributes and the method ``load``."""

import hashlib
import math
import os
import warnings
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Literal

import psutil
import torch
import torch.nn.functional as F
from lightning import LightningDataModule
from torch import Tensor

from lightning_gans import checks
from lightning_gans.data.cache import cache_folder, decode_all, decode_to_disk, find_usable
from lightning_gans.data.decode import DamagedImage
from lightning_gans.data.loader import (
    BatchLoader,
    MemoryLoader,
    ReplicaLoader,
    Views,
    WorkerLoader,
    ZipLoader,
    as_in_batches,
    epoch_batches,
    to_float,
)
from lightning_gans.data.selection import (
    imbalanced,
    mostly_unlabeled,
    of_classes,
    of_each_class,
    partly_unlabeled,
)
from lightning_gans.data.sources import ImageSource, MappedImages, TensorImages, read_at

Split = Literal["train", "val", "test"]
Data = Tensor | ImageSource


ELSEWHERE = "name another folder with --data.root or LIGHTNING_GANS_DATA"
_UNREADABLE = (AssertionError, EOFError, LookupError, MemoryError, OSError, RuntimeError, ValueError)
_FEW = 20  # if fewer of the images than this share are used, only those are decoded


class DataError(ValueError):
    """Something is wrong with a data set's files; the message says what, where, and what to do."""


class DataModule(LightningDataModule):
    """Samples served as batches ``(data, labels)``, in an order that can be resumed exactly.

    A subclass sets ``image_shape``, ``num_classes`` and ``class_names`` (all available before ``setup``) and
    writes :meth:`load`. Training data is shuffled by ``(seed, epoch)``, each rank takes its shard, and the
    position is part of every checkpoint (:class:`~lightning_gans.data.loader.BatchLoader`). Validation uses
    the test split, unless ``val_fraction`` holds out a part of the training split; testing and prediction
    always use the test split.

    The samples of a run follow from ``seed``, the same on all ranks. They are chosen in this order: samples
    held out for validation, ``class_weights``, ``limit`` or ``limit_per_class``, ``label_fraction`` or
    ``num_labels``. The labels that these leave out can be asked for later (:meth:`label`): they are part of
    every checkpoint from then on.

    Args:
        batch_size: Samples a training batch and rank.
        eval_batch_size: Samples a batch of validation, test and prediction. None: ``batch_size``.
        val_fraction: Share of the training split that is held out for validation. 0: none, validate on the
            test split.
        limit: Train on so many samples only. None: all.
        limit_per_class: Train on so many samples of each class only. None: all.
        class_weights: Share in [0, 1] of its training samples that each class keeps: an imbalanced set. None:
            all.
        label_fraction: Share of the training labels that is kept, equally many of each class; the other
            labels become -1. Sets of smaller fractions are part of those of larger ones.
        num_labels: So many training labels are kept, equally many of each class. None: ``label_fraction``.
        drop_last: Leave out the samples of an epoch that do not fill a batch.
        flip: Mirror training images horizontally with probability 1/2.
        seed: Decides subsets, permutations and flips.

    Raises:
        ValueError: If an argument does not fit; one line that says what to do.
    """

    image_shape: tuple[int, ...]
    num_classes: int | None
    class_names: tuple[str, ...]
    val_split: Literal["val", "test"] = "test"
    """The split that validation uses when nothing is held out."""
    has_test_split: bool = True

    def __init__(
        self,
        batch_size: int = 128,
        eval_batch_size: int | None = None,
        val_fraction: float = 0.0,
        limit: int | None = None,
        limit_per_class: int | None = None,
        class_weights: Sequence[float] | None = None,
        label_fraction: float = 1.0,
        num_labels: int | None = None,
        drop_last: bool = True,
        flip: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        checks.at_least(1, batch_size=batch_size, eval_batch_size=eval_batch_size)
        checks.at_least(1, limit=limit, limit_per_class=limit_per_class, num_labels=num_labels)
        checks.at_least(0, seed=seed)
        checks.within("[0, 1)", val_fraction=val_fraction)
        checks.within("(0, 1]", label_fraction=label_fraction)
        for weight in class_weights or ():
            checks.within("[0, 1]", class_weights=weight)
        if class_weights is not None and not any(class_weights):
            raise ValueError(f"class_weights={class_weights} keep no sample: raise one")
        if limit is not None and limit_per_class is not None:
            raise ValueError(f"limit={limit} and limit_per_class={limit_per_class}: give one of them")
        if num_labels is not None and label_fraction < 1:
            raise ValueError(f"num_labels={num_labels} and label_fraction={label_fraction}: give one of them")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.val_fraction = val_fraction
        self.limit = limit
        self.limit_per_class = limit_per_class
        self.class_weights = class_weights
        self.label_fraction = label_fraction
        self.num_labels = num_labels
        self.drop_last = drop_last
        self.flip = flip
        self.seed = seed
        self._splits: dict[str, tuple[Data, Tensor]] = {}
        self._others: list[DataModule] = []  # of replicas 1, 2, ... of a game
        self._names: Callable[[int], str] = str
        self._resumed: dict[str, Any] = {}
        self._true_labels = torch.empty(0, dtype=torch.int64)  # of the training samples, -1 where unknown
        self._asked: list[int] = []  # training samples whose labels were asked for
        self.save_hyperparameters()
        # A Path in a checkpoint would not load under weights_only.
        self.save_hyperparameters({k: str(v) for k, v in self.hparams.items() if isinstance(v, Path)})

    def load(self, split: Split) -> tuple[Data, Tensor]:
        """Return one split of the data set.

        Args:
            split: ``"train"``, ``"test"``, or ``"val"`` if that is the ``val_split``.

        Returns:
            uint8 (N, C, H, W), float32 (N, d), or images to be read when they are asked for; and int64 labels
            (N,), -1 for unlabeled.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define load(split)")

    def views(self) -> Views | None:
        """Return a function that makes batches of another form than images and labels, or None."""
        return None

    def _read(self, split: Split) -> tuple[Data, Tensor, Tensor]:
        """Load a split; return its data, its labels, and the indices of these samples in the data."""
        data, labels = self.load(split)
        return data, labels, torch.arange(len(labels))

    def _store(self, data: Data, kept: Tensor, *, training: bool) -> Data:
        """Return the samples ``kept`` of a split in the form in which the loaders serve them."""
        return _taken(data, kept)

    def setup(self, stage: str | None = None) -> None:
        """Load the splits that a stage needs and that were not loaded before."""
        holding_out = self.val_fraction > 0
        needed: list[Split] = []
        if stage in (None, "fit") or (stage == "validate" and holding_out):
            needed.append("train")
        if self.has_test_split and not holding_out and stage in (None, "fit", "validate"):
            needed.append(self.val_split)
        if self.has_test_split and stage not in ("fit", "validate"):
            needed.append("test")
        # All splits are searched for files before the first one is decoded, which may take long.
        found = {split: self._read(split) for split in needed if split not in self._splits}
        for split, read in found.items():
            if split == "train":
                self._set_up_training(*read)
            else:
                data, labels, kept = read
                self._splits[split] = self._store(data, kept, training=False), labels
        if not holding_out and self.val_split in self._splits:
            self._splits["val"] = self._splits[self.val_split]

    def _set_up_training(self, data: Data, labels: Tensor, origin: Tensor) -> None:
        held_out, kept, training_labels = self._choose(labels)
        # Scores and contact sheets need no batches: their number matters to a run only.
        if self.trainer is not None and self.drop_last and self.batch_size > len(kept):
            advice = f"use at most {len(kept)}, or set drop_last=False"
            raise ValueError(
                f"batch_size={self.batch_size} exceeds the {len(kept)} training samples: {advice}"
            )
        if len(held_out) > 0:
            self._splits["val"] = self._store(data, origin[held_out], training=False), labels[held_out]
        origin = origin[kept]
        self._names = _names(data, origin)
        self._splits["train"] = self._store(data, origin, training=True), training_labels
        self._true_labels = labels[kept]

    def _choose(self, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return which training samples are held out, which are kept, and the labels of those kept."""
        by_class = self.class_weights is not None or self.limit_per_class is not None
        by_label = self.label_fraction < 1 or self.num_labels is not None
        if self.num_classes is None and (by_class or by_label):
            asked = "class_weights, limit_per_class, label_fraction and num_labels"
            raise ValueError(f"{asked} need labels, but {type(self).__name__} has none here")
        if self.class_weights is not None and len(self.class_weights) != self.num_classes:
            raise ValueError(f"class_weights={list(self.class_weights)}: give {self.num_classes} of them")
        size = round(len(labels) * self.val_fraction)
        if self.val_fraction > 0 and size == 0:
            raise ValueError(f"val_fraction={self.val_fraction} of {len(labels)} samples is none: raise it")
        order = torch.arange(len(labels))
        if size > 0 or self.limit is not None:
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(self.seed))
        held_out, kept = order[:size].sort().values, order[size:]
        if self.class_weights is not None:
            kept = kept[imbalanced(labels[kept], self.class_weights, self.seed)]
        if self.limit_per_class is not None:
            kept = kept[of_each_class(labels[kept], self.limit_per_class, self.seed)]
        size = len(kept)
        if self.limit is not None and self.limit > size:
            raise ValueError(f"limit={self.limit} exceeds the {size} training samples: use at most {size}")
        kept = kept[: self.limit].sort().values
        training_labels = labels[kept]
        if self.label_fraction < 1:
            training_labels = partly_unlabeled(training_labels, self.label_fraction, self.seed)
        if self.num_labels is not None:
            training_labels = mostly_unlabeled(training_labels, self.num_labels, self.seed)
        _check_asked(self._asked, len(kept))
        training_labels[self._asked] = labels[kept[self._asked]]
        return held_out, kept, training_labels

    def training_images(self) -> tuple[Data, Tensor]:
        """Return the training samples as they are stored, and their labels; after ``setup``.

        Raises:
            RuntimeError: Before ``setup``.
        """
        return self.stored("train")

    def reader(self) -> tuple[int, Callable[[list[int]], Tensor]]:
        """Return the number of training samples, and what reads some by their numbers; after ``setup``.

        They are float32 ``(n, *image_shape)`` as evaluations see them: not cropped at random, not mirrored.
        """
        images = getattr(self, "real_images", None)
        stored = images("train")[0] if images else self.training_images()[0]

        def read(indices: list[int]) -> Tensor:
            return to_float(read_at(stored, torch.tensor(indices, dtype=torch.int64)))

        return len(stored), read

    # ------------------------------------------------------------------ labels that are asked for

    @property
    def num_labelled(self) -> int:
        """How many training samples have a label now; after ``setup``."""
        return int((self.stored("train")[1] >= 0).sum())

    def pool(self) -> Tensor:
        """Return the numbers of the training samples whose label can be asked for, int64 (n,), ascending.

        They have no label now, and the data set has one for them. Samples held out for validation are no
        training samples.
        """
        return ((self.stored("train")[1] < 0) & (self._true_labels >= 0)).nonzero().squeeze(1)

    def label(self, indices: Tensor) -> Tensor:
        """Ask for the labels of training samples: from the next batch on they are served with them.

        All ranks call this, with the same samples. The labels stay: they are part of every checkpoint.

        Args:
            indices: Numbers of the samples, int64 (n,), all of them in :meth:`pool`.

        Returns:
            Their labels, int64 (n,).

        Raises:
            ValueError: If there are no labels to ask for, or a sample is not in the pool, or is named twice;
                or the run has several replicas.
        """
        checks.shaped(("n",), "whole", indices=indices)
        pool, asked = self.pool(), indices.tolist()
        if self._others:
            raise ValueError(f"replicas={len(self._others) + 1}: labels are asked for in runs of one game")
        if len(pool) == 0:
            raise ValueError(
                f"{type(self).__name__} has no labels to ask for: all that it knows are served already. Set "
                "num_labels or label_fraction"
            )
        if strange := sorted(set(asked) - set(pool.tolist())):
            raise ValueError(
                f"indices: {strange[0]} is no training sample without label: give some of pool()"
            )
        if len(set(asked)) < len(asked):
            raise ValueError(f"indices: a sample is named twice among {len(asked)}: give each once")
        self._reveal([*self._asked, *asked])
        return self._true_labels[indices]

    def _reveal(self, asked: list[int]) -> None:
        """Serve the labels of these samples, beside those that the arguments chose."""
        labels = self.stored("train")[1]  # loaders in the same memory read the same tensor
        _check_asked(asked, len(labels))
        labels[self._asked] = -1
        labels[asked] = self._true_labels[asked]
        self._asked = asked
        loader = self._training_loader()
        if isinstance(loader, BatchLoader):
            loader.labels = labels.to(loader.labels.device)

    def draw_labelled(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw training samples that have a label now, each as often as any other, give or take once.

        They are cut and mirrored as those of batches are; after ``setup``.

        Args:
            n: How many.
            rng: A generator of the CPU.

        Returns:
            float32 (n, *image_shape), and int64 labels (n,).
        """
        stored, labels = self.stored("train")
        labelled = (labels >= 0).nonzero().squeeze(1)
        rounds = -(-n // len(labelled))
        orders = [torch.randperm(len(labelled), generator=rng) for _ in range(rounds)]
        chosen = labelled[torch.cat(orders)[:n]]
        return as_in_batches(read_at(stored, chosen), self.flip, self._crop, rng), labels[chosen]

    @property
    def _crop(self) -> int | None:
        """Pixels of the square that is cut out of each training sample; None: the whole sample."""
        return None

    @property
    def smallest_batch(self) -> int:
        """Samples of a rank's smallest training batch, which may be the rest of an epoch; after ``setup``."""
        world_size = self.trainer.world_size if self.trainer else 1
        return epoch_batches(self._training_size(), self.batch_size, world_size, self.drop_last)[1]

    def _training_size(self) -> int:
        return len(self.stored("train")[1])

    def sample_name(self, index: int) -> str:
        """Return the name of a training sample: its file, or its number in the data set."""
        return self._names(index)

    def stored(self, split: str) -> tuple[Data, Tensor]:
        """Return the samples of a split as they are stored, and their labels; after ``setup``.

        Raises:
            RuntimeError: Before ``setup``.
        """
        if split not in self._splits:
            raise RuntimeError(f"{type(self).__name__}: call prepare_data() and setup() first")
        return self._splits[split]

    def serve_replicas(self, replicas: int, stage: str) -> None:
        """From now on serve the batches of several games as one, each of data with a seed of its own.

        Args:
            replicas: How many games; replica ``r`` has the data of ``seed + r``.
            stage: What they are set up for.

        Raises:
            ValueError: If the data is not in memory.
        """
        self._others = []
        for number in range(1, replicas):
            other = copy(self)
            other.seed, other._splits, other._others, other._asked = self.seed + number, {}, [], []
            other.setup(stage)
            self._others.append(other)
        if any(not isinstance(data, Tensor) for data, _ in self._splits.values()):
            raise ValueError(
                f"replicas={replicas}: {type(self).__name__} reads images while it serves them, which is too "
                "slow for several games: keep them in memory (data.in_memory), or leave replicas out"
            )

    def of_replica(self, number: int) -> "DataModule":
        """Return the data of a replica, set up as this module is."""
        return (self, *self._others)[number]

    def _loader(self, split: str, *, training: bool) -> Any:
        of_all = [other._serve(*other.stored(split), training=training) for other in (self, *self._others)]
        return ReplicaLoader(*of_all) if self._others else of_all[0]

    def _serve(self, data: Data, labels: Tensor, *, training: bool, **options: Any) -> BatchLoader:
        trainer = self.trainer
        options = {
            "shuffle": training and not getattr(trainer, "overfit_batches", 0),
            "drop_last": training and self.drop_last,
            "seed": self.seed,
            "rank": trainer.global_rank if trainer else 0,
            "world_size": trainer.world_size if trainer else 1,
            "flip": training and self.flip,
            "crop": self._crop if training else None,
            "views": self.views(),
            "device": trainer.strategy.root_device if trainer else None,
        } | options
        batch_size = self.batch_size if training else self.eval_batch_size
        if isinstance(data, ImageSource):
            workers = getattr(self, "num_workers", 0)
            return WorkerLoader(data, labels, batch_size, num_workers=workers, **options)
        return MemoryLoader(data, labels, batch_size, **options)

    def train_dataloader(self) -> Any:
        """Return the shuffled loader of this rank's training samples; it begins at the stored position.

        Raises:
            ValueError: If training is resumed with other data, batch size, number of devices or seed.
        """
        loader = self._loader("train", training=True)
        position = self._position() or self._resumed
        if position:
            loader.load_state_dict(position)
        return loader

    def _training_loader(self) -> Any:
        return getattr(self.trainer, "train_dataloader", None)

    def _position(self) -> dict[str, Any]:
        loader = self._training_loader()
        return loader.state_dict() if isinstance(loader, BatchLoader | ZipLoader) else {}

    def state_dict(self) -> dict[str, Any]:
        """Return the training loader's position, which Lightning itself restores only within an epoch.

        With it go the samples whose labels were asked for.
        """
        asked: dict[str, Any] = {"asked": self._asked} if self._asked else {}
        return self._position() | asked

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the position at which training begins, and the labels, as :meth:`state_dict` returned them.

        Raises:
            ValueError: If labels were asked for of other data than this.
        """
        self._resumed = {key: value for key, value in state_dict.items() if key != "asked"}
        asked = state_dict.get("asked", [])
        if "train" in self._splits:
            self._reveal(asked)
        else:
            self._asked = asked  # revealed when the training samples are there

    def teardown(self, stage: str) -> None:
        """Delete the position at which the run that ends was resumed, so that the next run begins at 0."""
        self._resumed = {}

    def val_dataloader(self) -> Any:
        """Return the loader of the held-out samples or of the test split; an empty list without either."""
        if not self.has_test_split and self.val_fraction == 0:
            return []
        return self._loader("val", training=False)

    def test_dataloader(self) -> Any:
        """Return the loader of the test split.

        Raises:
            ValueError: If the data set has none.
        """
        if not self.has_test_split:
            raise ValueError(f"{type(self).__name__} has no test split here")
        return self._loader("test", training=False)

    def predict_dataloader(self) -> Any:
        """Return the loader of the test split."""
        return self.test_dataloader()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to the device; one that is there is returned at once, which saves time."""
        if all(isinstance(part, Tensor) and part.device == device for part in batch):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


def _check_asked(asked: Any, size: int) -> None:
    """Check that labels which a checkpoint has are those of ``size`` training samples."""
    numbers = isinstance(asked, list) and all(isinstance(index, int) for index in asked)
    if not numbers or any(not 0 <= index < size for index in asked):
        raise ValueError(
            f"the checkpoint has labels of other data than these {size} samples: resume with its own"
        )


def _taken(data: Data, kept: Tensor) -> Data:
    """Return the samples ``kept`` of the data; the data itself, not a copy, if these are all of them."""
    if len(kept) == len(data):
        return data
    return data.at(kept) if isinstance(data, ImageSource) else data[kept]


def _names(data: Data, origin: Tensor) -> Callable[[int], str]:
    """Return a function from a chosen sample's index to its name: its file, or its number in the split."""
    name = data.name if isinstance(data, ImageSource) else str
    return lambda index: name(int(origin[index]))


class ImageDataModule(DataModule):
    """A data set of images: downloaded or found under a root folder, cropped and resized once, kept as uint8.

    Images that are not square are cropped to their central square; then they are resized (never padded) to
    ``image_size`` with antialiased bilinear interpolation. The root folder may be read-only.

    Data that fits into half of the free memory is kept in memory; larger data is read by worker processes.
    Both ways give the same batches.

    A subclass sets the class attributes below and writes ``load``, which reads from ``self.root`` and
    downloads first if ``self.download``: for data sets of torchvision that is one line.

    Args:
        root: Folder of the data. None: the environment variable ``LIGHTNING_GANS_DATA``, else ``./data``.
        image_size: Height and width of the images in pixels. None: the data set's own.
        load_size: Training images are resized to this and cut to ``image_size`` at a random place. None:
            ``image_size``, not cut.
        download: Fetch the files if they are missing (on one process a machine).
        in_memory: Keep the images in memory: always, never, or (``auto``) if they fit.
        num_workers: Processes that read data that is not kept in memory.
        classes: Use these classes only, in this order. None: all.
        exclude: Text file with the training samples to leave out, a name (number, file) a line, as
            ``lightning-gans dedup`` writes it.
        **kwargs: Arguments of :class:`DataModule`.

    Raises:
        ValueError: If an argument does not fit, or files are damaged.
        FileNotFoundError: If files are missing and cannot be downloaded; says which, from where, where to.
    """

    channels: int
    native_size: int
    class_names: tuple[str, ...] = ()
    files: ClassVar[str] = ""
    """Where the files lie under ``root``, for the error message."""
    source: ClassVar[str] = ""
    """Address that the files can be had from, for the error message."""

    def __init__(
        self,
        root: str | Path | None = None,
        image_size: int | None = None,
        load_size: int | None = None,
        download: bool = True,
        in_memory: Literal["auto"] | bool = "auto",
        num_workers: int = 2,
        classes: Sequence[str | int] | None = None,
        exclude: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        checks.at_least(1, image_size=image_size, load_size=load_size)
        checks.at_least(0, num_workers=num_workers)
        checks.one_of(("auto", True, False), in_memory=in_memory)
        checks.existing_file(exclude=exclude)
        self.root = data_root(root)
        self.image_size = image_size or self.native_size
        self.load_size = load_size or self.image_size
        if self.load_size < self.image_size:
            raise ValueError(f"load_size={load_size} is smaller than image_size={self.image_size}: raise it")
        self.download, self.in_memory, self.num_workers = download, in_memory, num_workers
        self.exclude = exclude
        self._classes: list[int] | None = None
        self._number_of_labels = len(self.class_names)
        if classes is not None:
            wanted = tuple(str(name) for name in classes)
            for name in wanted:
                checks.one_of(self.class_names, classes=name)
            if not wanted or len(set(wanted)) < len(wanted):
                raise ValueError(f"classes={list(wanted)}: name at least one class, and each only once")
            self._classes = [self.class_names.index(name) for name in wanted]
            self.class_names = wanted
        self.num_classes = len(self.class_names) or None
        self.image_shape = (self.channels, self.image_size, self.image_size)

    def prepare_data(self) -> None:
        """Download missing files and decode images that are not cached, in one process of each machine."""
        trainer = self.trainer
        super().setup(trainer.state.fn.value if trainer and trainer.state.fn else None)

    def setup(self, stage: str | None = None) -> None:
        """Load and resize the images of the splits that a stage needs; nothing is downloaded here."""
        download, self.download = self.download, False
        try:
            super().setup(stage)
        finally:
            self.download = download

    def _read(self, split: Split) -> tuple[Data, Tensor, Tensor]:
        images, labels = self._checked_load(split)
        kept = torch.arange(len(labels))
        if self._classes is not None:
            kept, labels = of_classes(labels, self._classes)
        if self.exclude is not None and split == "train":
            inside = self._not_excluded(images, self.exclude)[kept]
            kept, labels = kept[inside], labels[inside]
        if len(kept) == 0:
            raise DataError(f"{type(self).__name__}: no {split} images are left: change classes or exclude")
        return images, labels, kept

    def _not_excluded(self, images: Data, file: str) -> Tensor:
        text = Path(file).read_text(encoding="utf-8", errors="surrogateescape")  # file names can be any bytes
        excluded = set(text.split("\n")) - {""}
        name = _names(images, torch.arange(len(images)))
        stays = torch.tensor([name(index) not in excluded for index in range(len(images))])
        strange = len(excluded) - int((~stays).sum())
        if strange > 0:
            raise DataError(f"exclude={file}: {strange} of {len(excluded)} samples are of other data")
        return stays

    def _store(self, data: Data, kept: Tensor, *, training: bool) -> Data:
        return self._store_at(self.load_size if training else self.image_size, data, kept)

    def _store_at(self, size: int, data: Data, kept: Tensor) -> Data:
        """Return the samples ``kept`` of a split, at a size, in the form in which the loaders serve them."""
        images = _taken(data, kept)
        assert isinstance(images, Tensor)
        images = resize(images, size)
        return images if self.in_memory else TensorImages(images)

    def real_images(
        self, split: Literal["train", "test"], size: int | None = None
    ) -> tuple[Data, Tensor, dict[str, str]]:
        """Return the images of a split for an evaluation; needs no ``setup``.

        Args:
            split: The split; of ``train`` those that the arguments choose.
            size: Height and width, to which the original images are resized. None: ``image_size``.

        Returns:
            uint8 (N, C, H, W), or a source of such images; int64 labels (N,); and a key that identifies these
            images, by which their statistics are cached.

        Raises:
            ValueError: If there is no such split.
        """
        size, training = size or self.image_size, split == "train"
        if not (training or self.has_test_split):
            raise ValueError(f"split={split}: {type(self).__name__} has no test split here, use train")
        if split in self._splits and size == (self.load_size if training else self.image_size):
            data, labels = self.stored(split)
        else:
            images, labels, origin = self._read(split)
            if training:
                _, kept, labels = self._choose(labels)
                origin = origin[kept]
            data = self._store_at(size, images, origin)
        return data, labels, image_key(type(self).__name__, split, data, labels)

    @property
    def _crop(self) -> int | None:
        return self.image_size if self.load_size > self.image_size else None

    def _checked_load(self, split: Split) -> tuple[Data, Tensor]:
        name = type(self).__name__
        try:
            images, labels = self.load(split)
            if isinstance(images, Tensor):
                checks.shaped(("N", self.channels, "H", "W"), "uint8", images=images)
            if len(images) != len(labels):
                raise ValueError(f"{len(images)} images but {len(labels)} labels")
            if self._number_of_labels:
                checks.labels(self._number_of_labels, unlabeled=True, labels=labels)
            return images, labels
        except (DataError, DamagedImage):
            raise
        except _UNREADABLE as error:
            reason = checks.first_line(error)
            where = f"{self.files or 'files'} under {self.root.absolute()} ({reason})"
            source = f" from {self.source}" if self.source else ""
            # torchvision raises exceptions of many classes for missing files.
            if isinstance(error, OSError) or any(word in reason for word in ("not found", "ownload")):
                advice = f"put the files there{source}, or {ELSEWHERE}"
                raise FileNotFoundError(f"{name}: cannot read {where}; {advice}") from error
            if not self.files:  # a data module of one's own, with nothing to fetch
                raise ValueError(f"{name}.load({split!r}): {reason}") from error
            advice = f"delete it and fetch it again{source}"
            raise ValueError(f"{name}: damaged file among {where}; {advice}") from error


class FileDataModule(ImageDataModule):
    """A data set of image files, decoded once and kept as uint8.

    The decoded images are stored in a cache folder: the second start takes seconds, and what does not fit in
    memory is read from there. A cache belongs to its files (names, sizes, times of change), image size and
    crop; after a change a new one is made. It holds the whole split, unless less than a twentieth of it is
    used. Old ones may be deleted at any time.

    Args:
        on_error: What to do about a file that cannot be decoded: stop, or leave it out and warn.
        cache: Keep decoded images in the folder ``LIGHTNING_GANS_CACHE``, else
            ``~/.cache/lightning_gans``; or in the folder given; or (false) not at all.
        **kwargs: Arguments of :class:`ImageDataModule`.

    Raises:
        DamagedImage: If a file cannot be decoded, with ``on_error="error"``.
        OSError: If the cache cannot be written; says how much room it needs.
    """

    def __init__(
        self, on_error: Literal["error", "skip"] = "error", cache: bool | str = True, **kwargs: Any
    ) -> None:
        checks.one_of(("error", "skip"), on_error=on_error)
        super().__init__(**kwargs)
        self.on_error, self.cache = on_error, cache

    def _read(self, split: Split) -> tuple[Data, Tensor, Tensor]:
        """Load a split without its damaged files, so that ``limit`` and the like choose among good ones."""
        data, labels, kept = super()._read(split)
        assert isinstance(data, ImageSource)
        if self.on_error == "skip":
            data = data.resized(self.load_size if split == "train" else self.image_size)
            cached = self.cache is not False
            good = decode_to_disk(data, cache_folder(self.cache), "skip")[1] if cached else find_usable(data)
            usable = torch.isin(kept, good)
            kept, labels = kept[usable], labels[usable]
        return data, labels, kept

    def _store_at(self, size: int, data: Data, kept: Tensor) -> Data:
        assert isinstance(data, ImageSource)
        data = data.resized(size)
        copies = self.trainer.num_devices if self.trainer else 1  # each process keeps its own
        fits = self.in_memory
        if fits == "auto":
            fits = len(kept) * math.prod(data.shape) * copies <= free_memory() // 2
        if self.cache is False:
            return decode_all(data.at(kept)) if fits else data.at(kept)
        if len(kept) < len(data) // _FEW:
            data, kept = data.at(kept), torch.arange(len(kept))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="skipped")  # a warning was given when they were decoded
            stored, good = decode_to_disk(data, cache_folder(self.cache), self.on_error)
        # All of ``kept`` are usable, and ``good`` is ascending: this finds their places among the stored.
        chosen = _taken(stored, torch.searchsorted(good, kept))
        return chosen.read() if fits and isinstance(chosen, MappedImages) else chosen


def image_key(name: str, split: str, data: Data, labels: Tensor) -> dict[str, str]:
    """Return what identifies the images of a split, uint8 (N, C, H, W), and their labels (N,)."""
    digest = hashlib.sha256(labels.numpy().data)
    given = data.fingerprint().encode() if isinstance(data, ImageSource) else data.contiguous().numpy().data
    digest.update(given)
    return {"data": name, "split": split, "content": digest.hexdigest()[:16]}


def data_root(given: str | Path | None) -> Path:
    """Return the folder of the data: the given one, or ``LIGHTNING_GANS_DATA``, or ``./data``."""
    return Path(given or os.environ.get("LIGHTNING_GANS_DATA") or "data").expanduser()


def free_memory() -> int:
    """Return how many bytes of memory are free, within the limits of machine and container."""
    free: int = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())  # "max" without a limit
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # The system frees its cache of files when memory is needed.
        return min(free, limit - used + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return free


def resize(images: Tensor, size: int) -> Tensor:
    """Crop images to their central square and resize them with antialiased bilinear interpolation.

    Args:
        images: uint8 (N, C, H, W).
        size: Height and width of the result.

    Returns:
        uint8 (N, C, size, size); ``images`` themselves if they have that size.
    """
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    images = images[..., top : top + side, left : left + side]
    if side == size:
        return images
    result = images.new_empty(*images.shape[:2], size, size)
    for start in range(0, len(images), 1024):  # in parts, which limits the memory for the float copies
        part = images[start : start + 1024]
        result[start : start + 1024] = F.interpolate(part, (size, size), mode="bilinear", antialias=True)
    return result
