"""Pictures of the samples while a game trains."""

import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from PIL import Image
from torch import Tensor

from lightning_gans.callbacks.evaluate import Evaluate
from lightning_gans.metrics import ModeCoverage, mode_coverage
from lightning_gans.pictures import Scatter, image_grid, save_gif

POINTS, DRAWN = 2_500, 1_000


class _Game(Protocol):
    """What a module must offer to be drawn."""

    image_shape: tuple[int, ...]
    num_classes: int | None

    def sample(
        self, n: int, labels: Tensor | None = None, ema: bool = True, seed: int | None = None
    ) -> Tensor: ...

    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor: ...


class SampleGrid(Callback):
    """Draw what the generator makes of the same latents again and again, and animate it at the end.

    A picture at the start, one every ``every_n_updates`` generator updates and one at the end go to
    ``samples/step=<update>.png`` in the run's folder, and to TensorBoard and W&B where such a logger is
    attached; ``samples.gif`` is the whole training, over all resumes of a run. Averaged weights are drawn if
    there are any (:class:`~lightning_gans.callbacks.GeneratorEMA`); classes take turns in conditional games.

    - Images: a grid of ``num_samples``.
    - Points of two dimensions: 1,000 real and 1,000 fake ones over the landscape of the discriminator's
      scores; of three or more: the first three coordinates, without landscape. Where the data knows its
      modes (``means`` and ``covariances``), 2,500 samples are counted, and ``val/modes`` and
      ``val/high_quality`` are logged, unless an ``Evaluate`` with ``ModeCoverage`` logs its own.

    Watching does not change the training: weights are the same, bit for bit, with this callback and without.

    Args:
        every_n_updates: Generator updates between two pictures.
        num_samples: Images in a grid.
        seed: Of the latents.
        columns: Images in a row of the grid.
        scale: Side of the square that a pixel becomes; small images are enlarged by default.
        gif: Whether to make the animation.
        frame_duration: Seconds that the animation shows a picture.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(
        self,
        every_n_updates: int = 500,
        num_samples: int = 64,
        seed: int = 0,
        columns: int = 8,
        scale: int | None = None,
        gif: bool = True,
        frame_duration: float = 0.12,
    ) -> None:
        super().__init__()
        numbers = {
            "every_n_updates": every_n_updates,
            "num_samples": num_samples,
            "columns": columns,
            "scale": 1 if scale is None else scale,
            "frame_duration": frame_duration,
        }
        for name, number in numbers.items():
            if number <= 0:
                raise ValueError(f"{name}={number} makes no picture: give a positive number")
        self.every_n_updates = every_n_updates
        self.num_samples = num_samples
        self.seed = seed
        self.columns = columns
        self.scale = scale
        self.gif = gif
        self.frame_duration = frame_duration
        self._folder: Path | None = None
        self._next = 0
        self._frames: dict[int, str] = {}
        self._scatter: Scatter | None = None

    # ------------------------------------------------------------------ when

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder and try to write into it, before any long work starts.

        Raises:
            OSError: If it cannot be written.
            TypeError: If the module has no ``sample`` and ``score``.
            ValueError: If its samples are points of one dimension.
        """
        if stage != "fit":
            return
        for method in ("sample", "score"):
            if not hasattr(pl_module, method):
                raise TypeError(
                    f"SampleGrid draws what {type(pl_module).__name__}.{method}() makes, but there is none: "
                    "write it, or leave the callback out"
                )
        shape = cast(_Game, pl_module).image_shape
        if tuple(shape) == (1,):
            raise ValueError(
                "SampleGrid cannot draw image_shape=(1,): it needs images, or points of 2 or more"
            )
        self._scatter = None
        if trainer.global_step == 0:  # a new run; what a resumed one has drawn is restored after this hook
            self._next, self._frames = 0, {}
        self._folder = None
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._next = sys.maxsize
            return
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # all ranks ask: the answer is broadcast
        if trainer.is_global_zero:
            _check_writable(folder / "samples")
        self._folder = folder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the start of a new run, or what a run that was killed still owed."""
        if trainer.global_step >= self._next:
            self._draw(trainer, pl_module)
        elif self._folder is not None:
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
        self._scatter = None

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

    def _plan(self, step: int) -> None:
        self._next = (step // self.every_n_updates + 1) * self.every_n_updates

    # ------------------------------------------------------------------ what

    def _draw(self, trainer: Trainer, module: LightningModule) -> None:
        step = trainer.global_step
        if self._folder is None:
            return
        self._plan(step)
        if step in self._frames:
            return
        path = self._folder / "samples" / f"step={step:08d}.png"
        values: dict[str, float] = {}
        if trainer.is_global_zero:
            with isolate_rng():
                picture, values = self._picture(trainer, cast(_Game, module))
            if _counted(trainer):
                values = {}
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, compress_level=1)
            _show(trainer, picture, values, step)
        self._frames[step] = str(path)
        # All ranks know the values, so that checkpoints by metric decide alike.
        values = trainer.strategy.broadcast(values)
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})

    def _picture(self, trainer: Trainer, game: _Game) -> tuple[Image.Image, dict[str, float]]:
        vectors = len(game.image_shape) == 1
        n = POINTS if vectors else self.num_samples
        labels = torch.arange(n) % (game.num_classes or 1) if getattr(game, "conditional", False) else None
        samples = game.sample(n, labels, seed=self.seed).cpu()
        if not vectors:
            return image_grid(samples, self.columns, self.scale), {}
        title, values = f"step {trainer.global_step:,}", {}
        means = getattr(trainer.datamodule, "means", None)  # type: ignore[attr-defined]
        if means is not None:
            # The function, not the metric: one rank draws, and a metric would wait for the others.
            scores = mode_coverage(samples, means, trainer.datamodule.covariances)  # type: ignore[attr-defined]
            values = {f"val/{name}": float(scores[name]) for name in ("modes", "high_quality")}
            title += (
                f"   ·   modes {values['val/modes']:.0f}/{len(means)}"
                f"   ·   high quality {values['val/high_quality']:.0%}"
            )
        if self._scatter is None:
            real = _real_points(trainer)
            self._scatter = Scatter(samples[:DRAWN], real=False) if real is None else Scatter(real)
        plot, landscape = self._scatter, None
        if plot.flat and labels is None:
            landscape = game.score(plot.mesh())
        return plot.draw(samples[:DRAWN], title, landscape), values

    def _animate(self, trainer: Trainer, module: LightningModule) -> None:
        if not self.gif or self._folder is None or not trainer.is_global_zero:
            return
        frames = sorted(self._frames.items())
        # Scatters have their step in the title.
        images = len(cast(_Game, module).image_shape) == 3
        captions = [f"step {step:,}" for step, _ in frames] if images else None
        save_gif(
            [Path(path) for _, path in frames], self._folder / "samples.gif", self.frame_duration, captions
        )


def _counted(trainer: Trainer) -> bool:
    """Whether another callback counts the modes, of other samples."""
    return any(
        isinstance(metric, ModeCoverage)
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        if isinstance(callback, Evaluate)
        for metric in callback.evaluation_arguments[0]
    )


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"SampleGrid cannot write to {folder} ({error.strerror}): set trainer.default_root_dir, or the "
            "logger's save_dir, to a folder that can be written"
        ) from error


def _show(trainer: Trainer, picture: Image.Image, values: dict[str, float], step: int) -> None:
    for logger in trainer.loggers:
        if values:
            logger.log_metrics(values, step=step)
        if isinstance(logger, TensorBoardLogger):
            pixels = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image("samples", pixels, step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image("samples", [picture], step=step)


def _real_points(trainer: Trainer) -> Tensor | None:
    """Return up to 1,000 real points, always the same, without moving the training's own loader."""
    data, loader = trainer.datamodule, trainer.val_dataloaders  # type: ignore[attr-defined]
    if data is not None and is_overridden("val_dataloader", data):
        loader = data.val_dataloader()
    if isinstance(loader, list | tuple):
        loader = loader[0] if loader else None
    if loader is None:
        dataset = getattr(trainer.train_dataloader, "dataset", None)
        loader = [[torch.stack([dataset[i][0] for i in range(min(DRAWN, len(dataset)))])]] if dataset else []
    points: list[Tensor] = []
    for batch in loader:
        points.append(batch[0])
        if sum(map(len, points)) >= DRAWN:
            break
    return torch.cat(points)[:DRAWN] if points else None
