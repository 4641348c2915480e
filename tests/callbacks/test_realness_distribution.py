from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from PIL import Image

from lightning_gans.callbacks import realness
from lightning_gans.callbacks.realness import (
    RealnessDistribution,
    mean_distribution,
)
from lightning_gans.drawing.outcomes import expected_realness
from lightning_gans.game.latents import Normal
from lightning_gans.models.realness.anchors import CustomAnchors
from lightning_gans.models.realness.game import RealnessGAN
from lightning_gans.networks.mlp import MaxoutDiscriminator, MLPGenerator
from tests.callbacks.helpers import Save, digits, fit, point_game, ring, updates_drawn, weights
from tests.callbacks.test_sample_grid import Watcher


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    monkeypatch.setattr(
        realness, "draw_history", lambda history, anchors: Image.new("L", (8, 8), 40 * len(history))
    )


def realness_game(shape=(2,), **kwargs):
    """Has dropout and resamples, so that the mode shows."""
    return RealnessGAN(
        shape,
        num_outcomes=3,
        anchors=CustomAnchors((0.1, 0.2, 0.7), (0.7, 0.2, 0.1)),
        latent=Normal(4),
        generator=partial(MLPGenerator, hidden=(16,), output="none"),
        discriminator=partial(MaxoutDiscriminator, hidden=(16,), pieces=2),
        **kwargs,
    )


def test_mean_distribution_is_the_mean_of_the_softmax():
    # softmax(log 1, log 2, log 5) = (1, 2, 5) / 8, and of equal logits a third each
    logits = torch.tensor([[1.0, 2.0, 5.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]).log()
    game = SimpleNamespace(anchor_real=torch.zeros(3), outcome_logits=lambda images: logits[images])
    found = mean_distribution(game, [torch.tensor([0, 1]), torch.tensor([2])])
    expected = torch.tensor([1 / 8 + 2 / 3, 2 / 8 + 2 / 3, 5 / 8 + 2 / 3]) / 3
    assert torch.allclose(found, expected)


def test_expected_realness_is_between_the_least_and_the_most_real_outcome():
    distributions = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0], [0.1, 0.2, 0.7]])
    assert expected_realness(distributions) == pytest.approx([0, 1, 0.5, 0.8])


def test_measures_the_samples_of_the_validation_data_and_of_the_weights_that_train(tmp_path):
    game, data = realness_game(), ring()
    callback = RealnessDistribution(num_samples=150)
    data.setup()
    trainer = Trainer(logger=False, accelerator="cpu", default_root_dir=tmp_path)
    trainer.datamodule = data
    game.train()
    _, values = callback.picture(trainer, game)
    real = data.load("test")[0][:150]
    fake = torch.cat([game.sample(100, ema=False, seed=0), game.sample(50, ema=False, seed=100)])
    assert list(callback.history) == [0]
    for found, images, kind in zip(callback.history[0], (real, fake), ("real", "fake"), strict=True):
        assert torch.allclose(found, game.outcome_logits(images).softmax(1).mean(0))
        assert values[f"val/realness_{kind}"] == pytest.approx(float(expected_realness(found)))
    assert game.discriminator.training


def test_draws_start_cadence_and_end_and_leaves_the_training_bit_for_bit(tmp_path):
    ends = []
    for callbacks in ([], [RealnessDistribution(2, num_samples=50)]):
        seed_everything(5, verbose=False)
        game, watcher = realness_game(), Watcher()
        fit(tmp_path, game, ring(), [*callbacks, watcher], 5)
        ends.append((weights(game), game.rng.get_state(), watcher.seen))
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])
    assert ends[0][2] == ends[1][2]
    assert updates_drawn(tmp_path, "realness") == list(callbacks[0].history) == [0, 2, 4, 5]
    with Image.open(tmp_path / "realness.gif") as gif:
        assert gif.n_frames == 4


def test_the_history_survives_a_resume_exactly(tmp_path):
    def run(name, steps, *callbacks, **kwargs):
        seed_everything(0, verbose=False)
        callback = RealnessDistribution(2, num_samples=20, gif=False)
        fit(tmp_path / name, realness_game((1, 8, 8)), digits(), [callback, *callbacks], steps, **kwargs)
        return callback

    whole = run("whole", 6)
    run("first", 4, Save(tmp_path / "half.ckpt", 3))
    torch.load(tmp_path / "half.ckpt", weights_only=True)
    second = run("second", 6, ckpt_path=tmp_path / "half.ckpt")
    assert list(whole.history) == list(second.history) == [0, 2, 4, 6]
    assert all(torch.equal(whole.history[update], second.history[update]) for update in whole.history)


def test_a_new_run_has_a_new_history(tmp_path):
    callback = RealnessDistribution(num_samples=10, gif=False)
    for name in ("a", "b"):
        fit(tmp_path / name, realness_game(), ring(), [callback], 1)
        assert list(callback.history) == [0, 1]


def test_games_without_outcomes_are_not_drawn(tmp_path):
    """Recipes of RealnessGAN serve their baselines too."""
    with pytest.warns(UserWarning, match="RealnessDistribution draws nothing: GAN has no outcomes"):
        fit(tmp_path, point_game(), ring(), [RealnessDistribution()], 2)
    assert not (tmp_path / "realness").exists()
    with pytest.raises(ValueError, match="num_samples=0"):
        RealnessDistribution(num_samples=0)
