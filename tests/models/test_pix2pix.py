"""Pix2pix: the algorithm against one written out here, the ablations, the protocol at test time."""

from copy import deepcopy

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn.functional import l1_loss, softplus
from torch.utils.data import DataLoader, TensorDataset

import lightning_gans
from lightning_gans import Pix2Pix
from lightning_gans.callbacks import Checkpoint, Evaluate
from lightning_gans.game.optimizers import Adam
from lightning_gans.game.sides import Side
from tests.conformance.games import pairs, same, trainer
from tests.metrics.own import Brightness

U_NET, PATCHES = {"width": 4}, {"width": 4, "receptive_field": 16}
SHAPES = (1, 8, 8), (1, 8, 8)


def game(shapes=SHAPES, generator=U_NET, discriminator=PATCHES, **arguments):
    torch.manual_seed(0)
    return Pix2Pix(*shapes, generator, discriminator, **arguments)


class Constant(nn.Module):
    """Zeros of so many channels, whatever it sees; records the channels that it saw."""

    def __init__(self, channels):
        super().__init__()
        self.channels, self.zero, self.seen = channels, nn.Parameter(torch.zeros(())), []

    def forward(self, images):
        self.seen.append(images.shape[1])
        return self.zero * images[:, : self.channels]


def test_known_losses():
    module = game(generator=Constant(1), discriminator=Constant(1))
    real = Side(torch.full((2, 1, 8, 8), 0.5), inputs=torch.rand(2, 1, 8, 8))
    fake = module.draw_fakes(real)
    assert module.discriminator_loss(real, fake).item() == pytest.approx(0.6931471806)
    assert module.generator_loss(real, fake).item() == pytest.approx(50.6931471806)
    module = game(generator=Constant(1), discriminator=Constant(1), objective="lsgan", lambda_l2=8)
    assert module.discriminator_loss(real, fake).item() == pytest.approx(0.5)
    assert module.generator_loss(real, fake).item() == pytest.approx(1 + 50 + 2)
    module.lambda_gan = 3
    assert module.generator_loss(real, fake).item() == pytest.approx(3 + 50 + 2)


@pytest.mark.parametrize(("conditional", "seen"), [(True, 4), (False, 1)])
def test_what_the_discriminator_sees(conditional, seen):
    judge = Constant(1)
    module = game(((3, 8, 8), (1, 8, 8)), discriminator=judge, conditional=conditional)
    fake = module.draw_fakes(Side(torch.zeros(2, 1, 8, 8), inputs=torch.rand(2, 3, 8, 8)))
    assert module.judge(fake).shape == (2, 1, 8, 8)
    assert judge.seen == [seen]
    default = game(((3, 8, 8), (1, 8, 8)), conditional=conditional).discriminator
    assert default.image_shape == (seen, 8, 8)


