"""Checkpoints that say how their module was built: written, read, resumed and loaded."""

import inspect
import pickle
import sys
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from typing_extensions import Self

from lightning_gans.checks import first_line
from lightning_gans.game.exported import CARD, read_card, read_exported
from lightning_gans.game.interruption import Interruption
from lightning_gans.game.log_axis import log_at_updates
from lightning_gans.game.monitors import check_monitors, warn_of_monitors
from lightning_gans.game.progress import go_on_exactly, store_progress
from lightning_gans.game.progress_bar import show_updates
from lightning_gans.game.random_states import random_states, restore_random_states
from lightning_gans.game.resuming import check_paths, check_weights, summary, warn_of_missing
from lightning_gans.game.run_settings import log_settings
from lightning_gans.networks.rebuild import (
    NotRebuildable,
    Rebuildable,
    class_path,
    describe,
    find_class,
    rebuild,
)
from lightning_gans.trust import NotTrusted, check_trusted, only_trusted

FOLDER = 0x10  # the attribute of folders in a zip archive

PARTS = {
    "epoch": int,
    "global_step": int,
    "loops": dict,
    "pytorch-lightning_version": str,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "run_state": list,
    "progress": dict,
}
"""What else a checkpoint has, of what kind; weights alone have the first four."""


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

    _resumed: dict[str, Any] | None = None
    _interruption: Interruption | None = None

    @property
    def rngs(self) -> list[torch.Generator]:
        """Return all of this module's own generators."""
        return [] if self.rng is None else [self.rng]

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

    def configure_callbacks(self) -> list[Callback]:
        """Show a bar of updates in place of the trainer's own; Lightning calls this first of all."""
        show_updates(self.trainer)
        return []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add random states and run state of all ranks. All ranks call this."""
        mine: dict[str, Any] = {"state": self.run_state(), "random": random_states(self.device)}
        if self.rng is not None:
            mine["rng"] = torch.cat([rng.get_state() for rng in self.rngs])
        ranks: list[Any] = [move_data_to_device(mine, torch.device("cpu"))]
        if self.trainer.world_size > 1:
            mine, ranks = ranks[0], [None] * self.trainer.world_size
            torch.distributed.all_gather_object(ranks, mine)
        checkpoint["run_state"] = ranks
        store_progress(self.trainer, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is one of this class, with weights of these shapes, and undamaged.

        Raises:
            ValueError: If it is not.
        """
        written_by = checkpoint.get("hyper_parameters", {}).get("_class_path")
        if written_by is not None and not same_class(written_by, type(self)):
            raise ValueError(f"the checkpoint is one of {written_by}, not of {class_path(type(self))}")
        check_weights(self, checkpoint)
        check_paths(checkpoint.get("callbacks"))
        stored = summary(checkpoint)
        if self._trainer is not None:
            file = self.trainer.ckpt_path
            if file and Path(file).is_file():
                check_entries(Path(file))
        if self._trainer is not None and self.trainer.training:
            self._resumed = stored
            go_on_exactly(self.trainer, checkpoint)
            return
        if self._trainer is not None:  # the update at which validate and test log
            self.trainer.fit_loop.epoch_loop._batches_that_stepped = checkpoint["global_step"]
        if stored["run_state"]:
            self.load_run_state(stored["run_state"][0]["state"])

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        map_location: str | torch.device | None = None,
        *,
        trusted: Iterable[str] = (),
        **arguments: Any,
    ) -> Self:
        """Rebuild a module of this class from its checkpoint: :func:`load`, for a class that is known.

        It also finds classes that were defined in a script, whose checkpoints call them ``__main__.Name``,
        in the module of this class.

        Args:
            checkpoint_path: The checkpoint, or the folder of its run.
            map_location: The device. Default: the CPU.
            trusted: As for :func:`load`; this class is trusted.
            arguments: As for :func:`load`.

        Returns:
            The module, in evaluation mode.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: As of :func:`load`, and if it is a checkpoint of another class.
        """
        path = checkpoint_file(checkpoint_path)
        module = _load(path, (*trusted, class_path(cls)), arguments, script=cls.__module__)
        if not isinstance(module, cls):
            raise ValueError(
                f"checkpoint {path} is one of {class_path(type(module))}, not of {class_path(cls)}"
            )
        return module if map_location is None else module.to(map_location)

    def on_fit_start(self) -> None:
        """Make whatever is logged stand at updates; tell the loggers what the run is made of."""
        log_at_updates(self.trainer)
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        log_settings(self.trainer, self, data, self.run_settings or {})

    def on_train_start(self) -> None:
        """Install the signal handlers; restore the random states and run state of a resumed run."""
        self._interruption = Interruption()
        self._interruption.start(self.trainer)
        if self._resumed is None:
            return
        stored, self._resumed = self._resumed, None
        warn_of_missing(self.trainer, self, stored)
        ranks, here = stored["run_state"], self.trainer.world_size
        if not ranks:
            return
        mine = ranks[self.global_rank if len(ranks) == here else 0]
        if "state" in mine:
            self.load_run_state(move_data_to_device(mine["state"], self.device))
        if len(ranks) != here:
            warnings.warn(
                f"the checkpoint is one of {len(ranks)} ranks, resumed by {here}: "
                "training goes on, but not with the random numbers of an uninterrupted run",
                stacklevel=2,
            )
            return
        if "random" in mine:
            restore_random_states(mine["random"], self.device)
        if self.rng is not None and "rng" in mine:
            states = mine["rng"].cpu().chunk(len(self.rngs))
            for rng, state in zip(self.rngs, states, strict=True):
                rng.set_state(state.clone())  # of a part of a tensor torch reads the first bytes

    def on_train_epoch_start(self) -> None:
        """Refuse callbacks that go by a metric which is not logged."""
        check_monitors(self.trainer)

    def on_train_end(self) -> None:
        """Warn of callbacks that went by a metric which was not logged."""
        warn_of_monitors(self.trainer)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the run if a rank has received SIGINT or SIGTERM. Whoever overrides this calls it last."""
        if self._interruption is not None:
            self._interruption.raise_if_received(self.trainer)


def checkpoint_file(path: str | Path) -> Path:
    """Return the file of a checkpoint, which may be given as the folder of its run; an exported game's card.

    Raises:
        FileNotFoundError: If there is none.
    """
    path = Path(path)
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"checkpoint {path} does not exist")
        return path
    if (path / CARD).is_file():
        return path / CARD
    file = path / "checkpoints" / "last.ckpt"
    if not file.is_file():
        runs = [run.parents[1] for run in path.glob("version_*/checkpoints/last.ckpt")]
        newest = max(runs, key=lambda run: (len(run.name), run.name), default=None)
        hint = f"; {newest} is one" if newest else ""
        raise FileNotFoundError(f"{path} is no run's folder: there is no checkpoints/last.ckpt in it{hint}")
    return file


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this package into CPU memory, without running code from it.

    Args:
        path: The file, the folder of a run, or an exported game.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or no checkpoint of this package.
    """
    path = checkpoint_file(path)
    try:
        if path.name == CARD:
            checkpoint = read_exported(path)
        else:
            check_entries(path)
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise exceptions of zip, pickle or torch, of any kind
        objects = isinstance(error, pickle.UnpicklingError)
        reason = "it holds other objects than tensors, numbers and texts" if objects else first_line(error)
        raise ValueError(f"checkpoint {path} is damaged or not a checkpoint: {reason}") from error
    parts = checkpoint if isinstance(checkpoint, dict) else {}
    stored, weights = parts.get("hyper_parameters"), parts.get("state_dict")
    if not isinstance(stored, dict) or not isinstance(stored.get("_class_path"), str):
        authors = parts and all(isinstance(value, Tensor) for value in parts.values())
        hint = ": load_reference reads weights of the authors' pix2pix and CycleGAN" if authors else ""
        raise ValueError(f"checkpoint {path} was not written by lightning_gans{hint}")
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"checkpoint {path} holds no weights: its state_dict is no dict of tensors")
    for name, kind in PARTS.items():
        if not isinstance(parts.get(name, kind()), kind):
            raise ValueError(f"checkpoint {path} is damaged: its {name} is no {kind.__name__}")
    return parts


