"""Run by two processes (torch.distributed.run): what the ranks of one run agree on; writes JSON."""

import hashlib
import os
import signal
from functools import partial

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback

from lightning_gans import DCGAN, GAN
from lightning_gans.callbacks import Checkpoint, Evaluate
from lightning_gans.game.interruption import Interrupted
from lightning_gans.game.latents import Latent
from lightning_gans.game.optimizers import SGD
from lightning_gans.metrics import FID
from tests import slurm
from tests.conformance.games import digits, game, ring, same, trainer
from tests.metrics.tiny import TinyExtractor

torch.set_num_threads(1)
RANKS = {"strategy": "ddp", "devices": 2}


class Zero(Latent):
    """No noise: two processes see the fakes that one would."""

    def forward(self, n, rng):
        return torch.zeros(n, self.dim)


class Sizes(Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.seen.append(len(batch[0]))


def uneven_parts():
    """How far an epoch of 41 samples on two ranks is from that of one process with batches twice as large."""
    sizes, weights = Sizes(), []
    for batch_size, ranks in ((16, RANKS), (32, {})):
        torch.manual_seed(0)
        sgd = dict.fromkeys(("generator_optimizer", "discriminator_optimizer"), partial(SGD, lr=0.1))
        data = ring(samples=41, batch_size=batch_size, drop_last=False)
        module = GAN((2,), latent=Zero(3), **sgd)
        start = [p.detach().clone() for p in module.parameters()]
        trainer([sizes], max_steps=2, **ranks).fit(module, data)
        weights.append([p.detach() for p in module.parameters()])
    off = max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True))
    moved = max(float((a - b).abs().max()) for a, b in zip(start, weights[0], strict=True))
    return {"sizes": sizes.seen[:2], "off": off, "moved": moved}


def digest(tensors):
    return hashlib.sha256(b"".join(t.detach().numpy().tobytes() for t in tensors)).hexdigest()


class Look(Callback):
    """Looks at the buffers after an update, before and after they are shared."""

    def __init__(self):
        self.before = self.after = ""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.before = digest(module.buffers())

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        self.after = digest(module.buffers())


def batch_norm(folder):
    """Buffers, scores and held-out losses of both ranks, and what ``validate`` finds for the checkpoint."""
    data, look = digits(eval_batch_size=40), Look()
    torch.manual_seed(0)
    module = DCGAN(data.image_shape)
    every = [
        Evaluate([FID()], TinyExtractor(), every_n_updates=n, num_samples=40, num_real=40, cache=False)
        for n in (3, None)
    ]
    checkpoint = Checkpoint(3, dirpath=str(folder / "norm"))
    validated = {"limit_val_batches": 2, "default_root_dir": str(folder), **RANKS}
    fit = trainer([look, every[0], checkpoint], max_steps=3, val_check_interval=3, **validated)
    fit.fit(module, data)
    scored = {name: float(v) for name, v in fit.callback_metrics.items() if name.startswith("val/")}
    samples = digest([module.sample(8, seed=0)])
    again = trainer([every[1]], **validated)
    (row,) = again.validate(module, data, ckpt_path=str(folder / "norm" / "last.ckpt"), verbose=False)
    return {
        "before": look.before,
        "after": look.after,
        "scored": scored,
        "validated": row,
        "samples": samples,
    }


class Kill(Callback):
    """Sends a signal to the second rank alone, in the middle of a batch."""

    def __init__(self, number):
        self.number = number

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 3 and trainer.global_rank == 1:
            os.kill(os.getpid(), self.number)


def interrupted(folder, number, goes_on=True, **environment):
    """Stopped by a signal to one rank and resumed: equal to the run that was not."""

    def run(where, callbacks=(), ckpt_path=None):
        place = {"default_root_dir": str(folder / where), **environment}
        checkpoint = Checkpoint(1000, dirpath=str(folder / where))
        fit = trainer([*callbacks, checkpoint], max_steps=6, **RANKS, **place)
        fit.fit(game("DCGAN", digits()), digits(), ckpt_path=ckpt_path)
        torch.distributed.barrier()
        stored = torch.load(folder / where / "last.ckpt", weights_only=True)
        return {key: stored[key] for key in ("state_dict", "optimizer_states", "run_state", "loops")}

    whole = run("whole")
    try:
        run("part", [Kill(number)])
    except Interrupted as error:
        stopped = [int(error.code), error.signal.name, error.update, str(error.checkpoint)]
    else:
        stopped = []
    return {
        "stopped": stopped,
        "resumed": same(whole, run("part", ckpt_path=stopped[-1] if goes_on else None)),
    }


def queued_again(folder):
    """A job of SLURM whose time is up; Lightning finds by itself the checkpoint that it goes on from."""
    variables = slurm.environment(folder, tasks=2, rank=torch.distributed.get_rank())
    before = dict(os.environ)
    os.environ.update(variables)
    found = interrupted(folder, signal.SIGUSR1, goes_on=False, plugins=[SLURMEnvironment()])
    os.environ.clear()
    os.environ.update(before)
    return {**found, "requests": (folder / "requests").read_text()}


def found(folder):
    return {
        "uneven": uneven_parts(),
        "norm": batch_norm(folder),
        "interrupted": interrupted(folder / "interrupted", signal.SIGTERM),
        "queued again": queued_again(folder / "queued"),
    }
