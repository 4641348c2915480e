"""What holds and how fast it is on one CUDA GPU, in at most 10 minutes.

    make bench-gpu                                # all parts; in .venv if there is one, else with python3
    make bench-gpu PYTHON=/path/to/python ARGS="--only tests dcgan-128"
    python benchmarks/gpu.py --skip cifar10       # the same without make, from any folder
    python benchmarks/gpu.py --device cpu --tiny  # a test of this script; its figures mean nothing

The parts, in this order:

tests       the tests marked `gpu` (tests/gpu): all papers in all precisions, samples, resuming, evaluation
dcgan-128   images/s of DCGAN at 64 pixels, batch 128: fp32, TF32, bf16, compiled, CUDA graphs
dcgan-512   the same with batch 512, not compiled
wgan-gp     the same for WGAN-GP's residual networks at 32 pixels, batch 64
pix2pix     the same for a step of Pix2Pix at 256 pixels, batch 1, against the order of its authors' code
cyclegan    the same for CycleGAN with generators of 9 blocks
mnist       seconds until MNIST digits of DCGAN have a mean top probability of 0.92 in a classifier of digits
cifar10     FID, in the features of a classifier trained here, of four papers after equally long training

Speeds: in each line a `Trainer.fit` and the reference take turns in one process: images in memory against
the textbook loop with a DataLoader of all cores, or both with the same pairs. The references' precision is
torch's own, TF32 in convolutions; that is ours, too, where nobody says otherwise, and the lines fp32 are
without. `ratio` is the median over the turns of ours to the reference's. GiB: the most that was allocated on
the GPU within a turn, without what the other side holds; ours with the data. busy %: utilisation, as nvidia-
smi has it, the mean over a turn.

To prepare: a Python with the package's dependencies (wandb, torch-fidelity and jsonargparse may be missing;
pytest for `tests`; the package itself need not be installed), and below LIGHTNING_GANS_DATA (or --data)
MNIST/raw as torchvision has it, and a folder cifar10 (or --cifar NAME) of images in train/<class> and, for
the classifier's accuracy, test/<class>. Nothing is downloaded. A part whose data is missing is skipped with a
line that says so, and the rest goes on.

Each part has its share of --minutes, and gives what it has when that is over. Ctrl-C or SIGTERM ends the run
with the table of what is done. The results are written line by line into a JSON file: --json, else
bench-gpu.json in the folder $OUT, else runs/bench-gpu.json. The exit status is 1 if anything failed.
"""

import argparse
import gc
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from itertools import cycle, islice, repeat
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package need not be installed

import torch
from common import machine, quiet, silent_trainer
from dcgan import Synthetic
from lightning import seed_everything
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer
from textbook import Textbook, TextbookWGANGP
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.functional import normalize, to_pil_image, to_tensor
from translation import cases

from lightning_gans import (
    DCGAN,
    MNIST,
    WGANGP,
    ClassifierExtractor,
    CoulombGAN,
    DatasetClassifier,
    Digits,
    ImageFolder,
    RealnessGAN,
)
from lightning_gans.callbacks import Checkpoint, Evaluate
from lightning_gans.metrics import FID
from lightning_gans.networks.classifier import ConvClassifier

ROOT = Path(__file__).parents[1]
GOAL = 0.92
FAST = {"precision": "bf16-mixed", "channels_last": True}
TORCHS_OWN = (False, True)
"""Whether TF32 is used by matrix products, and by convolutions, if nobody says."""
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {"tf32": (False, False)},
    "fp32, TF32": {"tf32": (True, True)},
    "bf16, channels_last": FAST,
    "the same, compiled": {**FAST, "compile": True},
    "the same, CUDA graphs": {**FAST, "graphs": True},
}
EAGER = ("fp32", "fp32, TF32", "bf16, channels_last")
GAMES = {"DCGAN": DCGAN, "WGAN-GP": WGANGP, "RealnessGAN": RealnessGAN, "CoulombGAN": CoulombGAN}


