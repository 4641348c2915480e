import pickle
import warnings

import numpy as np
import pytest
import torch
import torchmetrics.image.fid
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from lightning_gans.metrics.frechet import (
    FID,
    PerClassFID,
    class_statistics,
    feature_statistics,
    frechet_distance,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*biased upwards")


def features(n, d=32, seed=0, shift=0.0):
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=torch.Generator().manual_seed(100))
    return torch.randn(n, d, generator=rng) @ mixing + shift


def fid(real, fake, batch_size=64):
    metric = FID()
    for side, values in ((True, real), (False, fake)):
        for batch in values.split(batch_size):
            metric.update(batch, real=side)
    return metric.compute()


def nuclear(real, fake):
    """The distance from the samples themselves: exact also where covariances are singular."""
    a, b = ((x.double() - x.double().mean(0)) / (len(x) - 1) ** 0.5 for x in (real, fake))
    means = (real.double().mean(0) - fake.double().mean(0)).square().sum()
    return (means + a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum()).item()


def test_equals_torch_fidelity():
    real, fake = features(2500, 64), features(2100, 64, seed=1, shift=0.1)
    score = fid(real, fake)
    official = fid_statistics_to_metric(
        *(fid_features_to_statistics(x.double()) for x in (fake, real)), verbose=False
    )["frechet_inception_distance"]
    assert score["fid"].item() == pytest.approx(official, rel=1e-9)
    assert score["fid"].dtype == torch.float64
    assert score["fid"].shape == ()


def test_equals_torchmetrics():
    class Flat(torch.nn.Module):
        num_features = 48

        def forward(self, images):
            return images.flatten(1).float()

    rng = torch.Generator().manual_seed(0)
    real, fake = (torch.randint(0, top, (2000, 3, 4, 4), generator=rng) for top in (256, 200))
    theirs = torchmetrics.image.fid.FrechetInceptionDistance(feature=Flat())
    theirs.update(real.to(torch.uint8), real=True)
    theirs.update(fake.to(torch.uint8), real=False)
    ours = fid(real.flatten(1).float(), fake.flatten(1).float())
    assert ours["fid"].item() == pytest.approx(theirs.compute().item(), rel=1e-6)  # theirs rounds to float32


def test_closed_form_of_gaussians():
    # Commuting covariances: the distance is that of the means and of the standard deviations.
    mu1, mu2 = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 5.0])
    s1, s2 = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 4.0, 1.0])
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double()).Q
    sigma1, sigma2 = (turn @ torch.diag(s.double()) @ turn.T for s in (s1, s2))
    distance = frechet_distance(mu1, sigma1, mu2, sigma2)
    assert distance.item() == pytest.approx(1 + 0 + 4 + 1 + 0 + 4, rel=1e-12)
    assert frechet_distance(mu2, sigma2, mu1, sigma1).item() == pytest.approx(distance.item(), rel=1e-12)


def test_known_distances_of_gaussians():
    unit, origin = torch.eye(2), torch.zeros(2)
    assert frechet_distance(origin, unit, torch.tensor([3.0, 4.0]), unit).item() == pytest.approx(25)
    assert frechet_distance(origin, torch.diag(torch.tensor([4.0, 1.0])), origin, unit).item() == (
        pytest.approx(1)
    )


@pytest.mark.parametrize(("n", "d"), [(500, 32), (20, 32), (2, 8), (200, 256)])
def test_a_set_has_no_distance_to_itself(n, d):
    x = features(n, d)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    score = fid(x, x[order], batch_size=7)
    assert 0 <= score["fid"] < 1e-6
    assert 0 <= score["fid"] < 1e-6


@pytest.mark.parametrize(("n", "m"), [(100, 100), (100, 400), (400, 90), (300, 2), (201, 200)])
def test_fewer_samples_than_features(n, m):
    real, fake = features(n, 200), features(m, 200, seed=1, shift=0.2)
    assert fid(real, fake)["fid"].item() == pytest.approx(nuclear(real, fake), rel=1e-9)


def test_dead_features_and_a_collapsed_generator():
    real, fake = features(300, 64), features(300, 64, seed=1)
    real[:, 10:30] = 0
    fake[:, 20:60] = 0
    assert fid(real, fake)["fid"].item() == pytest.approx(nuclear(real, fake), rel=1e-7)
    fake[:] = fake[0]
    assert fid(real, fake)["fid"].item() == pytest.approx(nuclear(real, fake), rel=1e-7)


def test_common_shift_order_and_batches_do_not_matter():
    real, fake = features(300).double(), features(200, seed=1, shift=0.3).double()
    score = fid(real, fake)["fid"].item()
    assert fid(real + 1000, fake + 1000)["fid"].item() == pytest.approx(score, rel=1e-6)
    assert fid(real.flip(0), fake.roll(7, 0), batch_size=33)["fid"].item() == pytest.approx(score, rel=1e-11)
    assert fid(fake, real)["fid"].item() == pytest.approx(score, rel=1e-11)


def test_stored_statistics_stand_for_samples():
    real, fake = features(300), features(200, seed=1)
    expected = fid(real, fake)["fid"].item()
    known = feature_statistics(real)
    np.testing.assert_allclose(known.sigma, np.cov(real.double().numpy(), rowvar=False), rtol=1e-10)
    for n in (known.n, 300, None):
        metric = FID()
        metric.set_real(known.mu, known.sigma, n)
        metric.update(fake, real=False)
        assert metric.compute()["fid"].item() == pytest.approx(expected, rel=1e-10)
    metric.set_real(*feature_statistics(fake))
    assert metric.compute()["fid"] < 1e-9
    with pytest.raises(ValueError, match="count twice"):
        metric.update(real, real=True)
    metric.reset()
    metric.update(fake, real=False)
    with pytest.raises(ValueError, match="no real samples"):
        metric.compute()


