"""Guided backpropagation, the pictures of a discriminator's features in DCGAN's section 6.2.

Source: Springenberg et al., 2014, arXiv 1412.6806; used by Radford et al., 2015, arXiv 1511.06434, figure 5.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx


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


def guided_backpropagation(network: nn.Module, layer: nn.Module, images: Tensor, feature: int) -> Tensor:
    """Return what in each image excites a feature: the guided gradient of its most active position.

    LeakyReLUs are treated as ReLUs in the backward pass. The network runs in eval mode; its training mode and
    its gradients are left as they were.

    Args:
        network: Maps images to anything; its rectifiers are ``nn.ReLU`` and ``nn.LeakyReLU`` modules.
        layer: The part of ``network`` whose output (N, features, h, w) has the feature, such as
            ``discriminator.stages[-1]``, the last hidden convolution.
        images: (N, channels, height, width) in [-1, 1].
        feature: Index of the feature.

    Returns:
        A tensor of the shape of ``images``, 0 for images that do not excite the feature.

    Raises:
        ValueError: If the layer has no such feature.
    """
    captured: list[Tensor] = []

    def guide(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        guided: Tensor = _Guided.apply(inputs[0], output.detach())
        return guided

    def capture(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        captured.append(output)

    modes = {module: module.training for module in network.modules()}
    hooks = [
        m.register_forward_hook(guide) for m in network.modules() if isinstance(m, nn.ReLU | nn.LeakyReLU)
    ]
    hooks.append(layer.register_forward_hook(capture))
    try:
        network.eval()
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            network(images)
            if not captured:
                raise ValueError("layer is not used by network: give one of its own modules")
            maps = captured[0]
            if not 0 <= feature < maps.shape[1]:
                raise ValueError(f"feature={feature}: the layer has {maps.shape[1]}, count from 0")
            best = maps[:, feature].flatten(1).amax(1)
            (views,) = torch.autograd.grad(best.sum(), images)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return views.detach()
