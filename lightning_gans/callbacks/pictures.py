"""Base class of the callbacks that draw: when they draw, where pictures go, the animation at the end."""

import signal
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from lightning_gans import checks
from lightning_gans.callbacks.cadence import Cadence
from lightning_gans.callbacks.clock import stopped
from lightning_gans.callbacks.shown import failure_is_a_warning, show_animation, show_picture
from lightning_gans.data.base import DataModule
from lightning_gans.data.loader import first_loader
from lightning_gans.drawing.gifs import save_gif
from lightning_gans.drawing.pixels import as_png
from lightning_gans.files import write_whole
from lightning_gans.game.interruption import Interrupted
from lightning_gans.game.replicas import Replicas
from lightning_gans.game.rows import write_row
from lightning_gans.game.sides import read_batch


class Pictures(Callback, ABC):
    """Draw a picture at the start, one every ``every_n_updates`` generator updates and one at the end.

    They go to ``<folder>/update=<update>.png`` in the run's folder, and to TensorBoard and W&B where such a
    logger is attached; ``<folder>.gif`` (in loggers ``<folder>_animation``) is the whole training, over all
    resumes of a run: earlier pictures are copied from the folder that the checkpoint lies in, or where its
    run wrote them. Of a game with replicas the first one is drawn, into the folder ``replica=0`` of the
    run's. Rank 0 draws, with random numbers of its own: the training stays the same, bit for bit. A picture
    that fails is a warning, not the end of the run.

    A subclass names its :attr:`folder` and writes :meth:`picture`; beside it :meth:`prepare` or
    :meth:`stands_aside` if not every game can be drawn, and :meth:`release` if it keeps something from
    picture to picture.

    Args:
        every_n_updates: Generator updates between two pictures.
        seed: Decides the latents, which are the same in all pictures.
        gif: Whether to make the animation.
        frame_duration: Seconds that the animation shows a picture, at most 60.

    Raises:
        ValueError: If a number is out of range.
    """

    folder: ClassVar[str]
    """Name of the folder, of the animation and of the pictures in the loggers."""

    def __init__(
        self, every_n_updates: int = 500, seed: int = 0, gif: bool = True, frame_duration: float = 0.12
    ) -> None:
        super().__init__()
        checks.at_least(1, every_n_updates=every_n_updates)
        checks.within("(0, 60]", frame_duration=frame_duration)
        self.seed = seed
        self.gif = gif
        self.frame_duration = frame_duration
        self._cadence = Cadence(every_n_updates)
        self._place: Path | None = None  # the run's folder; None where nothing is to be drawn
        self._within = ""  # the folder of the replica that is drawn
        self._updates: list[int] = []  # the updates that were drawn
        self._earlier: Path | None = None  # where the resumed run drew them

    # ------------------------------------------------------------------ what a subclass writes

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Raise an error if the game cannot be drawn, before any long work starts."""

    def stands_aside(self, module: LightningModule) -> str | None:
        """Return why a game has nothing to draw, though it may be trained: a recipe's baseline, for example.

        The reason becomes a warning, and the run goes on without pictures. None: there is something to draw.
        """
        return None

    def release(self) -> None:
        """Delete what is kept between pictures; called before a run, and after it."""

    @abstractmethod
    def picture(self, trainer: Trainer, module: LightningModule) -> tuple[Image.Image, dict[str, float]]:
        """Draw the game with its current weights, on rank 0 only; return the picture and values to log."""

    def captions(self, module: LightningModule, updates: Sequence[int]) -> list[str] | None:
        """Return a text for each picture of the animation; None if the pictures show their update."""
        return None

    # ------------------------------------------------------------------ when it draws

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise an error if the game cannot be drawn or the folder not written, before long work starts.

        Raises:
            OSError: If it cannot be written.
        """
        if stage != "fit":
            return
        self._place = None
        reason = self.stands_aside(pl_module)
        if reason is not None:
            warnings.warn(f"{type(self).__name__} draws nothing: {reason}", stacklevel=2)
            return
        self.prepare(trainer, pl_module)
        self.release()
        if trainer.global_step == 0:  # a resumed run restores its updates after this hook
            self._updates = []
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self._within = "replica=0" if getattr(pl_module, "replicas", 1) > 1 else ""
        place = Path(trainer.log_dir or trainer.default_root_dir) / self._within  # all ranks must call this
        if trainer.is_global_zero:
            checks.writable_folder(**{f"folder of {type(self).__name__}": place / self.folder})
        self._place = place

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the start of a new run, or a picture that the resumed run was killed before."""
        if self._updates:
            self._cadence.start(max(self._updates))
            self._copy_earlier(trainer)
        else:
            self._cadence.next = 0
        if self._cadence.due(trainer.global_step):
            self._draw(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw when a multiple of ``every_n_updates`` is reached or passed."""
        if self._cadence.due(trainer.global_step):
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the weights at the end of training, and make the animation of all pictures."""
        self._draw(trainer, pl_module)
        self._animate(trainer, pl_module)
        self.release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Make the animation of the pictures so far when the user stops the run."""
        if isinstance(exception, Interrupted) and exception.signal is signal.SIGINT:
            self._animate(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the updates that were drawn, and in which run's folder."""
        place = None if self._place is None else str(self._place.absolute())
        return {"updates": list(self._updates), "place": place}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._updates = list(state_dict["updates"])
        self._earlier = None if state_dict["place"] is None else Path(state_dict["place"])

    # ------------------------------------------------------------------ inside

    def _file(self, update: int, run: Path | None = None) -> Path:
        run = run or self._place
        assert run is not None
        return run / self.folder / f"update={update:08d}.png"

    def _draw(self, trainer: Trainer, module: LightningModule) -> None:
        update = trainer.global_step
        if self._place is None or update in self._updates:
            return
        values: dict[str, float] = {}
        drawn = False
        if trainer.is_global_zero:
            path = self._file(update)
            with failure_is_a_warning(f"the picture {path}"), stopped(trainer):
                with isolate_rng():
                    shown = module.replica(0) if isinstance(module, Replicas) else module
                    picture, values = self.picture(trainer, shown)
                write_whole(path, as_png(picture, compress_level=1))
                drawn = True
                show_picture(trainer, self.folder, picture, update)
        # Sent to all ranks, so that checkpoints by a metric decide the same on each.
        values, drawn = trainer.strategy.broadcast((values, drawn))
        self._updates += [update] * drawn
        write_row(trainer, values)

    def _copy_earlier(self, trainer: Trainer) -> None:
        """Copy the pictures of the resumed run from the folder of its checkpoint, or where it wrote them."""
        if self._place is None or not trainer.is_global_zero or not trainer.ckpt_path:
            return
        # The run may have been moved, or its checkpoint taken out of it.
        around = [run / self._within for run in Path(trainer.ckpt_path).absolute().parents[:2]]
        runs = [run for run in (*around, self._earlier) if run]
        missing = 0
        with failure_is_a_warning(f"copying earlier pictures to {self._place / self.folder}"):
            for update in self._updates:
                path = self._file(update)
                earlier = next((e for run in runs if (e := self._file(update, run)).is_file()), None)
                if earlier is not None and not path.exists():
                    for kind in (".npz", ".png"):  # what a picture shows may be stored beside it
                        if (file := earlier.with_suffix(kind)).is_file():
                            write_whole(path.with_suffix(kind), file.read_bytes())
                missing += not path.exists()
        if missing:
            where = f"are not in {runs[-1]} any more: {self.folder}.gif will not have them"
            warnings.warn(f"{missing} pictures of the resumed run {where}", stacklevel=2)

    def _animate(self, trainer: Trainer, module: LightningModule) -> None:
        if not self.gif or self._place is None or not trainer.is_global_zero:
            return
        path, updates = self._place / f"{self.folder}.gif", sorted(self._updates)
        with failure_is_a_warning(f"the animation {path}"):
            frames = [self._file(update) for update in updates]
            save_gif(frames, path, self.frame_duration, self.captions(module, updates))
            if path.is_file():
                show_animation(trainer, f"{self.folder}_animation", path, trainer.global_step)


def fixed_batches(trainer: Trainer, n: int) -> Iterator[Any]:
    """Yield batches of real samples, always the same, without changing the training loader's position.

    They are those of the validation data; if there is none, the first ``n`` samples of the training data.
    """
    data, loader = trainer.datamodule, trainer.val_dataloaders  # type: ignore[attr-defined]
    if data is not None and is_overridden("val_dataloader", data):
        loader = data.val_dataloader()
    if (loader := first_loader(loader)) is None and isinstance(data, DataModule):
        loader = data._loader("train", training=False)
    elif loader is None:
        dataset = getattr(trainer.train_dataloader, "dataset", None)
        loader = [default_collate([dataset[i] for i in range(min(n, len(dataset)))])] if dataset else []
    yield from loader


def real_batches(trainer: Trainer, n: int) -> Iterator[Tensor]:
    """Yield up to ``n`` real samples in batches, always the same."""
    for batch in fixed_batches(trainer, n):
        images = read_batch(batch).images[:n]
        yield images
        n -= len(images)
        if n <= 0:
            return


def real_samples(trainer: Trainer, n: int) -> Tensor | None:
    """Return up to ``n`` real samples, always the same; None if the data has none."""
    samples = list(real_batches(trainer, n))
    return torch.cat(samples) if samples else None


def check_game(module: LightningModule, name: str) -> None:
    """Check that a game has the methods that the callback ``name`` draws with.

    Raises:
        TypeError: If there is no ``sample`` or no ``score``.
    """
    for method in ("sample", "score"):
        if not hasattr(module, method):
            what = f"{type(module).__name__}.{method}()"
            raise TypeError(f"{name} draws what {what} makes: write it, or leave the callback out")
