"""Real fits, killed with SIGKILL and resumed, are served what the undisturbed run is served."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from .resume_run import BATCH_SIZE, IMAGES, UPDATES

SCRIPT = Path(__file__).with_name("resume_run.py")
CASES = ["memory-1", "memory-2", "workers-1", "workers-2", "unpaired-1"]
SIZE = max(IMAGES.values())

# The script forks its runs, which a process that has computed gradients cannot do: it gets one of its own.
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs are forked")


def torment(folder, kills, *cases):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *cases, f"--kills={kills}"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return torment(tmp_path_factory.mktemp("runs"), 2, *CASES)


def ranks_of(case):
    return range(int(case[-1]))


def served(run, rank):
    """Return all that a rank was served at each update: more than one line if it was done again."""
    updates = {}
    for line in (run / f"served-{rank}.txt").read_text().splitlines():
        update, *images = line.split()
        updates.setdefault(int(update), []).append(tuple(images))
    return updates


def check_resumed(folder, case, kills):
    report = json.loads((folder / case / "killed" / "report.json").read_text())
    assert len(report) == kills + 1
    for before, after in pairwise(report):
        assert after["resumed_at"] - max(before["reached"], 0) in (0, 1)
    for rank in ranks_of(case):
        whole, killed = (served(folder / case / name, rank) for name in ("undisturbed", "killed"))
        assert list(whole) == list(killed) == list(range(UPDATES))
        assert all(len(lines) == 1 for lines in whole.values())
        assert {update: set(lines) for update, lines in killed.items()} == {
            update: set(lines) for update, lines in whole.items()
        }


@pytest.mark.parametrize("case", CASES)
def test_goes_on_with_the_images_that_come_next(case, runs):
    check_resumed(runs, case, 2)


@pytest.mark.parametrize("case", CASES)
def test_ranks_share_each_epoch(case, runs):
    ranks = [served(runs / case / "killed", rank) for rank in ranks_of(case)]
    length = -(-SIZE // (BATCH_SIZE * len(ranks)))
    domains = 2 if case.startswith("unpaired") else 1
    assert UPDATES // length >= 2
    for epoch in range(UPDATES // length):
        seen = [[] for _ in range(domains)]
        for update in range(epoch * length, (epoch + 1) * length):
            for rank in ranks:
                images = [int(image.split(":")[0]) for image in rank[update][0]]
                size = len(images) // domains
                for index, numbers in enumerate(seen):
                    numbers += images[index * size : (index + 1) * size]
        assert sorted(seen[0]) == list(range(IMAGES["a"]))
        if domains == 2:  # the smaller one is served again
            assert len(seen[1]) == IMAGES["a"]
            assert set(seen[1]) == set(range(IMAGES["b"]))
            assert max(map(seen[1].count, seen[1])) == 2


@pytest.mark.parametrize("ranks", [1, 2])
def test_workers_serve_what_memory_serves(ranks, runs):
    for rank in range(ranks):
        memory, workers = (
            served(runs / f"{path}-{ranks}" / "undisturbed", rank) for path in ("memory", "workers")
        )
        assert memory == workers


@pytest.mark.slow
def test_killed_ten_times(tmp_path):
    cases = [*CASES, "unpaired-2"]
    torment(tmp_path, 10, *cases)
    for case in cases:
        check_resumed(tmp_path, case, 10)
