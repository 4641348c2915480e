import errno
import gc
import json
import os
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")

import pytest
import torch
from filelock import FileLock

from tests.ranks import launch

torch.set_num_threads(1)
# Nobody cuts the power: the thousands of small checkpoints need not reach the disk.
os.fsync = lambda file: None


def pytest_collection_finish():
    """What is imported by now stays: the garbage collector, a third of the time, may leave it alone."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def in_tmp_folder(tmp_path, monkeypatch):
    """Runs write to the current folder: give each test its own, and no data root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIGHTNING_GANS_DATA", raising=False)


@pytest.fixture(scope="session")
def on_ranks(tmp_path_factory):
    """What several processes found: call it with the name of a module of ``tests.ranks``."""

    @cache
    def found(ranks):
        base = tmp_path_factory.getbasetemp()
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID")  # all workers of a run share one launch
        folder = (base.parent if run else base) / f"ranks-{ranks}-{run}"
        folder.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            files = [folder / f"rank{rank}.json" for rank in range(ranks)]
            done = all(file.is_file() for file in files)
            return [json.loads(file.read_text()) for file in files] if done else launch(folder, ranks)

    return lambda part, ranks=2: [rank[part] for rank in found(ranks)]


@pytest.fixture
def cli():
    """The command line, in this process."""
    from lightning_gans.commands.main import main

    def run(*arguments):
        main([str(argument) for argument in arguments])

    return run


@pytest.fixture
def fails(capsys):
    """The command line, which must refuse: returns its one line."""
    from lightning_gans.commands.main import main

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        assert stop.value.code not in (0, None)
        errors = capsys.readouterr().err
        lines = [line for line in errors.splitlines() if line.startswith("lightning-gans: ")]
        assert len(lines) == 1, errors
        assert "Traceback" not in errors
        return lines[0]

    return run


@pytest.fixture
def full_disk(monkeypatch):
    """Call it with a number: so many files fit on the disk, then half of one."""

    def fill(files):
        write = Path.write_bytes
        left = [files]

        def until_full(path, content):
            left[0] -= 1
            if left[0] >= 0:
                return write(path, content)
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "write_bytes", until_full)

    return fill


@pytest.fixture
def few_real(monkeypatch):
    """Evaluations that ask for no more real images than the tests' data sets have."""
    from lightning_gans.callbacks import Evaluate
    from lightning_gans.metrics import ParzenLikelihood

    def few(self, trainer, pl_module, stage):
        self.num_real = None
        for metric in self.metrics:
            if isinstance(metric, ParzenLikelihood):
                metric.num_validation = 10
        whole(self, trainer, pl_module, stage)

    whole = Evaluate.setup
    monkeypatch.setattr(Evaluate, "setup", few)
