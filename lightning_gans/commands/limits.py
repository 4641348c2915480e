"""The end of a run: of one that nothing limits, and of one that is resumed after it."""

from pkgutil import resolve_name
from typing import Any

from lightning.pytorch.callbacks import EarlyStopping, Timer
from lightning.pytorch.utilities import rank_zero_info

from lightning_gans.commands.fit_parser import as_list
from lightning_gans.game.adversarial import AdversarialModule
from lightning_gans.game.checkpoints import read_checkpoint

UPDATES, EPOCHS = 10_000, 10
"""The length of a run that nothing limits: of a game in generator updates, of a classifier in epochs."""


def limit(trainer: Any, model: type) -> None:
    """Give a run that nothing ends a length, and say so."""
    if issubclass(model, AdversarialModule):
        trainer.max_steps = UPDATES
        ends = f"{UPDATES:,} generator updates: set trainer.max_steps"
    else:
        trainer.max_epochs = EPOCHS
        ends = f"{EPOCHS} epochs: set trainer.max_epochs"
    rank_zero_info(f"Nothing limits this run, it ends after {ends} for another length")


def refuse_at_its_end(path: str, trainer: Any) -> None:
    """Refuse to resume a run that has nothing left to do.

    Args:
        path: Its checkpoint.
        trainer: The settings of the trainer that would go on.

    Raises:
        ValueError: If so; the message says which setting continues it.
    """
    checkpoint = read_checkpoint(path)
    progress = checkpoint["loops"]["fit_loop"]
    epochs = checkpoint["epoch"] + progress["epoch_loop.batch_progress"]["is_last_batch"]
    watched = any(issubclass(resolve_name(x.class_path), EarlyStopping) for x in as_list(trainer.callbacks))
    if watched and checkpoint["progress"]["stopped_early"]:
        raise ValueError(
            f"--ckpt_path {path}: the run was stopped early; without EarlyStopping in trainer.callbacks it "
            "goes on"
        )
    timer = Timer(trainer.max_time)
    timer.load_state_dict(checkpoint["callbacks"].get(timer.state_key, {"time_elapsed": {}}))
    left = timer.time_remaining()
    at_end = {
        "max_steps": 0 <= (trainer.max_steps or -1) <= checkpoint["global_step"],
        "max_epochs": 0 <= (-1 if trainer.max_epochs is None else trainer.max_epochs) <= epochs,
        "max_time": left is not None and left <= 0,
    }
    key = next((key for key, over in at_end.items() if over), None)
    if key:
        raise ValueError(
            f"--ckpt_path {path}: the run is at its end, trainer.{key}={trainer[key]}; "
            f"a larger --trainer.{key} continues it"
        )
