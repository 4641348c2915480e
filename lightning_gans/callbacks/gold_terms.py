"""The terms of GOLD's estimator for real and generated samples, while a game trains."""

import math
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from lightning_gans import checks
from lightning_gans.callbacks.fitting_capacity import FittingCapacity
from lightning_gans.callbacks.pictures import Pictures, fixed_batches
from lightning_gans.drawing.gold import COLUMNS, ROWS, draw_gold
from lightning_gans.files import scores_in
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.ratios import terms
from lightning_gans.game.sides import read_batch
from lightning_gans.losses.gold import balance, log_posterior

QUANTILES = (0.1, 0.9)
NAMES = ("gold_marginal", "gold_conditional", "gold")


class GOLDTerms(Pictures):
    """Draw how far data and generator are apart, as a discriminator with two heads says itself.

    On the left, over the training: the marginal term l (the logit of "real"), the conditional term, log D_C(c
    | x) of generated samples and -log D_C(c | x) of real ones, and their sum, the estimator d; as the mean
    and the range of 80 % of the samples. Then the ratio rho by which the balanced estimator multiplies the
    conditional term, and the fitting capacity, if a callback
    :class:`~lightning_gans.callbacks.fitting_capacity.FittingCapacity` stands before this one. On the right,
    for the weights of the picture: d of generated samples class by class, and the samples with the least and
    the greatest d, with class and d. Where d is above 0 the generator makes too little, where it is below
    too much, or samples of another class than asked for; a perfect game has d = 0 where classes do not
    overlap (Mo et al., NeurIPS 2019, figure 1).

    Logged are the means, ``val/gold_marginal``, ``val/gold_conditional`` and ``val/gold``, those of real
    samples with ``_real`` behind, and ``val/gold_ratio``. Generated samples have the classes in turn and the
    same latents in all pictures; real ones are the first of the validation data, of which those without label
    have a marginal term only. Networks are in evaluation mode, with the weights that train, not averaged
    ones: they made the fakes that the discriminator was trained on.

    A picture at the start, one every ``every_n_updates`` generator updates and one at the end go to
    ``gold/update=<update>.png`` in the run's folder, and to TensorBoard and W&B where such a logger is
    attached; ``gold.gif`` is the whole training. The history is part of checkpoints. Watching does not change
    the training: weights are the same, bit for bit, with this callback and without. Of games without class
    head, or without labels, only the marginal term is drawn, and logged; games whose logits are no log
    density ratios (WGAN, LSGAN, hinge) are not drawn, with a warning.

    Args:
        every_n_updates: Generator updates between two pictures.
        num_samples: Generated samples, and at most as many real ones; 16 at least.
        kwargs: ``seed``, ``gif`` and ``frame_duration`` of
            :class:`~lightning_gans.callbacks.pictures.Pictures`.

    Raises:
        ValueError: If a number is out of range.
    """

    folder = "gold"

    def __init__(self, every_n_updates: int = 500, num_samples: int = 1_000, **kwargs: Any) -> None:
        super().__init__(every_n_updates, **kwargs)
        checks.at_least(ROWS * COLUMNS, num_samples=num_samples)
        self.num_samples = num_samples
        self._forget()

    def _forget(self) -> None:
        """Begin a new history."""
        self.history: dict[int, Tensor] = {}  # by update: (2, terms, 3), see draw_gold
        self.ratios: dict[int, float] = {}
        self.capacity: dict[str, dict[int, float]] = {}  # by name and update
        self.reweighted_from: int | None = None  # the update at which GOLDACGAN's weights began

    def stands_aside(self, module: LightningModule) -> str | None:
        """Return why nothing is drawn, if the discriminator does not estimate a ratio of densities."""
        if getattr(module, "log_ratio", False):
            return None
        return f"the logits of {type(module).__name__}'s discriminator are no logarithms of density ratios"

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Delete the history of an earlier run."""
        if trainer.global_step == 0:
            self._forget()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note when the game begins to weigh samples; draw when a multiple of the cadence is reached."""
        weighs = getattr(pl_module, "reweights", False) and getattr(pl_module, "beta", 1) > 0
        if weighs and self.reweighted_from is None:
            self.reweighted_from = trainer.global_step
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the end of training, once more if there may be a fitting capacity since."""
        capacity = any(isinstance(callback, FittingCapacity) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if capacity and trainer.global_step in self._updates:
            self._updates.remove(trainer.global_step)
        super().on_train_end(trainer, pl_module)

    def picture(self, trainer: Trainer, module: LightningModule) -> tuple[Image.Image, dict[str, float]]:
        """Score generated and real samples, and draw them with the history of earlier ones."""
        game, n, update = cast(LatentGame, module), self.num_samples, trainer.global_step
        latents, labels = game.draw_latents(n, ema=False, seed=self.seed)
        if game.conditional:
            labels = torch.arange(n) % cast(int, game.num_classes)
        images = game.sample_from(latents, labels, ema=False).cpu()
        marginal, *others = of_generated = _terms(game, images, labels, generated=True)
        of_real = _terms(game, *real_samples(trainer, n), generated=False)
        self.history[update] = torch.stack([_summary(of_real), _summary(of_generated)])
        means = {
            f"val/{name}{kind}": float(mean)
            for kind, of_kind in zip(("_real", ""), self.history[update], strict=True)
            for name, mean in zip(NAMES, of_kind[:, 0], strict=False)
        }
        if others:
            self.ratios[update] = means["val/gold_ratio"] = float(balance(marginal, others[0]))
        self._read_capacity()
        picture = draw_gold(
            self.history, self.ratios, self.capacity, images, of_generated[-1], labels, self.reweighted_from
        )
        return picture, {name: value for name, value in means.items() if not math.isnan(value)}

    def _read_capacity(self) -> None:
        """Read the fitting capacities that a callback has measured since the run or its resume began."""
        for line in scores_in(self._place):
            if "fitting_capacity" in line:
                scores = self.capacity.setdefault(line["name"] or "fitting capacity", {})
                scores[line["update"]] = line["fitting_capacity"]

    def state_dict(self) -> dict[str, Any]:
        """Return the updates that were drawn, and the history."""
        self._read_capacity()
        capacity = {name: dict(scores) for name, scores in self.capacity.items()}
        kept = {"history": dict(self.history), "ratios": dict(self.ratios), "capacity": capacity}
        return {**super().state_dict(), **kept, "reweighted_from": self.reweighted_from}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state_dict)
        self.history = {update: stats.cpu() for update, stats in state_dict["history"].items()}
        self.ratios, self.capacity = state_dict["ratios"], state_dict["capacity"]
        self.reweighted_from = state_dict["reweighted_from"]


def real_samples(trainer: Trainer, n: int) -> tuple[Tensor, Tensor]:
    """Return up to ``n`` real samples, always the same, and their labels ``(n,)``, -1 where there is none.

    Raises:
        ValueError: If there are none.
    """
    images, labels = [], []
    for batch in fixed_batches(trainer, n):
        real = read_batch(batch)
        images.append(real.images[:n])
        labels.append(cast(Tensor, real.labels)[:n])
        n -= len(images[-1])
        if n <= 0:
            break
    if not images:
        raise ValueError("there are no real samples: give trainer.fit() a loader that has some")
    return torch.cat(images), torch.cat(labels)


def _terms(game: LatentGame, images: Tensor, labels: Tensor | None, generated: bool) -> list[Tensor]:
    """Return the marginal term ``(n,)``; with classes also the conditional one and d, of labelled samples."""
    marginal, class_logits = terms(game, images, labels)
    if class_logits is None or labels is None:
        return [marginal]
    known = labels >= 0
    conditional = log_posterior(class_logits[known], labels[known]) * (1 if generated else -1)
    return [marginal, conditional, marginal[known] + conditional]


def _summary(values: list[Tensor]) -> Tensor:
    """Return mean and quantiles ``(terms, 3)`` of terms; NaN of those without samples."""
    ends = torch.tensor(QUANTILES)
    return torch.stack(
        [
            torch.cat([x.mean()[None], x.quantile(ends)]) if len(x) else torch.full((3,), math.nan)
            for x in values
        ]
    )
