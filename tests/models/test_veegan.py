"""VEEGAN: its two losses, and who learns from what."""

import math
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from lightning_gans.game.latents import Normal
from lightning_gans.game.optimizers import SGD
from lightning_gans.game.sides import Side
from lightning_gans.models import VEEGAN
from lightning_gans.models.veegan import DCGANPairDiscriminator, MLPPairDiscriminator
from lightning_gans.networks import MLPDiscriminator, MLPGenerator
from tests.conformance.games import digits, ring, same, trainer

NETWORKS = {
    "generator": partial(MLPGenerator, hidden=(8,), output="none"),
    "discriminator": {"hidden": (6,)},
    "reconstructor": {"hidden": (8,)},
}


def game(dim=3, **arguments):
    torch.manual_seed(0)
    return VEEGAN((2,), **{"latent": Normal(dim), **NETWORKS, **arguments})


def sides(module, n=16):
    rng = torch.Generator().manual_seed(1)
    latents = module.latent(n, rng)
    return Side(torch.randn(n, 2, generator=rng)), Side(module.generate(latents), latents=latents)


class Zero(nn.Module):
    def forward(self, images, latents):
        return 0 * images.sum(1)


class Same(nn.Module):
    def forward(self, values):
        return values


def test_known_losses():
    """At D = 0 its loss is 2 log 2; a latent that F finds again costs nothing."""
    module = VEEGAN((2,), latent=Normal(2), generator=Same(), discriminator=Zero(), reconstructor=Same())
    real, fake = sides(module)
    loss = module.discriminator_loss(module.real_side(real), fake)
    assert loss.item() == pytest.approx(2 * math.log(2))
    assert module.generator_loss(real, fake).item() == 0


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_distance_is_summed_over_a_latent_and_averaged_over_the_batch(weight):
    module = VEEGAN(
        (2,), latent=Normal(2), generator=Same(), discriminator=Zero(), reconstructor=Same(),
        reconstruction_weight=weight,
    )  # fmt: skip
    latents = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    fake = Side(latents + torch.tensor([[3.0, 4.0], [0.0, 1.0]]), latents=latents)
    assert module.generator_loss(fake, fake).item() == pytest.approx(weight * (25 + 1) / 2)


def test_logit_is_linear_for_the_generator_and_says_generated():
    module = game(reconstruction_weight=0.0)
    real, fake = sides(module)
    on_fake = module.discriminator(fake.images, fake.latents)
    torch.testing.assert_close(module.generator_loss(real, fake), on_fake.mean())
    known = module.eval().real_side(real)
    on_real = module.discriminator(known.images, module.reconstructor(real.images))
    wanted = nn.functional.softplus(-on_fake).mean() + nn.functional.softplus(on_real).mean()
    torch.testing.assert_close(module.discriminator_loss(known, fake), wanted)
    torch.testing.assert_close(module.score(real.images), -on_real)  # more is more real, as in other games


def gradients(module, of, real, fake):
    loss = module.generator_loss(real, fake)
    parameters = list(of.parameters())
    return torch.autograd.grad(loss, parameters, allow_unused=True)


def test_reconstructor_learns_from_the_distance_alone():
    module = game()
    found = []
    for factor in (1.0, -3.0):
        with torch.no_grad():
            for parameter in module.discriminator.parameters():
                parameter *= factor
        found.append(
            [gradients(module, net, *sides(module)) for net in (module.reconstructor, module.generator)]
        )
    assert same(found[0][0], found[1][0])
    assert not same(found[0][1], found[1][1])
    module.reconstruction_weight = 0.0
    assert all((g == 0).all() for g in gradients(module, module.reconstructor, *sides(module)))


def test_discriminators_loss_reaches_the_discriminator_alone():
    module = game()
    reached = []

    class Look(Callback):
        def on_train_start(self, trainer, module):
            half = module.gradients

            def looked(player, loss):
                if player == "discriminator":
                    networks = (module.discriminator, module.reconstructor, module.generator)
                    for net in networks:
                        found = torch.autograd.grad(
                            loss, list(net.parameters()), retain_graph=True, allow_unused=True
                        )
                        reached.append(any(g is not None for g in found))
                half(player, loss)

            module.gradients = looked

    trainer([Look()], max_steps=1).fit(module, ring())
    assert reached == [True, False, False]


