"""Many seeds in one process: updates of all seeds a second with `replicas: R`, beside one run after another.

Both are `Trainer.fit`, in turn in one process. A step of the run with replicas is an update of each of R
seeds; R runs one after another take R single steps for that. The ratio says how many times as many
seed-updates a second the replicas make.

    python benchmarks/replicas.py                     # about 3 minutes of one core
    python benchmarks/replicas.py --threads 2         # on two idle cores: then look at the wall-clock ratio
    python benchmarks/replicas.py --only GAN

The games: GAN on the ring with MLPs of 128 units (D with one hidden layer, as in the recipe gan/ring, or with
two), RealnessGAN on its nine Gaussians with its networks, Unrolled GAN with five steps.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from common import PausedFit, alternate, arguments, finish, machine, quiet, silent_trainer
from lightning import seed_everything

from lightning_gans import GAN, GaussianMixtures, LatentGame, RealnessGAN, UnrolledGAN
from lightning_gans.game.latents import Normal
from lightning_gans.networks.mlp import MaxoutDiscriminator, MLPDiscriminator, MLPGenerator

WARM = 5

mlp = partial(MLPGenerator, hidden=(128, 128), output="none")
two_layers = {"generator": mlp, "discriminator": partial(MLPDiscriminator, hidden=(128, 128))}
one_layer = {"generator": mlp, "discriminator": partial(MLPDiscriminator, hidden=(128,), activation="relu")}
realness = {
    "generator": partial(MLPGenerator, hidden=(400,) * 4, output="none", batch_norm=True),
    "discriminator": partial(
        MaxoutDiscriminator, hidden=(200,) * 3, input_dropout=0.0, dropout=0.0, init_range=None
    ),
    "num_outcomes": 5,
    "resample": "none",
}

GAMES: dict[str, tuple[type[LatentGame], str, int, int, dict[str, Any]]] = {
    "GAN, G and D of two layers": (GAN, "ring", 256, 2, two_layers),
    "GAN, D of one layer": (GAN, "ring", 256, 2, one_layer),
    "RealnessGAN": (RealnessGAN, "grid9", 100, 32, realness),
    "UnrolledGAN, K = 5": (UnrolledGAN, "ring", 256, 2, one_layer),
}
"""Class, layout of the data, batch size, dimension of the latents, arguments."""


def fit(name: str, replicas: int, callback: PausedFit) -> None:
    """Train one of the games, or several replicas of it."""
    kind, layout, batch_size, dim, chosen = GAMES[name]
    seed_everything(0, verbose=False)
    game = kind((2,), latent=Normal(dim), replicas=replicas, **chosen)
    data = GaussianMixtures(layout, batch_size=batch_size)
    silent_trainer(max_steps=callback.max_steps, callbacks=[callback]).fit(game, data)


def main(options: argparse.Namespace) -> None:
    """Print a line for each game."""
    replicas, steps = options.replicas, options.steps
    print(machine())
    print(f"seed-updates a second of replicas: {replicas}, beside {replicas} runs one after another")
    for name in GAMES:
        if options.only not in name:
            continue
        variants: dict[str, Callable[[int], None]] = {
            key: PausedFit(partial(fit, name, number), 2 * WARM + options.rounds * steps)
            for key, number in (("one", 1), ("all", replicas))
        }
        for variant in variants.values():
            variant(WARM)
        timings = alternate(variants, options.rounds, steps)
        finish(variants)
        one, joint = timings["one"], timings["all"]
        ratios = [
            [replicas * a / b for a, b in zip(*pair, strict=True)]
            for pair in ((one.cpu, joint.cpu), (one.wall, joint.wall))
        ]
        cpu, wall = map(statistics.median, ratios)
        ms = [1000 * statistics.median(timing.cpu) for timing in (one, joint)]
        print(
            f"{name:28} a step {ms[0]:6.2f} and {ms[1]:6.2f} ms of CPU   {cpu:5.2f}x "
            f"[{min(ratios[0]):.2f} to {max(ratios[0]):.2f}]   wall {wall:5.2f}x"
        )


if __name__ == "__main__":
    parser = arguments(__doc__ or "", replicas=10, steps=40, rounds=7)
    parser.add_argument("--only", default="", help="the games whose names contain this")
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    quiet()
    main(parsed)
