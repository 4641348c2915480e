"""Two processes on gloo, plain ``strategy=ddp``."""

import pytest

from .games import PAPERS


@pytest.fixture
def ranks(two_ranks):
    return two_ranks("tests.conformance.two_ranks")


@pytest.mark.parametrize("name", PAPERS)
def test_weights_are_equal_and_noise_differs(name, ranks):
    first, second = (rank[name] for rank in ranks)
    assert first["weights"] == second["weights"]
    assert first["noise"] != second["noise"]


@pytest.mark.parametrize(
    "name", ["DeLiGAN, threshold", "RealnessGAN, released anchors", "RealnessGAN, gathered"]
)
def test_ranks_share_schedule_and_anchors(name, ranks):
    assert ranks[0][name]["moved"]
    assert ranks[0][name] == ranks[1][name]


@pytest.mark.parametrize("name", PAPERS)
def test_resumes_exactly(name, ranks):
    assert all(rank[name]["resumed"] for rank in ranks)


@pytest.mark.parametrize("name", PAPERS)
def test_a_step_of_two_ranks_is_one_step_on_the_joined_batch(name, ranks):
    assert ranks[0][name]["joined"] == []
    assert ranks[0][name]["moved"] > 1e-6
