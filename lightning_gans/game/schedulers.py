"""torch's learning-rate schedulers whose numbers are keys of a recipe.

The game's ``scheduler_interval`` says whether they count generator updates or epochs.
"""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class LinearDecay(LRScheduler):
    """A constant learning rate that falls linearly to 0 from ``start`` to ``end``.

    DeLiGAN's (released code): epochs 1000 to 4000 for MNIST, 800 to 1200 for CIFAR-10, 2600 to 3900 for
    sketches. CycleGAN's and pix2pix's (the authors' PyTorch code): 99 to 200; the last of 200 epochs has
    1/101.

    Args:
        optimizer: Whose learning rates.
        start: The last update or epoch, counted from 0, with the whole learning rate.
        end: The first one with none.

    Raises:
        ValueError: Unless ``0 <= start < end``.
    """

    def __init__(self, optimizer: Optimizer, start: int, end: int) -> None:
        if not 0 <= start < end:
            raise ValueError(f"start={start} and end={end}: start at 0 or later, and end after that")
        self.start, self.end = start, end
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Return the learning rate of each group of parameters."""
        share = (self.end - self.last_epoch) / (self.end - self.start)
        return [rate * min(max(share, 0.0), 1.0) for rate in self.base_lrs]
