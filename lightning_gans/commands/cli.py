"""The command ``lightning-gans``: Lightning's own CLI, recipes by name, ``sample`` and ``recipes``."""

import difflib
import importlib
import inspect
import json
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

RUNS = Path("runs")


def recipes_folder() -> Path:
    """Return the folder of the recipes: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


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
    if Path(given).is_file():
        path, folder = Path(given).resolve(), recipes_folder().resolve()
        return given, path.relative_to(folder).with_suffix("").as_posix() if folder in path.parents else None
    name = given.removesuffix(".yaml").removeprefix("recipes/")
    if name in recipe_names():
        return str(recipes_folder() / f"{name}.yaml"), name
    if given.lstrip().startswith("{"):
        return given, None
    near = difflib.get_close_matches(name, recipe_names(), n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(recipe_names())}"
    raise FileNotFoundError(f"--config {given} is neither a file nor a recipe: {hint}")


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


def sample(
    ckpt_path: str,
    out: str = "samples.png",
    n: int = 64,
    seed: int = 0,
    weights: Literal["ema", "raw"] = "ema",
    columns: int = 8,
) -> None:
    """Draw samples from a trained generator.

    Args:
        ckpt_path: The checkpoint.
        out: Where to: a ``.png`` (one grid; a scatter plot for 2-D data), an ``.npz`` (``arr_0``: uint8
            images (n, height, width, channels), or float32 vectors (n, d)), or a folder (a PNG a sample).
        n: How many.
        seed: The same seed gives the same samples.
        weights: Averaged weights, if the checkpoint has some, or those of the last update.
        columns: Columns of the grid.

    Raises:
        ValueError: If an argument is out of range, vectors are to be written as single pictures, or a sample
            is not finite.
    """
    if n < 1:
        raise ValueError(f"n={n}: give the number of samples, 1 or more")
    path = Path(out)
    if path.suffix not in ("", ".png", ".npz"):
        raise ValueError(f"out={out}: give a .png, an .npz or a folder")
    import numpy as np

    from lightning_gans import load
    from lightning_gans.drawing.pictures import Scatter, as_stored, image_grid
    from lightning_gans.game.latent_game import LatentGame

    game = load(ckpt_path)
    if not isinstance(game, LatentGame):
        raise ValueError(f"ckpt_path={ckpt_path}: a {type(game).__name__} has no latent to sample from")
    images = game.sample(n, ema=weights == "ema", seed=seed)
    stored = as_stored(images)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        array = stored if stored.ndim == 2 else stored.permute(0, 2, 3, 1)
        np.savez_compressed(path, arr_0=array.numpy())
    elif path.suffix == ".png":
        vectors = images.ndim == 2
        picture = (
            Scatter(images, real=False).draw(images, f"{n} samples")
            if vectors
            else image_grid(images, columns)
        )
        picture.save(path)
    elif images.ndim == 2:
        raise ValueError(f"out={out}: vectors are no pictures, give a .png (scatter plot) or an .npz")
    else:
        from torchvision.io import write_png

        path.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(stored):
            write_png(image, str(path / f"{i:06d}.png"))
    print(f"{n} samples: {out}")


def prepare(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Replace recipe names by paths, and put what a checkpoint stores before what the user gave.

    The command line then wins over the checkpoint, key by key, as a later ``--config`` wins over an earlier.

    Returns:
        The arguments for Lightning's CLI, and the name of the recipe if there is one.
    """
    prepared: list[str] = []
    recipe = ckpt = None
    position = 0
    while position < len(arguments):
        flag, equals, value = arguments[position].partition("=")
        if flag in ("--config", "-c", "--ckpt_path"):
            if not equals:
                position += 1
                if position == len(arguments):
                    raise ValueError(f"{flag} needs a value")
                value = arguments[position]
            if flag == "--ckpt_path":
                ckpt = value
            else:
                value, name = find_config(value)
                recipe = name or recipe
                flag = "--config"
            prepared.append(f"{flag}={value}")
        else:
            prepared.append(arguments[position])
        position += 1
    if ckpt in ("last", "best"):
        raise ValueError(f"--ckpt_path {ckpt}: a run starts in a new folder, give the path of the checkpoint")
    if ckpt not in (None, "hpc", "null"):
        assert ckpt is not None
        configured = any(argument.startswith("--config=") for argument in prepared)
        prepared.insert(1, f"--config={_stored_config(ckpt, configured)}")
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


