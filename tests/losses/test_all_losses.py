"""What holds for the losses of every paper."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from lightning_gans.losses import gan, hinge, lsgan, translation, wgan

MODULES = [gan, wgan, lsgan, hinge, translation]
IN_NUMPY = {
    gan: (
        lambda r, f: np.logaddexp(0, -r).mean() + np.logaddexp(0, f).mean(),
        lambda f: np.logaddexp(0, -f).mean(),
    ),
    wgan: (lambda r, f: f.mean() - r.mean(), lambda f: -f.mean()),
    lsgan: (lambda r, f: ((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2, lambda f: ((f - 1) ** 2).mean() / 2),
    hinge: (lambda r, f: np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + f).mean(), lambda f: -f.mean()),
    translation: (
        lambda r, f: (np.logaddexp(0, -r).mean() + np.logaddexp(0, f).mean()) / 2,
        lambda f: np.logaddexp(0, -f).mean(),
    ),
}


def logits(*shape, dtype=torch.float64):
    rng = torch.Generator().manual_seed(sum(shape))
    return 3 * torch.randn(shape, generator=rng, dtype=dtype), 3 * torch.randn(
        shape, generator=rng, dtype=dtype
    )


@pytest.mark.parametrize("losses", MODULES)
@pytest.mark.parametrize("shape", [(7,), (1,), (4, 1, 3, 3)])
def test_equal_to_numpy(losses, shape):
    real, fake = logits(*shape)
    discriminator, generator = IN_NUMPY[losses]
    assert losses.discriminator_loss(real, fake).item() == pytest.approx(
        discriminator(real.numpy(), fake.numpy())
    )
    assert losses.generator_loss(fake).item() == pytest.approx(generator(fake.numpy()))


@pytest.mark.parametrize("losses", MODULES)
def test_gradients_equal_finite_differences(losses):
    real, fake = (x.requires_grad_() for x in logits(6))
    assert gradcheck(losses.discriminator_loss, (real, fake))
    assert gradcheck(losses.generator_loss, (fake,))
    assert gradcheck(gan.minimax_generator_loss, (fake,))


@pytest.mark.parametrize("losses", MODULES)
def test_order_of_the_batch_does_not_matter(losses):
    real, fake = logits(20)
    shuffled = losses.discriminator_loss(real[torch.randperm(20)], fake.flip(0))
    assert shuffled.item() == pytest.approx(losses.discriminator_loss(real, fake).item(), abs=1e-12)
    assert losses.generator_loss(fake.flip(0)).item() == pytest.approx(
        losses.generator_loss(fake).item(), abs=1e-12
    )


@pytest.mark.parametrize("losses", MODULES)
def test_batches_of_different_size(losses):
    real, fake = logits(8)
    torch.testing.assert_close(
        losses.discriminator_loss(real, fake[:3]), losses.discriminator_loss(real, fake[:3].repeat(2))
    )


@pytest.mark.parametrize("losses", MODULES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_upcast(losses, dtype):
    real, fake = (x.to(dtype).requires_grad_() for x in logits(4096, dtype=torch.float32))
    loss = losses.discriminator_loss(real, fake)
    assert loss.dtype == losses.generator_loss(fake).dtype == torch.float32
    # exactly the float32 loss of the rounded logits: nothing is summed in half precision
    assert torch.equal(loss, losses.discriminator_loss(real.float(), fake.float()))
    assert torch.equal(losses.generator_loss(fake), losses.generator_loss(fake.float()))
    loss.backward()
    assert real.grad.dtype == dtype


@pytest.mark.parametrize("losses", MODULES)
def test_float64_stays_float64(losses):
    real, fake = logits(4)
    assert losses.discriminator_loss(real, fake).dtype == losses.generator_loss(fake).dtype == torch.float64


@pytest.mark.parametrize("losses", MODULES)
def test_nothing_is_detached(losses):
    real, fake = (x.requires_grad_() for x in logits(4))
    losses.discriminator_loss(real, fake).backward()
    assert real.grad.abs().sum() > 0
    assert fake.grad.abs().sum() > 0


@pytest.mark.parametrize("losses", MODULES)
def test_autocast_changes_nothing(losses):
    real, fake = logits(64, dtype=torch.float32)
    expected = losses.discriminator_loss(real, fake), losses.generator_loss(fake)
    with torch.autocast("cpu", torch.bfloat16):
        assert (losses.discriminator_loss(real, fake), losses.generator_loss(fake)) == expected


def test_known_values_of_hinge():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([-3.0, 0.5])
    assert hinge.discriminator_loss(real, fake).item() == 1.75
    assert hinge.generator_loss(fake).item() == 1.25
    assert hinge.discriminator_loss(torch.zeros(3), torch.zeros(3)).item() == 2


def test_known_values_of_lsgan():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, -2.0])
    assert lsgan.discriminator_loss(real, fake).item() == 2
    assert lsgan.generator_loss(fake).item() == 2.5
    assert lsgan.discriminator_loss(real, fake, a=-1, b=1).item() == 1.5
    assert lsgan.generator_loss(fake, c=0).item() == 1


def test_lsgan_minimises_pearsons_divergence():
    # p_data and p_g on three points, written as batches of four.
    data, model = torch.tensor([0.5, 0.25, 0.25]).double(), torch.tensor([0.25, 0.25, 0.5]).double()
    best = ((data - model) / (data + model)).requires_grad_()  # (b p_data + a p_g) / (p_data + p_g)
    real, fake = best[[0, 0, 1, 2]], best[[0, 1, 2, 2]]
    (gradient,) = torch.autograd.grad(
        lsgan.discriminator_loss(real, fake, a=-1, b=1), best, retain_graph=True
    )
    assert gradient.abs().max() < 1e-15
    pearson = ((2 * model - (data + model)) ** 2 / (data + model)).sum()
    cost = lsgan.generator_loss(real, c=0) + lsgan.generator_loss(fake, c=0)
    assert 2 * cost.item() == pytest.approx(pearson.item())
