"""Which samples remain: known answers and invariances."""

from itertools import pairwise

import pytest
import torch

from lightning_gans.data.selection import imbalanced, of_classes, of_each_class, partly_unlabeled

LABELS = torch.tensor([3, 1, -1, 0, 1, 3, 3, 2, 0, -1])


def test_classes_are_numbered_in_the_given_order():
    indices, labels = of_classes(LABELS, [3, 0])
    assert indices.tolist() == [0, 3, 5, 6, 8]
    assert labels.tolist() == [0, 1, 0, 0, 1]


def test_a_class_without_samples():
    indices, labels = of_classes(LABELS, [7, 2])
    assert indices.tolist() == [7]
    assert labels.tolist() == [1]


@pytest.mark.parametrize("seed", range(5))
def test_imbalance_keeps_exact_shares(seed):
    labels = torch.arange(1000) % 4
    kept = imbalanced(labels, [1, 0.5, 0.01, 0], seed)
    assert torch.bincount(labels[kept], minlength=4).tolist() == [250, 125, 2, 0]
    assert (kept.diff() > 0).all()
    fewer = imbalanced(labels, [0.9, 0.1, 0, 0], seed)
    assert set(fewer.tolist()) < set(kept.tolist())
    assert torch.equal(kept, imbalanced(labels, [1, 0.5, 0.01, 0], seed))
    assert not torch.equal(kept, imbalanced(labels, [1, 0.5, 0.01, 0], seed + 1))


def test_imbalance_leaves_unlabeled_samples_alone():
    assert imbalanced(LABELS, [0, 0, 0, 0], 0).tolist() == [2, 9]


@pytest.mark.parametrize("percent", [1, 5, 10, 20, 50, 100])
def test_the_gold_papers_levels_of_supervision(percent):
    labels = torch.arange(6000) % 10
    partial = partly_unlabeled(labels, percent / 100, seed=0)
    assert torch.bincount(partial[partial >= 0], minlength=10).tolist() == [6 * percent] * 10
    assert (partial == -1).sum() == 6000 - 60 * percent
    named = partial >= 0
    assert torch.equal(partial[named], labels[named])


def test_smaller_fractions_are_part_of_larger_ones():
    labels = torch.randint(0, 7, (500,), generator=torch.Generator().manual_seed(0))
    masks = [partly_unlabeled(labels, fraction, seed=3) >= 0 for fraction in (0.02, 0.1, 0.5, 1.0)]
    for smaller, larger in pairwise(masks):
        assert (larger | ~smaller).all()
        assert larger.sum() > smaller.sum()
    assert masks[-1].all()


def test_rare_classes_keep_all_their_labels_and_the_others_make_up_for_it():
    labels = torch.tensor([0] * 90 + [1] * 10)
    partial = partly_unlabeled(labels, 0.5, seed=0)
    assert [(partial == label).sum().item() for label in (0, 1, -1)] == [40, 10, 50]


def test_labels_that_are_missing_already_stay_missing():
    partial = partly_unlabeled(LABELS, 0.5, seed=0)
    assert sorted(partial[partial >= 0].tolist()) == [0, 1, 2, 3]
    assert (partial[LABELS < 0] == -1).all()


def test_too_small_a_fraction():
    with pytest.raises(ValueError, match=r"label_fraction=0.1 .* use 0.5 or more"):
        partly_unlabeled(LABELS, 0.1, seed=0)


@pytest.mark.parametrize("seed", range(3))
def test_equally_many_of_each_class(seed):
    labels = torch.arange(1000) % 7 - 1
    kept = of_each_class(labels, 50, seed)
    assert torch.bincount(labels[kept]).tolist() == [50] * 6
    assert (kept.diff() > 0).all()
    assert set(of_each_class(labels, 20, seed).tolist()) < set(kept.tolist())
    assert torch.equal(kept, of_each_class(labels, 50, seed))
    assert not torch.equal(kept, of_each_class(labels, 50, seed + 1))
    assert of_each_class(LABELS, 1, seed)[0] >= 0


def test_too_few_of_a_class():
    with pytest.raises(
        ValueError, match=r"limit_per_class=2 exceeds the 1 training samples of class 2: use at most 1"
    ):
        of_each_class(LABELS, 2, seed=0)
    with pytest.raises(ValueError, match=r"limit_per_class=2 needs labels, but no training sample has one"):
        of_each_class(torch.tensor([-1, -1]), 2, seed=0)
