"""Rejection sampling: on Gaussians with the best discriminator in closed form it turns q into p."""

import math

import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn
from torch.distributions import Normal

from lightning_gans import ACGAN, DCGAN, ConditionalGAN, LatentGame, RejectionSampler, models
from lightning_gans.game.ratios import terms
from lightning_gans.losses import gold
from lightning_gans.metrics.stream import LatentSamples, RejectedSamples, samples_of

FAR = 10.0
"""Class 0 is around -FAR, class 1 around FAR."""


class Game(LatentGame):
    """Data N(center, 0.5), generated N(center + 0.5, 1): the ratio of the densities has a largest value."""

    log_ratio = True

    def __init__(self, generator, discriminator, num_classes=None):
        super().__init__((1,), num_classes, {"dim": 2}, generator, discriminator)

    def discriminator_loss(self, real, fake):
        raise NotImplementedError

    generator_loss = discriminator_loss


class Labelled(Game):
    conditional = True

    def judge(self, side):
        return self.discriminator(side.images, side.labels)


class TwoHeads(Game):
    conditional = True

    def class_logits(self, judged):
        return judged[1]


def center(labels):
    return FAR * (2.0 * labels - 1)


class Generator(nn.Module):
    """A share of the samples is of the other class."""

    def __init__(self, wrong=0.0):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(0.5))
        self.edge = -1e9 if wrong == 0 else float(Normal(0, 1).icdf(torch.tensor(wrong)))

    def forward(self, latents, labels=None):
        made = latents[:, :1] + self.shift
        if labels is None:
            return made
        other = latents[:, 1:] < self.edge
        return made + torch.where(other, -1, 1) * center(labels)[:, None]


class Discriminator(nn.Module):
    """The log ratio without classes, and given the class; with two heads log p(x) / q(x) and log p(x | c)."""

    def __init__(self, two_heads=False):
        super().__init__()
        self.two_heads = two_heads

    def forward(self, images, labels=None):
        x = images.squeeze(1)
        if self.two_heads:
            centers = center(torch.arange(2))
            of_class, generated = Normal(centers, 0.5).log_prob(x[:, None]), Normal(centers + 0.5, 1)
            return of_class.logsumexp(1) - generated.log_prob(x[:, None]).logsumexp(1), of_class
        x = x if labels is None else x - center(labels)
        return Normal(0, 0.5).log_prob(x) - Normal(0.5, 1).log_prob(x)


class Values(nn.Module):
    """An image of class k is the k-th of some values, and so is its logit."""

    def __init__(self, *values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values, dtype=torch.float32))

    def forward(self, latents, labels):
        return self.values[labels][:, None]


class Same(nn.Module):
    def forward(self, images, labels=None):
        return images.squeeze(1)


def plain():
    return Game(Generator(), Discriminator())


def labelled():
    return Labelled(Generator(), Discriminator(), 2)


def two_heads():
    return TwoHeads(Generator(wrong=0.05), Discriminator(two_heads=True), 2)


def values(*of_class):
    return Labelled(Values(*of_class), Same(), len(of_class))


def sampler(game, p=0.5, **given):
    return RejectionSampler(game, p, **{"num_calibration": 2000, **given})


def count_candidates(game):
    """Return a list to which the game adds how many samples it makes, each time that it makes some."""
    drawn = []
    make = game.sample_from
    game.sample_from = lambda latents, *rest: drawn.append(len(latents)) or make(latents, *rest)
    return drawn


def divergence(samples, to):
    """KL of the histogram of some samples from the data around ``to``."""
    edges = to + torch.tensor([-1e4, *torch.arange(-1.5, 1.51, 0.1).tolist(), 1e4])
    data = Normal(to, 0.5).cdf(edges).diff()
    found = (torch.histogram(samples, edges).hist + 0.5) / len(samples)
    return float((data * (data / found).log()).sum())


