"""The data layer against torchvision and a DataLoader: images per second, memory, seconds until the start.

python benchmarks/loader.py [--root FOLDER] [--cases mnist cifar facades]

MNIST at 32 px, CIFAR-10 as JPEG files at 32 px (mirrored), facades at 256 px (pairs: resized to 286, cut,
mirrored). The reference reads the same files with the usual transforms of torchvision, without workers and
with two. All loaders run in this process, one after the other in every round; a ratio is the median over the
rounds. What workers prepare while others have their turn is thrown away before their own is timed.
Ratios by CPU time hardly depend on what else runs on the machine. Two workers are at best twice as fast as
none: half of that ratio is what is left against them where two cores are idle.

Memory is the growth of the resident set of a fresh process, at its peak, from after its imports until an
epoch of batches was served: once with an empty cache folder (the files are decoded), once with the cache. The
bytes are those of the training images as they are stored; validation images come on top.
"""

import argparse
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from itertools import islice, repeat
from pathlib import Path

import PIL
import psutil
import torch
import torchvision
from common import machine
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms
from torchvision.transforms import functional as F

from lightning_gans.data import MNIST, Facades, ImageFolder
from lightning_gans.data.folder import natural_order

GOALS = {"mnist": 20, "cifar": 12, "facades": 4}
BATCH_SIZES = {"mnist": (64, 128), "cifar": (64, 128), "facades": (1, 4)}
TITLES = {
    "mnist": "MNIST, 32 px",
    "cifar": "CIFAR-10 as JPEG, 32 px, flip",
    "facades": "facades, 286 -> 256 px, flip",
}
MEMORY_GOAL = 1.3
WORKERS, AHEAD = 2, 2  # AHEAD: batches that each worker of a DataLoader prepares


class PairedFiles(Dataset):
    """Pairs side by side in a file, cut and mirrored alike, as pix2pix's code for PyTorch prepares them."""

    def __init__(self, folder, load_size=286, size=256):
        self.files = [Path(folder, name) for name in natural_order(os.listdir(folder))]  # noqa: PTH208
        self.load_size, self.size = load_size, size

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        pair = Image.open(self.files[index]).convert("RGB")
        width, height = pair.size
        x, y = (random.randint(0, self.load_size - self.size) for _ in range(2))
        mirrored = random.random() < 0.5
        halves = []
        for left in (0, width // 2):
            half = pair.crop((left, 0, left + width // 2, height))
            half = half.resize((self.load_size, self.load_size), Image.Resampling.BICUBIC)
            half = half.crop((x, y, x + self.size, y + self.size))
            if mirrored:
                half = half.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            halves.append(F.normalize(F.to_tensor(half), [0.5] * 3, [0.5] * 3))
        return halves


def reference(case, root):
    """Return the data as it is served by torchvision's classes and transforms."""
    if case == "facades":
        return PairedFiles(root / "facades" / "train")
    if case == "mnist":
        steps = [transforms.Resize(32), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
        return datasets.MNIST(root, train=True, transform=transforms.Compose(steps))
    mirror, scale = transforms.RandomHorizontalFlip(), transforms.Normalize([0.5] * 3, [0.5] * 3)
    steps = transforms.Compose([mirror, transforms.ToTensor(), scale])
    return datasets.ImageFolder(root / "cifar10-jpeg" / "train", steps)


def module(case, root, cache, **options):
    """Return the data module, not set up."""
    if case == "mnist":
        return MNIST(root=root, image_size=32, **options)
    if case == "cifar":
        folder = str(root / "cifar10-jpeg")
        return ImageFolder(folder, 32, labels="folder", flip=True, cache=str(cache), **options)
    return Facades(root=root, cache=str(cache), **options)


def forever(loader):
    for _ in repeat(None):
        yield from loader


def images_per_second(batches, seconds, prepared=0):
    """Time an iterator that runs already, ``prepared`` batches after its place; by the clock, by CPU time."""
    for _ in islice(batches, prepared):
        pass
    images = 0
    start, start_cpu = time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - start) < seconds:
        images += len(next(batches)[0])
    return images / passed, images / (time.process_time() - start_cpu)


def speeds(case, ours, data, batch_size, rounds, seconds):
    """Return images/s of our loader and of the reference without and with workers, a pair a round."""
    ours.batch_size = batch_size
    options = {"batch_size": batch_size, "shuffle": True, "drop_last": True}
    workers = {"num_workers": WORKERS, "prefetch_factor": AHEAD, "persistent_workers": True}
    loaders = {
        "ours": (forever(ours.train_dataloader()), 0),
        "0 workers": (forever(DataLoader(data, **options)), 0),
        "2 workers": (forever(DataLoader(data, **options, **workers)), WORKERS * AHEAD),
    }
    for batches, _ in loaders.values():
        images_per_second(batches, 1, 2 * WORKERS * AHEAD)  # starts the workers, warms the caches
    measured = {name: [] for name in loaders}
    for _ in range(rounds):
        for name, (batches, prepared) in loaders.items():
            measured[name].append(images_per_second(batches, seconds, prepared))
            if prepared:
                time.sleep(0.3)  # until the workers have nothing left to do
    return measured


def resident(peak=False):
    """Return the bytes of memory that this process holds, or that it held since ``forget_peak``."""
    if not peak:
        return psutil.Process().memory_info().rss
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def start(case, root, cache):
    """Set up the data module and serve an epoch; return seconds and bytes. For a process of its own."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    before, begin = resident(), time.perf_counter()
    data = module(case, root, cache)
    data.prepare_data()
    data.setup("fit")
    ready, at_start = time.perf_counter() - begin, resident(peak=True)
    for _ in data.train_dataloader():
        pass
    images, _ = data.training_images()
    stored = len(images) * math.prod(images.shape[1:] if isinstance(images, torch.Tensor) else images.shape)
    print(
        json.dumps(
            {
                "seconds": ready,
                "epoch": time.perf_counter() - begin - ready,
                "start": at_start - before,
                "peak": resident(peak=True) - before,
                "after": resident() - before,
                "bytes": stored,
            }
        )
    )


def starts(case, root, arguments):
    """Return what ``start`` measured, with an empty cache folder and with a full one."""
    with tempfile.TemporaryDirectory() as cache:
        found = []
        for _ in range(2):
            command = [sys.executable, __file__, "--root", root, "--start", case, cache]
            command += ["--threads", str(arguments.threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{case}: {done.stderr}")
            found.append(json.loads(done.stdout.splitlines()[-1]))
        return found


def unpacked(root, temporary):
    """Return a root in which CIFAR-10's files are no archive; they are unpacked if need be."""
    if (root / "cifar10-jpeg" / "train").is_dir():
        return root
    target = temporary / "cifar10-jpeg"
    with tarfile.open(root / "cifar10-jpeg" / "train.tar.gz") as archive:
        archive.extractall(target, filter="data")
    return temporary


def ratio(measured, name, clock):
    """Return median and range of our speed over another, by the clock (0) or by CPU time (1)."""
    rounds = zip(measured["ours"], measured[name], strict=True)
    values = [ours[clock] / other[clock] for ours, other in rounds]
    return f"{statistics.median(values):.1f} ({min(values):.1f}, {max(values):.1f})"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.environ.get("LIGHTNING_GANS_DATA", "data")),
        help="holds MNIST/raw, cifar10-jpeg/train (or train.tar.gz), facades/train",
    )
    parser.add_argument("--cases", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each loader in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None, help="also write the result there")
    parser.add_argument("--start", nargs=2, help=argparse.SUPPRESS)  # what a fresh process measures
    arguments = parser.parse_args()
    if arguments.rounds < 5:
        parser.error(f"--rounds {arguments.rounds}: at least 5 for a median")
    torch.set_num_threads(arguments.threads)
    if arguments.start:
        start(arguments.start[0], arguments.root, arguments.start[1])
        return

    with tempfile.TemporaryDirectory() as temporary:
        roots = dict.fromkeys(arguments.cases, arguments.root)
        if "cifar" in roots:
            roots["cifar"] = unpacked(arguments.root, Path(temporary))
        result = measure(roots, arguments, Path(temporary) / "cache")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))


