"""Look at a data set: a labelled contact sheet, counts, classes, images a second."""

import math
import textwrap
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from matplotlib import colormaps, patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from lightning_gans.commands.parsing import call
from lightning_gans.data.base import DataModule
from lightning_gans.data.loader import BatchLoader, ZipLoader
from lightning_gans.data.sources import MappedImages, TensorImages
from lightning_gans.drawing.pictures import INK, PAPER, Scatter, font, to_bytes

Batch = Sequence[Tensor]

SMALL, LARGE, LARGE_VIEW = 64, 96, 128
"""Images grow to about the first; those beyond the second (the third, beside another view) shrink to it."""
CLASSES, UNLABELED_ROWS, POINTS, MOST = 16, 8, 4000, 100
SEARCHED = 25_000
"""Training images that are looked through for rare classes."""
TABLE, TABLE_WIDTH = 100, 100
FAINT, LINE = "#7a8088", "#c4c9cf"
MARGIN, GAP, GROUP_GAP, HEADER = 16, 5, 15, 50


def run(arguments: list[str]) -> None:
    """Run ``preview`` with arguments from the command line."""
    call(preview, arguments)


def preview(
    data: LightningDataModule, out: str = "preview.png", per_class: int = 8, seconds: float = 2.0
) -> None:
    """Look at training data as the network will see it: a sheet of images, and a report.

    Args:
        data: The data.
        out: Where the sheet goes: a ``.png``. A row a class, a grid of unlabeled images, inputs beside their
            targets, or a scatter plot of points.
        per_class: Images of a class, or in a row of unlabeled ones, 1 to 100; of pairs twice as many.
        seconds: How long the speed of the training loader is measured.

    Raises:
        ValueError: If an argument is out of range, or the data is neither images nor vectors.
        TypeError: If ``data`` is no data module of lightning_gans.
    """
    path = Path(out)
    if path.suffix.lower() != ".png":
        raise ValueError(f"out={out}: give a .png")
    if path.is_dir():
        raise ValueError(f"out={out} is a folder: give the name of a .png")
    if not 1 <= per_class <= MOST:
        raise ValueError(f"per_class={per_class} must be from 1 to {MOST} images")
    if not 0 < seconds < math.inf:
        raise ValueError(f"seconds={seconds} must be a positive number")
    if not isinstance(data, DataModule):
        raise TypeError(f"data={type(data).__name__}: give a data module of lightning_gans")
    data.drop_last = False  # a small folder can be looked at too
    data.prepare_data()
    data.setup("fit")
    loader = data.train_dataloader()
    # One stream for all: workers start once.
    batches = endless(loader)
    try:
        first = next(batches)
        sheet = contact_sheet(data, loader, chain([first], batches), per_class)
        rate = images_per_second(batches, seconds)
    finally:
        batches.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    print(report(data, loader, first, rate))
    print(f"sheet    {out}")


def endless(loader: Iterable[Batch]) -> Generator[Batch, None, None]:
    """Yield the batches of one epoch after the other.

    Raises:
        ValueError: If an epoch has none.
    """
    while True:
        served = False
        for batch in loader:
            served = True
            yield batch
        if not served:
            raise ValueError("the training loader serves no batch: lower batch_size, or use more data")