def test_few_samples_warn_and_many_do_not():
    with pytest.warns(
        UserWarning, match="FID of 30 samples a set with 32 features: the covariance is singular"
    ):
        fid(features(30), features(40))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fid(features(33), features(40))


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (features(1), features(5), "FID got one real sample: it needs at least 2"),
        (features(5), features(1), "FID got one generated sample:"),
        (features(5), features(5, 31), "size 31 after 32"),
        (features(5), torch.ones(5, 32, 1), r"shape \(5, 32, 1\)"),
        (features(5), torch.ones(5, 0), r"shape \(5, 0\)"),
    ],
)
def test_refuses(real, fake, message):
    with pytest.raises(ValueError, match=message):
        fid(real, fake)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_names_the_first_bad_sample(bad):
    fake = features(200)
    fake[130:, 3] = bad
    with pytest.raises(ValueError, match="features of sample 130 are not finite"):
        fid(features(200), fake)
    with pytest.raises(ValueError, match="features of sample 130"):
        feature_statistics(fake)


def test_refuses_statistics():
    known = feature_statistics(features(50))
    with pytest.raises(ValueError, match="one real sample"):
        FID().set_real(known.mu, known.sigma, 1)
    with pytest.raises(ValueError, match="do not fit each other"):
        FID().set_real(known.mu[:5], known.sigma, 50)
    with pytest.raises(ValueError, match="not finite"):
        FID().set_real(known.mu * torch.nan, known.sigma, 50)
    with pytest.raises(ValueError, match="num_classes=3, real statistics have 2"):
        PerClassFID(3).set_real(*class_statistics(features(50), torch.arange(50) % 2, 2))
    with pytest.raises(ValueError, match="Frechet distance needs"):
        frechet_distance(known.mu, known.sigma, known.mu[:3], known.sigma[:3, :3])
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(known.mu, known.sigma * torch.inf, known.mu, known.sigma)
    with pytest.raises(ValueError, match="no generated samples"):
        FID().compute()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_empty_batches_copies_and_new_evaluations():
    real, fake = features(100), features(90, seed=1)
    expected = fid(real, fake)["fid"].item()
    metric = FID()
    for _ in range(3):
        metric.update(real, real=True)
        metric.update(fake[:50], real=False)
        metric.compute()  # in between
        metric.update(fake[:0], real=False)
        metric = pickle.loads(pickle.dumps(metric))
        metric.update(fake[50:], real=False)
        assert metric.clone().compute()["fid"].item() == pytest.approx(expected, rel=1e-12)
        metric.reset()
    assert FID(32).size == 32
    with pytest.raises(ValueError, match="at least one column"):
        FID(0)


def per_class(real, fake, classes=3):
    metric = PerClassFID(classes)
    for side, (values, labels) in ((True, real), (False, fake)):
        for batch in zip(values.split(64), labels.split(64), strict=True):
            metric.update(*batch, real=side)
    return metric.compute()


def test_per_class_is_fid_of_every_class():
    real, fake = features(300), features(200, seed=1)
    real_labels, fake_labels = torch.arange(300) % 3, torch.arange(200) % 3 - 1  # -1: of no class
    scores = per_class((real, real_labels), (fake, fake_labels))
    expected = [
        fid(real[real_labels == c], fake[fake_labels == c])["fid"].item() if c < 2 else torch.nan
        for c in range(3)
    ]
    np.testing.assert_allclose(scores["intra_fid_per_class"], expected, rtol=1e-10)
    assert scores["intra_fid"].item() == pytest.approx(np.mean(expected[:2]), rel=1e-10)
    assert scores["intra_fid_classes"] == 2

    metric = PerClassFID()
    metric.set_real(*class_statistics(real, real_labels, 3))
    metric.update(fake, fake_labels, real=False)
    np.testing.assert_allclose(metric.compute()["intra_fid_per_class"], expected, rtol=1e-10)


def test_per_class_without_a_class_in_common():
    x, labels = features(40), torch.zeros(40, dtype=torch.int64)
    scores = per_class((x, labels), (x, labels + 1))
    assert scores["intra_fid"].isnan()
    assert scores["intra_fid_classes"] == 0
    single = per_class((x, labels), (x, torch.cat([labels[:39], labels[:1] + 1])))
    assert single["intra_fid_classes"] == 1


def test_per_class_refuses():
    x, labels = features(40), torch.zeros(40, dtype=torch.int64)
    metric = PerClassFID()
    with pytest.raises(ValueError, match="give num_classes"):
        metric.update(x, labels, real=True)
    metric.num_classes = 1
    metric.update(x, labels, real=True)
    with pytest.raises(ValueError, match=r"labels\[0\]=3: give -1 to 2"):
        per_class((x, labels + 3), (x, labels))
    with pytest.raises(ValueError, match="labels"):
        per_class((x, labels.float()), (x, labels))
    with pytest.raises(ValueError, match="no generated samples"):
        per_class((x, labels), (x, labels - 1))
    with pytest.raises(ValueError, match="no generated samples"):
        PerClassFID(3).compute()
