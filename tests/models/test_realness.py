"""What the conformance suite does not know of RealnessGAN: outcomes, anchors, its rounds, resampling."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_gans
from lightning_gans.callbacks import Checkpoint
from lightning_gans.game.sides import Side
from lightning_gans.models import GAN
from lightning_gans.models.realness import losses
from lightning_gans.models.realness.anchors import CustomAnchors, ReleasedAnchors, SkewNormalAnchors
from lightning_gans.models.realness.game import RealnessGAN
from lightning_gans.networks import (
    ConvMaxoutDiscriminator,
    DCGANDiscriminator,
    DCGANGenerator,
    MaxoutDiscriminator,
    MLPDiscriminator,
    MLPGenerator,
)
from tests.conformance.games import PlainNet, ring, same, trainer
from tests.kill import KillAt, Killed

SMALL = {
    "generator": partial(MLPGenerator, hidden=(16,), output="none"),
    "discriminator": partial(MLPDiscriminator, hidden=(16,)),
}


def game(**arguments):
    torch.manual_seed(0)
    return RealnessGAN((2,), **{"num_outcomes": 5, **SMALL, **arguments})


class TwoOutcomes(nn.Module):
    """The discriminator of the first GAN, whose logit is that of the second outcome."""

    def __init__(self):
        super().__init__()
        self.network = MLPDiscriminator((2,), hidden=(16,))

    def forward(self, images):
        logit = self.network(images)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


class Constant(nn.Module):
    """A discriminator that says the same of all images."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, images):
        return self.logits.expand(len(images), -1)


@pytest.mark.parametrize("objective", [1, 3])
def test_two_outcomes_are_the_first_gan(objective):
    """Known answer; objective 3 is then the critic's -E[t], which the first GAN does not offer."""

    def train(module):
        torch.manual_seed(3)
        trainer(max_steps=6).fit(module, ring())
        return dict(module.generator.named_parameters())

    torch.manual_seed(1)
    two = TwoOutcomes()
    torch.manual_seed(1)
    one = MLPDiscriminator((2,), hidden=(16,))
    torch.manual_seed(2)
    realness = RealnessGAN(
        (2,), 2, CustomAnchors([0, 1], [1, 0]), objective, "none",
        generator=SMALL["generator"], discriminator=two,
    )  # fmt: skip
    torch.manual_seed(2)
    first = GAN(
        (2,), "minimax", latent=realness.default_latent(), generator=SMALL["generator"], discriminator=one
    )
    if objective == 3:
        first._generator_loss = lambda logits: -logits.mean()
    images = torch.randn(9, 2)
    torch.testing.assert_close(realness.score(images), first.score(images))
    start = {k: v.detach().clone() for k, v in first.generator.named_parameters()}
    ours, theirs = train(realness), train(first)
    assert any((value - start[key]).abs().max() > 1e-4 for key, value in theirs.items())
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=0, atol=1e-6)
    for mine, its in zip(two.network.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=1e-6)


class Updates(Callback):
    """Records who is updated on which batch, and the anchors at that time."""

    def __init__(self):
        self.seen, self.anchors, self.batches = [], [], []

    def on_train_start(self, trainer, module):
        for name in ("discriminator", "generator"):
            update = getattr(module, f"update_{name}")

            def watched(real, *rest, name=name, update=update, **options):
                self.seen.append((name[0], len(self.batches) - 1))
                assert torch.equal(real.images, self.batches[-1])
                self.anchors.append(module.anchor_real.clone())
                return update(real, *rest, **options)

            setattr(module, f"update_{name}", watched)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch[0].clone())


@pytest.mark.parametrize(
    ("steps", "updates"),
    [
        ((1, 1), "d0 g0 d1 g1 d2 g2 d3 g3"),
        ((1, 3), "d0 g0 g1 g2 d3 g3 g4 g5"),
        ((2, 1), "d0 d1 g1 d2 d3 g3"),
        ((2, 2), "d0 d1 g1 g2 d3 d4 g4 g5"),
    ],
)
def test_every_update_of_the_generator_sees_a_batch_of_its_own(steps, updates):
    watch = Updates()
    module = game(discriminator_steps=steps[0], generator_steps=steps[1])
    trainer([watch], max_steps=updates.count("g")).fit(module, ring())
    assert watch.seen == [(update[0], int(update[1:])) for update in updates.split()]