LINKED = ("image_shape", "num_classes")
"""Arguments of a game that follow from the data."""


def _as_class(stored: dict[str, Any]) -> dict[str, Any]:
    hidden = {
        name: value for name, value in stored.items() if not name.startswith("_") and name not in LINKED
    }
    return {"class_path": stored["_class_path"], "init_args": _as_yaml(hidden)}


def _as_yaml(plain: Any) -> Any:
    # The parser knows from the types what is a factory.
    if isinstance(plain, dict):
        return {key: _as_yaml(value) for key, value in plain.items() if key != "partial"}
    return [_as_yaml(value) for value in plain] if isinstance(plain, list) else plain


class OneLine:
    """Parsers whose complaints are exceptions of one line."""

    _option_string_actions: dict[str, Any]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong with the arguments."""
        raise ValueError(explain(message, list(self._option_string_actions))) from ex


def add_arguments(parser: Any, name: str | None = None) -> None:
    """Add what ``fit`` has besides model, data and trainer; ``name`` is the run's unless it is given."""
    # So that their classes are found by name.
    from lightning_gans.callbacks import Checkpoint, SampleGrid, Throughput
    from lightning_gans.game import schedulers  # noqa: F401
    from lightning_gans.metrics import classifier  # noqa: F401

    parser.add_argument("--name", type=str | None, default=name, help="The run goes to runs/NAME/version_K.")
    parser.add_lightning_class_args(Checkpoint, "checkpoint")
    parser.add_lightning_class_args(SampleGrid, "samples")
    parser.add_lightning_class_args(Throughput, "throughput")
    for key in LINKED:
        parser.link_arguments(f"data.{key}", f"model.init_args.{key}", apply_on="instantiate")


def fit_parser() -> Any:
    """Return a parser of what ``fit`` reads, whose complaints are ValueErrors of one line."""
    from lightning.pytorch import LightningDataModule, Trainer
    from lightning.pytorch.cli import LightningArgumentParser

    from lightning_gans.game.checkpoints import SelfContained

    class Parser(OneLine, LightningArgumentParser):
        pass

    parser = Parser()
    parser.add_argument("--seed_everything", type=bool | int)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(SelfContained, "model", subclass_mode=True)
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
    add_arguments(parser)
    return parser


