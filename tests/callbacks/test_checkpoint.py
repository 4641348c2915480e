"""The checkpoint comes first, is whole, and good."""

import csv

import pytest
import torch
from lightning.pytorch import Callback

from lightning_gans.callbacks import Checkpoint
from lightning_gans.game.csv_logger import WholeCSVLogger

from .helpers import point_game, quiet_trainer, ring


class BadGradient(Callback):
    """Lets a weight be lost while the loss stays finite."""

    def __init__(self, update, network):
        self.update, self.network = update, network

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.update:
            next(getattr(module, self.network).parameters()).data.view(-1)[0] = torch.nan

    def on_train_batch_end(self, *_):
        pass


def fit(*callbacks, **limit):
    trainer = quiet_trainer(callbacks=[*callbacks, Checkpoint(2, dirpath="here")], **limit)
    trainer.fit(point_game(), datamodule=ring())
    return trainer


def stored():
    return torch.load("here/last.ckpt", weights_only=True)["global_step"]


def test_broken_weights_do_not_replace_good_ones():
    class Lost(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            if trainer.global_step == 5:
                next(module.discriminator.parameters()).data.view(-1)[0] = torch.inf

    with pytest.raises(FloatingPointError, match=r"GAN: weights of discriminator .* update 6.*last\.ckpt .* update 4"):
        fit(Lost(), max_steps=9)
    assert stored() == 4


@pytest.mark.parametrize("limit", [{"max_steps": 3}, {"max_epochs": 1, "limit_train_batches": 3}, {"max_epochs": -1}])
def test_the_last_update_is_saved_before_anything_else_at_the_end(limit):
    class Fails(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = limit["max_epochs"] == -1 and trainer.global_step == 3 if "max_epochs" in limit else False

        def on_validation_start(self, trainer, module):
            if not trainer.sanity_checking:
                raise OSError("disk full")

        def on_train_epoch_end(self, trainer, module):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fit(Fails(), **limit)
    assert stored() == 3
