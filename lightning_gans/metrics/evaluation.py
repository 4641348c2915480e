"""One pass through one extractor feeds all metrics; what is known of the real images is computed once."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors
from tqdm import tqdm

from lightning_gans.data.base import Data, resize
from lightning_gans.data.sources import ImageSource
from lightning_gans.metrics.extractors import Extractor
from lightning_gans.metrics.frechet import FID, PerClassFID, class_statistics, statistics
from lightning_gans.metrics.inception_score import IS
from lightning_gans.metrics.statistics import RealStatistics, lookup, store


@dataclass(frozen=True)
class Samples:
    """A batch of generated samples.

    Attributes:
        values: Images uint8 (n, C, H, W), or vectors float (n, d).
        index: Their places among all samples, int64 (n,), the same whatever the number of ranks.
        labels: The classes they were made for, int64 (n,), if they were.
    """

    values: Tensor
    index: Tensor
    labels: Tensor | None = None


class RealImages:
    """The real images that samples are compared with, in a random order that is always the same.

    (Folders come sorted by class; metrics that take the first so many images would see one class.)

    Args:
        images: uint8 (N, C, H, W), or a source of such.
        labels: int64 (N,), -1 for unlabeled.
        key: What they are: data set, split, preprocessing. JSON values.
        size: Height and width that they are resized to. None: as they are.
        count: So many of them. None: all.
    """

    def __init__(
        self,
        images: Data,
        labels: Tensor,
        key: Mapping[str, Any],
        size: int | None = None,
        count: int | None = None,
    ) -> None:
        self.images, self.key, self.size = images, dict(key), size
        self.order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:count]
        self.labels = labels[self.order]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.order)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image, as it is read: (C, H, W)."""
        images = self.images
        shape = images.shape if isinstance(images, ImageSource) else tuple(images.shape[1:])
        return shape if self.size is None else (shape[0], self.size, self.size)

    def read(self, start: int, stop: int) -> Tensor:
        """Return some of the images, uint8 (n, C, H, W)."""
        chosen = self.order[start:stop]
        source = isinstance(self.images, ImageSource)
        part = self.images.__getitems__(chosen.tolist()) if source else self.images[chosen]  # type: ignore[union-attr, index]
        return part if self.size is None else resize(part, self.size)


@dataclass(frozen=True)
class Scores:
    """What came out.

    Attributes:
        values: Each metric's scores: float64 scalars, and tensors (C,) named ``..._per_class``.
        samples: Number of generated samples.
        real_samples: Number of real ones; None if none are needed, or a file does not tell.
        protocol: Extractor, hash, resize, precision; under ``real`` what the real images are, how many, and
            the size at which metrics got them.
    """

    values: dict[str, Tensor]
    samples: int
    real_samples: int | None
    protocol: dict[str, Any] = field(default_factory=dict)

    def scalars(self) -> dict[str, float]:
        """Return the scores that are one number."""
        return {name: float(value) for name, value in self.values.items() if value.dim() == 0}

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        # JSON knows no NaN: a class without samples has no score.
        values = {name: _plain(value) for name, value in self.values.items()}
        return {
            "samples": self.samples,
            "real_samples": self.real_samples,
            **values,
            "protocol": dict(self.protocol),
        }


def _plain(value: Tensor) -> Any:
    numbers = [number if math.isfinite(number) else None for number in value.reshape(-1).tolist()]
    return numbers if value.dim() else numbers[0]


def _check_shares(count: int, what: str, world_size: int) -> None:
    """Refuse an empty share on all ranks: alone, its rank would leave the others waiting."""
    if count < world_size:
        raise ValueError(
            f"{count} {what} cannot be shared out over {world_size} processes: use more of them, or fewer "
            "processes"
        )


