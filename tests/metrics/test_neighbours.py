import numpy as np
import pytest
import torch

from lightning_gans.drawing.grids import neighbours_picture
from lightning_gans.metrics import neighbours as module
from lightning_gans.metrics.neighbours import FeatureNeighbours, NearestNeighbours, nearest_neighbours


def images(n, seed=0, size=4):
    return torch.randint(
        256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def by_numpy(samples, training, k):
    flat = [values.flatten(1).double().numpy() / 255 for values in (samples, training)]
    distances = np.sqrt(((flat[0][:, None] - flat[1][None]) ** 2).sum(2))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


@pytest.mark.parametrize("numbers", [1 << 24, 500])
def test_equal_to_numpy(numbers, monkeypatch):
    monkeypatch.setattr(module, "NUMBERS", numbers)  # one chunk, and many
    samples, training = images(5), torch.cat([images(200, 1), images(50, 1)])  # the last 50 are there twice
    distances, indices = nearest_neighbours(samples, training, 7)
    expected = by_numpy(samples, training, 7)
    np.testing.assert_allclose(distances.numpy(), expected[0], rtol=1e-12)
    np.testing.assert_array_equal(indices.numpy(), expected[1])


def test_copies_have_distance_zero():
    training = images(100)
    distances, indices = nearest_neighbours(training[[42, 7]], training, 1)
    assert distances.tolist() == [[0], [0]]
    assert indices.tolist() == [[42], [7]]
    features = torch.randn(100, 8, generator=torch.Generator().manual_seed(0)) + 1000
    assert nearest_neighbours(features[[3]], features, 1)[0] == 0


def test_metric_in_any_order_of_batches():
    samples, training = images(10), images(300, 1)
    metric = NearestNeighbours(num_samples=6, num_neighbours=3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for index in torch.randperm(10, generator=generator).split(4):
            metric.update(samples[index], index, real=False)
        for index in torch.randperm(300, generator=generator).split(70):
            metric.update(training[index], index, real=True)
        scores = metric.compute()
        distances, indices = nearest_neighbours(samples[:6], training, 3)
        assert torch.equal(metric.nearest.samples, torch.arange(6))
        assert torch.equal(metric.nearest.distances, distances)
        assert torch.equal(metric.nearest.indices, indices)
        assert scores == {
            "neighbour_distance": distances[:, 0].mean(),
            "neighbour_distance_min": distances.min(),
            "neighbour_copies": 0,
        }
        metric.reset()
        assert metric.nearest is None


def test_a_generator_that_copies_is_found_out():
    training = images(300)
    for samples, copied in ((images(20, 2), False), (training[:20], True)):
        metric = NearestNeighbours(num_samples=20)
        metric.update(samples, torch.arange(20), real=False)
        metric.update(training, torch.arange(300), real=True)
        assert (metric.compute()["neighbour_distance"] == 0) == copied
    assert metric.nearest.indices.shape == (20, 5)


def test_copies_are_much_nearer_to_one_training_sample_than_to_the_next():
    training = torch.tensor([[0.0, 0.0], [9.0, 0.0], [9.0, 0.0]])  # the last is there twice
    samples = torch.tensor([[2.9, 0.0], [3.1, 0.0], [0.0, 0.0], [9.0, 0.0], [9.0, 1.0]])
    #  of the second's distance:    0.48        0.51         0           both 0         1
    metric = FeatureNeighbours(num_samples=5, num_neighbours=1)
    metric.update(samples, torch.arange(5), real=False)
    metric.update(training[:2], torch.arange(2), real=True)
    metric.update(training[2:], torch.tensor([2]), real=True)
    assert metric.compute()["feature_neighbour_copies"] == 3 / 5
    assert metric.nearest.distances.shape == (5, 1)
    metric.reset()
    metric.update(samples, torch.arange(5), real=False)
    metric.update(training[:1], torch.arange(1), real=True)
    assert metric.compute()["feature_neighbour_copies"] == 0  # there is no second


def test_features():
    generator = torch.Generator().manual_seed(0)
    samples, training = torch.randn(4, 8, generator=generator), torch.randn(50, 8, generator=generator)
    metric = FeatureNeighbours(num_neighbours=2)
    metric.update(samples, torch.arange(4), real=False)
    metric.update(training, torch.arange(50), real=True)
    metric.compute()
    distances = torch.cdist(samples, training)
    torch.testing.assert_close(metric.nearest.distances.float(), distances.topk(2, largest=False).values)
    assert torch.equal(metric.nearest.indices, distances.topk(2, largest=False).indices)


def test_fewer_training_samples_than_neighbours():
    metric = NearestNeighbours(num_neighbours=5)
    metric.update(images(2), torch.arange(2), real=False)
    metric.update(images(0), torch.arange(0), real=True)
    metric.update(images(3, 1), torch.arange(3), real=True)
    metric.compute()
    assert metric.nearest.indices.shape == (2, 3)


def test_picture():
    samples, training = images(3, size=8), images(20, 1, size=8)
    indices = nearest_neighbours(samples, training, 4)[1]
    picture = neighbours_picture(samples, training[indices], scale=2)
    pixels = np.asarray(picture)
    assert pixels.shape == (3 * 18 + 2, (18 + 2) + 4 + (4 * 18 + 2), 3)
    assert (pixels[:, 20:24] == 255).all()
    np.testing.assert_array_equal(pixels[2:18:2, 2:18:2], samples[0].permute(1, 2, 0))
    second = training[indices[0, 1]].permute(1, 2, 0)
    np.testing.assert_array_equal(pixels[2:18:2, 24 + 20 : 24 + 36 : 2], second)
    floats = neighbours_picture(samples / 127.5 - 1, training[indices] / 127.5 - 1, scale=2)
    np.testing.assert_array_equal(np.asarray(floats), pixels)
    with pytest.raises(ValueError, match=r"give \(n, C, H, W\) and \(n, k, C, H, W\)"):
        neighbours_picture(samples, training)


def test_bad_input():
    with pytest.raises(ValueError, match="num_neighbours=0"):
        NearestNeighbours(num_neighbours=0)
    metric = NearestNeighbours()
    with pytest.raises(ValueError, match="no generated samples"):
        metric.update(images(3), torch.arange(3), real=True)
    metric = NearestNeighbours()
    with pytest.raises(ValueError, match="there is no training sample"):
        metric.compute()
    metric.update(images(3), torch.arange(3), real=False)
    metric.update(images(0), torch.arange(0), real=True)
    with pytest.raises(ValueError, match="there is no training sample"):
        metric.compute()
    with pytest.raises(ValueError, match="the search has begun"):
        metric.update(images(3), torch.arange(3), real=False)
    with pytest.raises(ValueError, match=r"images of size \(3, 5, 5\) after \(3, 4, 4\)"):
        metric.update(images(3, size=5), torch.arange(3), real=True)
    with pytest.raises(ValueError, match=r"images is float32"):
        metric.update(images(3).float(), torch.arange(3), real=True)
    with pytest.raises(ValueError, match=r"features of shape .* torch.uint8"):
        FeatureNeighbours().update(images(3).flatten(1), torch.arange(3), real=True)
    bad = torch.tensor([[0.0], [1.0], [float("nan")]])
    with pytest.raises(ValueError, match="the features of sample 7 are not finite"):
        FeatureNeighbours().update(bad, torch.arange(5, 8), real=False)
    metric = NearestNeighbours()
    metric.update(images(3), torch.arange(3), real=False)
    with pytest.raises(ValueError, match=r"images of size \(3, 5, 5\) after \(3, 4, 4\)"):
        metric.update(images(3, size=5), torch.arange(3), real=False)
    with pytest.raises(ValueError, match="give at least one of each"):
        nearest_neighbours(images(2), images(0))
