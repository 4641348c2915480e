"""Inception score (arXiv 1606.03498) and DeLiGAN's modified one (arXiv 1706.02071)."""

import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_gans.checks import at_least
from lightning_gans.metrics.states import KeptSamples, LazyMetric, check_count, check_finite


class IS(KeptSamples):
    """Inception score: exp(E KL(p(y|x) || p(y))), mean and deviation over contiguous parts of the samples.

    Part i of N samples is ``i * N // splits`` up to ``(i + 1) * N // splits``, as in torch-fidelity. The part
    of a sample follows from its number (``order``), so that ranks may share them in any way. All logits are
    kept: 4 bytes a number, 202 MB for 50,000 samples of 1008 classes, on every rank.

    Args:
        splits: Number of parts; 1 for the score of all samples, as StudioGAN reports it.
        shuffle_seed: Shuffle the samples first, with this seed of NumPy; torch-fidelity does with 2020. An
            evaluation gives numbers by content, which are in no order of classes.

    Raises:
        ValueError: If splits is not positive; in an evaluation, if there are fewer samples.
    """

    higher_is_better = True
    scores = ("is", "is_std")
    what = "logits"
    sides = ("fake",)

    def __init__(self, splits: int = 10, shuffle_seed: int | None = None) -> None:
        super().__init__()
        at_least(1, splits=splits)
        self.splits, self.shuffle_seed = splits, shuffle_seed

    def fill_in(self, data: Any, num_classes: int | None, num_samples: int | None) -> None:
        """Check that there will be as many samples as parts."""
        _check_parts(num_samples or self.splits, self.splits)

    def update(self, logits: Tensor, order: Tensor) -> None:
        """Add a batch of generated samples.

        Args:
            logits: (n, K), finite.
            order: int64 (n,), numbers that sort the samples, the same whatever the sharding over ranks.

        Raises:
            ValueError: If shapes do not fit, or a logit is not finite.
        """
        self.keep(logits, order, "fake")

    def compute(self) -> dict[str, Tensor]:
        """Return ``is`` and ``is_std``: mean and deviation (of the population) over the parts.

        Raises:
            ValueError: If there are fewer than two samples, or than splits, or a number occurs twice.
        """
        return inception_score(self.kept("fake")[1], self.splits, self.shuffle_seed)


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
    n = len(logits)
    check_count(n, "generated", "IS")
    _check_parts(n, splits)
    check_finite(logits, "logits", 0)
    if shuffle_seed is not None:
        logits = logits[
            torch.from_numpy(np.random.RandomState(shuffle_seed).permutation(n)).to(logits.device)
        ]
    parts = logits.detach().tensor_split([i * n // splits for i in range(1, splits)])
    scores = torch.stack([_score_of_part(part) for part in parts])
    return {"is": scores.mean(), "is_std": scores.std(correction=0)}


def _check_parts(samples: int, splits: int) -> None:
    at_least(1, splits=splits)
    if samples < splits:
        raise ValueError(
            f"IS cannot split {samples} samples into {splits} parts: give fewer splits or more samples"
        )


def _score_of_part(logits: Tensor) -> Tensor:
    sums = []
    for chunk in logits.split(10_000):  # in parts, which limits the memory for copies in float64
        log_p = chunk.double().log_softmax(dim=1)
        p = log_p.exp()
        sums.append((p.sum(dim=0), (p * log_p).sum()))
    marginal, own = (torch.stack(x).sum(dim=0) / len(logits) for x in zip(*sums, strict=True))
    return (own - torch.xlogy(marginal, marginal).sum()).exp()


class ModifiedIS(LazyMetric):
    """DeLiGAN's modified inception score: the variety of samples within each predicted class.

    For every predicted class, s = exp(E_i E_j KL(p_i || p_j)) over its samples; the mean over classes. The
    double sum over pairs has a closed form,
    log s = mean_i sum_k p_ik log p_ik - sum_k (mean_i p_ik) (mean_j log p_jk).
    So sums for every class are enough, added over ranks: 2 K^2 numbers, 16 MB for 1008 classes.

    It is 1 if every class is collapsed, has no upper bound, and grows with the noise of an unsure classifier:
    report the classifier, its accuracy and the number of samples with it.
    """

    higher_is_better = True
    scores = ("mis", "mis_std", "mis_classes", "mis_pooled", "mis_per_class")
    what = "logits"
    n: Tensor
    sum_p: Tensor
    sum_logp: Tensor
    sum_plogp: Tensor

    def sums(self, size: int) -> dict[str, tuple[int, ...]]:
        """Return the states' shapes: number, sum of p, log p and p log p of every predicted class."""
        return {"n": (size,), "sum_p": (size, size), "sum_logp": (size, size), "sum_plogp": (size,)}

    def update(self, logits: Tensor) -> None:
        """Add logits (n, K) of generated samples.

        Raises:
            ValueError: If shapes do not fit, or a logit is not finite.
        """
        logits = self._check(logits, 0 if self.shape is None else int(self.n.sum()))
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
        if self.shape is None:
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
