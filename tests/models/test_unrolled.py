"""Unrolled GAN: the updates that the generator looks ahead to, and the gradient through them."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.utils.data import DataLoader

from lightning_gans.game.latents import Normal
from lightning_gans.game.optimizers import SGD, Adam
from lightning_gans.game.sides import Side
from lightning_gans.models import GAN, UnrolledGAN
from lightning_gans.networks import DCGANDiscriminator, MLPDiscriminator, MLPGenerator
from tests.conformance.games import digits, ring, same, trainer

NETWORKS = {
    "latent": Normal(2),
    "generator": partial(MLPGenerator, hidden=(8,), activation="tanh", output="none"),
    "discriminator": partial(MLPDiscriminator, hidden=(6,), activation="tanh"),
}


def game(cls=UnrolledGAN, **arguments):
    torch.manual_seed(0)
    return cls((2,), **{**NETWORKS, **arguments})


def trained(module, updates=3, data=None):
    trainer(max_steps=updates).fit(module, data or ring())
    return module


class Constant(nn.Module):
    """G(z) = theta, or D(x) = theta x."""

    def __init__(self, theta):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, values):
        return self.theta * values[:, 0]


class Point(Constant):
    def forward(self, latents):
        return self.theta.expand(len(latents), 1)


class Bilinear(UnrolledGAN):
    """f = D (x - G), which D climbs and G descends: the sheet of every derivative is known."""

    def discriminator_loss(self, real, fake):
        return -(self.judge(real) - self.judge(fake)).mean()


@pytest.mark.parametrize(("second_order", "slope"), [(True, -3.0), (False, -2.0)])
@pytest.mark.parametrize("unroll_with", ["sgd", "optimizer"])
def test_known_gradient(second_order, slope, unroll_with):
    """theta_D^K = 1 + K eta (x - theta_G) = 2; df/dtheta_G = -theta_D - 2 K eta (x - theta_G) = -3, or -2."""
    module = Bilinear(
        (1,),
        unrolled_steps=5,
        second_order=second_order,
        unroll_with=unroll_with,
        generator=Point(0.0),
        discriminator=Constant(1.0),
        discriminator_optimizer=partial(SGD, lr=0.1, momentum=0.0),
        generator_optimizer=partial(SGD, lr=0.1, momentum=0.0),
    )
    trainer(max_steps=1).fit(module, DataLoader(torch.full((8, 1), 2.0), batch_size=8))
    assert module.generator.theta.grad.item() == pytest.approx(slope)
    assert module.discriminator.theta.item() == pytest.approx(1.2)  # an ordinary update
    assert module.generator.theta.item() == pytest.approx(-0.1 * slope)


@pytest.mark.parametrize("data", [ring, digits])
def test_without_unrolling_it_is_the_saturating_game(data):
    states = []
    for cls, given in (
        (UnrolledGAN, {"unrolled_steps": 0}),
        (GAN, {"objective": "minimax", "simultaneous": True}),
    ):
        points = data()
        torch.manual_seed(0)
        output = "none" if data is ring else "tanh"
        generator = partial(MLPGenerator, hidden=(8,), activation="tanh", output=output)
        module = cls(points.image_shape, **{**NETWORKS, "generator": generator, **given})
        trained(module, 4, points)
        states.append((module.state_dict(), module.optimizers()[0].state_dict()["state"]))
    assert same(*states)


def test_the_discriminator_learns_as_without_unrolling():
    after = [trained(game(unrolled_steps=k), 1).discriminator.state_dict() for k in (0, 1, 5)]
    assert same(after[0], after[1])
    assert same(after[0], after[2])


def sides(dtype=torch.float32):
    rng = torch.Generator().manual_seed(1)
    return Side(torch.randn(16, 2, generator=rng).to(dtype)), torch.randn(16, 2, generator=rng).to(dtype)


def looked_ahead(module, real, fake):
    """The value after the unrolled updates, and the weights that D has then."""
    played, play = [], module.played_with
    module.played_with = lambda name, weights: played.append(weights) or play(name, weights)
    try:
        value = module.unrolled(module.discriminator_loss(real, fake), real, fake)
    finally:
        del module.played_with
    return value, played


@pytest.mark.parametrize("second_order", [True, False])
def test_weights_are_those_that_the_optimizer_would_have_reached(second_order):
    module = trained(game(unrolled_steps=3, second_order=second_order))
    real, latents = sides()
    fake = Side(module.generate(latents))
    value, played = looked_ahead(module, real, fake)

    judge = deepcopy(module.discriminator)
    optimizer = torch.optim.Adam(judge.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizer.load_state_dict(module.player_optimizer("discriminator").state_dict())

    def loss():
        on_real, on_fake = judge(real.images), judge(fake.images.detach())
        return nn.functional.softplus(-on_real).mean() + nn.functional.softplus(on_fake).mean()

    for weights in played:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        for name, parameter in judge.named_parameters():
            torch.testing.assert_close(weights[name], parameter, rtol=1e-6, atol=1e-7)
    assert len(played) == 3
    assert value.item() == pytest.approx(loss().item(), rel=1e-6)


def test_looking_ahead_changes_nothing():
    module = trained(game(unrolled_steps=3))
    real, latents = sides()
    optimizer = module.player_optimizer("discriminator")
    before = deepcopy((module.state_dict(), optimizer.state_dict()))
    gradients = [p.grad.clone() for p in module.parameters()]
    fake = Side(module.generate(latents))
    module.unrolled(module.discriminator_loss(real, fake), real, fake)
    assert same(before, (module.state_dict(), optimizer.state_dict()))
    assert same(gradients, [p.grad for p in module.parameters()])


@pytest.mark.parametrize(("unroll_with", "tolerance"), [("optimizer", 1e-6), ("sgd", 1e-6)])
def test_gradient_agrees_with_finite_differences(unroll_with, tolerance):
    """Through 3 updates of Adam, from moments of a run, in float64."""
    module = game(
        unrolled_steps=3, unroll_with=unroll_with, discriminator_optimizer=partial(Adam, lr=0.02, fused=False)
    )
    trained(module).double()
    for state in module.player_optimizer("discriminator").state.values():
        state.update({key: value.double() for key, value in state.items()})
    real, latents = sides(torch.float64)

    def value():
        fake = Side(module.generate(latents))
        return module.unrolled(module.discriminator_loss(real, fake), real, fake)

    parameters = list(module.generator.parameters())
    gradients = torch.autograd.grad(value(), parameters)
    rng = torch.Generator().manual_seed(2)
    for _ in range(3):
        along = [torch.randn(p.shape, generator=rng, dtype=p.dtype) for p in parameters]
        slope = sum((g * a).sum() for g, a in zip(gradients, along, strict=True))
        ends, step = [], 1e-5
        for distance in (step, -2 * step):
            with torch.no_grad():
                for parameter, a in zip(parameters, along, strict=True):
                    parameter += distance * a
            ends.append(value().item())
        with torch.no_grad():
            for parameter, a in zip(parameters, along, strict=True):
                parameter += step * a
        assert slope.item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=tolerance)
    # What leads through D's updates is a part of it that counts.
    module.second_order = False
    direct = torch.autograd.grad(value(), parameters)
    assert any((g - d).abs().max() > 0.01 * g.abs().max() for g, d in zip(gradients, direct, strict=True))


def test_statistics_of_batch_norm_are_those_of_the_ordinary_update():
    buffers = []
    for k in (0, 2):
        judge = partial(DCGANDiscriminator, width=2, extra_layers=1)
        torch.manual_seed(0)
        module = UnrolledGAN((1, 8, 8), k, generator={"width": 2}, discriminator=judge)
        trained(module, 1, digits(batch_size=8))
        buffers.append(dict(module.discriminator.named_buffers()))
    assert buffers[0]
    assert same(*buffers)


def test_dead_units_do_no_harm():
    """A unit that never sees a gradient has moments of 0, whose root has no derivative."""
    judge = MLPDiscriminator((2,), hidden=(4,), activation="relu")
    with torch.no_grad():
        judge.layers[1].bias[0] = -1e3
    module = trained(game(unrolled_steps=2, discriminator=judge), 2)
    assert all(p.isfinite().all() and p.grad.isfinite().all() for p in module.parameters())


def test_rounds_of_several_updates():
    counts = {"discriminator": 0, "generator": 0}

    class Count(Callback):
        def on_train_start(self, trainer, module):
            step = module.step

            def counted(player):
                counts[player] += 1
                step(player)

            module.step = counted

    module = game(unrolled_steps=2, discriminator_steps=3, generator_steps=2)
    trainer([Count()], max_steps=4).fit(module, ring())
    assert counts == {"discriminator": 6, "generator": 4}


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"unrolled_steps=-1"):
        game(unrolled_steps=-1)
    with pytest.raises(ValueError, match=r"unroll_with='adam'"):
        game(unroll_with="adam")
    with pytest.raises(ValueError, match=r"gradient_clip_norm=1"):
        game(gradient_clip_norm=1.0)
    module = game(discriminator_optimizer=torch.optim.Adagrad)
    with pytest.raises(ValueError, match=r"discriminator_optimizer=Adagrad"):
        trained(module)
    trained(game(discriminator_optimizer=torch.optim.Adagrad, unroll_with="sgd"), 1)
