"""Networks of DeLiGAN (Gurumurthy et al., CVPR 2017), as its released code has them.

- ``DeLiGANMNISTGenerator`` / ``DeLiGANMNISTDiscriminator``: 28 pixels.
- ``DeLiGANGenerator`` / ``DeLiGANCIFARDiscriminator``: 32 pixels.
- ``DeLiGANGenerator(width=40)`` / ``DeLiGANSketchDiscriminator``: 32 pixels, for sketches.
- Points: ``MLPGenerator(shape, 2, hidden=(32,), activation="tanh", init_range=(1.22, 0.306))``, whose range
  is TensorFlow's default of then, sqrt(3 / inputs), and the ``MLPDiscriminator`` with the same arguments.

All discriminators end in minibatch discrimination: the logit of a sample depends on the others of its batch
(of its rank), in evaluation mode too. The released code's initialisation from the first batch is left out.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lightning_gans import checks
from lightning_gans.networks import initialisers
from lightning_gans.networks.base import Discriminator, Generator, up

SLOPE = 0.2
Stages = Sequence[Sequence[tuple[int, int, int, int]]]


class MinibatchDiscrimination(nn.Module):
    """Append to features how close the rest of the batch is: (N, inputs) to (N, inputs + kernels).

    With ``m_ik = W_k f_i`` of ``kernel_dim`` numbers, whose columns of W have a learned norm:
    ``o_ik = b_k + sum_{j != i} exp(-|m_ik - m_jk|_1)`` (Salimans et al., 2016, arXiv 1606.03498).

    Args:
        inputs: Features of a sample.
        kernels: Numbers to append.
        kernel_dim: Length of the vectors that are compared.
        normalised: Divide the sums, a sample's closeness to itself among them, by the total of all of the
            batch, and leave out b, as DeLiGAN's code for MNIST does.
    """

    def __init__(self, inputs: int, kernels: int, kernel_dim: int = 5, normalised: bool = False) -> None:
        super().__init__()
        checks.at_least(1, inputs=inputs, kernels=kernels, kernel_dim=kernel_dim)
        self.normalised = normalised
        self.direction = nn.Parameter(torch.empty(inputs, kernels, kernel_dim).normal_(0, 0.05))
        self.log_norm = nn.Parameter(torch.zeros(kernels, kernel_dim))
        self.bias = None if normalised else nn.Parameter(torch.full((kernels,), -1.0))

    def forward(self, features: Tensor) -> Tensor:
        """Return the features and the closeness."""
        weights = self.direction * (self.log_norm.exp() / self.direction.norm(dim=0))
        # Differences of bfloat16 products would be noise.
        with torch.autocast(features.device.type, enabled=False):
            vectors = torch.einsum("nf,fkd->nkd", features.to(weights.dtype), weights)
            closeness = (-(vectors[:, None] - vectors[None]).abs().sum(3)).exp()  # (N, N, kernels)
            sums = closeness.sum(1)
            # A sample's closeness to itself is 1.
            sums = sums / sums.sum() if self.bias is None else sums - 1 + self.bias
        return torch.cat([features, sums.to(features.dtype)], 1)


class GaussianNoise(nn.Module):
    """Add N(0, std^2) in training."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, images: Tensor) -> Tensor:
        """Return the noisy images."""
        return images + self.std * torch.randn_like(images) if self.training else images


class _Bias(nn.Module):
    """A bias for each channel, after a batch norm without gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, values: Tensor) -> Tensor:
        return values + self.bias.view(-1, *[1] * (values.dim() - 2))


class DeLiGANMNISTGenerator(Generator):
    """Generator of 28x28 images: latents (N, latent_dim) to images in [-1, 1].

    Linear to 4x4 pixels, three transposed convolutions, batch norm and ReLU between them. Weights from
    N(0, 0.02), those of the linear layer from U(-b, b) with b = sqrt(3 / latent_dim), which was TensorFlow's
    default. Source: the released code for MNIST.

    Args:
        image_shape: (channels, 28, 28).
        latent_dim: Numbers in a latent.
        width: Channels of the last hidden layer.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int = 30, width: int = 16) -> None:
        channels, _ = checks.square_image(image_shape, (28,))
        checks.at_least(1, latent_dim=latent_dim, width=width)
        units = 4 * width * 16
        layers: list[nn.Module] = [nn.Linear(latent_dim, units), nn.BatchNorm1d(units), nn.ReLU()]
        layers += [nn.Unflatten(1, (4 * width, 4, 4)), nn.ConvTranspose2d(4 * width, 2 * width, 3, 2, 1)]
        layers += [nn.BatchNorm2d(2 * width), nn.ReLU(), up(2 * width, width)]  # 7x7 pixels, then 14x14
        layers += [nn.BatchNorm2d(width), nn.ReLU(), up(width, channels), nn.Tanh()]
        super().__init__(latent_dim, *layers)
        initialisers.normal_(self)
        initialisers.uniform_(layers[0], math.sqrt(3 / latent_dim))


