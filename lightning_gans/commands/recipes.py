"""List the recipes: what each is, how long it takes, what comes out."""

import difflib
from pathlib import Path

from lightning_gans.files import recipes_folder

ADDED = ("loggers", "strategies")
"""Folders of configurations that are added to a recipe by a further ``--config``, and are none themselves."""
OTHERS = ("sweeps", "tables")
"""Folders of files that are for other commands than ``fit``."""


def recipes() -> None:
    """List the recipes: what each is, how long it takes, what comes out."""
    for name in recipe_names():
        _print_head(name, ("Time:", "Result:"))
    print("\nStart one with: lightning-gans fit --config NAME")
    print("\nTo be added to any recipe, as in lightning-gans fit --config quickstart --config loggers/wandb:")
    for name in added_names():
        _print_head(name, ())
    print(f"\nSweeps over recipes, for lightning-gans sweep: {', '.join(sweep_names())}")


def _print_head(name: str, more: tuple[str, ...]) -> None:
    """Print the first line of a file's comment, and those that begin so."""
    lines = (recipes_folder() / f"{name}.yaml").read_text().splitlines()
    head = [line.lstrip("# ").rstrip() for line in lines if line.startswith("#")]
    print(f"\n{name}", head[0], *(line for line in head[1:] if line.startswith(more)), sep="\n  ")


def recipe_names() -> list[str]:
    """Return the names of all recipes that ``fit --config`` finds, such as ``dcgan/mnist``."""
    return [name for name in _names() if name.partition("/")[0] not in (*ADDED, *OTHERS)]


def added_names() -> list[str]:
    """Return the names of what is added to recipes, such as ``loggers/wandb``."""
    return [name for name in _names() if name.partition("/")[0] in ADDED]


def is_added(config: str) -> bool:
    """Return whether the path of a configuration is that of one which is added to recipes."""
    folder = recipes_folder().resolve()
    return any(folder / kind in Path(config).resolve().parents for kind in ADDED)


def sweep_names() -> list[str]:
    """Return the names of the sweeps that come with the package, one a paper, such as ``wgan_gp``."""
    return [name.removeprefix("sweeps/") for name in _names() if name.startswith("sweeps/")]


def _names() -> list[str]:
    folder = recipes_folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def find_config(given: str) -> tuple[str, str | None]:
    """Return the path of a configuration, and the recipe's name if it is one.

    Raises:
        FileNotFoundError: If it is neither a file nor a recipe; the message names the nearest recipes.
    """
    if given.lstrip().startswith("{"):
        return given, None
    if Path(given).is_file():
        path, folder = Path(given).resolve(), recipes_folder().resolve()
        name = path.relative_to(folder).with_suffix("").as_posix() if folder in path.parents else ""
        return given, name if name in recipe_names() else None
    name = given.removesuffix(".yaml").removeprefix("recipes/")
    if name in (known := [*recipe_names(), *added_names()]):
        return str(recipes_folder() / f"{name}.yaml"), name if name in recipe_names() else None
    if name.startswith("sweeps/") and name.removeprefix("sweeps/") in sweep_names():
        raise FileNotFoundError(
            f"--config {given} is a sweep: lightning-gans sweep {name.removeprefix('sweeps/')}"
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`lightning-gans recipes` lists what there is"
    raise FileNotFoundError(f"--config {given} is neither a file nor a recipe: {hint}")
