"""Unrolled steps against those of torch's optimizers."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch.optim import SGD, Adam, AdamW, RMSprop

from lightning_gans.game import optimizers
from lightning_gans.models.unrolled import steps

KINDS = {
    "adam": partial(Adam, lr=0.03, betas=(0.5, 0.99)),
    "adam without momentum": partial(Adam, lr=0.03, betas=(0.0, 0.9), eps=1e-3),
    "adam, decayed": partial(Adam, lr=0.03, weight_decay=0.1),
    "ours, fused": partial(optimizers.Adam, lr=0.03, weight_decay=0.1),
    "adamw": partial(AdamW, lr=0.03, weight_decay=0.1),
    "rmsprop": partial(RMSprop, lr=0.03, weight_decay=0.1),
    "ours, rmsprop": partial(optimizers.RMSprop, lr=0.03),
    "sgd": partial(SGD, lr=0.03),
    "sgd with momentum": partial(SGD, lr=0.03, momentum=0.7, weight_decay=0.1),
    "ours, sgd": partial(optimizers.SGD, lr=0.03),
}


def numbers(*shape):
    rng = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def loss_at(first, second):
    return (first @ second).square().sum() + first.sin().sum() * second.mean()


@pytest.mark.parametrize("done", [0, 1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_they_are_the_steps_that_the_optimizer_takes(kind, done):
    parameters = [numbers(3, 4).requires_grad_(), numbers(4, 2).requires_grad_()]
    optimizer = KINDS[kind](parameters)

    def update():
        optimizer.zero_grad()
        loss_at(*parameters).backward()
        optimizer.step()

    for _ in range(done):
        update()
    before = deepcopy(optimizer.state_dict())
    step = steps.steps_of(optimizer)
    weights = steps.flat(parameters).detach()
    unrolled = []
    for _ in range(3):
        at = weights.clone().requires_grad_()
        first, second = at.split([12, 8])
        (gradient,) = torch.autograd.grad(loss_at(first.view(3, 4), second.view(4, 2)), at)
        weights = step(weights, gradient)
        unrolled.append(weights)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert all(
        torch.equal(value, before["state"][i][key])
        for i, state in after["state"].items()
        for key, value in state.items()
        if value is not None
    )
    for weights in unrolled:
        update()
        torch.testing.assert_close(weights, steps.flat(parameters).detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives(kind):
    parameter = numbers(5).requires_grad_()
    optimizer = KINDS[kind]([parameter])
    parameter.square().sum().backward()
    optimizer.step()

    def updated(weights, gradient):
        step = steps.steps_of(optimizer)
        return step(step(weights, gradient), gradient.sin())

    given = numbers(5).requires_grad_(), (0.5 + numbers(1, 5)[0]).requires_grad_()
    assert torch.autograd.gradcheck(updated, given)
    assert torch.autograd.gradgradcheck(updated, given)


@pytest.mark.parametrize("kind", ["adam", "ours, rmsprop"])
def test_weights_without_any_gradient_have_a_finite_derivative(kind):
    step = steps.steps_of(KINDS[kind]([torch.zeros(2, requires_grad=True)]))
    weights, gradient = torch.ones(2), torch.zeros(2, requires_grad=True)
    after = step(weights, gradient)
    assert torch.equal(after, weights)
    (slope,) = torch.autograd.grad(after.sum(), gradient)
    assert slope.isfinite().all()
    assert (slope < 0).all()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (partial(Adam, amsgrad=True), "amsgrad"),
        (partial(Adam, maximize=True), "maximize"),
        (partial(RMSprop, momentum=0.5), "momentum"),
        (partial(RMSprop, centered=True), "centered"),
        (partial(SGD, momentum=0.5, nesterov=True, lr=0.1), "nesterov"),
        (partial(SGD, momentum=0.5, dampening=0.1, lr=0.1), "dampening"),
        (torch.optim.Adagrad, "Adagrad"),
        (lambda p: Adam([{"params": p}, {"params": [torch.zeros(1)]}]), "groups"),
    ],
)
def test_others_are_refused_by_name(make, named):
    with pytest.raises(ValueError, match=named):
        steps.steps_of(make([torch.zeros(2, requires_grad=True)]))
