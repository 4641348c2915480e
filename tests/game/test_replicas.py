"""Several games in one process: each is the run of its seed."""

from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from torch import nn
from torch.func import functional_call
from torch.optim.lr_scheduler import ExponentialLR

import lightning_gans
from lightning_gans import (
    GAN,
    WGAN,
    WGANGP,
    ConditionalGAN,
    DeLiGAN,
    GaussianMixtures,
    RealnessGAN,
)
from lightning_gans.callbacks import Checkpoint, GeneratorEMA, SampleGrid
from lightning_gans.commands.sample import sample
from lightning_gans.data import ReplicaLoader
from lightning_gans.game.latents import Normal
from lightning_gans.game.optimizers import SGD, Adam, RMSprop
from lightning_gans.game.schedulers import LinearDecay
from lightning_gans.models.deligan import Threshold
from lightning_gans.networks import (
    ConditionalMLPDiscriminator,
    ConditionalMLPGenerator,
    DCGANDiscriminator,
    MaxoutDiscriminator,
    MLPDiscriminator,
    MLPGenerator,
)
from lightning_gans.networks.stacked import StackedBatchNorm, StackedLinear, stack
from tests.conformance.games import PlainNet, digits, same, trainer
from tests.conformance.games import ring as small_ring

R, SEED = 3, 11

normed = partial(MLPGenerator, hidden=(8,), output="none", batch_norm=True)
plain = partial(MLPGenerator, hidden=(8,), output="none")
leaky = partial(MLPDiscriminator, hidden=(8,))
maxout = partial(MaxoutDiscriminator, hidden=(6,), pieces=2, input_dropout=0.0, dropout=0.0, init_range=None)


def ring(seed=0, **arguments):
    return small_ring(seed=seed, **arguments)


def small(data=None, cls=GAN, **arguments):
    shape, classes = (data.image_shape, data.num_classes) if data else ((2,), None)
    chosen = {"latent": Normal(4), "generator": plain, "discriminator": leaky, **arguments}
    return cls(image_shape=shape, num_classes=classes, **chosen)


def fitted(make, seed=SEED, steps=20, callbacks=(), data=ring, ckpt_path=None, **settings):
    """A game that was trained as `fit --seed_everything seed --data.seed seed` does, and what was logged."""
    seed_everything(seed, verbose=False)
    served = data(seed=seed)
    game = make(served)
    run = trainer(callbacks, max_steps=steps, **settings)
    run.fit(game, served, ckpt_path=ckpt_path)
    return game, {name: float(value) for name, value in run.callback_metrics.items()}


def assert_equal_to_single_runs(make, replicas=R, **settings):
    together, logged = fitted(partial(make, replicas=replicas), **settings)
    rows = []
    for number in range(replicas):
        alone, row = fitted(make, SEED + number, **settings)
        weights = together.replica(number).state_dict()
        assert weights.keys() == alone.state_dict().keys()
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(weights[key], value, rtol=1e-5, atol=1e-6, msg=f"{number}: {key}")
        rows.append(row)
    assert logged.keys() == rows[0].keys()
    for name, value in logged.items():
        if not name.endswith("_min"):  # that of all replicas, where others are means
            assert value == pytest.approx(sum(row[name] for row in rows) / replicas, rel=1e-5, abs=1e-7), name


# With this epsilon Adam takes no step along the gradients of biases before batch norm: rounding errors.
damped = partial(Adam, lr=2e-3, eps=1e-3)

