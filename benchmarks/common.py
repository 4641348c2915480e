"""What the benchmarks share: alternating timing in one process, fits that can be paused, the machine."""

import argparse
import os
import platform
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import lightning
import torch
from lightning import Trainer
from lightning.pytorch import Callback
from torch import nn


def arguments(description: str, **defaults: int) -> argparse.ArgumentParser:
    """A parser with one whole-number option for each default, and ``--threads``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in {**defaults, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default {value}")
    return parser


def machine() -> str:
    """One line: processor, the flags that decide about bf16, threads, versions, load."""
    cpu, flags = platform.processor() or platform.machine(), set()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                cpu = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    has = ", ".join(f"{f} {'yes' if f in flags else 'no'}" for f in ("avx512f", "avx512_bf16", "amx_bf16"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{cpu} ({os.cpu_count()} CPUs; {has}); threads {torch.get_num_threads()}; "
        f"torch {torch.__version__}, lightning {lightning.__version__}; load {load}"
    )


def quiet() -> None:
    """Silence advice that has nothing to do with the measurement."""
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def silent_trainer(**arguments) -> Trainer:
    """A trainer that trains and does nothing else; on the CPU, unless ``accelerator`` says otherwise."""
    return Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "limit_val_batches": 0,
            **arguments,
        }
    )


@dataclass
class Timing:
    """Seconds per step of one variant, one value a round."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def alternate(
    variants: dict[str, Callable[[int], None]], rounds: int, steps: int, slices: int = 1
) -> dict[str, Timing]:
    """Run ``steps`` steps of each variant in turn (A B C A B C ...), ``rounds`` times.

    What disturbs the machine for a while disturbs all variants: the more so, the shorter their turns are, so
    a round may be cut into ``slices`` turns each. Each variant is a function of a number of steps, warmed up
    by the caller. Who goes first changes from turn to turn.
    """
    timings = {name: Timing() for name in variants}
    names = list(variants)
    for _ in range(rounds):
        for timing in timings.values():
            timing.cpu.append(0.0)
            timing.wall.append(0.0)
        for _ in range(slices):
            for name in names:
                wall, cpu = time.perf_counter(), time.process_time()
                variants[name](steps // slices)
                timings[name].cpu[-1] += (time.process_time() - cpu) / steps
                timings[name].wall[-1] += (time.perf_counter() - wall) / steps
            names = names[1:] + names[:1]
    return timings


def table(
    timings: dict[str, Timing],
    reference: str,
    batch: int,
    faster: bool = True,
    targets: dict[str, str] | None = None,
) -> None:
    """Print medians and their ratios to ``reference``.

    A ratio is the median over the rounds of the ratio within a round. ``faster``: reference / variant, 2 is
    twice as fast; otherwise variant / reference, 2 costs twice as much.
    """
    by_cpu = torch.get_num_threads() == 1
    width = max(map(len, timings))
    print(f"{'':{width}}  CPU ms/step  wall ms/step  images/s    ratio CPU [range]         wall")
    base = timings[reference]
    for name, timing in timings.items():
        ratios = []
        for own, others in ((timing.cpu, base.cpu), (timing.wall, base.wall)):
            pairs = zip(others, own, strict=True) if faster else zip(own, others, strict=True)
            ratios.append([a / b for a, b in pairs])
        cpu, wall = statistics.median(timing.cpu), statistics.median(timing.wall)
        low, high = min(ratios[0]), max(ratios[0])
        target = f"   target {targets[name]}" if targets and name in targets else ""
        speed = batch / (cpu if by_cpu else wall)
        print(
            f"{name:{width}}  {1000 * cpu:11.3f}  {1000 * wall:12.3f}  {speed:8.0f}"
            f"    {statistics.median(ratios[0]):5.2f}x [{low:.2f} to {high:.2f}]"
            f"  {statistics.median(ratios[1]):5.2f}x{target}"
        )
    rounds = len(base.cpu)
    print(f"(medians of {rounds} alternating rounds; images/s by {'CPU' if by_cpu else 'wall-clock'} time)")


class PausedFit(Callback):
    """A ``Trainer.fit`` that goes on only when told to, batch by batch: it can alternate with other code.

    The fit lives in a thread of its own and waits at the start of a batch; never do two threads run at once.

    Args:
        fit: Gets this callback and calls ``Trainer(callbacks=[..., it], max_steps=it.max_steps).fit(...)``.
        max_steps: Batches that will be asked for.
    """

    def __init__(self, fit: Callable[["PausedFit"], None], max_steps: int) -> None:
        super().__init__()
        self.max_steps = max_steps + 1  # the fit waits at the start of one more batch
        self._allowed = 0
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        threads = torch.get_num_threads()

        def run() -> None:
            self._go.acquire()
            torch.set_num_threads(threads)  # OpenMP counts per thread
            try:
                fit(self)
            except BaseException as error:
                self._error = error
            self._done.release()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if self._allowed == 0:
            self._done.release()
            self._go.acquire()
        self._allowed -= 1

    def __call__(self, steps: int) -> None:
        """Let the fit do ``steps`` batches, and wait for it."""
        self._allowed = steps
        self._go.release()
        self._done.acquire()
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Let the fit run to its end."""
        self._allowed = self.max_steps
        self._go.release()
        self._thread.join()
        if self._error is not None:
            raise self._error


def finish(variants: dict[str, Callable[[int], None]]) -> None:
    """Let all fits among the variants end, so that they tidy up."""
    for variant in variants.values():
        if isinstance(variant, PausedFit):
            variant.finish()


def parameters(network: nn.Module) -> str:
    """The number of parameters, for headings."""
    return f"{sum(p.numel() for p in network.parameters()):,}"
