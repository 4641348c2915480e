"""DeLiGAN: its schedule by hand, its losses, its mixture in the log."""

import copy
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

import lightning_gans
from lightning_gans import DeLiGAN
from lightning_gans.callbacks import Checkpoint, GeneratorEMA
from lightning_gans.game.latents import GaussianMixture, Normal, Uniform
from lightning_gans.game.optimizers import SGD
from lightning_gans.game.sides import Side
from lightning_gans.losses import gan, semi_supervised
from lightning_gans.metrics import Evaluation, LatentSigma, Samples
from lightning_gans.models.deligan import (
    DeLiGANCIFARDiscriminator,
    DeLiGANGenerator,
    DeLiGANMNISTDiscriminator,
    DeLiGANMNISTGenerator,
)
from lightning_gans.models.deligan.threshold import Threshold
from lightning_gans.networks import (
    ConvMaxoutDiscriminator,
    DCGANDiscriminator,
    DCGANGenerator,
    MaxoutDiscriminator,
    MLPDiscriminator,
    MLPGenerator,
)
from tests.conformance.games import digits, ring, same, trainer
from tests.kill import KillAt, Killed


def game(image_shape=(2,), **arguments):
    torch.manual_seed(0)
    return DeLiGAN(image_shape, latent=arguments.pop("latent", GaussianMixture(2, 8)), **arguments)


# ---------------------------------------------------------------------- the schedule

G, D = True, False


def play(schedule, batches):
    """Adapt before each batch, then move by the losses given; return t after each, moves and rises."""
    thresholds, moves, rises = [], [], []
    for losses in batches:
        rises.append(schedule.adapt())
        thresholds.append(round(schedule.threshold, 6))
        moves.append([schedule.chooses_generator(loss) for loss in losses])
    return thresholds, moves, rises


def test_consecutive_updates_by_hand():
    """Known answer: a run of more than 3 of G raises t (not above 1), one of 2 or more of D lowers it."""
    high, low = 2.0, 0.1
    batches = [
        [low] * 5,  # 5 of D in a row
        [low, high, high, high, high],  # t falls first; then 4 of G in a row
        [high, high, high, low, high],  # t rises; then 3 of G from 0 on, 1 of D, 1 of G
        [high, high, low, high, low],  # nothing; 3 of G in a row are not more than 3
        [low, low, low, low, low],  # nothing; 1 of D so far; 6 in a row
        [high] * 5,
        [high] * 5,
        [low] * 5,
    ]
    thresholds, moves, rises = play(Threshold(), batches)
    assert thresholds == [1.0, 0.997, 1.0, 1.0, 1.0, 0.997, 1.0, 1.0]
    assert moves == [[loss > 1 for loss in losses] for losses in batches]
    assert rises == [D, D, G, D, D, D, G, G]


def test_net_updates_by_hand():
    schedule = Threshold(
        floor=0.73, rise=0.01, fall=0.001, counting="net", generator_limit=10, discriminator_limit=150
    )
    thresholds, _, _ = play(schedule, [[0.1] * 5] * 31)  # 30 batches are 150 moves of D
    assert thresholds == [1.0] * 31
    assert schedule.count == -155
    assert not schedule.adapt()
    assert (schedule.threshold, schedule.count) == (0.999, 0)
    thresholds, _, rises = play(schedule, [[2, 2, 2, 2, 0.1]] * 4)  # 3, 6, 9, 12
    assert not any(rises)
    assert schedule.adapt()
    assert (schedule.threshold, schedule.count) == (1.0, 0)


def test_threshold_stays_above_its_floor():
    schedule = Threshold(start=0.705)
    thresholds, _, _ = play(schedule, [[0.1] * 5] * 4)
    assert thresholds == [0.705, 0.702, 0.7, 0.7]
    assert schedule.chooses_generator(0.71)
    assert not schedule.chooses_generator(0.7)


class Updates(Callback):
    """Plays prescribed losses, and notes who is updated, at which learning rate, and the threshold."""

    def __init__(self, losses):
        self.losses, self.seen = iter(losses), []

    def on_train_start(self, trainer, module):
        module._gate = lambda *_: next(self.losses)
        for player in module.players():
            optimizer = module.player_optimizer(player)
            optimizer.register_step_pre_hook(
                lambda o, *_, p=player: self.seen.append((p[0], o.param_groups[0]["lr"]))
            )


