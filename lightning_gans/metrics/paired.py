"""How far translations are from the images that they should have become."""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from lightning_gans import checks
from lightning_gans.metrics.diversity import BACKBONES, SMALLEST, Net, lpips_network
from lightning_gans.metrics.states import check_images

WINDOW = 11  # pixels of SSIM's Gaussian, and so of the smallest image
AT_ONCE = 16  # pairs, which limits the memory


class _OfPairs(Metric):
    """Mean over pairs of what :meth:`each` says of them, summed over ranks."""

    full_state_update = False
    scores: tuple[str]
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @abstractmethod
    def each(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the scores (n,) of pairs, float32 (n, C, H, W) from 0 to 255."""

    def check(self, images: Tensor) -> None:
        """Check that images, uint8 (n, C, H, W), can be scored."""

    @torch.no_grad()
    def update(self, images: Tensor, targets: Tensor) -> None:
        """Add translations and their targets, uint8 (n, C, H, W)."""
        check_images(images)
        checks.shaped(tuple(images.shape), "uint8", targets=targets)
        self.check(images)
        with torch.autocast(images.device.type, enabled=False):
            for pair in zip(images.split(AT_ONCE), targets.split(AT_ONCE), strict=True):
                self.total += self.each(*(part.float() for part in pair)).sum(dtype=torch.float64)
        self.count += len(images)

    def compute(self) -> dict[str, Tensor]:
        """Return the mean, float64, by its name."""
        return {self.scores[0]: self.total / self.count}


class L1(_OfPairs):
    """Mean absolute difference of translations and targets, of values in [-1, 1] as in the losses: 0 to 2."""

    higher_is_better = False
    scores = ("l1",)

    def each(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the differences (n,)."""
        return (images - targets).abs().mean((1, 2, 3)) / 127.5


class PSNR(_OfPairs):
    """Mean over images of the peak signal-to-noise ratio in decibels, of bytes: ``10 log10(255^2 / MSE)``.

    An image that is equal to its target has an infinite one, and so has the mean.
    """

    higher_is_better = True
    scores = ("psnr",)

    def each(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the ratios (n,)."""
        return peak_signal_noise_ratio(images, targets, 255.0, reduction="none", dim=(1, 2, 3))


class SSIM(_OfPairs):
    """Mean over images of the structural similarity (Wang et al., 2004), of bytes: 1 if all are equal.

    With the paper's Gaussian window of 11 pixels and deviation 1.5, in each channel by itself, of which the
    mean is taken. Smaller images are refused.
    """

    higher_is_better = True
    scores = ("ssim",)

    def check(self, images: Tensor) -> None:
        """Check that the window fits in."""
        check_images(images, "SSIM", WINDOW)

    def each(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the similarities (n,)."""
        found = structural_similarity_index_measure(images, targets, reduction="none", data_range=255.0)
        assert isinstance(found, Tensor)
        return found


class LPIPS(_OfPairs):
    """Mean perceptual distance (Zhang et al. 2018, arXiv 1801.03924) of translations and targets: 0 if equal.

    Args:
        net: Network of torchvision whose weights are fetched when it is first needed, or a module that makes
            n distances of two batches of images (n, 3, H, W) in [-1, 1].

    Raises:
        ValueError: If net is unknown; at the first update, if images are too small.
        OSError: At the first update, if the weights are not there and cannot be downloaded.
    """

    higher_is_better = False
    scores = ("lpips",)

    def __init__(self, net: Net | nn.Module = "alex") -> None:
        super().__init__()
        if not isinstance(net, nn.Module):
            checks.one_of([*BACKBONES, "or a module"], net=net)
        self.protocol = {"lpips_net": net if isinstance(net, str) else type(net).__name__}
        self.net: Net | nn.Module = net.eval() if isinstance(net, nn.Module) else net

    def check(self, images: Tensor) -> None:
        """Check that the images can be taken, and make the network."""
        if isinstance(self.net, nn.Module):
            check_images(images, "LPIPS")
        else:
            check_images(images, "LPIPS", SMALLEST)
            self.net = lpips_network(self.net)
        self.net.to(images.device)

    def each(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the distances (n,)."""
        assert isinstance(self.net, nn.Module)
        distances: Tensor = self.net(*(x.expand(-1, 3, -1, -1) / 127.5 - 1 for x in (images, targets)))
        return distances.flatten()
