"""Runs that are killed at random moments end as if they had not been."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"

# The script forks its runs, which a process that has computed gradients cannot do: it gets one of its own.
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs are forked")


def kill(kills: int, folder: Path, *options: str) -> dict:
    result = folder / "result.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), f"--kills={kills}", f"--folder={folder}", f"--json={result}", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    errors = "".join(path.read_text() for path in folder.glob("*/error.txt"))
    assert done.returncode in (0, 1), done.stderr + errors
    return json.loads(result.read_text())


def check(result: dict, kills: int, interval: int) -> None:
    assert result["faults"] == []
    assert result["kills"] == kills
    assert result["identical"] == result["runs"] >= 1
    assert result["max_lost"] <= interval


def test_killed_three_times(tmp_path):
    check(kill(3, tmp_path, "--limit=epochs", "--updates=21", "--interval=3"), 3, 3)


@pytest.mark.slow
def test_killed_with_workers(tmp_path):
    check(kill(10, tmp_path, "--data=workers"), 10, 4)


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["updates", "epochs"])
def test_killed_fifty_times(limit, tmp_path):
    result = kill(50, tmp_path, f"--limit={limit}")
    check(result, 50, 4)
    assert set(result["places"]) == {"start-up", "training", "saving"}
