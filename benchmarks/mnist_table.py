"""All metrics on MNIST: DCGAN, WGAN and WGAN-GP with equal networks and equal processor time.

python benchmarks/mnist_table.py run --classifier CHECKPOINT [--minutes 4] [--seeds 0 1 2] [--out FOLDER]
python benchmarks/mnist_table.py table [--out FOLDER]

Each game trains on one thread until it has used that much processor time, evaluation not included; its
samples are then scored once by `Evaluate`, in one pass. A finished cell is a JSON file, and is skipped by the
next call.
`table` writes mean and standard deviation over seeds, and knows nothing that is not in these files.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path

import torch
from common import machine, quiet, silent_trainer
from lightning.pytorch import Callback, seed_everything

from lightning_gans import DCGAN, MNIST, WGAN, WGANGP
from lightning_gans.callbacks import Evaluate
from lightning_gans.drawing.grids import image_grid
from lightning_gans.metrics import (
    FID,
    IS,
    KID,
    SWD,
    ClassBalance,
    DensityCoverage,
    ModifiedIS,
    NearestNeighbours,
    ParzenLikelihood,
    PrecisionRecall,
)
from lightning_gans.metrics.classifier import ClassifierExtractor
from lightning_gans.networks.dcgan import DCGANDiscriminator, DCGANGenerator

SAMPLES, WIDTH = 10_000, 32
GAMES = {
    "DCGAN": partial(DCGAN, discriminator=partial(DCGANDiscriminator, width=WIDTH)),
    "WGAN": partial(WGAN, discriminator=partial(DCGANDiscriminator, width=WIDTH)),
    "WGAN-GP": partial(WGANGP, discriminator=partial(DCGANDiscriminator, width=WIDTH, norm="none")),
}
ROWS = {
    "fid": "FID",
    "kid": "KID",
    "is": "IS",
    "mis": "modified IS",
    "mis_classes": "classes in it",
    "modes": "classes found",
    "class_balance": "smallest by largest share",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "swd": "SWD x 1000",
    "parzen": "Parzen log-likelihood",
    "neighbour_distance": "distance of the nearest training image",
    "updates": "generator updates",
    "images": "real images seen",
}


class Budget(Callback):
    """Ends a run when it has used so many seconds of processor time."""

    def __init__(self, seconds: float):
        self.seconds, self.used, self.images = seconds, 0.0, 0

    def on_train_start(self, trainer, pl_module):
        self.start = time.process_time()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.images += len(batch[0])
        self.used = time.process_time() - self.start
        trainer.should_stop = self.used > self.seconds


def run(name: str, seed: int, options: argparse.Namespace) -> None:
    place = options.out / f"{name}-{seed}.json"
    if place.exists():
        print(f"{place} is there")
        return
    seed_everything(seed, verbose=False)
    game = GAMES[name](
        image_shape=(1, 32, 32), generator=partial(DCGANGenerator, width=WIDTH), channels_last=True
    )
    data = MNIST(image_size=32, batch_size=64, download=False, seed=seed)
    metrics = [
        FID(), KID(), IS(), ModifiedIS(), ClassBalance(), PrecisionRecall(), DensityCoverage(),
        SWD(num_images=2048), ParzenLikelihood(),
    ]  # fmt: skip
    budget = Budget(60 * options.minutes)
    at_the_end = {"every_n_updates": 10**9, "num_samples": SAMPLES}
    extractor = ClassifierExtractor(options.classifier)
    evaluate = Evaluate(metrics, extractor, num_real=SAMPLES, split="test", **at_the_end)
    copies = Evaluate([NearestNeighbours(64, 1)], name="copies", **at_the_end)
    trainer = silent_trainer(
        max_epochs=-1, default_root_dir=options.out / f"{name}-{seed}", callbacks=[budget, evaluate, copies]
    )
    trainer.fit(game, data)
    image_grid(game.sample(64, seed=0)).save(options.out / f"{name}-{seed}.png")
    assert evaluate.scores is not None
    assert copies.scores is not None
    row = {
        "game": name,
        "seed": seed,
        "seconds": budget.used,
        "images": budget.images,
        "updates": trainer.global_step,
        "machine": machine(),
        **copies.scores.as_json(),
        **evaluate.scores.as_json(),
    }
    place.write_text(json.dumps(row, indent=1))


def table(out: Path) -> str:
    cells: dict[str, list[dict]] = {}
    for file in sorted(out.glob("*.json")):
        row = json.loads(file.read_text())
        cells.setdefault(row["game"], []).append(row)
    games = [name for name in GAMES if name in cells]
    lines = ["| | " + " | ".join(games) + " |", "|---" * (len(games) + 1) + "|"]
    for key, title in ROWS.items():
        texts = []
        for name in games:
            values = [row[key] for row in cells[name] if row.get(key) is not None]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            texts.append(f"{statistics.mean(values):,.4g} +- {spread:.2g}" if values else "missing")
        lines.append(f"| {title} | " + " | ".join(texts) + " |")
    counts = ", ".join(f"{name} {len(cells[name])}" for name in games)
    protocol = next(iter(cells.values()))[0]["protocol"]
    return "\n".join([*lines, "", f"Seeds: {counts}. {json.dumps(protocol)}"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "table"):
        sub = commands.add_parser(name)
        sub.add_argument("--out", type=Path, default=Path("runs/mnist_table"))
        if name == "run":
            sub.add_argument("--classifier", required=True, help="a checkpoint of --config classifier/mnist")
            sub.add_argument("--minutes", type=float, default=4.0, help="of processor time, a game and seed")
            sub.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
            sub.add_argument("--only", choices=list(GAMES), nargs="+", default=list(GAMES))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.command == "run":
        torch.set_num_threads(1)
        quiet()
        for seed in options.seeds:
            for name in options.only:
                run(name, seed, options)
    print(table(options.out))


if __name__ == "__main__":
    main()
