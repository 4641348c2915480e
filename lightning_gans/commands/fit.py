"""Train a game or a classifier; the run goes to runs/RECIPE/version_K."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_gans.commands.parsing import LINKED
from lightning_gans.commands.recipes import find_config

FIT_ONLY = ("--name", "--checkpoint", "--samples", "--throughput")
"""Options, with all that begin so and a dot, of which other commands take no notice; files may hold them."""


def run(arguments: list[str]) -> None:
    """Run Lightning's ``fit``."""
    start("fit", arguments)


def start(command: str, arguments: Sequence[str]) -> None:
    """Run ``fit``, ``validate`` or ``test`` through Lightning's CLI.

    Raises:
        ValueError: If another command than ``fit`` is given an option that only ``fit`` uses.
    """
    for option in (argument.partition("=")[0] for argument in arguments if command != "fit"):
        if option.partition(".")[0] in FIT_ONLY:
            raise ValueError(f"{option}: {command} writes no run and draws no samples, leave it out")
    prepared, recipe = prepare(arguments)  # a misspelt recipe ends here, before torch is imported

    from lightning_gans.commands.lightning_cli import CLI

    CLI(command, prepared, recipe)


def prepare(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Replace recipe names by paths, and put a checkpoint's configuration before the user's arguments.

    So arguments override the checkpoint, key by key, as a later ``--config`` overrides an earlier one.

    Returns:
        The arguments for Lightning's CLI, and the name of the recipe if there is one.
    """
    prepared: list[str] = []
    recipe = ckpt = None
    left = iter(arguments)
    for argument in left:
        flag, equals, value = argument.partition("=")
        if flag not in ("--config", "-c", "--ckpt_path"):
            prepared.append(argument)
            continue
        if not equals and (value := next(left, "")) == "":
            raise ValueError(f"{flag} needs a value")
        if flag == "--ckpt_path":
            ckpt = value
        else:
            value, name = find_config(value)
            recipe = name or recipe
            flag = "--config"
        prepared.append(f"{flag}={value}")
    if ckpt in ("last", "best"):
        raise ValueError(f"--ckpt_path {ckpt}: a run starts in a new folder, give the path of the checkpoint")
    if ckpt is not None and ckpt not in ("hpc", "null"):
        configured = any(argument.startswith("--config=") for argument in prepared)
        prepared.insert(0, f"--config={_stored_config(ckpt, configured)}")
    return prepared, recipe


def _stored_config(ckpt: str, configured: bool) -> str:
    from lightning_gans.game.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(ckpt)
    run = Path(ckpt).parent.parent / "config.yaml"
    if not configured and run.is_file():
        return str(run)
    config = {"model": _as_class(checkpoint["hyper_parameters"])}
    data = checkpoint.get("datamodule_hyper_parameters", {})
    if "_class_path" in data:
        config["data"] = _as_class(data)
    return json.dumps(config)


def _as_class(stored: dict[str, Any]) -> dict[str, Any]:
    arguments = {k: value for k, value in stored.items() if not k.startswith("_") and k not in LINKED}
    return {"class_path": stored["_class_path"], "init_args": _as_yaml(arguments)}


def _as_yaml(plain: Any) -> Any:
    # The parser finds by the types which arguments are factories of classes.
    if isinstance(plain, dict):
        return {key: _as_yaml(value) for key, value in plain.items() if key != "partial"}
    return [_as_yaml(value) for value in plain] if isinstance(plain, list) else plain
