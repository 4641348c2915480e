"""What an update of DIWGAN costs beside one of a GAN with the same networks, and what share its pairs have.

python benchmarks/diwgan.py [--batch 256] [--warmup 500] [--rounds 5] [--steps 200] [--encoder 300]

The toy game: MLPs of two hidden layers (G) and one (D) of 128, the ring of 8 Gaussians and the grid of 25. Both
games are whole fits that alternate in one process, after some hundred updates: pairing what a generator that
knows the data makes takes another time than pairing noise. Targets: an update at most 2.5 times as costly as a
GAN's, of which at most 35 % for pairing and both weights, by CPU time.
"""

import statistics
import time
from collections.abc import Callable
from functools import wraps

import torch
from common import PausedFit, alternate, arguments, finish, machine, quiet, silent_trainer, table
from lightning import seed_everything

from lightning_gans import DIWGAN, GAN, GaussianMixtures
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.optimizers import Adam
from lightning_gans.models.diwgan import term
from lightning_gans.models.diwgan.memory import Memory
from lightning_gans.models.diwgan.term import Search

PARTS = {"pairing": 0.0, "weights": 0.0}
"""Seconds of CPU time so far."""


def adam(params):
    return Adam(params, lr=1e-3)


def timed(part: str, function: Callable) -> Callable:
    @wraps(function)
    def run(*args, **kwargs):
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            PARTS[part] += time.process_time() - start

    return run


def fits(layout: str, batch: int, encoder: int, updates: int) -> dict[str, PausedFit]:
    def fit(make: Callable[[], LatentGame]) -> PausedFit:
        def run(pause: PausedFit) -> None:
            seed_everything(0, verbose=False)
            data = GaussianMixtures(layout, batch_size=batch)
            silent_trainer(callbacks=[pause], max_steps=pause.max_steps).fit(make(), data)

        return PausedFit(run, updates)

    size = GaussianMixtures(layout).image_shape
    optimizers = {"generator_optimizer": adam, "discriminator_optimizer": adam}

    def ours(**options) -> DIWGAN:
        return DIWGAN(size, **optimizers, **options)

    def gan() -> GAN:
        like = ours(alpha=0)
        networks = {"generator": like.generator, "discriminator": like.discriminator, "latent": like.latent}
        return GAN(size, **networks, **optimizers)

    return {
        "GAN": fit(gan),
        "DIWGAN": fit(lambda: ours(encoder_updates=encoder, max_error=10.0)),
        "identity": fit(lambda: ours(encoder="identity")),
    }


def main() -> None:
    options = arguments(__doc__, batch=256, warmup=500, rounds=5, steps=200, encoder=300).parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    print(machine())
    term.costs, term.start = timed("pairing", term.costs), timed("pairing", term.start)
    Search.order = timed("pairing", Search.order)
    for name in ("fake_weights", "real_weights", "remember"):
        setattr(Memory, name, timed("weights", getattr(Memory, name)))
    for layout in ("ring", "grid"):
        variants = fits(
            layout, options.batch, options.encoder, options.warmup + options.rounds * options.steps
        )
        for variant in variants.values():
            variant(options.warmup)
        shares: dict[str, list[float]] = {"pairing": [], "weights": []}

        def ours(steps: int, run=variants["DIWGAN"], shares=shares) -> None:
            before, start = dict(PARTS), time.process_time()
            run(steps)
            whole = time.process_time() - start
            for part, seconds in shares.items():
                seconds.append((PARTS[part] - before[part]) / whole)

        timings = alternate({**variants, "DIWGAN": ours}, options.rounds, options.steps)
        print(f"\n{layout}:")
        table(timings, "GAN", options.batch, faster=False, targets={"DIWGAN": "at most 2.5"})
        parts = {part: 100 * statistics.median(values) for part, values in shares.items()}
        print(
            f"of DIWGAN's update {parts['pairing']:.0f} % pairing, {parts['weights']:.0f} % weights: "
            f"{sum(parts.values()):.0f} % together   target at most 35"
        )
        finish(variants)


if __name__ == "__main__":
    main()
