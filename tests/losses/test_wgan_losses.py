import math

import numpy as np
import pytest
import torch
from scipy.signal import medfilt
from torch import nn
from torch.func import functional_call

from lightning_gans.game.optimizers import RMSprop
from lightning_gans.losses import wgan
from lightning_gans.networks import DCGANDiscriminator, MLPDiscriminator


def test_known_values():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 2.0])
    assert wgan.discriminator_loss(real, fake).item() == -1.5
    assert wgan.wasserstein_estimate(real, fake).item() == 1.5
    assert wgan.generator_loss(fake).item() == -0.5


def test_rmsprop_steps():
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = RMSprop([weight])
    for expected in (-0.000500000, -0.000854441, -0.001144565):
        weight.grad = torch.full_like(weight, 3.7)
        optimizer.step()
        assert weight.item() == pytest.approx(expected, abs=1e-9)


def test_clipped_after_every_step():
    torch.manual_seed(0)
    critic = DCGANDiscriminator((1, 16, 16), width=8)
    optimizer = RMSprop(critic.parameters(), lr=0.05)
    for _ in range(3):
        loss = wgan.discriminator_loss(critic(torch.randn(4, 1, 16, 16)), critic(torch.randn(4, 1, 16, 16)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        buffers = {name: buffer.clone() for name, buffer in critic.named_buffers()}
        inside = [p.detach().clone().clamp(-0.01, 0.01) for p in critic.parameters()]
        wgan.clip_weights(list(critic.parameters()), 0.01)
        assert all(torch.equal(p, q) for p, q in zip(critic.parameters(), inside, strict=True))
        assert all(torch.equal(buffer, buffers[name]) for name, buffer in critic.named_buffers())
    assert max(p.abs().max().item() for p in critic.parameters()) <= 0.01
    assert critic.layers[1][1].weight.max() <= 0.01  # batch norm's gain too
    assert critic.layers[1][1].running_var.max() > 0.01


def test_clip_arguments():
    wgan.clip_weights([], 0.01)
    for clip in (0, -1):
        with pytest.raises(ValueError, match=f"clip={clip}"):
            wgan.clip_weights([torch.ones(1)], clip)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_penalty_of_a_linear_critic(t):
    weight = torch.tensor([2.0, 1.0, 2.0], dtype=torch.float64)
    real, fake = torch.randn(2, 5, 3, dtype=torch.float64)
    penalty = wgan.gradient_penalty(lambda x: x @ weight, real, fake, t=torch.full((5,), t))
    assert 10 * penalty.item() == pytest.approx(40)


def test_penalty_of_a_quadratic_critic():
    points = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    penalty = wgan.gradient_penalty(
        lambda x: x.square().sum(1) / 2, points, torch.zeros(2, 2), t=torch.zeros(2)
    )
    assert 10 * penalty.item() == pytest.approx(80)


def test_lipschitz_constant_of_a_clipped_layer():
    critic = MLPDiscriminator((12288,), hidden=()).double()
    with torch.no_grad():
        critic.layers[-1].weight.copy_(0.01 * torch.randn(1, 12288).sign())
    real, fake = torch.randn(2, 4, 12288, dtype=torch.float64)
    penalty = wgan.gradient_penalty(critic, real, fake)
    assert 1 + math.sqrt(penalty.item()) == pytest.approx(1.10851, abs=1e-5)


def test_interpolate():
    real, fake = torch.randn(2, 6, 3, 4, 4)
    assert torch.equal(wgan.interpolate(real, fake, torch.zeros(6)), real)
    assert torch.equal(wgan.interpolate(real, fake, torch.ones(6)), fake)
    t = torch.rand(6)
    expected = real.numpy() + t.numpy()[:, None, None, None] * (fake.numpy() - real.numpy())
    np.testing.assert_allclose(wgan.interpolate(real, fake, t).numpy(), expected, atol=1e-6)


def test_interpolate_arguments():
    with pytest.raises(ValueError, match=r"fake is .*\(3, 2\).*\(4, 2\)"):
        wgan.interpolate(torch.zeros(4, 2), torch.zeros(3, 2), torch.zeros(4))
    with pytest.raises(ValueError, match=r"t is .*\(4, 1\).*\(4,\)"):
        wgan.interpolate(torch.zeros(4, 2), torch.zeros(4, 2), torch.zeros(4, 1))


def test_penalty_equals_numpy():
    """f(x) = v . tanh(W x), differentiated by hand."""
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(5, 3)), rng.normal(size=5)
    real, fake, t = rng.normal(size=(8, 3)), rng.normal(size=(8, 3)), rng.uniform(size=8)
    points = real + t[:, None] * (fake - real)
    gradients = ((1 - np.tanh(points @ w.T) ** 2) * v) @ w
    expected = ((np.linalg.norm(gradients, axis=1) - 1) ** 2).mean()
    weights = torch.from_numpy(w), torch.from_numpy(v)
    penalty = wgan.gradient_penalty(
        lambda x: (x @ weights[0].T).tanh() @ weights[1],
        *(torch.from_numpy(x) for x in (real, fake)),
        t=torch.from_numpy(t),
    )
    assert penalty.item() == pytest.approx(expected, abs=1e-11)


def test_penalty_gradients_equal_finite_differences():
    torch.manual_seed(0)
    critic = MLPDiscriminator((2, 3, 3), hidden=(6, 5), activation="tanh").double()
    names, weights = zip(*critic.named_parameters(), strict=True)
    real, fake = torch.randn(2, 4, 2, 3, 3, dtype=torch.float64)
    t = torch.rand(4)

    def penalty(*values):
        bound = dict(zip(names, values, strict=True))
        return wgan.gradient_penalty(lambda x: functional_call(critic, bound, (x,)), real, fake, t=t)

    assert torch.autograd.gradcheck(penalty, tuple(w.detach().clone().requires_grad_() for w in weights))


def test_penalty_is_per_sample():
    """The mean over single-sample penalties, not the penalty of a summed norm; order does not matter."""
    critic = MLPDiscriminator((3,), hidden=(8,)).double()
    real, fake = torch.randn(2, 6, 3, dtype=torch.float64)
    t = torch.rand(6)
    whole = wgan.gradient_penalty(critic, real, fake, t=t)
    single = [
        wgan.gradient_penalty(critic, *x, t=u)
        for *x, u in zip(real[:, None], fake[:, None], t[:, None], strict=True)
    ]
    assert whole.item() == pytest.approx(torch.stack(single).mean().item())
    order = torch.randperm(6)
    shuffled = wgan.gradient_penalty(critic, real[order], fake[order], t=t[order])
    assert whole.item() == pytest.approx(shuffled.item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_penalty_where_the_critic_is_constant(dtype):
    critic = MLPDiscriminator((3,), hidden=(4,)).to(dtype)
    for parameter in critic.parameters():
        nn.init.zeros_(parameter)
    penalty = wgan.gradient_penalty(critic, torch.randn(2, 3, dtype=dtype), torch.randn(2, 3, dtype=dtype))
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    # the last bias does not enter a gradient
    assert all(p.grad.isfinite().all() for p in critic.parameters() if p.grad is not None)


def test_penalty_is_float32_under_autocast():
    torch.manual_seed(0)
    critic = DCGANDiscriminator((1, 16, 16), width=8, norm="layer")
    real, fake = torch.randn(2, 4, 1, 16, 16)
    t = torch.rand(4)
    expected = wgan.gradient_penalty(critic, real, fake, t=t)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = wgan.gradient_penalty(critic, real, fake, t=t)
        rounded = wgan.gradient_penalty(critic, real.bfloat16(), fake.bfloat16(), t=t)
    assert penalty.dtype == rounded.dtype == torch.float32
    assert torch.equal(penalty, expected)
    torch.testing.assert_close(rounded, expected, rtol=0.05, atol=1e-3)


def test_penalty_does_not_train_the_generator():
    real, fake = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    critic = MLPDiscriminator((3,), hidden=(4,))
    wgan.gradient_penalty(critic, real, fake).backward()
    assert real.grad is None
    assert fake.grad is None
    assert critic.layers[1].weight.grad.abs().sum() > 0


def test_penalty_without_gradients_around_it():
    """Validation logs it under no_grad."""
    critic = MLPDiscriminator((3,), hidden=(4,))
    real, fake = torch.randn(2, 4, 3)
    expected = wgan.gradient_penalty(critic, real, fake, t=torch.zeros(4))
    with torch.no_grad():
        assert torch.equal(wgan.gradient_penalty(critic, real, fake, t=torch.zeros(4)), expected)


def test_penalty_draws_from_its_generator_alone():
    critic = MLPDiscriminator((3,), hidden=(4,))
    real, fake = torch.randn(2, 4, 3)
    state = torch.get_rng_state()
    first = wgan.gradient_penalty(critic, real, fake, rng=torch.Generator().manual_seed(1))
    again = wgan.gradient_penalty(critic, real, fake, rng=torch.Generator().manual_seed(1))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert first != wgan.gradient_penalty(critic, real, fake, rng=torch.Generator().manual_seed(2))


def test_median_filter_of_the_curves():
    assert medfilt([1.0, 9.0, 2.0, 3.0, 10.0], 3).tolist() == [1, 2, 3, 3, 3]
