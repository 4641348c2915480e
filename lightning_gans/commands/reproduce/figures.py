"""The pictures of a table: its plot, and of each data set what the runs did while they trained."""

import warnings
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lightning_gans.callbacks import SampleGrid
from lightning_gans.commands.reproduce.cells import versions
from lightning_gans.commands.reproduce.plot import draw, draw_curves, title_of
from lightning_gans.commands.reproduce.results import Results
from lightning_gans.commands.reproduce.tables import Cell, DataSet, slug
from lightning_gans.drawing.histories import draw_histories
from lightning_gans.drawing.pixels import as_png
from lightning_gans.metrics.statistics import open_npz

COLUMNS = 5  # of samples over the training


def figures(results: Results) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of all pictures.

    ``plot.png``, ``curves.png`` of runs with several evaluations, and ``points.png`` or ``images.png`` of
    runs whose samples were drawn. If there are several data sets, the names of the latter end in theirs.
    """
    yield "plot.png", draw(results)
    data_sets = results.grid.budget.data.values()
    for data in data_sets:
        ending = f"-{slug(data.name)}.png" if len(data_sets) > 1 else ".png"
        if curves := draw_curves(results, data):
            yield f"curves{ending}", curves
        try:
            samples = draw_samples(results, data)
        except (OSError, ValueError, SyntaxError) as error:  # a damaged file
            warnings.warn(f"the samples of {data.name} are not drawn: {error}", stacklevel=2)
            continue
        if samples is not None:
            yield f"{samples[0]}{ending}", samples[1]


def draw_samples(results: Results, data: DataSet) -> tuple[str, bytes] | None:
    """Draw the samples of one run of each row at updates spread over its training.

    Returns:
        What they are, ``points`` or ``images``, and the bytes of a PNG; None if there are none.
    """
    found = dict[str, tuple[Cell, dict[int, Path]]]()
    for row in results.rows(data):
        for cell in results.finished(row.name, data.name):
            if row.name not in found and (files := stored(cell)):
                found[row.name] = cell, files
    if not found:
        return None
    histories = {name: {u: _read(path) for u, path in files.items()} for name, (_, files) in found.items()}
    seeds = {cell.seed for cell, _ in found.values()}
    title = title_of(results, data, f"seed {seeds.pop()}" if len(seeds) == 1 else "one run a row")
    *_, last = next(iter(found.values()))[1].values()
    real = _read(last, "real") if last.suffix == ".npz" else None
    return "images" if real is None else "points", as_png(draw_histories(histories, title, real))


def stored(cell: Cell) -> dict[int, Path]:
    """Return the files in which a run's ``SampleGrid`` left points, or else pictures, by update.

    A run that was killed and resumed has several folders; what it repeated counts once. Of many updates some
    are chosen, evenly spaced; the untrained game is left out if there are others.
    """
    folders = [version / SampleGrid.folder for version in versions(cell.folder)]
    for kind in ("npz", "png"):
        paths = {path.stem: path for folder in folders for path in folder.glob(f"update=*.{kind}")}
        names = sorted(paths)[len(paths) > 1 :]
        n = min(len(names), COLUMNS)
        chosen = [names[ceil((i + 1) * len(names) / n) - 1] for i in range(n)]
        if chosen:
            return {int(name.removeprefix("update=")): paths[name] for name in chosen}
    return {}


def _read(path: Path, what: str = "fake") -> Any:
    if path.suffix == ".png":
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.copy()
    with open_npz(path, "file of points") as file:
        return torch.from_numpy(file[what])
