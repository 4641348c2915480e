import numpy as np
import pytest
import torch

from lightning_gans.drawing.scatter import Scatter, labelled_points


def place(axes, x, y):
    """Return row and column of the pixel at a point of the axes."""
    across, up = axes.transData.transform((x, y))
    return round(axes.figure.bbox.height - up), round(across)


@pytest.fixture
def plot():
    return Scatter(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))


@pytest.mark.parametrize("axis", [0, 1])
def test_scatter_paints_the_landscape_the_right_way_up(plot, axis):
    picture = np.asarray(plot.draw(torch.zeros(1, 2), "title", plot.mesh()[:, axis]).convert("L"))
    ends = [(end, 0.3) if axis == 0 else (0.3, end) for end in (-1.15, 1.15)]
    low, high = (picture[place(plot.axes, *end)] for end in ends)
    assert high > low + 30


def test_scatter_puts_points_where_they_are(plot):
    middle = place(plot.axes, 0.0, 0.0)
    red, _, blue = np.asarray(plot.draw(torch.tensor([[0.0, 0.0]]), "")).astype(int)[middle]
    assert red > blue + 60
    red, _, blue = np.asarray(plot.draw(torch.tensor([[1.0, 1.0]]), "")).astype(int)[middle]
    assert red == blue  # nothing is left of the last picture


def test_points_that_the_axes_do_not_show_are_counted(plot):
    plot.draw(torch.tensor([[0.0, 0.0], [9.0, 0.0]]), "title")
    assert plot.title.get_text().endswith("1 fake points outside")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_scatter_survives_scores_and_points_that_are_not_finite(bad, plot):
    plot.draw(torch.full((3, 2), bad), "", torch.full((plot.resolution**2,), bad))
    Scatter(torch.randn(9, 3)).draw(torch.full((3, 3), bad), "")
    Scatter(torch.full((3, 2), bad), real=False).draw(torch.full((3, 2), bad), "")


@pytest.mark.parametrize("dim", [2, 3])
def test_points_are_in_the_colours_of_their_labels(dim):
    picture = labelled_points(torch.randn(3000, dim) * 0.1, torch.arange(3000) % 2 - 1, "title")
    pixels = np.asarray(picture).astype(int)
    blue = pixels[..., 2] > pixels[..., 0] + 60
    grey = (abs(pixels[..., 2] - pixels[..., 0]) < 5) & (pixels[..., 0] < 210)
    assert blue.sum() > 300
    assert grey.sum() > 300