def test_released_anchors_are_drawn_once_a_round():
    watch = Updates()
    module = game(anchors=ReleasedAnchors(), discriminator_steps=2, generator_steps=2)
    trainer([watch, Checkpoint(dirpath="here")], max_steps=4).fit(module, ring())
    rounds = watch.anchors[:4], watch.anchors[4:]
    assert all(same(anchor, round_[0]) for round_ in rounds for anchor in round_)
    assert not same(rounds[0][0], rounds[1][0])
    loaded = lightning_gans.load("here/last.ckpt")
    assert same([loaded.anchor_real, loaded.anchor_fake], [module.anchor_real, module.anchor_fake])


def test_fixed_anchors_stay():
    watch = Updates()
    trainer([watch], max_steps=3).fit(game(anchors=SkewNormalAnchors(0.2)), ring())
    assert all(same(anchor, watch.anchors[0]) for anchor in watch.anchors)


@pytest.mark.parametrize("kill", [6, 12])
def test_killed_within_a_round(kill):
    def run(folder, ckpt_path=None, extra=()):
        module = game(anchors=ReleasedAnchors(), generator_steps=3)
        torch.manual_seed(5)
        callbacks = [Checkpoint(every_n_updates=5, dirpath=folder), *extra]
        trainer(callbacks, max_steps=14).fit(module, ring(), ckpt_path=ckpt_path)
        return torch.load(Path(folder) / "last.ckpt", weights_only=True)

    whole = run("whole")
    with pytest.raises(Killed):
        run("killed", extra=[KillAt(kill)])
    assert torch.load("killed/last.ckpt", weights_only=True)["run_state"][0]["state"]["batches"] in (1, 2)
    resumed = run("killed", ckpt_path="killed/last.ckpt")
    for key in ("state_dict", "optimizer_states", "run_state", "global_step"):
        assert same(whole[key], resumed[key]), key


def test_one_key_for_the_number_of_outcomes():
    assert RealnessGAN((2,)).discriminator(torch.randn(3, 2)).shape == (3, 51)
    assert game().discriminator(torch.randn(3, 2)).shape == (3, 5)
    adaptive = game(num_outcomes=7, resample="adaptive")
    assert adaptive.discriminator(torch.randn(3, 2)).shape == (3, 14)
    assert adaptive.outcome_logits(torch.randn(3, 2)).shape == (3, 7)


def test_default_networks():
    faces = RealnessGAN((3, 64, 64))
    assert type(faces.generator) is DCGANGenerator
    assert type(faces.discriminator) is DCGANDiscriminator
    assert not any(isinstance(m, nn.BatchNorm2d) for m in faces.discriminator.modules())
    assert faces.generator.latent_dim == 128
    assert faces.generator.layers[1].out_channels == 256  # 32 at half the size
    points = RealnessGAN((2,))
    assert type(points.discriminator) is MaxoutDiscriminator
    assert sum(isinstance(m, nn.BatchNorm1d) for m in points.generator.modules()) == 4


@pytest.mark.parametrize("objective", [1, 2, 3])
def test_objectives(objective):
    module = game(objective=objective, resample="none")
    real, fake = torch.randn(4, 2), torch.randn(4, 2, requires_grad=True)
    a1, a0 = module.anchor_real, module.anchor_fake
    r, f = module.discriminator(real), module.discriminator(fake)
    expected = [
        losses.ideal_generator_loss(f, a0),
        losses.generator_loss(r, f, a0),
        losses.anchor_generator_loss(f, a1, a0),
    ][objective - 1]
    torch.testing.assert_close(module.generator_loss(Side(real), Side(fake)), expected)
    torch.testing.assert_close(
        module.discriminator_loss(Side(real), Side(fake)), losses.discriminator_loss(r, f, a1, a0)
    )


@pytest.mark.parametrize("resample", ["batch", "adaptive"])
def test_resampled_in_training_only(resample):
    module = game(resample=resample)
    real, fake = torch.randn(2, 8, 2)
    state = torch.get_rng_state()
    drawn = [
        module.rng.manual_seed(seed) and module.discriminator_loss(Side(real), Side(fake))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), state)
    module.eval()
    logits = [module.discriminator(x)[:, :5] for x in (real, fake)]
    expected = losses.discriminator_loss(*logits, module.anchor_real, module.anchor_fake)
    assert torch.equal(module.discriminator_loss(Side(real), Side(fake)), expected)
    assert torch.equal(module.train().outcome_logits(real), logits[0])


def test_real_and_fake_are_resampled_apart():
    module = game()
    module.discriminator = nn.Identity()
    real, fake = torch.randn(50_000, 5), torch.randn(50_000, 5) * 3 + 7
    for images in (real, fake):
        logits = module.judge(Side(images))
        torch.testing.assert_close(logits.mean(0), images.mean(0), rtol=0, atol=0.1)
        torch.testing.assert_close(logits.std(0), images.std(0), rtol=0, atol=0.1)


