"""Train a game or a classifier; the run goes to runs/RECIPE/version_K."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lightning_gans.commands.parsing import EACH_RUN, take_trusted
from lightning_gans.commands.recipes import find_config

FIT_ONLY = tuple(f"--{name}" for name in ("name", *EACH_RUN))
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
    arguments, trusted = take_trusted(arguments)
    prepared, recipe, ckpt = prepare(arguments)  # a misspelt recipe ends here, before torch is imported

    from lightning_gans.commands.lightning_cli import CLI
    from lightning_gans.commands.stored import as_configured, check_places, nameable
    from lightning_gans.trust import only_trusted, trust_also

    if ckpt is None:
        with trust_also(trusted):  # a classifier's checkpoint may name classes too
            CLI(command, prepared, recipe)
        return
    allowed = nameable(prepared, trusted)
    # Until the end: the parser looks at the values again when it writes them.
    with trust_also(trusted), only_trusted(allowed):
        brought = f"--config={as_configured(ckpt, prepared, allowed)}"
        CLI(command, [brought, *prepared], recipe, partial(check_places, file=ckpt, arguments=prepared))


def prepare(arguments: Sequence[str]) -> tuple[list[str], str | None, Path | None]:
    """Replace recipe names by paths, and the folder of a run by its checkpoint.

    Returns:
        The arguments for Lightning's CLI, the name of the recipe if there is one, and the checkpoint if one
        is given. Its configuration goes before the arguments: they override it, key by key, as a later
        ``--config`` overrides an earlier one.

    Raises:
        ValueError: If there are two recipes, an option has no value, or a checkpoint is none of a run.
        FileNotFoundError: If there is no such recipe or checkpoint.
    """
    prepared: list[str] = []
    last: list[str] = []  # a run's config.yaml, if it is given too, has a ckpt_path of its own
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
            if value in ("last", "best", "hpc"):
                raise ValueError(
                    f"--ckpt_path {value}: a run starts in a new folder, give the path of the checkpoint"
                )
            if value != "null":
                from lightning_gans.game.checkpoints import checkpoint_file
                from lightning_gans.game.exported import CARD

                ckpt = checkpoint_file(value)
                if ckpt.name == CARD:
                    raise ValueError(
                        f"--ckpt_path {value} is an exported game, for sample, translate and evaluate: fit, "
                        "validate and test need the checkpoint of a run, with all that a run consists of"
                    )
            last = [f"--ckpt_path={ckpt or value}"]
        else:
            value, name = find_config(value)
            if recipe and name:
                raise ValueError(
                    f"--config {recipe} and --config {name} are two recipes, of two runs: give one; to "
                    "change it, type keys, or add a file of your own"
                )
            recipe = recipe or name
            prepared.append(f"--config={value}")
    return prepared + last, recipe, ckpt