def test_follows_the_algorithm():
    """Three updates equal the paper's, written out: the fake once, D on it and on the target, then G."""
    data = pairs()
    module = game(generator={"width": 4, "dropout": "none"})
    g, d = deepcopy(module.generator), deepcopy(module.discriminator)
    calls = []
    module.generator.register_forward_hook(lambda *_: calls.append("g"))

    def judged(judge, *_):
        calls.append("d" if judge.layers[0].weight.requires_grad else "frozen d")

    module.discriminator.register_forward_hook(judged)
    batches = []

    class Batches(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            calls.clear()
            batches.append(batch)

    trainer([Batches()], max_steps=3).fit(module, data)
    assert calls == ["g", "d", "d", "frozen d"]
    of_g, of_d = Adam(g.parameters()), Adam(d.parameters())
    for x, y in batches:
        fake = g(x)
        of_d.zero_grad()
        on_fake, on_real = d(torch.cat([x, fake.detach()], 1)), d(torch.cat([x, y], 1))
        ((softplus(-on_real).mean() + softplus(on_fake).mean()) / 2).backward()
        of_d.step()
        of_g.zero_grad()
        (softplus(-d(torch.cat([x, fake], 1))).mean() + 100 * l1_loss(fake, y)).backward()
        of_g.step()
    for own, written in ((module.generator, g), (module.discriminator, d)):
        for key, value in written.state_dict().items():
            torch.testing.assert_close(own.state_dict()[key], value, rtol=1e-4, atol=1e-6)


def test_half_of_a_loss_hardly_matters_to_adam():
    whole, half = (nn.Parameter(torch.linspace(-1, 1, 9, dtype=torch.float64)) for _ in range(2))
    rng = torch.Generator().manual_seed(0)
    optimizers = [torch.optim.Adam([p], 2e-4, (0.5, 0.999)) for p in (whole, half)]
    for _ in range(5):
        whole.grad = 1 + torch.rand(9, dtype=torch.float64, generator=rng)
        half.grad = whole.grad / 2
        for optimizer in optimizers:
            optimizer.step()
    assert (whole - half).abs().max() < 1e-11


@pytest.mark.parametrize(
    ("arguments", "terms"),
    [
        ({"lambda_gan": 0}, {"l1"}),
        ({"lambda_gan": 0, "lambda_l1": 0, "lambda_l2": 1}, {"l2"}),
        ({"lambda_l1": 0}, {"gan"}),
        ({"lambda_l1": 0, "conditional": False}, {"gan"}),
        ({"conditional": False}, {"gan", "l1"}),
        ({}, {"gan", "l1"}),
    ],
)
def test_ablations(arguments, terms):
    data = pairs()
    module = game(**arguments)
    fit = trainer([Checkpoint(dirpath="here")], max_steps=2, limit_val_batches=1, val_check_interval=1)
    fit.fit(module, data)
    judged = "gan" in terms
    logged = {key.removeprefix("train/") for key in fit.callback_metrics if key.startswith("train/")}
    assert logged == terms | {"generator_loss"} | ({"discriminator_loss"} if judged else set())
    assert set(module.players()) == {"generator"} | ({"discriminator"} if judged else set())
    assert any(key.startswith("discriminator") for key in module.state_dict()) == judged
    assert {"val/l1", "val/generator_loss"} <= set(fit.callback_metrics)
    assert ("val/discriminator_loss" in fit.callback_metrics) == judged
    images = torch.rand(3, 1, 8, 8)
    loaded = lightning_gans.load("here/last.ckpt")
    assert same(loaded.translate(images, seed=0), module.translate(images, seed=0))


def test_translates_with_dropout_and_the_statistics_of_each_image():
    module, images = game(), torch.rand(3, 1, 16, 24)
    module.generator.train()(torch.rand(9, 1, 8, 8))  # running statistics of its own
    assert not torch.allclose(module.translate(images), module.translate(images))
    assert same(module.translate(images, deterministic=True), module.generator.eval()(images).detach())
    quiet = game(dropout_at_test=False)
    assert same(quiet.translate(images), quiet.translate(images))
    without = game(generator={"width": 4, "dropout": "none"})
    alone = [without.generator(image[None]).detach() for image in images]  # in training
    torch.testing.assert_close(without.translate(images), torch.cat(alone), rtol=1e-4, atol=1e-5)
    running = game(dropout_at_test=False, norm_at_test="running")
    assert same(running.translate(images), running.translate(images, deterministic=True))


def test_held_out_losses_are_those_of_translations():
    module, (x, y) = game(lambda_gan=0), torch.rand(2, 3, 1, 8, 8) * 2 - 1
    module.generator.train()(torch.rand(9, 1, 8, 8))  # running statistics of its own
    for seed in (1, 2):
        module.rng.manual_seed(seed)
        expected = l1_loss(module.translate(x, seed=seed << 32), y)
        assert module.held_out_losses((x, y))["l1"].item() == pytest.approx(expected.item())


def test_evaluations_draw_the_same_noise_each_time_and_none_of_the_trainings():
    weights, scores = [], []
    for times in (0, 1, 2):
        data, module = pairs(limit=32), game()
        evaluate = [Evaluate([Brightness()], every_n_updates=3, num_samples=8, cache=False)] * (times > 0)
        fit = trainer(evaluate, max_steps=3, limit_val_batches=times, val_check_interval=1)
        fit.fit(module, data)
        weights.append(module.state_dict())
        scores.append(fit.callback_metrics.get("val/brightness"))
    assert same(weights[0], weights[1])
    assert same(weights[0], weights[2])
    assert scores[0] is None
    assert scores[1] == scores[2] > 0


def test_trains_with_one_image_of_the_papers_size():
    """The bottleneck of one pixel has no norm, so a batch of one image has statistics everywhere."""
    shapes = (3, 256, 256), (1, 256, 256)
    module = game(shapes, {"width": 2}, {"width": 2})
    images = [torch.rand(2, *shape) * 2 - 1 for shape in shapes]
    fit = trainer(max_steps=2)
    fit.fit(module, DataLoader(TensorDataset(*images), 1))
    assert fit.global_step == 2
    assert module.translate(images[0]).shape == (2, 1, 256, 256)


def test_a_norm_at_the_bottleneck_needs_a_batch():
    normed = {"generator": {"width": 2, "innermost_norm": True}}
    with pytest.raises(ValueError, match=r"batch norm of \(8, 1, 1\) .*innermost_norm: false.*norm_at_test"):
        trainer(max_steps=1).fit(game(**normed), pairs(batch_size=2))
    with pytest.raises(ValueError, match=r"batch norm of \(8, 1, 1\)"):
        trainer(max_steps=1).fit(game(**normed, norm_at_test="running"), pairs(batch_size=1))
    fit = trainer(max_steps=1)
    fit.fit(game(**normed, norm_at_test="running"), pairs(batch_size=2))
    assert fit.global_step == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"shapes": ((3, 100, 100), (3, 100, 100))}, "generator: .*100.*(96|64|128)"),
        ({"shapes": ((3, 8, 8), (3, 16, 16))}, r"image_shape=\(3, 16, 16\)"),
        ({"lambda_gan": 0, "lambda_l1": 0}, "nothing is learned"),
        ({"lambda_l1": -1.0}, "lambda_l1=-1.0"),
        ({"objective": "wgan"}, "objective='wgan'"),
        ({"norm_at_test": "eval"}, "norm_at_test='eval'"),
        ({"generator": {"depth": 3}}, "generator: .*depth"),
        ({"discriminator": {"receptive_field": 70}}, "discriminator: .*receptive_field=70"),
    ],
)
def test_bad_arguments(arguments, word):
    with pytest.raises(ValueError, match=word):
        game(**arguments)
