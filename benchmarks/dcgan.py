"""DCGAN against the textbook loop: same networks, same batches, the whole `Trainer.fit` on our side.

The reference is the loop of `textbook.py` (what PyTorch's own example does, in single precision); ours is
`Trainer(...).fit(DCGAN(...), data)` with our in-memory loader. Synthetic images, 64 pixels, batch 128.
Variants alternate in one process; with --threads 1 the ratios of process CPU time bear a busy machine.

    python benchmarks/dcgan.py                        # about 4 minutes of one core
    python benchmarks/dcgan.py --compile              # compiled variants too; compiling takes a minute or two
"""

import tempfile
from collections.abc import Callable

import torch
from common import PausedFit, alternate, arguments, finish, machine, parameters, quiet, silent_trainer, table
from textbook import Textbook

from lightning_gans import DCGAN
from lightning_gans.data import DataModule

WARM_UP = 2


class Synthetic(DataModule):
    """Random bytes in place of images."""

    num_classes, class_names = None, ()

    def __init__(self, image_shape: tuple[int, ...], count: int, **options) -> None:
        self.image_shape, self.count = image_shape, count
        super().__init__(**options)

    def load(self, split):
        shape = (self.count, *self.image_shape)
        return torch.randint(256, shape, dtype=torch.uint8), torch.full((self.count,), -1)


def textbook(image_shape: tuple[int, ...], batch: int) -> Callable[[int], None]:
    """The reference: its batches lie ready in memory, as floats."""
    loop = Textbook(image_shape)
    batches = [torch.rand(batch, *image_shape) * 2 - 1 for _ in range(4)]

    def run(steps: int) -> None:
        for step in range(steps):
            loop.step(batches[step % len(batches)])

    return run


def ours(image_shape: tuple[int, ...], batch: int, steps: int, precision: str, **options: bool) -> PausedFit:
    """Our full fit, batch by batch."""

    def fit(pause: PausedFit) -> None:
        with tempfile.TemporaryDirectory() as folder:
            trainer = silent_trainer(
                max_steps=pause.max_steps, precision=precision, callbacks=[pause], default_root_dir=folder
            )
            data = Synthetic(image_shape, 8 * batch, batch_size=batch)
            trainer.fit(DCGAN(image_shape, **options), datamodule=data)

    return PausedFit(fit, steps)


def main() -> None:
    parser = arguments(__doc__, rounds=5, steps=2, batch=128, size=64)
    parser.add_argument("--compile", action="store_true", help="measure compiled variants too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    shape = (3, options.size, options.size)
    steps = WARM_UP + options.rounds * options.steps
    fast = {"precision": "bf16-mixed", "channels_last": True}
    configurations = {
        "ours, fp32": {"precision": "32-true"},
        "ours, fp32, channels_last": {"precision": "32-true", "channels_last": True},
        "ours, bf16-mixed, channels_last": fast,
    }
    if options.compile:
        configurations["ours, fp32, channels_last, compile"] = {
            "precision": "32-true",
            "channels_last": True,
            "compile": True,
        }
        configurations["ours, bf16-mixed, channels_last, compile"] = {**fast, "compile": True}
    variants: dict[str, Callable[[int], None]] = {"textbook loop, fp32": textbook(shape, options.batch)}
    for name, configuration in configurations.items():
        variants[name] = ours(shape, options.batch, steps, **configuration)

    loop = Textbook(shape)
    print(machine())
    print(
        f"DCGAN, {options.size} px, batch {options.batch}; G {parameters(loop.generator)} parameters, "
        f"D {parameters(loop.discriminator)}; {options.steps} steps a round after {WARM_UP} of warm-up"
    )
    for run in variants.values():
        run(WARM_UP)
    timings = alternate(variants, options.rounds, options.steps)
    finish(variants)
    targets = {"ours, fp32, channels_last": ">= 1.15x", "ours, bf16-mixed, channels_last": ">= 2.6x with AMX"}
    table(timings, "textbook loop, fp32", options.batch, targets=targets)


if __name__ == "__main__":
    main()
