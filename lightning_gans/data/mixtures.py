"""Gaussian mixtures in two and three dimensions, on which lost modes can be counted."""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.data.base import DataModule, Split, image_key

Layout = Literal["ring", "grid", "random_grid", "cube", "grid9", "single", "pair"]
_STD = {"ring": 0.01, "grid": 0.05, "cube": 0.05, "grid9": math.sqrt(0.05), "single": 0.3, "pair": 0.15}
_THREE = [-2, 0, 2]
_LATTICES = {"grid": ([-4, -2, 0, 2, 4], 2), "cube": (_THREE, 3), "grid9": (_THREE, 2), "single": ([0], 2)}
_TEST_SAMPLES = 10_000


class GaussianMixtures(DataModule):
    """Samples of a mixture of equally likely Gaussians; the label is the component.

    ============= ===== ============================================ ==================================
    layout        modes means                                        standard deviation
    ============= ===== ============================================ ==================================
    `ring`        8     radius 1, angles 2 pi i / 8                  0.01 (Unrolled GAN's notebook)
    `grid`        25    {-4, -2, 0, 2, 4}^2                          0.05 (VEEGAN, PacGAN)
    `random_grid` 25    uniform in [-4, 4]^2, at least 1 apart       0.03 to 0.12 an axis, any rotation
    `cube`        27    {-2, 0, 2}^3                                 0.05
    `grid9`       9     {-2, 0, 2}^2                                 variance 0.05 (RealnessGAN)
    `single`      1     0                                            0.3 (DeLiGAN, 400 samples)
    `pair`        2     (0.6, 0.6) and (-0.6, -0.6)                  0.15 (DeLiGAN, 400 samples)
    ============= ===== ============================================ ==================================

    The sets of DIWGAN's, RealnessGAN's and DeLiGAN's toy experiments. Their geometry does not depend on
    ``seed``, only the samples do. The test split has 10,000 samples of its own.

    Args:
        layout: One of the above.
        samples: Number of training samples.
        std: Standard deviation of every component. None: the layout's own.
        batch_size: Samples a training batch and rank.
        **kwargs: Arguments of :class:`~lightning_gans.data.base.DataModule`.

    Attributes:
        means: (K, d) float32.
        covariances: (K, d, d) float32.

    Raises:
        ValueError: If an argument does not fit; one line that says what to do.
    """

    def __init__(
        self,
        layout: Layout = "ring",
        samples: int = 100_000,
        std: float | None = None,
        batch_size: int = 256,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **kwargs)
        checks.one_of(get_args(Layout), layout=layout)
        checks.at_least(1, samples=samples)
        checks.positive(std=std)
        if self.flip:
            raise ValueError("flip=True is for images: leave it out for GaussianMixtures")
        means, scales = _geometry(layout)
        if std is not None:
            scales = std * torch.eye(means.shape[1], dtype=torch.float64).expand_as(scales)
        self.samples = samples
        self.means = means.float()
        self.covariances = (scales @ scales.mT).float()
        self._exact = means, scales
        self.num_classes = len(means)
        self.image_shape = (means.shape[1],)
        self.class_names = tuple(f"mode {k}" for k in range(len(means)))

    def load(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return float32 (N, d) and the component of each sample, int64 (N,)."""
        means, scales = self._exact
        training = split == "train"
        rng = torch.Generator().manual_seed(2 * self.seed + (not training))
        size = self.samples if training else _TEST_SAMPLES
        labels = torch.randint(len(means), (size,), generator=rng)
        noise = torch.randn(size, means.shape[1], 1, dtype=torch.float64, generator=rng)
        return (means[labels] + (scales[labels] @ noise).squeeze(-1)).float(), labels

    def real_images(
        self, split: Literal["train", "test"], size: int | None = None
    ) -> tuple[Tensor, Tensor, dict[str, str]]:
        """Return the samples of a split for an evaluation; needs no ``setup``.

        Args:
            split: The split; of ``train`` the samples that the arguments choose.
            size: None; samples have no size.

        Returns:
            float32 (N, d); int64 labels (N,); and a key that identifies these samples.
        """
        samples, labels = self.load(split)
        if split == "train":
            _, kept, labels = self._choose(labels)
            samples = samples[kept]
        return samples, labels, image_key(type(self).__name__, split, samples, labels)


def _geometry(layout: Layout) -> tuple[Tensor, Tensor]:
    """Return means (K, d) and matrices A (K, d, d) in float64; component k is ``mean_k + A_k N(0, I)``."""
    if layout == "random_grid":
        return _random_grid()
    if layout == "ring":
        angles = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
        means = torch.stack([angles.cos(), angles.sin()], dim=1)
    elif layout == "pair":
        means = torch.tensor([[0.6, 0.6], [-0.6, -0.6]], dtype=torch.float64)
    else:
        values, dim = _LATTICES[layout]
        means = torch.cartesian_prod(*[torch.tensor(values, dtype=torch.float64)] * dim)
    size, dim = means.shape
    return means, _STD[layout] * torch.eye(dim, dtype=torch.float64).expand(size, dim, dim)


def _random_grid() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, dtype=torch.float64, generator=rng)

    means = uniform(-4, 4, 1, 2)
    while len(means) < 25:
        candidate = uniform(-4, 4, 1, 2)
        if torch.cdist(candidate, means).min() >= 1:
            means = torch.cat([means, candidate])
    angle = uniform(0, math.pi, 25)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(25, 2, 2)
    return means, rotation @ torch.diag_embed(uniform(0.03, 0.12, 25, 2))
