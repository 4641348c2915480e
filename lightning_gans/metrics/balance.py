"""Class balance: does a generator make some classes more often than others?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.metrics.states import LazyMetric


class ClassBalance(LazyMetric):
    """Shares of the classes that a classifier sees in generated samples.

    States are summed over ranks.

    Args:
        num_classes: Number of classes; the first batch tells it otherwise.
        shares: Shares of the classes in the data, of any sum; by default all are equal.
        min_count: Samples that a class needs to count as found.

    Raises:
        ValueError: If an argument is too small, or shares do not fit.
    """

    scores = ("modes", "class_balance", "class_kl", "share_per_class")
    what = "logits"
    counts: Tensor

    def __init__(
        self, num_classes: int | None = None, shares: Sequence[float] | None = None, min_count: int = 1
    ) -> None:
        checks.at_least(1, min_count=min_count)
        given = None if shares is None else torch.as_tensor(shares, dtype=torch.float64)
        if num_classes is None and given is not None:
            num_classes = len(given)
        if num_classes is not None:
            _check_arguments(num_classes, given)
        super().__init__(num_classes)
        self.shares = given
        self.min_count = min_count

    def sums(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return the states' shapes: samples of each class."""
        return {"counts": (size,)}

    def update(self, logits: Tensor) -> None:
        """Add what a classifier says of generated samples, (n, K)."""
        logits = self._check(logits, int(self.counts.sum()) if self.size is not None else 0)
        self.counts += torch.bincount(logits.argmax(1), minlength=logits.shape[1])

    def compute(self) -> dict[str, Tensor]:
        """Return the scores that :func:`class_balance` describes."""
        if self.size is None:
            raise ValueError("there is no sample whose class could be counted")
        return _scores(self.counts, self.shares, self.min_count)


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
    given = None if shares is None else torch.as_tensor(shares, dtype=torch.float64)
    _check_arguments(num_classes, given)
    checks.labels(num_classes, labels=labels)
    return _scores(torch.bincount(labels, minlength=num_classes), given, min_count)


def _check_arguments(num_classes: int, shares: Tensor | None) -> None:
    checks.at_least(2, num_classes=num_classes)
    if shares is not None and (shares.shape != (num_classes,) or not (shares >= 0).all() or not shares.any()):
        raise ValueError(
            f"shares={shares.tolist()} must be {num_classes} numbers, none negative and not all zero"
        )


def _scores(counts: Tensor, shares: Tensor | None, min_count: int) -> dict[str, Tensor]:
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
        # Without any sample of the data's classes the largest ratio is zero, too.
        "class_balance": ratio.min() / ratio.max().clamp(min=torch.finfo(torch.float64).tiny),
        "share_per_class": share,
    }
