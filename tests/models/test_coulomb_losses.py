import math
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lightning_gans.losses import coulomb

from .two_ranks_coulomb import samples

# Two generated and three real points; the answers are computed by hand.
FAKE = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
REAL = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], dtype=torch.float64)
KNOWN = {  # kernel_dim: Phi(fake), Phi(real)
    3: ([-0.0155424357, -0.3127640960], [0.1936049290, 0.1992038508, 0.2347080484]),
    5: ([-0.2557235247, -0.4736023901], [0.2373498724, 0.2381914645, 0.3261550451]),
}


def by_differences(real, fake, kernel_dim=3, epsilon=1.0):
    """The definition, from all pairs of differences."""

    def kernel(a, b):
        squares = (a[:, None] - b[None]).flatten(2).square().sum(2)
        return (squares + epsilon**2) ** (-(kernel_dim - 2) / 2)

    return (
        kernel(real, real).mean(1) - kernel(real, fake).mean(1),
        kernel(fake, real).mean(1) - kernel(fake, fake).mean(1),
    )


def photographs(n, seed, size=32):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, 3, 8, 8, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    return (0.6 * smooth + 0.1 * torch.randn(n, 3, size, size, generator=rng)).clamp(-1, 1)


@pytest.mark.parametrize(
    ("kernel_dim", "at_real", "pull"), [(3, 0.2928932188, 0.3535533906), (5, 0.6464466094, 0.5303300859)]
)
def test_two_points(kernel_dim, at_real, pull):
    fake, real = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    real_potentials, fake_potentials = coulomb.potentials(real, fake, kernel_dim)
    assert real_potentials.tolist() == pytest.approx([at_real], abs=1e-10)
    assert fake_potentials.tolist() == pytest.approx([-at_real], abs=1e-10)
    assert coulomb.force(fake, real, fake, kernel_dim).item() == pytest.approx(pull, abs=1e-10)


@pytest.mark.parametrize("kernel_dim", [3, 5])
def test_five_points(kernel_dim):
    at_real, at_fake = coulomb.potentials(REAL, FAKE, kernel_dim)
    assert at_fake.tolist() == pytest.approx(KNOWN[kernel_dim][0], abs=1e-10)
    assert at_real.tolist() == pytest.approx(KNOWN[kernel_dim][1], abs=1e-10)
    for points, values in ((REAL, at_real), (FAKE, at_fake)):
        assert coulomb.potential(points, REAL, FAKE, kernel_dim).tolist() == pytest.approx(values.tolist())


def test_energy_and_losses_of_five_points():
    at_real, at_fake = coulomb.potentials(REAL, FAKE)
    assert coulomb.energy(at_real, at_fake).item() == pytest.approx(0.1866627710, abs=1e-10)
    loss = coulomb.discriminator_loss(torch.zeros(3), torch.zeros(2), at_real, at_fake)
    assert loss.item() == pytest.approx(0.0931157771, abs=1e-10)
    # the paper's form of the same: half the sums
    halves = [coulomb.regression_loss(torch.zeros(n), x) * n / 2 for n, x in ((3, at_real), (2, at_fake))]
    assert sum(halves).item() == pytest.approx(0.1151579289, abs=1e-10)
    assert coulomb.generator_loss(torch.tensor([1.0, 3.0])).item() == -2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("epsilon", [1.0, 0.01])
def test_equal_sets_have_no_field(dtype, epsilon):
    real = photographs(40, 0, 16).to(dtype)
    for potentials in coulomb.potentials(real, real.clone(), epsilon=epsilon):
        assert potentials.dtype == dtype
        assert potentials.abs().max() < 1e-12
    assert coulomb.energy(*coulomb.potentials(real, real.clone(), epsilon=epsilon)).abs() < 1e-12
    assert coulomb.force(real, real, real.clone(), epsilon=epsilon).abs().max() < 1e-10


def test_floor_of_the_energy():
    """By hand for two points; for more it is the mean energy of two sets of a distribution."""
    pair = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert coulomb.energy_floor(pair).item() == pytest.approx((1 - 26**-0.5) / 2, rel=1e-6)
    assert coulomb.energy_floor(pair, 5, 2.0).item() == pytest.approx((2**-3 - 29**-1.5) / 2, rel=1e-6)
    rng = torch.Generator().manual_seed(0)
    energies = [
        coulomb.energy(*coulomb.potentials(*torch.randn(2, 40, 2, generator=rng))) for _ in range(400)
    ]
    floors = [coulomb.energy_floor(torch.randn(40, 2, generator=rng)) for _ in range(50)]
    assert torch.stack(floors).mean().item() == pytest.approx(torch.stack(energies).mean().item(), rel=0.03)
    with pytest.raises(ValueError, match="there are 1 samples: the floor needs two"):
        coulomb.energy_floor(pair[:1])


