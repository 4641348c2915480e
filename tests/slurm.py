"""A SLURM that is none: the environment of a job's tasks, and a ``scontrol`` that notes its requests."""

import os
import signal
from pathlib import Path

from lightning.pytorch import Callback

JOB = "4711"


def environment(folder, tasks=1, rank=0, restarts=0):
    """What a task finds in its environment; the requests go to ``folder/requests``."""
    scontrol = Path(folder) / "bin" / "scontrol"
    scontrol.parent.mkdir(parents=True, exist_ok=True)
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {folder}/requests\n')
    scontrol.chmod(0o755)
    return {
        "PATH": f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": JOB,
        "SLURM_JOB_NAME": "gan",
        "SLURM_NTASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": str(tasks),
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_RESTART_COUNT": str(restarts),
    }


class TimeIsUp(Callback):
    """SLURM's signal to one task in the middle of a batch, and what it sends when the time is up."""

    def __init__(self, batch: int = 8, rank: int = 0):
        self.batch, self.rank = batch, rank

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        first = os.environ["SLURM_RESTART_COUNT"] == "0"
        if first and (batch_idx, trainer.global_rank) == (self.batch, self.rank):
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