def test_players_are_updated_as_the_schedule_says():
    """5 of G; t rises, an extra half step of D (sketches), then G D D D D; t falls, then G."""
    module = game(schedule=Threshold(start=1.0, extra_step=True))
    updates = Updates([2.0] * 5 + [2.0, 0.1, 0.1, 0.1, 0.1] + [2.0] * 5)
    fit = trainer([updates], max_steps=7)
    fit.fit(module, ring())
    full, half = ("d", 2e-4), ("d", 1e-4)
    g = ("g", 2e-4)
    assert updates.seen == [g] * 5 + [half, g] + [full] * 4 + [g]
    assert fit.global_step == 7
    assert module.schedule.threshold == pytest.approx(0.997)


def test_gate_is_the_adversarial_loss_in_evaluation_mode():
    module = game(
        (1, 8, 8),
        latent=GaussianMixture(4, 8, penalty_weight=100.0),
        generator=partial(DCGANGenerator, width=4),
        discriminator=partial(DCGANDiscriminator, width=4),
        schedule=Threshold(updates=1, start=0.5, floor=0.4),
    )
    gates = []

    class Watch(Callback):
        def on_train_start(self, trainer, module):
            gate = module._gate

            def watched(*arguments):
                before = copy.deepcopy(module.state_dict())
                state = module.rng.get_state()
                found = gate(*arguments)
                assert same(before, module.state_dict())  # no statistics of batch norm are gathered
                after = module.rng.get_state()
                assert not same(state, after)  # fresh noise
                module.rng.set_state(state)
                with torch.no_grad():
                    module.eval()
                    fake = module.generator(module.latent(16, module.rng))
                    expected = gan.generator_loss(module.discriminator(fake)).item()
                    module.train()
                assert found == pytest.approx(expected, rel=1e-6)
                gates.append(found)
                return found

            module._gate = watched

    trainer([Watch()], max_steps=2).fit(module, digits())
    assert len(gates) >= 2


def test_gate_draws_the_components_as_training_does():
    module = game(latent=GaussianMixture(2, 16, sampling="stratified"), schedule=Threshold(updates=1))
    drawn = []

    class Watch(Callback):
        def on_train_start(self, trainer, module):
            of_components = module.latent.of_components
            module.latent.of_components = lambda c, rng: drawn.append(c) or of_components(c, rng)

    trainer([Watch()], max_steps=2).fit(module, ring())
    assert len(drawn) >= 4
    assert all(torch.equal(components.sort().values, torch.arange(16)) for components in drawn)


def test_ranks_decide_by_their_mean():
    module, updates = game(schedule=Threshold()), Updates(())
    asked = []

    class OtherRanks(Callback):
        def on_train_start(self, trainer, module):
            del module._gate
            trainer.strategy.reduce = lambda loss, reduce_op: asked.append(reduce_op) or loss + 100

    trainer([updates, OtherRanks()], max_steps=5).fit(module, ring())
    assert [player for player, _ in updates.seen] == ["g"] * 5
    assert asked == ["mean"] * 5


def test_killed_and_resumed_under_the_schedule():
    def run(folder, ckpt_path=None, extra=()):
        torch.manual_seed(5)
        schedule = Threshold(updates=3, start=0.72, floor=0.68, rise=0.01, fall=0.01)
        module = game(schedule=schedule, generator_optimizer=SGD, discriminator_optimizer=SGD)
        callbacks = [Checkpoint(every_n_updates=3, dirpath=folder), GeneratorEMA(0.9), *extra]
        trainer(callbacks, max_steps=60).fit(module, ring(), ckpt_path=ckpt_path)
        return torch.load(Path(folder) / "last.ckpt", weights_only=True)

    whole = run("whole")
    with pytest.raises(Killed):
        run("killed", extra=[KillAt(17)])
    stored = torch.load("killed/last.ckpt", weights_only=True)["run_state"][0]["state"]["schedule"]
    assert stored["threshold"] != 0.72
    resumed = run("killed", "killed/last.ckpt")
    for key in ("state_dict", "optimizer_states", "run_state", "global_step"):
        assert same(whole[key], resumed[key]), key


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"updates": 0}, "updates=0"),
        ({"floor": 1.1}, "floor=1.1 and start=1.0"),
        ({"floor": 0.0}, "floor=0.0 and start=1.0"),
        ({"counting": "all"}, "counting='all' is unknown"),
        ({"rise": -0.1}, "rise=-0.1"),
        ({"discriminator_limit": -1}, "discriminator_limit=-1"),
        ({"fall": float("nan")}, "fall=nan"),
        ({"start": float("inf")}, "floor=0.7 and start=inf"),
        ({"updates": 2.5}, "updates=2.5"),
    ],
)
def test_bad_thresholds(arguments, message):
    with pytest.raises(ValueError, match=message):
        Threshold(**arguments)


