"""What processes exchange in a round, what that costs on two cores, and what it may cost on many GPUs.

A round is what one update of the generator waits for; games and random images are those of `steps.py`.

traffic   the bytes that pass through torch.distributed in a round on two processes, beside the least that
          could: the gradients of the players that are updated. Between two batches there are two exchanges
          more, of one number each: whether a signal came, Lightning's and ours
weak      a round of two processes, one a core, each with a batch of its own, against one process with one
          batch while the other core rests; in turns. Twice the images in the same time would be ideal
expect    computed, not measured: rounds of one GPU, as measured, with the time of the exchange on 8 and 64
          by a formula (see `expect`)

    python benchmarks/scaling.py traffic weak                        # 3 minutes on two quiet cores
    python benchmarks/scaling.py expect                              # at once
    python benchmarks/scaling.py expect --steps runs/steps.json      # with step times of another GPU
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from common import machine, quiet, silent_trainer
from lightning import seed_everything
from steps import Clock, case, gradient_bytes
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MB = 1e6
RANKS = 2
TRAFFIC: list[tuple[str, int, int, dict[str, Any]]] = [
    ("GAN", 32, 8, {}),
    ("DCGAN", 32, 8, {}),
    ("WGANGP", 32, 4, {}),
    ("CycleGAN", 64, 1, {}),
    ("CoulombGAN", 32, 8, {"gather": True}),
]
WEAK: list[tuple[str, int, int, int]] = [("GAN", 32, 64, 40), ("DCGAN", 32, 32, 6), ("WGANGP", 16, 8, 2)]
"""Game, pixels, batch of a process, rounds of a turn."""

MEASURED = [
    {"game": "DCGAN", "pixels": 64, "batch": 128, "ms": 6.96, "updates": {"discriminator": 1}},
    {"game": "WGANGP", "pixels": 32, "batch": 64, "ms": 76.9, "updates": {"discriminator": 5}},
    {"game": "Pix2Pix", "pixels": 256, "batch": 1, "ms": 17.5, "updates": {"discriminator": 1}},
    {"game": "CycleGAN", "pixels": 256, "batch": 1, "ms": 86.2, "updates": {"discriminator": 1}},
]
"""One H200, TF32, from RESULTS.md: milliseconds of a round. The generator is updated once in each."""

PLACES = {8: (300e9, 30e-6), 64: (40e9, 120e-6)}
"""By the number of GPUs, what is assumed: bytes a second of each GPU in an all-reduce, and the seconds that
one takes however small it is. 8: NVLink in one machine. 64: eight such machines, with InfiniBand of 400 Gb/s
a GPU."""
MEMORY = 3e12
"""Bytes a second that a GPU reads and writes."""
COPIES = 10
"""How often the gradients of an update are read or written to be sent as one tensor and to come back."""
SMALL = 2
"""Exchanges of one number a batch."""


class Traffic(TorchDispatchMode):
    """Counts what passes through torch.distributed, whoever sends it, by the name of the operation."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            name = func.__name__.partition(".")[0].strip("_")
            sent = tree_leaves(args["allgather" in name])  # whose first argument is where it goes
            self.calls[name] += 1
            self.bytes[name] += sum(x.numel() * x.element_size() for x in sent if isinstance(x, Tensor))
        return func(*args, **(kwargs or {}))


class Round(Clock):
    """Counts the traffic of the last round."""

    def __init__(self, last: int) -> None:
        super().__init__(lambda: None)
        self.last, self.traffic, self.before = last, Traffic(), Counter[str]()

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        if trainer.global_step == self.last - 1:
            if not self.before:
                self.before = self.updates.copy()
            self.traffic.__enter__()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)
        if self.before:
            self.traffic.__exit__(None, None, None)


def fit(name: str, size: int, batch: int, rounds: int, clock: Clock, joined: bool, **arguments: Any) -> Any:
    """Train for so many rounds, on both processes together or on this one alone; return the game."""
    seed_everything(0, verbose=False)
    game, data = case(name, size, batch, **arguments)
    together = {"strategy": "ddp", "devices": RANKS} if joined else {}
    silent_trainer(max_steps=rounds, callbacks=[clock], **together).fit(game, **data)
    return game


def traffic() -> None:
    """Print what each game's second round exchanges."""
    for name, size, batch, arguments in TRAFFIC:
        clock = Round(2)
        game = fit(name, size, batch, 2, clock, joined=True, **arguments)
        updates = clock.updates - clock.before
        least = sum(count * updates[player] for player, count in gradient_bytes(game).items())
        sent, calls = clock.traffic.bytes, clock.traffic.calls
        reduced, others = sent.pop("allreduce"), sum(sent.values())
        show(
            f"{name:12} {dict(updates)}: {reduced / MB:.3f} MB all-reduced in {calls.pop('allreduce')}, "
            f"least {least / MB:.3f} MB, ratio {reduced / least:.4f}; beside that {others / MB:.4f} MB "
            f"({', '.join(f'{count} {kind}' for kind, count in calls.items())})"
        )


