"""What loggers are shown beside numbers: TensorBoard and W&B take pictures, animations and tables."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image


def show_picture(trainer: Trainer, name: str, picture: Image.Image, update: int) -> None:
    """Show a picture."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            pixels = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image(name, pixels, update, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [picture], step=update)


def show_animation(trainer: Trainer, name: str, gif: Path, update: int) -> None:
    """Show a GIF, as it is."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            from tensorboard.compat.proto.summary_pb2 import Summary

            # add_video needs the package moviepy; TensorBoard's page plays the bytes of a GIF as a picture.
            with Image.open(gif) as first:
                width, height = first.size
            image = Summary.Image(width=width, height=height, encoded_image_string=gif.read_bytes())
            logger.experiment.file_writer.add_summary(Summary(value=[{"tag": name, "image": image}]), update)
        elif isinstance(logger, WandbLogger):
            logger.log_video(name, [str(gif)], step=update, format=["gif"])


def show_table(trainer: Trainer, name: str, rows: Sequence[Mapping[str, Any]], update: int) -> None:
    """Show rows of JSON values as a table; lists in it become text, and what a row lacks is left empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    for logger in trainer.loggers if rows else ():
        if isinstance(logger, TensorBoardLogger):
            lines = [
                columns,
                ["---"] * len(columns),
                *([f"{x}" if x is not None else "" for x in row] for row in cells),
            ]
            logger.experiment.add_text(name, "\n".join(f"| {' | '.join(line)} |" for line in lines), update)
        elif isinstance(logger, WandbLogger):
            logger.log_table(name, columns, cells, step=update)


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


@contextmanager
def failure_is_a_warning(what: str) -> Iterator[None]:
    """Turn an exception into a warning that names ``what`` and the reason."""
    try:
        yield
    except Exception as error:
        warnings.warn(f"{what} failed, and the run goes on: {type(error).__name__}: {error}", stacklevel=3)
