"""What an epoch of fitting capacity costs: images generated, and a LeNet trained on them.

python benchmarks/fitting_capacity.py [--images 2560] [--rounds 5] [--device cuda]

Generators are ACGAN's (GOLD's networks), with and without bfloat16. The reference of the classifier is the
plain loop: torch's max pooling, ReLU before it, batches brought to the device one by one. In every round all
variants take ``images`` images in turn; times are those of 10,000. Processor time of one thread; by the
clock on a GPU.
"""

import statistics
import time
from functools import partial

import torch
import torch.nn.functional as F
from common import arguments, machine, quiet
from torch import nn

from lightning_gans.data.loader import to_float
from lightning_gans.game.optimizers import Adam
from lightning_gans.metrics import fitting_capacity as ours
from lightning_gans.metrics.fitting_capacity import Budget, RealData
from lightning_gans.models import ACGAN
from lightning_gans.networks import ACGANGenerator

EPOCH = 10_000
GENERATORS = {"16 px, width 16": (16, 16, 256), "32 px, width 64 (the paper's)": (32, 64, 1024)}


def plain_lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def train_plainly(images: torch.Tensor, labels: torch.Tensor, device: torch.device) -> None:
    network = plain_lenet().to(device)
    optimizer = Adam(network.parameters(), lr=1e-3, beta1=0.5)
    for chosen in torch.randperm(len(images)).split(128):
        logits = network(to_float(images[chosen].to(device)))
        optimizer.zero_grad()
        F.cross_entropy(logits, labels[chosen].to(device)).backward()
        optimizer.step()


def seconds(work, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    parser = arguments(__doc__, images=2560, rounds=5)
    parser.add_argument("--device", default="cpu", help="default cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    print(machine())
    device, n = torch.device(options.device), options.images
    labels = torch.arange(n) % 10
    images = torch.randint(256, (n, 1, 32, 32), dtype=torch.uint8)
    real = RealData(images, labels, images, labels, 10)
    budget = Budget(epochs=1, samples_per_epoch=n)
    variants = {
        "LeNet, plain": lambda: train_plainly(images, labels, device),
        "LeNet, ours": lambda: ours._train(iter([(images, labels)]), real, budget, [0], device, None),
    }
    for name, (size, width, hidden) in GENERATORS.items():
        generator = ACGANGenerator((1, size, size), 100, 10, width, hidden)
        game = ACGAN((1, size, size), 10, generator=generator).to(device)
        for precision in ("fp32", "bf16"):
            asked = Budget(precision=precision)
            variants[f"images, {name}, {precision}"] = partial(
                ours._generate, game, None, asked, True, labels, 0
            )
    times = {name: [] for name in variants}
    for work in variants.values():
        work()
    for _ in range(options.rounds):
        for name, work in variants.items():
            times[name].append(seconds(work, device) * EPOCH / n)
    for name, values in times.items():
        first = next(other for other in times if other.split(",")[:-1] == name.split(",")[:-1])
        ratios = [a / b for a, b in zip(times[first], values, strict=True)]
        print(
            f"{name:45} {statistics.median(values):6.2f} s for {EPOCH:,} "
            f"({min(values):.2f} to {max(values):.2f}); {statistics.median(ratios):.2f}x"
        )


if __name__ == "__main__":
    main()