# ---------------------------------------------------------------------- the mixture


@pytest.mark.parametrize("latent", [Normal(2), Uniform(2)])
def test_without_a_mixture_it_is_a_gan(latent):
    fit = trainer(max_steps=2)
    fit.fit(game(latent=latent, schedule=Threshold()), ring())
    assert not any("sigma" in name or "penalty" in name for name in fit.callback_metrics)


def test_widths_are_reported_and_their_collapse_is_warned_of():
    fit, module = trainer(max_steps=3), game()
    fit.fit(module, ring())
    assert float(fit.callback_metrics["train/sigma_mean"]) == pytest.approx(0.2, abs=0.01)
    assert float(fit.callback_metrics["train/sigma_min"]) == pytest.approx(0.2, abs=0.01)
    with torch.no_grad():
        module.latent.trained_sigma[3, 1] = 0  # a disc, which is no point
    with warnings.catch_warnings(record=True) as seen:
        trainer(max_steps=6).fit(module, ring())
    assert not any("sigma" in str(warning.message) for warning in seen)
    with torch.no_grad():
        module.latent.trained_sigma[3] = -1e-4
    with pytest.warns(
        UserWarning,
        match=r"no sigma of a component exceeds 0.0001: it repeats one sample; raise latent.penalty_weight",
    ) as seen:
        trainer(max_steps=6).fit(module, ring())
    assert sum("sigma" in str(warning.message) for warning in seen) == 1


def test_sigma_is_a_score_of_an_evaluation():
    widths = {"mixture": (GaussianMixture(2, 4, sigma=0.3), 0.3), "fixed": (Normal(2), 1.0)}
    for latent, expected in widths.values():
        module = game(latent=latent)
        evaluation = Evaluation([LatentSigma()], None, count=4)
        evaluation.fill_in(None, None, module)
        score = evaluation.run([Samples(torch.rand(4, 2), torch.arange(4), None)]).values["latent_sigma"]
        assert score.item() == pytest.approx(expected)
    with torch.no_grad():  # of the weights as they are then, without signs
        widths["mixture"][0].trained_sigma[:2] = -0.9
    metric = LatentSigma()
    metric.take_game(game(latent=widths["mixture"][0]))
    assert list(metric.modules()) == [metric]  # to(device) of the metric leaves the game where it is
    metric.update(torch.arange(4))
    assert metric.compute().item() == pytest.approx((0.9 + 0.3) / 2)
    for bad, what in (
        (game(latent=Uniform(2)), "the game's latents are Uniform"),
        (None, "there is no game"),
    ):
        with pytest.raises(ValueError, match=f"LatentSigma is for latents with a sigma, and {what}: leave"):
            metric.take_game(bad)


def test_samples_of_a_component():
    module = game(latent=GaussianMixture(2, 8, sigma=1e-4))
    rng = torch.Generator().manual_seed(0)
    module.start_ema()
    with torch.no_grad():
        module.latent.mu.zero_()  # the averaged generator goes with the averaged latent
    latents = module.network("latent", ema=True).of_components(torch.full((5,), 3), rng)
    own = module.sample_from(latents.detach(), ema=True)
    assert own.std(0).max() < 1e-3
    assert module.sample(50, seed=0).std(0).min() > 1e-2


@pytest.mark.parametrize(
    ("shape", "generator", "discriminator", "latent"),
    [
        ((2,), MLPGenerator, MLPDiscriminator, (2, 50, 0.1, 0.02)),
        ((1, 28, 28), DeLiGANMNISTGenerator, DeLiGANMNISTDiscriminator, (30, 50, 1 / 3, 0.2)),
        ((3, 32, 32), DeLiGANGenerator, DeLiGANCIFARDiscriminator, (100, 100, 0.05, 0.2)),
        ((3, 8, 8), MLPGenerator, MaxoutDiscriminator, (100, 100, 0.05, 0.2)),
    ],
)
def test_networks_and_mixtures_of_the_paper(shape, generator, discriminator, latent):
    module = DeLiGAN(shape)
    assert type(module.generator) is generator
    assert type(module.discriminator) is discriminator
    mixture = module.latent
    assert (mixture.dim, mixture.num_components, mixture.penalty_weight) == latent[:3]
    torch.testing.assert_close(mixture.sigma, torch.full_like(mixture.mu, latent[3]))


# ---------------------------------------------------------------------- classes


