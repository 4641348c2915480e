"""Pictures of a learned mixture: what each component generates, and where it lies."""

from typing import Any, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from lightning_gans import checks
from lightning_gans.callbacks.pictures import Pictures, real_samples
from lightning_gans.drawing.grids import beside, with_headings
from lightning_gans.drawing.mixtures import component_ellipses, component_images, component_points
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.latents import GaussianMixture

REAL_POINTS = 1_000


class Components(Pictures):
    """Draw what the components of a learned mixture generate, and where they lie, and animate it at the end.

    For every game whose latents are a :class:`~lightning_gans.game.latents.GaussianMixture`. On the left a
    row of images for each of the first components, or, of vectors, the first two coordinates of points of all
    components, over real ones in grey. On the right the means and the ellipses of one sigma: in two
    dimensions as they are, in more in the plane of the means' first two principal components. Colours are
    components; on the right, those without samples on the left are grey.

    A picture at the start, one every ``every_n_updates`` generator updates and one at the end go to
    ``components/update=<update>.png`` in the run's folder, and to TensorBoard and W&B where such a logger is
    attached; ``components.gif`` is the whole training. Averaged weights are drawn if there are any;
    in conditional games the samples go through the classes one after the other. The noise is the same in all
    pictures, and the training is not changed. Other latents are not drawn, with a warning.

    Args:
        every_n_updates: Generator updates between two pictures.
        rows: Components whose images are drawn.
        columns: Images of each; of vectors, points of each component.
        kwargs: ``seed``, ``gif`` and ``frame_duration`` of
            :class:`~lightning_gans.callbacks.pictures.Pictures`.

    Raises:
        ValueError: If a number is not positive.
    """

    folder = "components"

    def __init__(
        self, every_n_updates: int = 1_000, rows: int = 10, columns: int = 10, **kwargs: Any
    ) -> None:
        super().__init__(every_n_updates, **kwargs)
        checks.at_least(1, rows=rows, columns=columns)
        self.rows, self.columns = rows, columns

    def stands_aside(self, module: LightningModule) -> str | None:
        """Return why nothing is drawn, if the latents are no mixture."""
        latent = getattr(module, "latent", None)
        if hasattr(latent, "of_components"):
            return None
        return f"the latents of {type(module).__name__} are {type(latent).__name__}, no GaussianMixture"

    def picture(self, trainer: Trainer, module: LightningModule) -> tuple[Image.Image, dict[str, float]]:
        """Draw samples and latents side by side."""
        game = cast(LatentGame, module)
        latent = cast(GaussianMixture, game.network("latent", ema=True))
        images = len(game.image_shape) == 3
        drawn = min(latent.num_components, self.rows) if images else latent.num_components
        components = torch.arange(drawn).repeat_interleave(self.columns)
        with torch.no_grad():
            latents = latent.of_components(components, torch.Generator().manual_seed(self.seed))
        labels = None
        if getattr(game, "conditional", False):
            labels = torch.arange(len(components)) % self.columns % (game.num_classes or 1)
        samples = game.sample_from(latents, labels).cpu()
        if images:
            left = component_images(samples, drawn)
        else:
            left = component_points(samples, drawn, real_samples(trainer, REAL_POINTS))
        means, sigma = (x.detach().float().cpu() for x in (latent.mu, latent.sigma))
        right = component_ellipses(means, sigma, drawn)
        return with_headings(beside(left, right), [f"update {trainer.global_step:,}"]), {}
