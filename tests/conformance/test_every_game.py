"""What every paper promises, whoever wrote it: see DESIGN section 2 and docs/design.md."""

from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from torch import nn

import lightning_gans
from lightning_gans.callbacks import Checkpoint, GeneratorEMA, SampleGrid

from .games import PAPERS, KillAt, Killed, digits, game, paper, ring, same, trainer

pytestmark = pytest.mark.parametrize("name", PAPERS)


class Watch(Callback):
    """Counts generator steps, and compares the weights before and after each player's step."""

    def __init__(self):
        self.steps = {}
        self.disturbed = []

    def on_train_start(self, trainer, module):
        for player in module.players():
            self.steps[player] = 0
            others = [
                p
                for other in module.players()
                if other != player
                for network in module.player_networks(other).values()
                for p in network.parameters()
            ]
            optimizer = module.player_optimizer(player)
            optimizer.register_step_pre_hook(lambda *_, key=player, ps=others: self.before(key, ps))
            optimizer.register_step_post_hook(lambda *_, key=player, ps=others: self.after(key, ps))

    def before(self, player, others):
        self.snapshot = [p.detach().clone() for p in others]

    def after(self, player, others):
        self.steps[player] += 1
        if not same(self.snapshot, [p.detach() for p in others]):
            self.disturbed.append(player)


def test_trains_through_the_command_line(name, cli):
    cli("fit", "--model", name, "--data", "Digits", "--data.batch_size", 16, "--data.limit", 64,
        "--trainer.max_steps", 2, "--trainer.enable_progress_bar", "false", "--trainer.limit_val_batches", 1,
        "--trainer.log_every_n_steps", 1)  # fmt: skip
    run = Path("runs") / name.lower() / "version_0"
    assert (run / "config.yaml").is_file()
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert (run / "samples.gif").is_file()
    assert len(list((run / "samples").glob("*.png"))) >= 2
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert {"train/generator_loss", "train/discriminator_loss", "step"} <= set(header.split(","))
    steps = [row.split(",")[header.split(",").index("step")] for row in rows]
    assert {"1", "2"} <= set(steps)
    assert "Unable to serialize" not in (run / "config.yaml").read_text()


