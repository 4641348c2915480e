"""Pictures of the samples while a game trains."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from lightning_gans import checks
from lightning_gans.callbacks.pictures import Pictures, check_game, fixed_batches, real_samples
from lightning_gans.drawing.grids import image_grid, in_colour, most_images, with_headings
from lightning_gans.drawing.scatter import Scatter
from lightning_gans.files import written_whole
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.translation import TranslationGame
from lightning_gans.metrics import mode_coverage

POINTS, DRAWN = 2_500, 1_000
IMAGES, PAIRS = 64, 8


class SampleGrid(Pictures):
    """Draw images of the same latents or inputs while training, and animate the pictures at the end.

    A picture at the start, one every ``every_n_updates`` generator updates and one at the end go to
    ``samples/update=<update>.png`` in the run's folder, and to TensorBoard and W&B where such a logger is
    attached; ``samples.gif`` is the whole training, over all resumes of a run. Averaged weights are drawn if
    there are any (:class:`~lightning_gans.callbacks.GeneratorEMA`).

    - Images: a grid of ``num_samples``; of conditional games, the classes one after the other.
    - Points of two dimensions: 1,000 real and 1,000 fake ones over the landscape of the discriminator's
      scores; of three or more: the first three coordinates, without landscape. Where the data knows its
      modes (``means`` and ``covariances``), the title counts those that 2,500 samples find. Beside each
      picture ``update=<update>.npz`` has what it shows: ``fake`` and ``real`` points, ``(n, d)``.
    - Games from images to images: ``num_samples`` inputs of the validation data, what is made of them, and,
      of pairs, the targets; of games in both directions images of both domains, what is made of them, and
      what that is translated back to.

    Watching does not change the training: weights are the same, bit for bit, with this callback and without.

    Args:
        every_n_updates: Generator updates between two pictures.
        num_samples: Images in a grid, or inputs; 64, or 8 inputs, by default.
        columns: Images in a row of the grid.
        scale: Side of the square that a pixel becomes; small images are enlarged by default.
        kwargs: ``seed``, ``gif`` and ``frame_duration`` of
            :class:`~lightning_gans.callbacks.pictures.Pictures`.

    Raises:
        ValueError: If a number is not positive.
    """

    folder = "samples"

    def __init__(
        self,
        every_n_updates: int = 500,
        num_samples: int | None = None,
        columns: int = 8,
        scale: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(every_n_updates, **kwargs)
        checks.at_least(1, num_samples=num_samples, columns=columns, scale=scale)
        self.num_samples = num_samples
        self.columns = columns
        self.scale = scale
        self._scatter: Scatter | None = None
        self._real: Tensor | None = None  # points
        self._pairs: list[Tensor] = []  # inputs and targets, or images of both domains

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Raise an error if the module cannot be drawn.

        Raises:
            TypeError: If it has no ``translate``, and no ``sample`` and ``score``.
            ValueError: If its samples are points of one dimension, or too many for a picture.
        """
        if isinstance(module, TranslationGame):
            return
        check_game(module, "SampleGrid")
        shape, n = cast(LatentGame, module).image_shape, self.num_samples or IMAGES
        if len(shape) == 3 and n > (most := most_images(shape, self.scale)):
            raise ValueError(
                f"num_samples={n}, scale={self.scale}: too large a picture, at most {most:,} fit"
            )
        if tuple(shape) == (1,):
            raise ValueError("SampleGrid draws images, or points of 2 or more: not image_shape=(1,)")

    def release(self) -> None:
        """Delete the real points and images that were kept for the pictures of the run."""
        self._scatter, self._real, self._pairs = None, None, []

    def picture(self, trainer: Trainer, module: LightningModule) -> tuple[Image.Image, dict[str, float]]:
        """Draw a grid of images, translated or made of latents, or a scatter of points."""
        if isinstance(module, TranslationGame):
            return self._translations(trainer, module), {}
        game = cast(LatentGame, module)
        vectors = len(game.image_shape) == 1
        n = POINTS if vectors else self.num_samples or IMAGES
        labels = torch.arange(n) % (game.num_classes or 1) if getattr(game, "conditional", False) else None
        samples = game.sample(n, labels, seed=self.seed).cpu()
        if not vectors:
            return image_grid(samples, self.columns, self.scale), {}
        if self._scatter is None:
            real = self._real = real_samples(trainer, DRAWN)
            self._scatter = Scatter(samples[:DRAWN], real=False) if real is None else Scatter(real)
        self._store(samples[:DRAWN], trainer.global_step)
        title = f"update {trainer.global_step:,}"
        data = trainer.datamodule  # type: ignore[attr-defined]
        if getattr(data, "means", None) is not None:
            # The function, not the metric: only rank 0 draws, and a metric would wait for the other ranks.
            scores = mode_coverage(samples, data.means, data.covariances)
            title += f"   ·   modes {scores['modes']:.0f}/{len(data.means)}"
            title += f"   ·   high quality {scores['high_quality']:.0%}"
        plot = self._scatter
        landscape = game.score(plot.mesh()) if plot.flat and labels is None else None
        return plot.draw(samples[:DRAWN], title, landscape), {}

    def _store(self, fake: Tensor, update: int) -> None:
        if self._place is not None:
            real = fake[:0] if self._real is None else self._real
            with written_whole(self._file(update).with_suffix(".npz")) as part, part.open("wb") as file:
                np.savez(file, fake=fake[:, :3].numpy(), real=real[:, :3].cpu().numpy())

    def _translations(self, trainer: Trainer, game: TranslationGame) -> Image.Image:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not self._pairs:
            self._pairs = _validation_pairs(trainer, game, self.num_samples or PAIRS)
        inputs, targets = self._pairs
        if len(game.directions) > 1:
            there, back = game.directions
            kinds = [*self._cycle(game, inputs, there, back), *self._cycle(game, targets, back, there)]
            names = ["input", "output", "back"] * 2
        else:
            show = getattr(data, "to_show", lambda _, images: images)
            output = game.translate(inputs, seed=self.seed).cpu()
            kinds, names = [inputs, show(inputs, output)], ["input", "output"]
            if "target" in getattr(data, "view_names", ["target"]):
                kinds, names = [*kinds, show(inputs, targets)], [*names, "target"]
        # Inputs and targets may differ in channels and size: all are drawn in colour, as large as the output.
        rows = torch.stack([in_colour(kind, game.image_shape[1:]) for kind in kinds], 1)
        across = min(len(inputs), max(1, self.columns // len(kinds)))
        grid = image_grid(rows.flatten(0, 1), across * len(kinds), self.scale)
        return with_headings(grid, names * across)

    def _cycle(self, game: TranslationGame, images: Tensor, there: str, back: str) -> list[Tensor]:
        """Return images, their translations, and what those are translated back to."""
        output = game.translate(images, direction=there, seed=self.seed)
        return [images, output.cpu(), game.translate(output, direction=back, seed=self.seed).cpu()]

    def captions(self, module: LightningModule, updates: Sequence[int]) -> list[str] | None:
        """Return the update of each grid; scatter plots have it in their title."""
        images = len(cast(LatentGame, module).image_shape) == 3
        return [f"update {update:,}" for update in updates] if images else None


def _validation_pairs(trainer: Trainer, game: TranslationGame, n: int) -> list[Tensor]:
    """Return up to ``n`` inputs and targets, always the same.

    Raises:
        ValueError: If there are none.
    """
    found: list[tuple[Any, Tensor]] = []
    for batch in fixed_batches(trainer, n):
        side = game.read(batch)
        found += zip(cast(Tensor, side.inputs).cpu(), side.images.cpu(), strict=True)
        if len(found) >= n:
            break
    if not found:
        raise ValueError("there are no images to translate: give trainer.fit() a loader that has some")
    return [torch.stack(kind) for kind in zip(*found[:n], strict=True)]
