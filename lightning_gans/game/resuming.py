"""Whether a checkpoint fits the module and the run that take it up, and what it lacks."""

import warnings
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import PurePath
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch.optim import SGD

SHOWN = 3  # differing arguments in a message


def check_weights(module: LightningModule, checkpoint: dict[str, Any]) -> None:
    """Check that a checkpoint has all weights of a module, of these shapes; averaged ones may come and go.

    Raises:
        ValueError: If it has not; with the arguments of the model that differ.
    """
    weights, here = checkpoint["state_dict"], module.state_dict()
    for key, value in here.items():
        if key.startswith("ema.") or (key in weights and weights[key].shape == value.shape):
            continue
        found = tuple(weights[key].shape) if key in weights else "missing"
        _refuse(
            module, checkpoint, f"{key} is {tuple(value.shape)} in this model and {found} in the checkpoint"
        )
    for key in weights:
        if key not in here and not key.startswith("ema."):
            _refuse(module, checkpoint, f"{key} is missing in this model")


def _refuse(module: LightningModule, checkpoint: dict[str, Any], reason: str) -> None:
    differ = list(_differences(checkpoint.get("hyper_parameters", {}), dict(module.hparams)))
    advice = "; ".join(differ[:SHOWN]) or "their stored arguments are the same"
    raise ValueError(f"the checkpoint does not fit: {reason}; of the arguments, {advice}")


def _differences(stored: dict[str, Any], here: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the constructor's arguments that differ, but those that change no weight."""
    for key in {**stored, **here}:
        there, now = stored.get(key), here.get(key)
        if there == now or key.startswith("_") or key.endswith(("_optimizer", "_scheduler")):
            continue
        if key == "init_args" and isinstance(there, dict) and isinstance(now, dict):
            yield from _differences(there, now, prefix)
        elif isinstance(there, dict) and isinstance(now, dict):
            yield from _differences(there, now, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key} is {_short(now)} here and was {_short(there)}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        arguments = ", ".join(f"{k}={v}" for k, v in value.get("init_args", {}).items() if v is not None)
        return f"{str(value.get('class_path')).rpartition('.')[2]}({arguments})"[:60]
    return str(value)[:60]


def check_paths(states: Any) -> None:
    """Check that no path in the callbacks' states leads out of the folder that it begins with.

    ``ModelCheckpoint`` deletes the files that it finds there, if the path begins with its own folder.

    Raises:
        ValueError: If one does.
    """
    if isinstance(states, str):
        if ".." in dropwhile(lambda part: part == "..", PurePath(states).parts):
            raise ValueError(f"the checkpoint is damaged: a callback's state has the path {states[:100]!r}")
    elif isinstance(states, dict):
        for key, value in states.items():
            check_paths(key)
            check_paths(value)
    elif isinstance(states, list | tuple):
        for value in states:
            check_paths(value)


def summary(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what a resumed run needs of a checkpoint once training starts, without the tensors in it."""
    ranks = checkpoint.get("run_state") or []
    if not isinstance(ranks, list) or not all(isinstance(rank, dict) for rank in ranks):
        raise ValueError("the checkpoint is damaged: its run_state is no list of dicts")
    return {
        **checkpoint,
        "state_dict": {},
        "run_state": ranks,
        "optimizer_states": [len(state["state"]) for state in checkpoint.get("optimizer_states", [])],
        "averages": any(key.startswith("ema.") for key in checkpoint["state_dict"]),
    }


def warn_of_missing(trainer: Trainer, module: LightningModule, stored: dict[str, Any]) -> None:
    """Warn by name of what a resumed run needs to go on exactly, and its checkpoint lacks.

    Args:
        trainer: The trainer.
        module: What is trained.
        stored: The :func:`summary` of the checkpoint.
    """
    missing = list(_missing(trainer, module, stored))
    if missing:
        warnings.warn(
            f"the checkpoint lacks {', '.join(missing)}: training goes on, but not exactly as the run that "
            "wrote it would have",
            stacklevel=2,
        )


def _missing(trainer: Any, module: LightningModule, stored: dict[str, Any]) -> Iterator[str]:
    ranks = stored["run_state"] or [{}]
    if not all("random" in rank and ("rng" in rank or not getattr(module, "rng", None)) for rank in ranks):
        yield "random states"
    if not all("state" in rank for rank in ranks):
        yield "the run's own state"
    if getattr(module, "ema", None) is not None and not stored["averages"]:
        yield "averaged weights"
    for part in ("loops", "progress"):
        if not stored.get(part):
            yield part
    counts = stored["optimizer_states"]
    for number, optimizer in enumerate(trainer.optimizers):
        count = counts[number] if number < len(counts) else 0
        stateless = isinstance(optimizer, SGD) and not optimizer.defaults["momentum"]
        if not count and not stateless and trainer.global_step > 0:
            yield f"the state of optimizer {number} ({type(optimizer).__name__})"
    if len(stored.get("lr_schedulers") or ()) < len(trainer.lr_scheduler_configs):
        yield "the state of a learning-rate scheduler"
    data = trainer.datamodule
    if data is not None and data.state_dict() and type(data).__qualname__ not in stored:
        yield f"the position in {type(data).__qualname__}"
    known = {str(key).partition("{")[0] for key in stored.get("callbacks") or ()}
    for callback in trainer.callbacks:
        if callback.state_dict() and callback.state_key.partition("{")[0] not in known:
            yield f"the state of {type(callback).__name__}"
