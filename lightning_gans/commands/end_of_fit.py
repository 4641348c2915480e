"""What ``fit`` prints at its end: where the run is, its scores, and the commands that one types next."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from shlex import quote
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from lightning_gans.commands.stored import to_repeat
from lightning_gans.game.checkpoints import checkpoint_file
from lightning_gans.game.rows import latest_scores


def last_lines(
    trainer: Trainer, model: LightningModule, folder: Path, config: dict[str, Any]
) -> Iterator[str]:
    """Yield a line each: the folder, the last scores, the commands to sample, to evaluate and to go on.

    Commands are left out where the model has no samples, or the run no checkpoint.

    Args:
        trainer: That of the run.
        model: What it has trained.
        folder: Of the run.
        config: The settings of ``fit``.
    """
    yield f"The run is in {folder}"
    if scores := latest_scores(trainer):
        yield f"Its last scores: {', '.join(f'{name} {score:.4g}' for name, score in scores.items())}"
    try:
        checkpoint_file(str(folder))
    except FileNotFoundError:
        return
    options = f"--ckpt_path {quote(str(folder))}{to_repeat(config)}"
    samples, translates = hasattr(model, "sample_from"), hasattr(model, "translate")
    if samples:
        yield f"Sample with: lightning-gans sample {options}"
    if translates:
        yield f"Translate with: lightning-gans translate {options} --input PICTURES --output translated"
    images = (samples or translates) and len(model.image_shape) == 3  # type: ignore[arg-type]
    yield f"Evaluate with: lightning-gans {'evaluate' if images else 'validate'} {options}"
    yield _go_on(trainer, folder, options)


def _go_on(trainer: Trainer, folder: Path, options: str) -> str:
    """Return the line with the command that goes on to twice the limit at which the run ended."""
    timer = next((x for x in trainer.callbacks if isinstance(x, Timer)), None)  # type: ignore[attr-defined]
    left = None if timer is None else timer.time_remaining()
    if 0 < trainer.max_steps <= trainer.global_step:
        limit = f"max_steps {2 * trainer.max_steps}"
    elif 0 < (trainer.max_epochs or 0) <= trainer.current_epoch:
        limit = f"max_epochs {2 * (trainer.max_epochs or 0)}"
    elif timer is not None and left is not None and left <= 0:
        twice = timedelta(seconds=2 * round(timer.time_elapsed() + left))
        hours, minutes = divmod(twice.seconds // 60, 60)
        limit = f"max_time {twice.days:02}:{hours:02}:{minutes:02}:{twice.seconds % 60:02}"
    else:  # a callback, whose settings are in a list
        config = quote(str(folder / "config.yaml"))
        options = f"--config {config} {options}"
        return f"Raise in {config} what has ended it, and go on with: lightning-gans fit {options}"
    return f"Go on with: lightning-gans fit {options} --trainer.{limit}"
