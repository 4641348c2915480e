"""GOLD's terms over the training, and the samples that they single out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from lightning_gans.drawing.grids import image_grid
from lightning_gans.drawing.scatter import value_range
from lightning_gans.drawing.style import FAKE, GREY, INK, REAL, new_figure, render, styled

GAPS = LinearSegmentedColormap.from_list("gaps", [FAKE, "#e4e4e4", REAL])
COLUMNS, ROWS = 8, 2  # samples that are shown of each end of the scores
KINDS = (("real", REAL), ("generated", FAKE))
TERMS = (
    r"marginal term $\ell$",
    r"conditional term: $\log D_C(c|x)$ of generated samples, $-\log D_C(c|x)$ of real ones",
    r"their sum $d$",
)


@styled
def draw_gold(
    history: Mapping[int, Tensor],
    ratios: Mapping[int, float],
    capacity: Mapping[str, Mapping[int, float]],
    images: Tensor,
    gap: Tensor,
    labels: Tensor | None = None,
    mark: float | None = None,
) -> Image.Image:
    """Draw the terms over the training, and beside them the classes and samples with the largest gaps now.

    Args:
        history: By generator update ``(2, terms, 3)``, the mean and the 10 % and 90 % quantiles of each term,
            of real and of generated samples. Terms are the marginal one alone, or marginal, conditional and
            their sum. NaN where there are no such samples.
        ratios: By update the factor of the conditional term in the balanced estimator; empty without it.
        capacity: By name and update fitting capacities in [0, 1]; empty if none was measured.
        images: Generated samples now: images ``(n, C, H, W)`` in [-1, 1], or vectors ``(n, d)``.
        gap: ``(n,)`` their estimates d.
        labels: ``(n,)`` their classes, if they have any.
        mark: The update from which on GOLD weighs the samples: a dashed line.
    """
    updates, stats = list(history), torch.stack(list(history.values())).numpy()
    heights = [1.0] * stats.shape[2] + [0.6] * bool(ratios) + [0.9] * bool(capacity)
    figure = new_figure(1180, round(max(520, 90 + 165 * sum(heights))))
    both: Any = figure.add_gridspec(1, 2, width_ratios=(1.2, 1))
    panels = both[0].subgridspec(len(heights), 1, height_ratios=heights).subplots(sharex=True, squeeze=False)
    for term, axes in enumerate(panels[: stats.shape[2], 0]):
        axes.set(title=TERMS[term], ylabel="nats")
        axes.axhline(0, color=GREY, linewidth=0.8)
        for kind, (name, colour) in enumerate(KINDS):
            mean, low, high = stats[:, kind, term].T
            axes.fill_between(updates, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(updates, mean, color=colour, linewidth=1.6, marker=".", label=name)
    if ratios:
        axes = panels[stats.shape[2], 0]
        axes.plot(list(ratios), list(ratios.values()), color=FAKE, linewidth=1.4, marker=".")
        axes.set(
            title=r"balance $\rho=\sigma(\ell)\,/\,\sigma(\log D_C)$ of generated samples", ylim=(0, None)
        )
    if capacity:
        axes = panels[-1, 0]
        for name, scores in capacity.items():
            values = [100 * score for score in scores.values()]
            axes.plot(list(scores), values, linewidth=1.4, marker=".", label=name)
        axes.set(title="fitting capacity", ylabel="%")
        if len(capacity) > 1:
            axes.legend(loc="lower right")
    for axes in panels[:, 0]:
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if mark is not None:
            axes.axvline(mark, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    panels[-1, 0].set_xlabel("generator updates")
    panels[-1, 0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _draw_now(figure, both[1], images, gap, labels)
    title = f"update {updates[-1]:,}   ·   lines: means, bands: 10 to 90 % of the samples"
    title += "" if mark is None else f"   ·   dashed: weights begin at {mark:,.0f}"
    figure.suptitle(title, x=0.02, ha="left")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="upper right", ncols=2)
    return render(figure)


def _draw_now(figure: Any, place: Any, images: Tensor, gap: Tensor, labels: Tensor | None) -> None:
    """Draw d class by class, and the samples with the least and the greatest d; vectors coloured by d."""
    shown = images.dim() == 4
    heights = [2.2] * (labels is not None) + ([1.0] * 2 * ROWS if shown else [4.0])
    panels = iter(place.subgridspec(len(heights), 1, height_ratios=heights).subplots(squeeze=False)[:, 0])
    if labels is not None:
        axes = next(panels)
        axes.axhline(0, color=GREY, linewidth=0.8)
        of_class = {int(c): gap[labels == c].numpy() for c in labels.unique()}
        ends = np.array([np.quantile(gaps, (0.1, 0.9)) for gaps in of_class.values()])
        axes.vlines(list(of_class), *ends.T, color=FAKE, alpha=0.3, linewidth=5)
        axes.plot(list(of_class), [gaps.mean() for gaps in of_class.values()], "o", color=FAKE, markersize=5)
        axes.set(title="$d$ of generated samples, by class", xlabel="class", ylabel="nats")
        axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    if not shown:
        _draw_points(figure, next(panels), images, gap)
        return
    order = gap.argsort()
    for title, chosen in (
        ("least $d$: too many like these, or of another class", order),
        ("greatest $d$: too few like these", order.flip(0)),
    ):
        for row in chosen[: ROWS * COLUMNS].split(COLUMNS):
            axes = next(panels)
            _draw_row(axes, images[row], gap[row], None if labels is None else labels[row])
            axes.set_title(title)
            title = ""


def _draw_row(axes: Any, images: Tensor, gap: Tensor, labels: Tensor | None) -> None:
    """Draw images in a row, with class and d under each."""
    grid = image_grid(images, COLUMNS)
    axes.imshow(grid, "gray", vmin=0, vmax=255, interpolation="nearest")
    names = [f"{d:+.1f}" for d in gap.tolist()]
    if labels is not None:
        names = [f"{c}: {name}" for c, name in zip(labels.tolist(), names, strict=True)]
    cell = grid.width / len(images)
    axes.set_xticks([(i + 0.5) * cell for i in range(len(images))], names)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_points(figure: Any, axes: Any, points: Tensor, gap: Tensor) -> None:
    """Draw the first two coordinates of vectors ``(n, d)``, in blue where d is above 0, orange below."""
    low, high = value_range(gap, signed=True)
    x, y = torch.nn.functional.pad(points, (0, 1))[:, :2].T
    dots = axes.scatter(x, y, s=9, c=gap, cmap=GAPS, vmin=low, vmax=high, linewidths=0)
    axes.set_title("generated samples, by $d$: below 0 too many, above 0 too few")
    axes.set_aspect("equal", "datalim")
    figure.colorbar(dots, ax=axes, aspect=35, pad=0.02)
