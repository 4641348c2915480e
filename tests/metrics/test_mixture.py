import math
import pickle

import pytest
import torch

from lightning_gans.data import GaussianMixtures
from lightning_gans.metrics import ModeCoverage, mode_coverage


def ring():
    data = GaussianMixtures("ring")
    return data.means, data.covariances


def samples_of(layout, n=100_000):
    data = GaussianMixtures(layout, samples=n)
    return data, data.load("train")[0]


@pytest.mark.parametrize(
    ("layout", "modes", "share", "tolerance"),
    [
        ("ring", 8, 0.9889, 0.001),
        ("grid", 25, 0.9889, 0.001),
        ("random_grid", 25, 0.9889, 0.001),
        ("grid9", 9, 0.9889, 0.001),
        ("cube", 27, 0.9707, 0.002),
    ],
)
def test_perfect_samples(layout, modes, share, tolerance):
    data, samples = samples_of(layout)
    scores = mode_coverage(samples, data.means, data.covariances)
    assert scores["modes"] == modes
    assert scores["modes"].dtype == torch.float64
    assert scores["high_quality"].item() == pytest.approx(share, abs=tolerance)
    assert scores["jsd"] < 1e-3


def test_realness_protocol():
    data, samples = samples_of("grid9", 10_000)
    scores = mode_coverage(samples, data.means, data.covariances, threshold=4, min_count=101)
    assert scores["modes"] == 9
    assert scores["high_quality"] >= 0.999
    hundred = data.means[:1].expand(100, 2)
    assert mode_coverage(hundred, data.means, data.covariances, threshold=4, min_count=101)["modes"] == 0


@pytest.mark.parametrize(("found", "jsd"), [(8, 0.0), (4, 0.215762), (1, 0.496929)])
def test_points_on_some_means(found, jsd):
    means, covariances = ring()
    scores = mode_coverage(means[:found].repeat(5, 1), means, covariances)
    assert scores["modes"] == found
    assert scores["high_quality"] == 1
    assert scores["jsd"].item() == pytest.approx(jsd, abs=1e-6)


def test_points_between_the_modes():
    means, covariances = ring()
    scores = mode_coverage(torch.zeros(10, 2), means, covariances)
    assert scores["modes"] == 0
    assert scores["high_quality"] == 0
    assert scores["jsd"].item() == pytest.approx(math.log(2))


def test_distance_follows_the_shape_of_the_mode():
    covariances = torch.diag(torch.tensor([4.0, 0.01]))[None]
    points = torch.tensor([[5.9, 0.0], [6.1, 0.0], [0.0, 0.29], [0.0, 0.31]])
    assert mode_coverage(points, torch.zeros(1, 2), covariances)["high_quality"] == 0.5


def test_min_count():
    means, covariances = ring()
    points = torch.cat([means, means[:1]])
    assert mode_coverage(points, means, covariances, min_count=2)["modes"] == 1


def test_samples_that_are_not_numbers_are_of_no_quality():
    means, covariances = ring()
    points = torch.cat([means, torch.full((8, 2), math.nan), torch.full((8, 2), math.inf)])
    scores = mode_coverage(points, means, covariances)
    assert scores["modes"] == 8
    assert scores["high_quality"].item() == pytest.approx(1 / 3)


def test_batches_give_the_score_of_the_whole():
    data, samples = samples_of("random_grid", 25_000)
    whole = mode_coverage(samples, data.means, data.covariances)
    metric = ModeCoverage(data.means, data.covariances)
    for part in samples.split(999):
        metric.update(part)
    metric = pickle.loads(pickle.dumps(metric))
    for name, value in metric.compute().items():
        assert value == whole[name], name
        assert value.dtype == torch.float64
    metric.reset()
    metric.update(data.means)
    assert metric.compute()["high_quality"] == 1
    assert metric.state_dict() == {}


def test_ranks_are_summed():
    data, samples = samples_of("grid", 4_000)
    whole = mode_coverage(samples, data.means, data.covariances)
    ranks = [ModeCoverage(data.means, data.covariances) for _ in range(2)]
    ranks[0].update(samples[:1_500])
    ranks[1].update(samples[1_500:])
    states = {name: [getattr(rank, name) for rank in ranks] for name in ("counts", "total")}
    for name, values in states.items():
        setattr(ranks[0], name, ranks[0]._reductions[name](torch.stack(values)))
    ranks[0]._computed = None
    for name, value in ranks[0].compute().items():
        assert value == whole[name], name


def test_half_precision_samples():
    means, covariances = ring()
    assert mode_coverage(torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16), means, covariances)["modes"] == 1


def test_bad_arguments():
    means, covariances = ring()
    with pytest.raises(ValueError, match=r"\(K, d\) and \(K, d, d\)"):
        ModeCoverage(means, covariances[:3])
    with pytest.raises(ValueError, match=r"covariances\[0\] is not positive definite"):
        ModeCoverage(means, -covariances)
    with pytest.raises(ValueError, match="threshold=0"):
        ModeCoverage(means, covariances, threshold=0)
    with pytest.raises(ValueError, match="min_count=0"):
        mode_coverage(means, means, covariances, min_count=0)
    with pytest.raises(ValueError, match=r"the mixture needs \(n, 2\)"):
        ModeCoverage(means, covariances).update(torch.zeros(4, 3))


def test_modes_that_are_set_later():
    means, covariances = ring()
    metric = ModeCoverage()
    with pytest.raises(ValueError, match="does not know the modes: give means and covariances"):
        metric.update(means)
    with pytest.raises(ValueError, match="give both, or neither"):
        ModeCoverage(means)
    metric.set_modes(means, covariances)
    metric.update(means)
    assert metric.compute()["modes"] == 8
    metric.set_modes(means[:3], covariances[:3])
    metric.update(means[:2])
    assert metric.compute()["modes"] == 2
    metric.reset()
    assert metric.counts.tolist() == [0, 0, 0]
