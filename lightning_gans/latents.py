"""Latent distributions: what the generator starts from."""

import torch
from torch import Tensor, nn

from lightning_gans.rebuild import Rebuildable


class Latent(Rebuildable, nn.Module):
    """A distribution over latent vectors.

    ``latent(n, rng)`` draws ``(n, dim)`` float32 values. Noise is drawn on the device of ``rng``; where
    parameters of its own come in, they decide the device of the result. It is an ``nn.Module`` because some
    papers learn its parameters; those train in the generator's turn.

    Args:
        dim: Length of a latent vector.

    Raises:
        ValueError: If ``dim`` is not positive.
    """

    def __init__(self, dim: int = 100) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim={dim} is no length of a latent vector: give a positive number")
        self.dim = dim

    def forward(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ``(n, dim)`` latent vectors."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Show the length in ``print(model)``."""
        return f"dim={self.dim}"


class Normal(Latent):
    """Standard normal latents, N(0, I)."""

    def forward(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ``(n, dim)`` latent vectors."""
        return torch.randn(n, self.dim, generator=rng, device=rng.device)


class Uniform(Latent):
    """Uniform latents, each coordinate in ``[-bound, bound)``.

    Args:
        dim: Length of a latent vector.
        bound: Half of the interval: 1 in the DCGAN paper, sqrt(3) for unit variance.

    Raises:
        ValueError: If ``dim`` or ``bound`` is not positive.
    """

    def __init__(self, dim: int = 100, bound: float = 1.0) -> None:
        super().__init__(dim)
        if bound <= 0:
            raise ValueError(f"bound={bound} leaves no interval: give a positive number")
        self.bound = bound

    def forward(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ``(n, dim)`` latent vectors."""
        return torch.rand(n, self.dim, generator=rng, device=rng.device).mul_(2 * self.bound).sub_(self.bound)
