"""Images per second of MNIST at 32 px: the in-memory loader against torchvision and a DataLoader.

python benchmarks/loader.py [--root FOLDER]

All loaders run in this process, one after the other in every round; a ratio is the median over the rounds.
"""

import argparse
import os
import platform
import statistics
import time
from itertools import repeat
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from lightning_gans.data import MNIST


def processor():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def forever(loader):
    for _ in repeat(None):
        yield from loader


def images_per_second(batches, count):
    """Time ``count`` batches of an iterator that runs already."""
    images = 0
    start = time.perf_counter()
    for _ in range(count):
        images += len(next(batches)[0])
    return images / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", default=os.environ.get("LIGHTNING_GANS_DATA", "data"), help="holds MNIST/raw"
    )
    parser.add_argument("--batch_size", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.rounds < 5:
        parser.error(f"--rounds {arguments.rounds}: at least 5 for a median")
    torch.set_num_threads(arguments.threads)

    ours = MNIST(root=arguments.root, image_size=32)
    ours.prepare_data()
    ours.setup("fit")
    scale = transforms.Compose(
        [transforms.Resize(32), transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
    )
    reference = datasets.MNIST(arguments.root, train=True, transform=scale)

    print(f"{processor()}, {os.cpu_count()} cores, {arguments.threads} thread(s)")
    print(f"Python {platform.python_version()}, torch {torch.__version__}")
    print(f"MNIST 32x32, {len(reference)} images, median of {arguments.rounds} rounds")
    for batch_size in arguments.batch_size:
        ours.batch_size = batch_size
        options = {"batch_size": batch_size, "shuffle": True, "drop_last": True}
        two = {"num_workers": 2, "persistent_workers": True}
        loaders = {
            "MemoryLoader": (forever(ours.train_dataloader()), 60_000 // batch_size),
            "DataLoader, 0 workers": (forever(DataLoader(reference, **options)), 4_000 // batch_size),
            "DataLoader, 2 workers": (forever(DataLoader(reference, **options, **two)), 8_000 // batch_size),
        }
        speeds = {name: [] for name in loaders}
        for batches, _ in loaders.values():
            images_per_second(batches, 5)  # starts the workers, warms the caches
        for _ in range(arguments.rounds):
            for name, (batches, count) in loaders.items():
                speeds[name].append(images_per_second(batches, count))
        first = speeds["MemoryLoader"]
        for name, values in speeds.items():
            ratios = [mine / other for mine, other in zip(first, values, strict=True)]
            print(
                f"batch {batch_size:4d}  {name:22s} {statistics.median(values):12,.0f} images/s"
                f"  ratio {statistics.median(ratios):7.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
            )


if __name__ == "__main__":
    main()
