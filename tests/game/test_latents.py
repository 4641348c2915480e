"""The learned mixture, against the answers of DeLiGAN's paper and of hand computation."""

import copy
import math
import warnings

import pytest
import torch
from lightning.pytorch import Callback
from torch.autograd import gradcheck
from torch.func import functional_call

import lightning_gans
from lightning_gans.callbacks import Checkpoint, GeneratorEMA
from lightning_gans.game.latents import GaussianMixture
from lightning_gans.models import WGAN
from lightning_gans.networks.rebuild import describe, rebuild
from tests.conformance.games import ring, same, trainer


def mixture(dim=3, num_components=4, **arguments):
    torch.manual_seed(0)
    return GaussianMixture(dim, num_components, **arguments)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------- known answers


def test_penalty_at_the_start():
    latent = mixture(30, 50, penalty_weight=1.0)
    assert latent.penalty().item() == pytest.approx(0.64)
    assert mixture(30, 50, penalty_weight=1 / 3).penalty().item() == pytest.approx(0.213333, abs=1e-6)
    summed = mixture(30, 50, penalty_weight=1.0, penalty_reduction="sum")
    assert summed.penalty().item() == pytest.approx(19.2)
    # lambda = lambda' / dim
    summed = mixture(30, 50, penalty_weight=1 / 90, penalty_reduction="sum")
    assert summed.penalty().item() == pytest.approx(0.213333, abs=1e-6)


def test_gradient_of_the_penalty():
    latent = mixture(3, 4, penalty_weight=0.1)
    latent.penalty().backward()
    torch.testing.assert_close(latent.trained_sigma.grad, torch.full((4, 3), -0.0133333))
    assert latent.mu.grad is None


def test_latents_and_their_gradients(monkeypatch):
    latent = mixture(2, 2)
    with torch.no_grad():
        latent.mu.copy_(torch.tensor([[1.0, 2], [3, 4]]))
        latent.trained_sigma.copy_(torch.tensor([[0.5, 0.5], [2, 2]]))
    noise = torch.tensor([[1.0, -1], [0, 2], [1, 1]])
    monkeypatch.setattr(torch, "randn", lambda *_, **__: noise)
    drawn = latent.of_components(torch.tensor([0, 1, 1]), rng())
    assert drawn.tolist() == [[1.5, 1.5], [3, 8], [5, 6]]
    drawn.sum().backward()
    assert latent.mu.grad.tolist() == [[1, 1], [2, 2]]
    assert latent.trained_sigma.grad.tolist() == [[1, -1], [1, 3]]


def test_variance_at_the_start():
    torch.manual_seed(0)
    draws = torch.cat([GaussianMixture(30, 50)(200, rng(i)).detach() for i in range(100)])
    assert draws.var().item() == pytest.approx(1 / 3 + 0.04, rel=0.01)
    assert draws.mean().item() == pytest.approx(0, abs=0.01)
    own = mixture(30, 50).of_components(torch.full((20_000,), 7), rng())
    assert own.var(0).mean().item() == pytest.approx(0.04, rel=0.01)
    torch.testing.assert_close(own.mean(0), mixture(30, 50).mu[7], rtol=0, atol=0.01)


@pytest.mark.parametrize("penalty_weight", [0.1, 0.0])
def test_components_that_are_not_drawn(penalty_weight):
    latent = mixture(3, 50, penalty_weight=penalty_weight)
    optimizer = torch.optim.SGD(latent.parameters(), lr=1.0)
    before = copy.deepcopy(latent)
    components = torch.randint(50, (10,), generator=rng())
    loss = latent.of_components(components, rng()).square().sum()
    penalty = latent.penalty()
    assert (penalty is None) == (penalty_weight == 0)
    (loss if penalty is None else loss + penalty).backward()
    optimizer.step()
    drawn = torch.zeros(50, dtype=torch.bool)
    drawn[components] = True
    moved_mu, moved_sigma = (latent.mu != before.mu).any(1), (latent.sigma != before.sigma).any(1)
    assert moved_mu.tolist() == drawn.tolist()
    assert moved_sigma.tolist() == (drawn | (penalty_weight > 0)).tolist()


