"""Kill a run at random moments, again and again; what it ends with must not tell.

A small game on real digits with everything that has a state: batch norm, dropout, averaged weights, two
discriminator updates a round, a learning-rate schedule, validation, a log, pictures, a checkpoint every few
updates. It is killed (SIGKILL) during start-up, in training and while a checkpoint is being written, and
resumed from last.ckpt. Checked: the whole checkpoint at the end (weights, averages, optimizers, random
states, loops, callbacks), the rows of the log and the pictures are bit for bit those of the run that was
never killed; no kill costs more updates than lie between two checkpoints; every last.ckpt that a kill leaves
behind is complete.

    python benchmarks/kill_resume.py                  # 50 kills, about 2 minutes of one core
    python benchmarks/kill_resume.py --limit epochs   # the runs end by max_epochs, not by max_steps
    python benchmarks/kill_resume.py --data workers   # the digits are served by two worker processes

Exit status 1 if one of these fails. One process imports everything and forks the runs: a kill costs a second.
"""

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from functools import partial
from multiprocessing import RawArray
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import machine, quiet
from lightning import Trainer, seed_everything
from lightning.pytorch import Callback
from torch.optim.lr_scheduler import ExponentialLR

from lightning_gans import GAN, Digits
from lightning_gans.callbacks.checkpoint import Checkpoint
from lightning_gans.callbacks.ema import GeneratorEMA
from lightning_gans.callbacks.sample_grid import SampleGrid
from lightning_gans.game.checkpoints import read_checkpoint
from lightning_gans.game.csv_logger import WholeCSVLogger
from lightning_gans.game.latents import Normal
from lightning_gans.networks.dcgan import DCGANGenerator
from lightning_gans.networks.mlp import MaxoutDiscriminator

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.kill import differences, remains

STARTING, TRAINING, SAVING = range(3)
PLACES = ("start-up", "training", "saving")
UPDATES_OF_AN_EPOCH = 7
ENDED = "ended"
UPDATE, PLACE, RESUMED_AT, SAVES = range(4)  # what a run tells the killer, in memory that both see


class Times(NamedTuple):
    """Seconds that the undisturbed run takes: to its first update, as a whole, for one checkpoint."""

    start: float
    whole: float
    save: float


class Watch(Callback):
    """Tell the killer where the run is."""

    def __init__(self, told: Any) -> None:
        super().__init__()
        self.told = told

    def on_train_start(self, trainer, pl_module) -> None:
        self.told[RESUMED_AT] = self.told[UPDATE] = trainer.global_step
        self.told[PLACE] = TRAINING

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.told[UPDATE] = trainer.global_step


class WatchedCheckpoint(Checkpoint):
    """The package's callback, which says when it is at work."""

    told: Any = None

    def _save_checkpoint(self, trainer, filepath) -> None:
        self.told[PLACE] = SAVING
        super()._save_checkpoint(trainer, filepath)
        self.told[PLACE] = TRAINING
        self.told[SAVES] += 1


def game() -> GAN:
    return GAN(
        (1, 8, 8),
        latent=Normal(16),
        generator=DCGANGenerator((1, 8, 8), 16, width=16),
        discriminator=MaxoutDiscriminator((1, 8, 8), hidden=(64, 32)),
        discriminator_steps=2,
        generator_scheduler=partial(ExponentialLR, gamma=0.99),
    )


