"""The energy of the Coulomb GAN's field, as a distance of generated points to real ones."""

from torch import Tensor

from lightning_gans.losses import coulomb as losses
from lightning_gans.metrics.states import FeatureSets


class CoulombEnergy(FeatureSets):
    """Energy of real and generated points in the Coulomb GAN's field, and what it is of real points alone.

    Half the squared distance of both sets in the kernel's space
    (:func:`lightning_gans.losses.coulomb.energy`), for any game of points: it sees modes that are
    missing, their shares and their shapes, as far as these are not finer than ``epsilon``. It is never
    negative, and for two sets of N real points ``energy_floor`` in the mean, which falls as 1 / N: compare
    equal numbers. Of more points on one side those of the lowest numbers (``order``) count.

    Args:
        kernel_dim: The kernel's dimension, as in :class:`~lightning_gans.CoulombGAN`.
        epsilon: Softening length, in units of the data.

    Raises:
        ValueError: If an argument is out of range.
    """

    higher_is_better = False
    scores = ("energy", "energy_floor")
    what = "points"

    def __init__(self, kernel_dim: int = 3, epsilon: float = 1.0) -> None:
        super().__init__()
        losses.check_kernel(kernel_dim, epsilon)
        self.kernel = kernel_dim, epsilon

    def update(self, samples: Tensor, order: Tensor, real: bool) -> None:
        """Add points, floats (n, d), and numbers (n,) that sort them.

        Raises:
            ValueError: If shapes do not fit, or a point is not finite.
        """
        super().update(samples, order, real)

    def compute(self) -> dict[str, Tensor]:
        """Return ``energy``, and ``energy_floor``: its mean for as many real points in place of generated.

        Raises:
            ValueError: If a set has fewer than two points, or a number occurs twice.
        """
        real, fake = self.both()
        n = min(len(real), len(fake))
        at_real, at_fake = losses.potentials(real[:n], fake[:n], *self.kernel)
        return {
            "energy": losses.energy(at_real, at_fake),
            "energy_floor": losses.energy_floor(real[:n], *self.kernel),
        }
