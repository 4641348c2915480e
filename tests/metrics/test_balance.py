import math

import pytest
import torch

from lightning_gans.metrics.balance import ClassBalance, TopProbability, class_balance


def logits_of(labels, num_classes=4):
    return torch.nn.functional.one_hot(labels, num_classes).float()


def test_even_classes():
    scores = class_balance(torch.arange(40) % 4, 4)
    assert scores["modes"] == 4
    assert scores["class_balance"] == 1
    assert scores["class_kl"].item() == pytest.approx(0, abs=1e-12)
    assert scores["share_per_class"].tolist() == [0.25] * 4
    assert all(score.dtype == torch.float64 for score in scores.values())


def test_one_class():
    scores = class_balance(torch.full((9,), 2), 4)
    assert scores["modes"] == 1
    assert scores["class_balance"] == 0
    assert scores["class_kl"].item() == pytest.approx(math.log(4))


def test_shares_of_the_data():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    scores = class_balance(labels, 3, shares=[60, 30, 10])
    assert scores["class_kl"].item() == pytest.approx(0, abs=1e-12)
    assert scores["class_balance"].item() == pytest.approx(1)
    scores = class_balance(labels, 3, shares=[0.3, 0.6, 0.1])
    assert scores["class_kl"].item() == pytest.approx(0.6 * math.log(2) - 0.3 * math.log(2))
    assert scores["class_balance"].item() == pytest.approx(0.25)


def test_classes_that_the_data_lacks():
    assert class_balance(torch.tensor([0, 1]), 3, shares=[1, 1, 0])["class_kl"] == 0
    scores = class_balance(torch.tensor([0, 1, 2]), 3, shares=[1, 1, 0])
    assert scores["class_kl"] == math.inf
    assert scores["class_balance"] == 1
    assert class_balance(torch.tensor([2, 2]), 3, shares=[1, 1, 0])["class_balance"] == 0


@pytest.mark.parametrize("shares", [None, [1, 1, 1, 1]])
def test_batches_give_the_score_of_the_whole(shares):
    labels = torch.randint(4, (100,), generator=torch.Generator().manual_seed(0))
    metric = ClassBalance(shares, min_count=20)
    for _ in range(2):
        for part in labels.split(30):
            metric.update(logits_of(part))
        whole = class_balance(labels, 4, min_count=20)
        for name, score in metric.compute().items():
            assert torch.equal(score, whole[name]), name
        metric.reset()
    with pytest.raises(ValueError, match="there is no sample"):
        metric.compute()


def test_bad_input():
    with pytest.raises(ValueError, match="there is no sample"):
        ClassBalance().compute()
    with pytest.raises(ValueError, match="num_classes=1"):
        ClassBalance().update(torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"shares=\[0\.5, 0\.5\] must be 3 numbers"):
        ClassBalance([0.5, 0.5]).update(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="none negative"):
        class_balance(torch.zeros(2, dtype=torch.int64), 2, shares=[1.0, -1.0])
    with pytest.raises(ValueError, match="min_count=0"):
        ClassBalance(min_count=0)
    metric = ClassBalance()
    metric.update(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="got logits of size 3 after 4"):
        metric.update(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"got logits of shape \(2,\)"):
        ClassBalance().update(torch.zeros(2))
    metric = ClassBalance()
    metric.update(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="the logits of sample 3 are not finite"):
        metric.update(torch.tensor([[0.0, 1, 2], [0, math.inf, 0]]))
    with pytest.raises(ValueError, match=r"labels\[0\]=3"):
        class_balance(torch.tensor([3]), 3)


def test_top_probability_is_the_mean_over_all_batches():
    metric = TopProbability()
    metric.update(torch.tensor([[0.0, math.log(3)], [math.log(9), 0.0]]))  # 0.75 and 0.9
    metric.update(torch.tensor([[5.0, 5.0]]))
    assert metric.compute()["top_probability"].item() == pytest.approx((0.75 + 0.9 + 0.5) / 3)
    with pytest.raises(ValueError, match="the logits of sample 3 are not finite"):
        metric.update(torch.tensor([[math.nan, 0.0]]))
    with pytest.raises(ValueError, match="there is no sample"):
        TopProbability().compute()
