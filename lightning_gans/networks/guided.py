"""Guided backpropagation, the pictures of a discriminator's features in DCGAN's section 6.2.

Source: Springenberg et al., 2014, arXiv 1412.6806; used by Radford et al., 2015, arXiv 1511.06434, figure 5.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, FunctionCtx

from lightning_gans.networks.features import feature_maps


def guided_gradient(inputs: Tensor, gradients: Tensor) -> Tensor:
    """Return ``gradients`` where the rectifier's input and the gradient are both positive, else 0."""
    return gradients * (inputs > 0) * (gradients > 0)


class _Guided(torch.autograd.Function):
    """Pass a rectifier's output on, and replace its derivative by the guided rule."""

    @staticmethod
    def forward(ctx: FunctionCtx, inputs: Tensor, outputs: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)
        return outputs.clone()

    @staticmethod
    def backward(ctx: BackwardCFunction, *gradients: Tensor) -> tuple[Tensor, None]:
        (inputs,) = ctx.saved_tensors
        return guided_gradient(inputs, gradients[0]), None


def guided_backpropagation(
    network: Callable[[Tensor], Any], images: Tensor, feature: int, layer: int = -1
) -> Tensor:
    """Return what in each image excites a feature: the guided gradient of its most active position.

    LeakyReLUs are treated as ReLUs in the backward pass; other activations keep their derivatives.

    Args:
        network: Maps images to anything: a network in evaluation mode, or a function that calls one.
        images: (N, channels, height, width) in [-1, 1].
        feature: Index of the feature among those of the layer.
        layer: Index among the hidden convolutions, as :func:`~lightning_gans.networks.features.feature_maps`
            lists them. Default: the last.

    Returns:
        A tensor of the shape of ``images``, 0 for images that do not excite the feature.

    Raises:
        ValueError: If there is no such layer, or it has no such feature.
    """
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        maps = feature_maps(network, images, lambda x, rectified: _Guided.apply(x, rectified.detach()))
        if not -len(maps) <= layer < len(maps):
            raise ValueError(f"layer={layer}: the network has {len(maps)} hidden convolutions")
        chosen = maps[layer]
        if not 0 <= feature < chosen.shape[1]:
            raise ValueError(f"feature={feature}: the layer has {chosen.shape[1]}, count from 0")
        best = chosen[:, feature].flatten(1).max(1).values  # amax would share its gradient among equal ones
        (views,) = torch.autograd.grad(best.sum(), images)
    return views.detach()
