"""Known answers come from the paper's formulas, worked out by hand or in numpy."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import kl_div, softplus

from lightning_gans.losses import gan
from lightning_gans.models.realness import losses as realness

from .two_ranks_realness import gradients

A1 = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
A0 = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
REAL = torch.tensor([[0.0, 0.0, 0.0]], dtype=torch.float64)
FAKE = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)


def batch(n=6, outcomes=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    real, fake = (3 * torch.randn(n, outcomes, generator=rng, dtype=torch.float64) for _ in range(2))
    anchors = torch.rand(2, outcomes, generator=rng, dtype=torch.float64)
    return real, fake, *(anchors / anchors.sum(1, keepdim=True))


def generator_losses(real, fake, anchor_real, anchor_fake):
    return {
        1: realness.ideal_generator_loss(fake, anchor_fake),
        2: realness.generator_loss(real, fake, anchor_fake),
        3: realness.anchor_generator_loss(fake, anchor_real, anchor_fake),
    }


def test_known_divergences():
    assert realness.kl_divergence(A1, A0.log()[None]).item() == pytest.approx(1.167546, abs=1e-6)
    assert realness.optimum(A1, A0).item() == pytest.approx(0.506203, abs=1e-6)
    assert realness.cross_entropy(A1, REAL).item() == pytest.approx(1.098612, abs=1e-6)
    assert realness.cross_entropy(A1, FAKE).item() == pytest.approx(2.007606, abs=1e-6)
    assert realness.cross_entropy(A0, FAKE).item() == pytest.approx(0.807606, abs=1e-6)
    assert realness.kl_divergence(A0, FAKE).item() == pytest.approx(0.005787, abs=1e-6)
    assert realness.kl_divergence(A1, FAKE).item() == pytest.approx(1.205787, abs=1e-6)
    loss = realness.discriminator_loss(REAL, FAKE, A1, A0)
    assert loss.item() == pytest.approx(1.098612 + 0.807606, abs=1e-6)


@pytest.mark.parametrize(
    ("objective", "value", "gradient"),
    [
        (1, -0.005787, [0.0348, -0.0447, 0.0100]),
        (2, 0.303206, [0.3667, -0.1333, -0.2333]),
        (3, 1.200000, [0.6, 0.0, -0.6]),
    ],
)
def test_known_objectives_of_the_generator(objective, value, gradient):
    fake = FAKE.clone().requires_grad_()
    loss = generator_losses(REAL, fake, A1, A0)[objective]
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=1e-6)
    assert fake.grad[0].tolist() == pytest.approx(gradient, abs=1e-4)
    assert fake.grad.sum().item() == pytest.approx(0, abs=1e-12)


def test_divergence_equals_torchs():
    real, _, anchor, _ = batch()
    expected = kl_div(real.log_softmax(1), anchor.expand_as(real), reduction="batchmean")
    assert realness.kl_divergence(anchor, real).item() == pytest.approx(expected.item())


def test_optimal_discriminator():
    """At p_data = 0.3 and p_g = 0.1 it says (0.25, 0.20, 0.55): no gradient is left there."""
    best = torch.tensor([[0.25, 0.20, 0.55]], dtype=torch.float64).log().requires_grad_()
    loss = 0.3 * realness.cross_entropy(A1, best) + 0.1 * realness.cross_entropy(A0, best)
    loss.backward()
    assert best.grad.abs().max() < 1e-15


@pytest.mark.parametrize("seed", range(3))
def test_optimum_is_the_least_value_where_data_and_generator_agree(seed):
    real, _, anchor_real, anchor_fake = batch(seed=seed)

    def value(logits):
        return realness.kl_divergence(anchor_real, logits) + realness.kl_divergence(anchor_fake, logits)

    best = ((anchor_real + anchor_fake) / 2).log()[None]
    assert value(best).item() == pytest.approx(realness.optimum(anchor_real, anchor_fake).item())
    assert value(real) > value(best)


def test_optimum_of_extremes():
    apart = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    assert realness.optimum(*apart).item() == pytest.approx(2 * math.log(2))
    assert realness.optimum(A1, A1).item() == pytest.approx(0, abs=1e-15)


def test_two_outcomes_are_the_first_gan():
    real, fake, *_ = batch(outcomes=2)
    anchors = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    t, s = real[:, 1] - real[:, 0], fake[:, 1] - fake[:, 0]
    loss = realness.discriminator_loss(real, fake, *anchors)
    assert loss.item() == pytest.approx((softplus(-t).mean() + softplus(s).mean()).item())
    objectives = generator_losses(real, fake, *anchors)
    assert objectives[1].item() == pytest.approx(gan.minimax_generator_loss(s).item())
    assert objectives[3].item() == pytest.approx(-s.mean().item())


def test_gradients_equal_finite_differences():
    real, fake, *anchors = batch()
    real.requires_grad_()
    fake.requires_grad_()
    noise = batch(seed=1)[0]
    assert gradcheck(lambda r, f: realness.discriminator_loss(r, f, *anchors), (real, fake))
    for objective in (1, 2, 3):
        assert gradcheck(lambda f, o=objective: generator_losses(real, f, *anchors)[o], (fake,))
    assert gradcheck(lambda f: realness.resample(f, noise), (fake,))
    assert gradcheck(lambda f: realness.reparametrise(f, noise[:, :2]), (fake,))
    resampled = lambda r, f: realness.discriminator_loss(  # noqa: E731
        realness.resample(r, noise), realness.resample(f, noise), *anchors
    )
    assert gradcheck(resampled, (real, fake))


def test_gradients_of_the_objectives_are_those_derived():
    real, fake, anchor_real, anchor_fake = batch()
    expected = {
        1: anchor_fake - fake.softmax(1),
        2: anchor_fake - real.softmax(1),
        3: (anchor_fake - anchor_real).expand_as(fake),
    }
    for objective, gradient in expected.items():
        logits = fake.clone().requires_grad_()
        generator_losses(real, logits, anchor_real, anchor_fake)[objective].backward()
        torch.testing.assert_close(len(fake) * logits.grad, gradient)


def test_relativistic_objective_does_not_train_the_real_side():
    real, fake, _, anchor = batch()
    realness.generator_loss(real.requires_grad_(), fake.requires_grad_(), anchor).backward()
    assert real.grad is None
    assert fake.grad.abs().sum() > 0


def test_order_of_the_batch_does_not_matter():
    real, fake, *anchors = batch()
    order = torch.randperm(len(real))
    loss = realness.discriminator_loss(real, fake, *anchors)
    shuffled = realness.discriminator_loss(real[order], fake.flip(0), *anchors)
    assert shuffled.item() == pytest.approx(loss.item())
    once = generator_losses(real, fake, *anchors)
    again = generator_losses(real[order], fake[order], *anchors)  # pairs stay pairs
    assert all(again[k].item() == pytest.approx(once[k].item()) for k in once)


def test_swapping_real_and_fake_swaps_the_anchors():
    real, fake, anchor_real, anchor_fake = batch()
    one = realness.discriminator_loss(real, fake, anchor_real, anchor_fake)
    assert torch.equal(one, realness.discriminator_loss(fake, real, anchor_fake, anchor_real))
    assert one != realness.discriminator_loss(real, fake, anchor_fake, anchor_real)


def test_outcomes_in_another_order_give_the_same_losses():
    real, fake, *anchors = batch()
    mirrored = [x.flip(-1) for x in (real, fake, *anchors)]
    for k, loss in generator_losses(real, fake, *anchors).items():
        assert generator_losses(*mirrored)[k].item() == pytest.approx(loss.item())


def test_extreme_logits_and_zeros_in_anchors_stay_finite():
    anchors = torch.tensor([0.0, 0.25, 0.75]), torch.tensor([1.0, 0.0, 0.0])
    real = torch.tensor([[1e4, 0.0, -1e4]])
    fake = torch.tensor([[-1e4, 1e4, 0.0]], requires_grad=True)
    for loss in generator_losses(real, fake, *anchors).values():
        (gradient,) = torch.autograd.grad(loss, fake)
        assert loss.isfinite()
        assert gradient.isfinite().all()
    assert realness.discriminator_loss(real, fake, *anchors).isfinite()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_upcast(dtype):
    real, fake, *anchors = (x.float() for x in batch(512))
    real, fake, noise = real.to(dtype), fake.to(dtype), torch.randn(512, 4)
    rounded = realness.discriminator_loss(real, fake, *anchors)
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, realness.discriminator_loss(real.float(), fake.float(), *anchors))
    exact = generator_losses(real.float(), fake.float(), *anchors)
    assert all(torch.equal(loss, exact[k]) for k, loss in generator_losses(real, fake, *anchors).items())
    assert torch.equal(realness.resample(real, noise), realness.resample(real.float(), noise))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(realness.discriminator_loss(real, fake, *anchors), rounded)


def test_known_resampling():
    logits = torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 4.0]])
    ones = torch.ones(3, 2)
    assert torch.equal(realness.resample(logits, 0 * ones), torch.tensor([3.0, 4.0]).expand(3, 2))
    torch.testing.assert_close(
        realness.resample(logits, ones) - realness.resample(logits, 0 * ones), torch.full((3, 2), 1.6330),
        rtol=1e-4, atol=0,
    )  # fmt: skip


def test_resampled_logits_have_the_batchs_statistics():
    logits, noise = batch(5)[0], torch.randn(200_000, 4, dtype=torch.float64)
    drawn = realness.resample(logits.repeat(40_000, 1), noise)
    torch.testing.assert_close(drawn.mean(0), logits.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(0), logits.std(0, correction=0), atol=0.03, rtol=0)


def test_one_sample_has_no_spread():
    for n in (0, 1):
        with pytest.raises(
            ValueError, match=f"logits of {n} sample have no spread: use batches of 2 or more"
        ):
            realness.resample(torch.ones(n, 3), torch.ones(n, 3))


def test_resampling_equal_logits():
    logits = torch.ones(4, 3, requires_grad=True)
    drawn = realness.resample(logits, torch.randn(4, 3))
    drawn.sum().backward()
    torch.testing.assert_close(drawn, torch.ones(4, 3), atol=1e-3, rtol=0)
    assert logits.grad.isfinite().all()


def test_known_reparametrisation():
    outputs = torch.tensor([[1.0, 2.0, 0.0, 2 * math.log(3)]])
    assert realness.reparametrise(outputs, torch.zeros(1, 2)).tolist() == [[1, 2]]
    assert realness.reparametrise(outputs, torch.tensor([[1.0, -1.0]])).tolist() == [[2, pytest.approx(-1)]]


@pytest.mark.filterwarnings("ignore")
def test_gathered_resampling_is_that_of_the_joined_batch(on_ranks):
    """Loss and gradient, averaged over two processes, equal those of one with both batches."""
    joined = gradients(slice(None))
    for together in on_ranks("tests.models.two_ranks_realness"):
        assert together == pytest.approx(joined, abs=1e-12)
    apart = [sum(pair) / 2 for pair in zip(gradients(slice(4)), gradients(slice(4, 8)), strict=True)]
    assert apart != pytest.approx(joined, abs=1e-3)  # each half by its own statistics
