"""The base of all games: known answers of the schedules, state, refusals."""

import os
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    GradientAccumulationScheduler,
    LearningRateFinder,
    StochasticWeightAveraging,
)
from torch import nn

import lightning_gans
from lightning_gans import DCGAN, GAN, WGAN, WGANGP, AdversarialModule, LatentGame
from lightning_gans.callbacks import Checkpoint, GeneratorEMA
from lightning_gans.game.optimizers import SGD, Adam
from lightning_gans.game.players import Player
from lightning_gans.game.sides import Side
from lightning_gans.networks import ConditionalMLPGenerator, DCGANDiscriminator, MLPGenerator
from lightning_gans.networks.rebuild import Rebuildable, describe
from tests.conformance.games import PlainNet, digits, game, ring, same, small_networks, trainer


class Updates(Callback):
    """Writes down who steps, and on which latents."""

    def __init__(self):
        self.order = []
        self.latents = []

    def on_train_start(self, trainer, module):
        step, latent = module.step, module.latent.forward

        def watched(player):
            self.order.append(player)
            step(player)

        def drawn(n, rng):
            self.latents.append(latent(n, rng))
            return self.latents[-1]

        module.step, module.latent.forward = watched, drawn


def small(cls, **arguments):
    return cls(image_shape=(2,), **small_networks((2,)), **arguments)


def test_k_steps_of_the_discriminator():
    """gan.md 9: k = 3, over 12 generator steps D steps 36 times, and G's latents are all its own."""
    watch = Updates()
    trainer([watch], max_steps=12).fit(small(GAN, discriminator_steps=3), ring())
    assert watch.order == (["discriminator"] * 3 + ["generator"]) * 12
    latents = [tuple(z.flatten().tolist()) for z in watch.latents]
    assert len(set(latents)) == len(latents) == 48


def test_generator_steps():
    watch = Updates()
    fit = trainer([watch], max_steps=6)
    fit.fit(small(GAN, generator_steps=2), ring())
    assert watch.order == ["discriminator", "generator", "generator"] * 3
    assert fit.global_step == 6


@pytest.mark.parametrize(("steps", "updates"), [(2, 7), (5, 1)])
def test_max_steps_is_never_overshot(steps, updates):
    fit = trainer(max_steps=updates)
    fit.fit(small(GAN, generator_steps=steps), ring())
    assert fit.global_step == updates


@pytest.mark.parametrize(("updates", "steps"), [(30, 2525), (1001, 7570)])
def test_warm_up_of_wgan(updates, steps):
    """wgan.md 2: 100 critic steps before generator updates 0 to 24, 500 and 1000, otherwise 5."""
    module = small(WGAN, warmup_updates=25, boost_every=500)
    module._trainer = type("Counter", (), {"global_step": 0})()
    total = 0
    for update in range(updates):
        module._trainer.global_step = update
        total += module.steps_before_generator()
    assert total == steps


def test_warm_up_runs():
    watch = Updates()
    module = small(WGAN, warmup_updates=2, boost_every=3, boost=7, discriminator_steps=2)
    trainer([watch], max_steps=5).fit(module, ring())
    steps = [len(turn.split()) for turn in " ".join(watch.order).split("generator")][:-1]
    assert steps == [7, 7, 2, 7, 2]


