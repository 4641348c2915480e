"""Diversity: how different do two generated images look, by LPIPS (Zhang et al. 2018, arXiv 1801.03924)?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lightning_gans import checks
from lightning_gans.metrics.states import KeptImages, check_images

Net = Literal["alex", "vgg", "squeeze"]
# The names in messages, by the names that LPIPS uses.
BACKBONES = {"alex": "AlexNet", "vgg": "VGG16", "squeeze": "SqueezeNet1_1"}
SMALLEST = 32  # smaller images are reduced to no pixel by these networks


class LPIPSDiversity(KeptImages):
    """Mean perceptual distance (LPIPS) of two generated images: 0 if all are the same.

    The samples of the ``num_samples`` lowest numbers (``order``) are kept as bytes, and every process gets
    those of all (12 MB for 1000 images of 64x64). ``compute`` draws pairs of them with its own seed. Values
    depend on network and resolution: report both.

    Args:
        num_samples: Samples to draw pairs from.
        num_pairs: Number of different pairs; all pairs, if there are fewer.
        net: Network of torchvision whose weights are fetched at the first ``compute``, or a module that makes
            n distances of two batches of images (n, 3, H, W) in [-1, 1].
        resize: Height and width that images are resized to; by default they keep theirs.
        batch_size: Pairs at a time.
        seed: Seed of the pairs.

    Raises:
        ValueError: If an argument is not positive, or net is unknown.
    """

    higher_is_better = True
    scores: tuple[str, ...] = ("lpips",)
    sides = ("fake",)

    def __init__(
        self,
        num_samples: int = 1000,
        num_pairs: int = 2000,
        net: Net | nn.Module = "alex",
        resize: int | None = None,
        batch_size: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__()
        checks.at_least(2, num_samples=num_samples)
        checks.at_least(1, num_pairs=num_pairs, resize=resize, batch_size=batch_size)
        checks.at_least(0, seed=seed)
        if not isinstance(net, nn.Module):
            checks.one_of([*BACKBONES, "or a module"], net=net)
        self.num_samples, self.num_pairs, self.seed = num_samples, num_pairs, seed
        self.net = net.eval() if isinstance(net, nn.Module) else net
        self.resize, self.batch_size = resize, batch_size

    def most(self, side: str) -> int:
        """Return how many samples are used at most."""
        return self.num_samples

    def update(self, images: Tensor, order: Tensor) -> None:
        """Add generated images, uint8 (n, 1 or 3, H, W), and numbers (n,) that sort them."""
        self._keep(images, order)

    def _keep(self, images: Tensor, order: Tensor, **more: Tensor) -> None:
        check_images(images, "LPIPS")
        if isinstance(self.net, str) and self.resize is None and min(images.shape[2:]) < SMALLEST:
            raise ValueError(
                f"images of {tuple(images.shape[2:])} pixels are too small for LPIPS: give resize=64"
            )
        self.keep(images, order, "fake", **more)

    def compute(self) -> dict[str, Tensor]:
        """Return ``lpips``, the mean distance of the pairs, float64."""
        return {"lpips": self._diversity(self.kept("fake")[1], self.seed)}

    def _diversity(self, images: Tensor, *seed: int) -> Tensor:
        if not isinstance(self.net, nn.Module):
            self.net = lpips_network(self.net)
        net = self.net.to(images.device)
        return lpips_diversity(images, net, self.num_pairs, self.resize, self.batch_size, seed)


class PerClassLPIPSDiversity(LPIPSDiversity):
    """Mean perceptual distance (LPIPS) of two generated images of the same class.

    As :class:`LPIPSDiversity`, with ``num_pairs`` pairs of each class, so that differences
    between the classes do not count. Classes with fewer than two samples are skipped.

    Args:
        num_classes: Number of classes; an evaluation fills in the game's.
        num_samples: Samples to draw pairs from.
        num_pairs: Pairs of each class.
        net: As for :class:`LPIPSDiversity`.
        **kwargs: Other arguments of :class:`LPIPSDiversity`.
    """

    scores = ("class_lpips", "class_lpips_classes", "lpips_per_class")
    fake_labels: list[Tensor]

    def __init__(
        self,
        num_classes: int | None = None,
        num_samples: int = 1000,
        num_pairs: int = 200,
        net: Net | nn.Module = "alex",
        **kwargs: Any,
    ) -> None:
        super().__init__(num_samples, num_pairs, net, **kwargs)
        checks.at_least(1, num_classes=num_classes)
        self.num_classes, self._open = num_classes or 0, num_classes is None

    def fill_in(self, data: Any, num_classes: int | None, num_samples: int | None) -> None:
        """Take the number of classes, unless it was given."""
        if self._open and num_classes is not None:
            self.num_classes = num_classes

    def update(self, images: Tensor, labels: Tensor, order: Tensor) -> None:  # type: ignore[override]
        """Add generated images, uint8 (n, C, H, W), their classes (n,), and numbers (n,) that sort them."""
        checks.labels(self.num_classes, labels=labels)
        checks.shaped((len(images),), labels=labels)
        self._keep(images, order, labels=labels)

    def rows(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the states' types: numbers, images and labels."""
        return {**super().rows(shape), "fake_labels": torch.empty(0, dtype=torch.int64)}

    def compute(self) -> dict[str, Tensor]:
        """Return the mean over classes.

        Returns:
            ``class_lpips``: mean of the classes' means. ``class_lpips_classes``: number of classes with two
            samples or more. ``lpips_per_class`` (num_classes,): nan for the others. Float64.

        Raises:
            ValueError: If no class has two samples, or a sample came twice.
        """
        _, images, labels = self.kept("fake")
        means = torch.full((self.num_classes,), torch.nan, dtype=torch.float64, device=images.device)
        for label in range(self.num_classes):
            members = images[labels == label]
            if len(members) > 1:
                means[label] = self._diversity(members, self.seed, label)
        if means.isnan().all():
            raise ValueError("no class has two samples: give more samples")
        used = means.isfinite().sum().double()
        return {"class_lpips": means.nanmean(), "class_lpips_classes": used, "lpips_per_class": means}


