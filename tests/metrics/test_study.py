import numpy as np
import pytest

from lightning_gans.metrics import fooling_rate


def test_known_answers():
    one = fooling_rate([10], [40])
    assert (one.rate, one.trials, one.workers) == (0.25, 40, 1)
    many = fooling_rate([11] * 18 + [10] * 7, [40] * 25)  # 268 of 1000
    assert many.rate == pytest.approx(0.268)
    assert many.standard_error == pytest.approx(0.014006, abs=5e-7)
    assert many.mean == pytest.approx(0.268, abs=1e-3)
    paper = fooling_rate([378], [2000])
    assert (paper.rate, paper.standard_error) == (pytest.approx(0.189), pytest.approx(0.0088, abs=5e-5))


@pytest.mark.parametrize("spread", [0, 8])
def test_deviation_is_that_of_the_two_draws(spread):
    """The variance of a mean over drawn workers, each of drawn trials, is known when all have equal many."""
    fooled = np.array([10 - spread, 10 + spread] * 10)
    p = fooled / 40
    variance = (p.var() + (p * (1 - p) / 40).mean()) / len(p)
    found = fooling_rate(fooled.tolist(), [40] * 20, repetitions=100_000)
    assert found.deviation == pytest.approx(variance**0.5, rel=0.01)
    assert found.high - found.low == pytest.approx(3.92 * variance**0.5, rel=0.05)
    assert (found.deviation > 2 * found.standard_error) == bool(spread)


def test_agrees_with_drawing_one_by_one():
    rng = np.random.default_rng(1)
    answers = [rng.random(n) < p for n, p in ((40, 0.1), (10, 0.5), (25, 0.3), (40, 0.8))]
    rates = []
    for _ in range(5000):
        drawn = [answers[i] for i in rng.integers(len(answers), size=len(answers))]
        rates.append(np.concatenate([rng.choice(own, len(own)) for own in drawn]).mean())
    found = fooling_rate([int(own.sum()) for own in answers], [len(own) for own in answers])
    assert found.mean == pytest.approx(np.mean(rates), abs=0.01)
    assert found.deviation == pytest.approx(np.std(rates), rel=0.05)
    assert (found.low, found.high) == pytest.approx(np.quantile(rates, (0.025, 0.975)), abs=0.02)


def test_the_seed_decides():
    given = [3, 9, 20], [40, 40, 40]
    assert fooling_rate(*given, seed=1) == fooling_rate(*given, seed=1) != fooling_rate(*given, seed=2)


def test_nobody_or_everybody_fooled():
    for k in (0, 40):
        found = fooling_rate([k] * 5, [40] * 5)
        assert found.rate == found.mean == found.low == found.high == k / 40
        assert found.deviation == found.standard_error == 0


@pytest.mark.parametrize(
    ("fooled", "trials", "options", "message"),
    [
        ([], [], {}, "give a number of each for every worker"),
        ([1, 2], [40], {}, "give a number of each for every worker"),
        ([41], [40], {}, "41 of 40"),
        ([-1], [40], {}, "-1 of 40"),
        ([1, 0], [40, 0], {}, "0 of 0"),
        ([1], [40], {"repetitions": 0}, "repetitions=0"),
        ([1], [40], {"seed": -1}, "seed=-1"),
    ],
)
def test_bad_arguments(fooled, trials, options, message):
    with pytest.raises(ValueError, match=message):
        fooling_rate(fooled, trials, **options)
