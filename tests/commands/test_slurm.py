"""Jobs of a SLURM that is none (tests/slurm.py): signalled, queued again, and resumed by the same command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lightning_gans.game.interruption import Interrupted
from tests.conformance.games import same
from tests.slurm import environment

ROOT = Path(__file__).parents[2]
RUN = ("fit", "--model=WGANGP", "--data=GaussianMixtures", "--data.samples=320", "--data.batch_size=16",
       "--trainer.max_steps=6", "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false",
       "--trainer.accelerator=cpu", "--samples=false")  # fmt: skip
SIGNALLED = (*RUN, "--trainer.callbacks=tests.slurm.TimeIsUp")


@pytest.fixture
def task(tmp_path, monkeypatch):
    """This process as a job's only task; call it with how often the job was queued again."""

    def start(restarts, **others):
        for name, value in {**environment(tmp_path, restarts=restarts), **others}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    yield start
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)


def stored(version):
    path = next(Path("runs").glob(f"*/version_{version}/checkpoints/last.ckpt"))
    state = torch.load(path, weights_only=True)
    return {
        key: state[key] for key in ("state_dict", "optimizer_states", "run_state", "loops", "global_step")
    }


def test_a_job_that_is_queued_again_ends_as_an_undisturbed_one(cli, task):
    Path("hpc_ckpt_1.ckpt").touch()  # Lightning's, of another job in this folder
    task(0)
    with pytest.raises(Interrupted) as stop:
        cli(*SIGNALLED)
    assert Path("requests").read_text() == "requeue 4711\n"
    assert (stop.value.code, stop.value.signal.name, stop.value.update) == (138, "SIGUSR1", 1)
    assert stored(0)["global_step"] == 1  # 9 batches, in the middle of a round of five

    task(1)
    cli(*SIGNALLED)
    task(1, SLURM_JOB_ID="4712")
    cli(*SIGNALLED)
    assert same(stored(1), stored(2))

    task(2)
    with pytest.raises(SystemExit) as stop:
        cli(*SIGNALLED)
    assert not stop.value.code
    assert len(list(Path("runs/wgangp").iterdir())) == 3


def test_what_another_command_of_the_job_saved_is_left_alone(cli, task):
    task(0)
    cli(*RUN, "--seed_everything=1")
    task(1)
    cli(*RUN, "--seed_everything=2", "--trainer.max_steps=1")
    assert [stored(version)["global_step"] for version in (0, 1)] == [6, 1]
    jobs = [json.loads(Path(f"runs/wgangp/version_{k}/slurm.json").read_text()) for k in (0, 1)]
    assert [job["job"] for job in jobs] == [4711, 4711]


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"SLURM_NTASKS_PER_NODE": "2"}, "devices"),
        ({"SLURM_NNODES": "3"}, "num_nodes"),
        ({"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": None}, "--ntasks-per-node=2"),
    ],
)
def test_a_job_of_another_size_is_refused(variables, says, fails, task):
    task(0, **variables)
    assert says in fails(*RUN, "--trainer.strategy=ddp")
    assert not Path("runs").exists()


@pytest.mark.slow
def test_two_tasks_by_the_command_line(tmp_path):
    command = [sys.executable, "-m", "lightning_gans", *SIGNALLED, "--trainer.devices=2"]
    command += ["--trainer.strategy=ddp", "--trainer.callbacks.rank=1"]

    def job(name, restarts):
        (tmp_path / name).mkdir(exist_ok=True)
        base = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        tasks = [
            subprocess.Popen(
                command, cwd=tmp_path / name, env={**base, **environment(tmp_path, 2, rank, restarts)}
            )
            for rank in (0, 1)
        ]
        return [task.wait(timeout=300) for task in tasks]

    assert job("signalled", 0) == [138, 138]
    assert job("signalled", 1) == job("whole", 1) == [0, 0]
    assert Path("requests").read_text() == "requeue 4711\n"
    last = [tmp_path / name / "runs/wgangp" / version / "checkpoints/last.ckpt"
            for name, version in (("signalled", "version_1"), ("whole", "version_0"))]  # fmt: skip
    one, other = (torch.load(path, weights_only=True) for path in last)
    assert all(same(one[key], other[key]) for key in ("state_dict", "optimizer_states", "run_state", "loops"))