def check_entries(path: str | Path) -> None:
    """Compare the entries of a checkpoint's archive with their checksums, which torch does not.

    Raises:
        ValueError: If one is damaged; with its name.
        zipfile.BadZipFile: If the file is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            # Of what is marked as a folder torch reads nothing, and takes memory as it is for the values.
            if entry.is_dir() or entry.external_attr & FOLDER:
                raise ValueError(f"its entry {entry.filename} is marked as a folder")
        try:
            broken = archive.testzip()
        except zipfile.BadZipFile as error:
            raise ValueError(str(error)) from error
    if broken is not None:
        raise ValueError(f"the checksum of its entry {broken} is wrong")


def run_config(path: str | Path) -> Path | None:
    """Return the configuration of the run that a checkpoint lies in, if there is one, or an exported card."""
    file = checkpoint_file(path)
    config = file if file.name == CARD else file.parent.parent / "config.yaml"
    return config if config.is_file() else None


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a run, and say so. What it names must still be checked: it is a file.

    Raises:
        ValueError: If it is damaged.
    """
    try:
        config = read_card(path).get("recipe") if path.name == CARD else yaml.safe_load(path.read_text())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {first_line(error)}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is no configuration of a run")
    rank_zero_only(print)(f"settings: {path}", file=sys.stderr)
    return config


