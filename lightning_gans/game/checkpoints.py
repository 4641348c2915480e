"""Checkpoints that say how their module was built: written, read, resumed and loaded."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import LightningModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_gans.game.interruption import Interruption
from lightning_gans.game.log_axis import log_at_updates
from lightning_gans.game.progress import go_on_exactly, store_progress
from lightning_gans.game.random_states import random_states, restore_random_states
from lightning_gans.game.settings import log_settings
from lightning_gans.networks.rebuild import NotRebuildable, Rebuildable, class_path, describe, rebuild


class SelfContained(Rebuildable, LightningModule):
    """A module whose checkpoints hold all that its run consists of, and how it was built.

    :func:`load` rebuilds it from the file alone. A resumed run goes on with the random numbers of each rank
    and with what :meth:`run_state` returned there. A subclass calls
    ``save_hyperparameters(self.plain_arguments())`` in its constructor.
    """

    rng: torch.Generator | None = None
    """A generator of this module's own, another on each rank, if it has one."""

    run_settings: dict[str, Any] | None = None
    """What the loggers are told of a run beside model, data and trainer."""

    _resumed: list[dict[str, Any]] | None = None
    _interruption: Interruption | None = None

    def run_state(self) -> dict[str, Any]:
        """Return what a run has beside weights and optimizers: a place in a schedule, remembered samples.

        Every rank is asked for its own. Numbers, texts, tensors, and lists and dicts of them.
        """
        return {}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`run_state` returned; called before training, and by :func:`load`.

        A run that is resumed by another number of ranks gets the state of the first on all.
        """

    def plain_arguments(self) -> dict[str, Any]:
        """Return the class path and the constructor's arguments as plain data."""
        plain: dict[str, Any] = {"_class_path": class_path(type(self))}
        lost = []
        for name, value in self._arguments.items():
            try:
                plain[name] = describe(value)
            except NotRebuildable:
                lost.append(name)
        return {**plain, "_not_rebuildable": lost} if lost else plain

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add random states and run state of all ranks. All ranks call this."""
        mine: dict[str, Any] = {"state": self.run_state(), "random": random_states(self.device)}
        if self.rng is not None:
            mine["rng"] = self.rng.get_state()
        ranks: list[Any] = [move_data_to_device(mine, torch.device("cpu"))]
        if self.trainer.world_size > 1:
            mine, ranks = ranks[0], [None] * self.trainer.world_size
            torch.distributed.all_gather_object(ranks, mine)
        checkpoint["run_state"] = ranks
        store_progress(self.trainer, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is one of this class, with weights of these shapes.

        Raises:
            ValueError: If it is not.
        """
        written_by = checkpoint.get("hyper_parameters", {}).get("_class_path")
        if written_by not in (None, class_path(type(self))):
            raise ValueError(f"the checkpoint is one of {written_by}, not of {class_path(type(self))}")
        weights = checkpoint["state_dict"]
        for key, value in self.state_dict().items():
            if key.startswith("ema."):  # a run may begin or end to average weights
                continue
            if key not in weights or weights[key].shape != value.shape:
                found = tuple(weights[key].shape) if key in weights else "missing"
                raise ValueError(
                    f"the checkpoint does not fit: {key} is {found} there and {tuple(value.shape)} here; "
                    "give the arguments of the model that the run was started with"
                )
        ranks = checkpoint.get("run_state")
        if self._trainer is not None and self.trainer.training:
            self._resumed = ranks
            go_on_exactly(self.trainer, checkpoint)
        elif ranks:
            self.load_run_state(ranks[0]["state"])

    def on_fit_start(self) -> None:
        """Make whatever is logged stand at updates; tell the loggers what the run is made of."""
        log_at_updates(self.trainer)
        log_settings(self.trainer, self, self.run_settings or {})

    def on_train_start(self) -> None:
        """Install the signal handlers; restore the random states and run state of a resumed run."""
        self._interruption = Interruption()
        self._interruption.start(self.trainer)
        if self._resumed is None:
            return
        ranks, self._resumed = self._resumed, None
        here = self.trainer.world_size
        mine = ranks[self.global_rank if len(ranks) == here else 0]
        self.load_run_state(move_data_to_device(mine["state"], self.device))
        if len(ranks) != here:
            warnings.warn(
                f"the checkpoint is one of {len(ranks)} ranks, resumed by {here}: "
                "training goes on, but not with the random numbers of an uninterrupted run",
                stacklevel=2,
            )
            return
        restore_random_states(mine["random"], self.device)
        if self.rng is not None and "rng" in mine:
            self.rng.set_state(mine["rng"].cpu())

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the run if a rank has received SIGINT or SIGTERM. Whoever overrides this calls it last."""
        if self._interruption is not None:
            self._interruption.raise_if_received(self.trainer)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this package into CPU memory, without running code from it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or no checkpoint of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"checkpoint {path} is damaged or not a checkpoint ({type(error).__name__})"
        ) from error
    if not isinstance(checkpoint, dict) or "_class_path" not in checkpoint.get("hyper_parameters", {}):
        raise ValueError(f"checkpoint {path} was not written by lightning_gans")
    return checkpoint


def load(path: str | Path, **arguments: Any) -> SelfContained:
    """Rebuild a trained game or classifier from its checkpoint: class, arguments, weights, averaged ones too.

    Args:
        path: The checkpoint. It is read with ``weights_only``: nothing in it is unpickled as code.
        arguments: Constructor arguments to use instead of the stored ones. Needed only for objects that
            could not be written down: networks that are no :class:`~lightning_gans.networks.Rebuildable`.

    Only games, networks, latents, optimizers and schedulers that can be imported here are built.

    Returns:
        The module on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, of another package, or needs ``arguments``.
    """
    checkpoint = read_checkpoint(path)
    stored = dict(checkpoint["hyper_parameters"])
    name = stored.pop("_class_path")
    lost = {argument for argument in stored.pop("_not_rebuildable", []) if argument not in arguments}
    forgivable = {argument for argument in lost if argument.endswith(("_optimizer", "_scheduler"))}
    if lost - forgivable:
        needed = sorted(lost - forgivable)
        raise ValueError(
            f"checkpoint {path} does not say how to build {', '.join(needed)}: "
            f"call load(path, {', '.join(f'{argument}=...' for argument in needed)})"
        )
    if forgivable:
        warnings.warn(
            f"{', '.join(sorted(forgivable))} could not be stored: the default is used", stacklevel=2
        )
    plain = {"class_path": name, "init_args": {k: v for k, v in stored.items() if k not in arguments}}
    try:
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced by the stored ones
            module: SelfContained = rebuild(
                plain, (SelfContained, nn.Module, Optimizer, LRScheduler), **arguments
            )
    except ValueError as error:
        raise ValueError(f"checkpoint {path} cannot be rebuilt: {error}") from error
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    module.eval()
    return module
