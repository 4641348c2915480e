"""What RealnessGAN's discriminator takes real and generated images for, while it trains."""

from collections.abc import Iterable
from typing import Any, Protocol, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from lightning_gans.callbacks.pictures import Pictures, real_batches
from lightning_gans.drawing.pictures import FAKE, INK, PAPER, REAL, snapshot, thin

DARK_REAL, DARK_FAKE = "#08264a", "#5a1d02"
CHUNK = 100  # images at a time: a thousand large ones would fill a GPU


class HasOutcomes(Protocol):
    """A game whose discriminator returns distributions over outcomes, with anchors for both kinds."""

    anchor_real: Tensor
    """A1, ``(num_outcomes,)``; the last outcome is the most real."""
    anchor_fake: Tensor
    """A0, ``(num_outcomes,)``."""

    def outcome_logits(self, images: Tensor) -> Tensor:
        """Return logits ``(n, num_outcomes)`` of ``(n, *image_shape)`` images, in evaluation mode."""
        ...

    def sample(
        self, n: int, labels: Tensor | None = None, ema: bool = True, seed: int | None = None
    ) -> Tensor:
        """Draw ``(n, *image_shape)`` images."""
        ...


class RealnessDistribution(Pictures):
    """Draw RealnessGAN's anchors and what its discriminator makes of real and generated images.

    For each kind: the anchor as bars, the discriminator's mean distribution over ``num_samples`` images as a
    line on them, and that distribution at all updates until now, from left to right. Below them the expected
    realness of both, sum_u u p(u) with outcomes u from 0 to 1, which is logged as ``val/realness_real`` and
    ``val/realness_fake``. Where the players are at their best, both kinds have the same distribution, the
    mean of the anchors (Xiangli et al., 2020, theorem 1), and the lines meet.

    A picture at the start, one every ``every_n_updates`` generator updates and one at the end go to
    ``realness/step=<update>.png`` in the run's folder, and to TensorBoard and W&B where such a logger is
    attached; ``realness.gif`` is the whole training. The history is part of checkpoints. Networks are in
    evaluation mode, with the weights that train, not averaged ones: those that the discriminator has met.
    Watching does not change the training: weights are the same, bit for bit, with this callback and without.
    Games without outcomes are not drawn, with a warning.

    Args:
        every_n_updates: Generator updates between two pictures.
        num_samples: Real images, and generated ones.
        seed: Of the latents.
        gif: Whether to make the animation.
        frame_duration: Seconds that the animation shows a picture.

    Raises:
        ValueError: If a number is not positive.
    """

    folder = "realness"

    def __init__(
        self,
        every_n_updates: int = 500,
        num_samples: int = 1_000,
        seed: int = 0,
        gif: bool = True,
        frame_duration: float = 0.12,
    ) -> None:
        super().__init__(every_n_updates, gif, frame_duration, num_samples=num_samples)
        self.num_samples = num_samples
        self.seed = seed
        self.steps: list[int] = []
        self.real = self.fake = torch.empty(0, 0)  # mean distributions (steps, num_outcomes)

    def stands_aside(self, module: LightningModule) -> str | None:
        """Draw nothing where there are no outcomes."""
        return None if hasattr(module, "outcome_logits") else f"{type(module).__name__} has no outcomes"

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Forget the history of another run."""
        if trainer.global_step == 0:
            self.steps, self.real, self.fake = [], torch.empty(0, 0), torch.empty(0, 0)

    def picture(self, trainer: Trainer, module: LightningModule) -> tuple[Image.Image, dict[str, float]]:
        """Measure both distributions, and draw them with those before."""
        game = cast(HasOutcomes, module)
        real = mean_distribution(game, real_batches(trainer, self.num_samples))
        starts = range(0, self.num_samples, CHUNK)
        fakes = (
            game.sample(min(CHUNK, self.num_samples - start), ema=False, seed=self.seed + start)
            for start in starts
        )
        fake = mean_distribution(game, fakes)
        self.steps.append(trainer.global_step)
        self.real = torch.cat([self.real.reshape(-1, len(real)), real[None]])
        self.fake = torch.cat([self.fake.reshape(-1, len(fake)), fake[None]])
        anchors = [anchor.float().cpu() for anchor in (game.anchor_real, game.anchor_fake)]
        values = {
            "val/realness_real": float(expected_realness(real)),
            "val/realness_fake": float(expected_realness(fake)),
        }
        return draw_history(self.steps, (self.real, self.fake), anchors), values

    def state_dict(self) -> dict[str, Any]:
        """Add the history."""
        history = {"steps": list(self.steps), "real": self.real.clone(), "fake": self.fake.clone()}
        return {**super().state_dict(), **history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the run stopped, with its history."""
        super().load_state_dict(state_dict)
        self.steps = list(state_dict["steps"])
        self.real, self.fake = state_dict["real"].cpu(), state_dict["fake"].cpu()


