"""Near-duplicates planted among Fashion-MNIST's training images: how many `lightning-gans dedup` finds.

python benchmarks/dedup.py [--root FOLDER] [--distances 0 4 6 8] [--noise 0.1 ...]

500 random images get a near-duplicate each, of one kind: moved by 1 pixel in one of four directions, with
Gaussian noise of standard deviation 8 (of 255), or with brightness x 0.9 or x 1.1. Fashion-MNIST has
near-duplicates of its own. So pairs that were not planted are no errors by themselves: a random sample of
them is drawn into `others-DISTANCE.png`, for a human to judge. `least` is the precision if all were wrong.
"""

import argparse
import csv
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import machine

from lightning_gans.commands.dedup import dedup, draw_pairs
from lightning_gans.data import FashionMNIST

KINDS = ("shift", "noise", "brightness")


class Planted(FashionMNIST):
    """Fashion-MNIST, followed by near-duplicates of some of its training images."""

    has_test_split = False

    def __init__(self, count, **options):
        super().__init__(**options)
        self.count = count

    def load(self, split):
        images, labels = super().load(split)
        random = torch.Generator().manual_seed(self.seed)
        self.originals = torch.randperm(len(images), generator=random)[: self.count]
        copies = images[self.originals].float()
        for index, copy in enumerate(copies):
            kind = KINDS[index % 3]
            if kind == "shift":
                down, right = ((0, 1), (2, 1), (1, 0), (1, 2))[int(torch.randint(4, (), generator=random))]
                wide = F.pad(copy, (1, 1, 1, 1), mode="replicate")
                copy[:] = wide[:, down : down + 28, right : right + 28]
            elif kind == "noise":
                copy += 8 * torch.randn(copy.shape, generator=random)
            else:
                copy *= (0.9, 1.1)[int(torch.randint(2, (), generator=random))]
        copies = copies.round().clamp(0, 255).to(torch.uint8)
        return torch.cat([images, copies]), torch.cat([labels, labels[self.originals]])


def judge(data, out):
    """Return which planted ones were found, and the pairs that were not planted."""
    with (out / "pairs.csv").open(newline="") as file:
        pairs = [tuple(map(int, row)) for row in list(csv.reader(file))[1:]]
    first = {dropped: kept for kept, dropped, _ in pairs}
    start = len(data.training_images()[0]) - data.count
    originals = data.originals.tolist()
    found = [
        first.get(start + index, -1) == first.get(original, original)
        for index, original in enumerate(originals)
    ]
    right = {start + index for index, yes in enumerate(found) if yes}
    return np.array(found), [pair for pair in pairs if pair[1] not in right]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", default=os.environ.get("LIGHTNING_GANS_DATA", "data"))
    parser.add_argument("--out", type=Path, default=Path("runs/dedup"), help="where the pictures go")
    parser.add_argument("--planted", type=int, default=500)
    parser.add_argument("--distances", type=int, nargs="+", default=[0, 2, 4, 6, 8])
    parser.add_argument("--noise", type=float)
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--code_dim", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    options = {name: getattr(arguments, name) for name in ("noise", "dropout", "epochs", "code_dim")}
    options = {name: value for name, value in options.items() if value is not None}

    print(machine())
    print(f"seed {arguments.seed}; {options or 'default settings'}")
    columns = ("distance", "recall", *KINDS, "dropped", "planted", "others", "least", "largest", "seconds")
    print(" ".join(f"{name:>10}" for name in columns))
    for distance in arguments.distances:
        data = Planted(
            arguments.planted, root=arguments.root, image_size=32, download=False, seed=arguments.seed
        )
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            start = time.perf_counter()
            report = dedup(data, folder, distance, seed=arguments.seed, pairs_in_picture=0, **options)
            passed = time.perf_counter() - start
            found, others = judge(data, out)
        _, sizes = np.unique([kept for kept, _, _ in others], return_counts=True)
        row = [distance, found.mean(), *(found[kind::3].mean() for kind in range(3))]
        row += [report["duplicates"], found.sum(), len(others), found.sum() / max(report["duplicates"], 1)]
        row += [sizes.max(initial=0) + 1, round(passed)]
        print(" ".join(f"{x:10.3f}" if isinstance(x, float) else f"{x:10}" for x in row), flush=True)
        if others:
            chosen = np.random.default_rng(arguments.seed).permutation(len(others))[:60]
            shown = [others[index] for index in sorted(chosen)]
            images, _ = data.training_images()
            picture = draw_pairs(
                images[[kept for kept, _, _ in shown]],
                images[[dropped for _, dropped, _ in shown]],
                [(str(kept), str(dropped), bits) for kept, dropped, bits in shown],
                f"distance {distance}: {len(shown)} of {len(others)} pairs that were not planted",
            )
            picture.save(arguments.out / f"others-{distance}.png")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
