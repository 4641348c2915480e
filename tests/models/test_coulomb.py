"""The Coulomb GAN's schedule, its state, and what it reports."""

from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from lightning_gans import CoulombGAN
from lightning_gans.callbacks import Checkpoint
from lightning_gans.game.optimizers import SGD, Adam
from lightning_gans.game.sides import Side
from lightning_gans.losses import coulomb as losses
from lightning_gans.models.coulomb import CoulombDiscriminator, CoulombGenerator
from lightning_gans.networks import (
    DCGANDiscriminator,
    DCGANGenerator,
    MLPDiscriminator,
    MLPGenerator,
)
from tests.conformance.games import digits, ring, same, trainer
from tests.kill import KillAt, Killed


def game(data, **arguments):
    torch.manual_seed(0)
    return CoulombGAN(image_shape=data.image_shape, num_classes=data.num_classes, **arguments)


class Watch(Callback):
    """Records latents and batches."""

    def __init__(self):
        self.latents, self.batches, self.rows = [], [], []

    def on_train_start(self, trainer, module):
        module.latent.register_forward_hook(lambda *arguments: self.latents.append(arguments[-1].clone()))
        report = module.report

        def recorded(values):
            self.rows.append({name: float(value) for name, value in values.items()})
            report(values)

        module.report = recorded

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch[0].clone())

    def reported(self):
        return {name: value for row in self.rows for name, value in row.items()}


def by_hand(generator, discriminator, real, latents, lr, decay, previous=None):
    """Both gradients from one graph, at the same weights; then both steps. In the released code's sign."""
    potential = {
        "real": losses.potentials(real, generator(latents).detach())[0],
        "fake": losses.potentials(real, generator(latents).detach())[1],
    }
    fake = generator(latents)
    real_field, fake_field = -discriminator(real), -discriminator(fake)
    loss = ((real_field + potential["real"]) ** 2).mean() + ((fake_field + potential["fake"]) ** 2).mean()
    if previous is not None:
        target = losses.potential(previous, real, fake.detach())
        loss = loss + ((discriminator(previous) - target) ** 2).mean()

    def penalty(network):
        kernels = [p for p in network.parameters() if p.ndim == 4]
        return decay / 2 * sum((kernel**2).sum() for kernel in kernels)

    sides = [list(discriminator.parameters()), list(generator.parameters())]
    gradients = [
        torch.autograd.grad(loss + penalty(discriminator), sides[0], retain_graph=True, allow_unused=True),
        torch.autograd.grad(fake_field.mean() + penalty(generator), sides[1]),
    ]
    with torch.no_grad():
        for parameters, side in zip(sides, gradients, strict=True):
            for parameter, gradient in zip(parameters, side, strict=True):
                parameter -= lr * gradient
    return loss.item(), fake_field.mean().item(), fake.detach()


