"""What callbacks that draw have in common: when, where to, and the animation at the end."""

import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from PIL import Image
from torch import Tensor

from lightning_gans.drawing.pictures import save_gif


class Game(Protocol):
    """What a module must offer to be drawn as samples and scores."""

    image_shape: tuple[int, ...]
    num_classes: int | None
    device: torch.device

    def sample(
        self, n: int, labels: Tensor | None = None, ema: bool = True, seed: int | None = None
    ) -> Tensor:
        """Return ``n`` generated samples."""
        ...

    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the discriminator's score of each sample."""
        ...


class Pictures(Callback):
    """Draw a picture at the start, one every ``every_n_updates`` generator updates and one at the end.

    They go to ``<folder>/step=<update>.png`` in the run's folder, and to TensorBoard and W&B where such a
    logger is attached; ``<folder>.gif`` is the whole training, over all resumes of a run. Rank 0 draws, with
    random numbers of its own: the training stays the same, bit for bit. A subclass names its :attr:`folder`
    and writes :meth:`picture`, :meth:`prepare` or :meth:`stands_aside` if not every game can be drawn, and
    :meth:`release` if it keeps what its pictures have in common.

    Args:
        every_n_updates: Generator updates between two pictures.
        gif: Whether to make the animation.
        frame_duration: Seconds that the animation shows a picture.
        more: Other numbers of the subclass that must be positive.

    Raises:
        ValueError: If a number is not positive.
    """

    folder: ClassVar[str]
    """Name of the folder, of the animation and of the pictures in the loggers."""

    def __init__(
        self, every_n_updates: int = 500, gif: bool = True, frame_duration: float = 0.12, **more: float
    ) -> None:
        super().__init__()
        for name, number in {
            "every_n_updates": every_n_updates,
            "frame_duration": frame_duration,
            **more,
        }.items():
            if number <= 0:
                raise ValueError(f"{name}={number} makes no picture: give a positive number")
        self.every_n_updates = every_n_updates
        self.gif = gif
        self.frame_duration = frame_duration
        self._place: Path | None = None  # the run's folder; None where nothing is to be drawn
        self._next = 0
        self._frames: dict[int, str] = {}

    # ------------------------------------------------------------------ what a subclass writes

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Refuse what cannot be drawn, before any long work."""

    def stands_aside(self, module: LightningModule) -> str | None:
        """Say why there is nothing to draw of a game that may be trained all the same: a recipe's baseline.

        The run goes on without pictures, with a warning. None: there is something to draw.
        """
        return None

    def release(self) -> None:
        """Let go of what the pictures of a run have in common; before a run, and after it."""

    def picture(self, trainer: Trainer, module: LightningModule) -> tuple[Image.Image, dict[str, float]]:
        """Draw the game as it is now; on rank 0 only. The values are logged."""
        raise NotImplementedError

    def captions(self, module: LightningModule, steps: Sequence[int]) -> list[str] | None:
        """Return a line for each picture of the animation, where the pictures do not say their step."""
        return None

    # ------------------------------------------------------------------ when

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder and try to write into it, before any long work starts.

        Raises:
            OSError: If it cannot be written.
        """
        if stage != "fit":
            return
        reason = self.stands_aside(pl_module)
        if reason is not None:
            self._place = None
            warnings.warn(f"{type(self).__name__} draws nothing: {reason}", stacklevel=2)
            return
        self.prepare(trainer, pl_module)
        self.release()
        if trainer.global_step == 0:  # a new run; what a resumed one has drawn is restored after this hook
            self._next, self._frames = 0, {}
        self._place = None
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._next = sys.maxsize
            return
        place = Path(trainer.log_dir or trainer.default_root_dir)  # all ranks ask: the answer is broadcast
        if trainer.is_global_zero:
            _check_writable(place / self.folder, type(self).__name__)
        self._place = place

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the start of a new run, or what a run that was killed still owed."""
        if trainer.global_step >= self._next:
            self._draw(trainer, pl_module)
        elif self._place is not None:
            self._plan(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw when a multiple of ``every_n_updates`` is reached or passed."""
        if trainer.global_step >= self._next:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the end, and the animation of the whole."""
        self._draw(trainer, pl_module)
        self._animate(trainer, pl_module)
        self.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Animate what there is when the user stops the run."""
        if isinstance(exception, KeyboardInterrupt):
            self._animate(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return when the next picture is due and where the drawn ones are."""
        return {"next": self._next, "frames": dict(self._frames)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the run stopped."""
        self._next, self._frames = state_dict["next"], dict(state_dict["frames"])

    # ------------------------------------------------------------------ inside

    def _plan(self, step: int) -> None:
        self._next = (step // self.every_n_updates + 1) * self.every_n_updates

    def _draw(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        if self._place is None:
            return
        self._plan(step)
        if step in self._frames:
            return
        path = self._place / self.folder / f"step={step:08d}.png"
        values: dict[str, float] = {}
        failure: Exception | None = None
        if trainer.is_global_zero:
            try:
                with isolate_rng():
                    picture, values = self.picture(trainer, module)
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path, compress_level=1)
                self._show(trainer, picture, values, step)
            except Exception as error:
                failure = error
        # All ranks know the values, so that checkpoints by metric decide alike; or why there are none.
        values, failure = trainer.strategy.broadcast((values, failure))
        if failure is not None:
            raise failure
        self._frames[step] = str(path)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})

    def _show(self, trainer: Trainer, picture: Image.Image, values: dict[str, float], step: int) -> None:
        for logger in trainer.loggers:
            if values:
                logger.log_metrics(values, step=step)
            if isinstance(logger, TensorBoardLogger):
                pixels = np.asarray(picture.convert("RGB"))
                logger.experiment.add_image(self.folder, pixels, step, dataformats="HWC")
            elif isinstance(logger, WandbLogger):
                logger.log_image(self.folder, [picture], step=step)

    def _animate(self, trainer: Trainer, module: LightningModule) -> None:
        if not self.gif or self._place is None or not trainer.is_global_zero:
            return
        steps = sorted(self._frames)
        frames = [Path(self._frames[step]) for step in steps]
        captions = self.captions(module, steps)
        save_gif(frames, self._place / f"{self.folder}.gif", self.frame_duration, captions)


