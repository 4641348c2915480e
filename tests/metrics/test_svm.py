"""Linear SVMs over features: which C is chosen, by what, and what is tested."""

import numpy as np
import pytest

from lightning_gans.metrics.svm import Labelled, SVMErrors, svm_count, svm_error, svm_errors


def blobs(n, seed=0, noise=0.1):
    """Three classes, around the corners of a triangle; more noise, more errors."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    corners = np.array([[1, 0], [-1, 1], [-1, -1]])
    return Labelled((corners[labels] + noise * rng.normal(size=(n, 2))).astype(np.float32), labels)


def test_classes_that_a_line_separates():
    assert svm_error(blobs(30), blobs(60, 1), 1.0) == 0
    wrong = blobs(60, 1)
    assert svm_error(blobs(30), Labelled(wrong.features, (wrong.labels + 1) % 3), 1.0) == 1


def test_protocol(monkeypatch):
    """C is chosen by a tenth of the draws on the validation samples, and all draws are tested with it."""
    calls = []

    def error(train, test, c, seed):
        calls.append((train.labels.tolist(), test.labels.tolist(), c))
        return abs(c - 2) + 0.01 * len(calls) if len(test.labels) == 2 else train.labels[0] / 100

    monkeypatch.setattr("lightning_gans.metrics.svm.svm_error", error)
    known = Labelled(np.zeros((30, 1), np.float32), np.arange(30))
    test = Labelled(np.zeros((3, 1), np.float32), np.array([7, 8, 9]))
    draws = [np.array([i, i + 1]) for i in range(11)]
    count = []
    found = svm_errors(known, draws, np.array([20, 21]), test, (3, 2, 1), done=lambda: count.append(1))
    choosing, testing = calls[:6], calls[6:]
    assert choosing == [([i, i + 1], [20, 21], c) for c in (1, 2, 3) for i in (0, 1)]
    assert testing == [([i, i + 1], [7, 8, 9], 2) for i in range(11)]
    assert found.c == 2
    assert found.validation == pytest.approx({1: 1.015, 2: 0.035, 3: 1.055})
    assert found.test == tuple(i / 100 for i in range(11))
    assert len(count) == svm_count(draws, (1, 2, 3)) == 17

    calls.clear()
    found = svm_errors(known, draws[:1], np.array([20, 21]), test, (2,), whole=True)
    assert calls[-1] == (list(range(30)), [7, 8, 9], 2)  # the validation samples too
    assert len(calls) == svm_count(draws[:1], (2,), whole=True) == 2


def test_mean_and_interval():
    found = SVMErrors((0.1, 0.3), {}, 1.0)
    assert found.mean == pytest.approx(0.2)
    assert found.interval == pytest.approx(0.196)
