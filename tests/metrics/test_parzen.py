import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm

from lightning_gans.metrics.parzen import SIGMAS, ParzenLikelihood, parzen_estimate, parzen_log_likelihood


@pytest.mark.parametrize(("sigma", "expected"), [(0.2, 541.3515133), (0.1, 1084.7789029)])
def test_a_centre_at_the_point(sigma, expected):
    x = torch.rand(1, 1, 28, 28)
    assert parzen_log_likelihood(x, x, sigma).item() == pytest.approx(expected, abs=1e-6)


def test_far_away_is_finite():
    value = parzen_log_likelihood(torch.zeros(3, 784), torch.ones(1, 784), 0.2)
    # each density is exp(541.35 - 784 / 0.08), far below the smallest float
    assert value.item() == pytest.approx(541.3515133 - 9800, abs=1e-6)


def test_two_centres_on_a_line():
    value = parzen_log_likelihood(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.25]]), 0.5)
    assert value.item() == pytest.approx(-0.7306768456, abs=1e-9)


def test_grid_of_widths():
    expected = [0.1, 0.129155, 0.16681, 0.215443, 0.278256, 0.359381, 0.464159, 0.599484, 0.774264, 1.0]
    assert list(SIGMAS) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_equal_to_numpy(batch_size):
    rng = np.random.default_rng(0)
    centres, points = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    densities = norm.logpdf(points[:, None], centres[None], 0.3).sum(2)
    expected = logsumexp(densities, axis=1) - np.log(30)
    values = parzen_log_likelihood(torch.from_numpy(centres), torch.from_numpy(points), 0.3, batch_size)
    assert values.dtype == torch.float64
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-10)


def test_it_is_a_density():
    x = torch.linspace(-8, 9, 4001)[:, None]
    density = parzen_log_likelihood(torch.tensor([[0.0], [1.0], [0.2]]), x, 0.7).exp()
    assert torch.trapezoid(density, x[:, 0].double()).item() == pytest.approx(1, abs=1e-6)


def test_several_widths_at_once():
    centres, points = torch.randn(10, 3), torch.randn(5, 3)
    both = parzen_log_likelihood(centres, points, [0.3, 0.6])
    assert both.shape == (2, 5)
    torch.testing.assert_close(both[1], parzen_log_likelihood(centres, points, 0.6))


def test_order_of_the_centres_does_not_matter():
    centres, points = torch.randn(10, 3), torch.randn(5, 3)
    torch.testing.assert_close(
        parzen_log_likelihood(centres.flip(0), points, 0.3), parzen_log_likelihood(centres, points, 0.3)
    )


def test_estimate():
    torch.manual_seed(0)
    centres, validation, test = torch.randn(400, 2), torch.randn(1500, 2), torch.randn(300, 2)
    result = parzen_estimate(centres, validation, test)
    # at most 1000 points choose the width
    means = [parzen_log_likelihood(centres, validation[:1000], s).mean().item() for s in SIGMAS]
    assert result.sigma == SIGMAS[int(np.argmax(means))]
    assert SIGMAS[0] < result.sigma < SIGMAS[-1]
    values = parzen_log_likelihood(centres, test, result.sigma).numpy()
    assert result.mean == pytest.approx(values.mean())
    assert result.standard_error == pytest.approx(values.std() / np.sqrt(300))
    # a smoothed normal density scores a little below the true one
    entropy = -1 - np.log(2 * np.pi)
    assert entropy - 0.5 < result.mean < entropy + 0.2


@pytest.mark.parametrize(
    ("centres", "points", "sigma", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), 0.1, "centres and points have shapes"),
        (torch.zeros(0, 3), torch.zeros(2, 3), 0.1, "at least one of each"),
        (torch.zeros(2, 3), torch.zeros(0, 3), 0.1, "at least one of each"),
        (torch.zeros(2, 3), torch.zeros(2, 3), 0.0, "sigma is 0.0: give a positive width"),
        (torch.zeros(2, 3), torch.zeros(2, 3), [], "sigma is"),
    ],
)
def test_arguments(centres, points, sigma, message):
    with pytest.raises(ValueError, match=message):
        parzen_log_likelihood(centres, points, sigma)


def test_metric():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(100, 156, (200, 1, 3, 3), dtype=torch.uint8, generator=generator)
    centres, real = images[:80], images[80:]
    metric = ParzenLikelihood(num_centres=70, num_validation=30, num_points=60)
    for index in torch.randperm(120, generator=generator).split(50):
        metric.update(real[index], index, real=True)
    metric.update(centres, torch.arange(80), real=False)
    scores = metric.compute()
    expected = parzen_estimate(centres[:70] / 255, real[:30] / 255, real[30:90] / 255)
    assert scores["parzen"].item() == pytest.approx(expected.mean, rel=1e-6)
    assert scores["parzen_error"].item() == pytest.approx(expected.standard_error, rel=1e-6)
    assert scores["parzen_sigma"].item() == expected.sigma
    metric.reset()
    with pytest.raises(ValueError, match="got no generated samples"):
        metric.compute()
    metric.update(centres, torch.arange(80), real=False)
    metric.update(real[:30], torch.arange(30), real=True)
    with pytest.raises(ValueError, match="got 30 real samples: it needs at least 31"):
        metric.compute()


def test_arguments_of_the_metric():
    with pytest.raises(ValueError, match="num_centres=0"):
        ParzenLikelihood(num_centres=0)
    with pytest.raises(ValueError, match="num_validation=1001 must be at most 1000"):
        ParzenLikelihood(num_validation=1001)
    with pytest.raises(ValueError, match="must be positive widths"):
        ParzenLikelihood(sigmas=[])
    with pytest.raises(ValueError, match=r"images is float32"):
        ParzenLikelihood().update(torch.zeros(2, 1, 3, 3), torch.arange(2), real=True)