class TimeIsUpError(BaseException):
    """A part's time; no `except Exception` on the way shall swallow it."""


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise `TimeIsUpError` in this thread when the time is over, and again while nobody listens."""

    def ring(number: int, frame: Any) -> None:
        raise TimeIsUpError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Utilisation:
    """Percent of the time that the GPU was busy, by nvidia-smi; None where there is none."""

    def __init__(self, device: torch.device) -> None:
        self.values: list[float] = []
        self.process = None
        if device.type != "cuda" or shutil.which("nvidia-smi") is None:
            return
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        command += ["-lms", "100", "-i", f"GPU-{torch.cuda.get_device_properties(device).uuid}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True).start()

    def _read(self, lines: Iterator[str]) -> None:
        for line in lines:
            if line.strip().isdigit():
                self.values.append(float(line))

    def mean_since(self, start: int) -> float | None:
        """The mean of the values from number `start` on."""
        values = self.values[start:]
        return statistics.mean(values) if values else None

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


class Bench:
    """What the parts share: the device, the options, the rows of the table."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.tiny, self.cifar, self.path = options.tiny, options.cifar, options.json
        self.device = torch.device(options.device)
        self.on_gpu = self.device.type == "cuda"
        self.accelerator = {"accelerator": "gpu" if self.on_gpu else "cpu"}
        self.device_name = torch.cuda.get_device_name(self.device) if self.on_gpu else "the CPU"
        self.until = time.monotonic() + 60 * options.minutes
        self.status = 0
        self.rows: list[dict[str, Any]] = []
        self.loaders: list[DataLoader] = []  # kept: the end of their workers can take a minute
        self.utilisation = Utilisation(self.device)
        self.wait = torch.cuda.synchronize if self.on_gpu else lambda: None
        self.allocated = torch.cuda.memory_allocated if self.on_gpu else lambda: 0

    def add(self, part: str, name: str, **values: Any) -> None:
        """Print a row, and write all so far."""
        values = {key: value for key, value in values.items() if value is not None}
        row = {"part": part, "name": name, **values}
        self.rows.append(row)
        print(f"{part}: {name}: " + ", ".join(f"{k} {shown(v)}" for k, v in values.items()), flush=True)
        self.write()

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        about = {"device": self.device_name, "machine": machine(), "cuda": torch.version.cuda}
        if self.on_gpu:
            about["cudnn"] = torch.backends.cudnn.version()
        text = json.dumps({**about, "tiny": self.tiny, "rows": self.rows}, indent=1)
        partial_file = self.path.with_suffix(".part")
        partial_file.write_text(text)
        partial_file.replace(self.path)

    def trainer(self, folder: str, **arguments: Any) -> Any:
        return silent_trainer(**{**self.accelerator, "default_root_dir": folder, **arguments})


