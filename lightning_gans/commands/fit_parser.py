"""The parser of ``fit``, ``validate`` and ``test``: Lightning's, with the options of this package."""

from typing import Any

from jsonargparse import add_instantiator, set_parsing_settings
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn

# The packages whose classes are found by their short names.
import lightning_gans.data
import lightning_gans.game.schedulers
import lightning_gans.metrics.classifier
import lightning_gans.metrics.segmenter
import lightning_gans.models  # noqa: F401
from lightning_gans.callbacks import Checkpoint, SampleGrid, Throughput
from lightning_gans.commands.parsing import EACH_RUN, LINKED, OneLine
from lightning_gans.commands.run_folder import RUNS
from lightning_gans.game.checkpoints import SelfContained

OF_EACH_RUN = dict(zip(EACH_RUN, (Checkpoint, SampleGrid, Throughput), strict=True))
"""The callbacks that ``fit`` adds, by the option that sets one or, if it is false, leaves it out."""


def _needs_no_class_path(cls: Any) -> bool:
    return cls in OF_EACH_RUN.values()


# By a function: of classes the parser would ask whether list[int] is one, which Python 3.10 refuses.
set_parsing_settings(subclasses_disabled=[_needs_no_class_path])


def _arguments(class_type: type[Any], *args: Any, **kwargs: Any) -> Any:
    return kwargs


# Arguments without a class, where a network is asked for, are those of the paper's: the game makes it.
add_instantiator(_arguments, nn.Module, subclasses=False)


class Parser(OneLine, LightningArgumentParser):
    """Lightning's parser, which raises one-line ValueErrors in place of exiting."""

    def add_class_arguments(self, theclass: type, nested_key: str | None = None, **kwargs: Any) -> Any:
        """Add the arguments of a class; the folder of a logger need not be given."""
        added = super().add_class_arguments(theclass, nested_key, **kwargs)
        if issubclass(theclass, CSVLogger | TensorBoardLogger):
            key = f"{nested_key}.save_dir" if nested_key else "save_dir"
            self.set_defaults({key: str(RUNS)})
            self._option_string_actions[f"--{key}"].required = False  # for the help
        return added


def add_arguments(parser: LightningArgumentParser, name: str | None = None) -> None:
    """Add the options of ``fit`` besides model, data and trainer; ``name`` is the default of ``--name``."""
    parser.add_argument("--name", type=str | None, default=name, help="The run goes to runs/NAME/version_K.")
    for key, callback in OF_EACH_RUN.items():
        what = f"--{key}.help lists its settings; false: without."
        parser.add_argument(f"--{key}", type=callback | bool | None, default={}, help=what)
    for key in LINKED:
        parser.link_arguments(f"data.{key}", f"model.init_args.{key}", apply_on="instantiate")


def parser_of_fit() -> Parser:
    """Return a parser of the configuration of ``fit``."""
    parser = Parser()
    parser.add_argument("--seed_everything", type=bool | int)
    parser.add_lightning_class_args(Trainer, "trainer")
    parser.add_lightning_class_args(SelfContained, "model", subclass_mode=True)
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
    add_arguments(parser)
    return parser


def as_list(value: Any) -> list[Any]:
    """Return what a setting of the trainer holds: a list, a single thing, or none."""
    return value if isinstance(value, list) else [] if value in (None, True, False) else [value]
