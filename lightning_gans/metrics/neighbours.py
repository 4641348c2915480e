"""Find the training samples nearest to generated ones, which shows copies of training data."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from lightning_gans.checks import at_least, shaped
from lightning_gans.drawing.grids import neighbours_picture
from lightning_gans.metrics.states import KeptImages

SCORES = ("distance", "distance_min", "copies")
COPY = 0.5  # of the second nearest's distance: one or two of 1,000 real test digits are as near to 500 others
NUMBERS = 1 << 24  # of training samples compared at a time: 128 MB


class Neighbours(NamedTuple):
    """Places of samples (n,), ascending; their nearest training samples' distances and places (n, k)."""

    samples: Tensor
    distances: Tensor
    indices: Tensor


class NearestNeighbours(KeptImages):
    """Exact nearest training images of a few generated ones, by Euclidean distance of pixels in [0, 1].

    Each batch of training images is searched at once, and only the smallest distances and their places are
    kept: memory is num_samples images. So all generated images must be added before the first training image:
    first ``update(..., real=False)``, then ``update(..., real=True)``. The first such call collects the
    samples of all ranks: each rank must make it, with an empty batch if it has no image. ``reset`` deletes
    the samples.

    After ``compute``, :attr:`nearest` has the nearest training images of each sample.

    Args:
        num_samples: Generated samples that are looked up: the first ones by ``index``, which are of the
            same latents in each evaluation.
        num_neighbours: Neighbours of each.

    Raises:
        ValueError: If an argument is not positive.
    """

    sides = ("fake",)
    real_split = "train"  # the images that a generator may have copied
    empty_batches = True  # all ranks must begin the search
    prefix: ClassVar[str] = "neighbour"
    scores: tuple[str, ...] = tuple(f"neighbour_{name}" for name in SCORES)
    distances: list[Tensor]
    indices: list[Tensor]

    def __init__(self, num_samples: int = 16, num_neighbours: int = 5) -> None:
        super().__init__()
        at_least(1, num_samples=num_samples, num_neighbours=num_neighbours)
        self.num_samples = num_samples
        self.num_neighbours = num_neighbours
        self.add_state("distances", [], dist_reduce_fx="cat")
        self.add_state("indices", [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Delete samples and the neighbours that were found."""
        super().reset()
        # No metric state: it is the same on all ranks once the search has begun.
        self._queries: Tensor | None = None
        self._places = torch.zeros(0, dtype=torch.int64)
        self.nearest: Neighbours | None = None

    def update(self, images: Tensor, index: Tensor, real: bool) -> None:
        """Add generated samples, or search training samples for their neighbours.

        Args:
            images: uint8 (n, C, H, W).
            index: Their places (n,) among the generated samples or in the training data.
            real: Whether they are training samples.

        Raises:
            ValueError: If generated samples come after training samples, or there is none.
        """
        if not real:
            if self._queries is not None:
                raise ValueError("the search has begun: give generated samples before the training samples")
            self.keep(images, index, "fake")
            return
        shaped((len(images),), "whole", index=index)
        images = self._check(images, index)
        if self._queries is None:
            with self.sync_context():  # collects the samples of all ranks
                self._places, self._queries = self.kept("fake", 1)
        found = (self.distances[0].T, self.indices[0].T) if len(self.distances) else None
        distances, indices = _search(self._queries, images, index, max(2, self.num_neighbours), found)
        self.distances, self.indices = [distances.T], [indices.T]  # (k, n): ranks are joined along k

    def most(self, side: str) -> int:
        """Return how many samples are looked up at most."""
        return self.num_samples

    def compute(self) -> dict[str, Tensor]:
        """Return the samples' distances from the nearest training sample, and how many are copies.

        Returns:
            ``neighbour_distance``, ``neighbour_distance_min``, and ``neighbour_copies``: the share of samples
            that are at most half as far from their nearest training sample as from the second nearest, 0 if
            there is no second; with features the names begin with ``feature_``. Float64.

        Raises:
            ValueError: If there was no training sample.
        """
        if self._queries is None or not sum(map(len, self.distances)):
            raise ValueError("there is no training sample: call update with real=True before compute")
        found = dim_zero_cat(self.distances).T, dim_zero_cat(self.indices).T
        distances, indices = _in_unit_range(*_best(*found, max(2, self.num_neighbours)), self._queries)
        first, second = distances[:, 0], distances[:, 1:2]
        copies = (first[:, None] <= COPY * second).double().sum() / len(first)
        self.nearest = Neighbours(
            self._places, distances[:, : self.num_neighbours], indices[:, : self.num_neighbours]
        )
        return dict(zip(self.scores, (first.mean(), first.min(), copies), strict=True))

    def pictures(
        self, samples: Callable[[Tensor], Tensor], real: Callable[[Tensor], Tensor]
    ) -> dict[str, Image.Image]:
        """Draw samples beside the training images that are nearest to them.

        Args:
            samples: Returns the generated images at some places.
            real: Returns the training images at some places.
        """
        if self.nearest is None:
            return {}
        near = torch.stack([real(row) for row in self.nearest.indices.cpu()])
        return {f"neighbours/{self.prefix}": neighbours_picture(samples(self.nearest.samples.cpu()), near)}


class FeatureNeighbours(NearestNeighbours):
    """Exact nearest training images of a few generated ones, by Euclidean distance of their features.

    As :class:`NearestNeighbours`, with features (n, d) in place of images.
    """

    what = "features"
    dims = 1
    prefix = "feature_neighbour"
    scores = tuple(f"feature_neighbour_{name}" for name in SCORES)

    def update(self, features: Tensor, index: Tensor, real: bool) -> None:
        """Add features (n, d) of generated samples, or search those of training samples for neighbours."""
        super().update(features, index, real)


def nearest_neighbours(samples: Tensor, training: Tensor, num_neighbours: int = 5) -> tuple[Tensor, Tensor]:
    """Find the nearest training samples; the function behind :class:`NearestNeighbours`.

    Args:
        samples: (n, ...): bytes, which are divided by 255, or floats.
        training: (N, ...), of the same shape and type.
        num_neighbours: Neighbours of each; at most N.

    Returns:
        Euclidean distances, float64 (n, k), ascending, and places in ``training``, int64 (n, k). Of training
        samples at the same distance the first comes first.

    Raises:
        ValueError: If shapes do not fit or something is empty.
    """
    if samples.shape[1:] != training.shape[1:] or not len(samples) or not len(training):
        raise ValueError(
            f"samples and training have shapes {tuple(samples.shape)} and {tuple(training.shape)}: "
            "give at least one of each, all of one size"
        )
    index = torch.arange(len(training), device=samples.device)
    return _in_unit_range(*_search(samples, training, index, num_neighbours), samples)


Found = tuple[Tensor, Tensor]  # distances and places (n, k)


def _search(
    samples: Tensor, training: Tensor, index: Tensor, count: int, found: Found | None = None
) -> Found:
    """Search training samples (n, ...) with places (n,); return the best of these and of ``found``."""
    queries = samples.flatten(1).double().to(training.device)
    found = found or (queries[:, :0], index.new_zeros(len(queries), 0))
    # Bytes are not scaled: squared distances are exact whole numbers, and equal ones compare as equal.
    chunk = max(1, NUMBERS // queries.shape[1])
    for part, places in zip(training.split(chunk), index.split(chunk), strict=True):
        order = places.argsort()
        points, places = part[order].flatten(1).double(), places[order]
        # Without |query|^2, which does not change the order.
        squares = points.square().sum(1) - 2 * queries @ points.T
        near = squares.sort(dim=1, stable=True).indices[:, :count]
        # Computed from differences, without cancellation, so that the distance of a copy is exactly zero.
        distances = torch.stack(
            [(query - points[row]).square().sum(1).sqrt() for query, row in zip(queries, near, strict=True)]
        )
        joined = torch.cat([found[0], distances], 1), torch.cat([found[1], places[near]], 1)
        found = _best(*joined, count)
    return found


def _best(distances: Tensor, indices: Tensor, count: int) -> Found:
    """Return the ``count`` smallest distances of each row; of equal ones those with the lower index."""
    order = indices.argsort(dim=1)
    distances, indices = distances.gather(1, order), indices.gather(1, order)
    order = distances.sort(dim=1, stable=True).indices[:, :count]
    return distances.gather(1, order), indices.gather(1, order)


def _in_unit_range(distances: Tensor, indices: Tensor, samples: Tensor) -> Found:
    """Divide the distances of bytes by 255, to those of values in [0, 1]."""
    return distances / (255 if samples.dtype == torch.uint8 else 1), indices
