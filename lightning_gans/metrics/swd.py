"""Sliced Wasserstein distance of image patches, scale by scale (Karras et al. 2018, arXiv 1710.10196).

Written from the description of the protocol.
"""

import warnings
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from lightning_gans.checks import at_least
from lightning_gans.metrics.states import KeptImages, check_images

SIDE = 7
"""Height and width of a patch."""
COARSEST = 16
"""The pyramid ends before an image would become smaller than this."""
IMAGES, DIRECTIONS = 64, 16  # images processed at a time


class SWD(KeptImages):
    """Distance between the patches of real and of generated images at every scale, times 1000.

    Each image is split into a Laplacian pyramid, halved as long as it does not get smaller than 16 pixels.
    From each level of each image 128 patches of 7x7 pixels are cut at random places; they are centred and
    scaled channel by channel, real and generated ones by their own statistics; then both sets are projected
    on 512 random directions, and the distance is the mean difference of the sorted projections.
    Grey images are repeated to three channels.

    Values depend on the number of images: the distance of real images from other real ones is the floor.
    The paper has 16,384 of each, 8,192 during training. Of more than ``num_images`` those of the lowest
    numbers (``order``) are compared, and as many as the smaller side has.

    Memory: the images are kept as bytes (100 MB for 8,192 of 64x64 a side; every process gets those of all).
    ``compute`` needs about twice that again for copies, and num_images * patches * 1200 bytes (1.3 GB for
    8,192) whatever the resolution, because it goes level by level. It takes two CPU minutes at 64x64.

    Places of patches follow from ``seed`` and the image's rank by number, directions from ``seed``: no other
    random numbers are touched, and the score is the same however the images are spread over processes.

    Args:
        num_images: Images of each side.
        patches: Patches of an image and level.
        directions: Directions of projection in all; the paper averages four times 128.
        seed: Seed of patches and directions.

    Raises:
        ValueError: If an argument is not positive.
    """

    higher_is_better = False
    scores = ("swd", "swd_[0-9]*")

    def __init__(
        self, num_images: int = 8192, patches: int = 128, directions: int = 512, seed: int = 0
    ) -> None:
        super().__init__()
        _check_arguments(patches, directions, seed)
        at_least(2, num_images=num_images)
        self.num_images = num_images
        self.patches = patches
        self.directions = directions
        self.seed = seed

    def update(self, images: Tensor, order: Tensor, real: bool) -> None:
        """Add images, uint8 (n, C, H, W) of one or three channels, and numbers (n,) that sort them."""
        check_images(images, "SWD", COARSEST)
        self.keep(images, order, "real" if real else "fake")

    def most(self, side: str) -> int:
        """Return how many images of a side are compared at most."""
        return self.num_images

    def compute(self) -> dict[str, Tensor]:
        """Return the scores that :func:`sliced_wasserstein` describes."""
        real, fake = self.kept("real")[1], self.kept("fake")[1]
        if len(real) != len(fake):
            n = min(len(real), len(fake))
            warnings.warn(
                f"SWD has {len(real)} real and {len(fake)} generated images: it compares {n} of each",
                stacklevel=2,
            )
            real, fake = real[:n], fake[:n]
        return sliced_wasserstein(real, fake, self.patches, self.directions, self.seed)