def test_all_are_updated_from_the_same_weights_and_noise():
    module = game(
        latent_noise=False,
        discriminator_optimizer=partial(SGD, lr=0.1, momentum=0.0),
        generator_optimizer=partial(SGD, lr=0.1, momentum=0.0),
    )
    before, seen = {k: v.clone() for k, v in module.state_dict().items()}, []
    draw = module.draw_fakes
    module.draw_fakes = lambda real: seen.append((real, draw(real))) or seen[-1][1]
    trainer(max_steps=1).fit(module, ring())
    ((real, fake),) = seen
    after = {k: v.clone() for k, v in module.state_dict().items()}
    module.load_state_dict(before)
    fake = Side(module.generate(fake.latents), latents=fake.latents)
    known = module.real_side(real).detach()
    for loss, networks in (
        (module.discriminator_loss(known, fake.detach()), ["discriminator"]),
        (module.generator_loss(real, fake), ["generator", "reconstructor"]),
    ):
        named = [(k, p) for k, p in module.named_parameters() if k.split(".")[0] in networks]
        slopes = torch.autograd.grad(loss, [p for _, p in named])
        for (key, parameter), slope in zip(named, slopes, strict=True):
            torch.testing.assert_close(after[key], parameter - 0.1 * slope)


def test_latents_of_real_samples_are_drawn_around_what_is_found():
    module = game(dim=2)
    real = Side(torch.zeros(20_000, 2))
    found = module.reconstruct(real.images)
    noise = module.real_side(real).latents - found
    assert noise.mean(0).abs().max() < 0.03
    assert (noise.std(0) - 1).abs().max() < 0.03
    assert torch.equal(module.eval().real_side(real).latents, found)
    assert torch.equal(game(dim=2, latent_noise=False).real_side(real).latents, found)


def test_noise_units_are_the_generators_alone():
    module = game(dim=4, noise_units=1)
    assert module.reconstruct(torch.zeros(5, 2)).shape == (5, 3)
    real, fake = sides(module)
    other = Side(fake.images, latents=fake.latents.clone())
    other.latents[:, 3] += 1
    assert torch.equal(module.judge(fake), module.judge(other))
    assert torch.equal(module.generator_loss(real, fake), module.generator_loss(real, other))
    assert not torch.equal(module.generate(fake.latents), module.generate(other.latents))


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_images(norm):
    torch.manual_seed(0)
    small = {"width": 2, "norm": norm, "features": 4, "hidden": 5}
    module = VEEGAN(
        (1, 8, 8), latent=Normal(1), generator={"width": 2}, discriminator=small, reconstructor={"width": 2}
    )
    trainer(max_steps=2).fit(module, digits())
    assert all(p.isfinite().all() for p in module.parameters())
    assert module.reconstruct(torch.zeros(3, 1, 8, 8)).shape == (3, 1)


def test_pairs_are_judged_as_pairs():
    """A sum of a number of the image and one of the latent would not see what belongs together."""
    torch.manual_seed(0)
    for judge, shape in (
        (MLPPairDiscriminator((2,), 3), (2,)),
        (DCGANPairDiscriminator((1, 8, 8), 3, width=4, norm="none", features=8), (1, 8, 8)),
    ):
        images, latents = 10 * torch.randn(2, *shape), torch.randn(2, 3)
        together, crossed = judge(images, latents).sum(), judge(images, latents.flip(0)).sum()
        assert (together - crossed).abs() > 1e-4


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"noise_units=3"):
        game(noise_units=3)
    with pytest.raises(ValueError, match=r"noise_units=-1"):
        game(noise_units=-1)
    with pytest.raises(ValueError, match=r"reconstruction_weight=-1"):
        game(reconstruction_weight=-1.0)
    with pytest.raises(ValueError, match=r"discriminator has latent_dim=7"):
        game(discriminator=partial(MLPPairDiscriminator, latent_dim=7))
    with pytest.raises(ValueError, match=r"reconstructor: unknown argument|reconstructor"):
        game(reconstructor={"depth": 3})
    wrong = MLPDiscriminator((2,), hidden=(4,), outputs=5)
    with pytest.raises(ValueError, match=r"reconstructor returned \(2, 5\)"):
        trainer(max_steps=1).fit(game(reconstructor=wrong), ring())
    with pytest.raises(ValueError, match=r"latents has shape \(2, 2\)"):
        MLPPairDiscriminator((2,), 3)(torch.zeros(2, 2), torch.zeros(2, 2))