RUNS = {
    "batch norm, Adam": {
        "generator": normed,
        "generator_optimizer": damped,
        "discriminator_optimizer": damped,
    },
    "maxout, RMSprop": {
        "discriminator": maxout,
        "generator_optimizer": partial(RMSprop, lr=1e-3),
        "discriminator_optimizer": partial(RMSprop, lr=1e-3),
    },
    "SGD, schedulers": {
        "generator_optimizer": partial(SGD, lr=0.05),
        "discriminator_optimizer": partial(torch.optim.SGD, lr=0.05),
        "generator_scheduler": partial(LinearDecay, start=5, end=25),
        "discriminator_scheduler": partial(ExponentialLR, gamma=0.9),
    },
    "five steps of D": {"discriminator_steps": 5},
    "three steps of G, clipped": {"generator_steps": 3, "gradient_clip_norm": 0.02},
    "at once": {"simultaneous": True},
    "WGAN": {"cls": WGAN, "clipped": "weights", "discriminator_steps": 2},
    "WGAN-GP": {"cls": WGANGP, "discriminator_steps": 2},
    "Realness": {"cls": RealnessGAN, "num_outcomes": 5, "discriminator": maxout, "generator_steps": 2},
    "a mixture of latents": {
        "cls": DeLiGAN,
        "latent": {"num_components": 4, "penalty_reduction": "sum"},
    },
}


@pytest.mark.parametrize("run", RUNS)
def test_each_replica_is_the_run_of_its_seed(run):
    assert_equal_to_single_runs(partial(small, **RUNS[run]))


def test_replicas_see_labels():
    make = partial(
        small,
        cls=ConditionalGAN,
        generator=partial(ConditionalMLPGenerator, hidden=(8,)),
        discriminator=partial(ConditionalMLPDiscriminator, hidden=(8,)),
    )
    assert_equal_to_single_runs(make, replicas=2, steps=3, data=digits)


class Averages(Callback):
    """Puts the averaged weights in the place of the weights, to be compared with them."""

    def on_train_end(self, trainer, module):
        module.generator.load_state_dict(module.ema["generator"].state_dict())


def test_averaged_weights_and_held_out_losses():
    """Epochs of unequal batches, validated twice, with schedulers that count epochs."""
    data = partial(ring, samples=168, val_fraction=0.25, drop_last=False, eval_batch_size=20)
    make = partial(small, scheduler_interval="epoch", generator_scheduler=partial(ExponentialLR, gamma=0.5))
    settings = {"limit_val_batches": 2, "max_epochs": 2, "data": data}
    assert_equal_to_single_runs(make, callbacks=[GeneratorEMA(0.8), Averages()], **settings)


def test_two_replicas_differ_and_the_first_is_the_game_itself():
    game, _ = fitted(partial(small, replicas=2))
    first, second = game.replica(0), game.replica(1)
    assert not torch.equal(first.sample(4, seed=0), second.sample(4, seed=0))
    assert torch.equal(game.sample(4, seed=0), first.sample(4, seed=0))
    points = torch.linspace(-1, 1, 6).view(3, 2)
    assert torch.equal(game.score(points), first.score(points))
    assert game.data_of(1).seed == game.data_of(0).seed + 1 == SEED + 1
    assert second.replica(0) is second
    assert second.replicas == 1
    assert game.replica(0, into=second) is second
    assert torch.equal(second.sample(4, seed=0), first.sample(4, seed=0))
    with pytest.raises(ValueError, match="replica=2"):
        game.replica(2)


