"""The history of generated images from which CycleGAN's discriminators learn."""

import torch
from torch import Tensor

from lightning_gans import checks


class ImagePool:
    """Remembers generated images, and hands out older ones in place of half of the new ones.

    Of Shrivastava et al. (2017, arXiv 1612.07828, section 2.3), as CycleGAN's authors use it: while there is
    room, an image is stored and comes back. After that, with probability 1/2, it takes the place of a stored
    one, drawn at random, which comes back instead; otherwise it comes back and is not stored.

    Args:
        size: How many images it remembers; 0: none, each comes back.

    Raises:
        ValueError: If ``size`` is not a whole number of at least 0.
    """

    def __init__(self, size: int) -> None:
        checks.at_least(0, pool_size=size)
        self.size = size
        self._count = 0
        self._images = torch.empty(0)

    def __len__(self) -> int:
        """Return how many images it remembers now."""
        return self._count

    def query(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Exchange images for as many of the history, one by one.

        Args:
            images: ``(n, C, H, W)``; copies are stored, without the graph that made them.
            rng: Decides, on the device of the images.

        Returns:
            ``(n, C, H, W)`` without a graph.
        """
        images = images.detach()
        if self.size == 0:
            return images
        if self._count == 0:
            self._images = images.new_empty(self.size, *images.shape[1:])
        self._images = self._images.to(images)  # of a checkpoint, perhaps of a run in another precision
        return torch.stack([self._exchange(image, rng) for image in images])

    def _exchange(self, image: Tensor, rng: torch.Generator) -> Tensor:
        if self._count < self.size:
            self._images[self._count] = image
            self._count += 1
            return image
        # No "if" on what is drawn: to read it would make a GPU wait.
        slot = torch.randint(self.size, (1,), generator=rng, device=rng.device)
        exchanged = torch.rand((), generator=rng, device=rng.device) < 0.5
        (stored,) = self._images[slot]
        self._images[slot] = torch.where(exchanged, image, stored)
        return torch.where(exchanged, stored, image)

    def state(self) -> Tensor:
        """Return a copy of the images that it remembers, ``(n, C, H, W)``."""
        return self._images[: self._count].clone()

    def load(self, state: Tensor) -> None:
        """Go on from what :meth:`state` returned; of more images than fit, the first are kept."""
        state = state[: self.size]
        self._count = len(state)
        self._images = torch.cat([state, state.new_empty(self.size - len(state), *state.shape[1:])])
