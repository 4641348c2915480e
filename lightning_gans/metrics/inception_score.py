"""Inception score (arXiv 1606.03498) and DeLiGAN's modified one (arXiv 1706.02071)."""

import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_gans.checks import at_least
from lightning_gans.metrics.states import LazyMetric, check_count, check_finite, check_index, in_order


class IS(LazyMetric):
    """Inception score: exp(E KL(p(y|x) || p(y))), mean and deviation over contiguous parts of the samples.

    Part i of N samples is ``i * N // splits`` up to ``(i + 1) * N // splits``, as in torch-fidelity. Where a
    sample belongs follows from its index and from the total number, so that sums are enough, and ranks may
    share the samples in any way. If the total is not known, all logits are kept: 4 bytes a number, 202 MB for
    50,000 samples of 1008 classes, on every rank. One part (``splits=1``) needs neither.

    Args:
        splits: Number of parts; 1 for the score of all samples, as StudioGAN reports it.
        samples: Total number of samples, if known; an evaluation fills it in.
        shuffle_seed: Shuffle the samples first, with this seed of NumPy; torch-fidelity does with 2020.
            Matters for the mean over parts if samples come in an order, such as class by class.
        num_classes: Size of the logits; the first batch tells it otherwise.

    Raises:
        ValueError: If there are fewer samples than splits.
    """

    higher_is_better = True
    scores = ("is", "is_std")
    what = "logits"
    n: Tensor
    sum_p: Tensor
    sum_plogp: Tensor
    logits: list[Tensor]
    index: list[Tensor]

    def __init__(
        self,
        splits: int = 10,
        samples: int | None = None,
        shuffle_seed: int | None = None,
        num_classes: int | None = None,
    ) -> None:
        _check_parts(splits if samples is None else samples, splits)
        self.splits = splits
        self.samples = samples
        self.shuffle_seed = shuffle_seed
        self._places: Tensor | None = None
        super().__init__(num_classes)

    def fill_in(self, data: Any, num_classes: int | None, num_samples: int | None) -> None:
        """Take the total number of samples."""
        if num_samples != self.samples:
            self.samples, self.shape = num_samples, None

    @property
    def keeps_logits(self) -> bool:
        """Whether all logits are kept, for want of the total number."""
        return self.splits > 1 and self.samples is None

    def sums(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return the states' shapes: number, sum of p and of p log p in every part."""
        if self.samples is not None:
            _check_parts(self.samples, self.splits)
        if self.keeps_logits:
            return {}
        return {"n": (self.splits,), "sum_p": (self.splits, size), "sum_plogp": (self.splits,)}

    def rows(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the states' types: logits and index, if they are kept."""
        if not self.keeps_logits:
            return {}
        return {"logits": torch.empty(0, *shape), "index": torch.empty(0, dtype=torch.int64)}

    def update(self, logits: Tensor, index: Tensor) -> None:
        """Add a batch of generated samples.

        Args:
            logits: (n, K), finite.
            index: int64 (n,), the samples' places among all, the same whatever the sharding over ranks.

        Raises:
            ValueError: If shapes do not fit, a logit is not finite, or an index is not below the total.
        """
        check_index(index, len(logits))
        logits = self._check(logits, index)
        index = index.to(logits.device)
        if self.keeps_logits:
            self.logits.append(logits.float())
            self.index.append(index)
        elif len(logits):
            n, sum_p, sum_plogp = _part_sums(logits, self._parts(index), self.splits)
            self.n += n
            self.sum_p += sum_p
            self.sum_plogp += sum_plogp

    def _parts(self, index: Tensor) -> Tensor:
        """Return the part (n,) that each sample belongs to."""
        if self.samples is None:
            return torch.zeros_like(index)
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= self.samples:
            raise ValueError(f"IS of samples={self.samples} got an index {low if low < 0 else high}")
        if self._places is None or len(self._places) != self.samples:
            self._places = _places(self.samples, self.shuffle_seed)
        self._places = self._places.to(index.device)
        return _part_of(self._places[index], self.samples, self.splits)

    def compute(self) -> dict[str, Tensor]:
        """Return ``is`` and ``is_std``: mean and deviation (of the population) over the parts.

        Raises:
            ValueError: If there are fewer than two samples, fewer than splits, others than the promised
                number, or an index occurs twice.
        """
        if self.size is None:
            check_count(0, "generated", "IS")
        if self.keeps_logits:
            _, logits = in_order(self.index, self.logits, side="generated")
            return inception_score(logits, self.splits, self.shuffle_seed)
        n = int(self.n.sum())
        check_count(n, "generated", "IS")
        if self.samples is not None and n != self.samples:
            raise ValueError(f"IS was promised samples={self.samples} and got {n}: every sample once, please")
        return _inception_scores(self.n, self.sum_p, self.sum_plogp)


def inception_score(logits: Tensor, splits: int = 10, shuffle_seed: int | None = None) -> dict[str, Tensor]:
    """Score logits (n, K), in order; see :class:`IS`.

    Args:
        logits: (n, K), finite.
        splits: Number of contiguous parts.
        shuffle_seed: Shuffle with this seed of NumPy first.

    Returns:
        ``is`` and ``is_std``, float64.

    Raises:
        ValueError: If there are fewer than two samples, or fewer than splits, or a logit is not finite.
    """
    check_count(len(logits), "generated", "IS")
    _check_parts(len(logits), splits)
    check_finite(logits, "logits", 0)
    places = _places(len(logits), shuffle_seed).to(logits.device)
    parts = _part_of(places, len(logits), splits)
    sums = [
        _part_sums(x, part, splits)
        for x, part in zip(logits.detach().split(10_000), parts.split(10_000), strict=True)
    ]
    n, sum_p, sum_plogp = (torch.stack(x).sum(dim=0) for x in zip(*sums, strict=True))
    return _inception_scores(n, sum_p, sum_plogp)


def _check_parts(samples: int, splits: int) -> None:
    at_least(1, splits=splits)
    if samples < splits:
        raise ValueError(
            f"IS cannot split {samples} samples into {splits} parts: give fewer splits or more samples"
        )


def _places(samples: int, shuffle_seed: int | None) -> Tensor:
    """Return where each sample stands after the shuffle, (samples,)."""
    places = torch.arange(samples)
    if shuffle_seed is None:
        return places
    order = torch.from_numpy(np.random.RandomState(shuffle_seed).permutation(samples))
    return places.scatter(0, order, places)


def _part_of(places: Tensor, samples: int, splits: int) -> Tensor:
    """Return the part s with s * samples // splits <= place < (s + 1) * samples // splits."""
    return ((places + 1) * splits - 1) // samples


def _part_sums(logits: Tensor, parts: Tensor, splits: int) -> tuple[Tensor, Tensor, Tensor]:
    log_p = logits.double().log_softmax(dim=1)
    p = log_p.exp()
    # A product with the indicators, not index_add: its order of summation is the same in every run on GPUs.
    members = F.one_hot(parts, splits).double().T
    return members.sum(dim=1), members @ p, members @ (p * log_p).sum(dim=1)


def _inception_scores(n: Tensor, sum_p: Tensor, sum_plogp: Tensor) -> dict[str, Tensor]:
    marginal = sum_p / n[:, None]
    scores = (sum_plogp / n - torch.xlogy(marginal, marginal).sum(dim=1)).exp()
    return {"is": scores.mean(), "is_std": scores.std(correction=0)}


class ModifiedIS(LazyMetric):
    """DeLiGAN's modified inception score: how varied are the samples that a classifier takes for one class?

    For every predicted class, s = exp(E_i E_j KL(p_i || p_j)) over its samples; the mean over classes. The
    double sum over pairs has a closed form,
    log s = mean_i sum_k p_ik log p_ik - sum_k (mean_i p_ik) (mean_j log p_jk).
    So sums for every class are enough, added over ranks: 2 K^2 numbers, 16 MB for 1008 classes.

    It is 1 if every class is collapsed, has no upper bound, and grows with the noise of an unsure classifier:
    publish classifier, its accuracy and the number of samples beside it.

    Args:
        num_classes: Size K of the logits; the first batch tells it otherwise.
    """

    higher_is_better = True
    scores = ("mis", "mis_std", "mis_classes", "mis_pooled", "mis_per_class")
    what = "logits"
    n: Tensor
    sum_p: Tensor
    sum_logp: Tensor
    sum_plogp: Tensor

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__(num_classes)

    def sums(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return the states' shapes: number, sum of p, log p and p log p of every predicted class."""
        return {"n": (size,), "sum_p": (size, size), "sum_logp": (size, size), "sum_plogp": (size,)}

    def update(self, logits: Tensor) -> None:
        """Add logits (n, K) of generated samples.

        Raises:
            ValueError: If shapes do not fit, or a logit is not finite.
        """
        logits = self._check(logits, 0 if self.size is None else int(self.n.sum()))
        n, sum_p, sum_logp, sum_plogp = _class_sums(logits)
        self.n += n
        self.sum_p += sum_p
        self.sum_logp += sum_logp
        self.sum_plogp += sum_plogp

    def compute(self) -> dict[str, Tensor]:
        """Return the scores that :func:`modified_inception_score` describes.

        Raises:
            ValueError: If there are fewer than two samples.
        """
        if self.size is None:
            check_count(0, "generated", "ModifiedIS")
        return _modified_scores(self.n, self.sum_p, self.sum_logp, self.sum_plogp)


def modified_inception_score(logits: Tensor) -> dict[str, Tensor]:
    """Score logits (n, K); see :class:`ModifiedIS`.

    Returns:
        ``mis``: mean over the classes in which at least two samples fall. ``mis_std``: deviation (of the
        population) over them. ``mis_classes``: their number. ``mis_per_class``: (K,), NaN for the others.
        With no such class, mean and deviation are NaN. ``mis_pooled``: exp of the mean of log s over all
        samples, as the paper's formula has it; a class with one sample has s = 1. All float64.

    Raises:
        ValueError: If there are fewer than two samples, or a logit is not finite.
    """
    check_finite(logits, "logits", 0)
    return _modified_scores(*_class_sums(logits.detach()))


def _class_sums(logits: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    log_p = logits.double().log_softmax(dim=1)
    p = log_p.exp()
    members = F.one_hot(logits.argmax(dim=1), logits.shape[1]).double().T
    return members.sum(dim=1), members @ p, members @ log_p, members @ (p * log_p).sum(dim=1)


def _modified_scores(n: Tensor, sum_p: Tensor, sum_logp: Tensor, sum_plogp: Tensor) -> dict[str, Tensor]:
    check_count(int(n.sum()), "generated", "ModifiedIS")
    used = n > 1
    if not used.any():
        warnings.warn("ModifiedIS: no predicted class has two samples; take more samples", stacklevel=2)
    logs = (sum_plogp - (sum_p * sum_logp).sum(dim=1) / n) / n
    per_class = torch.where(used, logs.exp(), torch.nan)
    pooled = (n[used] * logs[used]).sum() / n.sum()
    return {
        "mis": per_class[used].mean(),
        "mis_std": per_class[used].std(correction=0) if used.any() else per_class[0],
        "mis_classes": used.sum().double(),
        "mis_pooled": pooled.exp().double(),
        "mis_per_class": per_class,
    }
