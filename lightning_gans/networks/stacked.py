"""Networks of several replicas as one: a layer holds the weights of all, and works on them in one call.

Batches are flat, in the order of the replicas: the first ``n`` of ``(R * n, ...)`` samples go through the
weights of the first, the next ``n`` through those of the second. The keys of a stacked network's state are
those of a single one, and each of its tensors has one dimension more, the first.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

THIN = 8  # inputs of a layer, and fewer


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Return the tensors of all replicas, or the parameters, as one: ``(R, ...)``.

    Args:
        tensors: One of each replica, of the same shape.
    """
    first = tensors[0]
    values = torch.stack([tensor.detach() for tensor in tensors])
    return nn.Parameter(values, first.requires_grad) if isinstance(first, nn.Parameter) else values


class _Product(torch.autograd.Function):
    """``x w^T + b`` for ``(R, n, inputs)``, ``(R, outputs, inputs)`` and ``(R, 1, outputs)``.

    torch's own gradient of the weights would be that of ``w^T``, which is copied to be transposed; and of the
    ways to write a product of thin matrices some take ten times as long as others.
    """

    @staticmethod
    def forward(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        turned = weight.mT
        return values @ turned if bias is None else torch.baddbmm(bias, values, turned)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, weight = ctx.saved_tensors
        of_values, of_weight, of_bias = ctx.needs_input_grad
        thin = weight.shape[2] < THIN
        for_values = for_weight = None
        if of_values:
            for_values = gradient @ (weight.mT.contiguous().mT if thin else weight)
        if of_weight:
            for_weight = (values.mT @ gradient).mT if thin else gradient.mT @ values
        return for_values, for_weight, gradient.sum(1, keepdim=True) if of_bias else None


class _Stacked(nn.Module):
    """The layers of all replicas, with the tensors of each stacked, under their names.

    Args:
        layers: One of each replica.
    """

    weight: Tensor
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        for tensors, register in (
            (layers[0]._parameters, self.register_parameter),
            (layers[0]._buffers, self.register_buffer),
        ):
            for name, tensor in tensors.items():
                own = [getattr(layer, name) for layer in layers]
                register(name, None if tensor is None else stacked(own))  # type: ignore[arg-type]


class StackedLinear(_Stacked):
    """The linear layers of all replicas: ``(R * n, ..., inputs)`` to ``(R * n, ..., outputs)``.

    Args:
        layers: One of each replica.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__(layers)

    def forward(self, values: Tensor) -> Tensor:
        """Map the samples of each replica by its own weights and biases."""
        weight, bias = self.weight, self.bias
        each = values.reshape(len(weight), -1, weight.shape[2])
        product = _Product.forward if torch.is_autocast_enabled(values.device.type) else _Product.apply
        made: Tensor = product(each, weight, None if bias is None else bias.unsqueeze(1))
        return made.reshape(*values.shape[:-1], weight.shape[1])


class StackedBatchNorm(_Stacked):
    """Batch norm with the statistics of each replica: ``(R * n, channels)`` to the same.

    Args:
        layers: One of each replica.
    """

    def __init__(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        super().__init__(layers)
        self.replicas, self.channels = len(layers), layers[0].num_features
        self.eps, self.momentum = layers[0].eps, layers[0].momentum

    def forward(self, values: Tensor) -> Tensor:
        """Normalise the samples of each replica."""
        momentum = self.momentum or 0.0
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the mean of all batches
                momentum = 1 / int(self.num_batches_tracked[0])
        # torch's own norms channels: those of all replicas, side by side.
        beside = values.view(self.replicas, -1, self.channels).transpose(0, 1).flatten(1)
        own = (self.running_mean, self.running_var, self.weight, self.bias)
        mean, variance, weight, bias = (None if x is None else x.view(-1) for x in own)
        uses_batch = self.training or mean is None
        normed = batch_norm(beside, mean, variance, weight, bias, uses_batch, momentum, self.eps)
        return normed.view(-1, self.replicas, self.channels).transpose(0, 1).reshape(values.shape)


_STACKED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Linear: StackedLinear,
    nn.BatchNorm1d: StackedBatchNorm,
}


def check_stackable(name: str, network: nn.Module) -> None:
    """Check that the replicas of a network can be stacked.

    Args:
        name: The network's, for the message.
        network: One of the replicas, or what they were stacked to.

    Raises:
        ValueError: If a part of it cannot, naming it and the reason.
    """
    for path, part in network.named_modules():
        reason = _reason(part)
        if reason:
            where = ".".join(filter(None, (name, path)))
            raise ValueError(f"{where} is a {type(part).__name__}, and {reason}")


def _reason(part: nn.Module) -> str:
    if type(part) in _STACKED or isinstance(part, _Stacked):
        return ""
    if isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0:
        return "dropout draws the masks of all replicas from one generator: give it the probability 0"
    if isinstance(part, nn.modules.conv._ConvNd):
        return "convolutions keep the processor busy with one game"
    own = [key for key, _ in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))]
    if own:
        return f"its {own[0]} is of no layer that is known to work on all replicas at once"
    return ""


def stack(networks: Sequence[nn.Module], done: dict[int, nn.Module]) -> nn.Module:
    """Stack networks of the same build; the first one becomes the stacked one, its layers those of all.

    Parts without weights stay as they are: they must treat each sample alone.

    Args:
        networks: One of each replica, all on one device; :func:`check_stackable` refuses what cannot be.
        done: Parts of the first replica that were stacked before: they may be shared. Added to.
    """
    first = networks[0]
    if id(first) not in done:
        kind = _STACKED.get(type(first))
        done[id(first)] = first if kind is None else kind(networks).train(first.training)
        if kind is None:
            for name, _ in _children(first):
                setattr(first, name, stack([dict(_children(network))[name] for network in networks], done))
    return done[id(first)]


def _children(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    # Unlike named_children(), with those that have two names.
    return ((name, child) for name, child in network._modules.items() if child is not None)
