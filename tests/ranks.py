"""What several processes on gloo find together: all parts of the tests that need them, in one launch.

Each part is a module with a function ``found(folder)``, which all processes call, and which returns what
they found as plain data. A test asks the fixture ``on_ranks`` for it by the module's name.
"""

import json
import os
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

PARTS = {
    2: (
        "tests.models.two_ranks_coulomb",
        "tests.models.two_ranks_cyclegan",
        "tests.models.two_ranks_realness",
        "tests.callbacks.two_ranks",
        "tests.metrics.two_ranks",
        "tests.conformance.ranks",
        "tests.game.two_ranks",  # last: it sends signals
    ),
    4: ("tests.conformance.ranks",),
}
"""By the number of processes."""


def launch(folder: Path, ranks: int, timeout: float = 500) -> list[dict]:
    """Run all parts in so many processes; return what each found, by module."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    run = subprocess.run(
        [*command, "-m", "tests.ranks", str(folder)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(ranks)]


def main(folder: Path) -> None:
    """One of the processes."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    results = {part: import_module(part).found(folder) for part in PARTS[torch.distributed.get_world_size()]}
    (folder / f"rank{rank}.json").write_text(json.dumps(results))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
