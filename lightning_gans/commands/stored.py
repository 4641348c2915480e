"""The configuration that a checkpoint and its run bring to ``fit``, ``validate`` and ``test``."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks
import lightning.pytorch.loggers
import lightning.pytorch.profilers
import lightning.pytorch.strategies
import yaml
from jsonargparse import Namespace

from lightning_gans.commands.parsing import LINKED, subclasses
from lightning_gans.commands.recipes import is_added
from lightning_gans.game.checkpoints import (
    PARTS,
    moved,
    read_checkpoint,
    read_config,
    run_config,
    same_class,
)
from lightning_gans.networks.rebuild import class_path
from lightning_gans.trust import check_trusted, class_paths, paths_of, what_to_trust

OF_LIGHTNING = {
    lightning.pytorch.callbacks: {*lightning.pytorch.callbacks.__all__} - {"LambdaCallback"},
    lightning.pytorch.loggers: ("CSVLogger", "TensorBoardLogger", "WandbLogger"),
    lightning.pytorch.profilers: ("AdvancedProfiler", "SimpleProfiler"),
    lightning.pytorch.strategies: ("DDPStrategy",),
}
"""Lightning's classes that the configuration of a run may name. Plugins, other loggers, which send what they
get to an address, and functions are none of them."""
WRITTEN = ("default_root_dir", "dirpath", "save_dir", "dir")
"""Settings that name a folder; others, such as a file's name, go below one."""
SENT = ("model_registry", "settings")
"""Settings that say where a run is sent to: ``settings`` are those of W&B, with its server's address."""
READ = ("model", "data", "extractor", "metrics")
"""What only reads files."""
ADDRESS = re.compile(r"[A-Za-z]\w*:\S|.*(://|::)")
"""What fsspec takes for the place of a file elsewhere."""


def nameable(arguments: Sequence[str], trusted: Iterable[str]) -> list[str]:
    """Return what files may name in a command: what the user trusts, classes she has typed, and Lightning's.

    Args:
        arguments: The arguments of the command, with the configurations that the user names.
        trusted: Modules, packages and class paths.
    """
    found = {*trusted}
    for module, names in OF_LIGHTNING.items():
        for name in names:
            found |= paths_of(getattr(module, name))
    short = set()
    for text in _typed(arguments):
        if not all(part.isidentifier() for part in text.split(".")):
            continue
        if "." not in text:
            short.add(text)
        elif (home := what_to_trust(text)) in (None, text):
            found.add(text)  # of Python, torch or a library
        elif text.rpartition(".")[2][:1].isupper() and not Path(text).exists():
            found.add(str(home))  # a class of her own; mine.ckpt, runs.old, scores.json are none
    for cls in subclasses(object):
        if cls.__name__ in short:
            found |= paths_of(cls)
    return [path for path in found if all(part.isidentifier() for part in path.split("."))]


def to_repeat(config: Any) -> str:
    """Return the options by which the next command trusts the modules of a run's configuration."""
    known = nameable((), ())
    paths = [path for path in class_paths(config) if path not in known]
    modules = {what_to_trust(path) for path in paths} - {None, "__main__"}
    return "".join(f" --trusted {module}" for module in sorted(map(str, modules)))


def _typed(arguments: Sequence[str]) -> Iterator[str]:
    """Yield all texts of the command line, of the configurations it names, and of the environment."""
    variables = [value for name, value in os.environ.items() if name.startswith("PL_")]
    for argument in (*arguments, *variables):
        flag, equals, value = argument.partition("=")
        text = value if equals else flag
        with suppress(OSError, ValueError, yaml.YAMLError, RecursionError):
            named = flag in ("--config", "-c") and Path(text).is_file()
            for _, value in _settings(yaml.safe_load(Path(text).read_text() if named else text)):
                yield value


def as_configured(ckpt: Path, arguments: Sequence[str], allowed: Sequence[str]) -> str:
    """Return the configuration that a checkpoint brings, a file or JSON: its run's, or model and data alone.

    The run's is not used if the user names one (other than those that are added to any); then the checkpoint
    gives what that leaves open.

    Args:
        ckpt: The checkpoint.
        arguments: What the user typed.
        allowed: What the files may name.

    Raises:
        ValueError: If the checkpoint is damaged, or names a class that is not trusted.
    """
    checkpoint = read_checkpoint(ckpt)
    config = run_config(ckpt)
    named = [x.removeprefix("--config=") for x in arguments if x.startswith("--config=")]
    if config is not None and all(map(is_added, named)):
        settings = read_config(config)
        check_trusted(settings, allowed, config)
        return str(config)
    stored, data = checkpoint["hyper_parameters"], checkpoint.get("datamodule_hyper_parameters")
    name = stored["_class_path"].rpartition(".")[2]
    script = next((path for path in allowed if path.endswith(f".{name}")), "").rpartition(".")[0]
    found = {"model": _as_class(moved(stored, script))}
    if isinstance(data, dict) and "_class_path" in data:
        found["data"] = _as_class(data)
    check_trusted(found, allowed, f"checkpoint {ckpt}")
    return json.dumps(found)