def classifying(**arguments):
    torch.manual_seed(0)
    return DeLiGAN(
        (1, 8, 8),
        num_classes=10,
        objective="classes",
        generator=partial(MLPGenerator, hidden=(16,)),
        discriminator=partial(MLPDiscriminator, hidden=(32,)),
        **arguments,
    )


def test_losses_with_classes():
    module = classifying().eval()
    real, fake = torch.rand(2, 6, 1, 8, 8) * 2 - 1
    labels = torch.tensor([0, 1, -1, 9, 2, -1])
    real_outputs, fake_outputs = module.discriminator(real), module.discriminator(fake)
    assert real_outputs.shape == (6, 10)
    torch.testing.assert_close(
        module.discriminator_loss(Side(real, labels), Side(fake)),
        semi_supervised.discriminator_loss(real_outputs, fake_outputs, labels),
    )
    unlabelled = torch.full((6,), -1)
    torch.testing.assert_close(
        module.discriminator_loss(Side(real, unlabelled), Side(fake)),
        semi_supervised.discriminator_loss(real_outputs, fake_outputs, unlabelled),
    )
    z = fake_outputs.logsumexp(1)
    torch.testing.assert_close(
        module.generator_loss(Side(real, labels), Side(fake)), -torch.nn.functional.softplus(z).mean()
    )
    torch.testing.assert_close(module.score(fake), z)


def test_classes_are_learned_from_a_few_labels():
    data = digits(limit=None, label_fraction=0.2)
    module = classifying(discriminator_optimizer=partial(SGD, lr=0.1))
    fit = trainer([Checkpoint(dirpath="here")], max_steps=300, limit_val_batches=1)
    fit.fit(module, data)
    assert {"train/class_loss", "val/discriminator_loss"} <= set(fit.callback_metrics)
    images, labels = data.load("test")
    outputs = lightning_gans.load("here/last.ckpt").discriminator(images / 127.5 - 1)
    assert (outputs.argmax(1) == labels).float().mean() > 0.6


def test_class_loss_is_in_every_row():
    """Rows are due at any update of the generator in a round, long after the discriminator's."""
    rows = []

    class Rows(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            rows.append(float(trainer.callback_metrics.get("train/class_loss", "nan")))

    computed = []
    module = classifying(generator_steps=3)
    report = module.report
    module.report = lambda values: computed.extend(k for k in values if k == "class_loss") or report(values)
    trainer([Rows()], max_steps=15, log_every_n_steps=5).fit(module, digits())
    assert [row == row for row in rows] == [False] * 5 + [True] * 10  # seen before the row of 15 is written
    assert len(set(rows[5:])) == 2
    assert len(computed) == 3


@pytest.mark.parametrize("error", [RuntimeError("out of memory")])
def test_a_half_step_that_fails_leaves_the_learning_rate(error):
    module = game(schedule=Threshold(extra_step=True))
    trainer(max_steps=1).fit(module, ring())
    optimizer = module.player_optimizer("discriminator")

    def fails(*_):
        assert optimizer.param_groups[0]["lr"] == 1e-4
        raise error

    module.update_discriminator = fails
    with pytest.raises(RuntimeError, match="out of memory"):
        module._half_step(Side(torch.zeros(2, 2)))
    assert optimizer.param_groups[0]["lr"] == 2e-4


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="num_classes=None: objective=classes needs data with labels"):
        DeLiGAN((2,), objective="classes")
    for arguments in (
        {"objective": "minimax"},
        {"objective": "classes", "num_classes": 3},
        {"simultaneous": True},
    ):
        with pytest.raises(ValueError, match="schedule=Threshold goes by the non-saturating loss"):
            DeLiGAN((2,), schedule=Threshold(), **arguments)
    for arguments in ({"discriminator_steps": 5}, {"generator_steps": 2}):
        with pytest.raises(
            ValueError, match=r"schedule=Threshold decides who is updated: leave out discr.*_steps="
        ):
            DeLiGAN((2,), schedule=Threshold(), **arguments)
    with pytest.raises(ValueError, match="takes no argument outputs, by which DeLiGAN asks for 3 logits"):
        DeLiGAN((3, 32, 32), objective="classes", num_classes=3, discriminator=ConvMaxoutDiscriminator)
    with pytest.raises(ValueError, match="simultaneous=True is GAN's"):
        DeLiGAN((2,), objective="classes", num_classes=3, simultaneous=True)
    module = DeLiGAN((2,), objective="classes", num_classes=8, discriminator=MLPDiscriminator((2,)))
    with pytest.raises(ValueError, match=r"returned float32 \(2,\) for 2 images: it must return \(N, 8\)"):
        trainer(max_steps=1).fit(module, ring())
