"""Score samples by several metrics with one pass of one extractor; real images are processed once."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors
from tqdm import tqdm

from lightning_gans import checks
from lightning_gans.checks import at_least
from lightning_gans.data.base import Data, DataModule, resize
from lightning_gans.data.loader import to_float
from lightning_gans.data.sources import read_at
from lightning_gans.metrics.base import Contract
from lightning_gans.metrics.extractors import Extractor
from lightning_gans.metrics.frechet import FID, feature_statistics, moments
from lightning_gans.metrics.loaders import images_of_loaders
from lightning_gans.metrics.order import content_order
from lightning_gans.metrics.statistics import RealStatistics, lookup, store
from lightning_gans.metrics.stream import Samples, SampleStream, samples_at


class RealImages:
    """The real images that samples are compared with, in an order that is always the same.

    Args:
        images: uint8 (N, C, H, W), or a source of such.
        labels: int64 (N,), -1 for unlabeled.
        key: Identifies the images: data set, split, preprocessing. JSON values.
        size: Height and width that they are resized to. None: as they are.
        count: Number of images to use. None: all.
        order: Their order, int64 (N,). None: a random one (folders come sorted by class; metrics that take
            the first so many images would see one class).
    """

    def __init__(
        self,
        images: Data,
        labels: Tensor,
        key: Mapping[str, Any],
        size: int | None = None,
        count: int | None = None,
        order: Tensor | None = None,
    ) -> None:
        self.images, self.key, self.size = images, dict(key), size
        if order is None:
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        self.order = order[:count]
        self.labels = labels[self.order]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape (C, H, W) of an image as it is read."""
        return tuple(self.at(torch.arange(1)).shape[1:])

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.order)

    def batches(self, places: range, batch_size: int) -> Iterator[Samples]:
        """Read the images of some places, with their labels if there are any."""
        labelled = bool((self.labels >= 0).any())
        for start in range(places.start, places.stop, batch_size):
            index = torch.arange(start, min(start + batch_size, places.stop))
            yield Samples(self.at(index), index, self.labels[index] if labelled else None)

    def at(self, places: Tensor) -> Tensor:
        """Return the images at some places (n,), uint8 (n, C, H, W)."""
        images = read_at(self.images, self.order[places.cpu()])
        return images if self.size is None else resize(images, self.size)


def real_images_of(
    data: Any,
    split: Literal["train", "test"],
    size: int | None = None,
    count: int | None = None,
    inputs: bool = False,
) -> RealImages:
    """Return the real images of a data module; if it holds pairs, the targets.

    Args:
        data: The data module: its ``real_images(split)`` if it has that, else all that its loaders serve. Or
            loaders by the names of its methods.
        split: The split to use.
        size: Height and width that they are resized to, from their originals. None: the data's image_size.
        count: Number of images to use. None: all.
        inputs: Return the inputs of pairs instead, with which translations back are compared.

    Raises:
        ValueError: If there are fewer, or it is no data module of images.
    """
    if hasattr(data, "real_images"):
        images, labels, key = data.real_images(split, size, **({"inputs": True} if inputs else {}))
    elif isinstance(data, LightningDataModule | Mapping) and not isinstance(data, DataModule):
        images, labels, key = images_of_loaders(data, split, inputs)
        size = size if images.shape[2] == images.shape[3] else None  # a crop would be another image
    else:
        kind = "no data" if data is None else type(data).__name__
        raise ValueError(f"metrics compare with real images, not with {kind}: give images, or other metrics")
    if count is not None and count > len(labels):
        raise ValueError(
            f"num_real={count} exceeds the {len(labels)} images of split={split}: use at most that"
        )
    return RealImages(images, labels, key, size, count)