def weak(turns: int) -> None:
    """Print the time of a round on one process alone and on two together, of alternating turns."""
    for name, size, batch, rounds in WEAK:
        found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for _ in range(turns):
            for joined, seconds in found.items():
                torch.distributed.barrier()
                if joined or torch.distributed.get_rank() == 0:
                    seconds.append(turn(name, size, batch, rounds, joined))
        if torch.distributed.get_rank() == 0:
            for kind, word in enumerate(("by the clock", "by processor time")):
                alone, both = ([1000 * turn[kind] for turn in found[joined]] for joined in (False, True))
                ratios = [a / b for a, b in zip(alone, both, strict=True)]
                show(
                    f"{name:12} {size} px, batch {batch}, {word}: {statistics.median(alone):.1f} ms alone, "
                    f"{statistics.median(both):.1f} ms on two; {statistics.median(ratios):.2f} of the ideal "
                    f"({min(ratios):.2f} to {max(ratios):.2f})"
                )


def turn(name: str, size: int, batch: int, rounds: int, joined: bool) -> tuple[float, float]:
    """Seconds of a round, by the clock and by this process's processor time, after a first round."""
    clock = Clock(lambda: None)
    ends: list[float] = []
    clock.wait = lambda: ends.append(time.process_time())
    fit(name, size, batch, rounds + 1, clock, joined)
    return (clock.ends[-1] - clock.ends[0]) / rounds, (ends[-1] - ends[0]) / rounds


def show(text: str) -> None:
    """Print on the first process."""
    if torch.distributed.get_rank() == 0:
        print(text, flush=True)


def exchange(gpus: int, players: dict[str, dict[str, float]], batches: float) -> float:
    """Seconds that a round's exchange takes on so many GPUs.

    A ring all-reduce of b bytes: each GPU sends and gets 2 (n - 1) / n b, and there is a time that even one
    byte takes. Added to that, the copies to and from one tensor. Nothing is done meanwhile: the gradients of
    an update are sent when all are there.
    """
    speed, least = PLACES[gpus]
    seconds = SMALL * least * batches
    for player in players.values():
        once = 2 * (gpus - 1) / gpus * player["bytes"] / speed + least + COPIES * player["bytes"] / MEMORY
        seconds += player["updates"] * once
    return seconds


def expect(steps: Path | None) -> None:
    """Print what is to be expected on many GPUs, with the batch of one GPU on each."""
    rows: list[dict[str, Any]] = []
    for row in MEASURED if steps is None else json.loads(steps.read_text())["rows"]:
        if "error" in row:
            continue
        if "players" not in row:
            game, _ = case(row["game"], row["pixels"], row["batch"])
            row = {**row, "players": {
                player: {"updates": row["updates"].get(player, 1), "bytes": count}
                for player, count in gradient_bytes(game).items()
            }}  # fmt: skip
        rows.append(row)
    print("| Game | a GPU's batch | ms, one GPU | MB exchanged |", *(f"{n} GPUs |" for n in PLACES))
    print("|---|---|---|---|" + "---|" * len(PLACES))
    for row in rows:
        players, one = row["players"], row["ms"] / 1000
        batches = max(player["updates"] for player in players.values())
        sent = sum(player["updates"] * player["bytes"] for player in players.values())
        cells = [f"{row['game']}, {row['pixels']} px", row["batch"], f"{row['ms']:.1f}", f"{sent / MB:.1f}"]
        for gpus in PLACES:
            more = exchange(gpus, players, batches)
            share = one / (one + more)
            cells.append(f"+{1000 * more:.1f} ms: {share:.0%}, {gpus * share:.1f} times the images")
        print("|", " | ".join(map(str, cells)), "|")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=["traffic", "weak", "expect"])
    parser.add_argument("--turns", type=int, default=5, help="of weak; default 5")
    parser.add_argument("--steps", type=Path, help="of expect: what steps.py wrote")
    options = parser.parse_args()
    quiet()
    if "expect" in options.parts:
        expect(options.steps)
    both = [part for part in options.parts if part != "expect"]
    if both and "RANK" not in os.environ:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
        command = [*launch, __file__, *both, "--turns", str(options.turns)]
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    elif both:
        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo")
        show(machine())
        if "traffic" in both:
            traffic()
        if "weak" in both:
            weak(options.turns)
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
