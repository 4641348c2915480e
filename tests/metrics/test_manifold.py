import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances

from lightning_gans.metrics import manifold
from lightning_gans.metrics.manifold import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    precision_recall,
)


def features(n, seed=0, shift=0.0, d=16):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def score(metric, real, fake, batch_size=64):
    for side, values in ((True, real), (False, fake)):
        index = torch.arange(len(values))
        for batch in zip(values.split(batch_size), index.split(batch_size), strict=True):
            metric.update(*batch, real=side)
    return metric.compute()


def definitions(real, fake, k):
    """Both papers' definitions on matrices of all distances."""
    real, fake = real.double().numpy(), fake.double().numpy()
    across = pairwise_distances(real, fake)
    real_radii, fake_radii = (np.sort(pairwise_distances(x), axis=1)[:, k] for x in (real, fake))
    return {
        "precision": (across <= real_radii[:, None]).any(0).mean(),
        "recall": (across <= fake_radii[None]).any(1).mean(),
        "density": (across < real_radii[:, None]).sum(0).mean() / k,
        "coverage": (across.min(1) < real_radii).mean(),
    }


@pytest.mark.parametrize("numbers", [2**24, 5000])
@pytest.mark.parametrize(("n", "m", "k", "shift"), [(400, 300, 3, 0.3), (210, 350, 5, 0.0), (50, 50, 1, 1.0)])
def test_equals_the_definitions(n, m, k, shift, numbers, monkeypatch):
    monkeypatch.setattr(manifold, "NUMBERS", numbers)  # in one part, in many
    real, fake = features(n), 0.8 * features(m, seed=1, shift=shift)
    expected = definitions(real, fake, k)
    scores = {**score(PrecisionRecall(k), real, fake), **score(DensityCoverage(k), real, fake)}
    for name, value in expected.items():
        assert scores[name].item() == pytest.approx(value, rel=1e-12)
        assert value > 0
    both = scores["precision"] + scores["recall"]
    assert scores["f_score"] == pytest.approx(2 * scores["precision"] * scores["recall"] / both)
    assert all(value.dtype == torch.float64 and value.shape == () for value in scores.values())


@pytest.mark.parametrize("d", [16, 64])
def test_equals_torch_fidelity(d):
    official = pytest.importorskip("torch_fidelity.metric_prc", reason="since torch-fidelity 0.4")
    real, fake = features(2100, d=d), 0.9 * features(2400, seed=1, shift=0.2, d=d)
    theirs = official.prc_features_to_metric(fake, real, verbose=False)
    ours = score(PrecisionRecall(), real, fake)
    for name in ("precision", "recall", "f_score"):
        assert ours[name].item() == pytest.approx(theirs[name], abs=1e-6)
        assert 0.01 < ours[name] < 0.99


def test_a_set_against_itself_is_exact():
    x = features(200, shift=100.0)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    scores = {**precision_recall(x, x[order]), **density_coverage(x, x[order])}
    assert {name: value.item() for name, value in scores.items()} == {
        "precision": 1,
        "recall": 1,
        "f_score": 1,
        "density": 1,  # k of the k + 1 nearest ones are inside, the last is on the surface
        "coverage": 1,
    }


def test_far_apart_and_collapsed():
    real = features(100)
    far = {**precision_recall(real, real + 50), **density_coverage(real, real + 50)}
    assert all(value == 0 for value in far.values())
    collapsed = precision_recall(real, real[:1].expand(60, 16))
    assert collapsed["precision"] == 1
    assert collapsed["recall"] == pytest.approx(1 / 100)
    equal = real[:1].expand(60, 16)
    assert all(value == 0 for value in density_coverage(equal, equal).values())


def test_common_shift_scale_and_order_do_not_matter():
    real, fake = features(150), features(140, seed=1, shift=0.2)
    for function in (precision_recall, density_coverage):
        expected = function(real, fake)
        for others in (
            function(real.double() + 1000, fake.double() + 1000),
            function(2 * real, 2 * fake),
            function(real.flip(0), fake.roll(5, 0)),
        ):
            for name, value in expected.items():
                assert others[name].item() == pytest.approx(value.item(), rel=1e-12)


@pytest.mark.parametrize(("metric", "k"), [(PrecisionRecall, 3), (DensityCoverage, 5)])
def test_refuses(metric, k):
    assert metric().k == k
    score(metric(), features(k + 1), features(k + 1))
    with pytest.raises(ValueError, match=f"got {k} generated samples: it needs at least {k + 1}"):
        score(metric(), features(9), features(k))
    with pytest.raises(ValueError, match="got one real sample"):
        score(metric(), features(1), features(9))
    with pytest.raises(ValueError, match="k=0"):
        metric(0)
    doubled = metric()
    doubled.update(features(9), torch.arange(9), real=True)
    with pytest.raises(ValueError, match="real sample 0 came twice"):
        score(doubled, features(9), features(9))
    function = {PrecisionRecall: precision_recall, DensityCoverage: density_coverage}[metric]
    with pytest.raises(ValueError, match="got 3 real samples"):
        function(features(3), features(9))
    with pytest.raises(ValueError, match=r"\(n, d\) and \(m, d\)"):
        function(features(9), features(9, d=3))