@dataclass(frozen=True)
class Scores:
    """The result of an evaluation.

    Attributes:
        values: Each metric's scores: float64 scalars, and tensors (C,) named ``..._per_class``.
        samples: Number of generated samples.
        real_samples: Number of real ones; None if none are needed, or a file of statistics does not say.
        protocol: Extractor, hash, resize, precision, what metrics say of themselves, and the height and width
            of the samples (``size``); under ``real`` what the real images are, how many, and the size at
            which metrics got them.
    """

    values: dict[str, Tensor]
    samples: int
    real_samples: int | None
    protocol: dict[str, Any] = field(default_factory=dict)

    def scalars(self) -> dict[str, float]:
        """Return the scores that are one number."""
        return {name: float(value) for name, value in self.values.items() if value.dim() == 0}

    def table(self) -> str:
        """Return the scores as text, with the numbers of samples and the protocol."""
        of = {"modes": f"/{len(self.values['share_per_class'])}"} if "share_per_class" in self.values else {}
        rows = [f"  {name:24} {value:.6g}{of.get(name, '')}" for name, value in self.scalars().items()]
        about = [f"{name} {value}" for name, value in self.protocol.items() if name != "real"]
        if "size" in (real := self.protocol.get("real", {})):
            about.append(f"real images' size {real['size']}")
        beside = f"{self.samples:,} samples"
        if self.real_samples is not None:
            beside += f", {self.real_samples:,} real images"
        return "\n".join([f"scores of {beside}; {', '.join(about)}", *rows])

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        plain: dict[str, Any] = {"samples": self.samples, "real_samples": self.real_samples}
        for name, value in self.values.items():
            # JSON knows no NaN: a class without samples has no score.
            numbers = [number if math.isfinite(number) else None for number in value.reshape(-1).tolist()]
            plain[name] = numbers if value.dim() else numbers[0]
        return {**plain, "protocol": dict(self.protocol)}


def over_replicas(scores: Sequence[Scores]) -> Scores:
    """Return the mean of each score over replicas, and as ``<score>_std`` the standard deviation.

    The deviation is that of a sample (n - 1); what a metric itself calls by that name is left out.
    """
    found: dict[str, Tensor] = {}
    for name in scores[0].values:
        if name.removesuffix("_std") == name or name.removesuffix("_std") not in scores[0].values:
            values = torch.stack([x.values[name].double() for x in scores])
            found[name] = values.mean(0)
            if values.dim() == 1:
                found[f"{name}_std"] = values.std(0)
    return replace(scores[0], values=found, protocol={**scores[0].protocol, "replicas": len(scores)})


def _check_shares(count: int, what: str, world_size: int) -> None:
    """Raise an error on all ranks if one gets no share: if it did so alone, the others would wait."""
    if count < world_size:
        raise ValueError(
            f"{count} {what} cannot be shared out over {world_size} processes: use more of them, or fewer "
            "processes"
        )