def real_batches(trainer: Trainer, n: int) -> Iterator[Tensor]:
    """Give up to ``n`` real samples in batches, always the same, without moving the training's own loader."""
    data, loader = trainer.datamodule, trainer.val_dataloaders  # type: ignore[attr-defined]
    if data is not None and is_overridden("val_dataloader", data):
        loader = data.val_dataloader()
    if isinstance(loader, list | tuple):
        loader = loader[0] if loader else None
    if loader is None:
        dataset = getattr(trainer.train_dataloader, "dataset", None)
        loader = [[torch.stack([dataset[i][0] for i in range(min(n, len(dataset)))])]] if dataset else []
    for batch in loader:
        yield batch[0][:n]
        n -= len(batch[0])
        if n <= 0:
            return


def real_samples(trainer: Trainer, n: int) -> Tensor | None:
    """Return up to ``n`` real samples, always the same; None if there are none to be had."""
    samples = list(real_batches(trainer, n))
    return torch.cat(samples) if samples else None


def check_game(module: LightningModule, name: str) -> None:
    """Raise a TypeError unless the callback ``name`` finds what it draws.

    Raises:
        TypeError: If there is no ``sample`` or no ``score``.
    """
    for method in ("sample", "score"):
        if not hasattr(module, method):
            raise TypeError(
                f"{name} draws what {type(module).__name__}.{method}() makes, but there is none: "
                "write it, or leave the callback out"
            )


def _check_writable(folder: Path, name: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"{name} cannot write to {folder} ({error.strerror}): set trainer.default_root_dir, or the "
            "logger's save_dir, to a folder that can be written"
        ) from error
