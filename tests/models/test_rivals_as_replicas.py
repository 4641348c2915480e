"""Unrolled GAN and VEEGAN: replicas in one process are the runs of their seeds."""

from functools import partial

import pytest
import torch

from lightning_gans.game.latents import Normal
from lightning_gans.game.optimizers import Adam
from lightning_gans.models import VEEGAN, UnrolledGAN
from lightning_gans.networks import MLPGenerator
from tests.conformance.games import ring, trainer

GAMES = {
    "unrolled": partial(UnrolledGAN, unrolled_steps=2, discriminator={"hidden": (6,)}),
    "unrolled, first order": partial(
        UnrolledGAN, unrolled_steps=2, second_order=False, discriminator={"hidden": (6,)}
    ),
    "veegan": partial(VEEGAN, discriminator={"hidden": (6,)}, reconstructor={"hidden": (8,)}),
}


def trained(name, seed, replicas=1):
    torch.manual_seed(seed)
    adam = partial(Adam, lr=1e-2)
    module = GAMES[name](
        (2,),
        replicas=replicas,
        latent=Normal(2),
        generator=partial(MLPGenerator, hidden=(8,), output="none"),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
    )
    torch.manual_seed(seed)
    trainer(max_steps=8).fit(module, ring(seed=seed))
    return module


@pytest.mark.parametrize("name", GAMES)
def test_each_is_the_run_of_its_seed(name):
    together = trained(name, 3, replicas=2)
    for r in range(2):
        alone, own = trained(name, 3 + r).state_dict(), together.replica(r).state_dict()
        for key, value in alone.items():
            torch.testing.assert_close(own[key], value, rtol=1e-3, atol=1e-5)
