"""What the discriminator says of the distance, in the lines of an evaluation."""

import json
import math

import pytest
import torch
from lightning import seed_everything

from lightning_gans import WGAN, ConditionalGAN, HingeGAN
from lightning_gans.callbacks import Evaluate
from lightning_gans.data.loader import to_float
from lightning_gans.drawing.pixels import to_bytes
from lightning_gans.losses import gan, wgan
from lightning_gans.metrics import DistanceEstimate, Evaluation, Samples

from ..callbacks.helpers import digits, fit, norm_game, point_game, ring


def score(game, real, fake):
    metric = DistanceEstimate()
    metric.take_game(game)
    for part in real.split(2):
        metric.update(part, real=True)
    for part in fake.split(3):
        metric.update(part)
    return float(metric.compute())


def test_known_values():
    assert score(WGAN((2,)), torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 2.0])) == 1.5
    undecided, sure = torch.zeros(5), torch.full((5,), 90.0)
    assert score(point_game(), undecided, undecided) == pytest.approx(0, abs=1e-12)
    assert score(point_game(), sure, -sure) == pytest.approx(math.log(2))
    assert score(point_game(), -sure, sure) == pytest.approx(math.log(2) - 90)


def test_they_are_the_losses_of_all_samples():
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randn(7, generator=rng).double(), torch.randn(11, generator=rng).double()
    assert score(WGAN((2,)), real, fake) == pytest.approx(-float(wgan.discriminator_loss(real, fake)))
    bound = gan.jensen_shannon_bound(gan.discriminator_loss(real, fake))
    assert score(point_game(), real, fake) == pytest.approx(float(bound))


def line(folder):
    return [json.loads(x) for x in (folder / "evaluations.jsonl").read_text().splitlines()][-1]


def test_of_images(tmp_path):
    seed_everything(0, verbose=False)
    game, data = norm_game(), digits()
    evaluate = Evaluate([DistanceEstimate()], num_samples=40, batch_size=16, split="test")
    fit(tmp_path, game, data, [evaluate], 3)
    # the images that files would hold, judged with running statistics, whatever the batches
    fake = game.score(to_float(to_bytes(game.sample(40, seed=0))))
    real = game.score(to_float(data.real_images("test", 8)[0]))
    bound = gan.jensen_shannon_bound(gan.discriminator_loss(real, fake))
    assert line(tmp_path)["estimate"] == pytest.approx(float(bound), rel=1e-4)


def test_of_classes(tmp_path):
    """Both sides are judged with their labels."""
    seed_everything(0, verbose=False)
    networks = {name: {"width": 4, "hidden": 8} for name in ("generator", "discriminator")}
    game, data = ConditionalGAN((1, 8, 8), 10, **networks), digits()
    fit(tmp_path, game, data, [Evaluate([DistanceEstimate()], num_samples=40, split="test")], 1)
    latents, labels = game.draw_latents(40, seed=0)[0], torch.arange(40) % 10
    fake = game.score(to_float(to_bytes(game.sample_from(latents, labels))), labels)
    images, labels, _ = data.real_images("test", 8)
    bound = gan.jensen_shannon_bound(gan.discriminator_loss(game.score(to_float(images), labels), fake))
    assert line(tmp_path)["estimate"] == pytest.approx(float(bound), rel=1e-4)


def test_of_replicas(tmp_path):
    for folder, replicas in (("both", 2), ("second", 1)):
        seed_everything(2 - replicas, verbose=False)
        seed = 2 - replicas
        callback = Evaluate([DistanceEstimate()], num_samples=50)
        fit(tmp_path / folder, point_game(replicas=replicas), ring(seed=seed), [callback], 3, seed=seed)
    found = line(tmp_path / "both")
    assert found["replica"] == 1
    wanted = line(tmp_path / "second")["estimate"]
    assert found["estimate"] == pytest.approx(wanted, rel=1e-3)


def test_the_game_that_was_given_last_is_asked():
    """An evaluation is kept from one training to the next, of another game."""
    evaluation, points = Evaluation([DistanceEstimate()], count=4), torch.randn(4, 2)
    for game in (WGAN((2,)), WGAN((2,))):
        evaluation.fill_in(None, None, game)
        given = evaluation._given(Samples(points, torch.arange(4), None), evaluation.metrics)
        torch.testing.assert_close(given["judged"], game.score(points))


def test_refused(tmp_path):
    with pytest.raises(ValueError, match="needs samples and real images"):
        DistanceEstimate().compute()
    with pytest.raises(ValueError, match="judged"):
        DistanceEstimate().update(torch.zeros(2, 1))
    with pytest.raises(ValueError, match="HingeGAN estimates no distance: leave DistanceEstimate out"):
        fit(tmp_path, HingeGAN((2,)), ring(), [Evaluate([DistanceEstimate()], num_samples=50)], 1)
    with pytest.raises(ValueError, match="asks the discriminator of a game, but there is no game"):
        Evaluation([DistanceEstimate()], count=2).fill_in(None, None)
