"""The gap of log-densities: known answers, closed forms, what must stay finite."""

import math

import pytest
import torch
from torch.distributions import Normal

from lightning_gans.losses import gold

L = [2.0, -1.0, 0.0]
A = [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
CLASSES = torch.tensor([0, 2, 1])

both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def given(dtype=torch.float32):
    return torch.tensor(L, dtype=dtype), torch.tensor(A, dtype=dtype)


def assert_near(found, expected, tolerance=6e-5):
    torch.testing.assert_close(found.double(), torch.tensor(expected).double(), rtol=0, atol=tolerance)


@both_types
def test_terms(dtype):
    logits, class_logits = given(dtype)
    assert_near(gold.log_posterior(class_logits, CLASSES), [-0.2395, -1.5514, -1.0986])
    assert_near(gold.gold(logits, class_logits, CLASSES), [1.7605, -2.5514, -1.0986])
    assert_near(gold.gold(logits, class_logits, CLASSES, generated=False), [2.2395, 0.5514, 1.0986])
    assert_near(gold.entropy(class_logits), [0.6656, 0.9753, 1.0986])
    unlabeled = gold.gold_unlabeled(logits, class_logits)
    assert_near(unlabeled, [2.6656, -0.0247, 1.0986])
    assert unlabeled.argsort(descending=True).tolist() == [0, 2, 1]
    assert unlabeled.dtype == dtype


@both_types
def test_balanced(dtype):
    logits, class_logits = given(dtype)
    conditional = gold.log_posterior(class_logits, CLASSES)
    assert_near(logits.std(correction=0), 1.2472)
    assert_near(conditional.std(correction=0), 0.5441)
    assert_near(gold.balance(logits, conditional), 2.2924, 2e-4)
    assert_near(gold.balance(logits, conditional, "rms"), 1.1274, 2e-4)
    assert_near(gold.gold_balanced(logits, conditional), [1.4509, -4.5565, -2.5184], 3e-4)
    assert_near(gold.gold_balanced(logits, conditional, ratio=1.0), [1.7605, -2.5514, -1.0986])
    # Of several sets at once, each has a ratio of its own.
    together = gold.gold_balanced(torch.stack([logits, 3 * logits]), conditional.expand(2, -1))
    torch.testing.assert_close(together[1], gold.gold_balanced(3 * logits, conditional))
    assert_near(together[0], [1.4509, -4.5565, -2.5184], 3e-4)


@both_types
def test_a_discriminator_that_is_sure_of_all_classes(dtype):
    logits, _ = given(dtype)
    conditional = gold.log_posterior(1000 * torch.eye(3, dtype=dtype), torch.arange(3))
    for how in ("std", "rms"):
        assert gold.balance(logits, conditional, how) == 0
        assert gold.balance(logits, conditional - 2.0, how) == 0
        assert torch.equal(gold.gold_balanced(logits, conditional, how=how), logits)


@both_types
def test_uniform_classes(dtype):
    logits = torch.linspace(-3, 3, 5, dtype=dtype)
    class_logits, labels = torch.full((5, 7), 0.3, dtype=dtype), torch.arange(5)
    assert_near(gold.entropy(class_logits), [math.log(7)] * 5, 1e-6)
    torch.testing.assert_close(gold.gold(logits, class_logits, labels), logits - math.log(7))


def test_probabilities_that_underflow():
    class_logits = torch.tensor([[0.0, -1e4, 1e4], [5e3, 5e3, -5e3]])
    assert_near(gold.entropy(class_logits), [0, math.log(2)], 1e-6)
    assert_near(gold.log_posterior(class_logits, torch.tensor([1, 2])), [-2e4, -1e4 - math.log(2)], 1e-2)


@both_types
def test_weights(dtype):
    gap = gold.gold(*given(dtype), CLASSES).requires_grad_()
    assert_near(gold.weights(gap, 0.5), [1.3268, -1.5973, -1.0481])
    assert_near(gold.weights(gap, 2), [3.0992, -6.5099, -1.2069], 2e-4)
    assert torch.equal(gold.weights(gap), gap)
    assert torch.equal(gold.weights(gap, 0), torch.ones(3, dtype=dtype))
    assert not gold.weights(gap).requires_grad
    assert torch.equal(gold.weights(torch.zeros(2), 0.3), torch.zeros(2))


def test_options_of_weights():
    gap = torch.tensor([3.0, -1.0, -8.0])
    assert gold.weights(gap, nonnegative=True).tolist() == [3, 0, 0]
    assert gold.weights(gap, normalize=True).tolist() == [0.75, -0.25, -2]
    assert gold.weights(gap, clip=(-2.0, 1.5)).tolist() == [1.5, -1, -2]
    # All of them: 3 and two zeros, whose mean is 1; then at most 2.
    assert gold.weights(gap, 1.0, True, True, (-1.0, 2.0)).tolist() == [2, 0, 0]
    assert gold.weights(-gap.abs(), nonnegative=True, normalize=True).tolist() == [0, 0, 0]
    two = torch.stack([gap, 10 * gap])
    torch.testing.assert_close(*gold.weights(two, normalize=True))


def test_half_precision_is_computed_in_full():
    logits, class_logits = (x.bfloat16() for x in given())
    for found in (
        gold.gold(logits, class_logits, CLASSES),
        gold.gold_unlabeled(logits, class_logits),
        gold.gold_balanced(logits, logits),
        gold.weights(logits),
    ):
        assert found.dtype == torch.float32
    assert torch.equal(
        gold.gold(logits, class_logits, CLASSES), gold.gold(logits.float(), class_logits.float(), CLASSES)
    )


# ---------------------------------------------------------------------- closed forms


def test_the_optimal_logit_of_two_normal_variables():
    x = torch.tensor([0.0, -3.0, 2.0], dtype=torch.float64)
    ratio = Normal(0.0, 1.0).log_prob(x) - Normal(1.0, 1.0).log_prob(x)
    torch.testing.assert_close(ratio, 0.5 - x)
    assert ratio[0] == 0.5


class Joint:
    """Two classes, each with a normal density of its own."""

    def __init__(self, means, std, shares=(0.5, 0.5)):
        self.densities, self.shares = Normal(torch.tensor(means).double(), std), torch.tensor(shares).double()

    def log_prob(self, x):
        """log p(x, c), (N, 2)."""
        return self.densities.log_prob(x[:, None]) + self.shares.log()

    def draw(self, n):
        rng = torch.Generator().manual_seed(0)
        classes = torch.multinomial(self.shares, n, replacement=True, generator=rng)
        noise = torch.randn(n, generator=rng, dtype=torch.float64)
        return self.densities.mean[classes] + self.densities.stddev[classes] * noise, classes


DATA, MODEL = Joint([-1.0, 1.5], 2.0, (0.3, 0.7)), Joint([-9.0, 9.0], 1.0)
"""Classes of the data overlap, those of the generator do not: p_g(c | x) = 1, as the estimator takes it."""


def test_the_estimator_is_the_true_gap_of_generated_samples():
    """Heads of an optimal discriminator: log p_data(x) / p_g(x), and the classes of the data."""
    x, classes = MODEL.draw(1000)
    data, model = DATA.log_prob(x), MODEL.log_prob(x)
    found = gold.gold(data.logsumexp(1) - model.logsumexp(1), data, classes)
    true = (data - model).gather(1, classes[:, None])[:, 0]
    assert true.std() > 1
    torch.testing.assert_close(found, true, rtol=0, atol=1e-5)


def test_the_estimator_is_the_true_gap_of_real_samples():
    """The other way round: of data whose classes do not overlap, judged by the classes of the generator."""
    x, classes = MODEL.draw(1000)
    data, model = MODEL.log_prob(x), DATA.log_prob(x)
    found = gold.gold(data.logsumexp(1) - model.logsumexp(1), model, classes, generated=False)
    true = (data - model).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(found, true, rtol=0, atol=1e-5)


def test_what_the_estimator_leaves_out():
    """Where the generator's classes overlap too, the gap is too small by -log p_g(c | x)."""
    model = Joint([-0.5, 0.5], 1.0)
    x, classes = model.draw(1000)
    data, made = DATA.log_prob(x), model.log_prob(x)
    found = gold.gold(data.logsumexp(1) - made.logsumexp(1), data, classes)
    true = (data - made).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(found - true, gold.log_posterior(made, classes), rtol=0, atol=1e-9)
    assert (found < true).all()
