from functools import partial

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from PIL import Image

from lightning_gans.callbacks import GeneratorEMA, field
from lightning_gans.callbacks.field import Field, slopes
from lightning_gans.drawing.fields import FieldPlot
from lightning_gans.game.latents import Normal
from lightning_gans.models import GAN, WGANGP
from lightning_gans.models.coulomb.game import CoulombGAN
from lightning_gans.networks.mlp import MaxoutDiscriminator, MLPDiscriminator, MLPGenerator
from tests.callbacks.helpers import Save, digits, fit, image_game, point_game, ring, updates_drawn, weights
from tests.callbacks.test_sample_grid import Watcher

SMALL = {
    "latent": Normal(4),
    "generator": partial(MLPGenerator, hidden=(16,), output="none"),
    "discriminator": partial(MLPDiscriminator, hidden=(16,)),
}


class Bowl(GAN):
    """Its potential is highest at the origin: -|a|^2 / 2, with the force -a."""

    def field(self, points, real, fake):
        assert real.shape == fake.shape == (500, 2)
        return -points.square().sum(1) / 2, -points


def draw(game, monkeypatch, **kwargs):
    """Return what a picture of the untrained game is made of, and its size."""
    seen = {}

    def note(self, fake, title, views):
        seen.update(plot=self, fake=fake, title=title, views=views, picture=drawn(self, fake, title, views))
        return seen["picture"]

    drawn = FieldPlot.draw
    monkeypatch.setattr(FieldPlot, "draw", note)
    data = ring()
    data.setup()
    trainer = Trainer(logger=False, accelerator="cpu")
    trainer.datamodule = data
    callback = Field(**kwargs)
    _, seen["values"] = callback.picture(trainer, game)
    seen["real"] = data.load("test")[0][:500]
    return seen


def test_slopes_are_the_gradient_of_the_score_and_leave_no_trace():
    game = point_game()
    game.train()
    points = torch.randn(20, 2)
    scores, gradients = slopes(game, points)
    leaf = points.clone().requires_grad_()
    expected = torch.autograd.grad(game.discriminator(leaf).sum(), leaf)[0]
    assert torch.allclose(gradients, expected, atol=1e-6)
    assert torch.equal(scores, game.score(points))
    assert all(parameter.grad is None for parameter in game.parameters())
    assert game.discriminator.training
    assert not points.requires_grad


def test_slopes_are_those_of_evaluation_mode():
    game = GAN((2,), **{**SMALL, "discriminator": partial(MaxoutDiscriminator, hidden=(16,), pieces=2)})
    points = torch.randn(20, 2)
    state = torch.get_rng_state()
    first, second = slopes(game, points), slopes(game, points)  # its dropout would make them differ
    assert torch.equal(first[1], second[1])
    assert torch.equal(torch.get_rng_state(), state)


def test_slopes_of_compiled_and_of_constant_discriminators():
    game = point_game()
    points = torch.randn(20, 2)
    expected = slopes(game, points)[1]
    game.discriminator.compile()
    game.compiles = True
    assert torch.equal(slopes(game, points)[1], expected)
    game.score = lambda images: torch.ones(len(images))
    assert torch.equal(slopes(game, points)[1], torch.zeros(20, 2))


def test_a_field_of_its_own_is_drawn_beside_the_discriminator(monkeypatch):
    game = Bowl((2,), **SMALL)
    assert hasattr(game, "field")
    seen = draw(game, monkeypatch)
    plot, fake, real, (own, critic) = seen["plot"], seen["fake"], seen["real"], seen["views"]
    assert torch.equal(fake, game.sample(500, ema=False, seed=0))
    assert torch.allclose(own.values, -plot.mesh().square().sum(1) / 2)
    assert torch.equal(own.around, -plot.lattice())
    assert torch.equal(own.forces, -fake)
    assert torch.allclose(critic.values, game.score(plot.mesh()), atol=1e-6)
    assert torch.allclose(critic.forces, slopes(game, fake)[1], atol=1e-6)
    energy = float(fake.square().sum(1).mean() - real.square().sum(1).mean()) / 4
    assert seen["values"]["val/energy"] == pytest.approx(energy, rel=1e-4)
    assert f"energy {energy:.3g}" in seen["title"]
    assert seen["picture"].width > 1.5 * seen["picture"].height


def test_a_discriminator_that_has_learned_the_field_correlates_with_it(monkeypatch):
    game = Bowl((2,), **SMALL)
    game.score = lambda points: 3 - 5 * points.square().sum(1)
    seen = draw(game, monkeypatch)
    assert seen["values"]["val/field_correlation"] == pytest.approx(1)
    assert torch.allclose(seen["views"][1].around, -10 * seen["plot"].lattice())
    game.score = lambda points: torch.zeros(len(points))
    assert draw(game, monkeypatch)["values"]["val/field_correlation"] == 0


def test_the_coulomb_gan_has_a_field(monkeypatch):
    seen = draw(CoulombGAN((2,), kernel_dim=4, epsilon=0.5, **SMALL), monkeypatch)
    where, real, fake = seen["plot"].lattice().requires_grad_(), seen["real"], seen["fake"]
    squares = [(where[:, None] - others).square().sum(2) + 0.25 for others in (real, fake)]
    potential = (1 / squares[0]).mean(1) - (1 / squares[1]).mean(1)
    force = torch.autograd.grad(potential.sum(), where)[0]
    assert torch.allclose(seen["views"][0].around, force, atol=1e-5)
    assert seen["values"]["val/energy"] > 0


