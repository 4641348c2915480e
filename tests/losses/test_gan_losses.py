import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from lightning_gans.losses import gan
from lightning_gans.networks import MLPDiscriminator

REAL = torch.tensor([2.0, -1.0], dtype=torch.float64)
FAKE = torch.tensor([-3.0, 0.5], dtype=torch.float64)


def test_known_values():
    assert gan.discriminator_loss(REAL, FAKE).item() == pytest.approx(1.2314270171575221, abs=1e-15)
    assert gan.generator_loss(FAKE).item() == pytest.approx(1.7613321678769243, abs=1e-15)
    assert gan.minimax_generator_loss(FAKE).item() == pytest.approx(-0.5113321678769244, abs=1e-15)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (gan.generator_loss, [-0.4762870634, -0.1887703344]),
        (gan.minimax_generator_loss, [-0.0237129366, -0.3112296656]),
    ],
)
def test_known_gradients(loss, expected):
    fake = FAKE.clone().requires_grad_()
    loss(fake).backward()
    assert fake.grad.tolist() == pytest.approx(expected, abs=1e-10)


def test_undecided_discriminator():
    zeros = torch.zeros(5)
    assert gan.discriminator_loss(zeros, zeros).item() == pytest.approx(2 * math.log(2))
    assert gan.generator_loss(zeros).item() == pytest.approx(math.log(2))


def test_extreme_logits_stay_exact():
    logits = torch.tensor([-100.0], requires_grad=True)
    loss = gan.generator_loss(logits)
    loss.backward()
    assert loss.item() == 100
    assert logits.grad.item() == -1
    assert gan.discriminator_loss(torch.tensor([1e4]), torch.tensor([-1e4])).item() == 0


def test_fixed_point_is_the_same_for_both_generator_losses():
    assert gan.minimax_generator_loss(REAL) > gan.minimax_generator_loss(REAL + 1)
    assert gan.generator_loss(REAL) > gan.generator_loss(REAL + 1)


def test_jensen_shannon_bound():
    undecided = gan.discriminator_loss(torch.zeros(3), torch.zeros(3))
    perfect = gan.discriminator_loss(torch.full((3,), 99.0), torch.full((3,), -99.0))
    assert gan.jensen_shannon_bound(undecided).item() == pytest.approx(0, abs=1e-7)
    assert gan.jensen_shannon_bound(perfect).item() == pytest.approx(0.6931471806)


def jensen_shannon(mu):
    def integrand(x):
        p, q = stats.norm.pdf(x), stats.norm.pdf(x, mu)
        return (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))) / 2

    return integrate.quad(integrand, -12, 12 + mu, epsabs=1e-12, limit=200)[0]


@pytest.mark.parametrize(
    ("mu", "divergence", "value"),
    [
        (1, 0.1114214822, -1.1634513968),
        (2, 0.3368308203, -0.7126327204),
        (4, 0.6327201937, -0.1208539736),
    ],
)
def test_optimal_discriminator_has_the_jensen_shannon_value(mu, divergence, value):
    assert jensen_shannon(mu) == pytest.approx(divergence, abs=1e-9)
    # The best logit is the log-ratio of the densities. Quantiles stand for the expectations.
    points = torch.from_numpy(stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000))
    best = gan.discriminator_loss(mu**2 / 2 - mu * points, mu**2 / 2 - mu * (points + mu))
    assert -best.item() == pytest.approx(value, abs=1e-5)
    assert gan.jensen_shannon_bound(best).item() == pytest.approx(divergence, abs=1e-5)


def test_training_reaches_the_optimal_discriminator():
    torch.manual_seed(0)
    real = torch.from_numpy(stats.norm.ppf((np.arange(2000) + 0.5) / 2000))[:, None]
    fake = real + 1
    discriminator = MLPDiscriminator((1,), hidden=(16,), activation="tanh").double()
    optimizer = torch.optim.LBFGS(discriminator.parameters(), max_iter=150, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = gan.discriminator_loss(discriminator(real), discriminator(fake))
        loss.backward()
        return loss

    optimizer.step(closure)
    assert -closure().item() == pytest.approx(-1.1634513968, abs=2e-3)
    middle = discriminator(torch.tensor([[0.5]], dtype=torch.float64)).sigmoid()
    assert middle.item() == pytest.approx(0.5, abs=0.01)
