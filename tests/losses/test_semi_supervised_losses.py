"""The losses of a discriminator of classes, against DeLiGAN's released code and by hand."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import softplus

from lightning_gans.losses import semi_supervised as losses


def logits(n, classes, seed=0):
    return 3 * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([0, 3, 1, -1, 2, -1])


def test_ten_zeros():
    z = losses.real_logit(torch.zeros(1, 10))
    assert z.item() == pytest.approx(2.302585, abs=1e-6)
    assert z.sigmoid().item() == pytest.approx(10 / 11)
    loss = losses.discriminator_loss(torch.zeros(1, 10), torch.zeros(1, 10), torch.tensor([4]))
    expected = math.log(10) + 0.5 * math.log(1 + 1 / 10) + 0.5 * math.log(11)
    assert loss.item() == pytest.approx(expected)


def test_the_released_codes_form():
    real, fake = logits(6, 4), logits(8, 4, seed=1)
    z = losses.real_logit(real)
    torch.testing.assert_close(0.5 * (-z + softplus(z)), 0.5 * softplus(-z))
    labelled = LABELS >= 0
    chosen = real[labelled].gather(1, LABELS[labelled, None])
    labelled_loss = -chosen.mean() + real[labelled].logsumexp(1).mean()
    generated = fake.logsumexp(1)
    unlabelled = -0.5 * z.mean() + 0.5 * softplus(z).mean() + 0.5 * softplus(generated).mean()
    torch.testing.assert_close(losses.discriminator_loss(real, fake, LABELS), labelled_loss + unlabelled)


def test_without_labels_there_is_no_class_loss():
    real = logits(6, 4).requires_grad_()
    loss = losses.class_loss(real, torch.full((6,), -1))
    loss.backward()
    assert loss.item() == 0
    assert real.grad.abs().sum() == 0


def test_gradients_equal_finite_differences():
    real, fake = logits(6, 4).requires_grad_(), logits(5, 4, seed=1).requires_grad_()
    assert gradcheck(lambda r, f: losses.discriminator_loss(r, f, LABELS), (real, fake))


def test_order_of_the_batch_does_not_matter():
    real, fake = logits(6, 4), logits(6, 4, seed=1)
    expected = losses.discriminator_loss(real, fake, LABELS)
    torch.testing.assert_close(losses.discriminator_loss(real.flip(0), fake, LABELS.flip(0)), expected)


def test_half_precision_is_summed_in_full():
    real = logits(6, 4).bfloat16()
    loss = losses.discriminator_loss(real, real, LABELS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, losses.discriminator_loss(real.float(), real.float(), LABELS))


def test_large_logits_stay_finite():
    real = torch.tensor([[1e4, 0.0], [0.0, -1e4]], requires_grad=True)
    loss = losses.discriminator_loss(real, -real, torch.tensor([1, 0]))
    loss.backward()
    assert loss.isfinite()
    assert real.grad.isfinite().all()
