"""The same in plain Python: a game, a data module, a Trainer."""

from functools import partial

import torch
from discs.data import Discs, LabelledDiscs
from discs.metric import OneDisc
from discs.networks import Generator
from discs.paper import BoundarySeekingGAN
from lightning import Trainer, seed_everything

from lightning_gans import ConditionalGAN, load
from lightning_gans.callbacks import Checkpoint, Evaluate, GeneratorEMA
from lightning_gans.game.latents import Normal

if __name__ == "__main__":
    seed_everything(0)
    adam = partial(torch.optim.Adam, lr=0.001, betas=(0.5, 0.999))
    game = BoundarySeekingGAN(
        image_shape=(1, 16, 16),
        latent=Normal(32),
        generator=partial(Generator, width=32),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
    )
    scored = Evaluate([OneDisc()], num_samples=500, every_n_updates=200)
    callbacks = [GeneratorEMA(decay=0.98), scored, Checkpoint(dirpath="trained")]
    trainer = Trainer(max_steps=600, callbacks=callbacks)
    trainer.fit(game, Discs())
    print(f"{float(trainer.callback_metrics['val/one_disc']):.1%} of the samples are one disc")

    again = load("trained/last.ckpt")
    print(again.sample(4, seed=0).shape)

    labelled = ConditionalGAN((1, 16, 16), num_classes=2)
    Trainer(max_steps=50, logger=False, enable_checkpointing=False).fit(labelled, LabelledDiscs())
    print(labelled.sample(2, labels=torch.tensor([0, 1]), seed=0).shape)