def images_per_second(batches: Iterator[Batch], seconds: float) -> float:
    """Measure an endless loader: the median rate of up to five windows, after a warm-up.

    Args:
        batches: Endless. At least 9 batches are taken, however slow they are.
        seconds: Taken by the warm-up (a fifth) and the windows together.
    """
    begin, warm = time.perf_counter(), 0
    while warm < 5 or time.perf_counter() - begin < seconds / 5:  # what was fetched ahead does not count
        next(batches)
        warm += 1
    ticks: list[float] = [time.perf_counter()]
    sizes: list[int] = []
    while len(sizes) < 4 or ticks[-1] - ticks[0] < seconds * 0.8:
        sizes.append(len(next(batches)[0]))
        ticks.append(time.perf_counter())
    # Workers deliver in bursts: a window needs several batches.
    windows = min(5, len(sizes) // 4)
    edges = [i * len(sizes) // windows for i in range(windows + 1)]
    return median(sum(sizes[a:b]) / max(ticks[b] - ticks[a], 1e-9) for a, b in pairwise(edges))


# The report


def report(data: DataModule, loader: Any, batch: Batch, rate: float) -> str:
    """Describe data in a few lines: sizes, a batch, class balance, how it is served and how fast.

    Args:
        data: After ``setup("fit")``.
        loader: Its training loader.
        batch: One of the loader's.
        rate: Samples per second of the loader.
    """
    lines, views = [f"{type(data).__name__}: {_split_sizes(data, loader)}"], _views(batch)
    for name, view in zip(_view_names(data, batch), views, strict=True):
        low, high, mean = view.min().item(), view.max().item(), view.mean().item()
        head = "batch    " if view is views[0] else " " * 9
        lines.append(f"{head}{name}: {_tensor(view)}, from {low:.3g} to {high:.3g}, mean {mean:.3g}")
    if not batch[-1].is_floating_point():
        lines.append(f"         labels: {_tensor(batch[-1])}")
    lines += class_balance(_parts(loader)[0].labels, data.class_names)
    lines += [f"served   {_served(part)}" for part in _parts(loader)]
    what = "images" if len(views) == 1 and views[0].ndim == 4 else "samples" if len(views) != 2 else "pairs"
    lines.append(f"speed    {_three_digits(rate)} {what}/s")
    return "\n".join(lines)


def class_balance(labels: Tensor, names: Sequence[str]) -> list[str]:
    """Count classes: a line with the least and the most samples of one, and a table.

    Args:
        labels: int64 (N,), -1 for unlabeled.
        names: The classes.
    """
    unlabeled = int((labels < 0).sum())
    if not names:
        return [f"classes  none: {unlabeled:,} unlabeled samples"]
    counts = _counts(labels, names)
    size = f"{min(counts):,} to {max(counts):,}" if min(counts) < max(counts) else f"{counts[0]:,}"
    lines = [f"classes  {len(names)}, of {size} samples; {unlabeled:,} unlabeled"]
    order = list(range(len(names)))
    if len(order) > TABLE:
        order = sorted(sorted(order, key=lambda k: counts[k])[:TABLE])
        lines[0] += f"; the {TABLE} smallest:"
    widest = min(24, max(len(names[k]) for k in order))
    digits = len(f"{max(counts):,}")
    cells = [
        f"{_shorten(names[k], widest):{widest}}  {counts[k]:{digits},} {_share(counts[k], len(labels)):>6}"
        for k in order
    ]
    columns = max(1, TABLE_WIDTH // (len(cells[0]) + 5))
    height = math.ceil(len(cells) / columns)
    return lines + ["         " + "     ".join(cells[row::height]) for row in range(height)]


def _split_sizes(data: DataModule, loader: Any) -> str:
    shared = data.has_test_split and data.val_fraction == 0 and data.val_split == "test"
    sizes = [f"{_sizes(loader)} training"]
    if data.val_fraction > 0 or (data.has_test_split and not shared):
        sizes.append(f"{_sizes(data.val_dataloader())} validation")
    if data.has_test_split:
        data.setup("test")
        sizes.append(f"{_sizes(data.test_dataloader())} test")
    return f"{', '.join(sizes)} samples{' (validation uses the test samples)' if shared else ''}"


def _served(loader: BatchLoader) -> str:
    stored, workers = loader.data, getattr(loader, "num_workers", 0)
    by = f" by {workers} worker{'s' * (workers != 1)}" if workers else ""
    size, kind = len(stored) * math.prod(stored.shape), "uint8"
    if isinstance(stored, Tensor):
        size, kind, how = stored.nbytes, _dtype(stored), "from memory"
    elif isinstance(stored, MappedImages):
        how = "from a memory-mapped file" + by
    elif isinstance(stored, TensorImages):
        how = "from memory" + by
    else:
        how, kind = "decoded for every batch" + by, "uint8 if they were kept"
    cut = f", cut to {loader.crop}x{loader.crop} at random" if loader.crop else ""
    return f"{how}: {_bytes(size)} as {kind}{cut}{', mirrored at random' if loader.flip else ''}"


def _share(part: int, whole: int) -> str:
    return "<0.1%" if 0 < part < whole / 1000 else f"{part / max(whole, 1):.1%}"


def _bytes(number: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.4g} {unit}"
        number /= 1000
    return f"{number:.4g} GB"


def _three_digits(rate: float) -> str:
    unit = 10 ** max(0, math.floor(math.log10(max(rate, 1e-9))) - 2)
    return f"{round(rate / unit) * unit:,}" if rate >= 10 else f"{rate:.2g}"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _tensor(tensor: Tensor) -> str:
    return f"{_dtype(tensor)} {tuple(tensor.shape)}"


# The sheet


@dataclass(frozen=True)
class Row:
    """One line of a sheet: what is written at the left, and pictures."""

    pictures: Sequence[Image.Image]
    name: str = ""
    detail: str = ""


def contact_sheet(data: DataModule, loader: Any, batches: Iterator[Batch], per_class: int = 8) -> Image.Image:
    """Draw samples of training batches.

    Labelled images come in a row a class (the first 16 classes, and a row of unlabeled ones), others in a
    grid; image-to-image data side by side under the names of the views; vectors as a scatter plot coloured
    by class. Small images are enlarged without smoothing, large ones shrink.

    Args:
        data: After ``setup("fit")``.
        loader: Its training loader.
        batches: The loader's, endless. For rare classes an epoch is looked through, or 25,000 images of it.
        per_class: Images of a class, or in a row of a grid; half the number of pairs.

    Returns:
        The picture, in mode ``RGB``.

    Raises:
        ValueError: If batches are neither images (N, C, H, W) nor vectors (N, d) with d > 1.
    """
    first = next(batches)
    batches = chain([first], batches)
    labels = _parts(loader)[0].labels
    if first[0].ndim != 4 and (first[0].ndim != 2 or first[0].shape[1] < 2):
        raise ValueError(
            f"{type(data).__name__} serves batches {tuple(first[0].shape)}: only images (N, C, H, W) and "
            "vectors (N, d) of 2 or more dimensions can be drawn"
        )
    shapes = " and ".join(dict.fromkeys(_shape(view) for view in _views(first)))
    title, about = type(data).__name__, f"{_sizes(loader)} training samples, {shapes}"
    if first[0].ndim == 2:
        shown = min(POINTS, len(labels))
        return _scatter(title, f"{shown:,} of {about}", batches, shown)
    odd = dict.fromkeys(view.shape[1] for view in _views(first) if view.shape[1] not in (1, 3))
    notes = [f"{n} channels: {'drawn in red and green' if n == 2 else 'the first 3 are drawn'}" for n in odd]
    if len(_views(first)) > 1:
        names = _view_names(data, first)
        across = max(1, 8 // len(names))
        rows = _view_rows(batches, min(2 * per_class, len(labels)), across)
        return draw_sheet(rows, title, about, notes, names)
    if not data.class_names or not bool((labels >= 0).any()):
        wanted = per_class * UNLABELED_ROWS
        pictures = [
            picture for batch in _take(batches, min(wanted, len(labels))) for picture in _pictures(batch[0])
        ]
        return draw_sheet([Row(part) for part in _split(pictures, per_class)], title, about, notes)
    rows, more = _class_rows(batches, labels, data.class_names, per_class)
    return draw_sheet(rows, title, about, more + notes)


def _class_rows(
    batches: Iterator[Batch], labels: Tensor, names: Sequence[str], per_class: int
) -> tuple[list[Row], list[str]]:
    counts = dict(enumerate(_counts(labels, names)[:CLASSES]))
    if unlabeled := int((labels < 0).sum()):
        counts[-1] = unlabeled
    wanted = {k: min(per_class, count) for k, count in counts.items()}
    found: dict[int, list[Image.Image]] = {k: [] for k in wanted}
    seen, most = 0, min(SEARCHED, len(labels))
    for images, given, *_ in batches:
        for image, k in zip(images, given.tolist(), strict=True):
            if k in found and len(found[k]) < wanted[k]:
                found[k] += _pictures(image[None])  # at once: a part of a batch would keep all of it
        seen += len(images)
        if seen >= most or all(len(found[k]) >= wanted[k] for k in found):
            break
    rows = []
    for k, pictures in found.items():
        name = names[k] if k >= 0 else "unlabeled"
        detail = f"{counts[k]:,}  ({_share(counts[k], len(labels))})"
        rows.append(Row(pictures, name, detail))
    notes = []
    if len(names) > CLASSES:
        notes.append(f"the first {CLASSES} of {len(names)} classes")
    rare = [names[k] if k >= 0 else "unlabeled" for k in found if len(found[k]) < wanted[k]]
    if rare:
        notes.append(f"too few among the first {seen:,} training images: {', '.join(rare)}")
    return rows, notes


def _view_rows(batches: Iterator[Batch], wanted: int, across: int) -> list[Row]:
    groups = [
        group
        for batch in _take(batches, wanted)
        for group in zip(*(_pictures(view, LARGE_VIEW) for view in _views(batch)), strict=True)
    ]
    return [Row(list(chain.from_iterable(part))) for part in _split(groups, across)]


def _take(batches: Iterator[Batch], samples: int) -> Iterator[Batch]:
    """Yield batches of so many samples in total."""
    while samples > 0:
        batch = [part[:samples] for part in next(batches)]
        samples -= len(batch[0])
        yield batch


def _pictures(images: Tensor, largest: int = LARGE) -> list[Image.Image]:
    """Turn images (n, C, H, W) in [-1, 1] into pictures of a size to look at."""
    pixels = to_bytes(images.detach().float().cpu().nan_to_num(-1.0, 1.0, -1.0))
    if pixels.shape[1] == 2:
        pixels = torch.cat([pixels, torch.zeros_like(pixels[:, :1])], 1)
    pixels = pixels[:, :3].expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    height, width = pixels.shape[1:3]
    side = max(height, width)
    if side <= largest:
        scale, how = float(max(1, round(SMALL / side))), Image.Resampling.NEAREST
    else:
        scale, how = largest / side, Image.Resampling.LANCZOS
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return [Image.fromarray(image).resize(size, how) for image in pixels.contiguous().numpy()]


def draw_sheet(
    rows: Sequence[Row], title: str, about: str, notes: Sequence[str] = (), headings: Sequence[str] = ()
) -> Image.Image:
    """Arrange rows of pictures on white paper.

    Args:
        rows: From above. A row without pictures keeps its place.
        title: The line above.
        about: A fainter line under it.
        notes: Lines below.
        headings: Written above the columns, again and again; the columns stand in groups of so many.
    """
    pictures = [picture for row in rows for picture in row.pictures]
    width, height = max(p.width for p in pictures), max(p.height for p in pictures)
    named = any(row.name for row in rows)
    names = [_fit(row.name, 15, 180) for row in rows]
    left = MARGIN
    if named:
        left += 14 + math.ceil(
            max(
                *(font(15).getlength(name) for name in names),
                *(font(11).getlength(row.detail) for row in rows),
            )
        )
    group = len(headings) or max(len(row.pictures) for row in rows)
    places = [
        left + j * (width + GAP) + j // group * GROUP_GAP for j in range(max(len(r.pictures) for r in rows))
    ]
    across = max(
        places[-1] + width + MARGIN,
        *(2 * MARGIN + math.ceil(font(s).getlength(text)) for s, text in ((18, title), (12, about))),
    )
    lines = [line for note in notes for line in textwrap.wrap(note, max(20, (across - 2 * MARGIN) // 7))]
    top = MARGIN + HEADER + (22 if headings else 0)
    below = top + len(rows) * (height + GAP) - GAP
    sheet = Image.new("RGB", (across, below + MARGIN + (17 * len(lines) + 6 if lines else 0)), PAPER)
    pen = ImageDraw.Draw(sheet)
    _write_title(pen, title, about)
    for j, x in enumerate(places if headings else ()):
        heading = _fit(headings[j % group], 13, width)
        pen.text((x + width / 2, top - 7), heading, fill=INK, font=font(13), anchor="ms")
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = top + i * (height + GAP)
        if named:
            pen.text((MARGIN, y + height / 2 - 1), name, fill=INK, font=font(15), anchor="ls")
            pen.text((MARGIN, y + height / 2 + 5), row.detail, fill=FAINT, font=font(11), anchor="lt")
        for x, picture in zip(places, row.pictures, strict=False):
            # White images on white paper need a frame.
            pen.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=LINE)
            sheet.paste(picture, (x, y))
        if not row.pictures:
            pen.text((left, y + height / 2), "none", fill=FAINT, font=font(12), anchor="lm")
    for i, line in enumerate(lines):
        pen.text((MARGIN, below + 12 + 17 * i), line, fill=FAINT, font=font(12), anchor="lt")
    return sheet


def _scatter(title: str, about: str, batches: Iterator[Batch], shown: int) -> Image.Image:
    points, labels = (torch.cat(parts) for parts in zip(*_take(batches, shown), strict=True))
    points = points[:, :3].float()
    figure = Figure(figsize=(6.0, 6.2), dpi=100, facecolor=PAPER)
    canvas: Any = FigureCanvasAgg(figure)  # has few types
    flat = points.shape[1] == 2
    axes: Any = figure.add_axes((0.08, 0.05, 0.89, 0.85), projection=None if flat else "3d")
    # The axes of the pictures that training draws.
    limits = Scatter(points, real=False).limits
    axes.set(**{f"{name}lim": limit for name, limit in zip("xyz", limits, strict=False)})
    for k in labels.unique().tolist():
        cloud = points[labels == k].numpy()
        style = {"color": _colour(k), "alpha": 0.6, "markersize": 3, "markeredgewidth": 0}
        axes.plot(*cloud.T, linestyle="none", marker="o", **style)
        if k >= 0:
            _write(axes, str(k), cloud.mean(0))
    axes.tick_params(labelsize=8, colors=INK, length=3, width=0.6)
    for side in axes.spines.values():
        side.set(color="#aaaaaa", linewidth=0.6)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3].copy())
    _write_title(ImageDraw.Draw(picture), title, about)
    return picture


def _colour(label: int) -> Any:
    # Neighbours among the modes differ: strong colours first, then the pale ones.
    return colormaps["tab20"](2 * (label % 10) + label // 10 % 2) if label >= 0 else "#b4bac2"


def _write(axes: Any, text: str, place: Any) -> None:
    """Write a number beside a point."""
    halo = [patheffects.withStroke(linewidth=2.5, foreground=PAPER)]
    style = {"fontsize": 9, "color": INK, "path_effects": halo}
    if len(place) == 2:
        axes.annotate(text, place, xytext=(7, 7), textcoords="offset points", **style)
    else:
        axes.text(*place, text, **style)


def _write_title(pen: ImageDraw.ImageDraw, title: str, about: str) -> None:
    pen.text((MARGIN, MARGIN), title, fill=INK, font=font(18), anchor="lt")
    pen.text((MARGIN, MARGIN + 24), about, fill=FAINT, font=font(12), anchor="lt")


# Both


def _views(batch: Batch) -> list[Tensor]:
    """Return the parts of a batch that are data, not labels."""
    return [part for part in batch if part.is_floating_point()]


def _view_names(data: DataModule, batch: Batch) -> list[str]:
    views = _views(batch)
    if len(views) == 1:
        return ["images" if views[0].ndim == 4 else "vectors"]
    names = [*getattr(data, "view_names", ()), "input", "target"][: len(views)]
    return names + [f"view {k + 1}" for k in range(len(names), len(views))]


def _counts(labels: Tensor, names: Sequence[str]) -> list[int]:
    counts: list[int] = labels[labels >= 0].bincount(minlength=len(names)).tolist()
    return counts


def _parts(loader: Any) -> Sequence[BatchLoader]:
    """Return the loaders that a loader of several domains joins."""
    return loader.loaders if isinstance(loader, ZipLoader) else [loader]


def _sizes(loader: Any) -> str:
    return " + ".join(f"{len(part.labels):,}" for part in _parts(loader))


def _shape(view: Tensor) -> str:
    if view.ndim == 2:
        return f"{view.shape[1]} dimensions"
    channels, height, width = view.shape[1:]
    return f"{height}x{width} {({1: 'grey', 3: 'colour'}).get(channels, f'({channels} channels)')}"


def _split(items: Sequence[Any], length: int) -> list[Sequence[Any]]:
    return [items[i : i + length] for i in range(0, len(items), length)]


def _shorten(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _fit(text: str, size: int, width: float) -> str:
    """Shorten a text until it is no wider than some pixels."""
    shown = text
    while len(shown) > 1 and font(size).getlength(shown) > width:
        shown = shown.removesuffix("…")[:-1] + "…"
    return shown