@torch.no_grad()
def lpips_diversity(
    images: Tensor,
    net: nn.Module,
    num_pairs: int = 2000,
    resize: int | None = None,
    batch_size: int = 50,
    seed: int | Sequence[int] = 0,
) -> Tensor:
    """Return the mean distance of pairs of images; the function behind :class:`LPIPSDiversity`.

    Args:
        images: uint8 (n, C, H, W) of one or three channels.
        net: Makes n distances of two batches of images (n, 3, H, W) in [-1, 1]; see :func:`lpips_network`.
        num_pairs: Number of different pairs; all pairs, if there are fewer.
        resize: Height and width that images are resized to.
        batch_size: Pairs at a time.
        seed: Seed of the pairs.

    Returns:
        Float64 scalar.

    Raises:
        ValueError: If images are not bytes or fewer than two, or an argument is not positive.
    """
    checks.at_least(1, num_pairs=num_pairs, resize=resize, batch_size=batch_size)
    check_images(images, "LPIPS")
    if len(images) < 2:
        raise ValueError(f"{len(images)} images have no pair: give at least two")
    pairs = draw_pairs(len(images), num_pairs, seed).to(images.device)
    total = torch.zeros((), dtype=torch.float64, device=images.device)
    for part in pairs.split(batch_size):
        values = images[part.T.flatten()].expand(-1, 3, -1, -1).float()
        if resize is not None and values.shape[2:] != (resize, resize):
            values = interpolate(values, (resize, resize), mode="bilinear", antialias=True)
        first, second = (values / 127.5 - 1).chunk(2)
        with torch.autocast(images.device.type, enabled=False):
            distances = net(first, second).flatten()
        if len(distances) != len(part) or not distances.isfinite().all():
            raise ValueError(f"net made {len(distances)} distances of {len(part)} pairs, or some not finite")
        total += distances.sum(dtype=torch.float64)
    return total / len(pairs)


def lpips_network(net: Net = "alex") -> nn.Module:
    """Return LPIPS with a network of torchvision, whose weights are downloaded once.

    Raises:
        OSError: If they cannot be downloaded.
    """
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        with torch.random.fork_rng():  # layers draw random numbers before their weights are loaded
            module = LearnedPerceptualImagePatchSimilarity(net_type=net).net
    except (URLError, OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise OSError(
            f"LPIPS needs torchvision's weights of {BACKBONES[net]}, which cannot be downloaded ({error}): "
            f"put their file into {folder}, or give a module as net"
        ) from error
    assert isinstance(module, nn.Module)
    return module.eval()


def draw_pairs(n: int, num_pairs: int, seed: int | Sequence[int]) -> Tensor:
    """Draw different pairs (m, 2) of the numbers below n, the lower one first, m at most ``num_pairs``."""
    total = n * (n - 1) // 2
    if total <= num_pairs:
        codes = np.arange(total)
    else:
        codes = np.sort(np.random.default_rng(seed).choice(total, num_pairs, replace=False))
    # Pairs by their higher member h: it has h lower ones, which begin at code h (h - 1) / 2.
    high = ((1 + np.sqrt(1 + 8 * codes.astype(np.float64))) // 2).astype(np.int64)
    return torch.from_numpy(np.stack([codes - high * (high - 1) // 2, high], 1))
