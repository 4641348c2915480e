"""What an epoch of fitting capacity costs: images generated, and a LeNet trained on them.

python benchmarks/fitting_capacity.py [--images 2560] [--rounds 5] [--device cuda]

Generators are ACGAN's (GOLD's networks), with and without bfloat16. The reference of the classifier is the
plain loop: torch's max pooling, ReLU before it, batches brought to the device one by one. Beside them what
the training of the ACGANs costs, so that one can say what share of a run its scores are. In every round all
variants take ``images`` images in turn, updates those of 5 batches of 128; times are those of 10,000 images,
or of 1,000 updates. Processor time of one thread; by the clock on a GPU.
"""

import statistics
import time
from functools import partial

import torch
import torch.nn.functional as F
from common import PausedFit, arguments, finish, machine, quiet, silent_trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_gans.data.loader import to_float
from lightning_gans.game.optimizers import Adam
from lightning_gans.metrics import fitting_capacity as ours
from lightning_gans.metrics.fitting_capacity import Budget, RealData
from lightning_gans.models import ACGAN

EPOCH, UPDATES, BATCH, STEPS = 10_000, 1_000, 128, 5
GENERATORS = {"16 px, width 16": (16, 16, 256), "32 px, width 64 (the paper's)": (32, 64, 1024)}


def plain_lenet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def train_plainly(images: torch.Tensor, labels: torch.Tensor, device: torch.device) -> None:
    network = plain_lenet().to(device)
    optimizer = Adam(network.parameters(), lr=1e-3, beta1=0.5)
    for chosen in torch.randperm(len(images)).split(BATCH):
        logits = network(to_float(images[chosen].to(device)))
        optimizer.zero_grad()
        F.cross_entropy(logits, labels[chosen].to(device)).backward()
        optimizer.step()


def paused_training(game: ACGAN, size: int, steps: int, device: torch.device) -> PausedFit:
    """A training that goes on by as many updates as it is called with."""
    data = TensorDataset(torch.rand(BATCH * 4, 1, size, size) * 2 - 1, torch.arange(BATCH * 4) % 10)
    accelerator = "gpu" if device.type == "cuda" else "cpu"

    def fit(pause: PausedFit) -> None:
        trainer = silent_trainer(max_steps=pause.max_steps, callbacks=[pause], accelerator=accelerator)
        trainer.fit(game, DataLoader(data, BATCH, drop_last=True))

    return PausedFit(fit, steps)


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
    trainings = {}
    for name, (size, width, hidden) in GENERATORS.items():
        sizes = {"width": width, "hidden": hidden}
        game = ACGAN((1, size, size), 10, generator=sizes, discriminator=sizes).to(device)
        for precision in ("fp32", "bf16"):
            asked = Budget(precision=precision)
            variants[f"images, {name}, {precision}"] = partial(
                ours._generate, game, None, asked, True, labels, 0
            )
        played = ACGAN((1, size, size), 10, generator=sizes, discriminator=sizes)
        paused = paused_training(played, size, (options.rounds + 1) * STEPS, device)
        trainings[f"updates, {name}, fp32"] = paused
        variants[f"updates, {name}, fp32"] = partial(paused, STEPS)
    times = {name: [] for name in variants}
    for work in variants.values():
        work()
    for _ in range(options.rounds):
        for name, work in variants.items():
            times[name].append(seconds(work, device) * (UPDATES / STEPS if name in trainings else EPOCH / n))
    finish(trainings)
    for name, values in times.items():
        first = next(other for other in times if other.split(",")[:-1] == name.split(",")[:-1])
        ratios = [a / b for a, b in zip(times[first], values, strict=True)]
        print(
            f"{name:46} {statistics.median(values):6.2f} s for {UPDATES if name in trainings else EPOCH:,} "
            f"({min(values):.2f} to {max(values):.2f}); {statistics.median(ratios):.2f}x"
        )


if __name__ == "__main__":
    main()
