"""Lightning's CLI as ``fit``, ``validate`` and ``test`` use it."""

import inspect
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name
from shlex import quote
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from lightning_gans.callbacks.checkpoint import is_finished
from lightning_gans.callbacks.evaluate import Evaluate
from lightning_gans.callbacks.pictures import Pictures
from lightning_gans.callbacks.scoring import check_names
from lightning_gans.commands.end_of_fit import last_lines
from lightning_gans.commands.fit_parser import OF_EACH_RUN, Parser, add_arguments, as_list
from lightning_gans.commands.limits import limit, refuse_at_its_end
from lightning_gans.commands.loggers import in_run, log_in, with_table
from lightning_gans.commands.parsing import LINKED, TRUSTED
from lightning_gans.commands.run_folder import RUNS, claim, give_back, note_job, run_name, saved_by_job
from lightning_gans.commands.stored import check_class, to_repeat
from lightning_gans.game.checkpoints import SelfContained
from lightning_gans.game.interruption import Interrupted
from lightning_gans.game.monitors import unlogged
from lightning_gans.game.run_settings import log_settings

HARMLESS = (
    ".*treespec.*",  # of Lightning, about newer versions of torch
    ".*is smaller than the logging interval.*",  # it counts batches; here updates are counted
    ".*module\\(s\\) in eval mode at the start of training.*",  # averaged weights
    ".*does not have many workers.*",  # the in-memory loader needs none
    ".*across ranks is zero.*",
    ".*no pre-optimization state was saved.*",  # which a game has none of
    ".*lr_scheduler.step.* before .*optimizer.step.*",  # an epoch in which a player was never updated
)
"""Warnings that say nothing to a user of games."""
MISSING = ".*callbacks used to create the checkpoint need to be provided.*"
"""So is this one, where the run's pictures and checkpoints are left out."""