def test_far_apart():
    """Sets of coincident points, and points that are all far from one another."""
    at_real, at_fake = coulomb.potentials(torch.full((8, 3), 1e9), torch.zeros(8, 3))
    torch.testing.assert_close(at_real, torch.ones(8))
    torch.testing.assert_close(at_fake, -torch.ones(8))
    far = 1e6 * torch.arange(256.0)[:, None]
    at_real, at_fake = coulomb.potentials(far[::2], far[1::2])
    torch.testing.assert_close(at_fake, torch.full((128,), -0.0078125), atol=1e-6, rtol=0)
    torch.testing.assert_close(at_real, torch.full((128,), 0.0078125), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("kernel_dim", "spread"), [(3, 5.6e-6), (5, 1.7e-9)])
def test_field_between_noise_images(kernel_dim, spread):
    """Of images of noise, the printed exponent 3 leaves a thousandth of the field that exponent 1 does."""
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 128, 3, 64, 64, generator=rng).tanh().double()
    _, at_fake = coulomb.potentials(real, fake, kernel_dim)
    assert at_fake.std().item() == pytest.approx(spread, rel=0.1)


def test_exponent():
    a, b = torch.zeros(1, 1), torch.full((1, 1), math.sqrt(99))
    for kernel_dim in (3, 4, 5):
        _, at_fake = coulomb.potentials(b, a, kernel_dim)
        assert at_fake.item() == pytest.approx(10.0 ** -(kernel_dim - 2) - 1)


@pytest.mark.parametrize("shape", [(5,), (3, 4, 4)])
@pytest.mark.parametrize("sizes", [(12, 12), (7, 20), (1, 1), (1, 5)])
@pytest.mark.parametrize(("kernel_dim", "epsilon"), [(3, 1.0), (4, 0.1), (6, 2.0)])
def test_equal_to_differences(shape, sizes, kernel_dim, epsilon):
    rng = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(n, *shape, dtype=torch.float64, generator=rng) for n in sizes)
    expected = by_differences(real, fake, kernel_dim, epsilon)
    torch.testing.assert_close(coulomb.potentials(real, fake, kernel_dim, epsilon), expected)
    for points, values in zip((real, fake), expected, strict=True):
        torch.testing.assert_close(coulomb.potential(points, real, fake, kernel_dim, epsilon), values)


@pytest.mark.parametrize("entries", [1, 40, 1000])
def test_blocks_change_nothing(monkeypatch, entries):
    real, fake = torch.randn(2, 23, 30, generator=torch.Generator().manual_seed(0)).double()
    real, points = real[:18], torch.cat([real, fake])
    expected = by_differences(real, fake)
    force = coulomb.force(points, real, fake)
    monkeypatch.setattr(coulomb, "ENTRIES", entries)
    monkeypatch.setattr(coulomb, "COLUMNS", 7)
    torch.testing.assert_close(coulomb.potentials(real, fake), expected)
    torch.testing.assert_close(coulomb.potential(points, real, fake)[-23:], expected[1])
    torch.testing.assert_close(coulomb.force(points, real, fake), force)


def test_exact_with_near_duplicates():
    """What torch.cdist and a product in float32 lose."""
    real, fake = photographs(40, 0), photographs(40, 1)
    fake[5] = fake[4] + 1e-4 * photographs(1, 2)[0]
    fake[6], real[9] = real[3], real[8]
    expected = torch.cat(by_differences(real.double(), fake.double()))
    found = torch.cat(coulomb.potentials(real, fake))
    assert found.dtype == torch.float32
    assert ((found - expected) / expected).abs().max() < 2e-7


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_place_of_the_data_does_not_matter(offset):
    torch.testing.assert_close(
        coulomb.potentials(REAL + offset, FAKE + offset, epsilon=1e-3),
        coulomb.potentials(REAL, FAKE, epsilon=1e-3),
        rtol=1e-9,
        atol=0,
    )