def test_a_killed_run_goes_on_exactly(tmp_path):
    make = partial(
        small, replicas=2, generator=normed, generator_steps=2, gradient_clip_norm=0.1, latent={"dim": 3}
    )
    make = partial(make, generator_scheduler=partial(LinearDecay, start=2, end=20))
    file = tmp_path / "half.ckpt"

    class Saved(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            if trainer.global_step == 7 and not file.exists():
                trainer.save_checkpoint(file)

    whole, logged = fitted(make, callbacks=[Saved(), GeneratorEMA(0.8)], steps=12)
    torch.randn(3)
    resumed, again = fitted(make, seed=SEED, callbacks=[GeneratorEMA(0.8)], steps=12, ckpt_path=str(file))
    assert logged == again
    assert same(resumed.state_dict(), whole.state_dict())
    for player in whole.players():
        optimizers = [game.player_optimizer(player).state_dict() for game in (whole, resumed)]
        assert same(*optimizers)
    assert all(same(a.get_state(), b.get_state()) for a, b in zip(whole.rngs, resumed.rngs, strict=True))


def test_a_checkpoint_gives_all_replicas(tmp_path, capsys):
    game, _ = fitted(partial(small, replicas=2), callbacks=[Checkpoint(), GeneratorEMA(0.5)], steps=4)
    (file,) = tmp_path.rglob("last.ckpt")
    loaded = lightning_gans.load(file)
    assert loaded.replicas == 2
    assert same(loaded.state_dict(), game.state_dict())
    wanted = loaded.replica(1).sample(5, seed=0)
    assert torch.equal(wanted, game.replica(1).sample(5, seed=0))
    assert not torch.equal(wanted, loaded.replica(1).sample(5, seed=0, ema=False))
    sample(str(file), "one.npz", n=5, replica=1)
    assert torch.equal(torch.from_numpy(np.load("one.npz")["arr_0"]), wanted)
    with pytest.raises(ValueError, match="replica=2"):
        sample(str(file), "two.npz", replica=2)
    with pytest.raises(ValueError, match="replicas is 3 here and was 2"):
        fitted(partial(small, replicas=3), ckpt_path=str(file))


def test_on_the_command_line_too(cli):
    """The parser builds networks and latents of its own, in its own order."""

    def run(seed, *more):
        cli("fit", "--model", "DeLiGAN", "--data", "GaussianMixtures", "--data.samples", 64,
            "--data.batch_size", 16, "--seed_everything", seed, "--data.seed", seed, "--name", f"run{seed}",
            "--model.latent", "GaussianMixture", "--model.latent.dim", 2, "--model.latent.num_components", 4,
            "--model.generator", "MLPGenerator", "--model.generator.hidden", "[8]",
            "--trainer.max_steps", 3, "--trainer.limit_val_batches", 0, "--samples", "false",
            *more)  # fmt: skip
        return lightning_gans.load(f"runs/run{seed}/version_0")

    weights = run(7, "--model.replicas", 2).replica(1).state_dict()
    for key, value in run(8).state_dict().items():
        torch.testing.assert_close(weights[key], value, rtol=1e-5, atol=1e-6, msg=key)


def test_pictures_are_those_of_the_first(tmp_path):
    watched, _ = fitted(partial(small, replicas=2), callbacks=[SampleGrid(every_n_updates=2)], steps=4)
    assert len(list(tmp_path.rglob("samples/*.png"))) == 3
    assert same(watched.state_dict(), fitted(partial(small, replicas=2), steps=4)[0].state_dict())


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_not_finite_names_the_replicas(tmp_path):
    class Breaks(GAN):
        def generator_loss(self, real, fake):
            loss = super().generator_loss(real, fake)
            broken = self.per_replica(fake.images)[1::2].sum() * float("nan")
            return loss + broken if self.trainer.global_step == 3 else loss

    with pytest.raises(FloatingPointError, match=r"update 3 in replica 1, 3 of 4") as stopped:
        fitted(partial(small, cls=Breaks, replicas=4))
    assert "not-finite.ckpt" in str(stopped.value)
    (file,) = tmp_path.rglob("not-finite.ckpt")
    assert torch.load(file)["global_step"] == 3


class Coupled(MLPDiscriminator):
    def forward(self, images):
        return super().forward(images - images.mean(0))


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x + self.bias


REFUSED = {
    "probability 0": {"discriminator": partial(MaxoutDiscriminator, hidden=(4,))},
    "convolutions": {"data": digits, "generator": None, "discriminator": DCGANDiscriminator},
    "discriminator.0 is a Shift": {"discriminator": lambda shape: nn.Sequential(Shift(), nn.Linear(2, 1))},
    "PlainNet.*record": {"discriminator": PlainNet(2, 1)},
    "each sample of a batch alone": {"discriminator": partial(Coupled, hidden=(4,))},
    "Threshold": {"cls": DeLiGAN, "schedule": Threshold()},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_replicated_is_refused_by_name(reason):
    arguments = {"replicas": 2, **REFUSED[reason]}
    data = arguments.pop("data", ring)
    with pytest.raises(ValueError, match=rf"(?s)replicas=\d.*{reason}"):
        fitted(partial(small, **arguments), data=data)


def test_replicas_are_counted():
    with pytest.raises(ValueError, match="replicas=0"):
        small(replicas=0)


def test_data_that_has_no_seed_is_refused():
    loader = torch.utils.data.DataLoader(torch.randn(32, 2), 16)
    with pytest.raises(ValueError, match=r"replicas=2.*data modules of this package"):
        trainer(max_steps=1).fit(small(replicas=2), loader)


def test_data_that_is_read_while_it_is_served_is_refused():
    make = partial(small, replicas=2, generator=partial(MLPGenerator, hidden=(4,)))
    with pytest.raises(ValueError, match=r"replicas=2.*in_memory"):
        fitted(make, data=partial(digits, in_memory=False))


def test_data_of_different_sizes_is_refused():
    make = partial(small, replicas=4)
    uneven = partial(GaussianMixtures, "ring", samples=64, batch_size=1, class_weights=[1] + [0.5] * 7)
    with pytest.raises(ValueError, match="batches"):
        fitted(make, data=uneven)


# ---------------------------------------------------------------------- the parts


def test_batches_are_in_the_order_of_the_replicas():
    data = [ring(seed=seed, val_fraction=0.5) for seed in (4, 5)]
    for module in data:
        module.setup("fit")
    data[0].serve_replicas(2, "fit")
    for split in ("train", "val"):
        joint, *alone = (getattr(module, f"{split}_dataloader")() for module in (data[0], *data))
        assert isinstance(joint, ReplicaLoader)
        alone[0] = alone[0].loaders[0]
        for batch, *parts in zip(joint, *alone, strict=True):
            assert same(list(batch), [torch.cat(part) for part in zip(*parts, strict=True)])


@pytest.mark.parametrize("inputs", [2, 9])
@pytest.mark.parametrize("bias", [True, False])
def test_a_stacked_layer_is_each_layer(bias, inputs):
    layers = [nn.Linear(inputs, 3, bias=bias) for _ in range(R)]
    joint = StackedLinear(layers)
    assert {key: value.shape for key, value in joint.state_dict().items()} == {
        key: (R, *value.shape) for key, value in layers[0].state_dict().items()
    }
    x = torch.randn(R * 4, 2, inputs)
    parts = zip(layers, x.chunk(R), strict=True)
    torch.testing.assert_close(joint(x), torch.cat([layer(part) for layer, part in parts]))
    with torch.autocast("cpu", torch.bfloat16):
        assert joint(x).dtype == torch.bfloat16


@pytest.mark.parametrize("inputs", [2, 9])
def test_gradients_of_a_stacked_layer(inputs):
    """The first and the second, against finite differences."""
    joint = StackedLinear([nn.Linear(inputs, 2) for _ in range(2)]).double()

    def made(x, weight, bias):
        return functional_call(joint, {"weight": weight, "bias": bias}, x)

    given = [torch.randn(2 * 3, inputs, dtype=torch.float64, requires_grad=True), *joint.parameters()]
    assert torch.autograd.gradcheck(made, given)
    assert torch.autograd.gradgradcheck(made, given)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}])
def test_a_stacked_norm_is_each_norm(momentum, options):
    layers = [nn.BatchNorm1d(3, momentum=momentum, **options) for _ in range(R)]
    joint = StackedBatchNorm(layers)
    for x in torch.randn(3, R * 4, 3):
        parts = zip(layers, x.chunk(R), strict=True)
        torch.testing.assert_close(joint(x), torch.cat([layer(part) for layer, part in parts]))
    for module in (joint, *layers):
        module.eval()
    x = torch.randn(R * 4, 3)
    parts = zip(layers, x.chunk(R), strict=True)
    torch.testing.assert_close(joint(x), torch.cat([layer(part) for layer, part in parts]))
    for key, value in joint.state_dict().items():
        torch.testing.assert_close(value, torch.stack([layer.state_dict()[key] for layer in layers]))


def test_shared_layers_stay_shared():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 2)
            self.again = nn.Sequential(self.first, nn.ReLU())

    joint = stack([Twice(), Twice()], {})
    assert joint.first is joint.again[0]
    assert isinstance(joint.first, StackedLinear)
