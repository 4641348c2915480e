"""A schedule that lets the generator's loss decide who moves."""

import math
from typing import Literal

from torch import nn

from lightning_gans.networks.rebuild import Rebuildable


class Threshold(Rebuildable, nn.Module):
    """Who moves next, decided by the generator's loss: the schedule of DeLiGAN's released code.

    On each batch the players make ``moves`` moves. Before each the generator's loss is looked at: above t the
    generator moves, otherwise the discriminator. t adapts, before each batch: it rises after many moves of
    the generator, and falls after many of the discriminator. (log 2 = 0.693 is the loss where D = 1/2.)

    Args:
        moves: Moves on each batch.
        start: t at the start, which it never exceeds.
        floor: What t never falls below.
        rise: What is added to t.
        fall: What is taken from it.
        counting: What is counted, +1 for the generator and -1 for the discriminator: the ``consecutive``
            moves of one player (images), or the ``net`` number of moves since t last changed (points).
        generator_limit: t rises when the count is above this.
        discriminator_limit: t falls when the count is below minus this.
        extra_step: Each rise is followed by a discriminator step at half the learning rate (sketches).

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        moves: int = 5,
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
        if not isinstance(moves, int) or moves < 1:
            raise ValueError(f"moves={moves}: somebody has to move, give an integer of 1 or more")
        if not 0 < floor <= start < math.inf:
            raise ValueError(f"floor={floor} and start={start}: t falls from start to floor, above 0")
        if counting not in ("consecutive", "net"):
            raise ValueError(f"counting={counting!r} is unknown: use consecutive or net")
        for name, value in (
            ("rise", rise),
            ("fall", fall),
            ("generator_limit", generator_limit),
            ("discriminator_limit", discriminator_limit),
        ):
            if not value >= 0:
                raise ValueError(f"{name}={value} must not be negative")
        self.moves, self.start, self.floor, self.rise, self.fall = moves, start, floor, rise, fall
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

    def generator_moves(self, loss: float) -> bool:
        """Decide by the generator's loss whether it is to move, and count the move."""
        move = 1 if loss > self.threshold else -1
        if self.counting == "consecutive" and self.count * move < 0:
            self.count = 0
        self.count += move
        return move > 0
