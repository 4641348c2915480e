"""What all data modules share; a data set adds class attributes and one method."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning import LightningDataModule
from torch import Tensor

from lightning_gans.data.loader import MemoryLoader

Split = Literal["train", "test"]


class DataModule(LightningDataModule):
    """Data kept in memory and served as batches ``(data, labels)``.

    A subclass sets ``image_shape``, ``num_classes`` and ``class_names`` (all available before ``setup``) and
    writes :meth:`load`. Training data is shuffled by ``(seed, epoch)``, each rank takes its shard, and the
    position is part of every checkpoint (:class:`~lightning_gans.data.loader.MemoryLoader`). Validation uses
    the test split, unless ``val_fraction`` holds out a part of the training split; testing and prediction
    always use the test split.

    Args:
        batch_size: Samples a training batch and rank.
        eval_batch_size: Samples a batch of validation, test and prediction. None: ``batch_size``.
        val_fraction: Share of the training split that is held out for validation, drawn by ``seed``. 0: none,
            validate on the test split.
        limit: Train on so many samples only, drawn by ``seed``. None: all.
        drop_last: Leave out the samples of an epoch that do not fill a batch.
        flip: Mirror training images horizontally with probability 1/2.
        seed: Decides subsets, permutations and flips.

    Raises:
        ValueError: If an argument does not fit; one line that says what to do.
    """

    image_shape: tuple[int, ...]
    num_classes: int | None
    class_names: tuple[str, ...]

    def __init__(
        self,
        batch_size: int = 128,
        eval_batch_size: int | None = None,
        val_fraction: float = 0.0,
        limit: int | None = None,
        drop_last: bool = True,
        flip: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (
            ("batch_size", batch_size),
            ("eval_batch_size", eval_batch_size),
            ("limit", limit),
        ):
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction={val_fraction} must be at least 0 and less than 1")
        if seed < 0:
            raise ValueError(f"seed={seed} must not be negative")
        if limit is not None and drop_last and limit < batch_size:
            raise ValueError(
                f"limit={limit} is smaller than batch_size={batch_size}: raise limit, lower batch_size, or "
                "set drop_last=False"
            )
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size or batch_size
        self.val_fraction = val_fraction
        self.limit = limit
        self.drop_last = drop_last
        self.flip = flip
        self.seed = seed
        self._splits: dict[str, tuple[Tensor, Tensor]] = {}
        self.save_hyperparameters()

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return one split of the data set.

        Args:
            split: ``"train"`` or ``"test"``.

        Returns:
            uint8 (N, C, H, W) or float32 (N, d), and int64 labels (N,), -1 for unlabeled.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define load(split)")

    def _read(self, split: Split) -> tuple[Tensor, Tensor]:
        """Load a split and bring it to ``image_shape``."""
        return self.load(split)

    def setup(self, stage: str | None = None) -> None:
        """Load what a stage needs and was not loaded before."""
        training = stage in (None, "fit") or (stage == "validate" and self.val_fraction > 0)
        testing = stage not in ("fit", "validate") or self.val_fraction == 0
        if training and "train" not in self._splits:
            self._set_up_training()
        if testing and "test" not in self._splits:
            self._splits["test"] = self._read("test")
        if self.val_fraction == 0:
            self._splits["val"] = self._splits["test"]

    def _set_up_training(self) -> None:
        data, labels = self._read("train")
        held_out = round(len(data) * self.val_fraction)
        size = len(data) - held_out
        if self.val_fraction > 0 and held_out == 0:
            raise ValueError(f"val_fraction={self.val_fraction} holds out none of {size} samples: raise it")
        if self.limit is not None and self.limit > size:
            raise ValueError(f"limit={self.limit} exceeds the {size} training samples: use at most {size}")
        if self.drop_last and self.batch_size > size:
            raise ValueError(
                f"batch_size={self.batch_size} is larger than the {size} training samples: use at most {size}"
            )
        if held_out > 0 or self.limit is not None:
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed))
            held, kept = order[:held_out], order[held_out:][: self.limit].sort().values
            if held_out > 0:
                self._splits["val"] = data[held], labels[held]
            data, labels = data[kept], labels[kept]
        self._splits["train"] = data, labels

    def _loader(self, split: str, *, training: bool) -> MemoryLoader:
        if split not in self._splits:
            raise RuntimeError(
                f"{type(self).__name__}: call prepare_data() and setup() before asking for a loader"
            )
        trainer = self.trainer
        return MemoryLoader(
            *self._splits[split],
            self.batch_size if training else self.eval_batch_size,
            shuffle=training and not getattr(trainer, "overfit_batches", 0),
            drop_last=training and self.drop_last,
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            flip=training and self.flip,
            device=trainer.strategy.root_device if trainer else None,
        )

    def train_dataloader(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the shuffled, resumable loader of this rank's training samples."""
        return self._loader("train", training=True)

    def val_dataloader(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the loader of the samples held out for validation, or of the test split."""
        return self._loader("val", training=False)

    def test_dataloader(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the loader of the test split."""
        return self._loader("test", training=False)

    def predict_dataloader(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Return the loader of the test split."""
        return self._loader("test", training=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Pass on a batch that is on the device already, without Lightning's walk over its parts."""
        if all(isinstance(part, Tensor) and part.device == device for part in batch):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


class ImageDataModule(DataModule):
    """A data set of images: downloaded or found under a root folder, cropped and resized once, kept as uint8.

    Images that are not square are cropped to their central square; then they are resized (never padded) to
    ``image_size`` with antialiased bilinear interpolation. The root folder may be read-only.

    A subclass sets the class attributes below and writes ``load``, which reads from ``self.root`` and
    downloads first if ``self.download``: for data sets of torchvision that is one line.

    Args:
        root: Folder of the data. None: the environment variable ``LIGHTNING_GANS_DATA``, else ``./data``.
        image_size: Height and width of the images in pixels. None: the data set's own.
        download: Fetch the files if they are missing (on one process a machine).
        **kwargs: Arguments of :class:`DataModule`.

    Raises:
        ValueError: If an argument does not fit, or files are damaged.
        FileNotFoundError: If files are missing and cannot be downloaded; says which, from where, where to.
    """

    channels: ClassVar[int]
    native_size: ClassVar[int]
    class_names: tuple[str, ...] = ()
    files: ClassVar[str] = ""
    """Where the files lie under ``root``, for the error message."""
    source: ClassVar[str] = ""
    """Address that the files can be had from, for the error message."""

    def __init__(
        self,
        root: str | Path | None = None,
        image_size: int | None = None,
        download: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size={image_size} must be at least 1 pixel")
        self.root = Path(root or os.environ.get("LIGHTNING_GANS_DATA") or "data").expanduser()
        self.image_size = image_size or self.native_size
        self.download = download
        self.num_classes = len(self.class_names) or None
        self.image_shape = (self.channels, self.image_size, self.image_size)
        if root is not None:
            # A Path in a checkpoint would not load under weights_only.
            self.save_hyperparameters({"root": str(root)})

    def prepare_data(self) -> None:
        """Download what is missing, on one process a machine."""
        if self.download and not self._splits:
            self._checked_load("train")
            self._checked_load("test")

    def setup(self, stage: str | None = None) -> None:
        """Load and resize what a stage needs; nothing is downloaded here."""
        download, self.download = self.download, False
        try:
            super().setup(stage)
        finally:
            self.download = download

    def _read(self, split: Split) -> tuple[Tensor, Tensor]:
        images, labels = self._checked_load(split)
        return resize(images, self.image_size), labels

    def _checked_load(self, split: Split) -> tuple[Tensor, Tensor]:
        name = type(self).__name__
        try:
            images, labels = self.load(split)
            if len(images) != len(labels):
                raise ValueError(f"{len(images)} images but {len(labels)} labels")
            return images, labels
        except (RuntimeError, OSError, AssertionError, EOFError, IndexError, KeyError, ValueError) as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            where = f"{self.files} under {self.root.absolute()} ({reason})"
            # torchvision has no exception of its own for files that are not there.
            if isinstance(error, OSError) or any(word in reason for word in ("not found", "ownload")):
                raise FileNotFoundError(
                    f"{name}: cannot read {where}; put the files there (from {self.source}), or name another "
                    "folder with --data.root or LIGHTNING_GANS_DATA"
                ) from error
            raise ValueError(
                f"{name}: damaged file among {where}; delete it and fetch it again from {self.source}"
            ) from error


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
    for part, resized in zip(
        images.split(1024), result.split(1024), strict=True
    ):  # bounds what is in between
        resized.copy_(F.interpolate(part, size=(size, size), mode="bilinear", antialias=True))
    return result
