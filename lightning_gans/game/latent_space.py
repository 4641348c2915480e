"""Walks (GAN, arXiv 1406.2661, figure 3) and arithmetic (DCGAN, arXiv 1511.06434, figure 7) on latents."""

import torch
from torch import Tensor


def interpolate_latents(start: Tensor, end: Tensor, steps: int = 9) -> Tensor:
    """Return ``steps`` latents on the straight line from ``start`` to ``end``, both included.

    Args:
        start: Shape (latent_dim,).
        end: Shape (latent_dim,).
        steps: Number of latents, at least 2.

    Returns:
        Shape (steps, latent_dim).

    Raises:
        ValueError: If ``steps`` is below 2, or the latents are not two vectors of one length.
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}: give at least 2, the ends are included")
    if start.dim() != 1 or start.shape != end.shape:
        raise ValueError(
            f"start and end have shapes {tuple(start.shape)} and {tuple(end.shape)}: give two (latent_dim,)"
        )
    t = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)
    return torch.lerp(start, end, t[:, None])


def vector_arithmetic(a: Tensor, b: Tensor, c: Tensor, rng: torch.Generator, noise: float = 0.25) -> Tensor:
    """Return the latents of a 3x3 grid: mean(a) - mean(b) + mean(c), and eight neighbours.

    Each concept is the mean of a few latents (three in the paper) whose images show it.

    Args:
        a: Latents of the first concept, (n, latent_dim).
        b: Latents of the concept to subtract.
        c: Latents of the concept to add.
        rng: Source of the noise.
        noise: Bound of the uniform noise that is added to each coordinate of the neighbours.

    Returns:
        Shape (9, latent_dim), row by row; number 4, the centre, has no noise.

    Raises:
        ValueError: If a concept is not a matrix with the same latent_dim as the others.
    """
    for name, latents in (("a", a), ("b", b), ("c", c)):
        if latents.dim() != 2 or latents.shape[1:] != a.shape[1:]:
            raise ValueError(
                f"{name} has shape {tuple(latents.shape)}: give (n, latent_dim), the same for all"
            )
    centre = a.mean(0) - b.mean(0) + c.mean(0)
    draws = torch.rand(9, len(centre), generator=rng, device=rng.device).to(centre)
    offsets = noise * (2 * draws - 1)
    offsets[4] = 0
    return centre + offsets
