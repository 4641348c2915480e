"""Make the samples to be scored: batches of images from a game, rounded to 256 levels as in files."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from lightning_gans.data.loader import first_loader
from lightning_gans.drawing.pixels import as_stored
from lightning_gans.game.rejection import RejectionSampler
from lightning_gans.game.trial import warn_of_range


@dataclass(frozen=True)
class Samples:
    """A batch of samples to be scored.

    Attributes:
        values: Images uint8 (n, C, H, W), or vectors float (n, d).
        index: Their places among all samples, int64 (n,), the same whatever the number of ranks.
        labels: The classes they were made for, int64 (n,); None if there are none.
        inputs: The images they were translated from, uint8 (n, C, H, W); None if there are none.
        targets: The images they should equal, uint8 (n, C, H, W); None if there are none.
        label_maps: The label that each pixel should show, whole numbers (n, H, W); None if there are none.
    """

    values: Tensor
    index: Tensor
    labels: Tensor | None = None
    inputs: Tensor | None = None
    targets: Tensor | None = None
    label_maps: Tensor | None = None


def rounded(
    make: Callable[[slice], Tensor], places: range, batch_size: int
) -> Iterator[tuple[slice, Tensor]]:
    """Make samples batch by batch.

    Args:
        make: Makes the samples at some places: images in [-1, 1], or vectors.
        places: The places of the samples to make.
        batch_size: How many at a time.

    Yields:
        The places of a batch, and its samples; images are uint8.

    Raises:
        ValueError: If a sample is not finite.
    """
    for start in range(places.start, places.stop, batch_size):
        part = slice(start, min(start + batch_size, places.stop))
        yield part, as_stored(make(part), start)


class SampleStream(Protocol):
    """A source of samples that are made when they are read, always the same ones."""

    @property
    def count(self) -> int:
        """The number of samples."""
        ...

    def batches(self, places: range, batch_size: int) -> Iterator[Samples]:
        """Make the samples at some places."""
        ...


def samples_at(stream: SampleStream, places: Tensor) -> Tensor:
    """Return the samples at a few places (n,), on the CPU; all samples before them are made, too."""
    wanted = places.tolist()
    batches = list(stream.batches(range(max(wanted) + 1), 250))
    return torch.cat([batch.values.cpu() for batch in batches])[wanted]


class LatentSamples:
    """Samples of a game; in conditional games, the classes come one after the other, again and again.

    Args:
        game: Has ``draw_latents`` and ``sample_from``; see :class:`lightning_gans.LatentGame`.
        count: How many samples.
        ema: Use averaged weights, if there are any.
        seed: Decides the latents.
        classes: Those of a conditional game; all by default.
    """

    def __init__(
        self, game: Any, count: int, ema: bool = True, seed: int = 0, classes: Sequence[int] | None = None
    ) -> None:
        self.game, self.count, self.ema, self.seed = game, count, ema, seed
        self.classes = classes
        self._seen = False

    def labels(self) -> Tensor:
        """Return the classes (count,) of the samples of a conditional game."""
        classes = torch.tensor(self.classes or range(self.game.num_classes))
        return classes[torch.arange(self.count) % len(classes)]

    def batches(self, places: range, batch_size: int) -> Iterator[Samples]:
        """Make the samples at some places, and warn once if images are not in [-1, 1]."""
        latents, drawn = self.game.draw_latents(self.count, self.ema, self.seed)
        labels = None if drawn is None else self.labels()

        def make(part: slice) -> Tensor:
            made: Tensor = self.game.sample_from(
                latents[part], None if labels is None else labels[part], self.ema
            )
            if not self._seen:
                self._seen = True
                warn_of_range(made)
            return made

        for part, values in rounded(make, places, batch_size):
            index = torch.arange(part.start, part.stop)
            yield Samples(values, index, None if labels is None else labels[part])


class RejectedSamples:
    """Samples of a game that its discriminator accepts, by rejection sampling.

    They are drawn in blocks, each by a seed of its own: a sample is the same whatever is read beside it.

    Args:
        sampler: Makes them.
        count: How many samples.
        seed: Decides them.
        classes: Those of a conditional game, which come one after the other; all by default.
        rejected: Take those that are not accepted.
    """

    BLOCK = 2_000

    def __init__(
        self,
        sampler: RejectionSampler,
        count: int,
        seed: int = 0,
        classes: Sequence[int] | None = None,
        rejected: bool = False,
    ) -> None:
        self.sampler, self.count, self.seed, self.rejected = sampler, count, seed, rejected
        self.candidates = LatentSamples(sampler.game, count, sampler.ema, seed, classes)

    @property
    def protocol(self) -> dict[str, float]:
        """What a score says of them: p and the share of candidates that is accepted."""
        return {"rejection": self.sampler.p, "acceptance": round(self.sampler.acceptance, 4)}

    def batches(self, places: range, batch_size: int) -> Iterator[Samples]:
        """Make the samples at some places; the sampler is calibrated first if it never was."""
        labels = self.candidates.labels() if self.sampler.game.conditional else None
        starts = range(0, self.count, self.BLOCK)
        seeds = torch.randint(2**62, (len(starts),), generator=torch.Generator().manual_seed(self.seed))
        for start, seed in zip(starts, seeds.tolist(), strict=True):
            stop = min(start + self.BLOCK, self.count)
            own = range(max(start, places.start), min(stop, places.stop))
            if not own:
                continue
            block = self.sampler.sample(
                stop - start, None if labels is None else labels[start:stop], seed, self.rejected
            )

            def make(part: slice, block: Tensor = block, start: int = start) -> Tensor:
                return block[part.start - start : part.stop - start]

            for part, values in rounded(make, own, batch_size):
                index = torch.arange(part.start, part.stop)
                yield Samples(values, index, None if labels is None else labels[part])


class TranslatedSamples:
    """Translations of the held-out inputs of a data module by an image-to-image game.

    Each rank reads all data by itself, in order, up to the last sample that it needs.

    Args:
        game: Has ``translate``; see :class:`lightning_gans.game.translation.TranslationGame`.
        data: A data module whose loaders serve ``(input, target)``. If it has ``label_maps(split)``, which
            returns whole numbers (N, H, W), metrics that want label maps get them.
        count: How many samples at most.
        ema: Use averaged weights, if there are any.
        split: The split whose inputs are translated: ``val`` or ``test``.
        seed: Decides the noise of a game that has some.
        direction: From the inputs to the targets of the batches, ``AtoB``, or back.

    Raises:
        ValueError: If the data has no such loader.
    """

    def __init__(
        self,
        game: Any,
        data: Any,
        count: int,
        ema: bool = True,
        split: Literal["val", "test"] = "val",
        seed: int = 0,
        direction: str = "AtoB",
    ) -> None:
        self.game, self.ema, self.seed, self.direction = game, ema, seed, direction
        self._data = copy(data)
        if data is not None:
            self._data.trainer = None  # with a trainer, loaders would serve only this rank's part of the data
        self._split = split
        self.count = min(count, sum(len(inputs) for inputs, _, _ in self._pairs(range(count))))
        if self.count < 2:
            raise ValueError(
                f"{type(data).__name__} has {self.count} {split} images to translate: a score needs 2"
            )
        maps = getattr(self._data, "label_maps", None)
        self._maps = None if maps is None else maps(split)

    def _pairs(self, places: range) -> Iterator[tuple[Tensor, Tensor, int]]:
        """Yield inputs, targets and the place of the first of each batch that has any of the places."""
        loader = first_loader(getattr(self._data, f"{self._split}_dataloader", list)())
        stop = 0
        for a, b, *_ in loader or ():
            inputs, targets = (a, b) if self.direction == "AtoB" else (b, a)
            start, stop = stop, stop + len(inputs)
            part = slice(max(places.start - start, 0), places.stop - start)
            if stop > places.start:
                yield inputs[part], targets[part], start + part.start
            if stop >= places.stop:
                return

    def batches(self, places: range, batch_size: int) -> Iterator[Samples]:
        """Translate the inputs at some places, at most a batch of the loader at a time."""
        for inputs, targets, first in self._pairs(places):

            def make(part: slice, inputs: Tensor = inputs, first: int = first) -> Tensor:
                chosen = inputs[part.start - first : part.stop - first].to(self.game.device)
                made: Tensor = self.game.translate(
                    chosen, ema=self.ema, direction=self.direction, seed=self.seed + part.start
                )
                return made

            for part, values in rounded(make, range(first, first + len(inputs)), batch_size):
                own = slice(part.start - first, part.stop - first)
                yield Samples(
                    values,
                    torch.arange(part.start, part.stop),
                    inputs=as_stored(inputs[own]),
                    targets=as_stored(targets[own]),
                    label_maps=None if self._maps is None else self._maps[part],
                )


def samples_of(
    game: Any,
    count: int,
    ema: bool = True,
    seed: int = 0,
    data: Any = None,
    split: Literal["val", "test"] = "val",
    direction: str = "AtoB",
    rejection: float | None = None,
    num_calibration: int = 50_000,
) -> SampleStream:
    """Return a game's samples, or its translations of a data module's inputs if it translates images.

    Args:
        game: The game.
        count: How many samples; of translations at most.
        ema: Use averaged weights, if there are any.
        seed: Decides them.
        data: The data module with the inputs.
        split: Whose inputs are translated.
        direction: Which translations.
        rejection: Only samples that the discriminator accepts: p of
            :class:`~lightning_gans.game.rejection.RejectionSampler`.
        num_calibration: Samples that it is calibrated on.

    Raises:
        ValueError: If there is nothing to translate, or the game's samples cannot be rejected.
    """
    if rejection is not None:
        sampler = RejectionSampler(game, rejection, num_calibration=num_calibration, ema=ema, seed=seed)
        return RejectedSamples(sampler, count, seed)
    if hasattr(game, "translate"):
        return TranslatedSamples(game, data, count, ema, split, seed, direction)
    return LatentSamples(game, count, ema, seed)