def settings_of(ckpt: Path, allowed: Sequence[str]) -> dict[str, Any]:
    """Return the settings of a checkpoint's run; those of model and data alone, where it lies in none.

    Args:
        ckpt: The checkpoint.
        allowed: What may be named, where it lies in none; what a run's file names is to be checked.

    Raises:
        ValueError: If a file is damaged, or the checkpoint names a class that is not trusted.
    """
    file = run_config(ckpt)
    settings: dict[str, Any] = (
        json.loads(as_configured(ckpt, (), allowed)) if file is None else read_config(file)
    )
    return settings


def check_class(ckpt: str, model: type, command: str) -> None:
    """Check that a checkpoint is one of a class, with all that a command needs.

    Raises:
        ValueError: If it is not.
    """
    checkpoint = read_checkpoint(ckpt)
    stored = checkpoint["hyper_parameters"]["_class_path"]
    if not same_class(stored, model):
        raise ValueError(
            f"--ckpt_path {ckpt} is a checkpoint of {stored}, but the model is {class_path(model)}"
        )
    needed = [*PARTS][:7] if command == "fit" else [*PARTS][:4]
    if lacking := [name for name in needed if name not in checkpoint]:
        raise ValueError(f"--ckpt_path {ckpt} lacks {', '.join(lacking)}: {command} cannot go on from it")


def check_places(config: Namespace, file: Path, arguments: Sequence[str]) -> None:
    """Check that a run writes only below the current folder or where the run lies that it goes on from.

    What the user typed is right. It is asked of what was parsed, as a file can say one thing in many ways.

    Args:
        config: All settings of the command.
        file: The checkpoint.
        arguments: What the user typed, with the configurations that she names.

    Raises:
        ValueError: If it would write elsewhere.
    """
    runs = [parent.parent for parent in file.resolve().parents if parent.name == "runs"]
    homes = (Path.cwd(), *runs[:1])
    typed = {*_typed(arguments), str(file), *(argument.removeprefix("--config=") for argument in arguments)}
    for key, value in _settings(_without(config.as_dict(), READ)):
        if value not in typed and (key in SENT or _leads_out(key, value, homes)):
            raise ValueError(
                f"{run_config(file)} has {key}={value}, outside of this folder and of its run: if that is "
                f"right, name the file yourself, with --config {run_config(file)}"
            )


def _without(plain: Any, keys: Sequence[str]) -> Any:
    if isinstance(plain, dict):
        return {key: _without(value, keys) for key, value in plain.items() if key not in keys}
    return [_without(value, keys) for value in plain] if isinstance(plain, list) else plain


def _leads_out(key: str, value: str, homes: Iterable[Path]) -> bool:
    if ADDRESS.match(value):
        return True
    try:
        path = Path(value).expanduser()
    except RuntimeError:  # of a user that there is none of
        return True
    if path.is_absolute() or key in WRITTEN:
        return not any(path.resolve().is_relative_to(home) for home in homes)
    return ".." in path.parts


def _settings(plain: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield all texts in a configuration, each with its key."""
    if isinstance(plain, dict):
        for name, value in plain.items():
            yield from _settings(value, key if key in SENT else str(name))
    elif isinstance(plain, list | tuple | set):
        for value in plain:
            yield from _settings(value, key)
    elif isinstance(plain, str | PathLike):
        yield key, str(plain)


def _as_class(stored: dict[str, Any]) -> dict[str, Any]:
    arguments = {k: value for k, value in stored.items() if not k.startswith("_") and k not in LINKED}
    return {"class_path": stored["_class_path"], "init_args": _as_yaml(arguments)}


def _as_yaml(plain: Any) -> Any:
    # The parser finds by the types which arguments are factories of classes.
    if isinstance(plain, dict):
        return {key: _as_yaml(value) for key, value in plain.items() if key != "partial"}
    return [_as_yaml(value) for value in plain] if isinstance(plain, list) else plain
