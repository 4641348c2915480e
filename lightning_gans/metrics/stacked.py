"""Modes of stacked MNIST: three digits, one in each colour channel, make 1000 modes (VEEGAN, PacGAN)."""

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_gans import checks
from lightning_gans.metrics.balance import balance_scores
from lightning_gans.metrics.states import check_finite


class StackedModes(Metric):
    """Number of modes reached, and KL divergence of the distribution over modes from the uniform one.

    Both depend on the number of samples n: perfect ones reach all 1000 modes and have a KL of about
    999 / (2 n), 0.019 for the 26,000 of VEEGAN and PacGAN and 0.025 for 20,000; 2,500 samples miss about 82
    modes. States are summed over ranks.

    Args:
        num_modes: Number of modes.
        min_count: Samples that a mode needs to count as reached.

    Raises:
        ValueError: If an argument is too small.
    """

    full_state_update = False
    scores = ("modes", "kl")
    counts: Tensor

    def __init__(self, num_modes: int = 1000, min_count: int = 1) -> None:
        super().__init__()
        checks.at_least(2, num_modes=num_modes)
        checks.at_least(1, min_count=min_count)
        self.num_modes = num_modes
        self.min_count = min_count
        self.add_state("counts", torch.zeros(num_modes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, modes: Tensor) -> None:
        """Add the modes (n,) of generated samples, as :func:`stacked_labels` gives them."""
        checks.labels(self.num_modes, modes=modes)
        self.counts += torch.bincount(modes, minlength=self.num_modes)

    def compute(self) -> dict[str, Tensor]:
        """Return the scores that :func:`mode_count_and_kl` describes."""
        return _scores(self.counts, self.min_count)


def mode_count_and_kl(labels: Tensor, num_modes: int = 1000, min_count: int = 1) -> dict[str, Tensor]:
    """Score the modes of generated samples; the function behind :class:`StackedModes`.

    Args:
        labels: Mode of each sample, int64 (n,).
        num_modes: Number of modes.
        min_count: Samples that a mode needs to count as reached.

    Returns:
        ``modes``: number of modes reached. ``kl``: sum of p log(p num_modes) over the modes with samples, in
        nats: 0 if all have as many, log num_modes if one has all. Both float64.

    Raises:
        ValueError: If there is no sample, or a label is out of range.
    """
    checks.at_least(2, num_modes=num_modes)
    checks.at_least(1, min_count=min_count)
    checks.labels(num_modes, labels=labels)
    return _scores(torch.bincount(labels, minlength=num_modes), min_count)


def stacked_labels(logits: Tensor) -> Tensor:
    """Return the mode of each stack, 100 a + 10 b + c for the digits a, b, c of three channels.

    Args:
        logits: (n, channels, classes), from a classifier of single digits, for each channel.

    Returns:
        int64 (n,), from 0 to classes ** channels - 1; the first channel has the highest place value.

    Raises:
        ValueError: If the shape is another one, or a logit is not finite.
    """
    if logits.dim() != 3:
        raise ValueError(f"logits have shape {tuple(logits.shape)}: give (n, channels, classes)")
    check_finite(logits.flatten(1), "logits", 0)
    labels = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    for digit in logits.argmax(2).unbind(1):
        labels = labels * logits.shape[2] + digit
    return labels


def _scores(counts: Tensor, min_count: int) -> dict[str, Tensor]:
    found = balance_scores(counts, None, min_count)
    return {"modes": found["modes"], "kl": found["class_kl"]}
