"""The schedule of DeLiGAN: the generator's loss decides which player is updated."""

import math
from typing import Literal

from torch import nn

from lightning_gans import checks
from lightning_gans.networks.rebuild import Rebuildable


class Threshold(Rebuildable, nn.Module):
    """Which player is updated next, by the generator's loss: the schedule of DeLiGAN's released code.

    Each batch serves ``updates`` updates. Before each the generator's loss is computed: above t the generator
    is updated, otherwise the discriminator. t adapts, before each batch: it rises after many updates of the
    generator, and falls after many of the discriminator. (log 2 = 0.693 is the loss where D = 1/2.) Updates
    of the generator beyond ``trainer.max_steps`` are left out: a run that is given more later differs
    from one in one go.

    Args:
        updates: Updates on each batch.
        start: t at the start, which it never exceeds.
        floor: What t never falls below.
        rise: What is added to t.
        fall: What is taken from it.
        counting: What is counted, +1 for the generator and -1 for the discriminator: the ``consecutive``
            updates of one player (images), or the ``net`` number since t last changed (points).
        generator_limit: t rises when the count is above this.
        discriminator_limit: t falls when the count is below minus this.
        extra_step: Each rise is followed by a discriminator step at half the learning rate (sketches).

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        updates: int = 5,
        start: float = 1.0,
        floor: float = 0.7,
        rise: float = 0.003,
        fall: float = 0.003,
        counting: Literal["consecutive", "net"] = "consecutive",
        generator_limit: int = 3,
        discriminator_limit: int = 1,
        extra_step: bool = False,
    ) -> None:
        super().__init__()
        checks.at_least(1, updates=updates)
        if not 0 < floor <= start < math.inf:
            raise ValueError(f"floor={floor} and start={start}: t falls from start to floor, above 0")
        checks.one_of(("consecutive", "net"), counting=counting)
        limits = {"generator_limit": generator_limit, "discriminator_limit": discriminator_limit}
        checks.within("[0, inf)", rise=rise, fall=fall, **limits)
        self.updates, self.start, self.floor, self.rise, self.fall = updates, start, floor, rise, fall
        self.counting, self.extra_step = counting, extra_step
        self.generator_limit, self.discriminator_limit = generator_limit, discriminator_limit
        self.threshold, self.count = start, 0

    def adapt(self) -> bool:
        """Change t if it is time to; return whether it rose, or would have."""
        if self.count > self.generator_limit:
            self.threshold, self.count = min(self.threshold + self.rise, self.start), 0
            return True
        if self.count < -self.discriminator_limit and self.threshold > self.floor:
            self.threshold, self.count = max(self.threshold - self.fall, self.floor), 0
        return False

    def chooses_generator(self, loss: float) -> bool:
        """Decide by the generator's loss whether it is updated next, and count that."""
        chosen = 1 if loss > self.threshold else -1
        if self.counting == "consecutive" and self.count * chosen < 0:
            self.count = 0
        self.count += chosen
        return chosen > 0