class CLI(LightningCLI):
    """Parse the arguments of a command, build model, data and trainer, and run it.

    Args:
        command: ``fit``, ``validate`` or ``test``.
        arguments: Its arguments, prepared by :func:`lightning_gans.commands.fit.prepare`.
        recipe: The name of the recipe if there is one.
        check: Raises an exception if the settings, parsed, are not to be used.
    """

    def __init__(
        self,
        command: str,
        arguments: Sequence[str],
        recipe: str | None = None,
        check: Callable[[Namespace], None] = lambda _: None,
    ) -> None:
        for message in (*HARMLESS, *([] if command == "fit" else [MISSING])):
            warnings.filterwarnings("ignore", message)
        self.command, self.arguments, self.recipe, self.check = command, arguments, recipe, check
        self.folder: Path | None = None  # of the run; other ranks than the first do not know it
        try:
            super().__init__(
                SelfContained,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                seed_everything_default=0,
                auto_configure_optimizers=False,
                parser_class=Parser,
                parser_kwargs={"prog": "lightning-gans", "usage": "%(prog)s"},
                args=[command, *arguments],
            )
        except BaseException:
            self._give_back()
            raise

    # A static method, which builds the parsers of all its commands.
    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return only the command that runs, so that only its parser is built."""
        return {self.command: LightningCLI.subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of this package."""
        add_arguments(parser, self.recipe)
        # No option of the parser: it is taken out of the arguments before, and never from a file.
        parser.epilog = f"--trusted MODULE: {TRUSTED}"

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, without Lightning's warning about calls from Python."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        # Lightning's method lets the checkpoint override the command line without a word. See prepare().
        config = self.config[self.command]
        ckpt = config.get("ckpt_path")
        if ckpt and Path(ckpt).is_file():
            check_class(ckpt, resolve_name(config.model.class_path), self.command)

    def before_instantiate_classes(self) -> None:
        """Check what needs no model, and claim the run's folder; what is built from here on may take long."""
        config = self.config[self.command]
        self.check(config)
        trainer = config.trainer
        if isinstance(trainer.logger, list):  # of a run that goes on, loggers/wandb may be there already
            trainer.logger = [x for i, x in enumerate(trainer.logger) if x not in trainer.logger[:i]]
        for logger in as_list(trainer.logger):
            if not trainer.fast_dev_run:
                log_in(
                    resolve_name(logger.class_path),
                    {**logger.get("init_args", {}), **logger.get("dict_kwargs", {})},
                )
        if self.command != "fit" or trainer.fast_dev_run:
            return
        if trainer.max_steps in (None, -1) and trainer.max_epochs is None and trainer.max_time is None:
            limit(trainer, resolve_name(config.model.class_path))
        if config.ckpt_path and is_finished(config.ckpt_path):
            refuse_at_its_end(config.ckpt_path, trainer)
        if not trainer.barebones:
            classes = {key: config[key].class_path for key in ("model", "data") if config.get(key)}
            config.name = run_name(config.name, classes, self.arguments)
            if last := saved_by_job(self._root(), config.name, self.arguments):
                if is_finished(last):
                    rank_zero_info(f"This job's run has reached its end: {last.parents[1]}")
                    sys.exit()
                config.ckpt_path = str(last)
            if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
                self.folder = claim(self._root(), config.name)
                note_job(self.folder, self.arguments)

    def instantiate_classes(self) -> None:
        """Build models by :meth:`_build_model`, which checks the arguments that follow from the data."""
        build = [(self._build_model, SelfContained, True), (self._build_logger, Logger, True)]
        self.config_init = self.parser.instantiate(self.config, instantiators=build)
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        self.trainer = self.instantiate_trainer()

    def _root(self) -> Path:
        return Path(self._get(self.config, "trainer").default_root_dir or ".")

    def _give_back(self) -> None:
        if self.folder is not None:
            give_back(self.folder, self._root())

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
                pairs = ", or use data of pairs: PairedImages, UnpairedImages" if key == "input_shape" else ""
                raise ValueError(
                    f"data={data} has no attribute {key} when a {model.__name__} is built from it: set it "
                    f"there, or give --model.{key}{pairs}"
                )
        return model(**arguments)

    def _build_logger(self, kind: type[Logger], **arguments: Any) -> Logger:
        name = self._get(self.config, "name") if self.folder else self.command
        version = self.folder.name if self.folder else None
        return kind(**in_run(kind, arguments, self._root() / RUNS, name, version))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer: the run's folder, its loggers, its callbacks and its progress bar."""
        config = {**self._get(self.config_init, "trainer"), **kwargs}
        given: list[Logger] = [x for x in as_list(config["logger"]) if isinstance(x, Logger)]
        callbacks: list[Callback] = [*as_list(config["callbacks"])]
        if self.command != "fit":
            self.save_config_callback = None
            config["logger"] = given or False
        else:
            callbacks += self._callbacks_of_each_run(config)
            saves = any(isinstance(callback, ModelCheckpoint) for callback in callbacks)
            if not saves and config["enable_checkpointing"] is None:
                config["enable_checkpointing"] = False  # else Lightning adds a callback of its own
            if config["barebones"]:
                self.save_config_callback = None
                config["log_every_n_steps"] = None  # which a recipe may set, and Lightning would refuse
                callbacks = [x for x in callbacks if not isinstance(x, Pictures | Evaluate | ModelCheckpoint)]
            elif not config["fast_dev_run"]:
                runs, name = self._root() / RUNS, self._get(self.config, "name")
                version = self.folder.name if self.folder else None
                # Lightning looks there for checkpoints of SLURM jobs, and would take those of other runs.
                config["default_root_dir"] = runs / name / (version or "unknown")
                if config["logger"] is not False:
                    config["logger"] = with_table(given, runs, name, version)
                self.model.run_settings = self._settings(f"{name}/{version or 'unknown'}")
        check_names(callbacks)
        try:
            trainer = self._instantiate_trainer({**config, "callbacks": callbacks}, [])
        except RuntimeError as error:  # of Lightning, about the size of a SLURM job
            raise ValueError(str(error).strip()) from error
        if self.command != "fit":  # which tells its loggers when it starts
            log_settings(trainer, self.model, self.datamodule, self._settings(self.command))
        if not trainer.is_global_zero:  # some launchers tell only Lightning
            self._give_back()
        return trainer

    def _settings(self, run: str) -> dict[str, Any]:
        """Return what the loggers are told beside model and data."""
        parser, config = self._parser(self.command), self.config[self.command]
        plain = yaml.safe_load(parser.dump(config, skip_validation=True))
        keys = ("ckpt_path", "trainer", *OF_EACH_RUN)
        return {"recipe": self.recipe, "run": run, **{key: plain.get(key) for key in keys}}

    def _callbacks_of_each_run(self, config: dict[str, Any]) -> list[Callback]:
        """Return the callbacks that ``fit`` adds and can use; warn of options that are set for the others."""
        unused = {}
        if config["enable_checkpointing"] is False:
            unused["checkpoint"] = "trainer.enable_checkpointing is false"
        if not hasattr(self.model, "sample") and not hasattr(self.model, "translate"):
            unused["samples"] = f"a {type(self.model).__name__} has neither sample() nor translate()"
        if config["barebones"]:
            unused = dict.fromkeys(("name", *OF_EACH_RUN), "trainer.barebones is true")
        defaults = self._parser(self.command).get_defaults()
        for key, reason in unused.items():
            default = self.recipe if key == "name" else defaults[key].init_args
            if self._get(self.config, key) not in (default, False, None):
                rank_zero_warn(f"{key} is not used: {reason}")
        given = {key: self._get(self.config_init, key) for key in OF_EACH_RUN if key not in unused}
        return [OF_EACH_RUN[key]() if value is True else value for key, value in given.items() if value]

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        # A checkpoint is data: no code in it is run.
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

    def fit(self, **arguments: Any) -> None:
        """Train; if a signal ends the run, print the command that resumes it."""
        try:
            self.trainer.fit(**arguments)
        except Interrupted as stop:
            if stop.checkpoint and self.trainer.is_global_zero:
                options = f"--ckpt_path {quote(str(stop.checkpoint))}"
                options += to_repeat(self.config[self.command].as_dict())
                print(f"Go on with: lightning-gans fit {options}", file=sys.stderr)
            raise
        except RuntimeError as error:
            for callback, line in unlogged(self.trainer).items():
                if isinstance(callback, EarlyStopping) and f"`{callback.monitor}` which is not" in str(error):
                    raise ValueError(line) from error
            raise

    def after_fit(self) -> None:
        """Print where the run is, its scores, and what to do with it."""
        if self.trainer.is_global_zero and self.folder is not None:
            settings = self.config[self.command].as_dict()
            print(*last_lines(self.trainer, self.model, self.folder, settings), sep="\n")
