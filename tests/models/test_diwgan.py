"""The game of DIWGAN: its first phase, its state, its options, what it refuses."""

import math
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

import lightning_gans
from lightning_gans import DIWGAN, GAN
from lightning_gans.callbacks import Checkpoint
from lightning_gans.game.interruption import Interrupted
from lightning_gans.game.latents import Normal
from lightning_gans.networks import ConvAutoencoder, IdentityAutoencoder, MLPAutoencoder
from tests.conformance.games import digits, ring, same, small_networks, trainer

SHORT = {"encoder_updates": 20, "encoder_batch_size": 32, "encoder": {"hidden": (8,)}, "max_error": 10.0}


def made(cls=DIWGAN, shape=(2,), seed=0, **arguments):
    torch.manual_seed(seed)
    return cls(shape, **{**small_networks(shape), "latent": Normal(2), **arguments})


def fitted(module, data=None, steps=4, callbacks=(), seed=0, ckpt_path=None, **settings):
    torch.manual_seed(seed)
    trainer(callbacks, max_steps=steps, **settings).fit(module, data or ring(seed=seed), ckpt_path=ckpt_path)
    return module


def test_without_its_term_it_is_gan():
    """Also the random numbers are the same: no auto-encoder is made, none is trained."""
    both = [fitted(made(cls, **arguments)) for cls, arguments in ((GAN, {}), (DIWGAN, {"alpha": 0}))]
    assert same(*(module.state_dict() for module in both))
    assert same(*(module.rng.get_state() for module in both))
    simultaneous = {"simultaneous": True, "objective": "minimax"}
    both = [fitted(made(cls, **simultaneous, **more)) for cls, more in ((GAN, {}), (DIWGAN, {"alpha": 0}))]
    assert same(*(module.state_dict() for module in both))


def test_the_first_phase_leaves_the_random_numbers_of_training_alone():
    """Dropout, in an auto-encoder too, draws from torch's global generator."""

    class Dropping(MLPAutoencoder):
        def forward(self, images):
            return nn.functional.dropout(super().forward(images), 0.1, self.training)

    states = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, module, *_):
            states.append([torch.get_rng_state(), module.rng.get_state()])

    for updates in (1, 20):
        encoder = partial(Dropping, hidden=(8,))
        fitted(made(encoder=encoder, encoder_updates=updates, max_error=10.0), steps=1, callbacks=[Watch()])
    assert same(*states)


def test_the_auto_encoder_learns_and_is_frozen():
    module = made(
        encoder={"hidden": (64,)}, encoder_updates=400, encoder_batch_size=64, encoder_lr=1e-2, max_error=0.01
    )
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            seen.append([p.clone() for p in module.encoder.parameters()])
            assert not module.encoder.training
            assert all(p.grad is None for p in module.encoder.parameters())

    fitted(module, callbacks=[Watch()])
    assert same(seen[0], seen[-1])
    assert not module.train().encoder.training
    learning = {
        id(p) for optimizer in module.trainer.optimizers for g in optimizer.param_groups for p in g["params"]
    }
    assert not learning & {id(p) for p in module.encoder.parameters()}
    points = ring().load("train")[0]
    assert (module.encoder(points) - points).square().mean() < 0.01
    codes = module.codes(points)
    torch.testing.assert_close(codes.mean(1), torch.zeros(1, 2), atol=0.02, rtol=0)
    torch.testing.assert_close(codes.std(1), torch.ones(1, 2), atol=0.02, rtol=0)


def test_the_generator_learns_through_the_encoder():
    """Of the term alone: unweighted, it is the mean distance of pairs, which falls."""
    module = made(
        encoder="identity", generator_weight="none", target_weight="none", real_set="random", alpha=100.0,
        generator_optimizer=partial(torch.optim.Adam, lr=0.01),
    )  # fmt: skip
    seen = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            seen.append(float(module._reported["pairing_distance"]))
            assert float(module._reported["pairing_loss"]) == pytest.approx(seen[-1])

    fitted(module, steps=60, callbacks=[Watch()])
    assert seen[-1] < 0.8 * seen[0]


def test_codes_carry_the_gradient_of_a_trained_encoder():
    module = fitted(made(**SHORT))
    memory, points = module.term.memory, torch.randn(5, 2, requires_grad=True)
    wanted = (module.encoder.encode(points) - memory.mean[0]) / memory.std[0]
    slopes = [
        torch.autograd.grad(codes.square().sum(), points)[0] for codes in (wanted, module.codes(points)[0])
    ]
    assert slopes[0].abs().sum() > 0
    torch.testing.assert_close(*slopes)


