"""CycleGAN: the fact sheet's known answers, and which pass is made when."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.utils.data import DataLoader

import lightning_gans
from lightning_gans import CycleGAN
from lightning_gans.callbacks import Checkpoint
from lightning_gans.game.optimizers import Adam
from lightning_gans.game.schedulers import LinearDecay
from lightning_gans.networks import Rebuildable
from tests.conformance.games import pairs, same, trainer

SHAPE = (3, 16, 16)
SMALL = {"generator": {"width": 2, "blocks": 1}, "discriminator": {"width": 2, "receptive_field": 16}}


def small(a=SHAPE, b=SHAPE, **arguments):
    torch.manual_seed(0)
    return CycleGAN(a, b, **{**SMALL, **arguments})


def batches(n, a=SHAPE, b=SHAPE, size=1):
    rng = torch.Generator().manual_seed(0)
    return [[2 * torch.rand(size, *shape, generator=rng) - 1 for shape in (a, b)] for _ in range(n)]


def fit(game, updates, callbacks=(), size=1, **arguments):
    data = DataLoader(batches(updates, game.input_shape, game.image_shape, size), batch_size=None)
    run = trainer(callbacks, max_steps=updates, **arguments)
    run.fit(game, data)
    return run


class Moved(Rebuildable, nn.Module):
    """Adds a number to images, or multiplies them by it."""

    def __init__(self, input_shape=None, image_shape=None, add=0.0, times=1.0):
        super().__init__()
        self.add, self.times = nn.Parameter(torch.tensor(add)), nn.Parameter(torch.tensor(times))

    def forward(self, images):
        return images * self.times + self.add


class Unsure(Rebuildable, nn.Module):
    """A discriminator that says 0 of every patch."""

    def __init__(self, image_shape=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        return images[:, :1, ::2, ::2] * self.weight


def losses(there, back, n=1, **arguments):
    """The losses of generators and discriminators, of given translators and discriminators that say 0."""
    game = small(generator=Moved, discriminator=Unsure, **arguments)
    game.generator_ab, game.generator_ba = there, back
    (pair,) = batches(1, size=n)
    images, fakes = game.by_direction(pair), {}
    total = sum(game.generator_losses(images, fakes)).item()
    return total, game.discriminator_loss(images, fakes).item() if fakes else None


# ---------------------------------------------------------------------- known answers


def test_default_networks():
    """Section 4: 6 blocks at 128 pixels, 9 at 256, neither with a gain in its norms; 70x70 patches."""
    counts = {128: 7_837_699, 256: 11_378_179}
    with torch.device("meta"):
        for size, count in counts.items():
            game = CycleGAN((3, size, size), (3, size, size))
            for network, wanted in (
                (game.generator_ab, count),
                (game.generator_ba, count),
                (game.discriminator_a, 2_764_737),
                (game.discriminator_b, 2_764_737),
            ):
                assert sum(p.numel() for p in network.parameters()) == wanted


@pytest.mark.parametrize("n", [1, 3])
def test_losses_of_identities_before_unsure_discriminators(n):
    assert losses(Moved(), Moved(), n) == pytest.approx((2.0, 2 * 0.5))
    assert losses(Moved(), Moved(), n, lambda_gan=3.0) == pytest.approx((3 * 2.0, 2 * 0.5))


def test_logarithmic_form():
    log2 = torch.tensor(2.0).log().item()
    assert losses(Moved(), Moved(), objective="gan") == pytest.approx((2 * log2, 2 * log2))


def test_cycle_and_identity_losses():
    """What comes back is off by 0.1 in both domains; an image of B too, and one of A is not."""
    wanted = 2 + 10 * (0.1 + 0.1)
    there, back = Moved(add=0.1), Moved()
    assert losses(there, back)[0] == pytest.approx(wanted)
    assert losses(there, back, lambda_identity=0.5)[0] == pytest.approx(wanted + 10 * 0.5 * 0.1)
    half = Moved(add=0.05)
    assert losses(half, half, lambda_identity=0.5)[0] == pytest.approx(wanted + 10 * 0.5 * (0.05 + 0.05))


def test_each_cycle_has_its_weight_and_shares_it_with_the_identity():
    """F(G(x)) = 2x + 0.2 and G(F(y)) = 2y + 0.1, of images that are 0; G(y) is off by 0.1, F(x) by 0."""
    game = small(generator=Moved, lambda_gan=0, lambda_a=3, lambda_b=5, lambda_identity=0.5)
    game.generator_ab, game.generator_ba = Moved(add=0.1), Moved(times=2.0)
    zeros, reported = torch.zeros(1, *SHAPE), {}
    game.report = reported.update
    total = sum(game.generator_losses(game.by_direction((zeros, zeros)), {})).item()
    assert total == pytest.approx(3 * 0.2 + 5 * 0.1 + 0.5 * 5 * 0.1)
    wanted = {"cycle_a": 0.2, "cycle_b": 0.1, "identity_a": 0, "identity_b": 0.1, "generator_loss": total}
    assert {name: value.item() for name, value in reported.items()} == pytest.approx(wanted)


def test_negatives_there_and_back_have_no_cycle_loss():
    total, _ = losses(Moved(times=-1.0), Moved(times=-1.0), lambda_gan=0)
    assert total == 0


def test_learning_rates():
    """Section 10, 5; of both players, and stepped once an epoch."""
    optimizer = Adam([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = LinearDecay(optimizer, start=99, end=200)
    factors = {}
    for epoch in range(1, 201):
        factors[epoch] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()
    wanted = {1: 1, 100: 1, 101: 0.9900990099, 150: 0.5049504950, 200: 0.0099009901}
    assert {epoch: factors[epoch] for epoch in wanted} == pytest.approx(wanted)

    rates = []

    class Rates(Callback):
        def on_train_epoch_start(self, trainer, module):
            rates.append(
                [module.player_optimizer(p).param_groups[0]["lr"] / 2e-4 for p in sorted(module.players())]
            )

    decay = partial(LinearDecay, start=1, end=4)
    game = small(generator_scheduler=decay, discriminator_scheduler=decay, scheduler_interval="epoch")
    trainer([Rates()], max_epochs=4).fit(game, DataLoader(batches(2), batch_size=None))
    assert torch.tensor(rates).T.tolist() == [pytest.approx([1, 1, 2 / 3, 1 / 3])] * 2


def test_training_and_evaluation_are_alike():
    game = small(lambda_identity=0.5)
    images = batches(1, size=2)[0][0]
    for direction in game.directions:
        with torch.no_grad():
            training = game.train().generate(images, direction=direction)
            assert same(training, game.eval().generate(images, direction=direction))
        assert same(training, game.train().translate(images, direction=direction))


# ---------------------------------------------------------------------- passes and gradients


class Passes(Callback):
    """Counts the calls of each network, and writes down what it got and what it made."""

    def __init__(self):
        self.calls, self.judged, self.made = {}, {}, {}

    def on_train_start(self, trainer, module):
        for name, network in module.named_children():
            network.register_forward_hook(partial(self.write_down, name))

    def write_down(self, name, network, inputs, outputs):
        self.calls[name] = self.calls.get(name, 0) + 1
        self.judged.setdefault(name, []).append(inputs[0].detach().clone())
        self.made.setdefault(name, []).append(outputs.detach().clone())


BOTH = {"generator_ab": 2, "generator_ba": 2}
JUDGED = {"discriminator_a": 3, "discriminator_b": 3}


@pytest.fixture
def at_once(monkeypatch):
    """As on an accelerator, on which a network takes several batches at once."""
    monkeypatch.setattr("lightning_gans.models.cyclegan.game.ONE_BY_ONE", ())


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        ({}, BOTH | JUDGED),
        ({"lambda_identity": 0.5}, dict.fromkeys(BOTH | JUDGED, 3)),
        ({"lambda_gan": 0}, BOTH),
        ({"lambda_gan": 0, "lambda_b": 0}, {"generator_ab": 1, "generator_ba": 1}),
        ({"lambda_gan": 0, "lambda_b": 0, "lambda_identity": 0.5}, {"generator_ab": 1, "generator_ba": 2}),
        ({"lambda_a": 0, "lambda_b": 0}, {"generator_ab": 1, "generator_ba": 1} | JUDGED),
        ({"lambda_b": 0}, {"generator_ab": 1, "generator_ba": 2} | JUDGED),
        ({"lambda_a": 0}, {"generator_ab": 2, "generator_ba": 1} | JUDGED),
    ],
)
def test_nothing_is_computed_twice_or_for_nothing(settings, calls):
    passes = Passes()
    game = small(**settings)
    assert set(game.players()) == {"generator"} | ({"discriminator"} if "discriminator_a" in calls else set())
    fit(game, 1, [passes])
    assert passes.calls == calls


def test_targets_are_taken_at_once_with_what_is_translated_and_translations(at_once):
    passes = Passes()
    fit(small(lambda_identity=0.5), 1, [passes])
    assert passes.calls == dict.fromkeys(BOTH | JUDGED, 2)


def test_batch_norm_sees_one_batch_at_a_time(at_once):
    passes = Passes()
    norm = {"norm": "batch"}
    game = small(
        generator={**SMALL["generator"], **norm},
        discriminator={**SMALL["discriminator"], **norm},
        lambda_identity=0.5,
    )
    fit(game, 1, [passes], size=2)
    assert passes.calls == dict.fromkeys(BOTH | JUDGED, 3)
    assert {len(images) for judged in passes.judged.values() for images in judged} == {2}


@pytest.mark.parametrize("size", [1, 2])
def test_discriminators_learn_from_what_the_generators_made_before_their_update(size):
    passes = Passes()
    fit(small(pool_size=0), 1, [passes], size=size)
    ((a, b),) = batches(1, size=size)
    for real, maker, judge in (
        (b, "generator_ab", "discriminator_b"),
        (a, "generator_ba", "discriminator_a"),
    ):
        (fooled, *learned_from), made = passes.judged[judge], passes.made[maker]
        assert same(learned_from, [real, fooled])
        assert any(same(fooled, images) for images in made)


def test_discriminators_learn_from_the_history():
    passes = Passes()
    fit(small(pool_size=1), 12, [passes])
    for name in JUDGED:
        judged = passes.judged[name]
        new, learned_from = judged[::3], judged[2::3]
        kept = new[0]
        older = 0
        for fake, given in zip(new[1:], learned_from[1:], strict=True):
            assert same(given, fake) or same(given, kept)
            if same(given, kept):
                older, kept = older + 1, fake
        assert 0 < older < 11


@pytest.mark.parametrize("settings", [{"lambda_gan": 0, "lambda_b": 0}, {}])
def test_one_cycle_reaches_both_generators_and_no_discriminator(settings):
    game = small(**settings)
    grads = {}

    class Grads(Callback):
        def on_train_start(self, trainer, module):
            step = module.step

            def watched(player):
                if player == "generator":
                    for name, parameter in module.named_parameters():
                        moves = parameter.grad is not None and bool(parameter.grad.any())
                        grads.setdefault(name.split(".")[0], []).append(moves)
                step(player)

            module.step = watched

    fit(game, 1, [Grads()])
    assert all(any(found) for name, found in grads.items() if name in BOTH)
    assert not any(any(found) for name, found in grads.items() if name in JUDGED)


# ---------------------------------------------------------------------- runs


def test_domains_of_other_channels():
    a, b = (1, 16, 16), (3, 16, 16)
    game = small(a, b)
    fit(game, 2)
    assert game.translate(torch.zeros(2, 1, 8, 24)).shape == (2, 3, 8, 24)
    assert game.translate(torch.zeros(2, 3, 16, 16), direction="BtoA").shape == (2, 1, 16, 16)


def test_resumed_within_an_epoch_with_full_histories_as_in_one_go():
    def run(folder, updates, ckpt_path=None):
        torch.manual_seed(1)
        data = pairs(batch_size=2, limit=12)  # six batches an epoch
        game = small(data.input_shape, data.image_shape, pool_size=3, lambda_identity=0.5)
        trainer([Checkpoint(dirpath=folder)], max_steps=updates).fit(game, data, ckpt_path=ckpt_path)
        return torch.load(Path(folder) / "last.ckpt", weights_only=True)

    whole, part = run("whole", 14), run("part", 8)
    resumed = run("part", 14, "part/last.ckpt")
    for key in ("state_dict", "optimizer_states", "run_state", "global_step"):
        assert same(whole[key], resumed[key]), key
    histories, before = (stored["run_state"][0]["state"]["pools"] for stored in (whole, part))
    assert [images.shape for images in histories.values()] == [(3, 1, 8, 8)] * 2
    assert not any(same(images, before[name]) for name, images in histories.items())
    loaded = lightning_gans.load("whole/last.ckpt")
    assert all(same(pool.state(), histories[name]) for name, pool in loaded.pools.items())


def test_two_ranks_share_their_weights_and_not_their_histories(on_ranks):
    first, second = on_ranks("tests.models.two_ranks_cyclegan")
    assert first["weights"] == second["weights"]
    assert first["histories"] != second["histories"]
    assert all(rank["kept"] for rank in (first, second))
    assert all(rank["resumed"] for rank in (first, second))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generator": Moved()}, "generator is one Moved"),
        ({"discriminator": Unsure()}, "discriminator is one Unsure"),
        ({"lambda_gan": 0, "lambda_a": 0, "lambda_b": 0}, "lambda_gan=0, lambda_a=0, lambda_b=0"),
        ({"lambda_a": 0, "lambda_b": 0, "lambda_identity": 0.5}, "lambda_identity=0.5 is a share"),
        ({"a": (1, 16, 16), "lambda_identity": 0.5}, "lambda_identity=0.5: .* 1 channels .* 3"),
        ({"lambda_a": -1}, "lambda_a=-1"),
        ({"pool_size": -1}, "pool_size=-1"),
        ({"objective": "hinge"}, "objective='hinge'"),
        ({"a": (3, 18, 18), "b": (3, 18, 18)}, "divisible by 4"),
        ({"generator": {"widht": 3}}, "generator: .*width"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)
