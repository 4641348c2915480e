"""Check W&B sweeps before they start: keys and values against their recipe, the metric against its scores."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from pkgutil import resolve_name
from shlex import quote
from typing import Any

from lightning_gans import checks
from lightning_gans.commands.fit import prepare
from lightning_gans.commands.parsing import OneLine, read_yaml
from lightning_gans.commands.recipes import sweep_names
from lightning_gans.files import recipes_folder

ARGS = "${args}"
"""Where an agent of W&B puts the values that a run is to have, as ``--KEY=VALUE``."""


def parser() -> OneLine:
    """Return the parser of the command, whose sweeps are typed without an option."""
    usage = "%(prog)s SWEEP [SWEEP ...]"
    made = OneLine(prog="lightning-gans sweep", usage=usage, description=__doc__)
    there = f"Paths of YAML files, or names of those that come with the package: {', '.join(sweep_names())}."
    made.add_argument("sweeps", nargs="+", type=str, help=there)
    return made


def run(arguments: Sequence[str]) -> None:
    """Run ``sweep`` with arguments from the command line."""
    sweep(**vars(parser().parse_args(list(arguments))))


def sweep(sweeps: list[str]) -> None:
    """Check sweeps, and print how each is started.

    ``fit`` parses what the agents would call, with the ends of each range and all listed values: a key that
    the recipe does not have is found here and not by the first agent, a metric that no run logs not after
    the last.

    Args:
        sweeps: Paths of YAML files, or names of sweeps that come with the package.

    Raises:
        FileNotFoundError: If there is no such sweep, or no such recipe.
        ValueError: If something in it does not fit; one line.
    """
    from wandb.sdk.launch.sweeps.utils import load_sweep_config  # so that values are what W&B takes them for

    for name in sweeps:
        path = find_sweep(name)
        try:
            read_yaml(path)  # which says what is wrong with a file, and where
            method, metric = check(load_sweep_config(str(path)) or {})
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"sweep {name}: {error}") from error
        print(f"{name}: {method}{f' for {metric}' * (metric is not None)}")
        print(f"Start with: wandb sweep {quote(str(path))}; then wandb agent ID on each machine")


def find_sweep(name: str) -> Path:
    """Return the path of a sweep.

    Raises:
        FileNotFoundError: If it is neither a file nor a sweep of the package.
    """
    if Path(name).is_file():
        return Path(name)
    if name in sweep_names():
        return recipes_folder() / "sweeps" / f"{name}.yaml"
    raise FileNotFoundError(
        f"sweep {name} is neither a file nor a sweep: {checks.suggestion(name, sweep_names(), 'there are')}"
    )


def check(given: Mapping[str, Any]) -> tuple[str, str | None]:
    """Check a sweep of ``fit``.

    Args:
        given: The content of its file.

    Returns:
        Its method, and its metric if it has one.

    Raises:
        FileNotFoundError: If it names no recipe that there is.
        ValueError: If ``fit`` would not take what an agent calls it with, W&B would see none of the runs, or
            none of them logs the metric.
    """
    words, parameters = given.get("command"), given.get("parameters")
    if not isinstance(words, list) or "fit" not in words or words[-1] != ARGS:
        raise ValueError(f"command={words}: give a list with fit, and {ARGS} at its end")
    if not isinstance(parameters, dict):
        raise ValueError(f"parameters={parameters}: give keys, and values (or min and max) below each")
    from jsonargparse import Namespace
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    from lightning_gans.commands.fit_parser import as_list, parser_of_fit

    fit = parser_of_fit()
    fit.add_argument("--config", action="config")
    typed = [str(word) for word in words[words.index("fit") + 1 : -1]]
    config = fit.parse_args(prepare(typed)[0], defaults=False)
    kinds = [logger.class_path for logger in as_list(config.get("trainer.logger"))]
    if not any(kind.endswith("WandbLogger") for kind in kinds):
        raise ValueError(f"command={words}: W&B would see none of its runs, add --config and loggers/wandb")
    values = {key: _values(key, parameter) for key, parameter in parameters.items()}
    # Each part is judged by itself; that of the trainer takes a while, and is mostly as it was.
    parts = {"model", "data", *(key.partition(".")[0] for key in values)}
    swept = Namespace({part: config[part] for part in parts if part in config})  # type: ignore[no-untyped-call]
    for turn in range(max(map(len, values.values()), default=0)):
        chosen = {key: {"value": x[min(turn, len(x) - 1)]} for key, x in values.items()}
        flags = create_sweep_command_args({"args": chosen})["args"]  # as an agent makes them
        try:
            fit.parse_args(flags, swept.clone(), defaults=False)
        except ValueError as error:
            raise ValueError(f"parameters: {error}") from error
    metric = (given.get("metric") or {}).get("name")
    _check_metric(metric, config)
    return str(given.get("method")), metric


def _values(key: str, parameter: Any) -> list[Any]:
    """Return the values that are listed for a key, or both ends of its range and what is between."""
    given = parameter if isinstance(parameter, dict) else {}
    if "values" in given or "value" in given:
        return list(given.get("values", [given.get("value")]))
    if not {"min", "max", "distribution"} & {*given}:
        advice = f"write {key}.NAME" if "parameters" in given else "give values, or min and max, below it"
        raise ValueError(f"parameters.{key}={parameter}: {advice}")
    ends: list[Any] = [given.get(end, given.get("mu", 0.0)) for end in ("min", "max")]
    if text := [end for end in ends if not isinstance(end, int | float)]:
        advice = "YAML takes 1e-4 for text, and 1.0e-4 for a number"
        raise ValueError(f"parameters.{key}: {text[0]!r} is no number: {advice}")
    whole = "distribution" not in given and all(isinstance(end, int) for end in ends)
    return ends if whole else [ends[0], sum(ends) / 2, ends[1]]


def _check_metric(name: str | None, config: Any) -> None:
    """Refuse a metric that no run logs.

    One that begins with ``train/`` may be any, and so may all where other classes than this package's could
    log it.
    """
    from lightning_gans.commands.fit_parser import as_list
    from lightning_gans.commands.reproduce.checking import scores_of
    from lightning_gans.game.held_out import HeldOutLosses

    callbacks = as_list(config.get("trainer.callbacks"))
    paths = [config.model.class_path, *(callback.class_path for callback in callbacks)]
    ours = all(path.startswith(("lightning.", "lightning_gans.")) for path in paths)
    if name is None or name.startswith("train/") or not ours:
        return
    if not issubclass(resolve_name(config.model.class_path), HeldOutLosses):  # a classifier has other scores
        return
    known = ["val/discriminator_loss", "val/generator_loss"]
    for of, scores in scores_of(callbacks):
        logged = [x for x in scores if x != "images_per_second" and not x.endswith("_per_class")]
        known += [f"val/{'' if of is None else f'{of}/'}{score}" for score in logged]
    if not any(fnmatchcase(name, pattern) for pattern in known):
        advice = checks.suggestion(name, known, "its scores are")
        raise ValueError(f"metric={name} is logged by no run: {advice}")