def fit_or_score(arguments: Sequence[str]) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict`` through Lightning's CLI."""
    prepared, recipe = prepare(arguments)

    from lightning.pytorch import LightningDataModule, Trainer
    from lightning.pytorch.callbacks import Callback, ProgressBar, TQDMProgressBar
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.loggers import CSVLogger, Logger

    from lightning_gans.callbacks import Checkpoint, Evaluate, SampleGrid
    from lightning_gans.callbacks.evaluate import check_names
    from lightning_gans.game.checkpoints import SelfContained
    from lightning_gans.networks.rebuild import class_path

    for harmless in (
        ".*treespec.*",  # Lightning on torch's newer pytrees
        ".*is smaller than the logging interval.*",  # counts batches; we count updates
        ".*module\\(s\\) in eval mode at the start of training.*",  # averaged weights
        ".*does not have many workers.*",  # the in-memory loader needs none
        ".*across ranks is zero.*",
        ".*lr_scheduler.step.* before .*optimizer.step.*",  # an epoch in which a player never moved
    ):
        warnings.filterwarnings("ignore", harmless)

    class Parser(OneLine, LightningArgumentParser):
        pass

    class CLI(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            add_arguments(parser, recipe)

        def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
            self.config = parser.parse_args(args)  # without Lightning's warning about calls from Python

        def _parse_ckpt_path(self) -> None:
            # Lightning's own lets the checkpoint win over the command line, silently. See prepare().
            config = self.config[self.config.subcommand]
            for key in LINKED:
                if config.model.init_args.get(key) is not None:
                    raise ValueError(f"model.{key} follows from the data: leave it out, or change data")
            ckpt = config.get("ckpt_path")
            if ckpt and Path(ckpt).is_file():
                from lightning_gans.game.checkpoints import read_checkpoint

                stored = read_checkpoint(ckpt)["hyper_parameters"]["_class_path"]
                module, _, name = config.model.class_path.rpartition(".")
                given = class_path(getattr(importlib.import_module(module), name))
                if stored != given:
                    raise ValueError(
                        f"--ckpt_path {ckpt} is a checkpoint of {stored}, but the model is {given}"
                    )

        def instantiate_trainer(self, **kwargs: Any) -> Trainer:
            config = self._get(self.config_init, "trainer")
            fitting = self.subcommand == "fit"
            given: list[Logger] = [x for x in _as_list(config["logger"]) if isinstance(x, Logger)]
            if not fitting:
                self.save_config_callback = None
                kwargs["logger"] = given or False
            elif config["logger"] is not False and not config["fast_dev_run"]:
                name = self._get(self.config, "name") or type(self.model).__name__.lower()
                kwargs["logger"] = [
                    CSVLogger(Path(config["default_root_dir"] or ".") / RUNS, name=name),
                    *given,
                ]
            callbacks = list(_as_list(config["callbacks"]))
            wanted = config["enable_progress_bar"] is not False and not config["barebones"]
            if fitting and wanted and not any(isinstance(c, ProgressBar) for c in callbacks):
                callbacks.append(TQDMProgressBar(refresh_rate=20))
            kwargs["callbacks"] = callbacks
            return super().instantiate_trainer(**kwargs)

        def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
            if self.subcommand != "fit":
                callbacks = [c for c in callbacks if isinstance(c, Evaluate)]
            if config["enable_checkpointing"] is False:
                callbacks = [c for c in callbacks if not isinstance(c, Checkpoint)]
            if not hasattr(self.model, "sample"):  # games from images to images, classifiers
                callbacks = [c for c in callbacks if not isinstance(c, SampleGrid)]
            check_names([*_as_list(config["callbacks"]), *callbacks])
            return super()._instantiate_trainer(config, callbacks)

        def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
            # A checkpoint is data: no code in it is run.
            return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

        def after_fit(self) -> None:
            folder = self.trainer.log_dir or self.trainer.default_root_dir  # asks all ranks
            if self.trainer.is_global_zero:
                print(f"The run is in {folder}")

    CLI(
        SelfContained,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        parser_class=Parser,
        parser_kwargs={"default_env": True},
        args=prepared,
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value in (None, True, False) else [value]


NOISE = re.compile(
    r"Expected a <class 'NoneType'>|Does not validate against|Subtypes:|Errors:|Given value"
    r"|Expected a path but|is not a subclass of|Expected an? <class 'function'>|Expected a callable"
)


def explain(message: str, options: Sequence[str] = ()) -> str:
    """Shorten a parser's message to the line that matters, and add the nearest names to an unknown one.

    Args:
        message: What the parser said: often a tree of all the types that a value could have had.
        options: The options that the command has.
    """
    key = re.search(r'Parser key "([^"]+)"', message)
    lines = [re.sub(r'^\s*(- )?(Parser key "[^"]+":)?\s*(- )?', "", line) for line in message.splitlines()]
    telling = [line for line in lines if line and not NOISE.search(line)]
    text = re.sub(r"\s+", " ", telling[0] if telling else message)
    for pattern, names in (
        (r"Option '([^']+)' is not accepted", _argument_names),
        (r"unrecognized arguments: (--[^ =]+)", lambda: list(options)),
        (r"dot import path string: (\S+)", _class_names),
    ):
        unknown = re.search(pattern, text)
        if unknown:
            near = difflib.get_close_matches(unknown[1], names(), n=2, cutoff=0.6)
            text = f"{unknown[1]} is unknown" + (f": did you mean {' or '.join(near)}?" if near else "")
            break
    return f"{key[1]}: {text}" if key and key[1] not in text else text


def _known_classes() -> list[type]:
    from lightning_gans import (
        anchors,
        callbacks,
        classifier,
        data,
        latents,
        models,
        networks,
        optimizers,
        schedulers,
        threshold,
    )

    modules = [models, data, networks, callbacks, latents, optimizers, classifier]
    modules += [anchors, schedulers, threshold]
    values = [value for module in modules for value in vars(module).values()]
    return [value for value in values if isinstance(value, type) and not issubclass(value, Exception)]


def _class_names() -> list[str]:
    return sorted({known.__name__ for known in _known_classes()})


def _argument_names() -> list[str]:
    parents = {
        parent
        for known in _known_classes()
        for parent in known.__mro__
        if parent.__module__.startswith("lightning")
    }
    return sorted({name for parent in parents for name in inspect.signature(parent).parameters})


FUNCTIONS = {
    "sample": "lightning_gans.commands.cli.sample",
    "preview": "lightning_gans.commands.preview.preview",
    "dedup": "lightning_gans.commands.dedup.dedup",
    "evaluate": "lightning_gans.commands.evaluate.evaluate",
    "fitting-capacity": "lightning_gans.metrics.fitting_capacity.score_checkpoint",
}
"""Commands that are functions: their arguments are the options, their docstrings the help."""


def call(path: str, arguments: Sequence[str]) -> None:
    """Run a function with arguments from the command line."""
    import jsonargparse

    class Parser(OneLine, jsonargparse.ArgumentParser):
        pass

    importlib.import_module("lightning_gans.metrics.classifier")  # known by its short name from then on
    module, _, name = path.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    jsonargparse.auto_cli(function, args=list(arguments), as_positional=False, parser_class=Parser)


COMMANDS = {
    "fit": "train; stored in runs/RECIPE/version_K",
    "validate": "losses on the validation data, and the scores of Evaluate",
    "test": "losses on the test data, and the scores of Evaluate",
    "predict": "generate through Lightning's predict loop",
    "sample": "draw samples from a checkpoint into a picture, an .npz or a folder",
    "evaluate": "score a checkpoint, a folder of images or an npz: FID, IS, KID, ...",
    "preview": "look at a data set: a labelled contact sheet, counts, classes, images a second",
    "dedup": "find near-duplicate images by semantic hashing, as the DCGAN paper did",
    "fitting-capacity": "train classifiers on generated images, test them on real ones",
    "reproduce": "fill a paper's table: published figures beside measured ones",
    "recipes": "list the recipes",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; on bad input, print one line and exit with 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    command = given[0] if given else "--help"
    if command in ("-h", "--help"):
        print("usage: lightning-gans COMMAND [--config RECIPE] [options]\n\ncommands:")
        for name, text in COMMANDS.items():
            print(f"  {name:18}{text}")
        print("\nlightning-gans COMMAND --help shows the options; --debug shows tracebacks.")
        return
    try:
        if command not in COMMANDS:
            near = difflib.get_close_matches(command, COMMANDS, n=1)
            raise ValueError(
                f"unknown command {command}: " + (f"did you mean {near[0]}?" if near else "try --help")
            )
        if command == "recipes":
            recipes()
        elif command in FUNCTIONS:
            call(FUNCTIONS[command], given[1:])
        elif command == "reproduce":
            from lightning_gans.commands.reproduce import command as run_table

            run_table(given[1:])
        else:
            fit_or_score(given)
    except Exception as error:
        expected = (ValueError, TypeError, OSError, ArithmeticError, LookupError)
        # Lightning's MisconfigurationException derives from nothing narrower.
        if debug or not (isinstance(error, expected) or type(error).__name__ == "MisconfigurationException"):
            raise
        print(f"lightning-gans: {explain(str(error)) or type(error).__name__}", file=sys.stderr)
        sys.exit(2)
