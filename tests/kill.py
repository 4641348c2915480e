"""Runs that are killed and resumed, at any hook, and what they leave, against an undisturbed run.

``make_run(folder, extra, ckpt_path)`` builds game, data and trainer anew, with the callbacks ``extra`` beside
its own, and fits them. Checkpoints, log and pictures go anywhere below ``folder``. The same seed every time.
"""

import csv
import hashlib
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint

HOOKS = (
    "on_train_start",
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_end",
)


class Killed(Exception):
    """What ends a run that is killed."""


class KillAt(Callback):
    """Kills a run before its training batch of this number."""

    def __init__(self, batch):
        self.batch = batch

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batch -= 1
        if self.batch < 0:
            raise Killed


@dataclass(frozen=True)
class At:
    """A moment of a run: a hook, once so many updates are done, before or after all callbacks."""

    hook: str
    update: int
    after: bool = False

    def __str__(self):
        return f"{'after' if self.after else 'before'} {self.hook} at {self.update}"


class Moments:
    """Passes all moments of a run on: to a list, or to its end."""

    def __init__(self, end=None):
        self.end = end
        self.seen = []

    def pass_(self, at):
        self.seen.append(at)
        end = self.end
        if end and (at.hook, at.after) == (end.hook, end.after) and at.update >= end.update:
            raise Killed

    def callbacks(self):
        return [_First(self), _Last(self)]


class _First(Callback):
    after = False

    def __init__(self, moments):
        self.moments = moments


class _Last(_First, Checkpoint):  # Lightning calls those last
    after = True


def _hook(name):
    def hook(self, trainer, *_):
        self.moments.pass_(At(name, trainer.global_step, self.after))

    return hook


for _name in HOOKS:
    setattr(_First, _name, _hook(_name))
    setattr(_Last, _name, _hook(_name))


def undisturbed(make_run, folder):
    """Run to the end; return all moments of the run."""
    moments = Moments()
    make_run(Path(folder), moments.callbacks(), None)
    return list(dict.fromkeys(moments.seen))


def killed_and_resumed(make_run, folder, *at):
    """Run to the end, killed at each of the moments ``at`` and resumed from the newest checkpoint, if any."""
    for moment in (*at, None):
        moments = Moments(moment)
        try:
            make_run(Path(folder), moments.callbacks(), _newest(Path(folder)))
        except Killed:
            continue
        assert moment is None, f"the run ended without being killed {moment}"


def _newest(folder):
    updates = {path: torch.load(path, weights_only=True)["global_step"] for path in folder.rglob("*.ckpt")}
    return max(updates, key=lambda path: (updates[path], path.stat().st_mtime_ns), default=None)


def same(a, b):
    """Whether two states are equal to the bit."""
    return not differences(a, b)


def differences(a, b, path=""):
    """Paths of the values in which two states differ by a single bit."""
    if type(a) is not type(b):
        return [f"{path}: {a!r} | {b!r}"]
    if isinstance(a, dict):
        missing = [f"{path}/{key}: only in one" for key in a.keys() ^ b.keys()]
        return missing + [d for key in a if key in b for d in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{path}: {a!r} | {b!r}"]
        return [d for i, pair in enumerate(zip(a, b, strict=True)) for d in differences(*pair, f"{path}/{i}")]
    if isinstance(a, torch.Tensor):
        equal = a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
        return [] if equal else [f"{path}: tensors differ"]
    return [] if a == b or (a != a and b != b) else [f"{path}: {a!r} | {b!r}"]


def remains(folder):
    """Return all that a run left: whole checkpoints, values of the log, scores, pictures by content."""
    folder = Path(folder)
    values, pictures = set(), defaultdict(set)
    for file in folder.rglob("metrics.csv"):
        with file.open(newline="") as lines:
            values |= {(row["step"], k, v) for row in csv.DictReader(lines) for k, v in row.items() if v}
    for file in folder.rglob("*.png"):  # of all parts: a half-written one shows
        pictures[f"{file.parent.name}/{file.name}"].add(hashlib.sha256(file.read_bytes()).hexdigest())
    scores = {line for file in folder.rglob("*.jsonl") for line in file.read_text().splitlines()}
    return {
        "checkpoints": {
            file.name: _without(torch.load(file, weights_only=True), str(folder.resolve()))
            for file in sorted(folder.rglob("*.ckpt"), key=lambda file: file.stat().st_mtime_ns)
        },
        "values": sorted(values),  # a row of the log may have parts in several runs
        "scores": sorted(
            {json.dumps(_without(json.loads(x), str(folder.resolve())), sort_keys=True) for x in scores}
        ),
        "pictures": dict(pictures),
        "animations": {file.name for file in folder.rglob("*.gif")},  # a resumed run's has its own pictures
    }


TIMES = ("seconds", "images_per_second")  # endings of the names of what no two runs have alike


def _without(state, folder):
    """Replace the run's folder, and the number of the part, in all texts; leave out how long it took."""
    if isinstance(state, dict):
        kept = {key: value for key, value in state.items() if not str(key).endswith(TIMES)}
        return {_without(key, folder): _without(value, folder) for key, value in kept.items()}
    if isinstance(state, list | tuple):
        return type(state)(_without(value, folder) for value in state)
    if not isinstance(state, str):
        return state
    return re.sub(r"version_\d+", "VERSION", state.replace(folder, "FOLDER"))