def test_critic_is_always_inside_the_box():
    """wgan.md 4: after any critic step no parameter is outside, gains included; buffers are not clipped."""
    largest = []

    class Largest(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            largest.append(max(p.abs().max().item() for p in module.discriminator.parameters()))

    module = game("WGAN", digits())
    running = [b.clone() for name, b in module.discriminator.named_buffers() if "running_var" in name]
    assert max(p.abs().max() for p in module.discriminator.parameters()) <= 0.01
    trainer([Largest()], max_steps=3).fit(module, digits())
    assert len(largest) == 15
    assert max(largest) <= 0.01
    for before, (name, after) in zip(
        running, [(n, b) for n, b in module.discriminator.named_buffers() if "running_var" in n], strict=True
    ):
        assert after.max() > 0.01, name
        assert not same(before, after), name


def test_clipping_weights_only():
    module = WGAN(image_shape=(1, 16, 16), clipped="weights")
    gains = [m.weight for m in module.discriminator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert gains
    assert all(gain.min() > 0.5 for gain in gains)
    assert all(p.abs().max() <= 0.01 for p in module.discriminator.parameters() if p.ndim > 1)


def test_simultaneous_step_is_the_step_of_both_gradients():
    """Both gradients are taken before either step, from one batch of noise."""
    data = ring()
    module = small(GAN, simultaneous=True, generator_optimizer=SGD, discriminator_optimizer=SGD)
    start = {k: v.clone() for k, v in module.state_dict().items()}
    watch, batches = Updates(), []

    class Batches(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            batches.append(batch[0].clone())

    trainer([watch, Batches()], max_steps=1).fit(module, data)
    (latents,), (real,) = watch.latents, batches
    copy = small(GAN)
    copy.load_state_dict(start)
    fake = copy.generate(latents)
    losses = {
        "discriminator": copy.discriminator_loss(Side(real), Side(fake).detach()),
        "generator": copy.generator_loss(Side(real), Side(fake)),
    }
    for player, loss in losses.items():
        network = getattr(copy, player)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        for p, g, trained in zip(
            network.parameters(), gradients, getattr(module, player).parameters(), strict=True
        ):
            torch.testing.assert_close(p - 0.1 * g, trained)


class TwoByTwo(AdversarialModule):
    """Two generators, two discriminators, no latent, a frozen helper: the shape of CycleGAN's game."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.there, self.back, self.judge, self.critic = (nn.Linear(2, 2) for _ in range(4))
        self.helper = nn.Linear(2, 2).requires_grad_(False)

    def players(self):
        return {
            "generator": Player(("there", "back"), partial(Adam, lr=0.1)),
            "discriminator": Player(("judge", "critic"), Adam),
        }

    def training_step(self, batch, batch_idx):
        x = batch[0]
        with self.frozen(self.judge, self.critic):
            y = self.there(self.helper(x))
            assert not any(p.requires_grad for p in self.judge.parameters())
            self.minimise("generator", self.judge(y).mean() + self.critic(self.back(y)).mean())
        assert all(p.requires_grad for p in self.judge.parameters())
        self.minimise("discriminator", -self.judge(y.detach()).mean() + self.critic(x).mean())
        self.report({"total": 1.0})


def test_the_base_carries_games_without_a_latent():
    module = TwoByTwo()
    start = {k: v.clone() for k, v in module.state_dict().items()}
    fit = trainer([GeneratorEMA(0.5)], max_steps=4)
    fit.fit(module, ring())
    assert fit.global_step == 4
    changed = {
        k.split(".")[0] for k, v in module.state_dict().items() if k in start and not same(v, start[k])
    }
    assert changed == {"there", "back", "judge", "critic"}
    assert set(module.ema) == {"there", "back"}


class InParts(AdversarialModule):
    """One player, whose loss is the sum of two."""

    def __init__(self, whole):
        super().__init__()
        self.whole, self.layer = whole, nn.Linear(2, 1)

    def players(self):
        return {"generator": Player(("layer",), SGD)}

    def training_step(self, batch, batch_idx):
        losses = self.losses(batch[0])
        self.minimise("generator", sum(list(losses)) if self.whole else losses)

    def losses(self, x):
        first = self.layer(x).square().mean()
        yield first
        if not self.whole:
            with pytest.raises(RuntimeError, match="second time"):  # its graph is gone
                first.backward()
        yield self.layer(3 * x).abs().mean()


def test_a_loss_in_parts_is_their_sum():
    weights = []
    for whole in (True, False):
        torch.manual_seed(0)
        module = InParts(whole)
        trainer(max_steps=3).fit(module, ring())
        weights.append(module.layer.weight)
    torch.testing.assert_close(*weights)


def test_one_player_is_the_generator():
    class NoGenerator(GAN):
        def players(self):
            return {"critic": super().players()["discriminator"]}

    with pytest.raises(ValueError, match=r"players\(\) of NoGenerator names critic: call one of them"):
        trainer(max_steps=1).fit(NoGenerator((2,)), ring())


class LearnedLatent(lightning_gans.game.latents.Normal):
    def __init__(self, dim=2):
        super().__init__(dim)
        self.shift = nn.Parameter(torch.zeros(dim))

    def forward(self, n, rng):
        return super().forward(n, rng).to(self.shift) + self.shift


@pytest.mark.parametrize("name", ["DCGAN", "GAN"])
def test_a_learned_latent_trains_with_the_generator(name):
    module = game(name, ring(), latent=LearnedLatent())
    trainer(max_steps=3).fit(module, ring())
    assert module.latent.shift.abs().min() > 0


class Labelled(LatentGame):
    """A conditional game in three lines."""

    conditional = True

    def default_generator(self):
        return lambda shape, dim: lightning_gans.networks.ConditionalDCGANGenerator(shape, dim)

    def default_discriminator(self):
        return lightning_gans.networks.ConditionalDCGANDiscriminator

    def judge(self, side):
        return self.discriminator(side.images, side.labels)

    def discriminator_loss(self, real, fake):
        return (self.judge(fake) - self.judge(real)).mean()

    def generator_loss(self, real, fake):
        return -self.judge(fake).mean()


def test_the_base_carries_games_with_labels():
    data = digits(image_size=32)
    with pytest.raises(ValueError, match="num_classes=None: Labelled needs data with labels"):
        Labelled(image_shape=(1, 28, 28))
    module = Labelled(image_shape=(1, 28, 28), num_classes=data.num_classes)
    labels = torch.arange(10)
    assert module.sample(10, labels, seed=1).shape == (10, 1, 28, 28)
    assert module.sample(3).shape == (3, 1, 28, 28)
    real = Side(torch.zeros(5, 1, 28, 28), labels[:5])
    fake = module.draw_fakes(real)
    assert fake.labels.dtype == torch.int64
    assert fake.latents.shape == (5, 100)
    assert module.discriminator_loss(real, fake).ndim == 0


class Projection(nn.Module):
    """A discriminator that knows classes and nothing else: -1 is an error."""

    def __init__(self):
        super().__init__()
        self.classes = nn.Embedding(10, 64)

    def forward(self, images, labels):
        return (images.flatten(1) * self.classes(labels)).sum(1)


def test_a_discriminator_may_need_a_class_for_every_image():
    arguments = {"generator": ConditionalMLPGenerator((1, 8, 8)), "discriminator": Projection()}
    fit = trainer(max_steps=2)
    fit.fit(Labelled((1, 8, 8), num_classes=10, **arguments), digits())
    assert fit.global_step == 2


class SecondJudge(GAN):
    """The discriminator's player trains another network too."""

    def __init__(self, image_shape):
        super().__init__(image_shape)
        self.second = PlainNet(2, 1)

    def players(self):
        players = super().players()
        names = ("discriminator", "second")
        return {**players, "discriminator": replace(players["discriminator"], networks=names)}

    def judge(self, side):
        return super().judge(side) + self.second(side.images).flatten()


def test_the_generator_leaves_all_networks_of_the_others_alone():
    module = SecondJudge((2,))
    second, untouched = list(module.second.parameters()), []
    start = [p.detach().clone() for p in second]

    class Watch(Callback):
        def on_train_start(self, trainer, module):
            minimise = module.minimise

            def watched(player, loss):
                for p in second:
                    p.grad = torch.full_like(p, 7.0)
                minimise(player, loss)
                if player == "generator":
                    untouched.append(all(bool((p.grad == 7).all()) for p in second))

            module.minimise = watched

    trainer([Watch()], max_steps=2).fit(module, ring())
    assert untouched == [True, True]
    assert not same(start, [p.detach() for p in second])


# ---------------------------------------------------------------------- log, schedulers, clipping


def test_log_is_in_generator_updates(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(tmp_path)
    trainer(max_steps=9, logger=logger, log_every_n_steps=4).fit(small(WGAN, discriminator_steps=3), ring())
    header, *rows = [line.split(",") for line in Path(logger.log_dir, "metrics.csv").read_text().splitlines()]
    assert [row[header.index("step")] for row in rows] == ["4", "8"]
    assert {"train/discriminator_loss", "train/generator_loss", "train/wasserstein_estimate"} < set(header)
    for row in rows:
        loss, estimate = (
            float(row[header.index(f"train/{k}")]) for k in ("discriminator_loss", "wasserstein_estimate")
        )
        assert estimate == pytest.approx(-loss)


def test_estimate_is_without_the_penalty():
    """wgan.md, section 2: W excludes the penalty."""
    module = small(WGANGP)
    fit = trainer(max_steps=1)
    fit.fit(module, ring())
    logged = fit.callback_metrics
    total = -logged["train/wasserstein_estimate"] + 10 * logged["train/gradient_penalty"]
    torch.testing.assert_close(logged["train/discriminator_loss"], total)


@pytest.mark.parametrize(("interval", "wanted"), [("update", 0.1 * 0.5**7), ("epoch", 0.1 * 0.5**2)])
def test_schedulers_step(interval, wanted):
    """20 batches an epoch, 7 for an update: 7 updates end within the third epoch, which is not over then."""
    module = small(
        GAN,
        generator_optimizer=SGD,
        generator_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
        discriminator_steps=7,
        scheduler_interval=interval,
    )
    trainer(max_steps=7).fit(module, ring())
    assert module.player_optimizer("generator").param_groups[0]["lr"] == pytest.approx(wanted)
    assert module.player_optimizer("discriminator").param_groups[0]["lr"] == 2e-4


def test_gradients_are_clipped():
    module = small(GAN, gradient_clip_norm=1e-3)
    norms = []

    class Norms(Callback):
        def on_train_start(self, trainer, module):
            for player in module.players():
                module.player_optimizer(player).register_step_pre_hook(
                    lambda opt, *_: norms.append(
                        torch.stack(
                            [p.grad.norm() for group in opt.param_groups for p in group["params"]]
                        ).norm()
                    )
                )

    trainer([Norms()], max_steps=2).fit(module, ring())
    assert len(norms) == 4
    assert max(norms) <= 1e-3 * 1.001


class Explodes(GAN):
    def generator_loss(self, real, fake):
        return super().generator_loss(real, fake) * (torch.inf if self.trainer.global_step == 3 else 1)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    module = small(Explodes)
    with pytest.raises(
        FloatingPointError, match=r"Explodes: the loss of the generator is inf at generator update 3"
    ):
        trainer(max_steps=10, default_root_dir=tmp_path).fit(module, ring())
    assert (tmp_path / "checkpoints" / "not-finite.ckpt").is_file()
    assert all(p.isfinite().all() for p in module.parameters())


# ---------------------------------------------------------------------- checkpoints


def test_load_without_repeating_arguments():
    data = digits()
    module = DCGAN(
        data.image_shape,
        latent=lightning_gans.game.latents.Uniform(dim=7, bound=2.0),
        generator=lightning_gans.networks.DCGANGenerator(data.image_shape, 7, width=16),
        discriminator=partial(DCGANDiscriminator, width=16),
        generator_optimizer=partial(Adam, lr=1e-3),
        generator_scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=5),
    )
    trainer([Checkpoint(dirpath="here")], max_steps=1).fit(module, data)
    loaded = lightning_gans.load("here/last.ckpt")
    assert same(loaded.state_dict(), module.state_dict())
    assert loaded.generator_optimizer([nn.Parameter(torch.zeros(1))]).defaults["lr"] == 1e-3
    assert loaded.latent.bound == 2.0
    assert describe(loaded.generator) == describe(module.generator)
    # loaded and saved again: still self-contained
    trainer([Checkpoint(dirpath="again")], max_steps=1).fit(loaded, data)
    assert same(lightning_gans.load("again/last.ckpt").sample(3, seed=0), loaded.sample(3, seed=0))


def test_load_names_what_it_cannot_rebuild():
    module = GAN(
        (2,), generator=PlainNet(100, 2), discriminator=PlainNet(2, 1), generator_optimizer=lambda p: SGD(p)
    )
    trainer([Checkpoint(dirpath="here")], max_steps=1).fit(module, ring())
    with pytest.raises(
        ValueError, match=r"does not say how to build discriminator, generator: call load\(path, "
    ):
        lightning_gans.load("here/last.ckpt")
    with pytest.warns(UserWarning, match="generator_optimizer could not be stored"):
        loaded = lightning_gans.load(
            "here/last.ckpt", generator=PlainNet(100, 2), discriminator=PlainNet(2, 1)
        )
    assert same(loaded.state_dict(), module.state_dict())


class OwnNet(Rebuildable, PlainNet):
    pass


def test_own_rebuildable_networks():
    module = GAN((2,), generator=OwnNet(100, 2), discriminator=OwnNet(2, outputs=1))
    trainer([Checkpoint(dirpath="here")], max_steps=1).fit(module, ring())
    assert same(lightning_gans.load("here/last.ckpt").state_dict(), module.state_dict())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x80\x02}q\x00."])
def test_damaged_checkpoints(content):
    Path("bad.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.ckpt (is damaged or not a checkpoint|was not written by)"):
        lightning_gans.load("bad.ckpt")


def test_checkpoint_of_another_class():
    trainer([Checkpoint(dirpath="here")], max_steps=1).fit(small(GAN), ring())
    with pytest.raises(ValueError, match=r"one of lightning_gans\.models\.gan\.GAN, not of .*WGAN"):
        trainer(max_steps=2).fit(small(WGAN), ring(), ckpt_path="here/last.ckpt")
    other = GAN((2,), generator=partial(MLPGenerator, hidden=(5,), output="none"))
    with pytest.raises(ValueError, match="does not fit: generator"):
        trainer(max_steps=2).fit(other, ring(), ckpt_path="here/last.ckpt")


def test_averaged_weights_come_and_go():
    trainer([Checkpoint(dirpath="with"), GeneratorEMA(0.5)], max_steps=2).fit(small(GAN), ring())
    with pytest.warns(UserWarning, match="averaged weights"):
        trainer(max_steps=3).fit(small(GAN), ring(), ckpt_path="with/last.ckpt")
    trainer([Checkpoint(dirpath="without")], max_steps=2).fit(small(GAN), ring())
    module = small(GAN)
    trainer([GeneratorEMA(0.5)], max_steps=3).fit(module, ring(), ckpt_path="without/last.ckpt")
    assert module.ema is not None


def test_no_half_written_checkpoint(monkeypatch):
    """A writer that dies half-way leaves the checkpoint before it."""
    checkpoint = Checkpoint(every_n_updates=2, dirpath="here")
    write, written = Path.write_bytes, []

    def dies(self, content):
        written.append(self)
        if len(written) == 2:
            write(self, content[:1000])
            raise KeyboardInterrupt
        return write(self, content)

    monkeypatch.setattr(Path, "write_bytes", dies)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer([checkpoint], max_steps=8).fit(small(GAN), ring())
    assert torch.load("here/last.ckpt", weights_only=True)["global_step"] == 2


def test_checkpoint_counts_by_crossing():
    saved = []

    class Saves(Checkpoint):
        def _save_checkpoint(self, trainer, filepath):
            super()._save_checkpoint(trainer, filepath)
            saved.append(trainer.global_step)

    trainer([Saves(every_n_updates=4, dirpath="here")], max_steps=14).fit(
        small(GAN, generator_steps=3), ring()
    )
    assert saved == [4, 8, 12, 14]
    saved.clear()
    fit = trainer([Saves(every_n_updates=100, every_n_minutes=1e-9, dirpath="there")], max_steps=25)
    fit.fit(small(GAN), ring())
    assert saved == [10, 20, 25]


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "bf16-true"}, "precision=bf16-true is not supported: use bf16-mixed"),
        ({"gradient_clip_val": 1.0}, "use model.gradient_clip_norm"),
        ({"accumulate_grad_batches": 2}, "raise data.batch_size"),
        ({"callbacks": [GradientAccumulationScheduler({1: 2})]}, "GradientAccumulationScheduler.*batch_size"),
        ({"callbacks": [StochasticWeightAveraging(0.1)]}, "StochasticWeightAveraging.*use GeneratorEMA"),
        ({"callbacks": [LearningRateFinder()]}, "LearningRateFinder.*optimizer"),
    ],
)
def test_trainer_settings_that_mean_something_else(arguments, message):
    with pytest.raises(ValueError, match=message):
        trainer(max_steps=1, **arguments).fit(small(GAN), ring())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"discriminator_steps": 0}, "discriminator_steps=0"),
        ({"generator_steps": -1}, "generator_steps=-1"),
        ({"gradient_clip_norm": 0.0}, "gradient_clip_norm=0.0"),
        ({"image_shape": (3, 3)}, r"image_shape=\(3, 3\)"),
        ({"simultaneous": True, "discriminator_steps": 2}, "simultaneous=True"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GAN(**{"image_shape": (2,), **arguments})


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (WGAN, {"clip": 0.0}, "clip=0.0"),
        (WGAN, {"boost": 0}, "boost=0"),
        (WGANGP, {"penalty": -1.0}, "penalty=-1.0"),
    ],
)
def test_bad_arguments_of_wgan(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls((2,), **arguments)


def test_penalty_refuses_batch_norm():
    with pytest.raises(ValueError, match="discriminator has batch norm"):
        WGANGP((1, 16, 16), discriminator=DCGANDiscriminator)


def test_another_shape_than_the_data():
    with pytest.raises(ValueError, match=r"image_shape=\(1, 16, 16\) of the model"):
        trainer(max_steps=1).fit(DCGAN((1, 16, 16)), digits())


def test_own_losses_by_subclassing():
    """The example of the README."""

    class MyGAN(LatentGame):
        def discriminator_loss(self, real, fake):
            return self.judge(fake).mean() - self.judge(real).mean()

        def generator_loss(self, real, fake):
            return -self.judge(fake).mean()

    fit = trainer(max_steps=2)
    fit.fit(MyGAN(image_shape=(1, 8, 8)), digits())
    assert fit.global_step == 2


def test_validation_leaves_the_noise_alone():
    def run(**arguments):
        module = small(GAN)
        torch.manual_seed(1)
        fit = trainer(max_steps=30, **arguments)
        fit.fit(module, ring())
        return module.state_dict(), fit.callback_metrics

    torch.manual_seed(0)
    plain, _ = run(limit_val_batches=0)
    torch.manual_seed(0)
    watched, metrics = run(limit_val_batches=2, num_sanity_val_steps=2)
    assert same(plain, watched)
    assert {"val/discriminator_loss", "val/generator_loss"} <= set(metrics)


def test_the_environment_is_as_before(monkeypatch):
    """After a run that fails, too."""
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

    class Fails(Callback):
        def on_train_batch_start(self, *_):
            raise OSError("the disk is full")

    for callbacks in ([], [Fails()]):
        with nullcontext() if not callbacks else pytest.raises(OSError, match="full"):
            trainer(callbacks, max_steps=1).fit(small(GAN), ring())
        assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"