def shown(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def table(rows: list[dict[str, Any]]) -> str:
    """A table for each part, with the columns that its rows have."""
    lines: list[str] = []
    for part in dict.fromkeys(row["part"] for row in rows):
        own = [row for row in rows if row["part"] == part]
        columns = list(dict.fromkeys(k for row in own for k in row if k not in ("part", "name", "note")))
        cells = [[part, *columns]] + [
            [r["name"], *(shown(r[c]) if c in r else "" for c in columns)] for r in own
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines.append("")
        for line, note in zip(cells, ["", *(row.get("note", "") for row in own)], strict=True):
            padded = [
                line[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)),
            ]
            lines.append("  ".join([*padded, note]).rstrip())
    return "\n".join(lines)


# ---------------------------------------------------------------------- (a) tests


def tests(bench: Bench, part: str, seconds: float) -> None:
    """Run the tests marked gpu in processes of their own, several at a time if pytest-xdist is there."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.jsonl")
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/gpu", "-p", "no:cacheprovider"]
        command += ["-k", "DCGAN or not trains"] if bench.tiny else []
        workers = min(8, (os.cpu_count() or 1) // 2)
        if find_spec("xdist") and workers > 1:
            command += ["-p", "xdist.plugin", "-n", str(workers), "--dist", "worksteal"]
        environment = {
            **os.environ,
            "LIGHTNING_GANS_TEST_DEVICE": bench.device.type,
            "LIGHTNING_GANS_TEST_RESULTS": str(results),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # a pool of compilers for each worker is too many
        }
        run = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
        note = None
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            note = "stopped: no more time"
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
        rows = [json.loads(row) for row in results.read_text().splitlines()] if results.is_file() else []
    counts = {kind: sum(row["outcome"] == kind for row in rows) for kind in ("passed", "failed", "skipped")}
    bench.status = bench.status or int(counts["failed"] > 0 or not rows)
    bench.add(part, "all", **counts, note=note or (None if rows else f"pytest ended with {run.returncode}"))
    for row in rows:
        if row["outcome"] == "failed":
            bench.add(part, row["name"], note=" ".join(row["message"])[:200] or "failed")


# ---------------------------------------------------------------------- (b) images a second


class Pictures(Dataset):
    """The images as torchvision's data sets serve them: a PIL image, to a tensor, normalised."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return normalize(to_tensor(to_pil_image(self.images[index])), [0.5] * 3, [0.5] * 3)


def tf32_flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def set_tf32(products: bool, convolutions: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions


class Turn:
    """One side's turn: a clock that waits for the device, its memory and utilisation."""

    def __init__(self, bench: Bench, seconds: float, held_by_others: int) -> None:
        self.bench, self.seconds, self.held = bench, seconds, held_by_others
        bench.wait()
        if bench.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        self.looks, self.start = len(bench.utilisation.values), time.perf_counter()

    def goes_on(self) -> bool:
        return time.perf_counter() - self.start < self.seconds

    def end(self, images: int) -> dict[str, float | None]:
        self.bench.wait()
        speed = images / (time.perf_counter() - self.start)
        peak = torch.cuda.max_memory_allocated() if self.bench.on_gpu else self.held
        return {
            "images/s": speed,
            "GiB": (peak - self.held) / 2**30 if self.bench.on_gpu else None,
            "busy %": self.bench.utilisation.mean_since(self.looks),
        }


class Reference:
    """The loop to compare with, which goes on for as long as it is told to.

    Args:
        bench: The run.
        make: Makes the loop's networks; returns what does a step with a batch.
        batches: On the CPU, without end.
        batch: Images in each.
        ahead: Batches that are prepared ahead, while others have their turn.
    """

    def __init__(
        self,
        bench: Bench,
        make: Callable[[], Callable[[Any], Any]],
        batches: Iterator[Any],
        batch: int,
        ahead: int = 0,
    ) -> None:
        self.bench, self.batches, self.batch, self.ahead = bench, batches, batch, ahead
        before = bench.allocated()
        self.step = make()
        self.turns: list[dict[str, Any]] = []
        self.train(10)
        bench.wait()
        self.held = bench.allocated() - before

    def train(self, steps: int) -> None:
        for batch in islice(self.batches, steps):
            self.step(move_data_to_device(batch, self.bench.device))

    def turn(self, seconds: float) -> float:
        """Train for so long, with torch's own settings; return images a second."""
        before = tf32_flags()
        set_tf32(*TORCHS_OWN)
        for _ in islice(self.batches, self.ahead):
            pass
        turn = Turn(self.bench, seconds, self.bench.allocated() - self.held)
        steps = 0
        while steps == 0 or turn.goes_on():
            self.train(1)
            steps += 1
        self.turns.append(turn.end(steps * self.batch))
        set_tf32(*before)
        return self.turns[-1]["images/s"]


class TakingTurns(Callback):
    """A fit that stops for the reference after each of its turns, and ends after the last."""

    def __init__(self, reference: Reference, turns: int, seconds: float, warm_up: int, graphs: bool) -> None:
        self.reference, self.graphs = reference, graphs
        self.held = reference.bench.allocated()
        self.turns: list[dict[str, Any]] = []
        self.ratios: list[float] = []
        self.script = self.play(turns, seconds, warm_up)

    def medians(self) -> dict[str, float | None]:
        return {**medians(self.turns), "ratio": statistics.median(self.ratios)} if self.ratios else {}

    def play(self, turns: int, seconds: float, warm_up: int) -> Iterator[None]:
        yield from repeat(None, warm_up)
        for _ in range(turns):
            turn, steps = Turn(self.reference.bench, seconds, self.held), 0
            while steps == 0 or turn.goes_on():
                yield
                steps += 1
            self.turns.append(turn.end(steps * self.reference.batch))
            self.ratios.append(self.turns[-1]["images/s"] / self.reference.turn(seconds))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self.graphs:
            for player in pl_module.players():
                for name, network in pl_module.player_networks(player).items():
                    if name not in pl_module.never_compiled and list(network.parameters()):
                        network.compile(mode="reduce-overhead")

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        if next(self.script, self) is self:
            trainer.should_stop = True


def medians(turns: list[dict[str, Any]]) -> dict[str, float | None]:
    def median(values: list[Any]) -> float | None:
        return None if None in values else statistics.median(values)

    return {key: median([turn[key] for turn in turns]) for key in turns[0]}


def speed(
    bench: Bench,
    part: str,
    seconds: float,
    game: type,
    loop: type[Textbook],
    size: int,
    batch: int,
    compiled: bool = True,
) -> None:
    """A game from latents to images against the textbook's loop, whose images come from a DataLoader."""
    options = {"width": 4} if bench.tiny else {}
    size, batch = (min(size, 32), 4) if bench.tiny else (size, batch)
    shape = (3, size, size)
    data = Synthetic(shape, 16 if bench.tiny else 16_384, batch_size=batch)
    data.setup("fit")
    workers = 0
    if not bench.tiny:
        # Each worker has three batches in shared memory, of which some containers have little.
        room = shutil.disk_usage("/dev/shm").free // (3 * 4 * batch * math.prod(shape))
        workers = min(len(os.sched_getaffinity(0)), room)
    more = {"num_workers": workers, "persistent_workers": True} if workers else {}
    pictures = Pictures(data.training_images()[0])
    loader = DataLoader(pictures, batch, shuffle=True, drop_last=True, pin_memory=bench.on_gpu, **more)
    bench.loaders.append(loader)
    batches = (real for _ in repeat(None) for real in loader)
    reference = Reference(
        bench, lambda: loop(shape, str(bench.device), **options).step, batches, batch, 2 * workers
    )
    networks = zip(
        ("generator", "discriminator"), (partial(net, **options) for net in loop.networks), strict=True
    )
    make = partial(game, shape, **dict(networks))
    variants = VARIANTS if compiled else {name: VARIANTS[name] for name in EAGER}
    compete(bench, part, seconds, reference, f"textbook loop, {workers} workers", make, data, variants)


def translation(bench: Bench, part: str, seconds: float) -> None:
    """A game of translation against the order of passes of its authors' code; both copy their batches."""
    case = cases(bench.tiny, bench.device.type)[part]
    pairs = case.batches()

    def make() -> Callable[[Any], Any]:
        reference = case.reference(case.made().to(bench.device))
        return lambda pair: reference.step(*pair)

    reference = Reference(bench, make, cycle(pairs), 1)
    loader = DataLoader(pairs * 10_000, batch_size=None)
    variants = {name: options for name, options in VARIANTS.items() if "graphs" not in options}
    compete(bench, part, seconds, reference, "authors' order", case.made, loader, variants)


def compete(
    bench: Bench,
    part: str,
    seconds: float,
    reference: Reference,
    name_of_reference: str,
    make: Callable[..., Any],
    data: Any,
    variants: dict[str, dict[str, Any]],
) -> None:
    """Each variant in turns with the reference; the turns share the part's time with compiling."""
    length = 0.0 if bench.tiny else min(1.0, seconds / (15 * len(variants)))
    turns, warm_up = (1, 2) if bench.tiny else (3, 30)
    before = tf32_flags()
    try:
        for name, variant in variants.items():
            gc.collect()  # the last fit
            torch.compiler.reset()
            variant = dict(variant)
            set_tf32(*variant.pop("tf32", TORCHS_OWN))
            timed = TakingTurns(reference, turns, length, warm_up, variant.pop("graphs", False))
            precision, note = variant.pop("precision", "32-true"), "stopped: no more time"
            try:
                with tempfile.TemporaryDirectory() as folder:
                    trainer = bench.trainer(folder, precision=precision, max_epochs=-1, callbacks=[timed])
                    trainer.fit(make(**variant), data)
                note = None
            except Exception as error:  # the other variants go on
                note, bench.status = first_line(error), 1
            finally:
                bench.add(part, name, **timed.medians(), note=note)
    finally:
        set_tf32(*before)
        if reference.turns:
            bench.add(part, name_of_reference, **{**medians(reference.turns), "ratio": 1.0})


# ---------------------------------------------------------------------- (c) time to quality


def classifier_of(bench: Bench, data: Any, folder: str, epochs: int, seconds: float, **options: Any) -> Any:
    """Train a classifier of the data; return the extractor of its features."""
    start = time.perf_counter()
    seed_everything(0, verbose=False)
    model = DatasetClassifier(data.image_shape, data.num_classes, **options)
    bound = {"max_epochs": epochs, "max_time": timedelta(seconds=seconds)}
    last = Checkpoint(every_n_updates=10**9, dirpath=folder)  # which measures its accuracy
    keep = {"enable_checkpointing": True, "callbacks": [last]}
    bench.trainer(folder, precision="bf16-mixed", **bound, **keep).fit(model, datamodule=data)
    return ClassifierExtractor(Path(folder, "last.ckpt")), time.perf_counter() - start


class UntilGood(Callback):
    """Ends a fit when the classifier is sure of the samples; the time of looking does not count."""

    def __init__(self, bench: Bench, extractor: ClassifierExtractor, every: int) -> None:
        self.bench, self.extractor, self.every = bench, extractor.to(bench.device), every
        self.seconds, self.updates, self.sure, self.next = 0.0, 0, 0.0, every

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.bench.wait()
        self.start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step < self.next:
            return
        self.next += self.every
        self.bench.wait()
        self.seconds += time.perf_counter() - self.start
        images = pl_module.sample(2000, seed=0).clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
        with torch.no_grad():
            parts = [self.extractor(part)[1].softmax(1).amax(1) for part in images.split(500)]
        self.updates, self.sure = trainer.global_step, float(torch.cat(parts).mean())
        trainer.should_stop = self.sure >= GOAL
        self.bench.wait()
        self.start = time.perf_counter()


def mnist(bench: Bench, part: str, seconds: float) -> None:
    """How long DCGAN takes to digits that a classifier is sure of; classifier/mnist's settings."""
    data = partial(Digits, limit=256) if bench.tiny else partial(MNIST, download=False)
    size = 16 if bench.tiny else 32
    with tempfile.TemporaryDirectory() as folder:
        until = time.monotonic() + seconds
        plain = data(batch_size=128)
        extractor, spent = classifier_of(bench, plain, folder, 1 if bench.tiny else 3, seconds / 2)
        bench.add(part, "classifier", seconds=spent, accuracy=extractor.accuracy)
        seed_everything(0, verbose=False)
        watch = UntilGood(bench, extractor, 1 if bench.tiny else 250)
        steps = {"max_steps": 2} if bench.tiny else {"max_epochs": -1}
        left = timedelta(seconds=max(1, until - time.monotonic()))
        trainer = bench.trainer(folder, precision="bf16-mixed", max_time=left, callbacks=[watch], **steps)
        model = DCGAN((1, size, size), channels_last=True)
        trainer.fit(model, datamodule=data(batch_size=32 if bench.tiny else 128, image_size=size))
        reached = watch.sure >= GOAL
        values = {"seconds": watch.seconds, "updates": watch.updates, "top probability": watch.sure}
        bench.add(part, "DCGAN", **values, note=None if reached else f"{GOAL} not reached in this time")


def cifar10(bench: Bench, part: str, seconds: float) -> None:
    """FID of four papers after the same time, in the features of a classifier trained here."""
    start, until = time.perf_counter(), time.monotonic() + seconds
    size, count = (16, 32) if bench.tiny else (32, 10_000)
    data = partial(ImageFolder, bench.cifar, size, labels="folder", flip=True)
    with tempfile.TemporaryDirectory() as folder:
        judged = data(batch_size=8 if bench.tiny else 256, val_fraction=0.1)
        judged.prepare_data()
        bench.add(part, "files decoded", seconds=time.perf_counter() - start)
        network = partial(ConvClassifier, width=4 if bench.tiny else 32, depth=2, dropout=0.3)
        epochs = 1 if bench.tiny else 6
        extractor, spent = classifier_of(bench, judged, folder, epochs, seconds / 8, network=network)
        bench.add(part, "classifier", seconds=spent, accuracy=extractor.accuracy)
        for index, (name, game) in enumerate(GAMES.items()):
            # What is left is shared; a score takes a few seconds.
            share = min(60.0, (until - time.monotonic()) / (len(GAMES) - index) - 5)
            if share < 1:
                bench.add(part, name, note="no time was left")
                continue
            seed_everything(0, verbose=False)
            score = Evaluate([FID()], extractor, every_n_updates=10**9, num_samples=count, cache=folder)
            steps = {"max_steps": 1} if bench.tiny else {"max_epochs": -1}
            clock = Timer(timedelta(seconds=share))  # before the score, which it does not count
            trainer = bench.trainer(folder, precision="bf16-mixed", callbacks=[clock, score], **steps)
            images = data(batch_size=8 if bench.tiny else 128)
            trainer.fit(game((3, size, size), channels_last=True), datamodule=images)
            fid = float(trainer.callback_metrics["val/fid"])
            bench.add(part, name, seconds=clock.time_elapsed(), updates=trainer.global_step, FID=fid)


# ---------------------------------------------------------------------- all of it

Part = Callable[[Bench, str, float], None]
PARTS: dict[str, tuple[Part, float]] = {  # and its part of the time; what it leaves goes to the next
    "tests": (tests, 90),
    "dcgan-128": (partial(speed, game=DCGAN, loop=Textbook, size=64, batch=128), 90),
    "dcgan-512": (partial(speed, game=DCGAN, loop=Textbook, size=64, batch=512, compiled=False), 30),
    "wgan-gp": (partial(speed, game=WGANGP, loop=TextbookWGANGP, size=32, batch=64), 60),
    "pix2pix": (translation, 60),
    "cyclegan": (translation, 80),
    "mnist": (mnist, 60),
    "cifar10": (cifar10, 120),
}


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = {"nargs": "+", "choices": list(PARTS), "metavar": "PART"}
    parser.add_argument("--only", default=list(PARTS), help="these parts alone", **names)
    parser.add_argument("--skip", default=[], help="all but these parts", **names)
    parser.add_argument("--minutes", type=float, default=9.8, help="for all parts together")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small and short: a test of this script")
    parser.add_argument("--data", help="folder of the data, in place of LIGHTNING_GANS_DATA")
    parser.add_argument("--cifar", default="cifar10", help="folder of images, also relative to the data's")
    folder = Path(os.environ.get("OUT", "runs"))
    parser.add_argument("--json", type=Path, default=folder / "bench-gpu.json")
    options = parser.parse_args(given)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA GPU here: --device cpu --tiny tests the script itself")
    if options.data:
        os.environ["LIGHTNING_GANS_DATA"] = str(Path(options.data).absolute())
    return options


def stop(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def play(bench: Bench, part: str, shares: float) -> None:
    """Do a part in its share of the time that is left; what fails or is missing becomes a row."""
    work, share = PARTS[part]
    seconds = (bench.until - time.monotonic()) * share / shares
    try:
        with limit(seconds):
            work(bench, part, max(seconds - 10, seconds / 2))  # 10 for what comes last
    except TimeIsUpError:
        bench.add(part, "stopped", note=f"after {seconds:.0f} s: a larger --minutes gives it more")
    except FileNotFoundError as error:
        bench.add(part, "skipped", note=first_line(error))
    except Exception as error:
        bench.status = 1
        bench.add(part, "failed", note=first_line(error))


def main(given: list[str] | None = None) -> int:
    """Run the parts; return the exit status."""
    options = arguments(given)
    quiet()
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    torch.backends.cudnn.benchmark = options.device == "cuda"
    bench = Bench(options)
    print(f"{bench.device_name}; {machine()}", flush=True)
    stance = "default" if bench.on_gpu else "force_eager"  # compiling for a CPU would take minutes
    try:
        with torch.compiler.set_stance(stance):
            chosen = [part for part in PARTS if part in options.only and part not in options.skip]
            for index, part in enumerate(chosen):
                play(bench, part, sum(PARTS[name][1] for name in chosen[index:]))
    except (KeyboardInterrupt, SystemExit) as end:
        code = getattr(end, "code", None)  # of `stop`, or of a fit that a signal ended
        bench.status = code if isinstance(code, int) else 130
        print("\nstopped; this is done:")
    finally:
        bench.utilisation.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    bench.write()
    print(f"\n{bench.device_name}; {machine()}{table(bench.rows)}\n\n{bench.path}")
    return bench.status


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # the loaders' workers end by themselves; Python would wait for each