class Evaluation:
    """Score generated samples by several metrics in one pass.

    All ranks take part, each with its share of the samples and of the real images; ranks need no equal
    shares. Nothing is drawn from a global random generator, unless a metric from elsewhere does so.

    Args:
        metrics: Any ``torchmetrics.Metric``: see :class:`~lightning_gans.metrics.base.Contract`.
        extractor: Makes features and logits of images. None: metrics of pixels or vectors only.
        count: Number of samples of an evaluation, over all ranks.
        device: Where the extractor runs.
        batch_size: Images in a pass of the extractor.
        folder: Where statistics of real images are kept. None: they are not.
        rank: This process.
        world_size: Number of processes.
        progress: Whether to show a bar for what takes long.

    Raises:
        ValueError: If something is no metric, a metric needs an extractor and there is none, two give scores
            of one name, or there are more processes than samples.
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
        at_least(1, batch_size=batch_size)
        _check_shares(count, "samples", world_size)
        self.metrics = [Contract(metric) for metric in metrics]
        names = [metric.name for metric in self.metrics]
        for metric in self.metrics:
            if extractor is None and {"features", "logits", "modes"} & set(metric.wants):
                raise ValueError(
                    f"extractor=None, but {metric.name} needs {' and '.join(metric.wants)}: give one, such "
                    "as Inception or ClassifierExtractor"
                )
            if "modes" in metric.wants and not hasattr(extractor, "classify_channels"):
                raise ValueError(
                    f"extractor={type(extractor).__name__} does not read three digits from three channels, "
                    f"as {metric.name} needs it: use a ClassifierExtractor of MNIST"
                )
            if names.count(metric.name) > 1:
                raise ValueError(f"metrics: {metric.name} is there twice, and its scores would have one name")
        self.device = torch.device(device)
        for metric in self.metrics:
            metric.metric.to(self.device)
        self.extractor = None if extractor is None else extractor.to(self.device)
        self.count, self.batch_size, self.folder = count, batch_size, folder
        self.rank, self.world_size, self.progress = rank, world_size, progress and rank == 0
        self._statistics: RealStatistics | None = None  # the statistics are on the first rank
        self._found = False
        self._game: Any = None

    def fill_in(self, data: Any, num_classes: int | None, game: Any = None) -> None:
        """Pass data module, number of classes and game, if they are known, on to the metrics.

        Raises:
            ValueError: If a metric asks the game's discriminator, and there is none.
        """
        self._game = game
        for metric in self.metrics:
            if "judged" in metric.wants and not hasattr(game, "score"):
                what = "there is no game" if game is None else f"{type(game).__name__} has no score(images)"
                raise ValueError(f"{metric.name} asks the discriminator of a game, but {what}: leave it out")
            metric.fill_in(data, num_classes, self.count, game)

    def try_out(
        self, samples: SampleStream, real: RealImages | RealStatistics | None = None, origin: str = ""
    ) -> None:
        """Test with two samples that everything fits together, before any long work starts.

        Args:
            samples: The samples that are to be scored.
            real: The real images, or their statistics, to compare with.
            origin: Where the statistics come from, for the message.

        Raises:
            ValueError: If not; one line that says what to do.
        """
        given = self._given(next(iter(samples.batches(range(2), 2))), self.metrics)
        for metric in self.metrics:
            metric.metric.reset()
            self._try_update(metric, given)
        try:
            self._check_real(real, given)
            comparing = [metric for metric in self.metrics if metric.compares]
            if comparing and isinstance(real, RealImages):
                given = self._given(next(iter(real.batches(range(2), 2))), comparing)
                for metric in comparing:
                    # With several ranks such a metric would now compare what they all tried out.
                    if self.world_size == 1 or not getattr(metric.metric, "empty_batches", False):
                        self._try_update(metric, given, real=True)
        except ValueError as error:
            raise ValueError(f"{origin}{error}") from error
        names = Counter[str]()
        for metric in self.metrics:
            names.update([*self._try_compute(metric, samples, real)])
            metric.metric.reset()
        self._check_names(names)

    def _try_update(self, metric: Contract, given: dict[str, Tensor], real: bool = False) -> None:
        try:
            metric.update(given, real)
        except (RuntimeError, TypeError, LookupError, AttributeError, AssertionError) as error:
            shapes = ", ".join(
                f"{name} {given[name].dtype} {tuple(given[name].shape)}".replace("torch.", "")
                for name in metric.wants
            )
            side = " of real images" if real else ""
            raise ValueError(
                f"{metric.name}.update cannot take {shapes}{side}: {checks.first_line(error)}"
            ) from error

    def _try_compute(
        self, metric: Contract, samples: SampleStream, real: RealImages | RealStatistics | None
    ) -> Iterable[str]:
        """Compute the scores of what was tried out, if they can be of so few samples; return their names."""
        whole, metric.metric._to_sync = metric.metric._to_sync, False  # each rank tries out the same samples
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of too few samples
                found = metric.metric.compute()
                if hasattr(metric.metric, "pictures") and isinstance(real, RealImages):
                    metric.metric.pictures(lambda places: samples_at(samples, places), real.at)
        except (TypeError, AttributeError, NameError, KeyError) as error:
            kind = type(error).__name__
            raise ValueError(
                f"{metric.name} fails when tried out: {checks.first_line(error)} ({kind})"
            ) from error
        except (ValueError, RuntimeError, ArithmeticError, IndexError):
            return ()  # two samples are too few
        finally:
            metric.metric._to_sync = whole
        return metric.named(found)

    def _check_names(self, names: Counter[str]) -> None:
        """Check that no two metrics give a score the same name."""
        name, count = next(iter(names.most_common(1)), ("", 0))
        if count > 1:
            raise ValueError(f"metrics: two of them call a score {name}: leave out one")

    def _check_real(
        self, real: RealImages | RealStatistics | None, given: dict[str, Tensor] | None = None
    ) -> None:
        """Check that the metrics can compare the samples, of which ``given`` is known, with ``real``."""
        given = given or {}
        comparing = [metric for metric in self.metrics if metric.compares]
        if not comparing:
            return
        if real is None:
            raise ValueError(f"real=None, but {comparing[0].name} compares with real images: give them")
        if isinstance(real, RealStatistics):
            self._check_statistics(real, given)
            return
        _check_shares(real.count, "real images", self.world_size)
        of_many = [metric.name for metric in comparing if metric.real_needs in ("statistics", "features")]
        if of_many and real.count < 2:
            raise ValueError(f"{real.count} real image: {of_many[0]} compares with two at least, give more")
        pixels = [metric for metric in comparing if "images" in metric.wants]
        if pixels and given and real.shape != given["images"].shape[1:]:
            raise ValueError(
                f"{pixels[0].name} compares pixels, but real images have shape {real.shape} and samples "
                f"{tuple(given['images'].shape[1:])}: bring them to one shape, or leave it out"
            )

    def _check_statistics(self, real: RealStatistics, given: dict[str, Tensor]) -> None:
        labelled = [metric.name for metric in self.metrics if metric.compares and "labels" in metric.wants]
        if self._needs("images") or (self._needs("features") and real.features is None):
            raise ValueError(
                "the file of statistics has mu and sigma only, which is enough for the FID: compare with "
                "images instead, or ask for FID alone"
            )
        if real.labels is None and labelled:
            raise ValueError(
                f"the file of statistics has no labels, which {labelled[0]} needs: compare with labelled "
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
        if "features" in given and len(real.mu) != given["features"].shape[1]:
            raise ValueError(
                f"the file of statistics is of {len(real.mu)} features, and the extractor makes "
                f"{given['features'].shape[1]}: use the extractor that it was computed with"
            )

    def share(self, count: int) -> range:
        """Return which of ``count`` samples or images are this rank's."""
        return range(count * self.rank // self.world_size, count * (self.rank + 1) // self.world_size)

    def run(self, samples: Iterable[Samples], real: RealImages | RealStatistics | None = None) -> Scores:
        """Score samples.

        Args:
            samples: Batches of this rank's share.
            real: The real images to compare with, or their statistics, which are enough for the FID.

        Returns:
            The same scores on all ranks.

        Raises:
            ValueError: If samples are too few, not finite, or lack what a metric needs, or real images do not
                fit them.
        """
        self._check_real(real)
        for metric in self.metrics:
            metric.metric.reset()
        first: dict[str, Tensor] = {}
        shape: tuple[int, ...] = ()
        for batch in self._bar(samples, len(self.share(self.count)), "evaluating samples"):
            given = self._feed(batch, self.metrics)
            if not first:
                first, shape = given, tuple(batch.values.shape[1:])
                self._check_real(real, first)
        protocol: dict[str, Any] = {} if self.extractor is None else dict(self.extractor.protocol)
        if shape[1:]:
            protocol["size"] = list(shape[1:])
        real_samples = None
        if real is not None and any(metric.compares for metric in self.metrics):
            self._feed_real(real, first)
            if isinstance(real, RealImages):
                real_samples = real.count
                size = {"size": list(real.shape[1:])} if real.shape[1:] else {}
                protocol["real"] = {**real.key, "n": real.count, **size}
            else:
                real_samples = real.n
                protocol["real"] = dict(real.protocol) | ({} if real.n is None else {"n": real.n})
        values: dict[str, Tensor] = {}
        for metric in self.metrics:
            found = metric.compute()
            self._check_names(Counter([*values, *found]))
            values |= found
            protocol |= getattr(metric.metric, "protocol", {})
        return Scores(values, self.count, real_samples, protocol)

    def prepare(self, real: RealImages) -> None:
        """Compute the statistics of the real images, if metrics need them, before any long work starts.

        Raises:
            ValueError: If they do not fit.
        """
        self._check_real(real)
        if self._needs("statistics", "features"):
            self._find_statistics(real)

    # ------------------------------------------------------------------ samples

    def _given(self, batch: Samples, metrics: Sequence[Contract]) -> dict[str, Tensor]:
        """Return the inputs by name that the metrics want of a batch, on the device."""
        wanted = {name for metric in metrics for name in metric.wants}
        known = {"index": batch.index, "images": batch.values, "samples": batch.values}
        known |= {name: getattr(batch, name) for name in ("labels", "inputs", "targets", "label_maps")}
        given = {name: value.to(self.device) for name, value in known.items() if value is not None}
        for metric in metrics:
            missing = [name for name in metric.wants if known.get(name, batch) is None]
            if missing:
                hint = ", or use a conditional game" if "labels" in missing else ""
                raise ValueError(
                    f"{metric.name} needs {' and '.join(missing)} of the samples, and there are none: leave "
                    f"it out{hint}"
                )
        if "order" in wanted:
            given["order"] = content_order(batch.values, batch.index).to(self.device)
        if wanted & {"features", "logits"}:
            given["features"], given["logits"] = self._extract(given["images"])
        if "judged" in wanted:
            labels = batch.labels if self._game.conditional else None
            given["judged"] = self._game.score(to_float(given["samples"]), labels)
        if "modes" in wanted:
            given["modes"] = self.extractor.classify_channels(given["images"])  # type: ignore[operator, union-attr]
        return given

    def _feed(self, batch: Samples, metrics: Sequence[Contract], real: bool = False) -> dict[str, Tensor]:
        """Update metrics with a batch; return the inputs that they got."""
        given = self._given(batch, metrics)
        for metric in metrics:
            metric.update(given, real)
        return given

    def _extract(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert self.extractor is not None
        parts = [self.extractor(part) for part in images.split(self.batch_size)]
        features, logits = zip(*parts, strict=True)
        return torch.cat(features), torch.cat(logits)

    # ------------------------------------------------------------------ real images

    def _needs(self, *what: str) -> bool:
        return any(metric.real_needs in what for metric in self.metrics)

    def _feed_real(self, real: RealImages | RealStatistics, first: dict[str, Tensor]) -> None:
        """Update the metrics with real images, or with their statistics: these on the first rank only."""
        seeing = [metric for metric in self.metrics if metric.real_needs == "images"]
        found = real if isinstance(real, RealStatistics) else None
        if isinstance(real, RealImages):
            if self._needs("statistics", "features"):
                found = self._find_statistics(real)
            if seeing:
                for batch in self._share_of(real, "comparing images"):
                    self._feed(batch, seeing, real=True)
        for metric in self.metrics:
            if metric.real_needs not in ("statistics", "features"):
                continue
            if self.rank > 0 or found is None:
                if getattr(metric.metric, "empty_batches", False):
                    metric.update({name: first[name][:0] for name in metric.wants}, real=True)
            elif hasattr(metric.metric, "take_real"):
                metric.metric.take_real(found)
            else:
                assert found.features is not None
                places = torch.arange(len(found.features))
                known = {"features": found.features, "labels": found.labels, "index": places}
                known["order"] = places if found.order is None else found.order
                given = {name: value.to(self.device) for name, value in known.items() if value is not None}
                metric.update(given, real=True)

    def _find_statistics(self, real: RealImages) -> RealStatistics | None:
        """Return the statistics of the real images: kept, cached or computed; None on other ranks."""
        if not self._found:
            assert self.extractor is not None
            key = {**real.key, "n": real.count, "size": real.size, **self.extractor.protocol}
            stored = None
            if self.folder is not None and self.rank == 0:
                stored = lookup(key, self.folder, self._needs("features"))
            known = self._gather(torch.tensor(int(stored is not None), device=self.device))
            if known[0]:  # whether the first rank found them
                self._statistics = stored
            else:
                self._statistics = self._compute_statistics(real)
                if self.folder is not None and self.rank == 0:
                    store(key, self._statistics, self.folder)
            self._found = True
        return self._statistics

    def _compute_statistics(self, real: RealImages) -> RealStatistics:
        sums = FID().to(self.device)
        kept: list[tuple[Tensor, Tensor]] = []
        for batch in self._share_of(real, "real images"):
            features = self._extract(batch.values.to(self.device))[0]
            if self._needs("features"):
                kept.append((features, content_order(batch.values, batch.index).to(self.device)))
            else:
                sums.update(features, real=True)
        if kept:
            # By place, as shares are contiguous.
            rows, order = (torch.cat(self._gather(torch.cat(part))) for part in zip(*kept, strict=True))
            mu, sigma, n = feature_statistics(rows)
            return RealStatistics(mu.cpu(), sigma.cpu(), n, rows.cpu(), real.labels.cpu(), order.cpu())
        with sums.sync_context():
            count, total, outer = (x[0].cpu() for x in (sums.real_n, sums.real_sum, sums.real_outer))
        return RealStatistics(*moments(count, total, outer), int(count))

    def _gather(self, part: Tensor) -> list[Tensor]:
        return gather_all_tensors(part) if self.world_size > 1 else [part]

    def _share_of(self, real: RealImages, title: str) -> Iterable[Samples]:
        share = self.share(real.count)
        return self._bar(real.batches(share, self.batch_size), len(share), title)

    def _bar(self, batches: Iterable[Samples], count: int, title: str) -> Iterable[Samples]:
        with tqdm(
            desc=title, total=count, unit=" images", delay=3, leave=False, disable=not self.progress
        ) as bar:
            for batch in batches:
                yield batch
                bar.update(len(batch.index))
