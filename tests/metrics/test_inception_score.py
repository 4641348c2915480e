import math

import numpy as np
import pytest
import torch
import torchmetrics.image.inception
from torch_fidelity.metric_isc import isc_features_to_metric

from lightning_gans.metrics.inception_score import (
    IS,
    ModifiedIS,
    _modified_scores,
    inception_score,
    modified_inception_score,
)


def logits(n, classes=10, seed=0, scale=3.0):
    return scale * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))


def score(metric, values, batch_size=64, order=None):
    index = torch.arange(len(values))
    if order is not None:
        values, index = values[order], index[order]
    for batch in zip(values.split(batch_size), index.split(batch_size), strict=True):
        metric.update(*batch)
    return metric.compute()


@pytest.mark.parametrize("seed", [None, 2020])
@pytest.mark.parametrize(("n", "splits"), [(2503, 10), (2000, 7), (2000, 1), (13, 13)])
def test_equals_torch_fidelity(n, splits, seed):
    values = logits(n)
    official = isc_features_to_metric(values, splits, shuffle=seed is not None, rng_seed=seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    for scores in (
        inception_score(values, splits, seed),
        score(IS(splits, shuffle_seed=seed), values),
        score(IS(splits, shuffle_seed=seed), values, order=order),
    ):
        assert scores["is"].item() == pytest.approx(official["inception_score_mean"], rel=1e-11)
        assert scores["is_std"].item() == pytest.approx(official["inception_score_std"], rel=1e-9, abs=1e-12)
        assert scores["is"].dtype == torch.float64


def test_equals_torchmetrics():
    class Logits(torch.nn.Module):
        def forward(self, images):
            return images.flatten(1).float() / 40

    images = torch.randint(0, 256, (2000, 3, 2, 2), generator=torch.Generator().manual_seed(0))
    theirs = torchmetrics.image.inception.InceptionScore(feature=Logits(), splits=1)
    theirs.update(images.to(torch.uint8))
    ours = score(IS(splits=1), images.flatten(1).float() / 40)
    assert ours["is"].item() == pytest.approx(theirs.compute()[0].item(), rel=1e-5)


def test_extremes():
    sure = 1e4 * torch.eye(8).repeat(5, 1)
    assert inception_score(sure, splits=5)["is"].item() == pytest.approx(8, rel=1e-12)
    assert inception_score(sure[:8].repeat_interleave(5, 0), splits=8)["is"].item() == pytest.approx(1)
    assert inception_score(torch.zeros(40, 8))["is"].item() == pytest.approx(1, abs=1e-12)
    shifted = inception_score(logits(100) + 300)["is"].item()
    assert shifted == pytest.approx(inception_score(logits(100))["is"].item(), rel=1e-4)


def test_global_generators_are_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    score(IS(shuffle_seed=2020), logits(100))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_another_number_of_samples_after_reset():
    metric = IS(shuffle_seed=1)
    score(metric, logits(100))
    metric.reset()
    expected = inception_score(logits(150), shuffle_seed=1)["is"].item()
    assert score(metric, logits(150))["is"].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_refuses():
    with pytest.raises(ValueError, match="cannot split 5 samples into 10 parts"):
        IS().fill_in(None, None, 5)
    with pytest.raises(ValueError, match="cannot split 5 samples into 10 parts"):
        score(IS(), logits(5))
    with pytest.raises(ValueError, match="splits=0"):
        IS(splits=0)
    with pytest.raises(ValueError, match="one generated sample"):
        score(IS(splits=1), logits(1))
    with pytest.raises(ValueError, match="no generated samples"):
        IS().compute()
    with pytest.raises(ValueError, match="without logits"):
        score(IS(), torch.zeros(20, 0))
    with pytest.raises(ValueError, match="order is float32"):
        IS().update(logits(3), torch.zeros(3))
    metric = IS()
    metric.update(logits(20), torch.arange(20))
    metric.update(logits(20), torch.arange(10, 30))
    with pytest.raises(ValueError, match="sample 10 came twice"):
        metric.compute()


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_names_the_first_bad_sample(bad):
    values = logits(100)
    values[70:, 2] = bad
    with pytest.raises(ValueError, match="logits of sample 70 are not finite"):
        score(IS(), values)
    with pytest.raises(ValueError, match="logits of sample 70 are not finite"):
        mis(values)
    with pytest.raises(ValueError, match="logits of sample 70 are not finite"):
        modified_inception_score(values)


def mis(values, batch_size=64):
    metric = ModifiedIS()
    for batch in values.split(batch_size):
        metric.update(batch)
    return metric.compute()


def double_loop(values):
    """DeLiGAN's expression: all pairs within a predicted class."""
    p = torch.softmax(values.double(), 1).numpy()
    scores = []
    for label in range(p.shape[1]):
        own = p[p.argmax(1) == label]
        if len(own) < 2:
            scores.append(math.nan)
            continue
        divergences = [[(p_i * (np.log(p_i) - np.log(p_j))).sum() for p_j in own] for p_i in own]
        scores.append(math.exp(np.mean(divergences)))
    return np.array(scores)


@pytest.mark.parametrize(("n", "classes"), [(300, 10), (200, 3), (12, 10), (40, 1)])
def test_modified_equals_the_double_loop(n, classes):
    values = logits(n, classes)
    expected = double_loop(values)
    for scores in (mis(values), modified_inception_score(values), mis(values.flip(0), 7)):
        np.testing.assert_allclose(scores["mis_per_class"], expected, rtol=1e-10)
        assert scores["mis"].item() == pytest.approx(np.nanmean(expected), rel=1e-10)
        assert scores["mis_std"].item() == pytest.approx(np.nanstd(expected), rel=1e-9, abs=1e-12)
        assert scores["mis_classes"] == (~np.isnan(expected)).sum()
        assert all(value.dtype == torch.float64 for value in scores.values())


def test_modified_score_of_one_class_by_hand():
    p = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]], dtype=torch.float64)
    sums = (torch.tensor([3.0]), p.sum(0)[None], p.log().sum(0)[None], (p * p.log()).sum()[None])
    found = _modified_scores(*sums)["mis"].item()
    assert found == pytest.approx(1.796655, abs=1e-6)  # 2.408225 without the pairs of a sample with itself
    assert math.log(found) == pytest.approx(0.585927, abs=1e-6)


