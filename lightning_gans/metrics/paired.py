"""How far translations are from the images that they should have become, by torchmetrics."""

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from lightning_gans import checks
from lightning_gans.metrics.diversity import BACKBONES, SMALLEST, Net, lpips_network
from lightning_gans.metrics.states import check_images

WINDOW = 11  # pixels of SSIM's Gaussian, and so of the smallest image
AT_ONCE = 16  # pairs, which limits the memory


def _check_pairs(images: Tensor, targets: Tensor, name: str = "", smallest: int = 1) -> None:
    check_images(images, name, smallest)
    checks.shaped(tuple(images.shape), "uint8", targets=targets)


class L1(Metric):
    """Mean absolute difference of translations and targets, of values in [-1, 1] as in the losses: 0 to 2.

    All images together; exact, as bytes are added up.
    """

    higher_is_better = False
    full_state_update = False
    scores = ("l1",)
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, images: Tensor, targets: Tensor) -> None:
        """Add translations and their targets, uint8 (n, C, H, W)."""
        _check_pairs(images, targets)
        self.total += (images.int() - targets.int()).abs().sum()
        self.count += images.numel()

    def compute(self) -> Tensor:
        """Return the mean, float64."""
        return self.total.double() / self.count / 127.5


class PSNR(PeakSignalNoiseRatio):
    """Mean over images of the peak signal-to-noise ratio in decibels, of bytes: ``10 log10(255^2 / MSE)``.

    An image that is equal to its target has an infinite one, and so has the mean.
    """

    scores = ("psnr",)

    def __init__(self) -> None:
        super().__init__(data_range=255.0, dim=(1, 2, 3), reduction="elementwise_mean")

    def update(self, images: Tensor, targets: Tensor) -> None:
        """Add translations and their targets, uint8 (n, C, H, W)."""
        _check_pairs(images, targets)
        super().update(images.float(), targets.float())


class SSIM(StructuralSimilarityIndexMeasure):
    """Mean over images of the structural similarity (Wang et al., 2004), of bytes: 1 if all are equal.

    With the paper's Gaussian window of 11 pixels and deviation 1.5, in each channel by itself, of which the
    mean is taken.
    """

    scores = ("ssim",)

    def __init__(self) -> None:
        super().__init__(data_range=255.0, kernel_size=WINDOW, sigma=1.5)

    def update(self, images: Tensor, targets: Tensor) -> None:
        """Add translations and their targets, uint8 (n, C, H, W) of 11 pixels or more."""
        _check_pairs(images, targets, "SSIM", WINDOW)
        for pair in zip(images.split(AT_ONCE), targets.split(AT_ONCE), strict=True):
            super().update(*(part.float() for part in pair))


class LPIPS(Metric):
    """Mean perceptual distance (Zhang et al. 2018, arXiv 1801.03924) of translations and targets: 0 if equal.

    Args:
        net: Network of torchvision whose weights are fetched when it is first needed, or a module that makes
            n distances of two batches of images (n, 3, H, W) in [-1, 1].

    Raises:
        ValueError: If net is unknown.
        OSError: At the first update, if the weights are not there and cannot be downloaded.
    """

    higher_is_better = False
    full_state_update = False
    scores = ("lpips",)
    total: Tensor
    count: Tensor

    def __init__(self, net: Net | nn.Module = "alex") -> None:
        super().__init__()
        if not isinstance(net, nn.Module):
            checks.one_of([*BACKBONES, "or a module"], net=net)
        self.protocol = {"lpips_net": net if isinstance(net, str) else type(net).__name__}
        self.net: Net | nn.Module = net.eval() if isinstance(net, nn.Module) else net
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @torch.no_grad()
    def update(self, images: Tensor, targets: Tensor) -> None:
        """Add translations and their targets, uint8 (n, 1 or 3, H, W)."""
        _check_pairs(images, targets, "LPIPS", 1 if isinstance(self.net, nn.Module) else SMALLEST)
        if not isinstance(self.net, nn.Module):
            self.net = lpips_network(self.net)
        net = self.net.to(images.device)
        for pair in zip(images.split(AT_ONCE), targets.split(AT_ONCE), strict=True):
            both = (part.expand(-1, 3, -1, -1).float() / 127.5 - 1 for part in pair)
            with torch.autocast(images.device.type, enabled=False):
                self.total += net(*both).sum(dtype=torch.float64)
        self.count += len(images)

    def compute(self) -> Tensor:
        """Return the mean, float64."""
        return self.total / self.count
