"""What a full fit costs beside a bare PyTorch loop that does the same arithmetic.

The toy game: GAN on the ring of 8 Gaussians, MLPs of two hidden layers of 128, batch 256, where a step is so
short that every hook shows. Ours is `Trainer.fit` with a CSV logger, the progress bar, `Throughput` and
`SampleGrid`; the bare loop has the same networks, optimizers, data slicing and noise, D frozen in G's turn,
and nothing else. For context: a plain LightningModule in manual optimization that toggles its optimizers and
logs its losses each step, as Lightning's documentation has it.

    python benchmarks/overhead.py                     # about 2 minutes of one core

Variants alternate in one process. With --threads 1 the ratio to look at is of process CPU time.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from common import PausedFit, alternate, arguments, finish, machine, quiet, table
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn.functional import softplus

from lightning_gans import GAN, GaussianMixtures
from lightning_gans.callbacks.sample_grid import SampleGrid
from lightning_gans.callbacks.throughput import Throughput
from lightning_gans.game.latents import Normal
from lightning_gans.game.optimizers import Adam
from lightning_gans.networks.mlp import MLPDiscriminator, MLPGenerator

LATENT = 2  # as in the recipe gan/ring
SLICE = 25


def networks() -> tuple[nn.Module, nn.Module]:
    """Those that `game()` makes for itself."""
    return MLPGenerator((2,), LATENT, hidden=(128, 128), output="none"), MLPDiscriminator(
        (2,), hidden=(128, 128)
    )


@contextlib.contextmanager
def without_lightning():
    """Undo what importing Lightning sets: torch's Adam then looks for a GPU the slow way at each step."""
    name = "PYTORCH_NVML_BASED_CUDA_CHECK"
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


def game() -> GAN:
    """Our side."""
    return GAN((2,), latent=Normal(LATENT))


def bare(batch: int) -> Callable[[int], None]:
    """The loop that one writes by hand when every microsecond counts."""
    generator, discriminator = networks()
    optimizer_g, optimizer_d = Adam(generator.parameters()), Adam(discriminator.parameters())
    rng = torch.Generator().manual_seed(0)
    data, _ = GaussianMixtures("ring").load("train")

    def batches():
        while True:
            order = torch.randperm(len(data), generator=rng)
            for i in range(0, len(data) - batch + 1, batch):
                yield data.index_select(0, order[i : i + batch])

    source = batches()

    def run(steps: int) -> None:
        with without_lightning():
            train(steps)

    def train(steps: int) -> None:
        for _ in range(steps):
            real = next(source)
            with torch.no_grad():
                fake = generator(torch.randn(batch, LATENT, generator=rng))
            loss = softplus(-discriminator(real)).mean() + softplus(discriminator(fake)).mean()
            optimizer_d.zero_grad()
            loss.backward()
            optimizer_d.step()

            discriminator.requires_grad_(False)
            loss = softplus(-discriminator(generator(torch.randn(batch, LATENT, generator=rng)))).mean()
            optimizer_g.zero_grad()
            loss.backward()
            optimizer_g.step()
            discriminator.requires_grad_(True)

    return run


class Plain(LightningModule):
    """The same game as Lightning's documentation would have it."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.discriminator = networks()

    def configure_optimizers(self):
        return [Adam(self.discriminator.parameters()), Adam(self.generator.parameters())], []

    def training_step(self, batch, batch_idx):
        real, _ = batch
        optimizer_d, optimizer_g = self.optimizers()
        self.toggle_optimizer(optimizer_d)
        fake = self.generator(torch.randn(len(real), LATENT)).detach()
        d_loss = softplus(-self.discriminator(real)).mean() + softplus(self.discriminator(fake)).mean()
        optimizer_d.zero_grad()
        self.manual_backward(d_loss)
        optimizer_d.step()
        self.untoggle_optimizer(optimizer_d)

        self.toggle_optimizer(optimizer_g)
        g_loss = softplus(-self.discriminator(self.generator(torch.randn(len(real), LATENT)))).mean()
        optimizer_g.zero_grad()
        self.manual_backward(g_loss)
        optimizer_g.step()
        self.untoggle_optimizer(optimizer_g)
        self.log_dict({"d_loss": d_loss, "g_loss": g_loss}, prog_bar=True)


def fitted(
    module: Callable[[], LightningModule], batch: int, steps: int, extras: Callable[[], list]
) -> PausedFit:
    """A fit with logger, progress bar and what `extras` makes."""

    def fit(pause: PausedFit) -> None:
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                max_steps=pause.max_steps if module is not Plain else 2 * pause.max_steps,
                accelerator="cpu",
                callbacks=[
                    *extras(),
                    *([TQDMProgressBar(refresh_rate=20)] if module is Plain else []),
                    pause,
                ],
                logger=CSVLogger(folder),
                enable_checkpointing=False,
                enable_model_summary=False,
                limit_val_batches=0,
                default_root_dir=Path(folder),
            )
            trainer.fit(module(), datamodule=GaussianMixtures("ring", batch_size=batch))

    return PausedFit(fit, steps)


def main() -> None:
    parser = arguments(__doc__, rounds=9, steps=500, batch=256, pictures=500)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    steps = options.steps * (options.rounds + 1)
    variants: dict[str, Callable[[int], None]] = {
        "bare loop": bare(options.batch),
        "our fit: log, bar, SampleGrid": fitted(
            game,
            options.batch,
            steps,
            lambda: [SampleGrid(every_n_updates=options.pictures), Throughput()],
        ),
        "our fit: log, bar": fitted(game, options.batch, steps, list),
        "stock Lightning: log, bar": fitted(Plain, options.batch, steps, list),
    }
    print(machine())
    print(
        f"GAN on the ring, MLPs 128-128, batch {options.batch}; {options.steps} steps a round in turns of "
        f"{SLICE}; a picture every {options.pictures} updates"
    )
    # The bars are computed and written as for a user, but not into this table.
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        nowhere.isatty = lambda: True  # our bar is written rarely where nobody looks
        stderr, sys.stderr = sys.stderr, nowhere
        try:
            for run in variants.values():
                run(options.steps)
            timings = alternate(variants, options.rounds, options.steps, options.steps // SLICE)
            finish(variants)
        finally:
            sys.stderr = stderr
    table(
        timings,
        "bare loop",
        options.batch,
        faster=False,
        targets={"our fit: log, bar, SampleGrid": "<= 1.20x"},
    )


if __name__ == "__main__":
    main()