def mean_distribution(game: HasOutcomes, batches: Iterable[Tensor]) -> Tensor:
    """Return the mean ``(num_outcomes,)`` of the discriminator's distributions over all images, float32.

    Raises:
        ValueError: If there are no images.
    """
    total, n = torch.zeros(len(game.anchor_real), dtype=torch.float64), 0
    for images in batches:
        total += game.outcome_logits(images).softmax(1).cpu().double().sum(0)
        n += len(images)
    if not n:
        raise ValueError("RealnessDistribution finds no images: give trainer.fit() a loader that has some")
    return (total / n).float()


def expected_realness(distributions: Tensor) -> Tensor:
    """Return sum_u u p(u) of distributions ``(..., N)`` over N outcomes u, evenly spaced from 0 to 1."""
    return distributions @ torch.linspace(0, 1, distributions.shape[-1])


def draw_history(steps: list[int], history: tuple[Tensor, Tensor], anchors: list[Tensor]) -> Image.Image:
    """Draw anchors, distributions over outcomes at all steps, and the realness that is expected of them.

    Args:
        steps: T generator updates.
        history: Mean distributions ``(T, N)`` of real and of generated images.
        anchors: A1 and A0, ``(N,)``.
    """
    figure = Figure(figsize=(8.4, 7.2), dpi=100, facecolor=PAPER)
    canvas: Any = FigureCanvasAgg(figure)
    grid: Any = figure.add_gridspec(
        3, 3, left=0.07, right=0.94, top=0.89, bottom=0.07, wspace=0.07, hspace=0.26,
        width_ratios=(1, 4, 0.1), height_ratios=(1, 1, 0.8),
    )  # fmt: skip
    edges, outcomes = _edges(steps), np.arange(len(anchors[0]))
    highest = float(torch.cat(history).max())
    below = figure.add_subplot(grid[2, 1])
    kinds = zip(("real", "fake"), "₁₀", (REAL, FAKE), (DARK_REAL, DARK_FAKE), history, anchors, strict=True)
    for row, (kind, index, colour, dark, past, anchor) in enumerate(kinds):
        side, heat, bar = (figure.add_subplot(grid[row, column]) for column in range(3))
        side.barh(outcomes, anchor, height=0.86, color=colour, alpha=0.3)
        side.plot(past[-1], outcomes, color=colour, linewidth=1.6, marker="o", markersize=2.5)
        side.set(xlim=(0, None), ylim=(-0.5, len(outcomes) - 0.5), ylabel="outcome")
        _title(side, f"A{index} (bars), now (line)")
        colours = LinearSegmentedColormap.from_list(kind, [PAPER, colour, dark])
        cells = heat.pcolormesh(edges, np.append(outcomes, len(outcomes)) - 0.5, past.T, cmap=colours)
        cells.set_clim(0, highest)
        heat.tick_params(labelleft=False, labelbottom=False)
        _title(heat, f"D's mean distribution for {kind} samples")
        figure.colorbar(cells, cax=bar, ticks=MaxNLocator(4))
        below.axhline(float(expected_realness(anchor)), color=colour, linewidth=1, linestyle=(0, (4, 3)))
        below.plot(steps, expected_realness(past), color=colour, linewidth=1.6, marker=".", label=kind)
        side.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        for axes in (side, heat, bar):
            thin(axes)
    below.set(xlim=(edges[0], edges[-1]), xlabel="generator updates")
    below.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    below.legend(loc="center right", bbox_to_anchor=(-0.08, 0.5), fontsize=9, frameon=False, labelcolor=INK)
    _title(below, "expected realness, and that of the anchors (dashed)")
    thin(below)
    figure.text(0.07, 0.955, f"step {steps[-1]:,}", fontsize=12, color=INK)
    canvas.draw()
    return snapshot(canvas)


def _title(axes: Any, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=9.5, color=INK)


def _edges(steps: list[int]) -> Any:
    """Return where the columns of the steps begin and end: half-way between them."""
    places = np.asarray(steps, dtype=float)
    if len(places) == 1:
        return places[0] + np.array([-0.5, 0.5])
    middles = (places[1:] + places[:-1]) / 2
    return np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])
