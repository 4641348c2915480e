"""What a game's latents have become, beside how good the samples are."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class LatentSigma(Metric):
    """Mean standard deviation of the components of the game's latents (averaged weights, if there are any).

    DeLiGAN's penalty pulls those of a :class:`~lightning_gans.game.latents.GaussianMixture` to 1; near 0 each
    component repeats one sample. A fixed :class:`~lightning_gans.game.latents.Normal` has 1.
    """

    higher_is_better: bool | None = None
    full_state_update = False
    scores = ("latent_sigma",)

    def __init__(self) -> None:
        super().__init__()
        self._games: tuple[Any, ...] = ()  # no attribute of its own: modules in modules are registered

    def take_game(self, game: Any) -> None:
        """Take the game.

        Raises:
            ValueError: If there is none, or its latents have no standard deviation.
        """
        latent = getattr(game, "latent", None)
        if not hasattr(latent, "sigma"):
            what = "there is no game" if game is None else f"the game's latents are {type(latent).__name__}"
            raise ValueError(f"LatentSigma is for latents with a sigma, and {what}: leave it out")
        self._games = (game,)

    def update(self, index: Tensor) -> None:
        """Take the places of samples, which say nothing about the latents."""

    def compute(self) -> Tensor:
        """Return the mean."""
        sigma = self._games[0].network("latent", ema=True).sigma
        return torch.as_tensor(sigma, dtype=torch.float64).abs().mean()
