import numpy as np
import pytest
import torch
from scipy import stats

from lightning_gans.models.realness.anchors import (
    Anchors,
    CustomAnchors,
    ReleasedAnchors,
    SkewNormalAnchors,
    histogram,
    shifted,
    skew_normals,
)
from lightning_gans.networks.rebuild import describe, rebuild


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def divergence(real, fake, floor=0.0):
    real, fake = real.double(), fake.double()
    return (torch.xlogy(real, real) - real * (fake + floor).log()).sum().item()


def exact(anchors, outcomes):
    """Before rounding to float32, which has no numbers below 1e-45."""
    return anchors.make(outcomes, rng())


@pytest.mark.parametrize(
    ("outcomes", "kl", "skewness"),
    [
        (51, 1.66, 1.3755), (51, 5.11, 2.7669), (51, 7.81, 3.5615), (51, 11.05, 4.3496), (51, 33.88, 8.0260),
        (20, 1.66, 1.3721), (20, 5.11, 2.7592), (20, 7.81, 3.5514), (20, 11.05, 4.3370), (20, 33.88, 8.0007),
        (5, 1.66, 1.4055), (5, 5.11, 2.8814), (5, 7.81, 3.6814), (5, 11.05, 4.4638), (5, 33.88, 8.0875),
    ],
)  # fmt: skip
def test_known_skewness(outcomes, kl, skewness):
    real, fake = skew_normals(skewness, outcomes)
    density = torch.from_numpy(stats.skewnorm.pdf(np.linspace(-3, 3, outcomes), skewness))
    torch.testing.assert_close(real, density / density.sum(), rtol=0, atol=1e-5)
    assert torch.equal(fake, real.flip(0))
    assert divergence(real, fake) == pytest.approx(kl, rel=1e-4)


def test_known_skew_normals():
    real, _ = skew_normals(4.4638, 5)
    assert real.tolist() == pytest.approx([0, 0, 0.598257, 0.388451, 0.013292], abs=2e-6)


@pytest.mark.parametrize(("jsd", "kl"), [(0.274, 1.66), (0.449, 5.11), (0.498, 7.81), (0.5316, 11.05)])
def test_divergences_of_the_paper(jsd, kl):
    assert divergence(*exact(SkewNormalAnchors(jsd), 51)) == pytest.approx(kl, rel=0.01)


@pytest.mark.parametrize("outcomes", [2, 3, 4, 5, 20, 51, 200])
@pytest.mark.parametrize("jsd", [0.01, 0.1, 0.27, 0.53, 0.6])
def test_skew_normals_are_as_far_apart_as_asked(outcomes, jsd):
    anchors = SkewNormalAnchors(jsd)
    if jsd > {3: 0.015, 5: 0.278}.get(outcomes, 0.65):  # most of both is on the outcome in the middle
        with pytest.raises(ValueError, match=rf"jsd={jsd}: {outcomes} outcomes allow no more than 0\.\d+"):
            anchors(outcomes, rng())
        return
    real, fake = exact(anchors, outcomes)
    middle = (real + fake) / 2
    assert divergence(real, middle) / 2 + divergence(fake, middle) / 2 == pytest.approx(jsd, rel=1e-6)
    assert [found.tolist() for found in anchors(outcomes, rng())] == [
        real.float().tolist(),
        fake.float().tolist(),
    ]
    assert torch.equal(real, fake.flip(0))
    for anchor in (real, fake):
        assert anchor.shape == (outcomes,)
        assert anchor.sum().item() == pytest.approx(1)
        assert (anchor > 0).all()
    places = torch.arange(outcomes, dtype=torch.float64)
    assert (real * places).sum() > (fake * places).sum()


@pytest.mark.parametrize("jsd", [0.0, -1.0, float("nan")])
def test_no_divergence(jsd):
    with pytest.raises(ValueError, match=r"jsd=.*: give a finite number, more than 0"):
        SkewNormalAnchors(jsd)


@pytest.mark.parametrize(
    ("distribution", "shift", "expected"),
    [
        ([0.1, 0.2, 0.4, 0.2, 0.1], -1, [0.7, 0.2, 0.1, 0, 0]),
        ([0.2] * 5, 1, [0, 0, 0.2, 0.2, 0.6]),
        ([0.2] * 5, 0.25, [0.1, 0.2, 0.2, 0.2, 0.3]),
        ([0.25] * 4, 1, [0, 0.125, 0.25, 0.625]),
        ([0.5, 0.5], 1, [0.25, 0.75]),
        ([0.1, 0.2, 0.7], 0, [0.1, 0.2, 0.7]),
        ([0.1, 0.2, 0.7], 2, [0, 0, 1]),
        ([0.1, 0.2, 0.7], -5, [1, 0, 0]),
    ],
)
def test_known_shifts(distribution, shift, expected):
    assert shifted(torch.tensor(distribution), shift).tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("outcomes", [2, 3, 7, 51])
