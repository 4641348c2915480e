import pytest
import torch

from lightning_gans.drawing import queries
from lightning_gans.drawing.queries import draw_label_curves, draw_queries


@pytest.fixture
def figures(monkeypatch):
    """What is drawn, in place of its pixels."""
    drawn = []
    monkeypatch.setattr(queries, "render", drawn.append)
    return drawn


def test_each_image_has_its_caption(figures):
    images = torch.linspace(-1, 1, 13).view(13, 1, 1, 1).expand(13, 1, 4, 4)
    draw_queries(images, [f"cost $\n{i}" for i in range(13)], "title")
    shown = [axes for axes in figures[0].axes if axes.images]
    assert [axes.title.get_text() for axes in shown] == [f"cost $\n{i}" for i in range(13)]
    levels = [int(axes.images[0].get_array()[0, 0, 0]) for axes in shown]
    assert levels == pytest.approx([i * 255 / 12 for i in range(13)], abs=1)
    assert len(figures[0].axes) == 20  # two rows


def test_curves_in_percent_named_where_they_have_names(figures):
    draw_label_curves({"": {10: 0.5, 12: 0.75}}, "title")
    draw_label_curves({"raw": {10: 0.5}, "p05": {10: 0.6}}, "title")
    (alone,), (both,) = (figure.axes for figure in figures)
    assert alone.lines[0].get_xydata().tolist() == [[10, 50], [12, 75]]
    assert alone.get_legend() is None
    assert [text.get_text() for text in both.get_legend().get_texts()] == ["raw", "p05"]


def test_pictures():
    picture = draw_queries(torch.zeros(2, 3, 8, 8), ["a", "b"], "title")
    assert picture.mode == "RGB"
    assert picture.height < picture.width
    assert draw_label_curves({"": {10: 0.5}}, "title").width > 300
