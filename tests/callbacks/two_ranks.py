"""Run by two processes (torch.distributed.run): callbacks on whose decisions both must agree; writes JSON."""

import json
from types import SimpleNamespace

import torch
from lightning.pytorch import Callback

from lightning_gans.callbacks import Evaluate, StopAfter, clock
from lightning_gans.metrics import FID
from tests.callbacks.helpers import digits, fit, norm_game
from tests.callbacks.test_active_learning import asking, game
from tests.callbacks.test_active_learning import digits as labelled
from tests.conformance.ranks import digest
from tests.metrics.tiny import TinyExtractor


class Served(Callback):
    """How many labels this rank was served in each epoch."""

    def __init__(self):
        self.labels = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.labels += [0] * (batch_idx == 0)
        self.labels[-1] += int((batch[1] >= 0).sum())


class Work(Callback):
    """Each batch takes so many seconds of this rank's processor."""

    def __init__(self, time, seconds):
        self.time, self.seconds = time, seconds

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.time.seconds += self.seconds


def timed(folder):
    """A run of five seconds, scored every two of them; the second rank's slower clock does not count."""
    time = SimpleNamespace(seconds=0.0)
    before, clock.process_time = clock.process_time, lambda: time.seconds
    work = Work(time, 1.0 if torch.distributed.get_rank() == 0 else 0.25)
    scored = Evaluate([FID()], TinyExtractor(), every_n_seconds=2.0, num_samples=40, num_real=40, cache=False)
    torch.manual_seed(0)
    trainer = fit(
        folder / "timed", norm_game(), digits(), [work, StopAfter(5.0), scored], -1, max_epochs=-1,
        strategy="ddp", devices=2,
    )  # fmt: skip
    clock.process_time = before
    torch.distributed.barrier()
    lines = (folder / "timed" / "evaluations.jsonl").read_text().splitlines()
    return {"updates": trainer.global_step, "lines": [json.loads(line) for line in lines]}


def asked(folder):
    """Two rounds of two epochs, half of the labels asked for between them."""
    torch.manual_seed(0)
    module, data, served = game(), labelled(limit=96, batch_size=16), Served()
    callback = asking(every_n_updates=6, rounds=2, per_round=43)
    fit(folder / "asking", module, data, [callback, served], 12, strategy="ddp", devices=2)
    return {
        "queries": callback.queries,
        "labels": data.stored("train")[1].tolist(),
        "served": served.labels,
        "weights": digest(dict(module.named_parameters())),
    }


def found(folder):
    return {"asked": asked(folder), "timed": timed(folder)}
