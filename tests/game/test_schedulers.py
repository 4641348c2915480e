"""The learning rates of DeLiGAN's released code."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

import lightning_gans
from lightning_gans.callbacks import Checkpoint
from lightning_gans.game.schedulers import LinearDecay
from lightning_gans.models import GAN
from tests.conformance.games import ring, trainer


def rates(lr, start, end, until):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = LinearDecay(optimizer, start, end)
    found = []
    for _ in range(until + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("lr", "start", "end", "known"),
    [
        (5e-4, 1000, 4000, {0: 5e-4, 1000: 5e-4, 2000: 5e-4 * 2 / 3, 2500: 2.5e-4, 4000: 0.0, 4100: 0.0}),
        (3e-4, 800, 1200, {800: 3e-4, 1000: 1.5e-4}),
        (1e-4, 2600, 3900, {2600: 1e-4, 3250: 5e-5}),
        (1.0, 0, 4, {0: 1.0, 1: 0.75, 4: 0.0, 5: 0.0}),
    ],
)
def test_released_learning_rates(lr, start, end, known):
    found = rates(lr, start, end, max(known))
    for step, rate in known.items():
        assert found[step] == pytest.approx(rate, rel=1e-9, abs=1e-15)
    assert min(found) >= 0


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [(1, 1.0), (100, 1.0), (101, 0.9900990099), (150, 0.5049504950), (200, 0.0099009901)],
)
def test_learning_rates_of_cyclegan(epoch, factor):
    """Of the authors' PyTorch code: 1 - max(0, e - 100) / 101 in epoch e, counted from 1."""
    assert rates(1.0, 99, 200, 199)[epoch - 1] == pytest.approx(factor, abs=5e-11)


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (4, 3)])
def test_bad_arguments(start, end):
    with pytest.raises(ValueError, match=f"start={start} and end={end}"):
        rates(1.0, start, end, 1)


def game():
    torch.manual_seed(0)
    return GAN((2,), generator_scheduler=partial(LinearDecay, start=2, end=6))


def test_follows_updates_and_resumes():
    def run(folder, updates, ckpt_path=None):
        module = game()
        fit = trainer([Checkpoint(dirpath=folder)], max_steps=updates)
        fit.fit(module, ring(), ckpt_path=ckpt_path)
        return module.player_optimizer("generator").param_groups[0]["lr"]

    assert run("part", 3) == pytest.approx(2e-4 * 0.75)
    assert run("part", 5, "part/last.ckpt") == run("whole", 5) == pytest.approx(2e-4 * 0.25)
    loaded = lightning_gans.load("part/last.ckpt")
    assert loaded.generator_scheduler.keywords == {"start": 2, "end": 6}


def test_numbers_are_keys_of_a_recipe(cli):
    recipe = {
        "model": {
            "class_path": "GAN",
            "init_args": {
                "generator_scheduler": {
                    "class_path": "lightning_gans.game.schedulers.LinearDecay",
                    "init_args": {"start": 0, "end": 8},
                },
                "scheduler_interval": "epoch",
            },
        },
        "data": {"class_path": "GaussianMixtures", "init_args": {"samples": 64, "batch_size": 32}},
        "trainer": {"max_epochs": 2, "enable_progress_bar": False},
        "samples": {"gif": False},
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    cli("fit", "--config", "recipe.yaml", "--model.generator_scheduler.end", 4)
    checkpoint = torch.load("runs/gan/version_0/checkpoints/last.ckpt", weights_only=True)
    # Discriminator first. The checkpoint is as old as the last update, of the second epoch.
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(2e-4)
    assert checkpoint["optimizer_states"][1]["param_groups"][0]["lr"] == pytest.approx(2e-4 * 0.75)
