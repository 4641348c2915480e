"""Lines (GAN, arXiv 1406.2661, figure 3) and arithmetic (DCGAN, arXiv 1511.06434, figure 7) of latents."""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from lightning_gans import checks


def interpolate_latents(start: Tensor, end: Tensor, steps: int = 9, spherical: bool = False) -> Tensor:
    """Return ``steps`` latents on the way from ``start`` to ``end``, both included.

    The way is a straight line, or ``sin((1 - t) w) / sin(w) start + sin(t w) / sin(w) end``, where w is the
    angle between both: an arc around the origin if they are equally long. Source of the latter: Shoemake,
    *Animating rotation with quaternion curves*, 1985; for latents White, arXiv 1609.04468.

    Args:
        start: Shape (latent_dim,).
        end: Shape (latent_dim,).
        steps: Number of latents, at least 2.
        spherical: Take the arc. Where the angle is 0, or a latent is, the arc is the straight line.

    Returns:
        Shape (steps, latent_dim).

    Raises:
        ValueError: If ``steps`` is below 2, the latents are not two vectors of one length, or those of an arc
            are opposite: then there are many.
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}: give at least 2, the ends are included")
    if start.dim() != 1 or start.shape != end.shape:
        raise ValueError(
            f"start and end have shapes {tuple(start.shape)} and {tuple(end.shape)}: give two (latent_dim,)"
        )
    t = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    begin, finish = start.cpu().double(), end.cpu().double()
    line = torch.lerp(begin, finish, t)
    if spherical:
        # The cosine says little of small angles.
        lengths = vector_norm(begin), vector_norm(finish)
        crossed = begin * lengths[1], finish * lengths[0]
        angle = 2 * torch.atan2(vector_norm(crossed[0] - crossed[1]), vector_norm(crossed[0] + crossed[1]))
        if angle > torch.pi - 1e-6:
            raise ValueError("start and end are opposite, with no shortest arc between them: use a line")
        if angle > 1e-6:
            line = (((1 - t) * angle).sin() * begin + (t * angle).sin() * finish) / angle.sin()
    return line.to(start)


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


def most_certain(logits: Tensor, k: int, count: int = 3) -> Tensor:
    """Find samples for a concept: those that a classifier is surest to be of a class.

    Args:
        logits: The classifier's, (n, num_classes).
        k: The class.
        count: How many.

    Returns:
        Their places, int64 (count,), the surest first. Each has k as its likeliest class.

    Raises:
        ValueError: If there is no such class, or fewer samples are of it.
    """
    checks.one_of(range(logits.shape[1]), k=k)
    probabilities = logits.softmax(1)
    members = (probabilities.argmax(1) == k).nonzero()[:, 0]
    if len(members) < count:
        raise ValueError(
            f"{len(members)} of {len(logits):,} samples are of class {k}, and {count} are needed: draw more"
        )
    return members[probabilities[members, k].argsort(descending=True, stable=True)[:count]]