# ---------------------------------------------------------------------- gradients, sampling, parametrisations


class Penalty(torch.nn.Module):
    """The penalty as a forward pass, which ``functional_call`` can take."""

    def __init__(self, latent):
        super().__init__()
        self.latent = latent

    def forward(self):
        return self.latent.penalty()


@pytest.mark.parametrize("sigma_param", ["raw", "softplus", "exp"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_equal_finite_differences(sigma_param, reduction):
    latent = mixture(2, 3, sigma_param=sigma_param, penalty_reduction=reduction).double()
    mu, sigma = (p.detach().clone().requires_grad_() for p in (latent.mu, latent.trained_sigma))

    def draw(mu, sigma):
        return functional_call(latent, {"mu": mu, "trained_sigma": sigma}, (5, rng(1)))

    def penalty(sigma):
        return functional_call(Penalty(latent), {"latent.trained_sigma": sigma}, ())

    assert gradcheck(draw, (mu, sigma))
    assert gradcheck(penalty, (sigma,))


@pytest.mark.parametrize("sigma_param", ["raw", "softplus", "exp"])
@pytest.mark.parametrize("sigma", [0.02, 0.2, 1.0, 90.0])
def test_every_parametrisation_starts_at_sigma(sigma_param, sigma):
    latent = mixture(sigma=sigma, sigma_param=sigma_param)
    torch.testing.assert_close(latent.sigma, torch.full((4, 3), sigma), rtol=1e-5, atol=0)
    with torch.no_grad():
        latent.trained_sigma.sub_(100)
    assert (latent.sigma < 0).all() == (sigma_param == "raw")


def test_released_widths_have_both_signs():
    latent = mixture(100, 100, signed_sigma=True)
    assert latent.sigma.abs().max() <= 0.2
    assert latent.sigma.mean().item() == pytest.approx(0, abs=0.01)
    assert latent.sigma.std().item() == pytest.approx(0.2 / math.sqrt(3), rel=0.05)


def test_random_components_are_equally_likely():
    latent = mixture(1, 4, sigma=1e-6)
    with torch.no_grad():
        latent.mu.copy_(torch.arange(4.0)[:, None])
    counts = latent(40_000, rng()).round().long().flatten().bincount()
    assert counts.tolist() == pytest.approx([10_000] * 4, rel=0.05)


def test_stratified_components_are_equally_frequent_in_training():
    latent = mixture(1, 4, sigma=1e-6, sampling="stratified")
    with torch.no_grad():
        latent.mu.copy_(torch.arange(4.0)[:, None])
    drawn = [latent(12, rng(i)).round().long().flatten() for i in range(2)]
    for components in drawn:
        assert components.bincount().tolist() == [3] * 4
    assert not torch.equal(*drawn)
    with pytest.raises(ValueError, match=r"sampling=stratified .* num_components=4 .* the batch has 10"):
        latent(10, rng())
    counts = latent.eval()(10, rng()).round().long().flatten().bincount(minlength=4)
    assert counts.sum() == 10


def test_more_components_than_samples():
    latent = mixture(3, 1000)
    assert latent(8, rng()).shape == (8, 3)


def test_same_seed_same_latents():
    latent = mixture()
    assert torch.equal(latent(9, rng(3)), latent(9, rng(3)))
    assert not torch.equal(latent(9, rng(3)), latent(9, rng(4)))


# ---------------------------------------------------------------------- in games


def test_any_game_learns_the_mixture():
    torch.manual_seed(0)
    game = WGAN((2,), latent=GaussianMixture(2, 8, penalty_weight=0.5))
    before = copy.deepcopy(game.latent)
    fit = trainer([Checkpoint(dirpath="here"), GeneratorEMA(0.5)], max_steps=3)
    fit.fit(game, ring())
    assert (game.latent.sigma != before.sigma).all()
    assert (game.latent.mu != before.mu).any()
    penalty = game.latent.penalty().item()
    assert float(fit.callback_metrics["train/latent_penalty"]) == pytest.approx(penalty, rel=0.01)
    loaded = lightning_gans.load("here/last.ckpt")
    assert same(loaded.state_dict(), game.state_dict())
    for ema in (True, False):
        assert same(loaded.sample(5, seed=1, ema=ema), game.sample(5, seed=1, ema=ema))
    assert not same(game.sample(5, seed=1, ema=True), game.sample(5, seed=1, ema=False))


def test_stratified_game():
    torch.manual_seed(0)
    game = WGAN((2,), latent=GaussianMixture(2, 8, sampling="stratified"))
    trainer(max_steps=2).fit(game, ring())
    assert game.train().sample(7).shape == (7, 2)


class NeverStarts(Callback):
    def on_fit_start(self, trainer, module):
        raise AssertionError("started")


def test_batches_that_do_not_hold_all_components():
    """Refused before training if the mixture needs them, otherwise said once."""

    def fit(callbacks=(), **arguments):
        torch.manual_seed(0)
        trainer(callbacks, max_steps=1).fit(WGAN((2,), latent=GaussianMixture(2, 20, **arguments)), ring())

    with pytest.raises(ValueError, match=r"num_components=20 equally often, but the batch has 16"):
        fit([NeverStarts()], sampling="stratified")
    with pytest.warns(UserWarning, match=r"num_components=20 exceeds data.batch_size=16: comp") as seen:
        fit()
    assert sum("num_components" in str(warning.message) for warning in seen) == 1
    with warnings.catch_warnings(record=True) as seen:
        mixture(2, 16).check_batch(16)
    assert not seen


def test_one_key_of_the_command_line(cli):
    cli("fit", "--model", "WGAN", "--model.latent", "GaussianMixture", "--model.latent.dim", 2,
        "--model.latent.num_components", 5, "--data", "GaussianMixtures", "--data.samples", 256,
        "--trainer.max_steps", 2, "--trainer.enable_progress_bar", "false")  # fmt: skip
    latent = lightning_gans.load("runs/wgan/version_0/checkpoints/last.ckpt").latent
    assert (latent.dim, latent.num_components, latent.penalty_weight) == (2, 5, 0.1)


def test_rebuilt_from_plain_values():
    latent = mixture(3, 4, sigma_param="exp", sampling="stratified", penalty_weight=0)
    again = rebuild(describe(latent), (GaussianMixture,))
    again.load_state_dict(latent.state_dict())
    assert torch.equal(again.eval()(5, rng()), latent.eval()(5, rng()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "dim=0: give a whole number of at least 1"),
        ({"num_components": 0}, "num_components=0: give a whole number"),
        ({"mean_bound": -1}, "mean_bound=-1: give a finite number"),
        ({"sigma": 0.0}, "sigma=0.0: give a finite number"),
        ({"penalty_weight": -0.1}, "penalty_weight=-0.1: give a finite number"),
        ({"dim": 2.5}, "dim=2.5: give a whole number"),
        ({"num_components": 2.5}, "num_components=2.5: give a whole number"),
        ({"sigma": float("nan")}, "sigma=nan: give a finite number"),
        ({"sigma": float("inf")}, "sigma=inf: give a finite number"),
        ({"mean_bound": float("nan")}, "mean_bound=nan: give a finite number"),
        ({"mean_bound": float("inf")}, "mean_bound=inf: give a finite number"),
        ({"penalty_weight": float("nan")}, "penalty_weight=nan: give a finite number"),
        ({"penalty_weight": float("inf")}, "penalty_weight=inf: give a finite number"),
        ({"sigma_param": "log"}, "sigma_param='log' is unknown: .*use raw, softplus, exp"),
        ({"sampling": "all"}, "sampling='all' is unknown: .*use random, stratified"),
        ({"penalty_reduction": "max"}, "penalty_reduction='max' is unknown: .*use mean, sum"),
        ({"signed_sigma": True, "sigma_param": "exp"}, "signed_sigma=True needs sigma_param=raw"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        mixture(**arguments)
    assert "\n" not in str(error.value)
