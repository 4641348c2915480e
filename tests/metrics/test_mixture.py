import math
import pickle

import pytest
import torch

from lightning_gans.data import GaussianMixtures
from lightning_gans.metrics import MixtureJSD, ModeCoverage, mixture_jsd, mode_coverage


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
    assert scores["mode_spread"].item() == pytest.approx(1, abs=0.005)


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


def test_spread_within_the_modes():
    data, samples = samples_of("random_grid", 20_000)
    labels = data.load("train")[1]

    def spread(points):
        return mode_coverage(points, data.means, data.covariances)["mode_spread"].item()

    inside = data.means[labels] + 0.2 * (samples - data.means[labels])  # all within 3 standard deviations
    assert spread(inside) == pytest.approx(0.2 / math.sqrt(0.94945), rel=0.01)
    flat = data.means[labels] + (samples - data.means[labels]) * torch.tensor([1.0, 0.0])
    assert spread(flat) < 0.8
    # Copies of one point in each mode, away from its centre; a sample in each; none.
    assert spread((data.means + 0.02).repeat(50, 1)) == pytest.approx(0, abs=1e-6)
    assert spread(data.means) == spread(data.means + 100) == 0


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
        assert value.item() == pytest.approx(whole[name].item(), rel=1e-12), name
        assert value.dtype == torch.float64
    metric.reset()
    metric.update(data.means)
    assert metric.compute()["high_quality"] == 1
    assert metric.state_dict() == {}


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


# ---------------------------------------------------------------------- divergence of cells


