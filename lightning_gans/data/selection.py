"""Choose the samples that a run uses and the labels that they keep, by a seed; reads labels only."""

from collections.abc import Sequence

import torch
from torch import Tensor


def of_classes(labels: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the samples of some classes, and their labels numbered anew in the order of ``classes``.

    Args:
        labels: int64 (N,), -1 for unlabeled samples, which are left out.
        classes: The classes, each once.

    Returns:
        Indices in ascending order, int64 (n,), and new labels 0 to ``len(classes) - 1``, int64 (n,).
    """
    new = torch.full((max(int(labels.max()), *classes) + 2,), -1)
    new[torch.as_tensor(classes)] = torch.arange(len(classes))
    relabeled = new[labels]  # label -1 indexes the additional last entry, which stays -1
    indices = (relabeled >= 0).nonzero().squeeze(1)
    return indices, relabeled[indices]


def imbalanced(labels: Tensor, weights: Sequence[float], seed: int) -> Tensor:
    """Return the samples that remain when each class keeps a share of its own.

    Args:
        labels: int64 (N,); unlabeled samples (-1) all remain.
        weights: Share in [0, 1] that each class keeps.
        seed: Decides which samples; those of a smaller share are among those of a larger one.

    Returns:
        Indices in ascending order, int64 (n,): ``round(weight * count)`` of each class.
    """
    shares = torch.tensor([*weights, 1.0], dtype=torch.float64)
    counts = torch.bincount(labels.where(labels >= 0, len(weights)), minlength=len(shares))
    kept = (shares * counts).round()
    return (_places(labels, seed) < kept[labels]).nonzero().squeeze(1)


def of_each_class(labels: Tensor, size: int, seed: int) -> Tensor:
    """Return equally many samples of each class that occurs.

    Args:
        labels: int64 (N,); unlabeled samples (-1) are left out.
        size: How many of each class.
        seed: Decides which samples; those of a smaller size are among those of a larger one.

    Returns:
        Indices in ascending order, int64 (n,).

    Raises:
        ValueError: If a class has fewer samples.
    """
    classes, counts = labels[labels >= 0].unique(return_counts=True)
    if len(classes) == 0:
        raise ValueError(f"limit_per_class={size} needs labels, but no training sample has one: use limit")
    rarest = int(counts.argmin())
    if counts[rarest] < size:
        what = f"{counts[rarest]} training samples of class {classes[rarest]}"
        raise ValueError(f"limit_per_class={size} exceeds the {what}: use at most {counts[rarest]}")
    return ((labels >= 0) & (_places(labels, seed) < size)).nonzero().squeeze(1)


def partly_unlabeled(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Keep a share of the labels, equally many of each class, and set all others to -1.

    The GOLD paper's levels of supervision. A class with too few samples keeps them all and the others make up
    for it. The labels of a smaller fraction are among those of a larger one.

    Args:
        labels: int64 (N,).
        fraction: Share of the labels that is kept, in (0, 1].
        seed: Decides which labels.

    Returns:
        int64 (N,) with ``round(fraction * labelled)`` labels.

    Raises:
        ValueError: If a class would be left without any label.
    """
    labelled = int((labels >= 0).sum())
    size, present = round(fraction * labelled), _num_classes(labels)
    if size < present:
        least = f"{present / max(labelled, 1):.2g}"
        raise ValueError(
            f"label_fraction={fraction} is less than a label for each class: use {least} or more"
        )
    return _with_labels(labels, size, seed)


def mostly_unlabeled(labels: Tensor, size: int, seed: int) -> Tensor:
    """Keep so many labels, equally many of each class, and set all others to -1.

    Args:
        labels: int64 (N,).
        size: How many labels are kept; as for :func:`partly_unlabeled`, smaller sets are part of larger ones.
        seed: Decides which labels.

    Returns:
        int64 (N,) with ``size`` labels.

    Raises:
        ValueError: If there are fewer labels, or a class would be left without any.
    """
    labelled, present = int((labels >= 0).sum()), _num_classes(labels)
    if size > labelled:
        raise ValueError(f"num_labels={size} exceeds the {labelled} labels of the training samples: lower it")
    if size < present:
        raise ValueError(
            f"num_labels={size} is less than a label for each class: use {present} or more, or fewer classes"
        )
    return _with_labels(labels, size, seed)


def _num_classes(labels: Tensor) -> int:
    return len(labels[labels >= 0].unique())


def _with_labels(labels: Tensor, size: int, seed: int) -> Tensor:
    """Return the labels with all but ``size`` of them set to -1."""
    labelled = (labels >= 0).nonzero().squeeze(1)
    kept = labelled[_places(labels[labelled], seed).argsort(stable=True)[:size]]
    result = torch.full_like(labels, -1)
    result[kept] = labels[kept]
    return result


def _places(labels: Tensor, seed: int) -> Tensor:
    """Return for each sample its position, from 0, in a random order of the samples of its class."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    grouped = order[labels[order].argsort(stable=True)]
    counts = torch.unique_consecutive(labels[grouped], return_counts=True)[1]
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    places = torch.empty_like(order)
    places[grouped] = torch.arange(len(labels)) - starts
    return places
