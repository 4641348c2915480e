"""Kill small runs (SIGKILL) at random updates, resume them; all write down what they are served.

python resume_run.py FOLDER --kills 2 CASE ...

A case is ``{memory,workers,unpaired}-{1,2}``: the path of the data and the number of ranks. Each runs once
undisturbed and once killed, in ``FOLDER/CASE/{undisturbed,killed}``, where each rank appends a line
``update image ...`` to ``served-RANK.txt`` for each batch. An image is ``number:checksum`` (and ``:label``);
the checksum tells crops and mirror images apart. One process imports everything and forks the runs.
"""

import argparse
import json
import os
import random
import signal
import socket
import tempfile
import time
import traceback
import zlib
from contextlib import suppress
from multiprocessing import RawArray
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import nn

from lightning_gans.callbacks import Checkpoint
from lightning_gans.data import ImageFolder, UnpairedImages

IMAGES = {"a": 46, "b": 30}  # of each domain
BATCH_SIZE, UPDATES, SIDE = 4, 30, 8
LIMIT = 60  # seconds for one run
REACHED, RESUMED_AT, DOOMED = range(3)  # what rank 0 and the killer tell each other, in shared memory


def write_images(folder):
    """Write the images: red is the number, green and blue tell where a pixel was."""
    ramp = np.arange(SIDE, dtype=np.uint8) * 20
    for domain, count in IMAGES.items():
        for number in range(count):
            pixels = np.stack(np.broadcast_arrays(np.uint8(number), ramp, ramp[:, None]), axis=2)
            picture = Image.fromarray(pixels)
            targets = [folder / "pairless" / f"train{domain.upper()}" / f"{number}.png"]
            if domain == "a":
                targets.append(folder / "folder" / f"class{number % 2}" / f"{number}.png")
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
                picture.save(target)


def data(path, images, run):
    options = {"batch_size": BATCH_SIZE, "drop_last": False, "flip": True, "num_workers": 2, "cache": False}
    if path == "unpaired":
        return UnpairedImages(
            images / "pairless", image_size=SIDE - 2, load_size=SIDE, in_memory=False, **options
        )
    if path == "workers":
        return ImageFolder(str(images / "folder"), SIDE, in_memory=False, **options)
    return ImageFolder(
        str(images / "folder"), SIDE, in_memory=True, **options | {"cache": str(run / "cache")}
    )


class Reader(LightningModule):
    """Reads what it is served, and hardly learns."""

    def __init__(self, folder, told):
        super().__init__()
        self.automatic_optimization = False
        self.layer = nn.Linear(1, 1)
        self.folder, self.told = folder, told

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)

    def training_step(self, batch, batch_idx):
        update = self.trainer.global_step
        words = [str(update)]
        for part in batch:
            if part.dim() == 4:
                pixels = ((part + 1) * 127.5).round().to(torch.uint8)
                words += [f"{image[0, 0, 0]}:{zlib.crc32(image.numpy()):08x}" for image in pixels]
            else:
                words[1:] = [f"{word}:{label}" for word, label in zip(words[1:], part.tolist(), strict=True)]
        with (self.folder / f"served-{self.global_rank}.txt").open("a") as file:
            file.write(" ".join(words) + "\n")
        if self.global_rank == 0:
            self.told[REACHED] = update
            if self.told[RESUMED_AT] < 0:
                self.told[RESUMED_AT] = update
        while self.told[DOOMED] and update == UPDATES - 1:
            time.sleep(0.001)  # it is to be killed, not to end before
        self.manual_backward(self.layer(torch.ones(1, 1)).sum())
        self.optimizers().step()


def train(case, images, run, told):
    path, ranks = case.split("-")
    trainer = Trainer(
        max_steps=UPDATES,
        accelerator="cpu",
        callbacks=[Checkpoint(every_n_updates=1, dirpath=str(run / "checkpoints"))],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        default_root_dir=run,
        strategy="auto" if ranks == "1" else "ddp",
        devices=int(ranks),
    )
    last = run / "checkpoints" / "last.ckpt"
    torch.manual_seed(0)
    ckpt_path = last if last.exists() else None
    trainer.fit(Reader(run, told), datamodule=data(path, images, run), ckpt_path=ckpt_path)


class Run:
    """A run of one or two ranks that form a group of processes with their workers; leaves none behind."""

    def __init__(self, case, images, folder, told, doomed):
        told[:] = [-1, -1, doomed]
        self.folder = folder
        self.pids = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        for rank in range(int(case[-1])):
            pid = os.fork()
            group = self.pids[0] if self.pids else pid
            if pid == 0:
                self.be_rank(rank, group, port, case, images, told)
            os.setpgid(pid, group)  # both do it: who comes first is open
            self.pids.append(pid)
        self.alive = list(self.pids)

    def be_rank(self, rank, group, port, case, images, told):
        status = 1
        try:
            os.setpgid(0, group)
            if case[-1] != "1":
                address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
                os.environ.update(address | {"LOCAL_RANK": str(rank), "NODE_RANK": "0"})
            train(case, images, self.folder, told)
            status = 0
        except BaseException:
            (self.folder / "error.txt").write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def ended(self):
        """Whether all ranks came to their end by themselves; none may fail."""
        for pid in list(self.alive):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self.alive.remove(pid)
            if status:
                raise RuntimeError((self.folder / "error.txt").read_text())
        return not self.alive

    def kill(self):
        with suppress(ProcessLookupError):
            os.killpg(self.pids[0], signal.SIGKILL)
        for pid in self.alive:
            os.waitpid(pid, 0)


def torment(case, images, folder, told, kills, dice):
    """Run until the end, killed ``kills`` times before; return how far it came each time."""
    report = []
    for target in [*sorted(dice.sample(range(UPDATES), kills)), None]:
        run = Run(case, images, folder, told, doomed=target is not None)
        try:
            limit = time.monotonic() + LIMIT
            while not run.ended() and (target is None or told[REACHED] < target):
                if time.monotonic() > limit:
                    raise TimeoutError(f"{folder}: takes longer than {LIMIT} s")
                time.sleep(0.0005)
            if target is not None:
                time.sleep(dice.uniform(0, 0.03))
        finally:
            run.kill()
        report.append({"resumed_at": told[RESUMED_AT], "reached": told[REACHED]})
    return report


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images, dice = arguments.folder / "images", random.Random(arguments.seed)
    write_images(images)
    told = RawArray("q", 3)
    with tempfile.TemporaryDirectory() as temporary:
        tempfile.tempdir = temporary  # what killed runs leave there goes with it
        for case in arguments.cases:
            for name, kills in (("undisturbed", 0), ("killed", arguments.kills)):
                run = arguments.folder / case / name
                run.mkdir(parents=True)
                report = torment(case, images, run, told, kills, dice)
                (run / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
