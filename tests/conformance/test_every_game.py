"""What every game promises, whatever it is played on: see DESIGN section 2 and docs/design.md."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback

import lightning_gans
from lightning_gans import GaussianMixtures
from lightning_gans.callbacks import Checkpoint, GeneratorEMA, SampleGrid
from lightning_gans.commands.export import export
from tests.documented import ROOT
from tests.kill import KillAt, Killed

from .games import (
    EVERY_GAME,
    LATENT_GAMES,
    PAPERS,
    SHAPES,
    SMALL,
    data_of,
    game,
    outputs,
    paper,
    same,
    trainer,
)

LISTED = yaml.safe_load((ROOT / "docs/papers.yaml").read_text()).values()

pytestmark = pytest.mark.parametrize("name", EVERY_GAME)


def others(module, player):
    """The parameters of all players but one."""
    return [
        p
        for other in module.players()
        if other != player
        for network in module.player_networks(other).values()
        for p in network.parameters()
    ]


def dotted(arguments):
    """Arguments as the command line has them."""
    for name, value in arguments.items():
        yield from (
            ((f"{name}.{key}", inner) for key, inner in value.items())
            if isinstance(value, dict)
            else [(name, value)]
        )


def assert_explained(name, keys):
    """Whatever a paper logs stands on its page."""
    logged = {key for key in keys if key.startswith(("train/", "val/"))} - {"train/images_per_second"}
    for page in (entry["page"] for entry in LISTED if entry["class"] == name):
        text = (ROOT / f"docs/papers/{page}.md").read_text()
        assert {key for key in logged if f"`{key}`" not in text} == set()


def test_trains_through_the_command_line(name, cli):
    """The written config is a recipe that gives the same run."""
    data = "Digits" if name in LATENT_GAMES else "tests.conformance.shapes.Negatives"
    model = name if name in PAPERS else f"tests.conformance.shapes.{name}"
    cli("fit", "--model", model, "--data", data, "--data.batch_size", 16, "--data.limit", 64,
        "--trainer.max_steps", 2, "--trainer.enable_progress_bar", "false", "--trainer.limit_val_batches", 1,
        "--trainer.log_every_n_steps", 1,
        *(f"--model.{argument}={value}" for argument, value in dotted(SMALL.get(name, {}))))  # fmt: skip
    run = Path("runs") / name.lower() / "version_0"
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert (run / "samples.gif").is_file()
    assert len(list((run / "samples").glob("*.png"))) >= 2
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert {"train/generator_loss", "train/discriminator_loss", "step"} <= set(header.split(","))
    steps = [row.split(",")[header.split(",").index("step")] for row in rows]
    assert {"1", "2"} <= set(steps)
    assert_explained(name, header.split(","))
    config = (run / "config.yaml").read_text()
    assert "Unable to serialize" not in config
    if name in SHAPES:
        return
    optimizer = yaml.safe_load(config)["model"]["init_args"]["generator_optimizer"]
    assert "lr" in optimizer["init_args"]
    cli("fit", "--config", run / "config.yaml", "--samples.gif", "false")
    first, second = (
        torch.load(run.parent / f"version_{i}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for i in (0, 1)
    )
    assert same(first, second)


def test_networks_are_tried_on_the_device_of_the_run(name, monkeypatch):
    """Lightning names it before the hook `setup`, and brings the networks there after it."""
    for check in ("check_images", "warn_of_range"):
        monkeypatch.setattr(f"lightning_gans.game.trial.{check}", lambda *given: None)  # they look at values
    module = game(name, data_of(name))
    module._trainer, module._device = trainer(), torch.device("meta")
    module.setup("fit")
    assert {p.device.type for p in module.parameters()} == {"meta"}


def test_global_step_counts_generator_updates(name):
    """And the step of one player leaves the weights of the others alone."""
    steps, disturbed = {}, []

    class Watch(Callback):
        def on_train_start(self, trainer, module):
            for player in module.players():
                steps[player] = 0
                alone = others(module, player)
                optimizer = module.player_optimizer(player)
                optimizer.register_step_pre_hook(lambda *_, ps=alone: self.before(ps))
                optimizer.register_step_post_hook(lambda *_, key=player, ps=alone: self.after(key, ps))

        def before(self, parameters):
            self.snapshot = [p.detach().clone() for p in parameters]

        def after(self, player, parameters):
            steps[player] += 1
            if not same(self.snapshot, [p.detach() for p in parameters]):
                disturbed.append(player)

    data = data_of(name)
    module = game(name, data)
    fit = trainer([Watch()], max_steps=5)
    fit.fit(module, data)
    assert fit.global_step == steps["generator"] == 5
    assert steps["discriminator"] == 5 * getattr(module, "discriminator_steps", 1)
    assert disturbed == []


def test_an_update_leaves_the_other_players_alone(name):
    """Known answer: after G's update D's weights and gradients are bit-identical, and the other way round."""
    data = data_of(name)
    module = game(name, data)
    seen = {}

    class Update(Callback):
        def on_train_start(self, trainer, module):
            """Both halves of an update: players may be updated at once."""
            module.gradients = partial(self.watched, module.gradients)
            module.step = partial(self.watched, module.step)

        def watched(self, half, player, *arguments, **options):
            parameters = others(module, player)
            gradients = [p.grad for p in parameters]
            for p in parameters:
                p.grad = torch.full_like(p, 7.0)
            weights = [p.detach().clone() for p in parameters]
            half(player, *arguments, **options)
            alone = all(bool((p.grad == 7).all()) for p in parameters)
            alone = alone and same(weights, [p.detach() for p in parameters])
            seen[player] = alone and seen.get(player, True)
            for p, gradient in zip(parameters, gradients, strict=True):
                p.grad = gradient

    trainer([Update()], max_steps=2).fit(module, data)
    assert seen == {"discriminator": True, "generator": True}


def test_checkpoint_is_self_contained(name):
    data = data_of(name)
    module = game(name, data)
    trainer([Checkpoint(dirpath="here"), GeneratorEMA(decay=0.5)], max_steps=2).fit(module, data)
    export("here/last.ckpt", "shared")
    for path in ("here/last.ckpt", "shared"):
        loaded = lightning_gans.load(path)
        assert type(loaded) is paper(name)
        assert same(loaded.state_dict(), module.state_dict())
        for ema in (True, False):
            assert same(outputs(loaded, ema), outputs(module, ema))
    assert not same(outputs(module, True), outputs(module, False))


def test_killed_and_resumed_is_uninterrupted(name):
    """Killed in the second epoch, an update or a part of one after a checkpoint: resumed to the bit."""
    size = {"samples" if type(data_of(name)) is GaussianMixtures else "limit": 64}  # four batches an epoch

    def run(folder, ckpt_path=None, extra=()):
        data = data_of(name, **size)
        module = game(name, data)
        callbacks = [Checkpoint(every_n_updates=2, dirpath=folder), GeneratorEMA(0.9), *extra]
        trainer(callbacks, max_steps=6).fit(module, data, ckpt_path=ckpt_path)
        return torch.load(Path(folder) / "last.ckpt", weights_only=True)

    whole = run("whole")
    steps = getattr(game(name, data_of(name)), "discriminator_steps", 1)
    with pytest.raises(Killed):
        run("killed", extra=[KillAt(5 * steps + (steps > 1))])
    assert torch.load("killed/last.ckpt", weights_only=True)["global_step"] == 4
    resumed = run("killed", "killed/last.ckpt")
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "run_state", "global_step"):
        assert same(whole[key], resumed[key]), key


def test_bf16_and_channels_last(name):
    data = data_of(name)
    module = game(name, data, channels_last=True)
    trainer(max_steps=2, precision="bf16-mixed").fit(module, data)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in module.parameters())
    assert outputs(module).dtype == torch.float32


def test_being_watched_changes_nothing(name):
    states = []
    for watchers, batches in (([], 0), ([SampleGrid(every_n_updates=1)], 1)):
        data = data_of(name)
        module = game(name, data)
        trainer(watchers, max_steps=3, limit_val_batches=batches, val_check_interval=1).fit(module, data)
        states.append(module.state_dict())
    assert same(*states)


def test_held_out_losses_are_logged(name):
    data = data_of(name)
    module = game(name, data)
    fit = trainer(max_steps=1, limit_val_batches=1, val_check_interval=1)
    fit.fit(module, data)
    logged = {key for key in fit.callback_metrics if key.startswith("val/")}
    wanted = {"val/discriminator_loss", "val/generator_loss"} if name != "TwoTranslators" else set()
    assert wanted == logged - {"val/l1"}
