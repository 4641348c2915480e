"""Pictures of the samples while a game trains."""

from collections.abc import Sequence
from typing import cast

import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from lightning_gans.callbacks.evaluate import Evaluate
from lightning_gans.callbacks.pictures import Game, Pictures, check_game, real_samples
from lightning_gans.drawing.pictures import Scatter, image_grid
from lightning_gans.metrics import mode_coverage

POINTS, DRAWN = 2_500, 1_000


class SampleGrid(Pictures):
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

    folder = "samples"

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
        side = 1 if scale is None else scale
        super().__init__(
            every_n_updates, gif, frame_duration, num_samples=num_samples, columns=columns, scale=side
        )
        self.num_samples = num_samples
        self.seed = seed
        self.columns = columns
        self.scale = scale
        self._scatter: Scatter | None = None

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Look whether the module can be drawn.

        Raises:
            TypeError: If it has no ``sample`` and ``score``.
            ValueError: If its samples are points of one dimension.
        """
        check_game(module, "SampleGrid")
        if tuple(cast(Game, module).image_shape) == (1,):
            raise ValueError(
                "SampleGrid cannot draw image_shape=(1,): it needs images, or points of 2 or more"
            )

    def release(self) -> None:
        """Let go of the scatter, which has the real points of a run."""
        self._scatter = None

    def picture(self, trainer: Trainer, module: LightningModule) -> tuple[Image.Image, dict[str, float]]:
        """Draw a grid of images, or a scatter of points whose modes are counted."""
        game = cast(Game, module)
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
            real = real_samples(trainer, DRAWN)
            self._scatter = Scatter(samples[:DRAWN], real=False) if real is None else Scatter(real)
        plot, landscape = self._scatter, None
        if plot.flat and labels is None:
            landscape = game.score(plot.mesh())
        return plot.draw(samples[:DRAWN], title, landscape), {} if _counted(trainer) else values

    def captions(self, module: LightningModule, steps: Sequence[int]) -> list[str] | None:
        """Write the step above grids; scatters have it in their title."""
        images = len(cast(Game, module).image_shape) == 3
        return [f"step {step:,}" for step in steps] if images else None


def _counted(trainer: Trainer) -> bool:
    """Whether another callback counts the modes, of other samples."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(callback, Evaluate) and callback.logs("val/modes") for callback in callbacks)
