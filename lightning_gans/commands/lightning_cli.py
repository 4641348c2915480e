"""Lightning's CLI as ``fit``, ``validate``, ``test`` and ``predict`` use it."""

import importlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger

# The packages whose classes are found by their short names.
import lightning_gans.data
import lightning_gans.game.schedulers
import lightning_gans.metrics.classifier
import lightning_gans.models  # noqa: F401
from lightning_gans.callbacks import Checkpoint, Evaluate, SampleGrid, Throughput
from lightning_gans.callbacks.evaluate import check_names
from lightning_gans.commands.fit import LINKED
from lightning_gans.commands.parsing import OneLine
from lightning_gans.game.adversarial import SelfContained, read_checkpoint
from lightning_gans.networks.rebuild import class_path

RUNS = Path("runs")

HARMLESS = (
    ".*treespec.*",  # Lightning on torch's newer pytrees
    ".*is smaller than the logging interval.*",  # counts batches; we count updates
    ".*module\\(s\\) in eval mode at the start of training.*",  # averaged weights
    ".*does not have many workers.*",  # the in-memory loader needs none
    ".*across ranks is zero.*",
    ".*lr_scheduler.step.* before .*optimizer.step.*",  # an epoch in which a player was never updated
)
"""Warnings that say nothing to a user of games."""


class Parser(OneLine, LightningArgumentParser):
    """Lightning's parser, whose complaints are ValueErrors of one line."""


def add_arguments(parser: LightningArgumentParser, name: str | None = None) -> None:
    """Add what ``fit`` has besides model, data and trainer; ``name`` is the run's unless it is given."""
    parser.add_argument("--name", type=str | None, default=name, help="The run goes to runs/NAME/version_K.")
    parser.add_lightning_class_args(Checkpoint, "checkpoint")
    parser.add_lightning_class_args(SampleGrid, "samples")
    parser.add_lightning_class_args(Throughput, "throughput")
    for key in LINKED:
        parser.link_arguments(f"data.{key}", f"model.init_args.{key}", apply_on="instantiate")


def fit_parser() -> Parser:
    """Return a parser of what ``fit`` reads."""
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
        arguments: What was given to it, prepared by :func:`lightning_gans.commands.fit.prepare`.
        recipe: The name of the recipe if there is one.
    """

    def __init__(self, command: str, arguments: Sequence[str], recipe: str | None = None) -> None:
        for message in HARMLESS:
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

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static, and builds all four
        """Return the one command that is run: its parser alone is built."""
        return {self.command: LightningCLI.subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ours."""
        add_arguments(parser, self.recipe)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, without Lightning's warning about calls from Python."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        # Lightning's own lets the checkpoint win over the command line, silently. See prepare().
        config = self.config[self.command]
        for key in LINKED:
            if config.model.init_args.get(key) is not None:
                raise ValueError(f"model.{key} follows from the data: leave it out, or change data")
        ckpt = config.get("ckpt_path")
        if ckpt and Path(ckpt).is_file():
            stored = read_checkpoint(ckpt)["hyper_parameters"]["_class_path"]
            module, _, name = config.model.class_path.rpartition(".")
            given = class_path(getattr(importlib.import_module(module), name))
            if stored != given:
                raise ValueError(f"--ckpt_path {ckpt} is a checkpoint of {stored}, but the model is {given}")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer: the run's folder, its loggers and its progress bar."""
        config = self._get(self.config_init, "trainer")
        fitting = self.command == "fit"
        given: list[Logger] = [x for x in _as_list(config["logger"]) if isinstance(x, Logger)]
        if not fitting:
            self.save_config_callback = None
            kwargs["logger"] = given or False
        elif config["logger"] is not False and not config["fast_dev_run"]:
            name = self._get(self.config, "name") or type(self.model).__name__.lower()
            folder = Path(config["default_root_dir"] or ".") / RUNS
            kwargs["logger"] = [CSVLogger(folder, name=name), *given]
        callbacks = list(_as_list(config["callbacks"]))
        wanted = config["enable_progress_bar"] is not False and not config["barebones"]
        if fitting and wanted and not any(isinstance(c, ProgressBar) for c in callbacks):
            callbacks.append(TQDMProgressBar(refresh_rate=20))
        kwargs["callbacks"] = callbacks
        return super().instantiate_trainer(**kwargs)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        if self.command != "fit":
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
        """Say where the run is."""
        folder = self.trainer.log_dir or self.trainer.default_root_dir  # asks all ranks
        if self.trainer.is_global_zero:
            print(f"The run is in {folder}")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value in (None, True, False) else [value]
