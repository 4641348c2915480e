"""Two processes on gloo give the scores of one."""

import math

import pytest

from .two_ranks import scores


def flat(results):
    return {
        (name, key, place): number
        for name, values in results.items()
        for key, value in values.items()
        for place, number in enumerate(value if isinstance(value, list) else [value])
    }


@pytest.mark.filterwarnings("ignore")
def test_two_ranks_score_as_one(on_ranks):
    alone = flat(scores(0, 1))
    assert not all(math.isnan(number) for number in alone.values())
    for together in map(flat, on_ranks("tests.metrics.two_ranks")):
        assert together.keys() == alone.keys()
        for key, number in together.items():
            assert number == pytest.approx(alone[key], rel=1e-9, abs=1e-9, nan_ok=True), key
    for ranks in (1, 2):
        stored = alone[f"fid, statistics on {ranks}", "fid", 0]
        assert stored == pytest.approx(alone["fid", "fid", 0], rel=1e-9)