def test_the_field_alone(monkeypatch):
    seen = draw(Bowl((2,), **SMALL), monkeypatch, critic=False)
    assert len(seen["views"]) == 1
    assert set(seen["values"]) == {"val/energy"}
    assert seen["picture"].width < 1.2 * seen["picture"].height


def test_other_games_show_their_discriminator(monkeypatch):
    game = point_game()
    seen = draw(game, monkeypatch, num_points=40, critic=False)
    assert len(seen["fake"]) == 40
    assert seen["values"] == {}
    assert torch.allclose(seen["views"][0].values, game.score(seen["plot"].mesh()), atol=1e-6)


def test_the_points_are_those_of_the_weights_that_train(tmp_path, monkeypatch):
    game = point_game()
    fit(tmp_path, game, ring(), [GeneratorEMA(0.999)], 4)
    assert torch.equal(draw(game, monkeypatch)["fake"], game.sample(500, ema=False, seed=0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_survives_games_that_have_diverged(bad, monkeypatch):
    game = Bowl((2,), **SMALL)
    game.sample = lambda n, labels=None, ema=True, seed=None: torch.full((n, 2), bad)
    game.field = lambda points, real, fake: (torch.full((len(points),), bad), torch.full_like(points, bad))
    game.score = lambda points: torch.full((len(points),), bad)
    draw(game, monkeypatch)


def test_a_resumed_run_goes_on_with_the_same_pictures(tmp_path):
    seed_everything(0, verbose=False)
    fit(tmp_path / "whole", point_game(), ring(), [Field(4)], 8)
    seed_everything(0, verbose=False)
    half = tmp_path / "first/half.ckpt"
    fit(tmp_path / "first", point_game(), ring(), [Field(4), Save(half, 5)], 6)
    fit(tmp_path / "second", point_game(), ring(), [Field(4)], 8, ckpt_path=half)
    assert updates_drawn(tmp_path / "second", "field") == [0, 4, 8]
    name = "field/update=00000008.png"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    with Image.open(tmp_path / "second/field.gif") as gif:
        assert gif.n_frames == len([0, 4, 8])


@pytest.mark.parametrize("game", [WGANGP, Bowl])
def test_draws_start_cadence_and_end_and_leaves_the_training_bit_for_bit(tmp_path, game):
    ends = []
    for callbacks in ([], [Field(2)]):
        seed_everything(5, verbose=False)
        module, watcher = game((2,), **SMALL), Watcher()
        fit(tmp_path, module, ring(), [*callbacks, watcher], 5)
        ends.append((weights(module), module.rng.get_state(), watcher.seen))
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])
    assert ends[0][2] == ends[1][2]
    assert updates_drawn(tmp_path, "field") == [0, 2, 4, 5]
    with Image.open(tmp_path / "field.gif") as gif:
        assert gif.n_frames == 4


def test_two_ranks_draw_once_and_know_the_same_energy(tmp_path):
    class Note(Save):
        def on_train_end(self, trainer, pl_module):
            energy = trainer.callback_metrics["val/energy"]
            (tmp_path / f"rank{trainer.global_rank}").write_text(f"{energy}")

    game = Bowl((2,), **SMALL)
    fit(tmp_path, game, ring(), [Field(4), Note(None, -1)], 6, devices=2, strategy="ddp_fork")
    assert updates_drawn(tmp_path, "field") == [0, 4, 6]
    assert (tmp_path / "rank0").read_text() == (tmp_path / "rank1").read_text()


def test_refuses_games_that_are_not_in_the_plane(tmp_path):
    game = image_game()
    before = weights(game)
    with pytest.raises(ValueError, match=r"image_shape=\(1, 8, 8\) of GAN is not \(2,\)"):
        fit(tmp_path, game, digits(), [Field()], 2)
    assert torch.equal(weights(game), before)
    assert list(tmp_path.iterdir()) == []
    trainer = Trainer(default_root_dir=tmp_path, logger=False, accelerator="cpu")
    with pytest.raises(ValueError, match=r"image_shape=\(3,\)"):
        Field().setup(trainer, point_game(3), "fit")


@pytest.mark.parametrize("method", ["sample", "score"])
def test_refuses_modules_without_samples_or_scores(tmp_path, method):
    class Module(LightningModule):
        image_shape = (2,)

    other = {"sample": "score", "score": "sample"}[method]
    setattr(Module, other, lambda self: None)
    trainer = Trainer(default_root_dir=tmp_path, logger=False, accelerator="cpu")
    with pytest.raises(TypeError, match=rf"Field draws what Module\.{method}\(\) makes"):
        Field().setup(trainer, Module(), "fit")


def test_without_real_points_a_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(field, "real_samples", lambda trainer, n: None)
    with pytest.warns(UserWarning, match=r"update=00000000\.png failed, .* no real points"):
        trainer = fit(tmp_path, point_game(), ring(), [Field()], 2)
    assert trainer.global_step == 2
    assert updates_drawn(tmp_path, "field") == []


def test_nothing_is_kept_of_a_run(tmp_path):
    callback = Field(2)
    fit(tmp_path / "one", point_game(), ring(), [callback], 2)
    assert callback._plot is None


def test_refuses_a_landscape_for_each_class(tmp_path):
    trainer = Trainer(default_root_dir=tmp_path, logger=False, accelerator="cpu")
    game = point_game()
    game.conditional = True
    with pytest.raises(ValueError, match="one landscape, but GAN has one for each class"):
        Field().setup(trainer, game, "fit")


def test_refuses_numbers_that_make_no_picture():
    with pytest.raises(ValueError, match="num_points=0"):
        Field(num_points=0)
