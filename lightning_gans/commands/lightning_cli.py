"""Lightning's CLI as ``fit``, ``validate``, ``test`` and ``predict`` use it."""

import importlib
import inspect
import sys
import warnings
from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import add_instantiator
from jsonargparse._common import NonParsingAction
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

# The packages whose classes are found by their short names.
import lightning_gans.data
import lightning_gans.game.schedulers
import lightning_gans.metrics.classifier
import lightning_gans.models  # noqa: F401
from lightning_gans.callbacks import Checkpoint, SampleGrid, Throughput
from lightning_gans.callbacks.evaluate import check_names
from lightning_gans.commands.parsing import LINKED, TRUSTED, OneLine
from lightning_gans.game.checkpoints import SelfContained, read_checkpoint, same_class
from lightning_gans.game.csv_logger import WholeCSVLogger
from lightning_gans.game.interruption import Interrupted
from lightning_gans.networks.rebuild import class_path

RUNS = Path("runs")

# Where a network is asked for, arguments without a class are those of the paper's: the game makes it.
add_instantiator(lambda _, **changes: changes, nn.Module, subclasses=False)

HARMLESS = (
    ".*treespec.*",  # of Lightning, about newer versions of torch
    ".*is smaller than the logging interval.*",  # it counts batches; here updates are counted
    ".*module\\(s\\) in eval mode at the start of training.*",  # averaged weights
    ".*does not have many workers.*",  # the in-memory loader needs none
    ".*across ranks is zero.*",
    ".*lr_scheduler.step.* before .*optimizer.step.*",  # an epoch in which a player was never updated
)
"""Warnings that say nothing to a user of games."""
MISSING = ".*callbacks used to create the checkpoint need to be provided.*"
"""So is this one, where the run's pictures and checkpoints are left out."""


class Parser(OneLine, LightningArgumentParser):
    """Lightning's parser, which raises one-line ValueErrors in place of exiting."""


def add_arguments(parser: LightningArgumentParser, name: str | None = None) -> None:
    """Add the options of ``fit`` besides model, data and trainer; ``name`` is the default of ``--name``."""
    parser.add_argument("--name", type=str | None, default=name, help="The run goes to runs/NAME/version_K.")
    parser.add_lightning_class_args(Checkpoint, "checkpoint")
    parser.add_lightning_class_args(SampleGrid, "samples")
    parser.add_lightning_class_args(Throughput, "throughput")
    for key in LINKED:
        parser.link_arguments(f"data.{key}", f"model.init_args.{key}", apply_on="instantiate")


def fit_parser() -> Parser:
    """Return a parser of the configuration of ``fit``."""
    parser = Parser()
    parser.add_argument("--seed_everything", type=bool | int)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(SelfContained, "model", subclass_mode=True)
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
    add_arguments(parser)
    return parser


