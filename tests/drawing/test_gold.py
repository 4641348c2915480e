import numpy as np
import pytest
import torch

from lightning_gans.drawing import gold
from lightning_gans.drawing.gold import draw_gold


@pytest.fixture
def figures(monkeypatch):
    """What is drawn, in place of its pixels."""
    drawn = []
    monkeypatch.setattr(gold, "render", drawn.append)
    return drawn


HISTORY = {10: torch.arange(18.0).view(2, 3, 3), 20: -torch.arange(18.0).view(2, 3, 3)}
GAP = torch.randn(40, generator=torch.Generator().manual_seed(0))


def test_lines_are_the_means_and_bands_the_quantiles(figures):
    draw_gold(
        HISTORY, {10: 1.0, 20: 2.0}, {"p05": {20: 0.9}, "p0": {10: 0.5}}, torch.randn(40, 2), GAP, mark=15
    )
    panels = figures[0].axes[:5]
    for term, axes in enumerate(panels[:3]):
        _, real, generated, _ = axes.lines
        assert real.get_ydata().tolist() == [3 * term, -3 * term]
        assert generated.get_ydata().tolist() == [9 + 3 * term, -9 - 3 * term]
        ends = axes.collections[0].get_paths()[0].vertices
        assert {(10, 3 * term + 1), (10, 3 * term + 2), (20, -3 * term - 2)} <= set(map(tuple, ends))
    assert panels[3].lines[0].get_ydata().tolist() == [1, 2]
    assert [line.get_ydata()[0] for line in panels[4].lines[:2]] == [90, 50]
    assert all(axes.lines[-1].get_xdata() == [15, 15] for axes in panels)


def test_samples_of_both_ends_stand_beside_their_scores(figures):
    images = torch.linspace(-1, 1, 40)[:, None, None, None].expand(-1, 1, 8, 8)
    labels = torch.arange(40) % 4
    draw_gold(HISTORY, {10: 1.0}, {}, images, GAP, labels)
    of_class, *rows = figures[0].axes[4:]
    means = [float(GAP[labels == c].mean()) for c in range(4)]
    assert np.allclose(of_class.lines[1].get_ydata(), means)
    order = GAP.argsort()
    shown = [[text.get_text() for text in axes.get_xticklabels()] for axes in rows]
    for texts, places in zip(
        shown, [order[:8], order[8:16], order.flip(0)[:8], order.flip(0)[8:16]], strict=True
    ):
        assert texts == [f"{labels[i]}: {GAP[i]:+.1f}" for i in places]
    levels = np.asarray(rows[0].images[0].get_array())[20, 20::50][:8]
    assert np.allclose(levels, (images[order[:8], 0, 0, 0] + 1) * 127.5, atol=1)


def test_pictures_can_be_made_of_whatever_there_is():
    marginal = {update: stats[:, :1] for update, stats in HISTORY.items()}
    assert draw_gold(marginal, {}, {}, torch.rand(40, 1), GAP).width > 800
    nothing = {10: torch.full((2, 3, 3), torch.nan)}
    assert draw_gold(nothing, {10: 0.0}, {}, torch.rand(40, 3, 8, 8), GAP, torch.zeros(40)).width > 800