def test_reported_divergences():
    module = game(resample="none")
    trainer(max_steps=1).fit(module, ring())
    real, fake = torch.randn(2, 8, 2)
    loss = module.discriminator_loss(Side(real), Side(fake))
    value = module._reported["kl_real"] + module._reported["kl_fake"]
    entropies = sum(-torch.xlogy(a, a).sum() for a in (module.anchor_real, module.anchor_fake))
    torch.testing.assert_close(value + entropies, loss.detach())
    # where D says (A1 + A0) / 2 everywhere, the value is its floor
    best = ((module.anchor_real + module.anchor_fake) / 2 + 1e-30).log()
    module.discriminator = Constant(best)
    module.discriminator_loss(Side(real), Side(fake))
    value = module._reported["kl_real"] + module._reported["kl_fake"]
    torch.testing.assert_close(value, losses.optimum(module.anchor_real, module.anchor_fake))


def test_score_is_minus_objective_3_up_to_a_constant():
    module = game(objective=3, num_outcomes=3)  # whose anchors have unequal entropies
    images = torch.randn(2, 1, 2)
    losses_of_each = torch.stack([module.eval().generator_loss(Side(x), Side(x)) for x in images])
    scores = torch.cat([module.score(x) for x in images])
    torch.testing.assert_close(scores.diff(), -losses_of_each.diff())
    assert (scores + losses_of_each).abs().min() > 0.05
    with torch.autocast("cpu", torch.bfloat16):  # no product of matrices, which would be rounded
        logits = module.outcome_logits(images[0])
        exact = (logits.double() * (module.anchor_real - module.anchor_fake)).sum(1)
        torch.testing.assert_close(module.score(images[0]).double(), exact, rtol=1e-5, atol=1e-5)


def test_score_rises_with_realness():
    module = game()
    for anchor, sign in ((module.anchor_real, 1), (module.anchor_fake, -1)):
        module.discriminator = Constant((anchor + 1e-9).log())
        assert (sign * module.score(torch.randn(3, 2)) > 0).all()


def test_rebuilt_from_its_checkpoint():
    module = game(anchors=SkewNormalAnchors(0.2), objective=3, resample="adaptive")
    trainer([Checkpoint(dirpath="here")], max_steps=2).fit(module, ring())
    loaded = lightning_gans.load("here/last.ckpt")
    assert isinstance(loaded.anchors, SkewNormalAnchors)
    assert (loaded.anchors.jsd, loaded.objective, loaded.num_outcomes) == (0.2, 3, 5)
    assert same(loaded.anchor_real, module.anchor_real)
    images = torch.randn(4, 2)
    assert same(loaded.score(images), module.score(images))


FIT = ("fit", "--model", "RealnessGAN", "--data", "GaussianMixtures", "--data.layout", "grid9",
       "--data.samples", 200, "--data.batch_size", 20, "--trainer.max_steps", 2, "--samples.gif", "false",
       "--trainer.enable_progress_bar", "false", "--trainer.limit_val_batches", 1)  # fmt: skip
CHECKPOINT = Path("runs/realnessgan/version_0/checkpoints/last.ckpt")


@pytest.mark.parametrize(
    ("anchors", "kind", "arguments"),
    [
        (("SkewNormalAnchors", "--model.anchors.jsd", 0.01), SkewNormalAnchors, {"jsd": 0.01}),
        (
            ("lightning_gans.models.realness.anchors.CustomAnchors", "--model.anchors.real", "[0, 0, 1]",
             "--model.anchors.fake", "[1, 0, 0]"),
            CustomAnchors,
            {"real": (0, 0, 1), "fake": (1, 0, 0)},
        ),
    ],
)  # fmt: skip
def test_anchors_from_the_command_line(anchors, kind, arguments, cli):
    cli(*FIT, "--model.num_outcomes", 3, "--model.anchors", *anchors)
    game = lightning_gans.load(CHECKPOINT)
    assert type(game.anchors) is kind
    assert {key: getattr(game.anchors, key) for key in arguments} == arguments
    assert game.outcome_logits(torch.randn(4, 2)).shape == (4, 3)
    config = yaml.safe_load((CHECKPOINT.parents[1] / "config.yaml").read_text())
    anchors = config["model"]["init_args"]["anchors"]["class_path"]
    assert anchors.split(".")[-1] == kind.__name__


