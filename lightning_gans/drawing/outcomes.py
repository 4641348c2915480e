"""Distributions over outcomes, as RealnessGAN's discriminator gives them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from lightning_gans.drawing.style import FAKE, PAPER, REAL, new_figure, render, styled

DARK_REAL, DARK_FAKE = "#08264a", "#5a1d02"


def expected_realness(distributions: Any) -> Any:
    """Return sum_u u p(u) of distributions ``(..., N)`` over N outcomes u, evenly spaced from 0 to 1."""
    return np.asarray(distributions) @ np.linspace(0, 1, distributions.shape[-1], dtype=np.float32)


@styled
def draw_history(history: Mapping[int, Tensor], anchors: Tensor) -> Image.Image:
    """Draw anchors, distributions over outcomes at all updates, and the realness that is expected of them.

    Args:
        history: By generator update: mean distributions ``(2, N)`` of real and of generated images.
        anchors: A1 and A0, ``(2, N)``.
    """
    updates, both = list(history), torch.stack(list(history.values()), 1).numpy()
    figure = new_figure(840, 720)
    grid: Any = figure.add_gridspec(3, 2, width_ratios=(1, 4), height_ratios=(1, 1, 0.8))
    edges, outcomes = _edges(updates), np.arange(anchors.shape[1])
    below: Any = figure.add_subplot(grid[2, 1], title="expected realness, and that of the anchors (dashed)")
    kinds = (("real", "₁", REAL, DARK_REAL), ("fake", "₀", FAKE, DARK_FAKE))
    for row, (kind, index, colour, dark) in enumerate(kinds):
        past, anchor = both[row], anchors[row].numpy()
        side: Any = figure.add_subplot(grid[row, 0], title=f"A{index} (bars), now (line)", ylabel="outcome")
        side.barh(outcomes, anchor, height=0.86, color=colour, alpha=0.3)
        side.plot(past[-1], outcomes, color=colour, linewidth=1.6, marker="o", markersize=2.5)
        side.set(xlim=(0, None), ylim=(-0.5, len(outcomes) - 0.5))
        side.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        heat: Any = figure.add_subplot(grid[row, 1], title=f"D's mean distribution for {kind} samples")
        colours = LinearSegmentedColormap.from_list(kind, [PAPER, colour, dark])
        cells = heat.pcolormesh(
            edges, np.append(outcomes, len(outcomes)) - 0.5, past.T, cmap=colours, vmin=0, vmax=both.max()
        )
        heat.tick_params(labelleft=False, labelbottom=False)
        figure.colorbar(cells, ax=heat, pad=0.02, aspect=12, ticks=MaxNLocator(4))
        below.axhline(float(expected_realness(anchor)), color=colour, linewidth=1, linestyle=(0, (4, 3)))
        below.plot(updates, expected_realness(past), color=colour, linewidth=1.6, marker=".", label=kind)
    below.set(xlim=(edges[0], edges[-1]), xlabel="generator updates")
    below.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(loc="lower left", bbox_to_anchor=(0.05, 0.12))
    figure.suptitle(f"update {updates[-1]:,}", x=0.02, ha="left")
    return render(figure)


def _edges(updates: list[int]) -> Any:
    """Return where the columns of the updates begin and end: half-way between them."""
    places = np.asarray(updates, dtype=float)
    if len(places) == 1:
        return places[0] + np.array([-0.5, 0.5])
    middles = (places[1:] + places[:-1]) / 2
    return np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])
