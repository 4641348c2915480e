"""Two processes on gloo, plain ``strategy=ddp``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .games import PAPERS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.run(
        [*launch, "-m", "tests.conformance.two_ranks", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


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
