"""Small games and quiet trainers."""

from functools import partial

import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from lightning_gans.data import Digits, GaussianMixtures
from lightning_gans.game.latents import Normal
from lightning_gans.models import DCGAN, GAN
from lightning_gans.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lightning_gans.networks.mlp import MaxoutDiscriminator, MLPDiscriminator, MLPGenerator


def ring(**kwargs):
    return GaussianMixtures("ring", samples=2_000, batch_size=32, **kwargs)


def digits():
    return Digits(batch_size=16)


def point_game(dim=2, **kwargs):
    return GAN(
        (dim,),
        latent=Normal(4),
        generator=partial(MLPGenerator, hidden=(16,), output="none"),
        discriminator=partial(MLPDiscriminator, hidden=(16,)),
        **kwargs,
    )


def image_game(**kwargs):
    """Has dropout, so that random numbers drawn by others would show."""
    return GAN(
        (1, 8, 8),
        latent=Normal(4),
        generator=partial(MLPGenerator, hidden=(16,)),
        discriminator=partial(MaxoutDiscriminator, hidden=(16,), pieces=2),
        **kwargs,
    )


def norm_game(**kwargs):
    """Has batch norm, so that there are buffers."""
    return DCGAN(
        (1, 8, 8),
        latent=Normal(4),
        generator=partial(DCGANGenerator, width=8),
        discriminator=partial(DCGANDiscriminator, width=8),
        **kwargs,
    )


def fit(folder, game, data, callbacks, max_steps=10, seed=0, ckpt_path=None, **kwargs):
    """Train and return the trainer; the game is made by the caller after ``seed_everything``."""
    settings = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
        "accelerator": "cpu",
        "devices": 1,
    }
    trainer = Trainer(
        max_steps=max_steps, default_root_dir=folder, callbacks=callbacks, **{**settings, **kwargs}
    )
    seed_everything(seed, verbose=False)
    trainer.fit(game, data, ckpt_path=ckpt_path)
    return trainer


class Save(Callback):
    """Saves once, in the middle of a run."""

    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def weights(game):
    return torch.cat([p.detach().flatten() for p in game.parameters()])


def updates_drawn(folder, kind="samples"):
    return sorted(int(path.stem.removeprefix("update=")) for path in (folder / kind).glob("*.png"))