@pytest.mark.parametrize("shift", [0, 0.04, 0.1, 1 / 3, 1, -1, 1.96, 2, 7])
def test_shifts_lose_no_mass(outcomes, shift):
    distribution = torch.rand(outcomes, dtype=torch.float64, generator=rng())
    assert shifted(distribution, shift).sum().item() == pytest.approx(distribution.sum().item(), abs=1e-12)


def test_shift_moves_the_mean():
    distribution = torch.tensor([0.0, 0.2, 0.5, 0.3, 0, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
    points = torch.linspace(-1, 1, 11, dtype=torch.float64)
    moved = shifted(distribution, 0.73)
    assert (moved * points).sum().item() == pytest.approx((distribution * points).sum().item() + 0.73)


def test_known_histogram():
    samples = torch.tensor([-1.0, -0.9, 0.0, 0.4, 1.0])
    assert histogram(samples, 2).tolist() == pytest.approx([0.4, 0.6])
    assert histogram(samples, 4).tolist() == pytest.approx([0.4, 0, 0.4, 0.2])
    assert histogram(torch.randn(1000, generator=rng()), 51).sum().item() == pytest.approx(1)


def test_released_anchors_on_average():
    anchors, stream = ReleasedAnchors(), rng()
    real, fake = (
        torch.stack(side).mean(0) for side in zip(*(anchors(5, stream) for _ in range(200)), strict=True)
    )
    assert real.tolist() == pytest.approx([0, 0, 0.2, 0.2, 0.6], abs=0.01)
    assert fake[0].item() == pytest.approx(0.73, abs=0.02)  # all but two of the five bins of 1000 samples
    assert fake[3:].tolist() == [0, 0]
    real, fake = anchors(3, stream)
    assert real.tolist() == pytest.approx([0, 1 / 3, 2 / 3], abs=0.05)
    assert fake[0] > 0.7
    assert fake[2] == 0


def test_divergence_of_released_anchors():
    """Known answer: 33.95 +- 0.17 with 1e-16 for 0."""
    anchors, stream = ReleasedAnchors(), rng()
    found = [divergence(*anchors(51, stream), floor=1e-16) for _ in range(50)]
    assert sum(found) / 50 == pytest.approx(33.95, abs=0.2)


def test_released_anchors_are_drawn_from_their_stream_alone():
    state = torch.get_rng_state()
    first, again, other = (ReleasedAnchors()(20, rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert ReleasedAnchors.redraws
    assert not SkewNormalAnchors.redraws


def test_custom_anchors():
    real, fake = CustomAnchors([0, 1], [1, 0])(2, rng())
    assert real.tolist() == [0, 1]
    assert fake.tolist() == [1, 0]
    with pytest.raises(ValueError, match="num_outcomes=5: the anchors have 2"):
        CustomAnchors([0, 1], [1, 0])(5, rng())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CustomAnchors([0.5, 0.5], [0.5, 0.5]), r"real and fake are both \[0.5, 0.5\]"),
        (lambda: CustomAnchors([0.5, 0.6], [1, 0]), r"real=\[0.5, 0.6\] sums to 1.1: make it 1"),
        (lambda: CustomAnchors([1, 0], [1.5, -0.5]), r"fake=1.5"),
        (lambda: CustomAnchors([1, 0], [0, 0, 1]), "real has 2 outcomes and fake 3: give equally many"),
        (lambda: CustomAnchors([float("nan"), 1], [1, 0]), r"real=nan"),
        (lambda: CustomAnchors([1], [1]), "both"),
        (lambda: ReleasedAnchors(shift=-1), "shift=-1: give a finite number, at least 0"),
        (lambda: ReleasedAnchors(shift=float("nan")), "shift=nan"),
        (lambda: ReleasedAnchors(samples=1), "samples=1"),
        (lambda: SkewNormalAnchors()(1, rng()), "num_outcomes=1"),
        (lambda: SkewNormalAnchors()(2.5, rng()), "num_outcomes=2.5: give a whole number of at least 2"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "anchors",
    [SkewNormalAnchors(0.4), ReleasedAnchors(0.5, samples=10), CustomAnchors([0, 1], [1, 0])],
)
def test_rebuilt_from_plain_values(anchors):
    again = rebuild(describe(anchors), (Anchors,))
    assert type(again) is type(anchors)
    outcomes = 2
    for one, two in zip(anchors(outcomes, rng()), again(outcomes, rng()), strict=True):
        assert torch.equal(one, two)
    assert list(anchors.parameters()) == []
    assert str(again) == str(anchors)
