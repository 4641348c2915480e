"""Ctrl-C (SIGINT) and SIGTERM: a run stops at the end of a batch, saved, with the exit code of the signal.

The contract: :class:`~lightning_gans.callbacks.Checkpoint` writes ``last.ckpt``, and ``trainer.fit`` raises
:class:`Interrupted`. Left alone, it ends the process with code 130 (SIGINT) or 143 (SIGTERM); who catches it
finds the signal, the update and the checkpoint to go on from.

So does the signal (SIGUSR1) by which SLURM says that a job's time is nearly up, if Lightning would have the
job queued again: it is, once the run is saved.
"""

import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """A run was stopped by a signal.

    Attributes:
        signal: Which.
        update: Generator updates that were done.
        checkpoint: Where the state was saved; None if no ``Checkpoint`` watched the run.
        code: The exit code: 128 and the number of the signal. Processes that Lightning started beside the
            first end with 0, since it kills all others when one fails.
    """

    def __init__(self, number: int, update: int, code: int | None = None) -> None:
        super().__init__(128 + number if code is None else code)
        self.signal = signal.Signals(number)
        self.update = update
        self.checkpoint: Path | None = None

    def __str__(self) -> str:
        """Return the signal, the update, and the checkpoint if there is one, as one line."""
        saved = f"the state was saved to {self.checkpoint}" if self.checkpoint else "nothing was saved"
        return f"stopped by {self.signal.name} after {self.update} generator updates; {saved}"


class Interruption:
    """Lets signals end a run between batches, on all ranks at once.

    A handler that saved the run, or asked the other ranks, might interrupt an update or a collective. So it
    only stores the signal, and the ranks exchange what they received at the end of each batch.
    """

    def __init__(self) -> None:
        self._received = 0
        self._requeue: dict[int, Any] = {}  # the signal that asks for it, and Lightning's handler

    def start(self, trainer: Trainer) -> None:
        """Install the handlers of SIGINT and SIGTERM; Lightning restores the old ones at the end of the run.

        A SIGTERM that Lightning received before counts, too. In a SLURM job Lightning has a handler that
        saves a checkpoint, in the middle of an update and on each rank when its signal arrives, and has the
        job queued again. It waits for the end of the batch.
        """
        self._received = signal.SIGTERM if trainer.received_sigterm else 0
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._note)
            environment = trainer._accelerator_connector.cluster_environment  # a single device has no other
            if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
                number = environment.requeue_signal or signal.SIGUSR1
                self._requeue = {number: signal.signal(number, self._note)}

    def raise_if_received(self, trainer: Trainer) -> None:
        """Save and end the run if a rank has received a signal. All ranks call this at the end of a batch.

        Raises:
            Interrupted: If so; from now on signals are ignored, so that none interrupts the saving.
        """
        received = self._received
        if trainer.world_size > 1:
            noted = torch.tensor(received, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(noted, torch.distributed.ReduceOp.MAX)
            received = int(noted)
        if not received:
            return
        if threading.current_thread() is threading.main_thread():
            for number in (*SIGNALS, *self._requeue):
                signal.signal(number, signal.SIG_IGN)
        self._received = 0
        environment = getattr(trainer.strategy, "cluster_environment", None)
        started_by_lightning = environment is not None and not environment.creates_processes_externally
        child = started_by_lightning and trainer.local_rank > 0
        stop = Interrupted(received, trainer.global_step, 0 if child else None)
        for callback in trainer.checkpoint_callbacks:
            # Saved here, not in on_exception: other callbacks may fail there, or take too much time.
            save = getattr(callback, "save_interrupted", None)
            if save is not None:
                stop.checkpoint = save(trainer)
        rank_zero_info(str(stop))
        if received in self._requeue:
            self._requeue[received](received, None)
        raise stop

    def _note(self, number: int, frame: FrameType | None) -> None:
        # SLURM sends SIGTERM, too, when a job's time is up: it takes nothing back.
        self._received = self._received or number
        again = "" if number in self._requeue else "; again: at once"
        for each in SIGNALS if again else ():
            signal.signal(each, signal.SIG_DFL)
        # Not print: it fails if the signal interrupts another print.
        os.write(2, f"\n{signal.Signals(number).name}: stopping after this batch{again}\n".encode())