# ------------------------------------------------------------------ the distribution


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (plain, {"mode": "max"}),
        (plain, {"p": 0.99}),
        (labelled, {"mode": "max"}),
        (labelled, {"p": 0.99, "per_class": True}),
        (two_heads, {"mode": "max", "balance": "none"}),
        (two_heads, {"p": 0.99, "balance": "none"}),
    ],
)
def test_q_becomes_p(make, given):
    game, n = make(), 10_000
    classes = 2 if game.conditional else 1
    accepted = sampler(game, num_calibration=20_000, **given).sample(n, seed=1)
    generated = game.sample(n, torch.arange(n) % 2 if game.conditional else None, seed=2)
    for k in range(classes):
        to = float(center(torch.tensor(k))) if game.conditional else 0.0
        own, before = accepted[k::classes, 0], generated[k::classes, 0]
        data = to + 0.5 * torch.randn(len(own), generator=torch.Generator().manual_seed(3))
        assert ks_2samp(own, data).pvalue > 0.01
        assert ks_2samp(before, data).pvalue < 1e-9
        assert divergence(before, to) > 20 * divergence(own, to)


def test_the_balanced_estimator_rejects_wrong_classes():
    game, labels = two_heads(), torch.arange(4000) % 2

    def wrong(samples):
        return float(((samples[:, 0] > 0) != labels).float().mean())

    assert wrong(game.sample(4000, labels, seed=0)) == pytest.approx(0.05, abs=0.01)
    for how in ("std", "rms"):
        assert wrong(sampler(game, balance=how).sample(4000, labels, seed=0)) < 0.01


def test_the_estimator_is_the_gap_of_the_densities():
    """With labels and the best discriminator, where no sample is of another class: log p_g(c | x) is 0."""
    game = TwoHeads(Generator(), Discriminator(two_heads=True), 2)
    labels = torch.arange(1000) % 2
    x = game.sample(1000, labels, seed=0)
    marginal, classes = terms(game, x, labels)
    to = center(labels)
    gap = Normal(to, 0.5).log_prob(x[:, 0]) - Normal(to + 0.5, 1).log_prob(x[:, 0])
    assert torch.allclose(gold.gold(marginal, classes, labels), gap, atol=1e-5)


# ------------------------------------------------------------------ the acceptance


def test_acceptance_of_known_gaps():
    """The fact sheet's test: d = 0, 1, 2, 3, 4."""
    found = sampler(values(0, 1, 2, 3, 4), num_calibration=10)
    expected = [0.1353, 0.3679, 1, 1, 1]
    assert found.class_acceptance.tolist() == pytest.approx(expected, abs=5e-5)
    assert found.acceptance == pytest.approx(0.7006, abs=5e-5)
    drs = sampler(values(0, 1, 2, 3, 4), mode="drs", p=0.1, num_calibration=100_000)
    # With many of each, the tenth percentile is among the lowest; d = 4 is the bound.
    logits = gold.drs_logits(torch.arange(5.0), 4.0)
    assert drs.class_acceptance.tolist() == pytest.approx((logits - logits[0]).sigmoid().tolist(), abs=1e-5)


def test_known_answers_of_the_functions():
    gap = torch.arange(5.0)
    for p, bound, mean in ((0.5, 2, 0.7006), (0.9, 3.6, 0.3705), (0.1, 0.4, 0.9341)):
        assert float(gold.log_bound(gap, p)) == pytest.approx(bound)
        assert float(gold.acceptance(gap, bound).mean()) == pytest.approx(mean, abs=5e-5)
    expected = [0.3982, 0.6501, 0.8473, 0.9538, 1.0]
    assert gold.drs_acceptance(gap, 4.0, 0.1).tolist() == pytest.approx(expected, abs=5e-5)
    assert gold.drs_logits(torch.tensor([4.0, -1e4]), 4.0).tolist() == pytest.approx(
        [13.8155, -13.8155], rel=1e-3
    )


