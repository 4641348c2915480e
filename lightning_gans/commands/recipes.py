"""List the recipes: what each is, how long it takes, what comes out."""

import difflib
from pathlib import Path

from lightning_gans.files import recipes_folder


def recipes() -> None:
    """List the recipes: what each is, how long it takes, what comes out."""
    for name in recipe_names():
        lines = (recipes_folder() / f"{name}.yaml").read_text().splitlines()
        head = [line.lstrip("# ").rstrip() for line in lines if line.startswith("#")]
        print(f"\n{name}\n  {head[0]}")
        for line in head[1:]:
            if line.startswith(("Time:", "Result:")):
                print(f"  {line}")
    print("\nStart one with: lightning-gans fit --config NAME")


def recipe_names() -> list[str]:
    """Return the names of all recipes that ``fit --config`` finds, such as ``dcgan/mnist``."""
    folder = recipes_folder()
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return sorted(name for name in names if not name.startswith("tables/"))


def find_config(given: str) -> tuple[str, str | None]:
    """Return the path of a configuration, and the recipe's name if it is one.

    Raises:
        FileNotFoundError: If it is neither a file nor a recipe; the message names the nearest recipes.
    """
    if given.lstrip().startswith("{"):
        return given, None
    if Path(given).is_file():
        path, folder = Path(given).resolve(), recipes_folder().resolve()
        return given, path.relative_to(folder).with_suffix("").as_posix() if folder in path.parents else None
    name = given.removesuffix(".yaml").removeprefix("recipes/")
    if name in recipe_names():
        return str(recipes_folder() / f"{name}.yaml"), name
    near = difflib.get_close_matches(name, recipe_names(), n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(recipe_names())}"
    raise FileNotFoundError(f"--config {given} is neither a file nor a recipe: {hint}")