def measure(roots, arguments, cache):
    """Print both tables while they are measured; return their numbers."""
    print(machine())
    print(
        f"Python {platform.python_version()}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}"
    )
    print(f"\nmedian of {arguments.rounds} rounds (from, to); load: of one minute, ours included\n")
    print(
        "| data | batch | ours, images/s | 0 workers | 2 workers | ours / 0 | ours / 2 | ours / 0, CPU time "
        "| goal | load |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    result = {"speeds": [], "starts": []}
    for case, root in roots.items():
        ours, data = module(case, root, cache), reference(case, root)
        ours.prepare_data()
        ours.setup("fit")
        for batch_size in BATCH_SIZES[case]:
            measured = speeds(case, ours, data, batch_size, arguments.rounds, arguments.seconds)
            load = os.getloadavg()[0]
            row = [TITLES[case], str(batch_size)]
            row += [f"{statistics.median(wall for wall, _ in rounds):,.0f}" for rounds in measured.values()]
            row += [ratio(measured, "0 workers", 0), ratio(measured, "2 workers", 0)]
            row += [ratio(measured, "0 workers", 1), f"{GOALS[case]}", f"{load:.1f}"]
            print("|", " | ".join(row), "|", flush=True)
            result["speeds"].append({"case": case, "batch_size": batch_size, "load": load, **measured})
        del ours, data

    print(
        "\n| data | training images, MiB | start | seconds | epoch, seconds | peak, MiB | peak / images "
        "| goal |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for case, root in roots.items():
        for name, found in zip(("first", "second"), starts(case, root, arguments), strict=True):
            size, peak = (found[key] / 2**20 for key in ("bytes", "peak"))
            row = [TITLES[case], f"{size:.1f}", name, f"{found['seconds']:.2f}", f"{found['epoch']:.2f}"]
            row += [f"{peak:.1f}", f"{peak / size:.2f}", f"{MEMORY_GOAL}"]
            print("|", " | ".join(row), "|", flush=True)
            result["starts"].append({"case": case, "start": name, **found})
    return result


if __name__ == "__main__":
    main()
