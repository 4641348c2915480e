"""Weights for the Inception network without the official file: random ones whose features differ by image."""

import torch
from torch import nn

from lightning_gans.metrics.extractors import _empty_network


def save_random_weights(path, seed=0):
    """Save seeded weights; features have mean and deviation of order 1, probabilities are not uniform."""
    generator = torch.Generator().manual_seed(seed)
    network = _empty_network().to_empty(device="cpu")
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            fan_in = part.weight[0].numel()
            part.weight.data.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        elif isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.8, 1.2, generator=generator)
            part.bias.data.normal_(0, 0.2, generator=generator)
            part.num_batches_tracked.zero_()
            part.running_mean.zero_()
            part.running_var.fill_(1)
            part.momentum = None  # the statistics of all that it saw
            part.train()
    network.fc.weight.data.normal_(0, 0.04, generator=generator)
    network.fc.bias.data.normal_(0, 1, generator=generator)
    # Statistics of real activations: a random network this deep else gives all images the same features.
    with torch.no_grad():
        network.INPUT_IMAGE_SIZE = 139
        images = smooth_images(24, 32, generator=generator)
        network(images)
        # Logits without what all images share: the classes differ by image.
        network.INPUT_IMAGE_SIZE = 299
        shared = nn.functional.normalize(network.eval()(images[:8])[0].mean(0), dim=0)
        network.fc.weight -= torch.outer(network.fc.weight @ shared, shared)
    torch.save(network.state_dict(), path)


def smooth_images(n, size, seed=0, generator=None):
    """Colourful blobs of several scales, uint8 (n, 3, size, size)."""
    generator = generator or torch.Generator().manual_seed(seed)
    images = torch.zeros(n, 3, size, size)
    for cells in (2, 4, 8):
        noise = torch.randn(n, 3, cells, cells, generator=generator)
        images += nn.functional.interpolate(noise, (size, size), mode="bilinear")
    return (images * 40 + 128).clamp(0, 255).to(torch.uint8)