def test_discriminators_from_the_command_line(cli):
    cli(*FIT, "--model.num_outcomes", 4, "--model.discriminator", "MLPDiscriminator",
        "--model.discriminator.hidden", "[8]", "--model.objective", 3)  # fmt: skip
    assert lightning_gans.load(CHECKPOINT).outcome_logits(torch.randn(4, 2)).shape == (4, 4)


def test_impossible_anchors_on_the_command_line(fails):
    arguments = ("--model.anchors", "SkewNormalAnchors", "--model.anchors.jsd", 0.69)
    assert "jsd=0.69: 51 outcomes allow no more than 0.6554" in fails(*FIT, *arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: game(objective=4), "objective=4"),
        (lambda: game(resample="all"), "resample='all'"),
        (lambda: game(resample="none", gather=True), "gather=True is for resample='batch', not 'none'"),
        (lambda: game(num_outcomes=1), "num_outcomes=1"),
        (lambda: game(num_outcomes=0), "num_outcomes=0"),
        (lambda: game(num_outcomes=2.5), "num_outcomes=2.5: give a whole number of at least 2"),
        (
            lambda: game(num_outcomes=3, anchors=CustomAnchors([0, 1], [1, 0])),
            "num_outcomes=3: the anchors have 2",
        ),
        (lambda: game(anchors=SkewNormalAnchors(1e-20)), r"anchors=SkewNormalAnchors\(jsd=1e-20\) are equal"),
        (
            lambda: RealnessGAN((1, 8, 8), discriminator=ConvMaxoutDiscriminator),
            "takes no argument outputs, by which RealnessGAN asks for 51 logits an image: use",
        ),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("outputs", [1, 4, 10])
def test_discriminator_with_other_outputs(outputs):
    module = game(discriminator=PlainNet(2, outputs))
    shape = rf"\(2, {outputs}\)"
    with pytest.raises(ValueError, match=rf"returned {shape}: num_outcomes=5 .* need \(2, 5\)"):
        trainer(max_steps=1).fit(module, ring())


def test_one_sample_has_no_spread():
    with pytest.raises(ValueError, match=r"data\.batch_size=1: give 2 or more, or model.resample"):
        trainer(max_steps=1).fit(game(), ring(batch_size=1))
    trainer(max_steps=1).fit(game(resample="none"), ring(batch_size=1))


def test_the_last_batch_of_an_epoch_has_no_spread():
    points = torch.randn(9, 2)
    with pytest.raises(ValueError, match=r"ends with a batch of 1: .*resample: none"):
        trainer(max_steps=9).fit(game(), DataLoader(TensorDataset(points), batch_size=4))
    unknown = DataLoader([points[:4], points[:4], points[8:]], batch_size=None)
    with pytest.raises(ValueError, match="logits of 1 sample have no spread: use batches of 2") as error:
        trainer(max_steps=9).fit(game(), unknown)
    assert "\n" not in str(error.value)


def test_a_batch_for_the_generator_alone():
    """No gradient reaches D, and it stays."""
    weights = []

    class Weights(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            weights.append({k: v.clone() for k, v in module.state_dict().items()})

    trainer([Weights()], max_steps=3).fit(game(generator_steps=3), ring())
    for key in weights[0]:
        if key.startswith("discriminator"):
            assert same(weights[0][key], weights[2][key])
        elif key.startswith("generator") and key.endswith("weight"):
            assert not same(weights[0][key], weights[2][key])


@pytest.mark.parametrize(
    ("before", "after"),
    [(ReleasedAnchors(), SkewNormalAnchors(0.2)), (SkewNormalAnchors(0.2), ReleasedAnchors())],
)
def test_resumed_with_other_anchors(before, after):
    trainer([Checkpoint(dirpath="here")], max_steps=2).fit(game(anchors=before), ring())
    module, fit = game(anchors=after), trainer(max_steps=4)
    own = module.anchor_real.clone()
    fit.fit(module, ring(), ckpt_path="here/last.ckpt")
    assert fit.global_step == 4
    assert same(module.anchor_real, own) == (not after.redraws)


def test_resumed_with_a_shorter_round():
    """D is updated again, though the stored place lies beyond the round's end."""
    module = game(generator_steps=3)
    trainer([Checkpoint(dirpath="here")], max_steps=2).fit(module, ring())
    watch = Updates()
    trainer([watch], max_steps=5).fit(game(), ring(), ckpt_path="here/last.ckpt")
    assert [move for move, _ in watch.seen] == ["g", "d", "g", "d", "g"]