def train(folder: Path, options: argparse.Namespace, told: Any) -> None:
    """Start the run, or take it up from its last checkpoint; store the state it ends with."""
    seed_everything(0, verbose=False)
    tempfile.tempdir = str(options.temporary)  # Lightning writes a checkpoint there first
    checkpoint = WatchedCheckpoint(every_n_updates=options.interval, dirpath=str(folder / "checkpoints"))
    checkpoint.told = told
    limit = {"max_steps": options.updates}
    if options.limit == "epochs":
        limit = {"max_epochs": math.ceil(options.updates / UPDATES_OF_AN_EPOCH)}
    trainer = Trainer(
        **limit,
        accelerator="cpu",
        callbacks=[Watch(told), GeneratorEMA(0.9), SampleGrid(every_n_updates=10, gif=False), checkpoint],
        logger=WholeCSVLogger(folder, name=""),
        log_every_n_steps=2,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1,
    )
    model = game()
    last = folder / "checkpoints" / "last.ckpt"
    data = Digits(
        batch_size=32, limit=32 * UPDATES_OF_AN_EPOCH * model.discriminator_steps,
        in_memory=options.data == "memory", num_workers=2,
    )  # fmt: skip
    trainer.fit(model, datamodule=data, ckpt_path=last if last.exists() else None)
    (folder / ENDED).touch()


