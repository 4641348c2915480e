import math

import numpy as np
import pytest
import torch

from lightning_gans.drawing.fields import FieldPlot, FieldView, bounded, one_a_square, typical_length
from tests.drawing.test_scatter import place


def test_long_arrows_are_cut_and_keep_their_direction():
    vectors = torch.tensor([[3.0, 4.0], [0.3, 0.4], [30.0, 40.0], [0.0, 0.0]])
    expected = torch.tensor([[0.6, 0.8], [0.06, 0.08], [0.6, 0.8], [0.0, 0.0]])
    assert torch.allclose(bounded(vectors, 5.0, 1.0), expected)
    assert torch.equal(bounded(torch.zeros(2, 2), 0.0, 1.0), torch.zeros(2, 2))


def test_a_few_wild_forces_do_not_set_the_scale():
    vectors = torch.ones(100, 2)
    vectors[:9] = 1e6
    assert typical_length(vectors) == pytest.approx(math.sqrt(2))


def test_at_most_one_arrow_a_square():
    points = torch.tensor([[0.1, 0.1], [0.9, 0.9], [1.1, 0.1], [-0.1, 0.1], [0.2, 0.2]])
    assert sorted(one_a_square(points, 1.0).tolist()) == [0, 2, 3]


def test_colours_and_arrows_are_where_the_field_is():
    plot = FieldPlot(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), panels=1, signed=True)
    here = torch.tensor([[0.0, 0.0]])

    def picture(force):
        still = torch.zeros(plot.lattice_side**2, 2)
        view = FieldView("", plot.mesh()[:, 0], still, torch.tensor([force]))
        return np.asarray(plot.draw(here, "", [view])).astype(int)

    axes = plot.axes[0]
    pixels = picture([1.0, 0.0])
    left, right = (pixels[place(axes, x, 0.4)] for x in (-1.3, 1.3))
    assert left[0] > left[2] + 40  # negative: orange
    assert right[2] > right[0] + 40  # positive: blue
    changed = np.abs(pixels - picture([0.0, 1.0])).sum(2)
    row, column = place(axes, 0.0, 0.0)
    assert changed[row - 1 : row + 1, column + 12 : column + 25].all()  # it pointed to the right
    assert changed[row - 25 : row - 12, column - 1 : column + 1].all()  # it points up
    assert not changed[row + 12 :].any()
    assert not changed[:, : column - 12].any()
