"""Small games of every paper and of other shapes, on vectors and on images."""

from functools import partial

import torch
from lightning.pytorch import Trainer
from torch import nn

from lightning_gans import Digits, GaussianMixtures, LatentGame, models
from lightning_gans.callbacks import Checkpoint
from lightning_gans.networks import MLPDiscriminator, MLPGenerator

from . import shapes

PAPERS = sorted(models.__all__)
SHAPES = ("EncoderGAN", "RelativisticGAN", "TwoTranslators")


def paper(name):
    return getattr(models, name) if name in PAPERS else getattr(shapes, name)


EVERY_GAME = (*PAPERS, *SHAPES)
LATENT_GAMES = tuple(name for name in EVERY_GAME if issubclass(paper(name), LatentGame))

SMALL_JUDGE = {"width": 4, "receptive_field": 16}
SMALL_HEADS = {"width": 4, "hidden": 16}
SMALL = {
    "ACGAN": {"generator": SMALL_HEADS, "discriminator": SMALL_HEADS},
    "GOLDACGAN": {"generator": SMALL_HEADS, "discriminator": SMALL_HEADS, "reweight_from": 2},
    "DIWGAN": {"encoder": {"code_dim": 2}, "encoder_updates": 5, "encoder_batch_size": 16, "max_error": 10.0},
    "CycleGAN": {"generator": {"width": 4, "blocks": 1}, "discriminator": SMALL_JUDGE},
    "Pix2Pix": {"generator": {"width": 4}, "discriminator": SMALL_JUDGE},
}
"""Arguments of papers whose default networks are too large for images of 8x8 pixels, or for a test."""


def digits(**arguments):
    return Digits(**{"batch_size": 16, "limit": 160, **arguments})


def ring(**arguments):
    return GaussianMixtures(**{"layout": "ring", "samples": 320, "batch_size": 16, **arguments})


def pairs(**arguments):
    return shapes.Negatives(**{"batch_size": 16, "limit": 160, **arguments})


def images_of(name, **arguments):
    """Images that the game can learn from, or pairs of them."""
    return (digits if name in LATENT_GAMES else pairs)(**arguments)


def data_of(name, **arguments):
    """Data that the game can learn from: points where it does not matter, for they are cheapest."""
    points = name in LATENT_GAMES and not paper(name).conditional
    return ring(**arguments) if points else images_of(name, **arguments)


def game(name, data=None, seed=0, **arguments):
    """A game of the default kind for the data, small enough for a test."""
    data = data or images_of(name)
    points = len(data.image_shape) == 1
    small = SMALL.get(name, {})
    if points and "ACGAN" in name:
        small = small | {key: {"hidden": (16, 16, 16)} for key in ("generator", "discriminator")}
    arguments = {**small, **arguments}
    if name == "DCGAN" and points:  # the only paper without networks for vectors
        arguments = {
            "generator": partial(MLPGenerator, hidden=(32,), output="none"),
            "discriminator": partial(MLPDiscriminator, hidden=(32,)),
            **arguments,
        }
    torch.manual_seed(seed)
    if name not in LATENT_GAMES:
        return paper(name)(data.input_shape, data.image_shape, **arguments)
    return paper(name)(image_shape=data.image_shape, num_classes=data.num_classes, **arguments)


def small_networks(shape):
    """Networks of a few weights, as arguments of a game."""
    output = "tanh" if len(shape) == 3 else "none"
    return {
        "generator": partial(MLPGenerator, hidden=(4,), output=output),
        "discriminator": partial(MLPDiscriminator, hidden=(4,)),
    }


def outputs(module, ema=True):
    """What a game makes of fixed latents or inputs."""
    if isinstance(module, LatentGame):
        return module.sample(5, seed=1, ema=ema)
    return module.translate(torch.linspace(-1, 1, 5 * 64).view(5, 1, 8, 8), ema=ema, seed=1)


def trainer(callbacks=(), **arguments):
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
        "accelerator": "cpu",
        "log_every_n_steps": 1,
    }
    return Trainer(callbacks=list(callbacks), **{**quiet, **arguments})


def same(a, b):
    """Whether two states are equal to the bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


class PlainNet(nn.Module):
    """A user's network that records nothing."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.layer(x.flatten(1))