OPTIONS = [
    {"generator_weight": "rank", "target_weight": "cumulative", "pairing": "greedy", "real_set": "random"},
    {"generator_weight": "inverse", "target_weight": "min", "gamma": 2.0, "real_set": "kmeans"},
    {"generator_weight": "none", "target_weight": "coverage", "bandwidth": 0.3, "real_set": "kde"},
    {"target_weight": "none", "real_set": "redraw", "weight_clip": (0.5, 2.0), "past_sets": 1},
    {"target_weight": "coverage", "real_set": "redraw", "discriminator_steps": 2, "generator_steps": 2},
    {"num_real": 48, "past_sets": 2},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_options(options):
    module = fitted(made(encoder="identity", **options), steps=5)
    memory = module.term.memory
    assert memory.updates == 5
    assert len(memory.past) == min(5, module.term.past_sets)
    assert memory.codes.shape == (1, options.get("num_real", 16), 2)
    pairs = module.pair(seed=1)
    assert pairs.real.shape == pairs.fake.shape == (16, 2)
    away = (memory.standardise(pairs.real[None]) - memory.standardise(pairs.fake[None])).norm(dim=2)[0]
    if options.get("real_set") != "kde":
        torch.testing.assert_close(away, pairs.distances)
        data = ring().load("train")[0]
        assert all((data == point).all(1).any() for point in pairs.real)
    assert pairs.real_weights.mean().item() == pytest.approx(1, abs=0.3)
    assert pairs.fake_weights.mean().item() == pytest.approx(1)


def test_images():
    data = digits()
    encoder = {"code_dim": 3, "width": 2, "features": 8}
    module = fitted(
        made(shape=(1, 8, 8), **{**SHORT, "encoder": encoder}),
        data,
        limit_val_batches=1,
        steps=2,
    )
    assert module.pair().real.shape == (16, 1, 8, 8)


def test_data_of_another_kind():
    points = ring().load("train")[0]
    loader = DataLoader(TensorDataset(points), batch_size=32, shuffle=True)
    module = made(**SHORT)
    torch.manual_seed(0)
    trainer(max_steps=2).fit(module, loader)
    assert module.term.memory.codes.shape == (1, 32, 2)
    with pytest.raises(ValueError, match=r"batch of 24.*drop_last.*number of pairs, 37"):
        trainer(max_steps=2).fit(made(**SHORT), DataLoader(TensorDataset(points), batch_size=37))

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(points)

    with pytest.raises(ValueError, match="Stream has no samples by number"):
        trainer(max_steps=2).fit(made(**SHORT), DataLoader(Stream(), batch_size=32))


def test_replicas_are_the_runs_of_their_seeds():
    arguments = {**SHORT, "generator_optimizer": partial(torch.optim.Adam, lr=1e-2)}
    together = fitted(made(seed=3, replicas=2, **arguments), seed=3, steps=6)
    for r in range(2):
        alone = fitted(made(seed=3 + r, **arguments), seed=3 + r, steps=6)
        one = together.replica(r)
        own = one.state_dict()
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(own[key], value, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(one.term.memory.codes, alone.term.memory.codes, rtol=1e-3, atol=1e-3)
        # Of pairings that are equally good either may be chosen: their means are alike.
        seen = [game.term.memory.history.mean() for game in (one, alone)]
        torch.testing.assert_close(*seen, rtol=1e-3, atol=1e-3)
        paired = [game.pair(seed=0).distances.mean() for game in (one, alone)]
        torch.testing.assert_close(*paired, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="replicas"):
        together.pair()


# ---------------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkpoint of a short run, and its game."""
    folder = tmp_path_factory.mktemp("diwgan")
    module = fitted(made(**SHORT), callbacks=[Checkpoint(dirpath=str(folder))])
    return folder / "last.ckpt", module


def test_a_checkpoint_has_the_real_set(run):
    path, module = run
    loaded = lightning_gans.load(path)
    assert same(loaded.pair(seed=1).__dict__, module.pair(seed=1).__dict__)


def test_a_resumed_run_keeps_its_real_set_and_trains_no_auto_encoder(run, monkeypatch):
    path, module = run
    monkeypatch.setattr("lightning_gans.models.diwgan.phase.prepare", None)
    resumed = fitted(made(**SHORT, seed=5), steps=6, ckpt_path=path)
    assert resumed.term.memory.updates == 6
    assert torch.equal(resumed.term.memory.codes, module.term.memory.codes)
    assert same(resumed.encoder.state_dict(), module.encoder.state_dict())


def test_a_checkpoint_without_its_real_set_is_refused(run, tmp_path):
    checkpoint = torch.load(run[0], weights_only=True)
    checkpoint["run_state"][0]["state"]["pairs"] = None
    torch.save(checkpoint, tmp_path / "lost.ckpt")
    with pytest.raises(ValueError, match="no real set"):
        fitted(made(**SHORT), ckpt_path=tmp_path / "lost.ckpt")
    with pytest.raises(ValueError, match="no real set"):
        lightning_gans.load(tmp_path / "lost.ckpt")


def test_a_resumed_run_has_no_real_set_of_another_size(run):
    with pytest.raises(ValueError, match=r"num_real=64.* chosen 16"):
        fitted(made(**SHORT, num_real=64), ckpt_path=run[0])


def test_the_auto_encoder_of_another_run(run, tmp_path):
    path, module = run
    other = tmp_path / "other.ckpt"
    other.write_bytes(path.read_bytes())
    again = fitted(
        made(encoder=str(other), max_error=10.0), callbacks=[Checkpoint(dirpath=str(tmp_path / "run"))]
    )
    assert same(again.encoder.state_dict(), module.encoder.state_dict())
    other.unlink()  # a checkpoint is complete without the one that it began with
    loaded = lightning_gans.load(tmp_path / "run" / "last.ckpt")
    assert same(loaded.encoder.state_dict(), module.encoder.state_dict())


def test_the_auto_encoder_of_a_run_with_replicas_is_its_first(tmp_path):
    several = fitted(made(**SHORT, replicas=2), callbacks=[Checkpoint(dirpath=str(tmp_path))])
    module = made(encoder=str(tmp_path / "last.ckpt"))
    assert same(module.encoder.state_dict(), several.replica(0).encoder.state_dict())


def test_an_auto_encoder_that_was_trained():
    encoder = MLPAutoencoder((2,), hidden=(8,))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    module = fitted(made(encoder=encoder, encoder_updates=0, max_error=10.0))
    assert same(module.encoder.state_dict(), before)


# ---------------------------------------------------------------------- what is refused

REFUSED = [
    ({"alpha": -1.0}, "alpha"),
    ({"gamma": math.inf}, "gamma"),
    ({"past_sets": 0}, "past_sets"),
    ({"num_real": 0}, "num_real"),
    ({"pairing": "best"}, "pairing"),
    ({"generator_weight": "kde"}, "generator_weight"),
    ({"target_weight": "kde"}, "target_weight"),
    ({"weight_clip": (2.0, 10.0)}, "weight_clip"),
    ({"weight_clip": 3}, "weight_clip=3"),
    ({"weight_clip": (0.1, 1.0, 10.0)}, "weight_clip"),
    ({"objective": "hinge"}, "objective"),
    ({"real_set": "all"}, "real_set"),
    ({"real_set": "kde"}, "bandwidth"),
    ({"real_set": "redraw"}, "target_weight"),
    ({"bandwidth": 0.0}, "bandwidth"),
    ({"encoder_updates": -1}, "encoder_updates"),
    ({"encoder": "nowhere.ckpt"}, "encoder=nowhere.ckpt"),
    ({"encoder": {"hiden": (8,)}}, "encoder.*hidden"),
    ({"encoder": nn.Linear(2, 2)}, "encode"),
    ({"simultaneous": True}, "simultaneous"),
]


@pytest.mark.parametrize(("arguments", "named"), REFUSED)
def test_bad_arguments(arguments, named):
    with pytest.raises(ValueError, match=named):
        made(**arguments)


def test_a_poor_auto_encoder_is_refused_with_the_figure():
    with pytest.raises(ValueError, match=r"MLPAutoencoder.*error.*2\.5e-05.*encoder_updates"):
        fitted(made(encoder_updates=2))
    with pytest.raises(ValueError, match=r"ConvAutoencoder.*variance.*encoder_updates"):
        fitted(made(shape=(1, 8, 8), encoder={"width": 2, "features": 4}, encoder_updates=1), digits())


class Own(nn.Module):
    """An auto-encoder of one's own."""

    def __init__(self, image_shape, codes=lambda x: x, made=lambda x: x):
        super().__init__()
        self.linear, self.codes, self.made = nn.Linear(2, 2), codes, made

    def encode(self, images):
        return self.codes(self.linear(images))

    def forward(self, images):
        return self.made(self.linear(images))


@pytest.mark.parametrize(
    "wrong",
    [
        {"codes": lambda x: x[:, None]},
        {"codes": lambda x: (x, x)},
        {"made": lambda x: x[:, :1]},
        {"made": lambda x: (x, x)},
        {"codes": lambda x: x[:, 5]},
    ],
)
def test_what_an_auto_encoder_of_ones_own_returns_is_tried_first(wrong):
    fitted(made(encoder=Own, encoder_updates=2, max_error=10.0), steps=1)
    with pytest.raises(ValueError, match=r"encoder=Own|encode\(\)"):
        fitted(made(encoder=partial(Own, **wrong), encoder_updates=2, max_error=10.0))


def test_data_that_are_not_finite_are_not_blamed_on_the_auto_encoder():
    samples = torch.randn(64, 2)
    samples[3] = math.nan
    loader = DataLoader(TensorDataset(samples), batch_size=16)
    with pytest.raises(ValueError, match=r"not finite.*data"):
        trainer(max_steps=1).fit(made(encoder="identity"), loader)


def test_batches_of_unknown_size_need_num_real():
    samples = TensorDataset(torch.randn(64, 2))
    loader = DataLoader(samples, batch_sampler=BatchSampler(RandomSampler(samples), 16, drop_last=True))
    with pytest.raises(ValueError, match="num_real=None"):
        trainer(max_steps=1).fit(made(encoder="identity"), loader)
    module = made(encoder="identity", num_real=32)
    trainer(max_steps=3).fit(module, loader)
    assert module.term.memory.codes.shape == (1, 32, 2)


def test_codes_without_variance_are_refused():
    with pytest.raises(ValueError, match="numbers of the codes are the same"):  # the digits' corners
        fitted(made(shape=(1, 8, 8), encoder="identity"), digits())


def test_batches_and_the_real_set_have_to_fit():
    with pytest.raises(ValueError, match=r"num_real=24.*multiple of the 16"):
        fitted(made(encoder="identity", num_real=24))
    with pytest.raises(ValueError, match="num_real=640 exceeds the 320"):
        fitted(made(encoder="identity", num_real=640))
    with pytest.raises(ValueError, match=r"batch of 5: .*drop_last.*number of pairs, 16"):
        fitted(made(encoder="identity"), ring(samples=325, drop_last=False))


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_cost_that_is_not_finite_stops_the_run(replicas, tmp_path):
    class Broken(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if trainer.global_step == 2:
                with torch.no_grad():
                    next(module.generator.parameters()).fill_(math.nan)

    with pytest.raises(FloatingPointError, match=r"DIWGAN.*not-finite"):
        fitted(made(encoder="identity", replicas=replicas), callbacks=[Broken()], default_root_dir=tmp_path)


def test_ctrl_c_in_the_first_phase_ends_the_run(tmp_path, monkeypatch):
    from lightning_gans.models.diwgan import phase

    def signal_at_once(*arguments):
        module._interruption._note(2, None)
        arguments[-1]()

    module = made(**SHORT)
    monkeypatch.setattr(phase, "train", signal_at_once)
    with pytest.raises(Interrupted) as stop:
        fitted(module, callbacks=[Checkpoint(dirpath=str(tmp_path))])
    assert (stop.value.code, stop.value.update, stop.value.checkpoint) == (130, 0, None)
    assert not (tmp_path / "last.ckpt").exists()
    assert module.term.memory is None


# ---------------------------------------------------------------------- auto-encoders


@pytest.mark.parametrize("size", [8, 16, 28, 32, 33])
def test_sizes_of_images(size):
    images = torch.rand(2, 3, size, size) * 2 - 1
    network = ConvAutoencoder((3, size, size), code_dim=5, width=2)
    assert network.encode(images).shape == (2, 5)
    assert network(images).shape == images.shape


def test_parameter_counts_and_first_reconstructions():
    network = ConvAutoencoder((1, 28, 28))
    encoder = sum(p.numel() for p in network.encoder.parameters())
    assert (
        encoder == 25 * 32 + 32 + 25 * 32 * 64 + 64 + 25 * 64 * 128 + 128 + 2048 * 256 + 256 + 256 * 32 + 32
    )
    with torch.no_grad():
        for layer in network.decoder[:-2]:
            for p in layer.parameters():
                p.zero_()
    network.start_at(torch.full((4, 1, 28, 28), -0.7))
    torch.testing.assert_close(network(torch.zeros(1, 1, 28, 28)), torch.full((1, 1, 28, 28), -0.7))
    toy = MLPAutoencoder((2,))
    assert sum(p.numel() for p in toy.parameters()) == 2 * (2 * 128 + 128 + 128 * 128 + 128 + 128 * 2 + 2)
    points = torch.randn(3, 2)
    assert torch.equal(IdentityAutoencoder((2,))(points), points)