@torch.no_grad()
def sliced_wasserstein(
    real: Tensor,
    fake: Tensor,
    patches: int = 128,
    directions: int = 512,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Compare equally many real and generated images; the function behind :class:`SWD`.

    Args:
        real: uint8 (n, C, H, W) of one or three channels.
        fake: As many of the same shape.
        patches: Patches of an image and level.
        directions: Directions of projection.
        seed: Seed of patches and directions.

    Returns:
        ``swd_64``, ``swd_32``, ``swd_16``: distance at the level of that height, times 1000. ``swd``: their
        mean. 0 only for equal patches; float64.

    Raises:
        ValueError: If images are not bytes, smaller than 16 pixels, or of different number or shape.
    """
    _check_arguments(patches, directions, seed)
    for images in (real, fake):
        check_images(images, "SWD", COARSEST)
    if len(real) != len(fake) or len(real) < 2:
        raise ValueError(f"{len(real)} real and {len(fake)} generated images: give as many, two at least")
    if real.shape[2:] != fake.shape[2:]:
        raise ValueError(
            f"real images have {tuple(real.shape[2:])} pixels, generated ones {tuple(fake.shape[2:])}"
        )
    index = torch.arange(len(real))

    def distance(level: int) -> float:
        """Return the mean distance of the sorted projections at one level; its patches are freed then."""
        sets = [
            _descriptors(images, index, level, patches, seed, real=side == 0)
            for side, images in enumerate((real, fake))
        ]
        rays = random_directions(level, sets[0].shape[1], directions, seed).to(real.device)
        total = 0.0
        for few in rays.split(DIRECTIONS):
            first, second = (_sorted(few @ descriptors.T) for descriptors in sets)
            total += first.sub_(second).abs_().mean(1, dtype=torch.float64).sum().item()
        return total / directions

    scores: dict[str, Tensor] = {}
    height, width = real.shape[2:]
    while min(height, width) >= COARSEST:
        scores[f"swd_{height}"] = torch.tensor(1000 * distance(len(scores)), dtype=torch.float64)
        height, width = (height + 1) // 2, (width + 1) // 2
    scores["swd"] = torch.stack(list(scores.values())).mean()
    return {name: score.to(real.device) for name, score in scores.items()}


def patch_centres(
    index: Tensor, level: int, size: tuple[int, int], patches: int, seed: int, real: bool
) -> Tensor:
    """Return the centres (n, patches, 2), as row and column, of the patches of images.

    They follow from seed and place of each image, so that its rank does not matter.
    """
    draws = [
        np.random.default_rng([seed, real, level, place]).random((patches, 2)) for place in index.tolist()
    ]
    room = np.array(size) - (SIDE - 1)
    return torch.from_numpy((np.array(draws) * room).astype(np.int64) + SIDE // 2)


def random_directions(level: int, dim: int, directions: int, seed: int) -> Tensor:
    """Return unit vectors (directions, dim), float32."""
    draws = np.random.default_rng([seed, 2, level]).standard_normal((directions, dim))
    return torch.from_numpy(draws / np.linalg.norm(draws, axis=1, keepdims=True)).float()


def _check_arguments(patches: int, directions: int, seed: int) -> None:
    at_least(1, patches=patches, directions=directions)
    at_least(0, seed=seed)


def _descriptors(images: Tensor, index: Tensor, level: int, patches: int, seed: int, real: bool) -> Tensor:
    """Return the patches of one level, centred and scaled by channel, float32 (n * patches, 147)."""
    found = torch.empty(len(images) * patches, 3, SIDE * SIDE, device=images.device)
    around = torch.arange(SIDE, device=images.device) - SIDE // 2
    start = 0
    for part, places in zip(images.split(IMAGES), index.split(IMAGES), strict=True):
        values = _laplacian(part.expand(-1, 3, -1, -1).float(), level)
        size = (values.shape[2], values.shape[3])
        centres = patch_centres(places, level, size, patches, seed, real).to(images.device)
        rows, columns = (centres[..., axis, None] + around for axis in (0, 1))  # (n, patches, 7)
        which = torch.arange(len(part), device=images.device)[:, None, None, None]
        cut = values.permute(0, 2, 3, 1)[which, rows[..., :, None], columns[..., None, :]]
        stop = start + len(part) * patches
        found[start:stop] = cut.flatten(0, 1).flatten(1, 2).transpose(1, 2)
        start = stop
    numbers = len(found) * SIDE * SIDE
    parts = found.split(1 << 16)  # in parts: a float64 copy of all would need most of the memory
    found -= (_total(part.double() for part in parts) / numbers).float()
    deviation = (_total(part.double().square() for part in parts) / numbers).sqrt()
    # Patches without any variance, as of a collapsed generator's grey images, stay zero.
    found /= deviation.clamp(min=1e-6).float()
    return found.flatten(1)


def _total(parts: Iterable[Tensor]) -> Tensor:
    """Return the sum of each channel over all patches (n, 3, 49), as (1, 3, 1)."""
    return torch.stack([part.sum((0, 2), keepdim=True) for part in parts]).sum(0)


def _laplacian(images: Tensor, level: int) -> Tensor:
    """Return one level of the pyramid of (n, C, H, W): differences, or means at the coarsest level."""
    for _ in range(level):
        images = _blur(images)[:, :, ::2, ::2]
    if (min(images.shape[2:]) + 1) // 2 < COARSEST:
        return images
    enlarged = torch.zeros_like(images)
    enlarged[:, :, ::2, ::2] = _blur(images)[:, :, ::2, ::2]
    return images - _blur(enlarged) * 4  # because three of four pixels are zero


def _blur(images: Tensor) -> Tensor:
    """Smooth with binomial weights 1 4 6 4 1, mirrored at the border."""
    weights = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16
    flat = pad(images, (2, 2, 2, 2), mode="reflect").flatten(0, 1)[:, None]
    flat = conv2d(conv2d(flat, weights.view(1, 1, 5, 1)), weights.view(1, 1, 1, 5))
    return flat.view_as(images)


def _sorted(values: Tensor) -> Tensor:
    """Sort each row; NumPy does so in an eighth of torch's time on a CPU."""
    if values.device.type == "cpu":
        array = values.numpy()
        array.sort(axis=1)
        return values
    return values.sort(dim=1).values
