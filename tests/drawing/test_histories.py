import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gans.drawing import histories, pairs
from lightning_gans.drawing.histories import draw_histories
from lightning_gans.drawing.pairs import draw_pairs


@pytest.fixture
def figures(monkeypatch):
    """What is drawn, in place of its pixels."""
    drawn = []
    for module in (histories, pairs):
        monkeypatch.setattr(module, "render", drawn.append)
    return drawn


def points(axes):
    """The coordinates of real and of generated points in a panel."""
    return [np.transpose(getattr(line, "get_data_3d", line.get_data)()) for line in axes.lines]


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_generated_points_lie_over_real_ones(figures, dim):
    real, fake = torch.rand(9, dim), torch.rand(4, dim) / 2 + 0.25
    real[:2] = torch.arange(2)[:, None]
    fake[0] = 40.0
    draw_histories({"A": {1: fake, 2: fake[1:]}, "B": {1: fake}}, "title", real)
    first, second, third, empty = figures[0].axes
    for axes, shown in ((first, fake[1:]), (second, fake[1:]), (third, fake[1:])):
        under, over = points(axes)
        assert np.allclose(under, real[:, :3])
        assert np.allclose(over, shown[:, :3])
    assert [text.get_text() for text in first.texts] == ["A", "1 outside"]
    assert [text.get_text() for text in second.texts] == []
    assert not empty.axison


def test_updates_stand_above_rows_that_have_others(figures):
    real, samples = torch.rand(5, 2), torch.rand(3, 2)
    same, other = dict.fromkeys((10, 2000), samples), dict.fromkeys((10, 500), samples)
    draw_histories({"A": same, "B": same, "C": other}, "title", real)
    titles = [axes.get_title() for axes in figures[0].axes]
    assert titles == ["update 10", "update 2,000", "", "", "update 10", "update 500"]


def test_pictures_of_images_keep_their_levels(figures):
    grey, colour = Image.new("L", (20, 10), 100), Image.new("RGB", (20, 10), (1, 2, 3))
    draw_histories({"A": {1: grey}, "B": {1: colour}}, "title")
    shown = [axes.images[0] for axes in figures[0].axes]
    assert shown[0].get_clim() == (0, 255)
    assert np.array_equal(shown[1].get_array(), np.asarray(colour))
    assert not figures[0].legends


def test_real_pictures_can_be_made():
    for dim in (2, 3):
        samples = torch.randn(9, dim)
        assert draw_histories({"A": {1: samples}}, "title", samples).size[0] > 200
        assert draw_pairs(samples, torch.full((9, dim), torch.nan), torch.ones(9), "title").size[0] > 200


@pytest.mark.parametrize("dim", [2, 3])
def test_lines_go_from_real_to_generated_points_and_show_the_weight(figures, dim):
    real, fake = torch.rand(3, dim), torch.rand(3, dim)
    draw_pairs(real, fake, torch.tensor([0.5, 1.0, 2.0]), "title")
    (lines,) = figures[0].axes[0].collections
    ends = np.array(lines._segments3d if dim == 3 else lines.get_segments())
    assert np.allclose(ends, torch.stack([real, fake], 1))
    assert list(lines.get_linewidths()) == sorted(lines.get_linewidths())
    assert lines.get_array().tolist() == [0.5, 1.0, 2.0]