def test_modified_score_of_two_classes_by_hand():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    scores = modified_inception_score(p.double().log())
    per_class = scores["mis_per_class"]
    assert per_class[:2].tolist() == pytest.approx([1.047294, 1.020882], abs=1e-6)
    assert per_class[2].isnan()
    assert scores["mis"].item() == pytest.approx(1.034088, abs=1e-6)
    assert scores["mis_std"].item() == pytest.approx(0.013206, abs=1e-6)
    assert scores["mis_pooled"].item() == pytest.approx(1.036648, abs=1e-6)
    alone = modified_inception_score(
        torch.cat([p, torch.tensor([[0.0, 0.0, 1.0]])]).clamp(1e-12).double().log()
    )
    assert math.log(alone["mis_pooled"]) == pytest.approx(math.log(1.036648) * 5 / 6, abs=1e-6)
    assert inception_score(p.double().log(), splits=1)["is"].item() == pytest.approx(1.210441, abs=1e-6)


def test_modified_extremes():
    collapsed = 5 * torch.eye(4).repeat(10, 1)
    assert modified_inception_score(collapsed)["mis"].item() == pytest.approx(1, abs=1e-12)
    one_hot = modified_inception_score(torch.eye(4).repeat(10, 1).clamp(1e-12).log())
    assert one_hot["mis"].item() == pytest.approx(1, abs=1e-12)
    assert one_hot["mis_pooled"].item() == pytest.approx(1, abs=1e-12)
    saturated = logits(50, scale=30.0)  # log 0 in float32
    assert modified_inception_score(saturated)["mis"].isfinite()
    with pytest.warns(UserWarning, match="no predicted class has two samples"):
        scores = modified_inception_score(5 * torch.eye(4))
    assert scores["mis"].isnan()
    assert scores["mis_std"].isnan()
    assert scores["mis_classes"] == 0
    assert scores["mis_pooled"] == 1


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_modified_refuses():
    with pytest.raises(ValueError, match="one generated sample"):
        mis(logits(1))
    with pytest.raises(ValueError, match="no generated samples"):
        ModifiedIS().compute()
    metric = ModifiedIS()
    metric.update(logits(5))
    with pytest.raises(ValueError, match="logits of size 3 after 10"):
        metric.update(logits(5, 3))
