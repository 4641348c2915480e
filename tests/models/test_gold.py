"""Re-weighting: its gradient, when it begins, its options, and what it leaves alone."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from torch.nn.functional import cross_entropy, softplus

from lightning_gans import ACGAN, GOLDACGAN
from lightning_gans.game.optimizers import Adam
from lightning_gans.game.sides import Side
from lightning_gans.losses import gold
from tests.conformance.games import digits, game, ring, same, trainer

from .test_acgan import K, sides, with_heads

# Logits and class logits side by side, as the discriminator of these tests has them.
FAKE = torch.tensor([[2.0, 2, 0, 0], [-1, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.float64)
CLASSES = torch.tensor([0, 2, 1])
weighted = partial(with_heads, GOLDACGAN, reweight_from=0)


def fakes():
    return Side(FAKE.clone().requires_grad_(), CLASSES)


def test_weighted_losses_and_their_gradient():
    """Known answers; no gradient through the weights."""
    fake, real = fakes(), Side(FAKE * 0, CLASSES)
    on_real = softplus(torch.tensor(0.0)).double() + torch.tensor(K).log()
    module = weighted(class_weight=0.0)
    loss = module.discriminator_loss(real, fake) - on_real
    assert loss.item() == pytest.approx(0.7279, abs=6e-5)
    plain = with_heads(class_weight=0.0).discriminator_loss(real, fake) - on_real
    assert plain.item() == pytest.approx(1.0444, abs=6e-5)
    module = weighted(class_weight=0.2)
    (slopes,) = torch.autograd.grad(module.discriminator_loss(real, fake), fake.images)
    w = gold.gold(FAKE[:, 0], FAKE[:, 1:], CLASSES)
    torch.testing.assert_close(slopes[:, 0], w * FAKE[:, 0].sigmoid() / 3)
    of_classes = FAKE[:, 1:].softmax(1) - torch.eye(K, dtype=torch.float64)[CLASSES]
    torch.testing.assert_close(slopes[:, 1:], 0.2 * w[:, None] * of_classes / 3)
    assert torch.equal(slopes[:, 0].sign(), w.sign())  # of what there is too much, D learns to call it real


def test_gradient_equals_finite_differences_with_fixed_weights(monkeypatch):
    fake, (real, _) = fakes(), sides(3, (0, -1, 2))
    module, step = weighted(beta=0.7), 1e-6
    fixed = module.fake_weights("discriminator", FAKE[:, 0], gold.log_posterior(FAKE[:, 1:], CLASSES))
    (slopes,) = torch.autograd.grad(module.discriminator_loss(real, fake), fake.images)
    monkeypatch.setattr(module, "fake_weights", lambda *_: fixed)
    for place in torch.cartesian_prod(torch.arange(3), torch.arange(1 + K)):
        moved = torch.zeros_like(FAKE)
        moved[tuple(place)] = step
        up, down = (module.discriminator_loss(real, Side(FAKE + s * moved, CLASSES)) for s in (1, -1))
        assert slopes[tuple(place)].item() == pytest.approx(((up - down) / (2 * step)).item(), abs=1e-8)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"balanced": True}, lambda m, c: gold.gold_balanced(m, c)),
        ({"normalize_weights": True}, lambda m, c: (m + c) / (m + c).abs().mean()),
        ({"weight_clip": (-1.0, 1.0)}, lambda m, c: (m + c).clamp(-1, 1)),
        ({"nonnegative": True, "beta": 2.0}, lambda m, c: (m + c).clamp(min=0) ** 2),
    ],
)
def test_options(options, expected):
    marginal, conditional = FAKE[:, 0], gold.log_posterior(FAKE[:, 1:], CLASSES)
    found = weighted(**options).fake_weights("discriminator", marginal, conditional)
    torch.testing.assert_close(found, expected(marginal, conditional))


def test_the_least_probability_of_a_class():
    """That of a weight is 1e-6; the class loss itself has no such bound."""
    found = weighted().fake_weights("discriminator", torch.zeros(2), torch.tensor([-20.0, -1.0]))
    torch.testing.assert_close(found, torch.tensor([-13.815510, -1.0]))


def test_the_generator_is_weighted_if_asked():
    fake = fakes()
    terms = softplus(-FAKE[:, 0]) + cross_entropy(FAKE[:, 1:], CLASSES, reduction="none")
    torch.testing.assert_close(weighted().generator_loss(None, fake), terms.mean())
    w = gold.gold(FAKE[:, 0], FAKE[:, 1:], CLASSES)
    loss = weighted(weight_generator=True).generator_loss(None, fake)
    torch.testing.assert_close(loss, (w * terms).mean())
    (slopes,) = torch.autograd.grad(loss, fake.images)
    torch.testing.assert_close(slopes[:, 0], -w * (-FAKE[:, 0]).sigmoid() / 3)


def test_weights_are_made_of_numbers_without_gradient(monkeypatch):
    given, module = [], weighted(weight_generator=True)
    monkeypatch.setattr(module, "fake_weights", lambda *terms: given.extend(terms[1:]))
    module.discriminator_loss(fakes(), fakes())
    module.generator_loss(None, fakes())
    assert len(given) == 4
    assert not any(term.requires_grad for term in given)


def test_passes_of_an_update():
    """Weights need none of their own; the generator learns from the fakes that the discriminator has seen."""
    data = digits()
    module = game("GOLDACGAN", data, reweight_from=0, balanced=True, weight_generator=True)
    trainer(max_steps=3).fit(module, data)
    for network, passes in (("generator", 1), ("discriminator", 3)):
        norms = [m for m in getattr(module, network).modules() if hasattr(m, "num_batches_tracked")]
        assert norms
        assert {int(norm.num_batches_tracked) for norm in norms} == {3 * passes}


# ---------------------------------------------------------------------- when it begins


def begun(reweight_from, **progress):
    module = GOLDACGAN((2,), 2, reweight_from=reweight_from)
    at = {"global_step": 0, "max_steps": -1, "current_epoch": 0, "max_epochs": -1, "callbacks": []}
    module._trainer = SimpleNamespace(**(at | progress))
    return module.reweights


@pytest.mark.parametrize("epochs", [4, 5, 20])
def test_half_of_the_epochs_as_in_the_released_code(epochs):
    """Which counts them from 1, and has no weights in those up to half of them, rounded down."""
    found = [begun(0.5, current_epoch=epoch - 1, max_epochs=epochs) for epoch in range(1, epochs + 1)]
    assert found == [epoch > epochs // 2 for epoch in range(1, epochs + 1)]


def test_when_weights_begin():
    assert [begun(0.3, global_step=n, max_steps=10) for n in (0, 2, 3, 9)] == [False, False, True, True]
    assert [begun(7, global_step=n, max_steps=10, current_epoch=99) for n in (6, 7)] == [False, True]
    # The training ends with what is reached first.
    assert begun(0.5, global_step=5, max_steps=1000, current_epoch=2, max_epochs=4)
    assert begun(0.5, global_step=500, max_steps=1000, current_epoch=0, max_epochs=4)
    assert begun(0)
    assert [GOLDACGAN((2,), 2, reweight_from=f).reweights for f in (0, 0.5, 3)] == [True, False, False]


def test_weights_that_never_begin_are_warned_of():
    module = GOLDACGAN((2,), 8, reweight_from=3, generator={"hidden": (4,)}, discriminator={"hidden": (4,)})
    with pytest.warns(UserWarning, match="reweight_from=3"):
        trainer([], max_steps=3).fit(module, ring())


def test_a_share_of_no_known_end_is_refused():
    class Untouched(Callback):
        def setup(self, trainer, module, stage):
            raise AssertionError

    endless = {"max_steps": -1, "max_epochs": -1, "max_time": {"seconds": 1}}
    with pytest.raises(ValueError, match=r"reweight_from=0\.5 is a share of a training that has no known"):
        trainer([Untouched()], **endless).fit(GOLDACGAN((2,), 8), ring())
    module = GOLDACGAN((2,), 8, reweight_from=3, generator={"hidden": (4,)}, discriminator={"hidden": (4,)})
    trainer(**{**endless, "max_time": {"seconds": 0}}).fit(module, ring())
    trainer(max_epochs=-1, limit_val_batches=1).validate(GOLDACGAN((2,), 8), ring(), verbose=False)


# ---------------------------------------------------------------------- runs


def run(paper, updates, **arguments):
    torch.manual_seed(0)
    adam = partial(Adam, lr=1e-3)
    module = paper(
        (2,), 8, generator={"hidden": (8,)}, discriminator={"hidden": (8,)}, generator_optimizer=adam,
        discriminator_optimizer=adam, **arguments,
    )  # fmt: skip
    fit = trainer(max_steps=updates, limit_val_batches=1, val_check_interval=1)
    fit.fit(module, ring(label_fraction=0.5))
    return module.state_dict(), {key: float(value) for key, value in fit.callback_metrics.items()}


def test_paired_runs_are_equal_until_weights_begin():
    assert same(run(ACGAN, 3)[0], run(GOLDACGAN, 3, reweight_from=3)[0])
    assert not same(run(ACGAN, 4)[0], run(GOLDACGAN, 4, reweight_from=3)[0])


def test_beta_0_is_acgan():
    weights, row = run(ACGAN, 4)
    same_weights, same_row = run(GOLDACGAN, 4, beta=0, reweight_from=0)
    assert same(weights, same_weights)
    assert {key: same_row[key] for key in row} == row


def test_what_is_logged():
    """Until weights begin nothing but the terms, and held-out losses are those of ACGAN."""
    _, plain = run(ACGAN, 3)
    _, before = run(GOLDACGAN, 3, reweight_from=3)
    _, after = run(GOLDACGAN, 4, reweight_from=3)
    terms = {"train/marginal", "train/conditional"}
    assert {"train/class_loss", "train/fake_class_loss"} < plain.keys()
    assert before.keys() == plain.keys() | terms
    assert after.keys() == before.keys() | {"train/weight"}
    expected = after["train/marginal"] + after["train/conditional"]
    assert after["train/weight"] == pytest.approx(expected, abs=1e-6)
    # The validation after the third update is one of the fourth's loss.
    assert before["val/generator_loss"] == plain["val/generator_loss"]
    assert before["val/discriminator_loss"] < plain["val/discriminator_loss"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"beta": -0.5}, "beta=-0.5"),
        ({"beta": float("nan")}, "beta=nan"),
        ({"reweight_from": -1}, "reweight_from=-1"),
        ({"weight_clip": (1.0, 1.0)}, r"weight_clip=\(1.0, 1.0\)"),
        ({"weight_clip": (1.0,)}, r"weight_clip=\(1.0,\)"),
        ({"weight_clip": 5}, "weight_clip=5"),
    ],
)
def test_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        GOLDACGAN((2,), 2, **arguments)
