"""The field that moves the generated points of a two-dimensional game."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor
from torch.autograd import forward_ad

from lightning_gans import checks
from lightning_gans.callbacks.pictures import Pictures, check_game, real_samples
from lightning_gans.drawing.fields import FieldPlot, FieldView
from lightning_gans.game.latent_game import LatentGame


class Field(Pictures):
    """Draw the forces on the generated points of a 2-D game, and animate the pictures at the end.

    The picture of the Coulomb GAN paper (Unterthiner et al., 2018, figure 1), for every game of points in
    the plane: ``num_points`` real and as many generated ones over a background; thin arrows show the field
    everywhere, bold ones the force on one generated point in each square of a grid that has any.
    Pictures come at the start, every ``every_n_updates`` generator updates and at the end, to
    ``field/update=<update>.png`` in the run's folder, and to TensorBoard and W&B where such a logger is
    attached; ``field.gif`` is the whole training, over all resumes of a run.

    - A game with a field of its own (a method ``field(points, real, fake)`` that returns the potentials
      ``(n,)`` at points, high where there are too few generated ones, and their gradients ``(n, d)``, both
      float32 and without graph): its potential and its forces, and ``val/energy`` = (mean potential of the
      real points - mean potential of the generated ones) / 2. It falls to a floor of order 1 /
      ``num_points``, on which two sets of one distribution differ. Beside it, with ``critic``, what the
      discriminator has learned of it, in the same scale, and ``val/field_correlation`` of both at the points
      shown.
    - Other games: the landscape of the discriminator's scores, and its gradient.

    The points are those of the weights that train, not of averaged ones: on those the forces act.
    Watching does not change the training: weights are the same, bit for bit, with this callback and without.

    Args:
        every_n_updates: Generator updates between two pictures.
        num_points: Real points, and generated ones.
        critic: Show the discriminator beside a game's own field.
        kwargs: ``seed``, ``gif`` and ``frame_duration`` of
            :class:`~lightning_gans.callbacks.pictures.Pictures`.

    Raises:
        ValueError: If a number is not positive, or, before training, if the game is not one of points in the
            plane.
        TypeError: Before training, if the game has no ``sample`` and ``score``.
    """

    folder = "field"

    def __init__(
        self, every_n_updates: int = 500, num_points: int = 500, critic: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(every_n_updates, **kwargs)
        checks.at_least(1, num_points=num_points)
        self.num_points = num_points
        self.critic = critic
        self._real = torch.empty(0, 2)
        self._plot: FieldPlot | None = None

    def prepare(self, trainer: Trainer, module: LightningModule) -> None:
        """Raise an error if the game cannot be drawn.

        Raises:
            TypeError: If it has no ``sample`` and ``score``.
            ValueError: If it is not a game of points in the plane, or one with classes.
        """
        check_game(module, "Field")
        name, shape = type(module).__name__, getattr(module, "image_shape", None)
        if shape is None or tuple(shape) != (2,):
            advice = "leave the callback out, or train on data of two dimensions"
            raise ValueError(f"Field draws points, but image_shape={shape} of {name} is not (2,): {advice}")
        if getattr(module, "conditional", False):
            advice = "leave the callback out"
            raise ValueError(f"Field draws one landscape, but {name} has one for each class: {advice}")

    def release(self) -> None:
        """Delete the plot, which holds the real points of the run."""
        self._plot = None

    def picture(self, trainer: Trainer, module: LightningModule) -> tuple[Image.Image, dict[str, float]]:
        """Draw points, field and forces."""
        game = cast(LatentGame, module)
        field: Any = getattr(module, "field", None)
        fake = game.sample(self.num_points, ema=False, seed=self.seed)
        if self._plot is None:
            found = real_samples(trainer, self.num_points)
            if found is None:
                raise ValueError("there are no real points: give trainer.fit() a loader that has some")
            self._real = found.to(fake)
            self._plot = FieldPlot(found, panels=2 if field and self.critic else 1, signed=field is not None)
        plot, real = self._plot, self._real
        title, values, views = f"update {trainer.global_step:,}", {}, []
        if field is not None:
            view, potentials = _view("potential", plot, real, fake, partial(field, real=real, fake=fake))
            energy = float(potentials[: len(real)].mean() - potentials[len(real) :].mean()) / 2
            values["val/energy"] = energy
            title += f"   ·   energy {energy:.3g}"
            views.append(view)
        if self.critic or not views:
            view, scores = _view("discriminator", plot, real, fake, partial(slopes, game))
            if views:
                values["val/field_correlation"] = correlation = _correlation(potentials, scores)
                view = replace(view, title=f"discriminator   ·   correlation {correlation:.2f}")
            views.append(view)
        return plot.draw(fake, title, views), values


def slopes(game: LatentGame, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the discriminator's scores of ``(n, d)`` points and their gradients ``(n, d)``.

    By forward differentiation, which works although ``score`` keeps no graph: it needs no other method of a
    game, gives no weight a gradient, and computes all coordinates in one pass.
    """
    n, d = points.shape
    directions = torch.eye(d).to(points).repeat_interleave(n, 0)
    # A compiled network does not propagate forward gradients. (Without one, the compiler is not loaded.)
    compiled = getattr(game, "compiles", False)
    eager = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    with eager, forward_ad.dual_level():
        scores, gradients = forward_ad.unpack_dual(
            game.score(forward_ad.make_dual(points.repeat(d, 1), directions))
        )
    # None if the score does not depend on the points.
    gradients = torch.zeros_like(scores) if gradients is None else gradients
    return scores[:n], gradients.reshape(d, n).T


def _view(
    title: str,
    plot: FieldPlot,
    real: Tensor,
    fake: Tensor,
    field: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> tuple[FieldView, Tensor]:
    """Return a field's view for the plot, and its values at all real and then all fake points."""
    places = [plot.mesh().to(fake), plot.lattice().to(fake), real, fake]
    values, gradients = (x.float().cpu().nan_to_num(0.0, 0.0, 0.0) for x in field(torch.cat(places)))
    sizes = [len(place) for place in places]
    shown, _, *at_points = values.split(sizes)
    _, around, _, at_fake = gradients.split(sizes)
    return FieldView(title, shown, around, at_fake), torch.cat(at_points)


def _correlation(a: Tensor, b: Tensor) -> float:
    """Return Pearson's correlation; 0 where one of the two is constant."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-30))