@pytest.mark.parametrize("constant", [-1000.0, 1000.0])
@pytest.mark.parametrize("mode", ["quantile", "max", "drs"])
def test_a_constant_changes_nothing(mode, constant):
    gaps = (0.0, 1.0, 2.0, 3.0, 4.0)
    before, after = (sampler(values(*(gap + c for gap in gaps)), mode=mode) for c in (0, constant))
    assert torch.equal(before.class_acceptance, after.class_acceptance)
    assert torch.equal(before.sample(40, seed=0) + constant, after.sample(40, seed=0))


def test_a_higher_p_accepts_less():
    for mode in ("quantile", "drs"):
        rates = [sampler(two_heads(), p, mode=mode).acceptance for p in (0.1, 0.3, 0.5, 0.7, 0.9)]
        assert rates == sorted(set(rates), reverse=True)
        assert all(0 < rate < 1 for rate in rates)
    # Those above the quantile are always accepted.
    assert all(sampler(plain(), p).acceptance > 1 - p for p in (0.1, 0.5, 0.9))


def test_acceptance_is_that_of_the_samples():
    game, n = plain(), 20_000
    found = sampler(game, num_calibration=n)
    assert found.acceptance == pytest.approx(0.637, abs=0.01)
    drawn = count_candidates(game)
    found.sample(n, seed=0)
    assert n / sum(drawn) == pytest.approx(found.acceptance, abs=0.01)


class Doubtful(nn.Module):
    """l is the image; its class is certain by 0.9 where that is 1, by 1/3 where it is 0."""

    def forward(self, images):
        logits = images.squeeze(1)
        certain = torch.where(logits > 0.5, 0.9, 2 / 3)
        return logits, torch.stack([certain, 1 - certain], 1).log()


@pytest.mark.parametrize("how", ["std", "rms", "none"])
def test_the_ratio_is_that_of_the_calibration(how):
    """Not that of the candidates, here of a single class, whose conditional term is the same for all."""
    game = TwoHeads(Values(1, 0), Doubtful(), 2)
    found = sampler(game, 0.9, balance=how)
    sure, doubtful = math.log(0.9), math.log(1 / 3)
    by = {"std": (sure - doubtful) / 2, "rms": math.hypot(sure, doubtful) / 2**0.5, "none": 0.5}[how]
    gap = 1 + 0.5 / by * sure, 0.5 / by * doubtful
    assert found.class_acceptance.tolist() == pytest.approx([1, math.exp(gap[1] - gap[0])], abs=1e-4)
    drawn = count_candidates(game)
    found.sample(500, torch.ones(500, dtype=torch.int64), seed=0)
    assert 500 / sum(drawn) == pytest.approx(float(found.class_acceptance[1]), abs=0.02)


def test_terms_do_not_depend_on_the_parts():
    for game, labels in ((labelled(), torch.arange(50) % 2), (two_heads(), None)):
        images = 5 * torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
        whole, parts = (terms(game, images, labels, size) for size in (50, 7))
        assert torch.equal(parts[0], whole[0])
        assert whole[1] is None if labels is not None else torch.equal(parts[1], whole[1])


def test_defaults_of_the_paper():
    found = RejectionSampler(labelled())
    assert (found.p, found.mode, found.balance, found.per_class) == (0.5, "quantile", "std", False)
    assert found.num_calibration == 50_000


# ------------------------------------------------------------------ what is returned


@pytest.mark.parametrize("n", [1, 7, 1501])
def test_exactly_what_was_asked_for(n):
    labels = torch.randint(2, (n,), generator=torch.Generator().manual_seed(n))
    for found in (sampler(labelled()), sampler(labelled(), per_class=True), sampler(labelled(), mode="drs")):
        samples = found.sample(n, labels, seed=0)
        assert samples.shape == (n, 1)
        assert torch.equal(samples[:, 0] > 0, labels == 1)
    assert torch.equal(sampler(labelled()).sample(n)[:, 0] > 0, torch.arange(n) % 2 == 1)
    assert sampler(plain()).sample(n).shape == (n, 1)


def test_only_one_class():
    assert bool((sampler(labelled()).sample(300, torch.ones(300, dtype=torch.int64)) > 0).all())