@pytest.mark.parametrize("data", [ring, digits])
@pytest.mark.parametrize("remember", [False, True])
def test_updates_are_simultaneous(data, remember):
    """Three updates, as a hand-written step does them that takes both gradients before it moves a weight."""
    data, lr, decay = data(), 0.02, 0.3
    sgd = dict.fromkeys(("generator_optimizer", "discriminator_optimizer"), partial(SGD, lr=lr, momentum=0.0))
    module = game(data, weight_decay=decay, remember_previous=remember, **sgd)
    generator, discriminator = deepcopy(module.generator), deepcopy(module.discriminator)
    watch = Watch()
    trainer([watch], max_steps=3).fit(module, data)
    assert len(watch.latents) == 3
    previous = None
    for real, latents in zip(watch.batches, watch.latents, strict=True):
        losses_by_hand = by_hand(generator, discriminator, real, latents, lr, decay, previous)
        previous = losses_by_hand[-1] if remember else None
    reported = watch.reported()
    assert ("previous_loss" in reported) == remember
    whole = reported["discriminator_loss"] + reported.get("previous_loss", 0)
    assert whole == pytest.approx(losses_by_hand[0], rel=1e-4)
    assert reported["generator_loss"] == pytest.approx(losses_by_hand[1], rel=1e-4)
    for mine, other in ((module.generator, generator), (module.discriminator, discriminator)):
        for (name, parameter), expected in zip(mine.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(parameter, expected, rtol=1e-4, atol=1e-6, msg=name)


def test_the_generator_learns_through_the_discriminator_alone():
    module = game(ring())
    module.report = lambda values: None
    real, fake = torch.randn(8, 2), module.generator(torch.randn(8, 32))
    # By D's loss, were the fakes not detached: through D's outputs, the potentials being constants.
    (through,) = torch.autograd.grad(module.discriminator_loss(Side(real), Side(fake)), fake)
    scored, targets = fake.detach().requires_grad_(), losses.potentials(real, fake)[1]
    (expected,) = torch.autograd.grad((module.discriminator(scored) - targets).square().mean(), scored)
    torch.testing.assert_close(through, expected)
    (through,) = torch.autograd.grad(module.generator_loss(Side(real), Side(fake)), fake)
    scored = fake.detach().requires_grad_()
    (expected,) = torch.autograd.grad(-module.discriminator(scored).mean(), scored)
    assert torch.equal(through, expected)


def test_the_previous_fakes_have_a_loss_of_their_own():
    """What is held against ``constant_loss`` is D's loss at the samples of its batch alone."""
    data, watch = ring(), Watch()
    module = game(data, remember_previous=True)
    trainer([watch], max_steps=2).fit(module, data)
    assert ["previous_loss" in row for row in watch.rows if "discriminator_loss" in row] == [False, True]
    real, fake = torch.randn(2, 8, 2)
    alone = losses.discriminator_loss(
        module.discriminator(real), module.discriminator(fake), *losses.potentials(real, fake)
    )
    module.report = lambda values: None
    assert module.discriminator_loss(Side(real), Side(fake)).item() == pytest.approx(alone.item())


def test_the_previous_fakes_have_scaled_targets_too():
    class Flat(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, points):
            return 0 * self.weight * points.sum(1)

    found = []
    for scale in (1.0, 8.0):
        watch = Watch()
        module = game(ring(), remember_previous=True, potential_scale=scale, discriminator=Flat)
        trainer([watch], max_steps=2).fit(module, ring())
        found.append(watch.reported()["previous_loss"])
    assert found[1] == pytest.approx(64 * found[0], rel=1e-5)
    assert found[0] > 0


def test_one_held_out_sample():
    """The last held-out batch may have one sample: nothing is left of it but itself."""
    data = digits(eval_batch_size=37)  # 297 = 8 * 37 + 1
    fit = trainer(max_steps=2, limit_val_batches=None, val_check_interval=2)
    fit.fit(game(data, exclude_self=True), data)
    assert fit.callback_metrics["val/discriminator_loss"].isfinite()


def test_one_process_has_nothing_to_gather():
    """A process group of other work, which may be under way, is left alone."""
    module, asked = game(ring(), gather=True), []
    potentials = losses.potentials

    def watched(*arguments):
        asked.append(arguments[-1])
        return potentials(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "potentials", watched)
        trainer(max_steps=1).fit(module, ring())
    assert asked == [False]


@pytest.mark.parametrize("steps", [1, 3])
def test_schedule(steps):
    """The discriminator moves alone, on batches and fakes of its own, until the generator is due."""
    order, data = [], ring()

    class Turns(Callback):
        def on_train_start(self, trainer, module):
            minimise = module.minimise

            def watched(player, loss):
                order.append(player)
                minimise(player, loss)

            module.minimise = watched

    watch = Watch()
    trainer([Turns(), watch], max_steps=2).fit(game(data, discriminator_steps=steps), data)
    assert order == 2 * [*(steps - 1) * ["discriminator"], "generator", "discriminator"]
    assert len(watch.latents) == len(watch.batches) == 2 * steps


@pytest.mark.parametrize(
    ("shape", "generator", "discriminator", "dim"),
    [
        ((3, 64, 64), CoulombGenerator, CoulombDiscriminator, 32),
        ((3, 32, 32), CoulombGenerator, CoulombDiscriminator, 16),
        ((1, 16, 16), DCGANGenerator, DCGANDiscriminator, 32),
        ((2,), MLPGenerator, MLPDiscriminator, 32),
    ],
)
def test_defaults(shape, generator, discriminator, dim):
    with torch.device("meta"):
        module = CoulombGAN(shape)
        assert type(module.generator) is generator
        assert type(module.discriminator) is discriminator
        assert module.latent.dim == dim
        (g, d), *_ = (
            [
                side(module.parameters()).param_groups[0]
                for side in (module.generator_optimizer, module.discriminator_optimizer)
            ],
        )
    assert (g["lr"], d["lr"]) == (1e-4, 5e-5)
    assert g["betas"] == d["betas"] == (0.9, 0.999)
    assert g["weight_decay"] == d["weight_decay"] == 0


def test_decay_of_convolution_kernels_alone():
    """With a huge decay a step is the decay's; what is no kernel moves as without it."""
    moved, data = [], digits()
    for decay in (0.0, 1e4):
        sgd = dict.fromkeys(
            ("generator_optimizer", "discriminator_optimizer"), partial(SGD, lr=1e-6, momentum=0.0)
        )
        module = game(data, weight_decay=decay, **sgd)
        start = deepcopy(module.state_dict())
        trainer(max_steps=1).fit(module, data)
        moved.append({name: p.detach() - start[name] for name, p in module.named_parameters()})
    kernels = {n for n, p in module.named_parameters() if p.ndim == 4}
    assert 0 < len(kernels) < len(moved[0])
    for name, step in moved[1].items():
        expected = moved[0][name] - (1e-2 * start[name] if name in kernels else 0)
        torch.testing.assert_close(step, expected, rtol=1e-3, atol=1e-7, msg=name)


def test_decay_of_kernels_under_spectral_norm():
    """They are computed from other parameters, which decay in their place, at every update."""
    moved, data = [], digits()
    for decay in (0.0, 1e4):
        sgd = partial(SGD, lr=1e-6, momentum=0.0)
        module = game(
            data,
            weight_decay=decay,
            discriminator=partial(DCGANDiscriminator, width=8, norm="spectral"),
            discriminator_optimizer=sgd,
        )
        start = deepcopy(module.discriminator.state_dict())
        trainer(max_steps=3).fit(module, data)
        moved.append({n: (p / start[n]).detach() for n, p in module.discriminator.named_parameters()})
    kernels = [name for name, ratio in moved[1].items() if ratio.ndim == 4]
    assert len(kernels) > 1
    for name in kernels:
        shrunk = moved[1][name] / moved[0][name]
        assert shrunk.median().item() == pytest.approx(0.99**3, rel=1e-3)


def test_reported_beside_the_losses():
    data = ring()
    module, watch = game(data), Watch()
    trainer([watch], max_steps=1, log_every_n_steps=1).fit(module, data)
    row = watch.reported()
    real_mean, fake_mean = row["real_potential"], row["fake_potential"]
    assert row["energy"] == pytest.approx((real_mean - fake_mean) / 2, rel=1e-5)
    assert row["energy"] > 0
    assert row["energy_floor"] == pytest.approx(losses.energy_floor(watch.batches[0]).item())
    # the best constant is the middle of the two means
    assert row["constant_loss"] == pytest.approx(
        row["sides_loss"] + (real_mean - fake_mean) ** 2 / 2, rel=1e-5
    )
    assert set(row) == {
        "energy", "real_potential", "fake_potential", "constant_loss", "sides_loss", "discriminator_loss",
        "generator_loss", "energy_floor",
    }  # fmt: skip


def test_the_reported_floor_is_that_of_the_batch_whose_potentials_are_taken():
    """Of each replica alone, and of all ranks together if they are gathered; without self terms it is 0."""
    real = torch.randn(2, 8, 2)
    alone = torch.stack([losses.energy_floor(batch) for batch in real]).mean().item()
    for given, floor in (({}, alone), ({"gather": True}, alone / 4), ({"exclude_self": True}, None)):
        rows = {}
        settings = {"exclude_self": False, "gather": False, **given}
        run = SimpleNamespace(**settings, reporting=True, kernel_dim=3, epsilon=1.0)
        run.trainer = SimpleNamespace(world_size=4)
        run.per_replica, run.report = (lambda images: images.unflatten(0, (2, 8))), rows.update
        CoulombGAN._report_floor(run, real.flatten(0, 1))
        assert rows == ({} if floor is None else {"energy_floor": pytest.approx(floor)})


def test_a_scaled_potential():
    """D* is so many times as large, and so are D's gradient at the samples and G's. Adam's steps are not."""
    real, fake = torch.randn(16, 2), torch.randn(16, 2).requires_grad_()
    at_real, at_fake = losses.potentials(real, fake)
    module, rows = game(ring(), potential_scale=64.0), {}
    module.report = rows.update
    loss = module.discriminator_loss(Side(real), Side(fake.detach()))
    scored = module.discriminator(real), module.discriminator(fake)
    assert loss.item() == pytest.approx(losses.discriminator_loss(*scored, 64 * at_real, 64 * at_fake).item())
    # the energy is that of the field, what D's loss is held against is in D's units
    assert rows["energy"].item() == pytest.approx(losses.energy(at_real, at_fake).item(), rel=1e-5)
    plain = 64**2 * (at_real.var(correction=0) + at_fake.var(correction=0))
    assert rows["sides_loss"].item() == pytest.approx(plain.item(), rel=1e-4)

    class Exact(nn.Module):
        def __init__(self, shape, scale):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(float(scale)))

        def forward(self, points):
            return -self.scale * points.square().sum(1)

    def moved(scale, optimizer):
        module = game(
            ring(), discriminator=Exact((2,), scale), potential_scale=scale, generator_optimizer=optimizer
        )
        start = deepcopy(module.generator.state_dict())
        trainer(max_steps=1).fit(module, ring())
        return torch.cat([(p - start[n]).flatten() for n, p in module.generator.named_parameters()]).detach()

    adam, sgd = partial(Adam, lr=0.01, eps=1e-30), partial(SGD, lr=1e-3, momentum=0.0)
    torch.testing.assert_close(moved(64, adam), moved(1, adam), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(moved(64, sgd), 64 * moved(1, sgd), rtol=1e-3, atol=1e-6)


def test_loss_of_the_best_constant():
    at_real, at_fake = losses.potentials(torch.randn(20, 2), torch.randn(30, 2) + 1)
    module, rows = game(ring()), {}
    module.report = rows.update
    module._report_field(at_real, at_fake)

    def loss(constant, other=None):
        other = constant if other is None else other
        return losses.discriminator_loss(
            torch.full_like(at_real, constant), torch.full_like(at_fake, other), at_real, at_fake
        ).item()

    grid = torch.linspace(-1, 1, 2001).tolist()
    assert rows["constant_loss"].item() == pytest.approx(min(map(loss, grid)), rel=1e-4)
    best = loss(at_real.mean().item(), at_fake.mean().item())
    assert rows["sides_loss"].item() == pytest.approx(best, rel=1e-5)


def test_remembered_fakes_survive():
    def run(folder, ckpt_path=None, extra=()):
        torch.manual_seed(5)
        module = game(digits(), remember_previous=True)
        fit = trainer([Checkpoint(every_n_updates=2, dirpath=folder), *extra], max_steps=8)
        fit.fit(module, digits(), ckpt_path=ckpt_path)
        return torch.load(Path(folder) / "last.ckpt", weights_only=True)

    whole = run("whole")
    assert whole["run_state"][0]["state"]["previous"].shape == (16, 1, 8, 8)
    with pytest.raises(Killed):
        run("killed", extra=[KillAt(5)])
    resumed = run("killed", "killed/last.ckpt")
    for key in ("state_dict", "optimizer_states", "run_state", "global_step"):
        assert same(whole[key], resumed[key]), key


def test_nothing_is_remembered_by_default():
    module = game(ring())
    fit = trainer([Checkpoint(dirpath="here")], max_steps=2)
    fit.fit(module, ring())
    assert module.previous is None
    stored = torch.load("here/last.ckpt", weights_only=True)
    assert stored["run_state"][0]["state"]["previous"] is None


class Patches(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.layer = nn.Conv2d(shape[0], 1, 2)

    def forward(self, images):
        return self.layer(images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: game(ring(), kernel_dim=2), "kernel_dim=2: give a finite number, at least 3"),
        (lambda: game(ring(), epsilon=0.0), "epsilon=0.0"),
        (lambda: game(ring(), potential_scale=0.0), "potential_scale=0.0"),
        (lambda: game(ring(), weight_decay=-1.0), "weight_decay=-1.0"),
        (lambda: game(ring(), generator_steps=2), "generator_steps=2: .* give 1"),
        (
            lambda: trainer(max_steps=1).fit(game(digits(), discriminator=Patches), digits()),
            r"discriminator returned \(2, 1, 7, 7\) for 2 images",
        ),
    ],
)
def test_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
