"""Run by two processes (torch.distributed.run): both ask for the same labels, and serve them; writes JSON."""

import torch
from lightning.pytorch import Callback

from tests.callbacks.helpers import fit
from tests.callbacks.test_active_learning import asking, digits, game
from tests.conformance.ranks import digest


class Served(Callback):
    """How many labels this rank was served in each epoch."""

    def __init__(self):
        self.labels = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.labels += [0] * (batch_idx == 0)
        self.labels[-1] += int((batch[1] >= 0).sum())


def found(folder):
    """Two rounds of two epochs, half of the labels asked for between them."""
    torch.manual_seed(0)
    module, data, served = game(), digits(limit=96, batch_size=16), Served()
    callback = asking(every_n_updates=6, rounds=2, per_round=43)
    fit(folder / "asking", module, data, [callback, served], 12, strategy="ddp", devices=2)
    return {
        "queries": callback.queries,
        "labels": data.stored("train")[1].tolist(),
        "served": served.labels,
        "weights": digest(dict(module.named_parameters())),
    }