def fork(folder: Path, options: argparse.Namespace, told: Any) -> int:
    """Start a run in a process of its own; return its id, which is that of its group too."""
    told[:] = [0, STARTING, -1, 0]
    pid = os.fork()
    if pid:
        os.setpgid(pid, pid)  # both do it: who comes first is open
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        with (folder / "output.txt").open("a") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        train(folder, options, told)
        status = 0
    except BaseException:
        (folder / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(status)


def ended(pid: int) -> bool:
    """Whether the run came to its end by itself; it must not have failed."""
    done, status = os.waitpid(pid, os.WNOHANG)
    if done and status:
        raise RuntimeError(f"a run failed with status {status}")
    return bool(done)


def wait_until(pid: int, condition: Any, seconds: float = math.inf) -> bool:
    """Wait for ``condition``, so many seconds at most; False if the run ended before."""
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        if ended(pid):
            return False
        time.sleep(0.0002)
    return True


def kill_somewhere(pid: int, told: Any, dice: random.Random, times: Times) -> int | None:
    """Kill the run at a random moment; return the place that hit, or None if the run ended before."""
    aim = dice.choice(PLACES)
    if aim == "start-up":
        alive = wait_until(pid, lambda: False, dice.uniform(0, 1.5 * times.start))
    else:
        alive = wait_until(pid, lambda: told[PLACE] != STARTING)
    if alive and aim == "training":
        alive = wait_until(pid, lambda: False, dice.uniform(0, times.whole / 3))
    if alive and aim == "saving":
        wanted = dice.randint(0, 4)
        alive = wait_until(pid, lambda: told[SAVES] >= wanted and told[PLACE] == SAVING)
        alive = alive and wait_until(pid, lambda: False, dice.uniform(0, times.save))
    if not alive or ended(pid):
        return None
    os.killpg(pid, signal.SIGKILL)  # and its workers
    _, status = os.waitpid(pid, 0)
    return told[PLACE] if os.WIFSIGNALED(status) else None


def readable(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except ValueError:
        return False
    return True


def torment(
    folder: Path, options: argparse.Namespace, kills: int, told: Any, dice: random.Random, times: Times
) -> dict:
    """Kill and resume one run until it ends, ``kills`` times at most; report."""
    last = folder / "checkpoints" / "last.ckpt"
    places: list[str] = []
    lost: list[int] = []
    faults: list[str] = []
    halves = at = 0
    while True:
        pid = fork(folder, options, told)
        place = kill_somewhere(pid, told, dice, times) if len(places) < kills else None
        if place is None and not (folder / ENDED).exists():
            wait_until(pid, lambda: False)
        if told[RESUMED_AT] not in (-1, at):
            faults.append(f"resumed at update {told[RESUMED_AT]} instead of {at}")
        if place is None:
            break
        reached, before = told[UPDATE], at
        at = read_checkpoint(last)["global_step"] if last.exists() else 0  # raises if it is damaged
        places.append(PLACES[place])
        lost.append(max(0, reached - at))
        if reached - at > options.interval:
            faults.append(f"{reached - at} updates lost at update {reached}")
        if at < before:
            faults.append(f"fell back from update {before} to {at}")
        unfinished = [*last.parent.glob("*.part"), *options.temporary.iterdir()]
        halves += sum(not readable(path) for path in unfinished if path.is_file())
        shutil.rmtree(options.temporary)  # sockets of workers, too
        options.temporary.mkdir()
    return {"places": places, "lost": lost, "half_written": halves, "faults": faults}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--updates", type=int, default=60, help="generator updates of a run")
    parser.add_argument("--interval", type=int, default=4, help="updates between checkpoints")
    parser.add_argument("--limit", choices=("updates", "epochs"), default="updates", help="what ends a run")
    parser.add_argument("--data", choices=("memory", "workers"), default="memory", help="who serves batches")
    parser.add_argument(
        "--seed", type=int, default=0, help="decides the moments, as far as the machine does not"
    )
    parser.add_argument("--folder", type=Path, default=None, help="where the runs go (a temporary folder)")
    parser.add_argument("--json", type=Path, default=None, help="also write the result there")
    options = parser.parse_args()
    # Before any operation: a process that has started threads cannot be forked safely.
    torch.set_num_threads(1)
    quiet()
    with contextlib.ExitStack() as stack:
        # Not below options.folder: the path of a socket must be short.
        options.temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.folder is None:
            options.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print(machine())
        result = measure(options, RawArray("q", 4), random.Random(options.seed))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    print(
        f"\n{result['kills']} kills in {result['runs']} runs: "
        + ", ".join(f"{count} during {place}" for place, count in result["places"].items())
        + f"\nupdates lost at a kill: {result['max_lost']} at most, {result['mean_lost']:.1f} on average "
        f"(a checkpoint every {options.interval})"
        f"\nhalf-written checkpoints that kills left behind: {result['half_written']}; picked up: 0"
        f"\nruns that ended bit-identical: {result['identical']} of {result['runs']}"
    )
    for fault in result["faults"]:
        print(f"FAULT: {fault}")
    return 1 if result["faults"] else 0


def measure(options: argparse.Namespace, told: Any, dice: random.Random) -> dict:
    """Run, torment, compare."""

    def new(name: str) -> Path:
        folder = options.folder / name
        folder.mkdir(parents=True)
        return folder

    undisturbed = new("undisturbed")
    start = time.monotonic()
    pid = fork(undisturbed, options, told)
    places: Counter[int] = Counter()
    while not ended(pid):
        places[told[PLACE]] += 1
        time.sleep(0.001)
    whole = time.monotonic() - start
    tick = whole / places.total()
    times = Times(places[STARTING] * tick, whole, places[SAVING] * tick / told[SAVES])
    print(
        f"undisturbed: {options.updates} updates in {whole:.1f} s, {times.start:.1f} s of them start-up, "
        f"{told[SAVES]} checkpoints of {1000 * times.save:.0f} ms"
    )
    whole_run = remains(undisturbed)

    rows: list[dict] = []
    while sum(len(row["places"]) for row in rows) < options.kills:
        folder = new(f"run-{len(rows)}")
        left = options.kills - sum(len(row["places"]) for row in rows)
        row = torment(folder, options, left, told, dice, times)
        different = differences(whole_run, remains(folder))
        row["identical"] = not different
        row["faults"] += [f"different at the end: {', '.join(different[:5])}"] if different else []
        rows.append(row)
        print(
            f"run {len(rows):2}: {len(row['places']):2} kills "
            f"({', '.join(f'{n} {place}' for place, n in sorted(Counter(row['places']).items()))}), "
            f"lost at most {max(row['lost'], default=0)}, {'identical' if row['identical'] else 'DIFFERENT'}",
            flush=True,
        )
    lost = [value for row in rows for value in row["lost"]]
    return {
        "kills": len(lost),
        "runs": len(rows),
        "places": dict(Counter(place for row in rows for place in row["places"])),
        "max_lost": max(lost),
        "mean_lost": sum(lost) / len(lost),
        "half_written": sum(row["half_written"] for row in rows),
        "identical": sum(row["identical"] for row in rows),
        "faults": [f"run {i + 1}: {fault}" for i, row in enumerate(rows) for fault in row["faults"]],
    }


if __name__ == "__main__":
    sys.exit(main())
