"""Real images of data that is none of this package's: read once from its loaders."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler

from lightning_gans.data.base import image_key
from lightning_gans.data.loader import first_loader
from lightning_gans.drawing.pixels import to_bytes
from lightning_gans.game.sides import check_real, read_batch

LOADERS = {"train": ("train_dataloader",), "test": ("test_dataloader", "val_dataloader")}
"""The methods of a data module that serve a split, the first that there is."""


def given_loaders(trainer: Trainer) -> dict[str, Any]:
    """Return the loaders that a trainer was given without a data module, by the names of the methods."""
    val = trainer.validate_loop if trainer.state.fn == "validate" else trainer.fit_loop.epoch_loop.val_loop
    loops: dict[str, Any] = {"train": trainer.fit_loop, "val": val, "test": trainer.test_loop}
    sources = {f"{name}_dataloader": loop._data_source for name, loop in loops.items()}
    return {
        name: source.dataloader()
        for name, source in sources.items()
        if source.instance is not None and source.is_defined()
    }


def images_of_loaders(
    data: LightningDataModule | Mapping[str, Any], split: Literal["train", "test"], inputs: bool = False
) -> tuple[Tensor, Tensor, dict[str, str]]:
    """Read all real images of a split, in the order of the data set where it has one.

    Args:
        data: The data module, of a trainer or set up, or its loaders by the names of its methods. Its batches
            are those that a game trains on; of pairs, the second are taken.
        split: Training images or held-out ones, those of the validation where there are no test images.
        inputs: Take the first of pairs.

    Returns:
        uint8 (N, C, H, W); labels (N,), -1 where there are none; and what tells these images from others.

    Raises:
        ValueError: If there is no loader, or it serves no images in [-1, 1].
    """
    name = "the loader" if isinstance(data, Mapping) else type(data).__name__
    with isolate_rng():  # training must not notice
        torch.manual_seed(0)
        parts = list(_batches(_loader(data, split, name), name, inputs))
    if not parts:
        raise ValueError(f"data={name} serves no {split} images to compare with: give it some")
    images, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return images, labels, image_key(name, split, images, labels)


def _loader(data: LightningDataModule | Mapping[str, Any], split: Literal["train", "test"], name: str) -> Any:
    stage = "fit" if split == "train" else "test"
    if isinstance(data, LightningDataModule) and data.trainer and data.trainer.state.fn != stage:
        data.setup(stage)
    for method in LOADERS[split]:
        if isinstance(data, Mapping):
            found = data.get(method)
        else:
            found = getattr(data, method)() if is_overridden(method, data) else None
        if (loader := first_loader(found)) is not None:
            return _in_order(loader)
    raise ValueError(
        f"data={name} has no {' or '.join(LOADERS[split])}, whose images are compared with: write it"
    )


def _in_order(loader: Any) -> Any:
    """Return a loader of the same samples, all of them and not shuffled, if it is clear which these are."""
    known = (RandomSampler, SequentialSampler, DistributedSampler)
    if not isinstance(loader, DataLoader) or not loader.batch_size or not isinstance(loader.sampler, known):
        return loader
    workers, collate = loader.num_workers, loader.collate_fn
    return DataLoader(loader.dataset, loader.batch_size, num_workers=workers, collate_fn=collate)


def _batches(loader: Any, name: str, inputs: bool) -> Iterator[tuple[Tensor, Tensor]]:
    for number, batch in enumerate(loader):
        pair = isinstance(batch, list | tuple) and len(batch) == 2 and getattr(batch[1], "ndim", 0) == 4
        real = read_batch(batch[int(not inputs)] if pair else batch)
        if real.images.ndim != 4:
            found = tuple(real.images.shape)
            raise ValueError(f"data={name} serves {found}, but metrics compare with images (n, C, H, W)")
        if number == 0:
            check_real(real.images, tuple(real.images.shape[1:]), f"the first batch of {name}")
        assert real.labels is not None
        yield to_bytes(real.images).cpu(), real.labels.long().cpu()
