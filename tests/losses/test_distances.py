import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from lightning_gans.losses.distances import parallel_lines


def test_parallel_lines():
    result = parallel_lines(torch.tensor([0.5, 0.0, -1.0], dtype=torch.float64))
    assert result.wasserstein.tolist() == [0.5, 0, 1]
    assert result.jensen_shannon.tolist() == pytest.approx([0.6931471806, 0, 0.6931471806])
    assert result.kullback_leibler.tolist() == [math.inf, 0, math.inf]
    assert result.total_variation.tolist() == [1, 0, 1]


def test_parallel_lines_keep_shape_and_type():
    theta = torch.linspace(-1, 1, 21).reshape(3, 7)
    assert all(value.shape == (3, 7) and value.dtype == torch.float32 for value in parallel_lines(theta))


@pytest.mark.parametrize("theta", [0.0, 0.3, -0.8])
def test_wasserstein_equals_optimal_transport(theta):
    # The heights have the same law, so the transport is that of the first coordinates.
    exact = wasserstein_distance(np.zeros(50), np.full(50, theta))
    assert parallel_lines(torch.tensor(theta)).wasserstein.item() == pytest.approx(exact)
