"""Steps of torch's optimizers as functions of weights and gradients, to be differentiated.

A step begins where the optimizer is: its moments and counts are read, never written. All weights of an
optimizer are one vector here: its few operations cost the same for a network of any number of layers, and
torch differentiates each of them any number of times (its fused optimizers have no derivative).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

Step = Callable[[Tensor, Tensor], Tensor]
"""From weights ``(n,)`` and the gradient there to the weights after an update; each call counts as one."""


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Return the numbers of all tensors in a row, ``(n,)``."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def steps_of(optimizer: Optimizer) -> Step:
    """Return the next updates of an optimizer as a function, from its present state on.

    Raises:
        ValueError: If the optimizer is of a kind, or has an option, for which there is none.
    """
    if isinstance(optimizer, Adam | AdamW):
        return AdamSteps(optimizer)
    if isinstance(optimizer, RMSprop):
        return RMSpropSteps(optimizer)
    if isinstance(optimizer, SGD):
        return SGDSteps(optimizer)
    raise _refused(optimizer, "is of a kind whose steps are not unrolled")


class _Steps:
    """Base of the functions.

    Args:
        optimizer: What they begin from.
        refused: Names of options without which it has to be.
    """

    def __init__(self, optimizer: Optimizer, *refused: str) -> None:
        self.group = _group(optimizer)
        for name in ("maximize", *refused):
            if self.group[name]:
                raise _refused(optimizer, f"has {name}={self.group[name]!r}, which is not unrolled")
        self.parameters: list[Tensor] = self.group["params"]
        self.states = [optimizer.state.get(parameter, {}) for parameter in self.parameters]

    def moment(self, name: str) -> Tensor:
        """Return a moment of all weights, ``(n,)``: 0 before the first update."""
        stored = (state.get(name) for state in self.states)
        pairs = zip(stored, self.parameters, strict=True)
        return flat([torch.zeros_like(p) if moment is None else moment for moment, p in pairs])

    def decayed(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """Add the gradient of the L2 penalty, if there is one."""
        decay = self.group["weight_decay"]
        return gradient + decay * weights if decay else gradient


class AdamSteps(_Steps):
    """Updates of Adam, or AdamW (Kingma and Ba, 2015, arXiv 1412.6980, Algorithm 1).

    Args:
        optimizer: torch's Adam, or a subclass with the same maths; without amsgrad.
    """

    def __init__(self, optimizer: Adam | AdamW) -> None:
        super().__init__(optimizer, "amsgrad")
        # Before torch 2.7 AdamW was no Adam whose group says so.
        self.decoupled = self.group.get("decoupled_weight_decay", isinstance(optimizer, AdamW))
        self.mean, self.square = self.moment("exp_avg"), self.moment("exp_avg_sq")
        counts = [state["step"] for state in self.states if "step" in state]
        self.count = torch.as_tensor(counts[0] if counts else 0.0).to(self.mean.dtype)

    def __call__(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """Return the weights after an update."""
        group, (beta1, beta2) = self.group, self.group["betas"]
        if self.decoupled:
            weights = weights * (1 - group["lr"] * group["weight_decay"])
        else:
            gradient = self.decayed(weights, gradient)
        self.count = self.count + 1
        self.mean = torch.lerp(self.mean, gradient, 1 - beta1)
        self.square = torch.addcmul(beta2 * self.square, gradient, gradient, value=1 - beta2)
        # Both moments are biased towards 0 at first, which two numbers put right.
        scale = self._unbiased(beta2).sqrt()
        size = group["lr"] * scale / self._unbiased(beta1)
        updated: Tensor = weights - size * self.mean / (_root(self.square) + group["eps"] * scale)
        return updated

    def _unbiased(self, beta: float) -> Tensor:
        """Return ``1 - beta ** count``, as exactly where beta is close to 1; a count on a GPU stays there."""
        return -torch.expm1(self.count * (math.log(beta) if beta else -math.inf))


class RMSpropSteps(_Steps):
    """Updates of RMSprop.

    Args:
        optimizer: torch's, without momentum and not centred.
    """

    def __init__(self, optimizer: RMSprop) -> None:
        super().__init__(optimizer, "momentum", "centered")
        self.square = self.moment("square_avg")

    def __call__(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """Return the weights after an update."""
        gradient, alpha = self.decayed(weights, gradient), self.group["alpha"]
        self.square = torch.addcmul(alpha * self.square, gradient, gradient, value=1 - alpha)
        updated: Tensor = weights - self.group["lr"] * gradient / (_root(self.square) + self.group["eps"])
        return updated


class SGDSteps(_Steps):
    """Updates of gradient descent with momentum.

    Args:
        optimizer: torch's SGD, without dampening and Nesterov's momentum.
    """

    def __init__(self, optimizer: SGD) -> None:
        super().__init__(optimizer, "dampening", "nesterov")
        self.momentum = self.moment("momentum_buffer")

    def __call__(self, weights: Tensor, gradient: Tensor) -> Tensor:
        """Return the weights after an update."""
        self.momentum = self.group["momentum"] * self.momentum + self.decayed(weights, gradient)
        updated: Tensor = weights - self.group["lr"] * self.momentum
        return updated


def descent(optimizer: Optimizer) -> Step:
    """Return updates of plain gradient descent, with the learning rate that an optimizer of any kind has.

    Raises:
        ValueError: If it has several.
    """
    group = _group(optimizer)
    return lambda weights, gradient: weights - group["lr"] * gradient


def _group(optimizer: Optimizer) -> dict[str, Any]:
    """Return the settings of all weights."""
    if len(optimizer.param_groups) != 1:
        raise _refused(optimizer, f"has {len(optimizer.param_groups)} groups of parameters")
    return optimizer.param_groups[0]


def _root(squares: Tensor) -> Tensor:
    """Return square roots whose derivative is finite at 0, where weights never had a gradient (dead units).

    What follows in the chain is 0 there, and infinity times 0 would be NaN. The summand is far below the
    square of any eps.
    """
    return (squares + torch.finfo(squares.dtype).tiny).sqrt()


def _refused(optimizer: Optimizer, why: str) -> ValueError:
    return ValueError(
        f"discriminator_optimizer={type(optimizer).__name__} {why}: use a plain Adam, AdamW, RMSprop or SGD "
        "for one group of parameters, unroll_with: sgd, or unrolled_steps: 0"
    )
