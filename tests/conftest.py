import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def in_tmp_folder(tmp_path, monkeypatch):
    """Runs write to the current folder: give each test its own, and no data root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIGHTNING_GANS_DATA", raising=False)


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
