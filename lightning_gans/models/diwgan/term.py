"""The second term of the generator's loss (Eq. 2 and 3): pairs with a real set, weighed by both sides."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.models.diwgan import weights
from lightning_gans.models.diwgan.memory import Memory
from lightning_gans.models.diwgan.pairing import Pairing, costs, start
from lightning_gans.models.diwgan.real_set import RealSet
from lightning_gans.models.diwgan.weights import GeneratorWeight, TargetWeight


@dataclass(frozen=True)
class Search:
    """Pairs that are being sought.

    Attributes:
        images: The generated samples, flat.
        codes: Their codes, with the graph that made them, ``(R, n, k)``.
        fake: The codes that are paired, ``(R, B, k)``: these, or those of all ranks.
        mine: Which of them are these.
        block: Which part of the real set they are paired with.
        costs: Distances of real codes, the rows, and generated ones, ``(R, B, B)``.
        finish: Waits for the end; see :func:`~lightning_gans.models.diwgan.pairing.start`.
    """

    images: Tensor
    codes: Tensor
    fake: Tensor
    mine: slice
    block: slice
    costs: Tensor
    finish: Callable[[], Tensor]

    def order(self) -> Tensor:
        """Return the generated code of each real one, ``(R, B)``: any where costs are not finite."""
        try:
            return self.finish()
        except ValueError:  # the loss is not finite either, by which the base stops the run on all ranks
            return torch.arange(self.costs.shape[2], device=self.costs.device).expand(self.costs.shape[:2])


@dataclass(frozen=True)
class Pairs:
    """Real samples, the generated ones that they are paired with, and what that counts.

    Attributes:
        real: ``(n, *image_shape)``.
        fake: ``(n, *image_shape)``.
        distances: Of their codes, ``(n,)``.
        real_weights: w_r, ``(n,)``.
        fake_weights: w_g, ``(n,)``.
    """

    real: Tensor
    fake: Tensor
    distances: Tensor
    real_weights: Tensor
    fake_weights: Tensor


class PairingTerm:
    """``mean (w_r w_g)^gamma |s_r - s_g|`` over pairs, and what it remembers of earlier ones.

    Args are those of :class:`~lightning_gans.models.diwgan.DIWGAN`, by the same names.

    Attributes:
        memory: There is one from the start of training on.

    Raises:
        ValueError: If an argument is out of range, or two do not fit together.
    """

    def __init__(
        self,
        gamma: float,
        past_sets: int,
        num_real: int | None,
        pairing: Pairing,
        generator_weight: GeneratorWeight,
        target_weight: TargetWeight,
        weight_clip: tuple[float, float],
        real_set: RealSet,
        bandwidth: float | None,
    ) -> None:
        checks.within("[0, inf)", gamma=gamma)
        checks.at_least(1, past_sets=past_sets, num_real=num_real)
        checks.positive(bandwidth=bandwidth)
        checks.one_of(get_args(Pairing), pairing=pairing)
        checks.one_of(get_args(GeneratorWeight), generator_weight=generator_weight)
        checks.one_of(get_args(TargetWeight), target_weight=target_weight)
        checks.one_of(get_args(RealSet), real_set=real_set)
        try:
            low, high = weight_clip
        except (TypeError, ValueError):
            low, high = math.nan, math.nan
        if not 0 <= low <= 1 <= high:
            raise ValueError(f"weight_clip={weight_clip}: weights have mean 1, give two numbers around it")
        if real_set == "kde" and bandwidth is None:
            raise ValueError("bandwidth=None: real_set=kde needs one, as Scott's is far wider than modes")
        if real_set == "redraw" and (num_real or target_weight not in ("coverage", "none")):
            raise ValueError(
                f"real_set=redraw remembers no real sample: num_real={num_real} and target_weight="
                f"{target_weight} must be None, and coverage or none"
            )
        self.gamma, self.past_sets, self.num_real = gamma, past_sets, num_real
        self.pairing: Pairing = pairing
        self.generator_weight: GeneratorWeight = generator_weight
        self.target_weight: TargetWeight = target_weight
        self.clip = low, high
        self.real_set: RealSet = real_set
        self.bandwidth = bandwidth
        self.memory: Memory | None = None

    def search(self, images: Tensor, codes: Tensor, fake: Tensor, mine: slice) -> Search:
        """Begin to pair generated codes with the part of the real set whose turn it is.

        Raises:
            ValueError: If there are not as many of both.
        """
        assert self.memory is not None
        block = self.memory.block(fake.shape[1])
        real = self.memory.codes[:, block]
        if real.shape != fake.shape:
            raise ValueError(
                f"a batch of {fake.shape[1]} is smaller than the number of pairs, or does not divide the "
                f"{self.memory.codes.shape[1]} samples of the real set: keep batches of one size"
            )
        away = costs(real, fake)
        return Search(images, codes, fake, mine, block, away, start(away, self.pairing))

    def weights(self, search: Search) -> tuple[Tensor, Tensor]:
        """Return w_r of the real codes and w_g of the generated ones, ``(R, B)`` each."""
        assert self.memory is not None
        return (
            self.memory.real_weights(search.block, self.target_weight, self.bandwidth, self.clip),
            self.memory.fake_weights(search.fake, self.generator_weight, self.bandwidth, self.clip),
        )

    def loss(self, search: Search, reporting: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the term, a scalar, and remember the pairs; and what is worth a look if ``reporting``."""
        assert self.memory is not None
        of_real, of_fake = self.weights(search)
        order = search.order()
        partner = order.argsort(1)[:, search.mine]  # the real code of each generated one of this rank
        real = self.memory.codes[:, search.block].gather(1, partner[:, :, None].expand_as(search.codes))
        distances = weights.distance(real, search.codes)
        nearest = self.target_weight == "min"
        seen = search.costs.amin(2) if nearest else search.costs.gather(2, order[:, :, None]).squeeze(2)
        self.memory.remember(search.block, seen, search.fake, self.past_sets, self.target_weight)
        terms = {"pairing_distance": distances.mean()} if reporting else {}
        for name, found in (("real", of_real), ("fake", of_fake)) if reporting else ():
            terms |= {
                f"{name}_weight_max": found.max(),
                f"{name}_weight_share": weights.effective_share(found),
            }
        of_pairs = of_real.gather(1, partner), of_fake[:, search.mine]
        return weights.weighted(distances, *of_pairs, self.gamma), terms

    def pairs(self, images: Tensor, codes: Tensor) -> Pairs:
        """Return the pairs of samples of one game, with codes ``(1, n, k)``, as the next update would."""
        assert self.memory is not None
        search = self.search(images, codes, codes, slice(None))
        (of_real,), (of_fake,) = self.weights(search)
        (order,) = search.order()
        distances = search.costs[0].gather(1, order[:, None]).squeeze(1)
        return Pairs(self.memory.images[0, search.block], images[order], distances, of_real, of_fake[order])

    def state(self) -> dict[str, Any] | None:
        """Return what it remembers as plain data."""
        return self.memory.state() if self.memory else None

    def load_state(self, state: dict[str, Any] | None) -> None:
        """Go on from what :meth:`state` returned.

        Raises:
            ValueError: If that is nothing, or the real set is not of ``num_real`` samples.
        """
        if not state:
            raise ValueError(
                "the checkpoint has no real set: it was written before one was chosen, or with alpha=0"
            )
        self.memory = Memory.of(state)
        size = self.memory.codes.shape[1]
        if self.num_real not in (None, size):
            raise ValueError(
                f"num_real={self.num_real}: the run has chosen {size} real samples, and keeps them: leave "
                "num_real at that, or start a new run"
            )