def load(path: str | Path, *, trusted: Iterable[str] = (), **arguments: Any) -> SelfContained:
    """Rebuild a trained game or classifier from its checkpoint: class, arguments, weights, averaged ones too.

    Nothing in the file is run as code, and no class is built because the file names it but those of this
    package, torch's layers, optimizers and schedulers, and classes that you trust: see SECURITY.md.

    Args:
        path: The checkpoint, the folder of its run, or that of an exported game.
        trusted: Modules and packages whose classes may be built: ``["my_project"]``. Those of your own that
            you have imported need not be named.
        arguments: Constructor arguments to use instead of the stored ones. Needed only for objects that
            could not be written down, networks that are no :class:`~lightning_gans.networks.Rebuildable`,
            where there is no ``config.yaml`` of a run on the command line, which says how they were built.

    Returns:
        The module on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, of another package, names a class that is not trusted, or needs
            ``arguments``.
    """
    return _load(checkpoint_file(path), tuple(trusted), arguments)


def same_class(written_by: str, cls: type) -> bool:
    """Return whether a path is that of a class; one of the two may be of a script that was run."""
    module, _, name = written_by.rpartition(".")
    return name == cls.__qualname__ and (module == cls.__module__ or "__main__" in (module, cls.__module__))


def _load(path: Path, trusted: tuple[str, ...], arguments: dict[str, Any], script: str = "") -> SelfContained:
    checkpoint = read_checkpoint(path)
    try:
        stored = moved(checkpoint["hyper_parameters"], script)
        check_trusted(stored, trusted, f"checkpoint {path}")
        name = stored.pop("_class_path")
        lost = sorted(set(stored.pop("_not_rebuildable", [])) - set(arguments))
        config = run_config(path) if lost else None
        if config is not None:
            arguments = {**_configured(config, name, lost, trusted), **arguments}
            lost = [argument for argument in lost if argument not in arguments]
        forgivable = [argument for argument in lost if argument.endswith(("_optimizer", "_scheduler"))]
        needed = [argument for argument in lost if argument not in forgivable]
        if needed:
            raise ValueError(
                f"it does not say how to build {', '.join(needed)}: "
                f"call load(path, {', '.join(f'{argument}=...' for argument in needed)})"
            )
        if forgivable:
            warnings.warn(f"{', '.join(forgivable)} could not be stored: the default is used", stacklevel=3)
        plain = {"class_path": name, "init_args": {k: v for k, v in stored.items() if k not in arguments}}
        kinds = (SelfContained, nn.Module, Optimizer, LRScheduler)
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced by the stored ones
            module = rebuild(plain, kinds, trusted, f"checkpoint {path}", **arguments)
            if isinstance(module, SelfContained):
                module.configure_model()
        if not isinstance(module, SelfContained):
            raise ValueError(f"{name} is neither a game nor a classifier")
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    except NotTrusted:
        raise
    except Exception as error:  # constructors may raise anything if their arguments are not those they had
        raise ValueError(f"checkpoint {path} cannot be rebuilt: {first_line(error)}") from error
    return module.eval()


def moved(stored: Any, module: str) -> Any:
    """Return plain data in which the classes of a script that was run, if any, are those of a module."""
    if isinstance(stored, dict):
        return {key: moved(value, module) for key, value in stored.items()}
    if isinstance(stored, list):
        return [moved(value, module) for value in stored]
    script = "__main__."
    here = isinstance(stored, str) and stored.startswith(script) and module
    return f"{module}.{stored.removeprefix(script)}" if here else stored


def _configured(config: Path, name: str, wanted: Sequence[str], trusted: Sequence[str]) -> dict[str, Any]:
    """Build constructor arguments as the configuration of a run says."""
    from jsonargparse import ArgumentParser

    model = read_config(config).get("model")
    given = model.get("init_args") if isinstance(model, dict) else None
    if not isinstance(given, dict):
        return {}
    cls = find_class(name, (SelfContained,))
    chosen = {key: given[key] for key in wanted if given.get(key) is not None}
    check_trusted(chosen, trusted, config)
    parser = ArgumentParser(exit_on_error=False)
    others = {*given, *inspect.signature(cls).parameters} - set(chosen)
    parser.add_class_arguments(cls, "model", skip=others, instantiate=False, fail_untyped=False)
    with only_trusted(trusted):
        built = parser.instantiate(parser.parse_object({"model": chosen}))
    return dict(vars(built.model))