def divergence(real, fake, data, **options):
    return mixture_jsd(real, fake, data.means, data.covariances, **options)["cell_jsd"].item()


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("ring", (0.0005, 0.496, 0.214, 0.074)),
        ("grid", (0.002, 0.607, 0.225, 0.072)),
        ("cube", (0.004, 0.614, 0.228, 0.079)),
    ],
)
def test_values_of_the_default_cells(layout, expected):
    """Real samples, one mode only, half of the modes, and 80 % real ones with 20 % uniform in the box."""
    data, samples = samples_of(layout, 100_000)
    labels = data.load("train")[1]
    real = data.load("test")[0]
    low, high = data.means.amin(0), data.means.amax(0)
    rng = torch.Generator().manual_seed(0)
    points = low + (high - low) * (1.5 * torch.rand(2_000, len(low), generator=rng) - 0.25)
    sides = (
        samples[:10_000],
        samples[labels == 0],
        samples[labels < len(data.means) // 2][:10_000],
        torch.cat([samples[:8_000], points]),
    )
    found = [divergence(real, side, data) for side in sides]
    assert found == [pytest.approx(value, abs=0.001 + 0.03 * value) for value in expected]


@pytest.mark.parametrize("cells", ["grid", "mode", "whitened"])
def test_known_divergences(cells):
    data = GaussianMixtures("ring")
    means = data.means.repeat(3, 1)
    of = {"data": data, "cells": cells}
    assert divergence(means, means, **of) == 0
    assert divergence(means, means[:4], **of) == pytest.approx(0.215762, abs=1e-6)
    assert divergence(means, means[:1], **of) == pytest.approx(0.496929, abs=1e-6)
    assert divergence(means[:1], means, **of) == divergence(means, means[:1], **of)
    assert divergence(means[:2], means[4:6], **of) == pytest.approx(0.693147, abs=1e-6)
    assert divergence(means[:2], means[4:6], base=2, **of) == pytest.approx(1)
    assert divergence(means, means[:4], sqrt=True, **of) == pytest.approx(math.sqrt(0.215762), abs=1e-6)


def test_where_the_cells_are():
    """The box of the ring reaches from -1.5 to 1.5 and has 32 bins an axis, of 3/32."""
    data = GaussianMixtures("ring")
    at = torch.tensor([[0.01, 0.01]])
    assert divergence(at, torch.tensor([[0.09, 0.09]]), data) == 0
    assert divergence(at, torch.tensor([[0.10, 0.09]]), data) == pytest.approx(math.log(2))
    assert divergence(at, torch.tensor([[0.09, -0.01]]), data) == pytest.approx(math.log(2))
    assert divergence(at, torch.tensor([[0.70, 0.70]]), data, bins=4) == 0
    # What is outside belongs to the border, however far it is.
    corner = torch.tensor([[1.49, -1.49]])
    assert divergence(corner, torch.tensor([[3e38, -3e38]]), data) == 0


def test_cells_of_modes():
    data = GaussianMixtures("grid")
    # Between the modes, near the first one of two neighbours.
    near, centre = torch.tensor([[0.9, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert divergence(near, centre, data, cells="mode") == 0
    assert divergence(near, centre, data, cells="whitened") == pytest.approx(math.log(2))
    # Cells within a mode are a standard deviation wide, along the axes of the mode, and end at 4 of them.
    covariance = torch.tensor([[2.0, 1.0], [1.0, 1.0]])
    factor = torch.linalg.cholesky(covariance)

    def apart(a, b):
        points = (factor @ torch.tensor([place]).T for place in (a, b))
        found = mixture_jsd(*(x.T for x in points), torch.zeros(1, 2), covariance[None], cells="whitened")
        return found["cell_jsd"].item() > 0

    assert not apart((0.1, 0.1), (0.9, 0.9))
    assert apart((0.1, 0.1), (1.1, 0.1))
    assert not apart((3.1, 0.1), (9.0, 0.1))


def test_whitened_cells_see_copies_that_a_grid_does_not():
    data, samples = samples_of("grid", 20_000)
    copies = samples[:250].repeat(40, 1)
    floor = {cells: divergence(samples[10_000:], samples[:10_000], data, cells=cells) for cells in
             ("grid", "whitened")}  # fmt: skip
    seen = {cells: divergence(samples[10_000:], copies, data, cells=cells) for cells in floor}
    assert seen["whitened"] - floor["whitened"] > 0.2
    assert seen["grid"] - floor["grid"] < 0.1


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_batches_and_modes_of_the_data():
    data, samples = samples_of("cube", 3_000)
    metric = MixtureJSD(cells="whitened", base=2)
    assert metric.protocol == {"cells": "whitened", "bins": None, "base": 2, "sqrt": False}
    metric.fill_in(data, None, None)
    for part in samples.split(999):
        metric.update(part, real=True)
        metric.update(part[::2], real=False)
    fake = torch.cat([part[::2] for part in samples.split(999)])
    metric = pickle.loads(pickle.dumps(metric))
    assert metric.compute()["cell_jsd"].item() == divergence(samples, fake, data, cells="whitened", base=2)
    assert metric.protocol["bins"] == 4
    metric.reset()
    with pytest.raises(ValueError, match="there is no real sample"):
        metric.compute()
    assert metric.state_dict() == {}


def test_bad_cells():
    ring, single = GaussianMixtures("ring"), GaussianMixtures("single")
    modes = ring.means, ring.covariances
    with pytest.raises(ValueError, match="cells='box'"):
        MixtureJSD(cells="box")
    with pytest.raises(ValueError, match="bins=8, but cells=mode has a cell for each mode"):
        MixtureJSD(cells="mode", bins=8)
    with pytest.raises(ValueError, match="bins=1"):
        MixtureJSD(bins=1)
    with pytest.raises(ValueError, match="base=1"):
        MixtureJSD(base=1)
    with pytest.raises(ValueError, match=r"bins=9000 an axis are 81,000,000 cells"):
        MixtureJSD(*modes, bins=9000)
    with pytest.raises(ValueError, match=r"the same coordinate 0.* use cells=whitened"):
        MixtureJSD().fill_in(single, None, None)
    MixtureJSD(cells="whitened").fill_in(single, None, None)
    with pytest.raises(ValueError, match="does not know the modes"):
        MixtureJSD().update(ring.means, real=True)
    with pytest.raises(ValueError, match=r"the mixture needs \(n, 2\)"):
        MixtureJSD(*modes).update(torch.zeros(4, 3), real=True)
    bad = torch.tensor([[0.0, 0.0], [math.nan, 0.0]])
    for cells in ("grid", "whitened"):
        with pytest.raises(ValueError, match="values of sample 1 are not finite"):
            MixtureJSD(*modes, cells=cells).update(bad, real=False)
