"""What an update of DIWGAN costs beside one of a GAN with the same networks, and what share its pairs have.

python benchmarks/diwgan.py [--batch 256] [--warmup 500] [--rounds 5] [--steps 200] [--encoder 300]

The toy game: MLPs of two hidden layers (G) and one (D) of 128, the ring of 8 Gaussians and the grid of 25.
All games are whole fits that alternate in one process, after some hundred updates: pairing what a generator
that knows the data makes takes another time than pairing noise. Targets: an update at most 2.5 times as
costly as a GAN's, of which at most 35 % for pairing and both weights. Pairs are sought in another thread
while the discriminator is updated: where a core is to spare, an update does not wait for them (wall time).
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import wraps

import torch
from common import PausedFit, alternate, arguments, finish, machine, quiet, silent_trainer, table
from lightning import seed_everything

from lightning_gans import DIWGAN, GAN, GaussianMixtures
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.optimizers import Adam
from lightning_gans.models.diwgan import pairing, term
from lightning_gans.models.diwgan.memory import Memory
from lightning_gans.models.diwgan.term import Search

CPU, WALL = Counter[str](), Counter[str]()
"""Seconds so far: of CPU time, in all threads; and of the time that an update waits for."""


def adam(params):
    return Adam(params, lr=1e-3)


def timed(part: str, function: Callable, waits: bool = True) -> Callable:
    @wraps(function)
    def run(*args, **kwargs):
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            CPU[part] += time.thread_time() - cpu
            WALL[part] += (time.perf_counter() - wall) * waits

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
    pairing.hungarian = timed("pairing", pairing.hungarian, waits=False)  # in its own thread
    for name in ("fake_weights", "real_weights", "remember"):
        setattr(Memory, name, timed("weights", getattr(Memory, name)))
    for layout in ("ring", "grid"):
        variants = fits(
            layout, options.batch, options.encoder, options.warmup + options.rounds * options.steps
        )
        for variant in variants.values():
            variant(options.warmup)
        shares: dict[str, list[float]] = {
            f"{part}, {of}": [] for part in ("pairing", "weights") for of in ("CPU", "wall")
        }

        def ours(steps: int, run=variants["DIWGAN"], shares=shares) -> None:
            CPU.clear(), WALL.clear()
            cpu, wall = time.process_time(), time.perf_counter()
            run(steps)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            for part in ("pairing", "weights"):
                shares[f"{part}, CPU"].append(100 * CPU[part] / cpu)
                shares[f"{part}, wall"].append(100 * WALL[part] / wall)

        timings = alternate({**variants, "DIWGAN": ours}, options.rounds, options.steps)
        print(f"\n{layout}:")
        table(timings, "GAN", options.batch, faster=False, targets={"DIWGAN": "at most 2.5"})
        found = {name: statistics.median(values) for name, values in shares.items()}
        for of in ("CPU", "wall"):
            parts = [found[f"{part}, {of}"] for part in ("pairing", "weights")]
            print(
                f"of DIWGAN's update, {of:4} time: {parts[0]:.0f} % pairing, {parts[1]:.0f} % weights, "
                f"{sum(parts):.0f} % together   target at most 35"
            )
        finish(variants)


if __name__ == "__main__":
    main()
