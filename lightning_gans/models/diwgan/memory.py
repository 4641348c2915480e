"""What a run of DIWGAN remembers: its real set, how far generated samples were from it, and past codes."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from lightning_gans.models.diwgan import weights
from lightning_gans.models.diwgan.weights import GeneratorWeight, TargetWeight


@dataclass
class Memory:
    """The state of a run, of R games at once.

    Attributes:
        mean: Of the codes of the real data, ``(R, 1, k)``.
        std: Their standard deviation, ``(R, 1, k)``.
        codes: S_r, standardised codes of the real set, ``(R, n, k)``.
        images: The real samples that these are of, ``(R, n, *image_shape)``.
        history: e, how far those were that they were paired with, ``(R, n)``.
        past: The last sets of generated codes, each ``(R, B, k)``.
        updates: Of the generator: they decide which block of the real set is paired next.
    """

    mean: Tensor
    std: Tensor
    codes: Tensor
    images: Tensor
    history: Tensor
    past: list[Tensor] = field(default_factory=list)
    updates: int = 0

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Memory":
        """Return what :meth:`state` was made of."""
        return cls(**{**state, "past": list(state["past"])})

    def state(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)

    def replica(self, number: int) -> "Memory":
        """Return the memory of one of the R games."""
        one = slice(number, number + 1)
        parts = {name: value[one] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Memory(**parts, past=[codes[one] for codes in self.past], updates=self.updates)

    def on(self, device: torch.device) -> "Memory":
        """Return the memory on a device: a trainer moves the networks, also at the end, and not this."""
        if self.codes.device == device:
            return self
        return Memory.of(move_data_to_device(vars(self), device))

    def standardise(self, codes: Tensor) -> Tensor:
        """Return codes ``(R, B, k)`` in units of the real data's standard deviation, around its mean."""
        return (codes - self.mean) / self.std

    def block(self, pairs: int) -> slice:
        """Return which part of the real set is paired next: all of it, or so many that follow."""
        start = self.updates * pairs % self.codes.shape[1]
        return slice(start, start + pairs)

    def log_density(self, at: Tensor, bandwidth: float | None) -> Tensor | None:
        """Return the log density ``(R, B)`` of past generated codes at codes; None if there are none yet."""
        if not self.past:
            return None
        past = torch.cat(self.past, dim=1)
        return weights.log_density(at, past, bandwidth or weights.scott_bandwidth(past))

    def fake_weights(
        self, fake: Tensor, kind: GeneratorWeight, bandwidth: float | None, clip: tuple[float, float]
    ) -> Tensor:
        """Return w_g ``(R, B)`` of generated codes ``(R, B, k)``."""
        logs = self.log_density(fake, bandwidth) if kind != "none" else None
        if logs is None:
            return fake.new_ones(fake.shape[:2])
        return weights.generator_weights(logs, kind, fake.shape[2], clip)

    def real_weights(
        self, block: slice, kind: TargetWeight, bandwidth: float | None, clip: tuple[float, float]
    ) -> Tensor:
        """Return w_r ``(R, B)`` of a block of the real set."""
        real = self.codes[:, block]
        if kind == "coverage":
            logs = self.log_density(real, bandwidth)
            if logs is not None:
                return weights.generator_weights(logs, "inverse", real.shape[2], clip)
        known = min(self.updates * real.shape[1], self.codes.shape[1])  # later blocks have no history yet
        if kind in ("none", "coverage") or block.start >= known:
            return real.new_ones(real.shape[:2])
        return weights.balanced(self.history[:, :known], clip)[:, block]

    def remember(
        self, block: slice, distances: Tensor, fake: Tensor, past_sets: int, kind: TargetWeight
    ) -> None:
        """Take up what an update has seen.

        Args:
            block: Which part of the real set was paired.
            distances: Of each of these to a generated code, ``(R, B)``.
            fake: The generated codes, ``(R, B, k)``.
            past_sets: N, how many sets are kept.
            kind: ``cumulative`` averages all distances; of ``history`` and ``min`` the newest counts 1 / N.
        """
        if kind not in ("coverage", "none"):
            visits = self.updates * distances.shape[1] // self.codes.shape[1]
            rate = 1 / (visits + 1) if kind == "cumulative" or visits == 0 else 1 / past_sets
            self.history[:, block] += rate * (distances - self.history[:, block])
        self.past = [*self.past, fake][-past_sets:]
        self.updates += 1
