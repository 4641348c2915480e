"""What the discriminator itself says of the distance of samples from data, beside how good they are."""

from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from lightning_gans import checks
from lightning_gans.losses import gan as losses


class DistanceEstimate(Metric):
    """The game's own estimate of the distance of generator and data, by all samples and real images.

    From its discriminator's logits in evaluation mode: what its method ``distance(real, fake)`` makes of
    them, the Wasserstein distance up to the critic's Lipschitz constant of WGAN and WGAN-GP; or, where they
    estimate log p_data / p_g as GAN's do (``log_ratio``), the lower bound of the Jensen-Shannon divergence
    (arXiv 1701.07875, figures 3 and 4). One value a snapshot, without the noise of single batches; comparable
    within a run. Logits are kept: 4 bytes an image, on every rank.
    """

    higher_is_better: bool | None = None  # a weak discriminator makes it small, too
    full_state_update = False
    scores = ("estimate",)
    real: list[Tensor]
    fake: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self._games: tuple[Any, ...] = ()  # no attribute of its own: modules in modules are registered
        for name in ("real", "fake"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def take_game(self, game: Any) -> None:
        """Take the game that is asked.

        Raises:
            ValueError: If it estimates no distance.
        """
        if not (hasattr(game, "distance") or getattr(game, "log_ratio", False)):
            raise ValueError(f"{type(game).__name__} estimates no distance: leave DistanceEstimate out")
        self._games = (game,)

    def update(self, judged: Tensor, real: bool = False) -> None:
        """Add the discriminator's logits (n,) of samples, or of real images."""
        checks.shaped(("n",), "float", judged=judged)
        (self.real if real else self.fake).append(judged.detach())

    def compute(self) -> Tensor:
        """Return the estimate.

        Raises:
            ValueError: If there are no samples or no real images.
        """
        if not (len(self.real) and len(self.fake)):
            raise ValueError("DistanceEstimate needs samples and real images, one of each at least")
        (game,), real, fake = self._games, dim_zero_cat(self.real), dim_zero_cat(self.fake)
        if hasattr(game, "distance"):
            estimate: Tensor = game.distance(real, fake)
            return estimate
        return losses.jensen_shannon_bound(losses.discriminator_loss(real, fake))
