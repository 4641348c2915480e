"""What a classifier says of generated samples: how often each class is made, and how clearly."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.metrics.states import LazyMetric


class ClassBalance(LazyMetric):
    """Shares of the classes that a classifier sees in generated samples.

    States are summed over ranks.

    Args:
        shares: Shares of the classes in the data, of any sum; by default all are equal.
        min_count: Samples that a class needs to count as found.

    Raises:
        ValueError: If an argument is too small, or shares do not fit.
    """

    scores = ("modes", "class_balance", "class_kl", "share_per_class")
    what = "logits"
    counts: Tensor

    def __init__(self, shares: Sequence[float] | None = None, min_count: int = 1) -> None:
        checks.at_least(1, min_count=min_count)
        super().__init__()
        self.shares = _shares(None if shares is None else len(shares), shares)
        self.min_count = min_count

    def sums(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return the states' shapes: samples of each class."""
        _shares(size, self.shares)
        return {"counts": (size,)}

    def update(self, logits: Tensor) -> None:
        """Add a classifier's logits (n, K) of generated samples."""
        logits = self._check(logits, 0 if self.shape is None else int(self.counts.sum()))
        self.counts += torch.bincount(logits.argmax(1), minlength=logits.shape[1])

    def compute(self) -> dict[str, Tensor]:
        """Return the scores that :func:`class_balance` describes."""
        if self.shape is None:
            raise ValueError("there is no sample whose class could be counted")
        return balance_scores(self.counts, self.shares, self.min_count)


class TopProbability(LazyMetric):
    """Mean probability of the class that a classifier takes a sample for: how readable digits are.

    It says nothing of variety: give it beside :class:`ClassBalance`. Its ceiling is what real images have.
    States are summed over ranks.
    """

    higher_is_better = True
    scores = ("top_probability",)
    what = "logits"
    totals: Tensor

    def sums(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return the states' shapes: the sum of the top probabilities, and the number of samples."""
        return {"totals": (2,)}

    def update(self, logits: Tensor) -> None:
        """Add a classifier's logits (n, K) of generated samples."""
        logits = self._check(logits, 0 if self.shape is None else int(self.totals[1]))
        top = logits.double().softmax(1).amax(1)
        self.totals += torch.stack([top.sum(), top.new_tensor(len(top))])

    def compute(self) -> dict[str, Tensor]:
        """Return ``top_probability``, float64."""
        if self.shape is None:
            raise ValueError("there is no sample whose class could be told")
        return {"top_probability": self.totals[0] / self.totals[1]}


def class_balance(
    labels: Tensor, num_classes: int, shares: Sequence[float] | Tensor | None = None, min_count: int = 1
) -> dict[str, Tensor]:
    """Score the classes of generated samples; the function behind :class:`ClassBalance`.

    Args:
        labels: Class of each sample, as a classifier sees it, int64 (n,).
        num_classes: Number of classes.
        shares: Shares of the classes in the data, of any sum; by default all are equal.
        min_count: Samples that a class needs to count as found.

    Returns:
        ``modes``: number of classes found. ``class_kl``: KL divergence of the generated classes from
        ``shares``, in nats; infinite if the data lacks a class that was generated. ``class_balance``:
        smallest by largest share, each relative to its entry in ``shares``: from 0 (a class is missing) to 1.
        ``share_per_class``: (num_classes,). All float64.

    Raises:
        ValueError: If there is no sample, a label is out of range, or shares do not fit.
    """
    given = _shares(num_classes, shares)
    checks.labels(num_classes, labels=labels)
    return balance_scores(torch.bincount(labels, minlength=num_classes), given, min_count)


def _shares(num_classes: int | None, given: Sequence[float] | Tensor | None) -> Tensor | None:
    checks.at_least(2, num_classes=num_classes)
    shares = None if given is None else torch.as_tensor(given, dtype=torch.float64)
    if shares is not None and (shares.shape != (num_classes,) or not (shares >= 0).all() or not shares.any()):
        raise ValueError(
            f"shares={shares.tolist()} must be {num_classes} numbers, none negative and not all zero"
        )
    return shares


def balance_scores(counts: Tensor, shares: Tensor | None, min_count: int) -> dict[str, Tensor]:
    """Compute the scores of :func:`class_balance` from the number of samples of each class (K,)."""
    total = counts.sum()
    if total == 0:
        raise ValueError("there is no sample whose class could be counted")
    share = counts.double() / total
    expected = torch.ones_like(share) if shares is None else shares.to(share.device)
    expected = expected / expected.sum()
    there, possible = share > 0, expected > 0
    ratio = share[possible] / expected[possible]
    return {
        "modes": (counts >= min_count).sum().double(),
        "class_kl": torch.xlogy(share[there], share[there] / expected[there]).sum(),
        # If no sample is of the data's classes, the largest ratio is zero, too.
        "class_balance": ratio.min() / ratio.max().clamp(min=torch.finfo(torch.float64).tiny),
        "share_per_class": share,
    }
