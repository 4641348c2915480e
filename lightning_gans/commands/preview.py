"""Look at a data set: a labelled contact sheet, counts, classes, images a second."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from time import perf_counter
from typing import Any

import torch
from lightning import LightningDataModule
from PIL import Image
from torch import Tensor

from lightning_gans import checks
from lightning_gans.data.base import DataModule
from lightning_gans.data.loader import BatchLoader, ZipLoader
from lightning_gans.drawing.grids import in_colour, labelled_grid, shrunk
from lightning_gans.drawing.pixels import as_png, drawn_part
from lightning_gans.drawing.scatter import labelled_points
from lightning_gans.files import write_whole
from lightning_gans.game.sides import check_labels, check_real, read_batch

Batch = Sequence[Tensor]

CLASSES, POINTS, TABLE = 16, 4_000, 40
SEARCHED = 25_000
"""Training images that are looked through for rare classes."""
LOOKED_AT = 1_000
"""Samples whose labels are counted, of data that does not know its labels before it serves them."""


@dataclass(frozen=True)
class Served:
    """What is known of training data.

    Attributes:
        name: Of its class.
        size: The number of training samples, in words.
        splits: The numbers of samples of all splits, in words.
        labels: Of the training samples, or of some of them: int64 (N,), -1 for unlabeled.
        class_names: The classes, if there are any.
        view_names: What the parts of a batch are, where there are several.
        missing: A line for each attribute that models will ask for.
    """

    name: str
    size: str
    splits: str
    labels: Tensor
    class_names: Sequence[str] = ()
    view_names: Sequence[str] = ("input", "target")
    missing: Sequence[str] = ()


def preview(
    data: LightningDataModule, out: str = "preview.png", per_class: int = 8, seconds: float = 2.0
) -> None:
    """Show training data as the networks get it: a sheet of images, and a report.

    Args:
        data: The data, of this package or any LightningDataModule that serves images, ``(images, labels)``,
            points or pairs of images.
        out: Where the sheet goes: a ``.png``. A row a class, a grid of unlabeled images, inputs beside their
            targets, or a scatter plot of points.
        per_class: Images of each class, or in a row of unlabeled ones, 1 to 100; pairs show twice as many.
        seconds: How long the speed of the training loader is measured.

    Raises:
        ValueError: If an argument is out of range, or the data is neither images nor vectors.
    """
    checks.writable_file((".png",), out=out)
    checks.within("[1, 100]", per_class=per_class)
    checks.positive(seconds=seconds)
    if isinstance(data, DataModule):
        data.drop_last = False  # so that a small folder can be shown too
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    if not isinstance(loader, Iterable) or isinstance(loader, list | tuple | dict):
        kind = type(loader).__name__
        raise ValueError(
            f"data={type(data).__name__}: train_dataloader() must return one loader, not a {kind}"
        )
    # One stream for sheet and speed, so that worker processes start only once.
    batches = endless(loader)
    try:
        first = next(batches)
        if isinstance(data, DataModule):
            served = of_package(data, loader)
        else:
            served = of_others(data, loader, chain([first], batches))
        sheet = contact_sheet(served, chain([first], batches), per_class)
        rate = images_per_second(batches, seconds)
    finally:
        batches.close()
    print(report(served, first, rate))
    write_whole(out, as_png(sheet))
    print(f"sheet    {out}")


def endless(loader: Any) -> Generator[Batch, None, None]:
    """Yield the batches of a loader as tensors, epoch after epoch, without end.

    Raises:
        ValueError: If an epoch has none, or a batch is no tensor, no tuple of some, and no mapping that has
            images.
    """
    while True:
        batch = None
        for batch in loader:
            parts = batch if isinstance(batch, list | tuple) else [batch]
            if len(parts) < 2 or not all(isinstance(part, Tensor) for part in parts):
                side = read_batch(batch)
                parts = [side.images, side.labels]
            yield parts
        if batch is None:
            raise ValueError("the training loader serves no batch: lower batch_size, or use more data")


def of_package(data: DataModule, loader: Any) -> Served:
    """Return what is known of a data module of this package after ``setup("fit")``."""
    sizes, views = _split_sizes(data, loader), getattr(data, "view_names", Served.view_names)
    labels = _parts(loader)[0].labels
    return Served(type(data).__name__, _sizes(loader), sizes, labels, data.class_names, views)


def of_others(data: LightningDataModule, loader: Any, batches: Iterator[Batch]) -> Served:
    """Return what the first batches tell of any data module, and what models will miss in it.

    Raises:
        ValueError: If they are nothing to train on, or its attributes say something else.
    """
    name, first = type(data).__name__, next(batches)
    if len(first) > 2:
        read_batch(first)  # which refuses it
    paired = first[0].ndim == first[1].ndim
    if not paired:
        check_labels(first[1], len(first[0]))
    shapes = [tuple(view.shape[1:]) for view in first[: 1 + paired]]
    for view, shape in zip(first, shapes, strict=False):
        check_real(view, shape, f"the first batch of {name}")
    dataset: Any = getattr(loader, "dataset", None)
    count = len(dataset) if hasattr(dataset, "__len__") else None
    size = "unknown" if count is None else f"{count:,}"
    splits = f"{size} training samples"
    labels = torch.full((count or LOOKED_AT,), -1)
    names: list[str] = list(getattr(data, "class_names", None) or [])
    found: dict[str, Any] = {"image_shape": shapes[-1]}
    if paired:
        found["input_shape"] = shapes[0]
    elif bool((first[1] >= 0).any()):
        labels = _take(chain([first], batches), min(len(labels), LOOKED_AT))[1].long()
        splits += f", classes by the first {len(labels):,}"
        names += map(str, range(len(names), int(labels.max()) + 1))
        found["num_classes"] = len(names)
    missing = []
    for key, value in found.items():
        if (given := getattr(data, key, None)) is None:
            missing.append(f"{name}.{key}, which models are built for: set self.{key} = {value}")
        elif not (given >= value if isinstance(value, int) else tuple(given) == value):
            raise ValueError(f"{name}.{key} is {given}, but its batches have {value}: make them equal")
    return Served(name, size, splits, labels, names, missing=missing)


def images_per_second(batches: Iterator[Batch], seconds: float) -> float:
    """Measure an endless loader for so many seconds, and 4 batches at least."""
    for _ in range(5):  # not timed: workers start, and fetch batches ahead
        next(batches)
    begin, elapsed, sizes = perf_counter(), 0.0, list[int]()
    while len(sizes) < 4 or elapsed < seconds:
        sizes.append(len(next(batches)[0]))
        elapsed = perf_counter() - begin
    return sum(sizes) / max(elapsed, 1e-9)


def report(served: Served, batch: Batch, rate: float) -> str:
    """Describe data in a few lines: sizes, a batch, class balance, speed and what is missing.

    Args:
        served: What is known of it.
        batch: One of the loader's.
        rate: Samples per second of the loader.
    """
    lines, views = [f"{served.name}: {served.splits}"], _views(batch)
    for name, view in zip(_view_names(served, views), views, strict=True):
        low, high, mean = view.min().item(), view.max().item(), view.mean().item()
        lines.append(f"batch    {name}: {_tensor(view)}, from {low:.3g} to {high:.3g}, mean {mean:.3g}")
    if not batch[-1].is_floating_point():
        lines.append(f"         labels: {_tensor(batch[-1])}")
    lines += class_balance(served.labels, served.class_names)
    what = "images" if len(views) == 1 and views[0].ndim == 4 else "samples" if len(views) != 2 else "pairs"
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return "\n".join([*lines, f"speed    {speed} {what}/s", *(f"missing  {line}" for line in served.missing)])


def class_balance(labels: Tensor, names: Sequence[str]) -> list[str]:
    """Count classes: a line with the least and the most samples of one, and a line for each of the smallest.

    Args:
        labels: int64 (N,), -1 for unlabeled.
        names: The classes.
    """
    unlabeled = int((labels < 0).sum())
    if not names:
        return [f"classes  none: {unlabeled:,} unlabeled samples"]
    counts = _counts(labels, names)
    few, many = min(counts.values()), max(counts.values())
    size = f"{few:,} to {many:,}" if few < many else f"{few:,}"
    smallest = sorted(sorted(counts, key=counts.__getitem__)[:TABLE])
    more = f"; the {TABLE} smallest:" if len(names) > TABLE else ""
    return [
        f"classes  {len(names)}, of {size} samples; {unlabeled:,} unlabeled{more}",
        *(f"         {names[k]}: {_share(counts[k], labels)}" for k in smallest),
    ]


def contact_sheet(served: Served, batches: Iterator[Batch], per_class: int = 8) -> Image.Image:
    """Draw samples of training batches.

    Labelled images come in a row a class (the first 16 classes, and a row of unlabeled ones), others in a
    grid; image-to-image data side by side under the names of the views; vectors as a scatter plot coloured
    by class.

    Args:
        served: What is known of the data.
        batches: Its batches, without end. For rare classes at most 25,000 images are searched.
        per_class: Images of a class, or in a row of a grid; half the number of pairs.

    Raises:
        ValueError: If batches are neither images (N, C, H, W) nor vectors (N, d) with d > 1.
    """
    first = next(batches)
    batches = chain([first], batches)
    labels, views = served.labels, _views(first)
    if first[0].ndim != 4 and (first[0].ndim != 2 or first[0].shape[1] < 2):
        drawn = "only images (N, C, H, W) and vectors (N, d), d > 1, can be drawn"
        raise ValueError(f"{served.name} serves batches {tuple(first[0].shape)}: {drawn}")
    shapes = " and ".join(dict.fromkeys("x".join(map(str, view.shape[1:])) for view in views))
    dimensions = " dimensions" if first[0].ndim == 2 else ""
    parts = "".join(dict.fromkeys(drawn_part(view.shape[1:]) for view in views))
    title = f"{served.name}: {served.size} training samples, {shapes}{dimensions}{parts}"
    if first[0].ndim == 2:
        points, given = _take(batches, min(POINTS, len(labels)))
        return labelled_points(points, given, title)
    if len(views) > 1:
        across = max(1, 8 // len(views))
        kinds = [shrunk(kind) for kind in _take(batches, min(2 * per_class, len(labels)))[: len(views)]]
        size = max(kind.shape[2:] for kind in kinds)
        images = torch.stack([in_colour(kind, size) for kind in kinds], 1).flatten(0, 1)
        headings = _view_names(served, views) * min(across, len(kinds[0]))
        return labelled_grid(images, across * len(views), title, headings=headings)
    if not served.class_names or not bool((labels >= 0).any()):
        return labelled_grid(shrunk(_take(batches, min(8 * per_class, len(labels)))[0]), per_class, title)
    found = _of_classes(batches, labels, served.class_names, per_class)
    if len(served.class_names) > CLASSES:
        title += f"\nthe first {CLASSES} of {len(served.class_names)} classes"
    counts = _counts(labels, served.class_names)
    names = [*served.class_names, "unlabeled"]
    rows = [f"{names[k]}\n{_share(counts.get(k, int((labels < 0).sum())), labels)}" for k in found]
    return labelled_grid(torch.cat(list(found.values())), per_class, title, rows)


def _of_classes(
    batches: Iterator[Batch], labels: Tensor, names: Sequence[str], per_class: int
) -> dict[int, Tensor]:
    """Return ``per_class`` images of each class, and unlabeled ones if there are any; white if missing."""
    wanted = {k: min(per_class, n) for k, n in list(_counts(labels, names).items())[:CLASSES]}
    if unlabeled := int((labels < 0).sum()):
        wanted[-1] = min(per_class, unlabeled)
    found: dict[int, list[Tensor]] = {k: [] for k in wanted}
    left = min(SEARCHED, len(labels))
    while left > 0 and any(len(found[k]) < wanted[k] for k in wanted):
        images, given = next(batches)[:2]
        left -= len(images)
        for k, own in found.items():
            own.extend(shrunk(images[given == k][: wanted[k] - len(own)]))
    white = next(torch.ones_like(own[0]) for own in found.values() if own)
    return {k: torch.stack(own + [white] * (per_class - len(own))) for k, own in found.items()}


def _take(batches: Iterator[Batch], samples: int) -> list[Tensor]:
    """Return the parts of batches, joined to so many samples."""
    taken: list[Batch] = []
    while (missing := samples - sum(len(batch[0]) for batch in taken)) > 0:
        taken.append([part[:missing] for part in next(batches)])
    return [torch.cat(parts) for parts in zip(*taken, strict=True)]


def _views(batch: Batch) -> list[Tensor]:
    """Return the parts of a batch that are data, not labels."""
    return [part for part in batch if part.is_floating_point()]


def _view_names(served: Served, views: Sequence[Tensor]) -> list[str]:
    if len(views) == 1:
        return ["images" if views[0].ndim == 4 else "vectors"]
    names = [*served.view_names][: len(views)]
    return names + [f"view {k + 1}" for k in range(len(names), len(views))]


def _counts(labels: Tensor, names: Sequence[str]) -> dict[int, int]:
    return dict(enumerate(labels[labels >= 0].bincount(minlength=len(names)).tolist()))


def _share(part: int, labels: Tensor) -> str:
    return f"{part:,} ({part / len(labels):.1%})"


def _split_sizes(data: DataModule, loader: Any) -> str:
    shared = data.has_test_split and data.val_fraction == 0 and data.val_split == "test"
    sizes = [f"{_sizes(loader)} training"]
    if data.val_fraction > 0 or (data.has_test_split and not shared):
        sizes.append(f"{_sizes(data.val_dataloader())} validation")
    if data.has_test_split:
        data.setup("test")
        sizes.append(f"{_sizes(data.test_dataloader())} test")
    return f"{', '.join(sizes)} samples{' (validation uses the test samples)' if shared else ''}"


def _parts(loader: Any) -> Sequence[BatchLoader]:
    """Return the loaders of the domains, if the loader joins several; else the loader itself."""
    return loader.loaders if isinstance(loader, ZipLoader) else [loader]


def _sizes(loader: Any) -> str:
    return " + ".join(f"{len(part.labels):,}" for part in _parts(loader))


def _tensor(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