def test_what_is_rejected():
    found = sampler(plain(), 0.9)
    accepted, rejected = (found.sample(2000, seed=0, rejected=r) for r in (False, True))
    assert float(rejected.mean()) > 0.5 > float(accepted.mean()) + 0.4


def test_a_seed_decides_the_samples():
    game = two_heads()
    first, second = sampler(game, seed=5), sampler(game, seed=5)
    assert torch.equal(first.sample(50, seed=1), second.sample(50, seed=1))
    assert not torch.equal(first.sample(50, seed=1), first.sample(50, seed=2))
    one, other = first.sample(50), first.sample(50)
    assert not torch.equal(one, other)
    assert torch.equal(torch.cat([second.sample(50), second.sample(50)]), torch.cat([one, other]))


def test_nothing_else_is_changed():
    game = ConditionalGAN((1, 8, 8), 3)
    game.generator.train()
    game.discriminator.eval()
    state, before = torch.get_rng_state(), {k: v.clone() for k, v in game.state_dict().items()}
    sampler(game, num_calibration=40).sample(9)
    assert torch.equal(torch.get_rng_state(), state)
    assert game.generator.training
    assert not game.discriminator.training
    assert all(torch.equal(value, before[name]) for name, value in game.state_dict().items())


def test_averaged_weights():
    game = plain()
    game.start_ema()
    with torch.no_grad():
        game.generator.shift.fill_(30.0)
    assert float(sampler(game).sample(100).max()) < 5
    assert float(sampler(game, ema=False).sample(100).min()) > 20


def test_calibrated_once_until_asked_for():
    game = plain()
    found = sampler(game)
    before = found.acceptance
    with torch.no_grad():
        game.generator.shift.fill_(2.0)
    assert found.acceptance == before
    found.calibrate()
    assert found.acceptance < before


def test_bfloat16_for_what_is_not_returned():
    game = ACGAN((1, 8, 8), 3, generator={"width": 8, "hidden": 16}, discriminator={"width": 8, "hidden": 16})
    with torch.no_grad():
        game.discriminator.source.weight.mul_(100)
    fine, rough = (sampler(game, 0.7, num_calibration=600, precision=x) for x in ("fp32", "bf16"))
    assert rough.acceptance == pytest.approx(fine.acceptance, abs=0.02)
    accepted = [found.sample(200, seed=0) for found in (fine, rough)]
    same = torch.isclose(accepted[0][:, None], accepted[1][None], atol=1e-5).flatten(2).all(2).any(1)
    assert same.float().mean() > 0.9  # the same candidates, in float32
    assert accepted[1].dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):  # then plain sampling is rough, too
        same = rough.sample(200, seed=0)
        assert torch.equal(same.bfloat16().float(), same)
        exact = fine.sample(200, seed=0)
        assert not torch.equal(exact.bfloat16().float(), exact)
    assert not torch.equal(accepted[1].bfloat16().float(), accepted[1])


@pytest.mark.parametrize("make", [plain, labelled])
def test_a_stream_has_the_same_samples_however_it_is_read(make, monkeypatch):
    monkeypatch.setattr(RejectedSamples, "BLOCK", 40)
    stream = RejectedSamples(sampler(make(), seed=3), 101, seed=3)
    whole = list(stream.batches(range(101), 101))
    assert torch.cat([batch.index for batch in whole]).tolist() == list(range(101))
    values = torch.cat([batch.values for batch in whole])
    parts = [*stream.batches(range(50), 7), *stream.batches(range(50, 101), 30)]
    assert torch.equal(torch.cat([part.values for part in parts]), values)
    assert len(values.unique()) == 101
    if make is labelled:
        assert torch.equal(torch.cat([part.labels for part in parts]), torch.arange(101) % 2)
        assert torch.equal(values[:, 0] > 0, torch.arange(101) % 2 == 1)