class DeLiGANGenerator(Generator):
    """Generator of 32x32 images: latents (N, latent_dim) to images in [-1, 1].

    Linear to 4x4 pixels, three 5x5 transposed convolutions; batch norm without gain and ReLU between them,
    weight norm in the last. Weights from N(0, 0.05). Source: the released code for CIFAR-10 and sketches.

    Args:
        image_shape: (channels, 32, 32).
        latent_dim: Numbers in a latent.
        width: Channels of the last hidden layer: 128 for CIFAR-10, 40 for sketches.

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets latents of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], latent_dim: int = 100, width: int = 128) -> None:
        channels, _ = checks.square_image(image_shape, (32,))
        checks.at_least(1, latent_dim=latent_dim, width=width)
        units = 4 * width * 16
        norm: nn.Module = nn.BatchNorm1d(units, 1e-6, affine=False)
        layers: list[nn.Module] = [nn.Linear(latent_dim, units, bias=False), norm, _Bias(units), nn.ReLU()]
        layers.append(nn.Unflatten(1, (4 * width, 4, 4)))
        for maps in (2 * width, width):
            norm = nn.BatchNorm2d(maps, 1e-6, affine=False)
            layers += [up(2 * maps, maps, bias=False), norm, _Bias(maps), nn.ReLU()]
        last = up(width, channels)
        super().__init__(latent_dim, *layers, last, nn.Tanh())
        initialisers.normal_(self, 0.05)
        weight_norm(last, dim=1)


class DeLiGANMNISTDiscriminator(Discriminator):
    """Discriminator of 28x28 images: three convolutions, batch norm in two, maximum over pixels.

    Weights from N(0, 0.02). Source: the released code for MNIST.

    Args:
        image_shape: (channels, 28, 28).
        width: Channels of the first layer.
        outputs: Logits of an image; the result is (N,) if it is 1, else (N, outputs).

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(self, image_shape: tuple[int, ...], width: int = 16, outputs: int = 1) -> None:
        channels, _ = checks.square_image(image_shape, (28,))
        checks.at_least(1, width=width, outputs=outputs)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 5, 2, 2), nn.LeakyReLU(SLOPE)]
        for maps, kernel in ((width, 5), (2 * width, 3)):
            layers += [nn.Conv2d(maps, 2 * maps, kernel, 2, kernel // 2), nn.BatchNorm2d(2 * maps)]
            layers.append(nn.LeakyReLU(SLOPE))
        layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten()]
        closeness = MinibatchDiscrimination(4 * width, 4 * width, normalised=True)
        super().__init__(image_shape, *layers, closeness, nn.Linear(8 * width, outputs))
        initialisers.normal_(self)


def _normed(layer: nn.Module) -> nn.Module:
    """Draw the weights from N(0, 0.05) and put them under weight norm."""
    initialisers.normal_(layer, 0.05)
    weight_norm(layer)  # changes the layer
    return layer


class _WeightNormedDiscriminator(Discriminator):
    """Noise, stages of convolutions with dropout between, mean over pixels, minibatch discrimination.

    Args:
        image_shape: (channels, 32, 32).
        stages: In each, the channels, kernel, stride and padding of its convolutions.
        kernels: Numbers that minibatch discrimination appends.
        outputs: Logits of an image.
    """

    def __init__(self, image_shape: tuple[int, ...], stages: Stages, kernels: int, outputs: int) -> None:
        maps, _ = checks.square_image(image_shape, (32,))
        checks.at_least(1, width=stages[0][0][0], outputs=outputs)
        layers: list[nn.Module] = [GaussianNoise(0.2)]
        for number, stage in enumerate(stages):
            layers += [nn.Dropout(0.5)] * (number > 0)
            for channels, kernel, stride, padding in stage:
                convolution = nn.Conv2d(maps, channels, kernel, stride, padding)
                layers += [_normed(convolution), nn.LeakyReLU(SLOPE)]
                maps = channels
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), MinibatchDiscrimination(maps, kernels)]
        super().__init__(image_shape, *layers, _normed(nn.Linear(maps + kernels, outputs)))


class DeLiGANCIFARDiscriminator(_WeightNormedDiscriminator):
    """Discriminator of 32x32 images: noise on the image, nine convolutions, dropout, mean over pixels.

    Weight norm everywhere, weights from N(0, 0.05). Source: the released code for CIFAR-10, which is that of
    Improved GAN (arXiv 1606.03498).

    Args:
        image_shape: (channels, 32, 32).
        width: Channels of the first layers.
        kernels: Numbers that minibatch discrimination appends.
        outputs: Logits of an image; the result is (N,) if it is 1, else (N, outputs).

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(
        self, image_shape: tuple[int, ...], width: int = 96, kernels: int = 100, outputs: int = 1
    ) -> None:
        wide = 2 * width
        stages = (
            ((width, 3, 1, 1), (width, 3, 1, 1), (width, 3, 2, 1)),
            ((wide, 3, 1, 1), (wide, 3, 1, 1), (wide, 3, 2, 1)),
            ((wide, 3, 1, 0), (wide, 1, 1, 0), (wide, 1, 1, 0)),
        )
        super().__init__(image_shape, stages, kernels, outputs)


class DeLiGANSketchDiscriminator(_WeightNormedDiscriminator):
    """Discriminator of 32x32 sketches: noise on the image, five convolutions, dropout, mean over pixels.

    Weight norm everywhere, weights from N(0, 0.05). Source: the released code for sketches.

    Args:
        image_shape: (channels, 32, 32).
        width: Channels of the first layers.
        kernels: Numbers that minibatch discrimination appends.
        outputs: Logits of an image; the result is (N,) if it is 1, else (N, outputs).

    Raises:
        ValueError: If an argument is out of range, or ``forward`` gets images of another shape.
    """

    def __init__(
        self, image_shape: tuple[int, ...], width: int = 20, kernels: int = 50, outputs: int = 1
    ) -> None:
        stages = (
            ((width, 5, 1, 1), (width, 5, 2, 1)),
            ((2 * width, 5, 2, 1),),
            ((4 * width, 3, 2, 0), (4 * width, 1, 1, 0)),
        )
        super().__init__(image_shape, stages, kernels, outputs)
