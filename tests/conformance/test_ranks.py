"""Two processes on gloo, and four, with plain ``strategy=ddp``."""

import pytest

from .games import PAPERS


@pytest.fixture(params=[2, pytest.param(4, marks=pytest.mark.slow)])
def ranks(request, on_ranks):
    return on_ranks("tests.conformance.ranks", request.param)


@pytest.mark.parametrize("name", PAPERS)
def test_weights_are_equal_and_noise_differs(name, ranks):
    weights, noise = zip(
        *((rank[name]["weights"], tuple(rank[name]["noise"])) for rank in ranks), strict=True
    )
    assert len({*weights}) == 1
    assert len({*noise}) == len(ranks)


@pytest.mark.parametrize("name", PAPERS)
def test_nothing_but_the_gradients_of_those_who_step_travels(name, ranks):
    sent, needed = ranks[0][name]["traffic"]
    assert sent == needed > 0


@pytest.mark.parametrize(
    "name", ["DeLiGAN, threshold", "RealnessGAN, released anchors", "RealnessGAN, gathered"]
)
def test_ranks_share_schedule_and_anchors(name, ranks):
    assert ranks[0][name]["moved"]
    assert all(rank[name] == ranks[0][name] for rank in ranks)


@pytest.mark.parametrize("name", PAPERS)
def test_resumes_exactly(name, ranks):
    assert all(rank[name]["resumed"] for rank in ranks)


@pytest.mark.parametrize("name", PAPERS)
def test_a_step_of_all_ranks_is_one_step_on_the_joined_batch(name, ranks):
    assert ranks[0][name]["joined"] == []
    assert ranks[0][name]["moved"] > 1e-6
