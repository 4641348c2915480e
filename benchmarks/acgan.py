"""What an update of ACGAN and of GOLD costs beside a bare PyTorch loop that does the same arithmetic.

python benchmarks/acgan.py [--rounds 5] [--steps 20] [--small 200] [--batch 128]

The networks of GOLD's released code for grey images at 32 pixels, and narrow ones (width 16, 256 units) at 16
pixels, where overhead shows; batches of random images. Ours are whole fits with a log; the bare loop has the
same networks and optimizers, the same fakes for both players, D frozen in G's turn, and nothing else. GOLD
weights its fakes from the first update on, and with 64 labelled samples drawn for each update ACGAN judges
half as many real images more, apart from the batch. Variants alternate in one process. With --threads 1 look
at the CPU time.
"""

import tempfile
from collections.abc import Callable

import torch
from common import PausedFit, alternate, arguments, finish, machine, quiet, silent_trainer, table
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from lightning_gans import ACGAN, GOLDACGAN
from lightning_gans.data.base import DataModule
from lightning_gans.game.optimizers import Adam
from lightning_gans.networks import ACGANDiscriminator, ACGANGenerator

CLASSES, LATENT = 10, 100
SIZES = {"32 pixels, width 64": (32, {}), "16 pixels, width 16": (16, {"width": 16, "hidden": 256})}


class Noise(DataModule):
    """Random grey images with labels."""

    num_classes = CLASSES
    class_names = tuple(map(str, range(CLASSES)))
    has_test_split = False

    def __init__(self, size: int, **options: int) -> None:
        super().__init__(**options)
        self.image_shape = (1, size, size)

    def load(self, split: str) -> tuple[Tensor, Tensor]:
        """10,000 of them."""
        rng = torch.Generator().manual_seed(0)
        images = torch.randint(256, (10_000, *self.image_shape), generator=rng, dtype=torch.uint8)
        return images, torch.arange(len(images)) % CLASSES


def bare(size: int, batch: int, options: dict[str, int]) -> Callable[[int], None]:
    """The loop that one writes by hand when every microsecond counts."""
    shape = (1, size, size)
    generator, judge = ACGANGenerator(shape, **options), ACGANDiscriminator(shape, **options)
    optimizer_g, optimizer_d = Adam(generator.parameters()), Adam(judge.parameters())
    rng = torch.Generator().manual_seed(0)
    images, labels = Noise(size).load("train")

    def batches():
        while True:
            order = torch.randperm(len(images), generator=rng)
            for i in range(0, len(images) - batch + 1, batch):
                chosen = order[i : i + batch]
                yield images[chosen].float().mul_(1 / 127.5).sub_(1), labels[chosen]

    source = batches()

    def run(steps: int) -> None:
        for _ in range(steps):
            real, known = next(source)
            latents = torch.randn(batch, LATENT, generator=rng)
            wanted = torch.randint(CLASSES, (batch,), generator=rng)
            fake = generator(latents, wanted)
            logits, classes = judge(real)
            loss = softplus(-logits).mean() + cross_entropy(classes, known)
            logits, classes = judge(fake.detach())
            loss = loss + softplus(logits).mean() + 0.1 * cross_entropy(classes, wanted)
            optimizer_d.zero_grad()
            loss.backward()
            optimizer_d.step()

            judge.requires_grad_(False)
            logits, classes = judge(fake)
            loss = softplus(-logits).mean() + cross_entropy(classes, wanted)
            optimizer_g.zero_grad()
            loss.backward()
            optimizer_g.step()
            judge.requires_grad_(True)

    return run


def fitted(make: Callable[[], ACGAN], size: int, batch: int, updates: int) -> PausedFit:
    """A fit with a log."""

    def fit(pause: PausedFit) -> None:
        with tempfile.TemporaryDirectory() as folder:
            trainer = silent_trainer(
                callbacks=[pause], max_steps=pause.max_steps, logger=CSVLogger(folder), log_every_n_steps=50
            )
            trainer.fit(make(), Noise(size, batch_size=batch))

    return PausedFit(fit, updates)


def main() -> None:
    parser = arguments(__doc__, rounds=5, steps=10, small=100, batch=128)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    print(machine())
    for name, (size, networks) in SIZES.items():
        steps = options.steps if size == 32 else options.small
        updates = steps * options.rounds + 3
        common = {"image_shape": (1, size, size), "num_classes": CLASSES}
        common |= {"generator": networks, "discriminator": networks}
        variants: dict[str, Callable[[int], None]] = {
            "bare loop": bare(size, options.batch, networks),
            "ACGAN": fitted(lambda c=common: ACGAN(**c), size, options.batch, updates),
            "GOLD": fitted(lambda c=common: GOLDACGAN(reweight_from=0, **c), size, options.batch, updates),
            "64 drawn": fitted(
                lambda c=common: ACGAN(labeled_batch_size=64, **c), size, options.batch, updates
            ),
        }  # fmt: skip
        for run in variants.values():
            run(3)
        timings = alternate(variants, options.rounds, steps, min(steps, 10))
        finish(variants)
        print(f"\n{name}, batch {options.batch}, {steps} updates a round:")
        table(timings, "bare loop", options.batch, faster=False, targets={"ACGAN": "<= 1.05x"})


if __name__ == "__main__":
    main()
