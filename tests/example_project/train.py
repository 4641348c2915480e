"""The same in plain Python: a game, a data module, a Trainer."""

import torch
from discs.data import Discs, LabelledDiscs
from discs.metric import OneDisc
from discs.networks import Generator
from discs.paper import BoundarySeekingGAN
from lightning import Trainer, seed_everything

from lightning_gans import ConditionalGAN, load
from lightning_gans.callbacks import Checkpoint, Evaluate

if __name__ == "__main__":
    seed_everything(0)
    game = BoundarySeekingGAN((1, 16, 16), generator=Generator((1, 16, 16), latent_dim=100, width=32))
    scored = Evaluate([OneDisc()], num_samples=500, every_n_updates=100)
    trainer = Trainer(max_steps=200, callbacks=[scored, Checkpoint(dirpath="trained")])
    trainer.fit(game, Discs())
    print(f"{float(trainer.callback_metrics['val/one_disc']):.0%} of the samples are one disc")

    # A checkpoint of Python knows classes and numbers; a network is built by whoever loads it.
    again = load("trained/last.ckpt", generator=Generator((1, 16, 16), latent_dim=100, width=32))
    print(again.sample(4, seed=0).shape)

    labelled = ConditionalGAN((1, 16, 16), num_classes=2)
    Trainer(max_steps=50, logger=False, enable_checkpointing=False).fit(labelled, LabelledDiscs())
    print(labelled.sample(2, labels=torch.tensor([0, 1]), seed=0).shape)
