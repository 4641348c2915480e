import math

import pytest
import torch

from lightning_gans.metrics.stacked import StackedModes, mode_count_and_kl, stacked_labels


def uniform(n, seed=0):
    return torch.randint(1000, (n,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n", "floor"), [(26_000, 0.0192), (20_000, 0.0250)])
def test_perfect_generator(n, floor):
    assert 1000 * (1 - 1 / 1000) ** n < 1e-5  # modes expected to be missing
    scores = mode_count_and_kl(uniform(n))
    assert scores["modes"] == 1000
    assert scores["kl"].item() == pytest.approx(floor, rel=0.1)
    assert all(score.dtype == torch.float64 for score in scores.values())


def test_few_samples_miss_modes():
    missing = [1000 - mode_count_and_kl(uniform(2500, seed))["modes"].item() for seed in range(20)]
    assert sum(missing) / 20 == pytest.approx(1000 * 0.999**2500, abs=6)  # 82


def test_known_divergences():
    assert mode_count_and_kl(torch.full((100,), 123))["kl"].item() == pytest.approx(6.907755, abs=1e-6)
    assert mode_count_and_kl(torch.arange(1000))["kl"].item() == pytest.approx(0, abs=1e-12)
    assert mode_count_and_kl(torch.arange(500))["kl"].item() == pytest.approx(math.log(2))


def test_labels_of_stacks():
    digits = torch.tensor([[1, 2, 3], [0, 0, 0], [9, 9, 9], [0, 4, 0]])
    logits = torch.nn.functional.one_hot(digits, 10).float()
    assert stacked_labels(logits).tolist() == [123, 0, 999, 40]


def test_batches_give_the_score_of_the_whole():
    labels = uniform(3000)
    metric = StackedModes(min_count=2)
    for part in labels.split(700):
        metric.update(part)
    metric.update(labels[:0])
    assert metric.compute() == mode_count_and_kl(labels, min_count=2)
    metric.reset()
    metric.update(labels[:1])
    assert metric.compute()["modes"] == 0


def test_bad_input():
    with pytest.raises(ValueError, match=r"modes\[1\]=1000: give 0 to 999"):
        StackedModes().update(torch.tensor([5, 1000]))
    with pytest.raises(ValueError, match=r"labels is float32"):
        mode_count_and_kl(torch.zeros(3))
    with pytest.raises(ValueError, match="there is no sample"):
        StackedModes().compute()
    with pytest.raises(ValueError, match="min_count=0"):
        StackedModes(min_count=0)
    with pytest.raises(ValueError, match="num_modes=1"):
        StackedModes(1)
    with pytest.raises(ValueError, match=r"give \(n, channels, classes\)"):
        stacked_labels(torch.zeros(3, 10))
    logits = torch.zeros(3, 3, 10)
    logits[1, 2, 0] = math.nan
    with pytest.raises(ValueError, match="the logits of sample 1 are not finite"):
        stacked_labels(logits)
