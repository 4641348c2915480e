import pickle

import numpy as np
import pytest
import torch
import torchmetrics.image.kid
from torch_fidelity.metric_kid import kid_features_to_metric

from lightning_gans.metrics.kernel import KID, kernel_distance

SMALL = {"subsets": 5, "subset_size": 50}


def features(n, seed=0, shift=0.0, d=16):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def kid(metric, real, fake, batch_size=64, order=None):
    for side, values in ((True, real), (False, fake)):
        index = torch.arange(len(values))
        if order is not None:
            keys = torch.rand(len(values), generator=torch.Generator().manual_seed(order)).argsort()
            values, index = values[keys], index[keys]
        for batch in zip(values.split(batch_size), index.split(batch_size), strict=True):
            metric.update(*batch, real=side)
    return metric.compute()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"subsets": 10}, {"kid_subsets": 10}),
        (
            {"subsets": 7, "subset_size": 300, "degree": 2, "gamma": 0.1, "coef0": 0.5, "seed": 1},
            {
                "kid_subsets": 7,
                "kid_subset_size": 300,
                "kid_kernel_poly_degree": 2,
                "kid_kernel_poly_gamma": 0.1,
                "kid_kernel_poly_coef0": 0.5,
                "rng_seed": 1,
            },
        ),
    ],
)
def test_equals_torch_fidelity(ours, theirs):
    real, fake = features(2100), features(2400, seed=1, shift=0.05)
    official = kid_features_to_metric(fake.double(), real.double(), verbose=False, **theirs)
    scores = kid(KID(**ours), real, fake, order=3)
    assert scores["kid"].item() == pytest.approx(official["kernel_inception_distance_mean"], rel=1e-10)
    assert scores["kid_std"].item() == pytest.approx(official["kernel_inception_distance_std"], rel=1e-9)
    assert scores["kid"].dtype == torch.float64
    single = kid_features_to_metric(fake, real, verbose=False, **theirs)["kernel_inception_distance_mean"]
    assert scores["kid"].item() == pytest.approx(single, rel=1e-3)


def test_defaults_are_the_protocol():
    metric = KID()
    assert (metric.subsets, metric.subset_size, metric.seed) == (100, 1000, 2020)


@pytest.mark.filterwarnings("ignore:KID of")
def test_equals_torchmetrics():
    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1).float() / 255

    rng = torch.Generator().manual_seed(0)
    real, fake = (torch.randint(0, top, (100, 3, 2, 2), generator=rng) for top in (256, 200))
    # Subsets are all samples: there is nothing to draw.
    theirs = torchmetrics.image.kid.KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=100)
    theirs.update(real.to(torch.uint8), real=True)
    theirs.update(fake.to(torch.uint8), real=False)
    ours = kid(KID(subsets=1), real.flatten(1) / 255, fake.flatten(1) / 255)
    assert ours["kid"].item() == pytest.approx(theirs.compute()[0].item(), rel=1e-3)


def test_one_distribution_is_near_zero_and_another_is_not():
    same = kid(KID(10, 500), features(1000), features(1000, seed=1))
    assert abs(same["kid"]) < 3 * same["kid_std"] + 1e-3
    assert kid(KID(10, 500), features(1000), features(1000, seed=1, shift=1.0))["kid"] > 1


def test_smaller_subsets_with_a_warning():
    with pytest.warns(UserWarning, match="80 real and 70 generated samples: subsets of 70 instead of 1000"):
        scores = kid(KID(subsets=3), features(80), features(70, seed=1))
    assert scores["kid"].isfinite()


def test_order_batches_copies_and_generators():
    real, fake = features(100), features(90, seed=1, shift=0.1)
    expected = kernel_distance(real, fake, **SMALL)["kid"].item()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for order, batch_size in ((None, 100), (1, 7), (2, 64)):
        metric = pickle.loads(pickle.dumps(KID(**SMALL)))
        for _ in range(2):
            metric.reset()
            assert kid(metric, real, fake, batch_size, order)["kid"].item() == pytest.approx(
                expected, rel=1e-12
            )
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_refuses():
    with pytest.raises(ValueError, match="got one generated sample"):
        kid(KID(), features(5), features(1))
    with pytest.raises(ValueError, match="got no real samples"):
        kid(KID(), features(0), features(5))
    with pytest.raises(ValueError, match="no real samples"):
        KID().compute()
    with pytest.raises(ValueError, match="size 8 after 16"):
        kid(KID(), features(5), features(5, d=8))
    with pytest.raises(ValueError, match="subset_size=1"):
        KID(subset_size=1)
    with pytest.raises(ValueError, match="subsets=0"):
        kernel_distance(features(5), features(5), subsets=0)
    with pytest.raises(ValueError, match=r"KID needs \(n, d\) and \(m, d\)"):
        kernel_distance(features(5), features(5, d=8))
    metric = KID()
    for _ in range(2):  # as a loader does that gives every rank the whole set
        metric.update(features(5), torch.arange(5), real=True)
    metric.update(features(5), torch.arange(5), real=False)
    with pytest.raises(ValueError, match="real sample 0 came twice"):
        metric.compute()
    bad = features(9)
    bad[6] = torch.nan
    with pytest.raises(ValueError, match="features of sample 106 are not finite"):
        metric.update(bad, torch.arange(100, 109), real=False)
    with pytest.raises(ValueError, match="real features of sample 6"):
        kernel_distance(bad, features(9))