def test_samples_of_a_game_with_and_without():
    stream = samples_of(labelled(), 10, seed=4, rejection=0.3)
    assert isinstance(stream, RejectedSamples)
    assert (stream.count, stream.sampler.p, stream.candidates.seed) == (10, 0.3, 4)
    assert isinstance(samples_of(labelled(), 10), LatentSamples)
    only = next(iter(RejectedSamples(sampler(labelled()), 10, classes=[1]).batches(range(10), 10)))
    assert (only.labels.unique().tolist(), bool((only.values > 0).all())) == ([1], True)


# ------------------------------------------------------------------ what is refused


def test_games_without_density_ratios():
    refused = set()
    for name in models.__all__:
        kind = getattr(models, name)
        if not getattr(kind, "log_ratio", False):
            with pytest.raises(ValueError, match=f"rejection: .*{name}"):
                sampler(object.__new__(kind))
            refused.add(name)
    assert {"WGAN", "LSGAN", "HingeGAN", "CoulombGAN", "RealnessGAN", "VEEGAN", "Pix2Pix"} <= refused
    assert not {"GAN", "DCGAN", "ConditionalGAN", "ACGAN", "GOLDACGAN", "UnrolledGAN", "DeLiGAN"} & refused


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"p": 0.0}, "p=0.0"),
        ({"p": 1.0}, "p=1.0"),
        ({"p": float("nan")}, "p=nan"),
        ({"mode": "mean"}, "mode='mean'"),
        ({"balance": "both"}, "balance='both'"),
        ({"precision": "fp16"}, "precision='fp16'"),
        ({"num_calibration": 3}, "num_calibration=3"),
        ({"max_draws": 0}, "max_draws=0"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_arguments(given, words):
    with pytest.raises(ValueError, match=words):
        sampler(labelled(), **given)


def test_bad_samples():
    with pytest.raises(ValueError, match="per_class=True"):
        sampler(plain(), per_class=True)
    with pytest.raises(ValueError, match="n=0"):
        sampler(plain()).sample(0)
    with pytest.raises(ValueError, match="labels given"):
        sampler(plain()).sample(2, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"labels\[1\]=2"):
        sampler(labelled()).sample(2, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="labels is int64"):
        sampler(labelled()).sample(2, torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match="not finite"):
        sampler(values(0, float("nan"))).calibrate()


def test_a_class_that_starves():
    game = values(0, -1000, 1)
    with pytest.raises(ValueError, match=r"class 1 starves: 0 of its samples.*per_class"):
        sampler(game).sample(30)
    assert sampler(game).sample(30, torch.tensor([0, 2]).repeat(15)).shape == (30, 1)  # which lack nothing
    assert sampler(game, per_class=True).sample(30).shape == (30, 1)
    with pytest.raises(ValueError, match="class 1 starves: 5e-05"):
        sampler(values(0, -9.9, 0)).sample(30)
    with pytest.raises(ValueError, match=r"class 0 starves: 0 of its samples are rejected.*raise p"):
        sampler(game).sample(30, rejected=True)
    with pytest.raises(ValueError, match="use mode=quantile"):
        sampler(values(0, -9.9), mode="max").sample(30)


def test_few_are_accepted_and_tries_are_bounded():
    few = values(0, -8, 0)  # 1 of 3,000
    assert sampler(few, max_draws=100_000).sample(3, seed=0).shape == (3, 1)
    with pytest.raises(ValueError, match=r"max_draws=100000: .* class 1, which starves .accepted: 0.00034"):
        sampler(few, max_draws=100_000).sample(3000)


def test_a_class_that_starves_later():
    """As candidates come out otherwise than those of the calibration did."""
    game = values(0, 0, 0)
    found = sampler(game, max_draws=20_000, num_calibration=30)
    found.calibrate()
    with torch.no_grad():
        game.generator.values[2] = -1000
    with pytest.raises(ValueError, match=r"max_draws=20000: .* class 2, .* 10 lack after [1-9]"):
        found.sample(30)


def test_dcgan_without_labels():
    game = DCGAN((1, 8, 8), generator={"width": 4}, discriminator={"width": 4})
    found = sampler(game, num_calibration=50)
    assert found.class_acceptance is None
    assert found.sample(5).shape == (5, 1, 8, 8)
