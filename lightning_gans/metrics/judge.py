"""Networks that are trained once on a data set, by a recipe, and then score what games generate."""

import hashlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

import torch
from lightning.pytorch import Callback, Trainer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from lightning_gans import __version__
from lightning_gans.checks import existing_file, positive, within, writable_folder
from lightning_gans.data.base import DataModule
from lightning_gans.data.cache import cache_folder
from lightning_gans.data.loader import first_loader
from lightning_gans.files import locked, recipes_folder
from lightning_gans.game.checkpoints import SelfContained, load
from lightning_gans.networks.rebuild import class_path


class Judge(SelfContained):
    """A network that is trained with AdamW and a learning rate that rises and falls once.

    Every checkpoint holds how well the weights that are in it do on the test images, so that scores by this
    judge can say how good it is. A subclass writes :meth:`measure`, and the losses.

    Args:
        lr: Peak of the learning rate: it rises for a tenth of the run, and falls to 0 as a cosine.
        weight_decay: AdamW's.

    Attributes:
        kind: What it is called: the folder of its recipes, and its part of a checkpoint.
        known: Attributes that are stored in a checkpoint beside the weights.
        data_name: Class of the data that it was trained on.

    Raises:
        ValueError: If an argument does not fit.
    """

    kind: ClassVar[str]
    known: ClassVar[tuple[str, ...]]

    def __init__(self, lr: float, weight_decay: float) -> None:
        super().__init__()
        positive(lr=lr)
        within("[0, inf)", weight_decay=weight_decay)
        self.lr, self.weight_decay = lr, weight_decay
        self.data_name = ""

    def measure(self, loader: Any) -> None:
        """Measure the weights on test images, and keep the result in attributes. All ranks call this."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """Check that the data has its test images, before any long work starts."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, DataModule) and data.has_test_split:
            data.setup("test")

    def configure_optimizers(self) -> Any:
        """Make AdamW and the schedule of its learning rate."""
        updates = self.trainer.estimated_stepping_batches
        if math.isinf(updates):
            raise ValueError(f"a {self.kind}'s learning rate falls to 0: say when, with trainer.max_epochs")
        optimizer = torch.optim.AdamW(self.parameters(), self.lr, weight_decay=self.weight_decay)
        # Not torch's OneCycleLR, which fails if a resumed run has more epochs than before.
        schedule = LambdaLR(optimizer, partial(_one_cycle, updates=int(updates)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Measure the weights that are saved, and store the result with them. All ranks call this."""
        super().on_save_checkpoint(checkpoint)
        loader = self._test_loader()
        if loader is not None:
            mode = self.training
            self.eval()
            with torch.no_grad():
                self.measure(loader)
            self.train(mode)
        checkpoint[self.kind] = {name: getattr(self, name) for name in self.known}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is one of this judge, and read what was measured.

        Raises:
            ValueError: If it is not.
        """
        super().on_load_checkpoint(checkpoint)
        for name in self.known:
            setattr(self, name, checkpoint[self.kind][name])

    def _test_loader(self) -> Any:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self.data_name = type(data).__name__ if data is not None else self.data_name
        if isinstance(data, DataModule):
            if data.has_test_split:
                data.setup("test")
                return data.test_dataloader()
            return data.val_dataloader() or None
        return first_loader(self.trainer.val_dataloaders)


J = TypeVar("J", bound=Judge)


def _one_cycle(step: int, updates: int) -> float:
    rise = max(1, updates // 10)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - rise) / max(1, updates - rise)))


def judge(checkpoint: str | Path | J, kind: type[J]) -> J:
    """Return a judge.

    Args:
        checkpoint: The judge, or the path of its checkpoint, or the name of its recipe, such as
            ``classifier/digits``: then it is trained the first time, and kept in the cache folder.
        kind: Its class.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of such a judge.
        OSError: If it cannot be trained.
    """
    found: Any = checkpoint
    if isinstance(checkpoint, str | Path):
        by_recipe = isinstance(checkpoint, str) and checkpoint.startswith(f"{kind.kind}/")
        found = trained(str(checkpoint), kind) if by_recipe else load(checkpoint)
    if not isinstance(found, kind):
        raise ValueError(
            f"checkpoint={checkpoint} is one of a {type(found).__name__}, not of a {kind.__name__}: train "
            f"one with lightning-gans fit --config {kind.kind}/..."
        )
    return found


class Progress(Callback):
    """Print how many updates are done, of how many, a line each, for the process that waits for them."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Print it at each twentieth update."""
        if trainer.global_step % 20 == 0:
            print(trainer.global_step, trainer.estimated_stepping_batches, flush=True)


def trained(recipe: str, kind: type[J]) -> J:
    """Return the judge of a recipe from the cache folder; train it if there is none that can be read.

    The file is named by a hash of the recipe's text and this package's version; only a finished training
    leaves one. Of several processes one trains and the others wait. The data is read from the folder
    ``LIGHTNING_GANS_DATA``; that is the ``data.root`` of a command whose judge it is.

    Args:
        recipe: Name of the recipe, such as ``classifier/digits``.
        kind: The judge's class.

    Raises:
        ValueError: If there is no such recipe.
        OSError: If the cache folder cannot be written, or the training fails; with the last line of its
            output.
    """
    config = recipes_folder() / f"{recipe}.yaml"
    existing_file(checkpoint=config)
    if ".." in config.parts:  # a file must not name another's configuration, which is a program
        raise ValueError(f"checkpoint={recipe}: there is no such recipe")
    key = hashlib.sha256(config.read_bytes() + __version__.encode()).hexdigest()[:16]
    file = cache_folder() / f"{kind.kind}s" / f"{recipe.replace('/', '-')}-{key}.ckpt"
    if (found := _readable(file, kind)) is not None:
        return found
    writable_folder(LIGHTNING_GANS_CACHE=file.parent)
    with locked(file, f"trains {recipe}"):
        if (found := _readable(file, kind)) is not None:  # of the process that this one waited for
            return found
        for leftover in file.parent.glob(f"{file.name}.*.part"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        print(f"training {recipe}, once; it is kept in {file}", file=sys.stderr)
        _train(recipe, config, file)
        return judge(file, kind)


def _readable(file: Path, kind: type[J]) -> J | None:
    """Return a judge from the cache; None if it is missing, damaged, or of a class that is no more."""
    try:
        return judge(file, kind)
    except Exception:
        return None


def _train(recipe: str, config: Path, file: Path) -> None:
    # Without the variables that would make it one of this run's ranks, or give it this run's settings.
    own = (
        "PL_", "LIGHTNING_GANS__", "RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_",
        "TORCHELASTIC_",
    )  # fmt: skip
    place = file.with_name(f"{file.name}.{uuid4().hex}.part")
    place.mkdir()
    try:
        given = {
            "default_root_dir": place,
            "enable_progress_bar": "false",
            "callbacks+": class_path(Progress),
        }
        with (
            (place / "errors.txt").open("w+") as errors,
            subprocess.Popen(
                [sys.executable, "-m", "lightning_gans", "fit", "--config", str(config)]
                + [f"--trainer.{name}={value}" for name, value in given.items()],
                env={name: value for name, value in os.environ.items() if not name.startswith(own)},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as run,
        ):
            try:
                assert run.stdout is not None
                with tqdm(desc=f"training {recipe}", unit=" updates", leave=False) as bar:
                    for line in run.stdout:
                        if re.fullmatch(r"[0-9]+ [0-9]+\n", line):
                            bar.n, bar.total = map(int, line.split())
                            bar.refresh()
            except BaseException:  # such as Ctrl-C: nobody waits for it any more
                run.kill()
                raise
        stored = sorted(place.rglob("last.ckpt"))
        if run.returncode or not stored:
            lines = (place / "errors.txt").read_text().split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), "it left no checkpoint")
            with suppress(ValueError):  # not ended by a signal
                number = -run.returncode if run.returncode < 0 else run.returncode - 128
                reason = f"it was stopped by {signal.Signals(number).name}"
            raise OSError(f"{recipe} could not be trained: {reason.removeprefix('lightning-gans: ')}")
        stored[-1].replace(file)
    finally:
        shutil.rmtree(place, ignore_errors=True)
