"""Two processes on gloo give the scores of one."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

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
def test_two_ranks_score_as_one(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.run(
        [*launch, "-m", "tests.metrics.two_ranks", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    alone = flat(scores(0, 1))
    assert not all(math.isnan(number) for number in alone.values())
    for rank in (0, 1):
        together = flat(json.loads((tmp_path / f"rank{rank}.json").read_text()))
        assert together.keys() == alone.keys()
        for key, number in together.items():
            assert number == pytest.approx(alone[key], rel=1e-9, abs=1e-9, nan_ok=True), key
    for name in ("fid", "per class"):
        for ranks in (1, 2):
            one = {key[1:]: number for key, number in alone.items() if key[0] == name}
            for key, number in one.items():
                stored = alone[(f"{name}, statistics on {ranks}", *key)]
                assert stored == pytest.approx(number, rel=1e-9, abs=1e-9, nan_ok=True), (name, key)
