"""Potentials and losses of the Coulomb GAN (Unterthiner et al., 2017, arXiv 1708.08819).

Real samples attract, generated ones repel. With the Plummer kernel of two points a and b,

    k(a, b) = (|a - b|^2 + epsilon^2)^(-(kernel_dim - 2) / 2),

the potential at a is ``Phi(a) = mean k(a, real) - mean k(a, fake)``. The discriminator learns it by
regression and the generator climbs it. The sign is the paper's; the authors' code has the opposite one.

The exponent is kernel_dim - 2, as in the code that gave the paper's numbers: 1 by default. The paper prints d
in its place, with d = 3; with that exponent the field between images is flat to four digits.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_gans.losses.precision import full_precision

ENTRIES = 1 << 23  # of a block of distances: 64 MB
COLUMNS = 256  # of all samples, in float64 at a time
ROUNDING = 1e-13  # of |a|^2 + |b|^2: squared distances below are 0


@torch.no_grad()
def potential(
    points: Tensor,
    real: Tensor,
    fake: Tensor,
    kernel_dim: int = 3,
    epsilon: float = 1.0,
    gather: bool = False,
) -> Tensor:
    """Return Phi at any points: mean k(points, real) - mean k(points, fake).

    Args:
        points: Where, (n, ...).
        real: Real samples, (N, ...).
        fake: Generated samples, (M, ...).
        kernel_dim: The kernel's dimension; its exponent is kernel_dim - 2. At least 3.
        epsilon: Softening length, in units of the data: the field shows nothing finer.
        gather: Against the samples of all processes.

    Returns:
        Shape (n,), float32 (float64 for float64 points), without a graph.

    Raises:
        ValueError: If an argument is out of range, a set is empty, or shapes do not fit.
    """
    joined, sides = _join(real, fake, kernel_dim, epsilon, gather)
    means = []
    for part in _parts(points, real, joined):
        squares = _squared_distances(part, joined)
        means.append(squares.add_(epsilon**2).pow_((2 - kernel_dim) / 2) @ sides)
    return _difference(torch.cat(means), points)


@torch.no_grad()
def potentials(
    real: Tensor,
    fake: Tensor,
    kernel_dim: int = 3,
    epsilon: float = 1.0,
    exclude_self: bool = False,
    gather: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return Phi at the samples themselves, the discriminator's targets.

    A sample is a member of its own set, at distance 0: a real one gains epsilon^-(kernel_dim - 2) / N by
    that, a generated one loses as much. Both released codes keep this term, which makes the size of the batch
    a part of the target.

    Args:
        real: Real samples, (N, ...).
        fake: Generated samples, (M, ...).
        kernel_dim: As in :func:`potential`.
        epsilon: As in :func:`potential`.
        exclude_self: Leave that term out, and divide by one less: an unbiased estimate.
        gather: Against the samples of all processes; each gets the potentials of its own.

    Returns:
        Phi(real), shape (N,), and Phi(fake), shape (M,); as in :func:`potential`.

    Raises:
        ValueError: As in :func:`potential`; or if ``exclude_self`` leaves a set empty.
    """
    joined, sides = _join(real, fake, kernel_dim, epsilon, gather)
    own = len(real) + len(fake)
    means = sides.new_zeros(own, 2)
    # The distance of two own samples is computed once, if they are not in the same part; hence two at least.
    rows = max(1, min(ENTRIES // len(joined), own // 2))
    for start in range(0, own, rows):
        stop = min(start + rows, own)
        squares = _squared_distances(joined[start:stop], joined[start:])
        kernels = squares.add_(epsilon**2).pow_((2 - kernel_dim) / 2)
        means[start:stop] += kernels @ sides[start:]
        means[stop:] += kernels[:, stop - start : own - start].T @ sides[start:stop]
    if exclude_self:
        ranks = len(joined) // own
        if ranks * min(len(real), len(fake)) < 2:
            raise ValueError(
                f"exclude_self=True leaves nothing of {len(real)} real or {len(fake)} generated samples: "
                "give two or more of each"
            )
        sizes = sides.new_tensor([ranks * len(real), ranks * len(fake)])
        without = (means * sizes - epsilon ** (2 - kernel_dim)) / (sizes - 1)
        means = torch.where(sides[:own] > 0, without, means)
    at_real, at_fake = _difference(means, real).split([len(real), len(fake)])
    return at_real, at_fake


@torch.no_grad()
def force(points: Tensor, real: Tensor, fake: Tensor, kernel_dim: int = 3, epsilon: float = 1.0) -> Tensor:
    """Return the gradient of the potential: where the field pulls a generated sample.

    With p = kernel_dim - 2 and r the softened distance it is
    ``p * (mean (y - a) r^-(p + 2) over real y - mean (x - a) r^-(p + 2) over generated x)``.

    Args:
        points: The points a, (n, ...).
        real: Real samples, (N, ...).
        fake: Generated samples, (M, ...).
        kernel_dim: As in :func:`potential`.
        epsilon: As in :func:`potential`.

    Returns:
        The shape of ``points``; otherwise as in :func:`potential`.

    Raises:
        ValueError: As in :func:`potential`.
    """
    joined, sides = _join(real, fake, kernel_dim, epsilon)
    signs = (kernel_dim - 2) * (sides[:, 0] - sides[:, 1])
    forces = []
    for part in _parts(points, real, joined):
        weights = _squared_distances(part, joined).add_(epsilon**2).pow_(-kernel_dim / 2).mul_(signs)
        total = weights.sum(1, keepdim=True)
        forces.append(torch.cat([weights @ b - total * a for a, b in _slices(part, joined)], 1))
    return torch.cat(forces).reshape(points.shape).to(full_precision(points).dtype)


def energy(real_potentials: Tensor, fake_potentials: Tensor) -> Tensor:
    """Return the energy of the field, (mean Phi(real) - mean Phi(fake)) / 2, which training lowers.

    It is half the squared distance of the two sets in the kernel's space: 0 for equal sets, positive for
    others (with the self terms: ``exclude_self=False``). Two sets of N samples of one distribution differ
    too: that is its noise floor, of order 1 / N.

    Args:
        real_potentials: Potentials at real samples.
        fake_potentials: Potentials at generated samples.

    Returns:
        A scalar.
    """
    return (full_precision(real_potentials).mean() - full_precision(fake_potentials).mean()) / 2


def discriminator_loss(
    real_logits: Tensor, fake_logits: Tensor, real_potentials: Tensor, fake_potentials: Tensor
) -> Tensor:
    """Return mean (D(y) - Phi(y))^2 + mean (D(x) - Phi(x))^2 for real y and generated x.

    This is the released codes' form. The paper's, with sums over the N samples of each kind and a factor 1/2,
    is N / 2 times as large; the weight decay was chosen for this one.

    Args:
        real_logits: Outputs for real data, (N,).
        fake_logits: Outputs for generated data, (M,).
        real_potentials: Targets of the former, (N,).
        fake_potentials: Targets of the latter, (M,).

    Returns:
        A scalar >= 0.

    Raises:
        ValueError: If there is not one output for each target.
    """
    return regression_loss(real_logits, real_potentials) + regression_loss(fake_logits, fake_potentials)


def regression_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return mean (D(a) - Phi(a))^2: :func:`discriminator_loss` at one set of points.

    Args:
        logits: Outputs, (N,).
        targets: Potentials, (N,).

    Returns:
        A scalar >= 0.

    Raises:
        ValueError: If the shapes differ. (N, 1) less (N,) would be all N^2 differences.
    """
    if logits.shape != targets.shape:
        raise ValueError(
            f"logits have shape {tuple(logits.shape)}, potentials {tuple(targets.shape)}: use a "
            "discriminator with one output for each sample, shape (N,)"
        )
    return (full_precision(logits) - full_precision(targets)).square().mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Return -mean D(G(z)): the generator climbs the learned potential.

    The released codes' form; the paper's is half of it.

    Args:
        fake_logits: Outputs for generated data.

    Returns:
        A scalar.
    """
    return -full_precision(fake_logits).mean()


def check_kernel(kernel_dim: int, epsilon: float) -> None:
    """Raise a ValueError unless ``kernel_dim`` is at least 3 and ``epsilon`` positive."""
    if kernel_dim < 3:
        raise ValueError(
            f"kernel_dim={kernel_dim} gives the kernel an exponent, kernel_dim - 2, below 1: give 3 or more"
        )
    if epsilon <= 0:
        raise ValueError(f"epsilon={epsilon} makes a sample's own potential infinite: give a positive number")


def _join(
    real: Tensor, fake: Tensor, kernel_dim: int, epsilon: float, gather: bool = False
) -> tuple[Tensor, Tensor]:
    """Check the arguments; join real and generated samples, of all processes if asked for.

    Returns:
        The samples as rows: real, generated, then those of other processes; and their weights in the mean
        over all real and in that over all generated ones, two columns.
    """
    check_kernel(kernel_dim, epsilon)
    if not len(real) or not len(fake):
        raise ValueError(
            f"there are {len(real)} real and {len(fake)} generated samples: give at least one of each"
        )
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(
            f"fake has shape {tuple(fake.shape)}, real {tuple(real.shape)}: samples must be of one shape"
        )
    joined = torch.cat([full_precision(real), full_precision(fake)]).flatten(1)
    sides = torch.zeros(len(joined), 2, dtype=torch.float64, device=joined.device)
    sides[: len(real), 0] = 1 / len(real)
    sides[len(real) :, 1] = 1 / len(fake)
    if not (gather and torch.distributed.is_available() and torch.distributed.is_initialized()):
        return joined, sides
    ranks, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    size = torch.tensor([len(real), len(fake)], device=joined.device)
    sizes = [torch.empty_like(size) for _ in range(ranks)]
    torch.distributed.all_gather(sizes, size)
    counts = [other.tolist() for other in sizes]
    if any(count != counts[0] for count in counts):
        raise ValueError(
            f"the processes have {counts} real and generated samples: give all equally many (drop_last)"
        )
    parts = [torch.empty_like(joined) for _ in range(ranks)]
    torch.distributed.all_gather(parts, joined)
    del parts[rank]
    return torch.cat([joined, *parts]), sides.repeat(ranks, 1) / ranks


def _parts(points: Tensor, real: Tensor, joined: Tensor) -> tuple[Tensor, ...]:
    """Cut points so that their distances from all samples take little memory."""
    if points.shape[1:] != real.shape[1:]:
        raise ValueError(
            f"points has shape {tuple(points.shape)}, real {tuple(real.shape)}: samples must be of one shape"
        )
    parts: tuple[Tensor, ...] = points.flatten(1).split(max(1, ENTRIES // len(joined)))
    return parts


def _difference(means: Tensor, like: Tensor) -> Tensor:
    return (means[:, 0] - means[:, 1]).to(full_precision(like).dtype)


def _squared_distances(points: Tensor, joined: Tensor) -> Tensor:
    """Return |a - b|^2 of points a (n, d) and samples b (m, d): (n, m) float64.

    By a product of matrices, |a|^2 - 2 a.b + |b|^2, in float64. In float32 the sum cancels for near pairs:
    among 256 images of 3x32x32 with one near-duplicate, potentials were wrong by 7e-6 of their size, with
    ``torch.cdist`` by 1e-4 and more, here by 5e-13. On a CPU it costs twice the time of float32, and a tenth
    of that of differences without a product; and neither autocast nor TF32 touches it.
    """
    squares = torch.zeros(len(points), len(joined), dtype=torch.float64, device=joined.device)
    at_points, at_joined = squares.new_zeros(len(points), 1), squares.new_zeros(len(joined))
    for a, b in _slices(points, joined):
        squares.addmm_(a, b.T, alpha=-2)
        at_points += a.square().sum(1, keepdim=True)
        at_joined += b.square().sum(1)
    sums = at_points + at_joined
    squares.add_(sums)
    # Of equal samples nothing but rounding is left (measured: 1e-15 of the sum), below 0 at times.
    return squares.masked_fill_(squares < sums.mul_(ROUNDING), 0)


def _slices(points: Tensor, joined: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Give the next columns of points and samples, in float64, seen from the first sample.

    Seen from there, numbers are no larger than differences of samples, wherever the data lie.
    """
    columns = zip(points.split(COLUMNS, 1), joined.split(COLUMNS, 1), strict=True)
    for a, b in columns:
        origin = b[0].double()
        yield a - origin, b - origin
