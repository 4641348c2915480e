"""Linear SVMs over given features: how well classes can be told apart by them, as DCGAN's tables 1 and 2 ask.

Source: Radford et al., 2015, arXiv 1511.06434, sections 5.1 and 5.2, and the authors' code for SVHN.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

C_GRID = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)


class Labelled(NamedTuple):
    """Samples with their classes.

    Attributes:
        features: float32 (n, d).
        labels: int64 (n,).
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    def at(self, places: NDArray[np.int64]) -> "Labelled":
        """Return the samples at some places (k,)."""
        return Labelled(self.features[places], self.labels[places])


@dataclass(frozen=True)
class SVMErrors:
    """Shares of images, in [0, 1], that SVMs classify wrongly.

    Attributes:
        test: Of the test samples, for each draw.
        validation: Of the validation samples by the penalty C, a mean over the draws that chose it.
        c: The penalty that was chosen.
    """

    test: tuple[float, ...]
    validation: dict[float, float]
    c: float

    @property
    def mean(self) -> float:
        """The mean over the draws."""
        return float(np.mean(self.test))

    @property
    def interval(self) -> float:
        """1.96 standard deviations over the draws, as the paper has it."""
        return 1.96 * float(np.std(self.test))


def svm_error(train: Labelled, test: Labelled, c: float, seed: int = 0) -> float:
    """Train an SVM and return the share of test samples that it classifies wrongly.

    It is linear, one against the rest, with an L2 penalty and the squared hinge loss; features are taken as
    they are (scikit-learn's ``LinearSVC``, which the authors used).

    Args:
        train: What it is trained on, of two classes at least.
        test: What it is tested on.
        c: Weight of the loss against the penalty.
        seed: Decides the order in which it looks at samples.
    """
    from sklearn.svm import LinearSVC  # takes half a second, which others can do without

    svm = LinearSVC(C=c, dual="auto", random_state=seed).fit(*train)
    return float(np.mean(svm.predict(test.features) != test.labels))


def svm_errors(
    known: Labelled,
    draws: Sequence[NDArray[np.int64]],
    validation: NDArray[np.int64],
    test: Labelled,
    grid: Sequence[float] = C_GRID,
    whole: bool = False,
    seed: int = 0,
    done: Callable[[], Any] = lambda: None,
) -> SVMErrors:
    """Choose C by validation samples, then test an SVM of each draw; a tenth of the draws chooses C.

    Args:
        known: The training and the validation samples.
        draws: Places in ``known``, each draw those of a training set.
        validation: Places in ``known`` of the samples that C is chosen by; of equal ones the smallest.
        test: What the errors are those of.
        grid: The C to choose from.
        whole: Test one SVM of all ``known`` in place of those of the draws.
        seed: As for :func:`svm_error`.
        done: Called after each SVM: :func:`svm_count` times.
    """

    def error(train: Labelled, tested: Labelled, c: float) -> float:
        found = svm_error(train, tested, c, seed)
        done()
        return found

    held_out = known.at(validation)
    choosing = [known.at(places) for places in draws[: _choosing(draws)]]
    by_c = {c: float(np.mean([error(each, held_out, c) for each in choosing])) for c in sorted(grid)}
    best = min(by_c, key=lambda c: by_c[c])
    trained = [known] if whole else (known.at(places) for places in draws)
    return SVMErrors(tuple(error(each, test, best) for each in trained), by_c, best)


def svm_count(draws: Sequence[Any], grid: Sequence[float], whole: bool = False) -> int:
    """Return how many SVMs :func:`svm_errors` trains."""
    return len(grid) * _choosing(draws) + (1 if whole else len(draws))


def _choosing(draws: Sequence[Any]) -> int:
    return math.ceil(len(draws) / 10)
