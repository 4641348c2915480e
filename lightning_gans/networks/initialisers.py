"""The papers' initial weights. Each function changes a network in place and returns nothing."""

import math

from torch import Tensor, nn


def uniform_(network: nn.Module, bound: float) -> None:
    """Draw the weights of all linear and convolution layers from U(-bound, bound); biases become 0.

    This is pylearn2's ``irange``, of the GAN paper's released code: 0.05 in G, 0.005 in D.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def normal_(network: nn.Module, std: float = 0.02, norms: bool = True) -> None:
    """Draw weights from N(0, std), gains of batch and instance norms from N(1, std); biases become 0.

    This is the DCGAN paper's (arXiv 1511.06434, section 4), with std 0.02. Layer norms keep a gain of 1,
    and without ``norms`` all.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif (
            isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm2d) and layer.affine and norms
        ):
            nn.init.normal_(layer.weight, 1.0, std)
            nn.init.zeros_(layer.bias)


def fan_average_uniform_(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, gain: float) -> None:
    """Draw weights from the uniform distribution with variance gain / (fan_in + fan_out); the bias becomes 0.

    This is WGAN-GP's (arXiv 1704.00028), from its released code: gain 4 for layers around a rectifier, 2 for
    shortcuts, first and last layers. A stride divides the fan on its strided side by stride squared.
    """
    if isinstance(layer, nn.Linear):
        fans: float = layer.in_features + layer.out_features
    else:
        taps, strided = math.prod(layer.kernel_size), math.prod(layer.stride)
        fan_in, fan_out = layer.in_channels * taps, layer.out_channels * taps
        fans = fan_in / strided + fan_out if layer.transposed else fan_in + fan_out / strided
    bound = math.sqrt(3 * gain / fans)
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def logit_of_mean(mean: Tensor, margin: float = 1e-3) -> Tensor:
    """Return the bias b with sigmoid(b) = mean, for a generator that starts at the mean image (GAN's code).

    Args:
        mean: The mean of every pixel of the training set, in [0, 1].
        margin: The mean is kept this far from 0 and 1, where the bias is infinite.
    """
    return mean.clamp(margin, 1 - margin).logit()