class CLI(LightningCLI):
    """Parse the arguments of a command, build model, data and trainer, and run it.

    Args:
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        arguments: Its arguments, prepared by :func:`lightning_gans.commands.fit.prepare`.
        recipe: The name of the recipe if there is one.
    """

    def __init__(self, command: str, arguments: Sequence[str], recipe: str | None = None) -> None:
        for message in (*HARMLESS, *([] if command == "fit" else [MISSING])):
            warnings.filterwarnings("ignore", message)
        self.command, self.recipe = command, recipe
        super().__init__(
            SelfContained,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_class=Parser,
            parser_kwargs={"default_env": True},
            args=[command, *arguments],
        )

    # A static method, which builds the parsers of all four.
    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return only the command that runs, so that only its parser is built."""
        return {self.command: LightningCLI.subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of this package."""
        add_arguments(parser, self.recipe)
        # For the help: it is taken out of the arguments before they are parsed, and never from a file.
        parser.add_argument("--trusted", action=_Trusted, metavar="MODULE", help=TRUSTED)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, without Lightning's warning about calls from Python."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        # Lightning's method lets the checkpoint override the command line without a word. See prepare().
        config = self.config[self.command]
        ckpt = config.get("ckpt_path")
        if ckpt and Path(ckpt).is_file():
            stored = read_checkpoint(ckpt)["hyper_parameters"]["_class_path"]
            module, _, name = config.model.class_path.rpartition(".")
            model = getattr(importlib.import_module(module), name)
            if not same_class(stored, model):
                raise ValueError(
                    f"--ckpt_path {ckpt} is a checkpoint of {stored}, but the model is {class_path(model)}"
                )

    def instantiate_classes(self) -> None:
        """Build models by :meth:`_build_model`, which checks the arguments that follow from the data."""
        build = (self._build_model, SelfContained, True)
        self.config_init = self.parser.instantiate(self.config, instantiators=[build])
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        self.trainer = self.instantiate_trainer()

    def _build_model(
        self, model: type[SelfContained], applied_instantiation_links: dict[str, Any], **arguments: Any
    ) -> SelfContained:
        config = self.config[self.command]
        for key in LINKED:
            typed = config.model.get(f"init_args.{key}")
            typed = tuple(typed) if isinstance(typed, list) else typed
            found = applied_instantiation_links.get(f"model.init_args.{key}")
            if found is None and typed is not None:
                arguments[key] = typed
            elif typed is not None and typed != found:
                raise ValueError(
                    f"model.{key}={typed} is not the data's, {found}: leave it out, it follows from the data"
                )
            parameter = inspect.signature(model).parameters.get(key)
            if parameter and parameter.default is parameter.empty and arguments.get(key) is None:
                data = config.data.class_path.rpartition(".")[2] if config.get("data") else None
                raise ValueError(
                    f"data={data} has no attribute {key} when a {model.__name__} is built from it: set it "
                    f"there, or give --model.{key}"
                )
        return model(**arguments)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer: the run's folder, its loggers, its callbacks and its progress bar."""
        config = {**self._get(self.config_init, "trainer"), **kwargs}
        given: list[Logger] = [x for x in _as_list(config["logger"]) if isinstance(x, Logger)]
        callbacks: list[Callback] = [*_as_list(config["callbacks"])]
        if self.command != "fit":
            self.save_config_callback = None
            config["logger"] = given or False
        else:
            callbacks += self._callbacks_of_each_run(config)
            bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
            if not bar and config["enable_progress_bar"] is not False and not config["barebones"]:
                callbacks.append(TQDMProgressBar(refresh_rate=20))
            if config["logger"] is False:
                self.save_config_callback = None  # without a logger the run has no folder of its own
            elif not config["fast_dev_run"]:
                name = self._get(self.config, "name") or type(self.model).__name__.lower()
                folder = Path(config["default_root_dir"] or ".") / RUNS
                config["logger"] = [WholeCSVLogger(folder, name=name), *given]
        check_names(callbacks)
        return self._instantiate_trainer({**config, "callbacks": callbacks}, [])

    def _callbacks_of_each_run(self, config: dict[str, Any]) -> list[Callback]:
        """Return the callbacks that ``fit`` adds and can use; warn of options that are set for the others."""
        unused = {}
        if config["logger"] is False:
            unused["name"] = "with trainer.logger false there is no folder of that name"
        if config["enable_checkpointing"] is False:
            unused["checkpoint"] = "trainer.enable_checkpointing is false"
        if not hasattr(self.model, "sample") and not hasattr(self.model, "translate"):
            unused["samples"] = f"a {type(self.model).__name__} has neither sample() nor translate()"
        parser = self._parser(self.command)
        for key, reason in unused.items():
            if self._get(self.config, key) != parser.get_defaults()[key]:
                rank_zero_warn(f"{key} is not used: {reason}")
        return [self._get(self.config_init, key) for key in parser.callback_keys if key not in unused]

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        # A checkpoint is data: no code in it is run.
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

    def fit(self, **arguments: Any) -> None:
        """Train; if a signal ends the run, print the command that resumes it."""
        if isinstance(self.trainer.strategy.launcher, _MultiProcessingLauncher):
            # This process must choose the run's folder: it would not know one that its child processes chose.
            _ = self.trainer.log_dir
        try:
            self.trainer.fit(**arguments)
        except Interrupted as stop:
            if stop.checkpoint and self.trainer.is_global_zero:
                print(f"Go on with: lightning-gans fit --ckpt_path {stop.checkpoint}", file=sys.stderr)
            raise

    def after_fit(self) -> None:
        """Print the folder of the run."""
        folder = self.trainer.log_dir or self.trainer.default_root_dir  # all ranks must call this
        if self.trainer.is_global_zero:
            print(f"The run is in {folder}")


class _Trusted(NonParsingAction):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "dest": SUPPRESS, "default": SUPPRESS})

    def __call__(self, *_: Any) -> None:
        raise NotImplementedError


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value in (None, True, False) else [value]