@pytest.mark.parametrize("first", [0, 3])
def test_an_outlier_does_not_blur_the_others(first):
    """The origin of the sums that cancel is among the samples: it must be where most of them are."""
    rng = torch.Generator().manual_seed(0)
    real, fake = 1e-3 * torch.randn(2, 7, 2, dtype=torch.float64, generator=rng)
    real[first] = torch.tensor([1e5, 0.0])
    expected = by_differences(real, fake, epsilon=1e-3)
    torch.testing.assert_close(coulomb.potentials(real, fake, epsilon=1e-3), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("dim", [2, 300, 12288])
def test_equal_samples_are_at_distance_zero(dim):
    """Whatever rounding leaves of them: beside a tiny epsilon it would be a distance."""
    rng = torch.Generator().manual_seed(0)
    samples = 1 + torch.randn(12, dim, generator=rng)
    for values in coulomb.potentials(samples, samples.flip(0), epsilon=1e-6):
        assert values.abs().max() < 1e-12 * 1e6
    alone = coulomb.potential(samples[:1], samples[:1], 9 - samples, epsilon=1e-6)
    assert alone.item() == pytest.approx(1e6)


class Sizes(TorchDispatchMode):
    """Notes how large the largest tensor gets, in bytes."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        sizes = [x.numel() * x.element_size() for x in tree_leaves(found) if isinstance(x, torch.Tensor)]
        self.largest = max([self.largest, *sizes])
        return found


@pytest.mark.parametrize(("n", "dim"), [(150, 3000), (2000, 2)])
def test_memory_stays_flat(monkeypatch, n, dim):
    """Nothing is larger than the samples themselves or a block of distances, not to speak of n x n x dim."""
    monkeypatch.setattr(coulomb, "ENTRIES", 50_000)
    real, fake = torch.randn(2, n, dim, generator=torch.Generator().manual_seed(0))
    with Sizes() as sizes:
        coulomb.potentials(real, fake)
        coulomb.potential(real, real, fake)
        coulomb.force(real, real, fake)
    assert sizes.largest <= max(2 * 4 * real.numel(), 8 * 50_000)


def test_slices_are_narrow_on_the_cpu_alone(monkeypatch):
    monkeypatch.setattr(coulomb, "ENTRIES", 1 << 14)

    def widths(device):
        joined = torch.empty(16, 3000, device=device)
        return [a.shape[1] for a, _ in coulomb._slices(joined, joined, joined[0])]

    assert widths("cpu") == [*11 * [256], 184]
    assert widths("meta") == [1024, 1024, 952]


def test_force_is_the_gradient():
    rng = torch.Generator().manual_seed(0)
    real, fake, points = torch.randn(3, 6, 2, 3, dtype=torch.float64, generator=rng)
    for kernel_dim, epsilon in ((3, 1.0), (5, 0.5)):
        a = points.clone().requires_grad_()
        squares = [(a[:, None] - b[None]).square().sum((2, 3)) + epsilon**2 for b in (real, fake)]
        near, far = (s ** (-(kernel_dim - 2) / 2) for s in squares)
        (near.mean(1) - far.mean(1)).sum().backward()
        torch.testing.assert_close(coulomb.force(points, real, fake, kernel_dim, epsilon), a.grad)
        step = 1e-5 * torch.randn(points.shape, dtype=torch.float64, generator=rng)
        ahead, behind = (
            coulomb.potential(points + s, real, fake, kernel_dim, epsilon) for s in (step, -step)
        )
        slope = (coulomb.force(points, real, fake, kernel_dim, epsilon) * step).sum((1, 2))
        torch.testing.assert_close((ahead - behind) / 2, slope, rtol=1e-6, atol=1e-14)


def test_order_does_not_matter_and_swapping_negates():
    real, fake = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0)).double()
    at_real, at_fake = coulomb.potentials(real, fake)
    order = torch.randperm(9)
    shuffled = coulomb.potentials(real[order], fake.flip(0))
    torch.testing.assert_close(shuffled, (at_real[order], at_fake.flip(0)))
    torch.testing.assert_close(coulomb.potentials(fake, real), (-at_fake, -at_real))
    torch.testing.assert_close(coulomb.force(real, fake, real), -coulomb.force(real, real, fake))


@pytest.mark.parametrize("sizes", [(30, 30), (5, 40)])
@pytest.mark.parametrize("kernel_dim", [3, 4, 5])
def test_energy_is_a_squared_distance(sizes, kernel_dim):
    for seed in range(5):
        rng = torch.Generator().manual_seed(seed)
        real, fake = (torch.randn(n, 3, generator=rng).double() for n in sizes)
        assert coulomb.energy(*coulomb.potentials(real, fake, kernel_dim)) > 0


def test_without_the_sample_itself():
    at_real, at_fake = coulomb.potentials(REAL, FAKE, epsilon=0.5, exclude_self=True)
    for points, values, sign in ((REAL, at_real, 1), (FAKE, at_fake, -1)):
        for i, value in enumerate(values):
            rest = torch.cat([points[:i], points[i + 1 :]])
            sets = (rest, FAKE) if sign > 0 else (REAL, rest)
            alone = coulomb.potential(points[i : i + 1], *sets, epsilon=0.5)
            assert value.item() == pytest.approx(alone.item(), abs=1e-12)
    # the self term is all that sets the potentials of far points apart
    far = 1e9 * torch.arange(6.0)[:, None]
    assert torch.cat(coulomb.potentials(far[:3], far[3:], exclude_self=True)).abs().max() < 1e-8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_upcast(dtype):
    real, fake = photographs(8, 0, 16).to(dtype), photographs(8, 1, 16).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = coulomb.potentials(real, fake)
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found, coulomb.potentials(real.float(), fake.float()), rtol=0, atol=0)
    logits = torch.randn(2, 8).to(dtype)
    loss = coulomb.discriminator_loss(*logits, *found)
    assert loss.dtype == coulomb.generator_loss(logits[1]).dtype == torch.float32


def test_autocast_changes_nothing():
    real, fake = photographs(8, 0, 16), photographs(8, 1, 16)
    expected = [*coulomb.potentials(real, fake), coulomb.force(fake, real, fake)]
    with torch.autocast("cpu", torch.bfloat16):
        found = [*coulomb.potentials(real, fake), coulomb.force(fake, real, fake)]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_arguments_are_left_as_they_are():
    real, fake, points = REAL.clone(), FAKE.clone(), REAL.clone()
    coulomb.potentials(real, fake)
    coulomb.potential(points, real, fake)
    coulomb.force(points, real, fake)
    assert torch.equal(real, REAL)
    assert torch.equal(fake, FAKE)
    assert torch.equal(points, REAL)


def test_potentials_carry_no_graph():
    real, fake = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    targets = coulomb.potentials(real, fake)
    assert not any(x.requires_grad for x in (*targets, coulomb.force(real, real, fake)))
    logits = torch.randn(4, requires_grad=True), torch.randn(4, requires_grad=True)
    coulomb.discriminator_loss(*logits, *targets).backward()
    assert all(x.grad.abs().sum() > 0 for x in logits)


def test_what_is_not_finite_stays_so():
    real, fake = torch.randn(2, 4, 3)
    fake[1, 1] = math.nan
    assert torch.cat(coulomb.potentials(real, fake)).isnan().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: coulomb.potentials(REAL, FAKE, kernel_dim=2),
            "kernel_dim=2: give a finite number, at least 3",
        ),
        (lambda: coulomb.potentials(REAL, FAKE, epsilon=0.0), "epsilon=0.0"),
        *(
            (partial(coulomb.check_kernel, *arguments), f"{name}={bad}")
            for bad in (math.nan, math.inf, -math.inf)
            for name, arguments in (("kernel_dim", (bad, 1.0)), ("epsilon", (3, bad)))
        ),
        (lambda: coulomb.potentials(REAL[:0], FAKE), "there are 0 real and 2 fake samples"),
        (lambda: coulomb.potentials(REAL, FAKE[:, :1]), r"real is \(3, 2\), fake \(2, 1\)"),
        (
            lambda: coulomb.potentials(REAL, FAKE[:1], exclude_self=True),
            "exclude_self=True leaves nothing of",
        ),
        (lambda: coulomb.potential(REAL[:, :1], REAL, FAKE), r"real is \(3, 2\), points \(3, 1\)"),
        (lambda: coulomb.force(REAL[:, :1], REAL, FAKE), r"real is \(3, 2\), points \(3, 1\)"),
        (
            lambda: coulomb.regression_loss(torch.zeros(3, 1), torch.zeros(3)),
            r"logits have shape \(3, 1\), potentials \(3,\)",
        ),
        (lambda: coulomb.regression_loss(torch.zeros(3, 1, 4, 4), torch.zeros(3)), r"must return \(N,\)"),
    ],
)
def test_arguments(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_two_ranks_have_the_potentials_of_their_joined_batch(on_ranks):
    ranks = on_ranks("tests.models.two_ranks_coulomb")
    real, fake, points = samples()
    for exclude_self in (False, True):
        at_real, at_fake = coulomb.potentials(real, fake, epsilon=0.5, exclude_self=exclude_self)
        first, second = (rank["potentials"][exclude_self] for rank in ranks)
        assert first[0] + second[0] == pytest.approx(at_real.tolist(), rel=1e-6)
        assert first[1] + second[1] == pytest.approx(at_fake.tolist(), rel=1e-6)
    everywhere = coulomb.potential(points, real, fake, epsilon=0.5).tolist()
    alone = coulomb.potentials(real[:6], fake[:4], epsilon=0.5)
    for rank in ranks:
        assert rank["elsewhere"] == pytest.approx(everywhere, rel=1e-6)
        assert rank["empty"].startswith("there are 0 real and 2 fake samples")
        assert rank["fitted"]
    for exclude_self in (False, True):
        at_real, at_fake = coulomb.potentials(real, fake, epsilon=0.5, exclude_self=exclude_self)
        first, second = (rank["uneven"][exclude_self] for rank in ranks)
        assert [len(x) for x in first + second] == [7, 8, 5, 0]
        assert first[0] + second[0] == pytest.approx(at_real.tolist(), rel=1e-6)
        assert first[1] + second[1] == pytest.approx(at_fake.tolist(), rel=1e-6)
    assert ranks[0]["local"] == [x.tolist() for x in alone]