def test_config_round_trip(name, cli):
    """The written config is a recipe that gives the same run."""
    arguments = ("--trainer.max_steps", 2, "--trainer.enable_progress_bar", "false", "--samples.gif", "false")
    cli("fit", "--model", name, "--data", "Digits", "--data.limit", 64, "--data.batch_size", 16, *arguments)
    run = Path("runs") / name.lower()
    cli("fit", "--config", run / "version_0" / "config.yaml")
    first, second = (
        torch.load(run / f"version_{i}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for i in (0, 1)
    )
    assert same(first, second)
    optimizer = yaml.safe_load((run / "version_0" / "config.yaml").read_text())["model"]["init_args"][
        "generator_optimizer"
    ]
    assert "lr" in optimizer["init_args"]


def test_global_step_counts_generator_updates(name):
    watch, module = Watch(), game(name, ring())
    fit = trainer([watch], max_steps=5)
    fit.fit(module, ring())
    assert fit.global_step == watch.steps["generator"] == 5
    assert watch.steps["discriminator"] == 5 * module.discriminator_steps
    assert watch.disturbed == []


@pytest.mark.parametrize("data", [ring, digits])
def test_a_turn_leaves_the_other_player_alone(name, data):
    """Known answer: after G's turn D's weights and gradients are bit-identical, and the other way round."""
    data = data()
    module = game(name, data)
    seen = {}

    class Turn(Callback):
        def on_train_start(self, trainer, module):
            minimise = module.minimise

            def watched(player, loss):
                (other,) = (p for p in module.players() if p != player)
                ps = [p for net in module.player_networks(other).values() for p in net.parameters()]
                for p in ps:
                    p.grad = torch.full_like(p, 7.0)
                weights = [p.detach().clone() for p in ps]
                minimise(player, loss)
                alone = all(bool((p.grad == 7).all()) for p in ps)
                alone = alone and same(weights, [p.detach() for p in ps])
                seen[player] = alone and seen.get(player, True)

            module.minimise = watched

    trainer([Turn()], max_steps=2).fit(module, data)
    assert seen == {"discriminator": True, "generator": True}


def test_no_graph_through_the_generator_in_a_turn_of_the_discriminator_alone(name):
    module = game(name, ring(), discriminator_steps=3)
    graphs = []

    def watch(generator, _, images):
        if generator.training:
            graphs.append(images.requires_grad)

    hook = module.generator.register_forward_hook(watch)
    trainer(max_steps=2).fit(module, ring())
    hook.remove()
    wanted = [False, False, True] if module.shares_fake else [False, False, False, True]
    assert graphs == 2 * wanted


def test_discriminator_learns_a_fixed_batch(name):
    data = ring()
    module = game(name, data)
    losses = []

    class Fixed(Callback):
        def on_train_start(self, trainer, module):
            rng = torch.Generator().manual_seed(1)
            real = torch.randn(64, 2, generator=rng) * 0.1
            fake = torch.randn(64, 2, generator=rng) * 0.1 + 0.5
            for _ in range(150):
                loss = module.discriminator_loss(real, fake)
                losses.append(loss.item())
                module.minimise("discriminator", loss)
                module.after_discriminator_step()

    trainer([Fixed()], max_steps=1).fit(module, data)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("data", [ring, digits])
def test_samples(name, data):
    data = data()
    module = game(name, data).train()
    images = module.sample(7, seed=3)
    assert images.shape == (7, *data.image_shape)
    assert images.dtype == torch.float32
    assert not images.requires_grad
    if len(data.image_shape) == 3:
        assert images.abs().max() <= 1
    assert module.generator.training
    assert same(images, module.sample(7, seed=3))
    assert not same(images, module.sample(7, seed=4))
    assert module.score(images).shape == (7,)


def test_checkpoint_is_self_contained(name):
    data = digits()
    module = game(name, data)
    fit = trainer([Checkpoint(dirpath="here"), GeneratorEMA(decay=0.5)], max_steps=2)
    fit.fit(module, data)
    for loaded in (lightning_gans.load("here/last.ckpt"), lightning_gans.load(Path("here/last.ckpt"))):
        assert type(loaded) is paper(name)
        assert same(loaded.state_dict(), module.state_dict())
        for ema in (True, False):
            assert same(loaded.sample(5, seed=1, ema=ema), module.sample(5, seed=1, ema=ema))
    assert not same(module.sample(5, seed=1, ema=True), module.sample(5, seed=1, ema=False))


@pytest.mark.parametrize("kill", [7, 13, 22])
def test_killed_and_resumed_is_uninterrupted(name, kill):
    """Ten batches an epoch: killed within an epoch, after one, and after two; resumed to the bit."""

    def run(folder, updates, ckpt_path=None, extra=()):
        torch.manual_seed(5)
        data, module = digits(), game(name, digits(), discriminator_steps=2)
        callbacks = [Checkpoint(every_n_updates=2, dirpath=folder), GeneratorEMA(0.9), *extra]
        fit = trainer(callbacks, max_steps=updates)
        fit.fit(module, data, ckpt_path=ckpt_path)
        return torch.load(Path(folder) / "last.ckpt", weights_only=True)

    whole = run("whole", 14)
    with pytest.raises(Killed):
        run("killed", 14, extra=[KillAt(kill)])
    resumed = run("killed", 14, ckpt_path="killed/last.ckpt")
    for key in ("state_dict", "optimizer_states", "random_states", "turns", "global_step"):
        assert same(whole[key], resumed[key]), key


def test_bf16(name):
    data = digits()
    module = game(name, data)
    trainer(max_steps=3, precision="bf16-mixed").fit(module, data)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in module.parameters())
    assert module.sample(3).dtype == torch.float32


def test_channels_last_changes_nothing_but_the_order(name):
    data, states = digits(), []
    for channels_last in (False, True):
        module = game(name, data, channels_last=channels_last)
        trainer(max_steps=2).fit(module, data)
        states.append(module.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-4)


def test_compiled_gives_the_same_losses(name, monkeypatch):
    compiled = []
    original = nn.Module.compile

    def compile(
        self, *arguments, **options
    ):  # the tracing and the autograd of inductor, without its C++ compiler
        compiled.append(type(self).__name__)
        original(self, backend="aot_eager")

    monkeypatch.setattr(nn.Module, "compile", compile)
    rows = []

    class Losses(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            rows[-1].append({k: float(v) for k, v in trainer.callback_metrics.items()})

    data = ring()
    for compile_ in (False, True):
        rows.append([])
        torch.compiler.reset()
        module = game(name, data, compile=compile_)
        trainer([Losses()], max_steps=4).fit(module, data)
        assert not any("_orig_mod" in key for key in module.state_dict())
    assert len(compiled) >= (2 if "discriminator" in module.never_compiled else 3) - 1
    assert not (
        {type(module.discriminator).__name__} & set(compiled) and "discriminator" in module.never_compiled
    )
    for plain, fast in zip(*rows, strict=True):
        assert plain == pytest.approx(fast, rel=1e-4, abs=1e-5)


def test_being_watched_changes_nothing(name):
    states = []
    for watchers in ([], [SampleGrid(every_n_updates=1)]):
        module = game(name, ring())
        trainer(watchers, max_steps=4).fit(module, ring())
        states.append(module.state_dict())
    assert same(*states)
