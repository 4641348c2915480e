"""Scripts that two processes run together on gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path


def on_two_ranks(module: str, folder: Path, timeout: float = 120):
    """Run a module of the tests in two processes; return what each wrote into ``folder/rank<i>.json``."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.run(
        [*launch, "-m", module, str(folder)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]
