"""The distributions that RealnessGAN's discriminator gives to real and generated images, while it trains."""

from collections.abc import Iterable
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from lightning_gans import checks
from lightning_gans.callbacks.pictures import Pictures, real_batches
from lightning_gans.drawing.outcomes import draw_history, expected_realness

CHUNK = 100  # images at a time: a thousand large ones may not fit in a GPU's memory


class RealnessDistribution(Pictures):
    """Draw RealnessGAN's anchors and its discriminator's distributions for real and generated images.

    For each kind: the anchor as bars, the discriminator's mean distribution over ``num_samples`` images as a
    line on them, and that distribution at all updates until now, from left to right. Below them the expected
    realness of both, sum_u u p(u) with outcomes u from 0 to 1, which is logged as ``val/realness_real`` and
    ``val/realness_fake``. Where the players are at their best, both kinds have the same distribution, the
    mean of the anchors (Xiangli et al., 2020, theorem 1), and the lines meet.

    A picture at the start, one every ``every_n_updates`` generator updates and one at the end go to
    ``realness/update=<update>.png`` in the run's folder, and to TensorBoard and W&B where such a logger is
    attached; ``realness.gif`` is the whole training. The history is part of checkpoints. Networks are in
    evaluation mode, with the weights that train, not averaged ones: they made the
    fakes that the discriminator was trained on.
    Watching does not change the training: weights are the same, bit for bit, with this callback and without.
    Games without outcomes (``outcome_logits(images)``, ``anchor_real``, ``anchor_fake``) are not drawn, with
    a warning.

    Args:
        every_n_updates: Generator updates between two pictures.
        num_samples: Real images, and generated ones.
        kwargs: ``seed``, ``gif`` and ``frame_duration`` of
            :class:`~lightning_gans.callbacks.pictures.Pictures`.

    Raises:
        ValueError: If a number is not positive.
    """

    folder = "realness"

    def __init__(self, every_n_updates: int = 500, num_samples: int = 1_000, **kwargs: Any) -> None:
        super().__init__(every_n_updates, **kwargs)
        checks.at_least(1, num_samples=num_samples)
        self.num_samples = num_samples
        self.history: dict[int, Tensor] = {}  # by update: mean distributions (2, num_outcomes), real and fake

    def stands_aside(self, module: LightningModule) -> str | None:
        """Return why nothing is drawn, if the game has no outcomes."""
        return None if hasattr(module, "outcome_logits") else f"{type(module).__name__} has no outcomes"

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Delete the history of an earlier run."""
        if trainer.global_step == 0:
            self.history = {}

    def picture(self, trainer: Trainer, module: LightningModule) -> tuple[Image.Image, dict[str, float]]:
        """Compute both distributions, and draw them with the history of earlier ones."""
        game = cast(Any, module)
        real = mean_distribution(game, real_batches(trainer, self.num_samples))
        sizes = {start: min(CHUNK, self.num_samples - start) for start in range(0, self.num_samples, CHUNK)}
        fakes = (game.sample(n, ema=False, seed=self.seed + start) for start, n in sizes.items())
        fake = mean_distribution(game, fakes)
        self.history[trainer.global_step] = torch.stack([real, fake])
        anchors = torch.stack([game.anchor_real, game.anchor_fake]).float().cpu()
        values = {
            "val/realness_real": float(expected_realness(real)),
            "val/realness_fake": float(expected_realness(fake)),
        }
        return draw_history(self.history, anchors), values

    def state_dict(self) -> dict[str, Any]:
        """Return the updates that were drawn, and the history of the distributions."""
        return {**super().state_dict(), "history": dict(self.history)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state_dict)
        self.history = {update: both.cpu() for update, both in state_dict["history"].items()}


def mean_distribution(game: Any, batches: Iterable[Tensor]) -> Tensor:
    """Return the mean ``(num_outcomes,)`` of the discriminator's distributions over all images, float32.

    Raises:
        ValueError: If there are no images.
    """
    total, n = torch.zeros(len(game.anchor_real), dtype=torch.float64), 0
    for images in batches:
        total += game.outcome_logits(images).softmax(1).cpu().double().sum(0)
        n += len(images)
    if not n:
        raise ValueError("there are no images: give trainer.fit() a loader that has some")
    return (total / n).float()
