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

from lightning_gans import checks
from lightning_gans.losses.precision import full_precision

ENTRIES = 1 << 23  # entries of a block of distances: 64 MB
COLUMNS = 256  # of all samples, used in float64 at a time: as many as fit into a CPU's cache
ROUNDING = 1e-15  # squared distances below this share of |a|^2 + |b|^2, times sqrt(dimension), are 0
WITNESSES = 16  # number of samples whose median becomes the origin


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
        gather: Against the samples of all processes, which may have unequally many.

    Returns:
        Shape (n,), float32 (float64 for float64 points), without a graph.

    Raises:
        ValueError: If an argument is out of range, a set is empty, or shapes do not fit.
    """
    joined, sides = _join(real, fake, kernel_dim, epsilon, gather)
    origin = _origin(joined)
    means = []
    for part in _parts(points, real, joined):
        squares = _squared_distances(part, joined, origin)
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
        gather: Against the samples of all processes, which may have unequally many; each gets the potentials
            of its own.

    Returns:
        Phi(real), shape (N,), and Phi(fake), shape (M,); as in :func:`potential`.

    Raises:
        ValueError: As in :func:`potential`; or if ``exclude_self`` leaves a set empty.
    """
    joined, sides = _join(real, fake, kernel_dim, epsilon, gather)
    origin = _origin(joined)
    own = len(real) + len(fake)
    means = sides.new_zeros(own, 2)
    # In two parts or more: distances of samples in different parts are computed only once.
    rows = max(1, min(ENTRIES // len(joined), own // 2))
    for start in range(0, own, rows):
        stop = min(start + rows, own)
        squares = _squared_distances(joined[start:stop], joined[start:], origin)
        kernels = squares.add_(epsilon**2).pow_((2 - kernel_dim) / 2)
        means[start:stop] += kernels @ sides[start:]
        means[stop:] += kernels[:, stop - start : own - start].T @ sides[start:stop]
    if exclude_self:
        if sides.max() == 1:
            raise ValueError("exclude_self=True leaves nothing of one sample: give two or more of each kind")
        weights = sides[:own]  # weight of a sample itself; 0 in the mean over the other kind
        means = (means - weights * epsilon ** (2 - kernel_dim)) / (1 - weights)
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
    origin = _origin(joined)
    signs = (kernel_dim - 2) * (sides[:, 0] - sides[:, 1])
    forces = []
    for part in _parts(points, real, joined):
        weights = _squared_distances(part, joined, origin).add_(epsilon**2).pow_(-kernel_dim / 2).mul_(signs)
        total = weights.sum(1, keepdim=True)
        forces.append(torch.cat([weights @ b - total * a for a, b in _slices(part, joined, origin)], 1))
    return _like(torch.cat(forces), points).reshape(points.shape)


def energy(real_potentials: Tensor, fake_potentials: Tensor) -> Tensor:
    """Return the energy of the field, (mean Phi(real) - mean Phi(fake)) / 2, which training lowers.

    It is half the squared distance of the two sets in the kernel's space: 0 for equal sets, positive for
    others. Two sets of N samples of one distribution differ too: that is its noise floor, of order 1 / N.
    That holds for potentials of all samples, self terms included. Without them (``exclude_self``) the floor
    is 0 in the mean, and with a part of the samples, as one process has after ``gather``, single values lie
    on both sides of it: either may be negative.

    Args:
        real_potentials: Potentials at real samples.
        fake_potentials: Potentials at generated samples.

    Returns:
        A scalar.
    """
    return (full_precision(real_potentials).mean() - full_precision(fake_potentials).mean()) / 2


@torch.no_grad()
def energy_floor(samples: Tensor, kernel_dim: int = 3, epsilon: float = 1.0) -> Tensor:
    """Return the energy that two sets of N samples of one distribution have in the mean, by N of them.

    It is (k(a, a) - mean k(a, b)) / N over pairs of different samples, an unbiased estimate. A perfect
    generator has that energy against real samples in the mean, if its samples are independent. One that
    prefers the middle of the data may have less, but only by a share of order 1 / N.

    Args:
        samples: (N, ...), two or more.
        kernel_dim: As in :func:`potential`.
        epsilon: As in :func:`potential`.

    Returns:
        A scalar, float64.

    Raises:
        ValueError: If an argument is out of range, or there are fewer than two samples.
    """
    check_kernel(kernel_dim, epsilon)
    if len(samples) < 2:
        raise ValueError(f"there are {len(samples)} samples: the floor needs two or more")
    rows = full_precision(samples).flatten(1)
    origin, n = _origin(rows), len(rows)
    own = epsilon ** (2 - kernel_dim)
    sums = [
        _squared_distances(part, rows, origin).add_(epsilon**2).pow_((2 - kernel_dim) / 2).sum()
        for part in _parts(rows, rows, rows)
    ]
    return (own - (torch.stack(sums).sum() - n * own) / (n * (n - 1))) / n


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
        shapes = f"{tuple(logits.shape)}, potentials {tuple(targets.shape)}"
        raise ValueError(f"logits have shape {shapes}: the discriminator must return (N,)")
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
    """Raise a ValueError unless ``kernel_dim`` is at least 3, ``epsilon`` positive, and both finite."""
    checks.within("[3, inf)", kernel_dim=kernel_dim)
    checks.positive(epsilon=epsilon)


def _join(
    real: Tensor, fake: Tensor, kernel_dim: int, epsilon: float, gather: bool = False
) -> tuple[Tensor, Tensor]:
    """Check the arguments; join real and generated samples, of all processes if asked for.

    Returns:
        The samples as rows: real, generated, then those of other processes; and their weights in the mean
        over all real and in that over all generated ones, two columns.
    """
    check_kernel(kernel_dim, epsilon)
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(f"real is {tuple(real.shape)}, fake {tuple(fake.shape)}: give samples of one shape")
    joined = torch.cat([full_precision(real), full_precision(fake)]).flatten(1)
    if joined.device.type == "mps":  # has no float64: computed on the CPU. Untested.
        joined = joined.cpu()
    counts = torch.tensor([[len(real), len(fake)]])
    if gather and torch.distributed.is_available() and torch.distributed.is_initialized():
        joined, counts = _gather(joined, counts)
    totals = counts.sum(0)
    if not totals.all():
        raise ValueError(f"there are {totals[0]} real and {totals[1]} fake samples: give one of each or more")
    sides = torch.eye(2, dtype=torch.float64).repeat(len(counts), 1) / totals
    return joined, sides.repeat_interleave(counts.flatten(), 0).to(joined.device)


def _gather(joined: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of all processes, and the counts of each; those of this one come first."""
    ranks, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    order = [rank, *(other for other in range(ranks) if other != rank)]
    mine = counts.to(joined.device)
    sizes = [torch.empty_like(mine) for _ in range(ranks)]
    torch.distributed.all_gather(sizes, mine)
    counts = torch.cat([sizes[other] for other in order]).cpu()
    rows = counts.sum(1).tolist()
    # Gathered tensors must have one size on all ranks: shorter batches are padded, and cut afterwards.
    padded = torch.cat([joined, joined.new_zeros(max(rows) - len(joined), *joined.shape[1:])])
    parts = [torch.empty_like(padded) for _ in range(ranks)]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([parts[other][:n] for other, n in zip(order, rows, strict=True)]), counts


def _parts(points: Tensor, real: Tensor, joined: Tensor) -> tuple[Tensor, ...]:
    """Cut points so that their distances from all samples take little memory."""
    if points.shape[1:] != real.shape[1:]:
        raise ValueError(f"real is {tuple(real.shape)}, points {tuple(points.shape)}: give one shape")
    rows = points.flatten(1).to(joined.device)
    parts: tuple[Tensor, ...] = rows.split(max(1, ENTRIES // len(joined)))
    return parts


def _difference(means: Tensor, like: Tensor) -> Tensor:
    return _like(means[:, 0] - means[:, 1], like)


def _like(values: Tensor, samples: Tensor) -> Tensor:
    return values.to(samples.device, full_precision(samples).dtype)


def _origin(joined: Tensor) -> Tensor:
    """Return a point among the samples, (d,): the median of a few.

    Numbers are large far from it, and the rounding of squared distances is in proportion. From a median a few
    samples that lie apart are as far as from the rest, which is near; a single sample could be one of them.
    """
    step = -(-len(joined) // WITNESSES)
    ordered = joined[::step].sort(0).values  # median() refuses torch's deterministic algorithms on a GPU
    return ordered[(len(ordered) - 1) // 2]


def _squared_distances(points: Tensor, joined: Tensor, origin: Tensor) -> Tensor:
    """Return |a - b|^2 of points a (n, d) and samples b (m, d): (n, m) float64.

    By a product of matrices, |a|^2 - 2 a.b + |b|^2, in float64. In float32 the sum cancels for near pairs:
    among 256 images of 3x32x32 with one near-duplicate, potentials were wrong by 7e-6 of their size, with
    ``torch.cdist`` by 1e-4 and more, here by 5e-13. On a CPU it costs twice the time of float32, and a tenth
    of that of differences without a product; and neither autocast nor TF32 touches it.
    """
    squares = torch.zeros(len(points), len(joined), dtype=torch.float64, device=joined.device)
    at_points, at_joined = squares.new_zeros(len(points), 1), squares.new_zeros(len(joined))
    for a, b in _slices(points, joined, origin):
        squares.addmm_(a, b.T, alpha=-2)
        at_points += a.square().sum(1, keepdim=True)
        at_joined += b.square().sum(1)
    sums = at_points + at_joined
    squares.add_(sums)
    # Between equal samples only rounding errors are left, sometimes below 0. They grow with the root of the
    # dimension (measured: 1e-16 of the sum, times the root).
    return squares.masked_fill_(squares < sums.mul_(ROUNDING * points.shape[1] ** 0.5), 0)


def _slices(points: Tensor, joined: Tensor, origin: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield columns of points and samples in float64, less the origin, some at a time.

    So numbers are no larger than differences of samples, wherever the data lie.
    """
    width = COLUMNS
    if joined.device.type != "cpu":  # on a GPU fewer and larger calls are faster
        width = max(COLUMNS, ENTRIES // len(joined))
    for a, b, middle in zip(*(x.split(width, -1) for x in (points, joined, origin)), strict=True):
        yield a - middle.double(), b - middle.double()