class Evaluation:
    """Score generated samples by several metrics in one pass.

    All ranks take part, each with its share of the samples and of the real images; ranks need no equal
    shares. Nothing is drawn from a global random generator.

    Args:
        metrics: Each says in ``wants`` what its ``update`` takes, in ``compares`` whether it needs real
            images, and in ``real_needs`` what of them.
        extractor: Makes features and logits of images. None: metrics of pixels or vectors only.
        count: Number of samples of an evaluation, of all ranks.
        device: Where the extractor runs.
        batch_size: Images in a pass of the extractor.
        folder: Where statistics of real images are kept. None: they are not.
        rank: This process.
        world_size: Number of processes.
        progress: Whether to show a bar for what takes long.

    Raises:
        ValueError: If a metric needs an extractor and there is none, two give scores of one name, or
            there are more processes than samples.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        extractor: Extractor | None = None,
        *,
        count: int,
        device: torch.device | str = "cpu",
        batch_size: int = 250,
        folder: Path | None = None,
        rank: int = 0,
        world_size: int = 1,
        progress: bool = True,
    ) -> None:
        if not metrics:
            raise ValueError("metrics are empty: name at least one, such as FID")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be at least 1")
        _check_shares(count, "samples", world_size)
        for metric in metrics:
            name = type(metric).__name__
            if not hasattr(metric, "wants"):
                raise ValueError(
                    f"metrics: {name} does not say in `wants` what it takes: use lightning_gans.metrics"
                )
            wanted: tuple[str, ...] = tuple(metric.wants)  # type: ignore[arg-type]
            if extractor is None and {"features", "logits", "modes"} & set(wanted):
                raise ValueError(
                    f"extractor=None, but {name} needs {' and '.join(wanted)}: give one, such as Inception "
                    "or ClassifierExtractor"
                )
            if "modes" in wanted and not hasattr(extractor, "classify_channels"):
                raise ValueError(
                    f"extractor={type(extractor).__name__} does not read three digits from three channels, "
                    f"as {name} needs it: use a ClassifierExtractor of MNIST"
                )
        kinds = [type(metric) for metric in metrics]
        twice = next((kind.__name__ for kind in kinds if kinds.count(kind) > 1), None)
        if twice is not None:
            raise ValueError(f"metrics: {twice} is there twice, and its scores would have one name")
        self.device = torch.device(device)
        self.metrics: list[Any] = [metric.to(self.device) for metric in metrics]
        self.extractor = None if extractor is None else extractor.to(self.device)
        for metric in metrics:
            if isinstance(metric, IS):
                metric.samples = count  # then it keeps no logits
        self.count, self.batch_size, self.folder = count, batch_size, folder
        self.rank, self.world_size, self.progress = rank, world_size, progress and rank == 0
        self._statistics: RealStatistics | None = None  # on the first rank
        self._found = False

    @property
    def compares(self) -> bool:
        """Whether real images are needed."""
        return any(metric.compares for metric in self.metrics)

    def try_out(self, batch: Samples) -> int:
        """Find out by two samples whether everything fits, before any long work starts.

        Returns:
            The number of features; 0 if no metric wants some.

        Raises:
            ValueError: If not; one line that says what to do.
        """
        width = self._feed(batch, self.metrics)
        for metric in self.metrics:
            metric.reset()
        return width

    def check_real(
        self,
        real: RealImages | RealStatistics | None,
        width: int | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """Refuse what the metrics cannot compare samples with.

        Args:
            real: What samples are compared with.
            width: Number of features, as :meth:`try_out` returns it. None: not known yet.
            shape: Of a sample. None: not known yet.

        Raises:
            ValueError: If something is missing or does not fit; one line that says what to do.
        """
        comparing = [metric for metric in self.metrics if metric.compares]
        if not comparing:
            return
        if real is None:
            raise ValueError(
                f"real=None, but {type(comparing[0]).__name__} compares with real images: give them"
            )
        pixels = [metric for metric in comparing if metric.real_needs == "images"]
        if isinstance(real, RealStatistics):
            self._check_statistics(real, bool(pixels), width)
            return
        _check_shares(len(real), "real images", self.world_size)
        if pixels and shape is not None and real.shape != tuple(shape):
            raise ValueError(
                f"{type(pixels[0]).__name__} compares pixels, but real images have shape {real.shape} and "
                f"samples {tuple(shape)}: bring them to one shape, or leave it out"
            )

    def _check_statistics(self, real: RealStatistics, pixels: bool, width: int | None) -> None:
        if pixels or (self._needs_features() and real.features is None):
            raise ValueError(
                "the file of statistics has mu and sigma only, which is enough for the FID: compare with "
                "images instead, or ask for FID alone"
            )
        if real.labels is None and any(isinstance(metric, PerClassFID) for metric in self.metrics):
            raise ValueError(
                "the file of statistics has no labels, which PerClassFID needs: compare with labelled "
                "images, or leave it out"
            )
        ours = {} if self.extractor is None else self.extractor.protocol
        for name in ("hash", "resize", "precision"):
            theirs = real.protocol.get(name, ours.get(name))
            if name in ours and theirs != ours[name]:
                raise ValueError(
                    f"the file of statistics was computed with {name}={theirs}, and the extractor here has "
                    f"{name}={ours[name]}: use the same extractor, or compare with images"
                )
        if width and len(real.mu) != width:
            raise ValueError(
                f"the file of statistics is of {len(real.mu)} features, and the extractor makes {width}: use "
                "the extractor that it was computed with"
            )

    def _check(self, labelled: bool) -> None:
        """Refuse metrics that need what the samples do not have."""
        known = {"index", "images", "samples", "features", "logits", "modes"}
        if labelled:
            known.add("labels")
        for metric in self.metrics:
            missing = [name for name in metric.wants if name not in known]
            if missing:
                hint = ", or use a conditional game" if "labels" in missing else ""
                raise ValueError(
                    f"{type(metric).__name__} needs {' and '.join(missing)} of the samples, and there are "
                    f"none: leave it out{hint}"
                )

    def share(self, count: int) -> range:
        """Return which of ``count`` samples or images are this rank's."""
        return range(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)

    def run(self, samples: Iterable[Samples], real: RealImages | RealStatistics | None = None) -> Scores:
        """Score samples.

        Args:
            samples: Batches of this rank's share.
            real: What they are compared with. Statistics will do for the FID.

        Returns:
            The same scores on all ranks.

        Raises:
            ValueError: If samples are too few, not finite, or lack what a metric needs, or real images do not
                fit them.
        """
        self.check_real(real)
        for metric in self.metrics:
            metric.reset()
        width: int | None = None
        for batch in self._bar(samples, len(self.share(self.count)), "evaluating samples"):
            known = width is not None
            width = self._feed(batch, self.metrics)
            if not known:
                self.check_real(real, width, tuple(batch.values.shape[1:]))
        protocol: dict[str, Any] = {} if self.extractor is None else dict(self.extractor.protocol)
        real_samples = None
        if self.compares:
            assert real is not None  # as checked above
            real_samples = self._feed_real(real, width or 0)
            if isinstance(real, RealImages):
                protocol["real"] = {
                    **real.key,
                    "n": len(real),
                    "size": list(real.shape[1:]) if real.size is None else real.size,
                }
            else:
                protocol["real"] = dict(real.protocol) | ({} if real.n is None else {"n": real.n})
        values: dict[str, Tensor] = {}
        for metric in self.metrics:
            found = {name: value.detach().cpu() for name, value in metric.compute().items()}
            if found.keys() & values.keys():
                raise ValueError(
                    f"{type(metric).__name__} and another metric both call a score "
                    f"{min(found.keys() & values)}: leave out one of them"
                )
            values |= found
        return Scores(values, self.count, real_samples, protocol)

    def prepare(self, real: RealImages) -> None:
        """Compute what is needed of the real images, before any long work starts.

        Raises:
            ValueError: If they do not fit.
        """
        self.check_real(real)
        if self._needs_statistics():
            self._find_statistics(real)

    # ------------------------------------------------------------------ samples

    def _feed(self, batch: Samples, metrics: Sequence[Any], real: bool = False) -> int:
        """Update metrics; return the number of features."""
        wanted = {name for metric in metrics for name in metric.wants}
        if not real:
            self._check(labelled=batch.labels is not None)
        values = batch.values.to(self.device)
        given: dict[str, Any] = {"index": batch.index.to(self.device), "images": values, "samples": values}
        if batch.labels is not None:
            given["labels"] = batch.labels.to(self.device)
        width = 0
        if wanted & {"features", "logits"}:
            given["features"], given["logits"] = self._extract(values)
            width = given["features"].shape[1]
        if "modes" in wanted:
            given["modes"] = self.extractor.classify_channels(values)  # type: ignore[operator, union-attr]
        for metric in metrics:
            arguments = [given[name] for name in metric.wants]
            metric.update(*arguments, real=real) if metric.compares else metric.update(*arguments)
        return width

    def _extract(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert self.extractor is not None
        parts = [self.extractor(part) for part in images.split(self.batch_size)]
        features, logits = zip(*parts, strict=True)
        return torch.cat(features), torch.cat(logits)

    # ------------------------------------------------------------------ real images

    def _needs_statistics(self) -> bool:
        return any(metric.real_needs in ("statistics", "features") for metric in self.metrics)

    def _needs_features(self) -> bool:
        return any(
            metric.real_needs == "features"
            or (metric.real_needs == "statistics" and "labels" in metric.wants)
            for metric in self.metrics
        )

    def _feed_real(self, real: RealImages | RealStatistics, width: int) -> int | None:
        pixels = [metric for metric in self.metrics if metric.real_needs == "images"]
        found: RealStatistics | None = None
        if isinstance(real, RealStatistics):
            found = real
        elif self._needs_statistics():
            found = self._find_statistics(real)
        if isinstance(real, RealImages) and pixels:
            self._pass(real, lambda batch: self._feed(batch, pixels, real=True), "comparing pixels")
        if self._needs_statistics():
            self._feed_statistics(found if self.rank == 0 else None, width)
        return len(real) if isinstance(real, RealImages) else real.n

    def _feed_statistics(self, real: RealStatistics | None, width: int) -> None:
        """Hand over what is known of the real images: on the first rank, for sums go over all ranks."""
        for metric in self.metrics:
            if real is None:
                if metric.real_needs == "features":  # searches begin on all ranks
                    nothing = torch.empty(0, width, device=self.device)
                    metric.update(nothing, torch.arange(0, device=self.device), real=True)
            elif isinstance(metric, FID):
                metric.set_real(real.mu, real.sigma, real.n)
            elif metric.real_needs in ("statistics", "features"):
                assert real.features is not None
                features = real.features.to(self.device)
                if isinstance(metric, PerClassFID):
                    assert real.labels is not None
                    assert metric.num_classes is not None
                    labels = real.labels.to(self.device)
                    metric.set_real(*class_statistics(features, labels, metric.num_classes))
                else:
                    metric.update(features, torch.arange(len(features), device=self.device), real=True)

    def _find_statistics(self, real: RealImages) -> RealStatistics | None:
        """Return them, on the first rank, from this run, from the cache, or from a pass over the images."""
        if not self._found:
            assert self.extractor is not None
            key = {**real.key, "n": len(real), "size": real.size, **self.extractor.protocol}
            stored = None
            if self.folder is not None and self.rank == 0:
                stored = lookup(key, self.folder, self._needs_features())
            if self._first_rank_says(stored is not None):
                self._statistics = stored
            else:
                self._statistics = self._compute_statistics(real)
                if self.folder is not None and self.rank == 0:
                    store(key, self._statistics, self.folder)
            self._found = True
        return self._statistics

    def _compute_statistics(self, real: RealImages) -> RealStatistics:
        sums = FID().to(self.device)
        kept: list[Tensor] = []
        features = self._needs_features()

        def add(batch: Samples) -> None:
            extracted = self._extract(batch.values.to(self.device))[0]
            if features:
                kept.append(extracted)
            else:
                sums.update(extracted, real=True)

        self._pass(real, add, "real images")
        protocol = dict(real.key)
        if features:
            rows = torch.cat(self._gather(torch.cat(kept)))  # shares are contiguous: in order
            mu, sigma, n = (part.cpu() for part in statistics(rows))
            return RealStatistics(mu, sigma, int(n), rows.cpu(), real.labels.cpu(), protocol)
        n, total, outer = (
            sum(self._gather(part), torch.zeros_like(part))[0].cpu()
            for part in (sums.real_n, sums.real_sum, sums.real_outer)
        )
        mu = total / n
        return RealStatistics(mu, (outer - n * torch.outer(mu, mu)) / (n - 1), int(n), protocol=protocol)

    def _gather(self, part: Tensor) -> list[Tensor]:
        return gather_all_tensors(part) if self.world_size > 1 else [part]

    def _first_rank_says(self, yes: bool) -> bool:
        return bool(self._gather(torch.tensor(int(yes), device=self.device))[0])

    def _pass(self, real: RealImages, use: Callable[[Samples], object], title: str) -> None:
        share = self.share(len(real))

        def batches() -> Iterable[Samples]:
            for start in range(share.start, share.stop, self.batch_size):
                stop = min(start + self.batch_size, share.stop)
                yield Samples(real.read(start, stop), torch.arange(start, stop), real.labels[start:stop])

        for batch in self._bar(batches(), len(share), title):
            use(batch)

    def _bar(self, batches: Iterable[Samples], count: int, title: str) -> Iterable[Samples]:
        with tqdm(
            desc=title, total=count, unit=" images", delay=3, leave=False, disable=not self.progress
        ) as bar:
            for batch in batches:
                yield batch
                bar.update(len(batch.index))
