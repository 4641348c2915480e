"""Potentials of the Coulomb GAN: speed, error and memory beside other ways to compute them.

python benchmarks/coulomb.py [--batch 128] [--size 32] [--rounds 7] [--big 4096]

Targets: at least 50 times as fast as the authors' form, which subtracts all pairs of samples (three sets of
pairs); every potential within 2e-6 of its value in float64 from differences; a batch of ``big`` images of
3x64x64 within 2 GiB. Most of the authors' form's time may go into getting its memory from the system, 200 MB
for each set of pairs at 32x32: it is timed in buffers that are there already, too. One of the images is a
near-duplicate of another, two are equal.
"""

import subprocess
import sys
from pathlib import Path

import torch
from common import alternate, arguments, machine, table
from torch import Tensor
from torch.nn.functional import interpolate

from lightning_gans.losses import coulomb

AS_WRITTEN, IN_BUFFERS = "differences (authors)", "the same, in buffers"


def photographs(n: int, size: int, rng: torch.Generator) -> Tensor:
    """Smooth images in [-1, 1] with a little noise."""
    smooth = interpolate(torch.randn(n, 3, size // 4, size // 4, generator=rng), size=size, mode="bilinear")
    return (0.6 * smooth + 0.1 * torch.randn(n, 3, size, size, generator=rng)).clamp(-1, 1)


def images(n: int, size: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    real, fake = photographs(n, size, rng), photographs(n, size, rng)
    fake[1] = fake[0] + 1e-4 * photographs(1, size, rng)[0]
    fake[2] = real[0]
    return real, fake


def from_kernels(kernels: Tensor, n: int) -> tuple[Tensor, Tensor]:
    potentials = kernels[:, :n].mean(1) - kernels[:, n:].mean(1)
    return potentials[:n], potentials[n:]


def by_differences(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The authors' form."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return ((a[:, None] - b[None]).square().sum(2) + 1).rsqrt()

    real, fake = real.flatten(1), fake.flatten(1)
    within, between, among = kernel(real, real), kernel(real, fake), kernel(fake, fake)
    return within.mean(1) - between.mean(1), between.mean(0) - among.mean(1)


class InBuffers:
    """The authors' form, with memory that is kept from call to call: no time for getting it."""

    def __init__(self, real: Tensor, fake: Tensor) -> None:
        self.pairs = torch.empty(len(real), len(fake), real[0].numel())

    def __call__(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        def kernel(a: Tensor, b: Tensor) -> Tensor:
            torch.sub(a[:, None], b[None], out=self.pairs)
            return (self.pairs.square_().sum(2) + 1).rsqrt()

        real, fake = real.flatten(1), fake.flatten(1)
        within, between, among = kernel(real, real), kernel(real, fake), kernel(fake, fake)
        return within.mean(1) - between.mean(1), between.mean(0) - among.mean(1)


def by_product(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """One product of matrices in float32, of centred images."""
    joined = torch.cat([real, fake]).flatten(1)
    joined = joined - joined.mean(0)
    squares = joined.square().sum(1)
    distances = (squares[:, None] + squares - 2 * joined @ joined.T).clamp(min=0).fill_diagonal_(0)
    return from_kernels((distances + 1).rsqrt(), len(real))


def by_cdist(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    joined = torch.cat([real, fake]).flatten(1)
    return from_kernels((torch.cdist(joined, joined).square() + 1).rsqrt(), len(real))


def exact(real: Tensor, fake: Tensor) -> Tensor:
    """Differences in float64, a sample at a time."""
    joined = torch.cat([real, fake]).flatten(1).double()
    kernels = torch.stack([((joined - one).square().sum(1) + 1).rsqrt() for one in joined])
    return torch.cat(from_kernels(kernels, len(real)))


MEMORY = """
import sys, torch
from pathlib import Path
from lightning_gans.losses import coulomb

def peak():  # GiB of this process; the figure of the resource module begins with that of its parent
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20

n = int(sys.argv[1])
torch.set_num_threads(int(sys.argv[2]))
coulomb.potentials(*torch.rand(2, 16, 3, 64, 64))
before = peak()
real, fake = (torch.rand(n, 3, 64, 64).mul_(2).sub_(1) for _ in range(2))
images = peak()
coulomb.potentials(real, fake)
print(f"{n} + {n} images of 3x64x64: {peak() - before:.2f} GiB, {images - before:.2f} of them the images")
"""


def main() -> None:
    options = arguments(__doc__, batch=128, size=32, rounds=7, big=4096).parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    real, fake = images(options.batch, options.size)
    expected = exact(real, fake)
    variants = {
        AS_WRITTEN: by_differences,
        IN_BUFFERS: InBuffers(real, fake),
        "product, float32": by_product,
        "torch.cdist": by_cdist,
        "ours": coulomb.potentials,
    }
    print("relative error of a potential    largest   median")
    for name, work in variants.items():
        errors = ((torch.cat(work(real, fake)).double() - expected) / expected).abs()
        print(f"{name:30} {errors.max():9.1e} {errors.median():8.1e}")

    def steps(work):
        def run(count: int) -> None:
            for _ in range(count):
                work(real, fake)

        return run

    timed = {name: steps(work) for name, work in variants.items()}
    for run in timed.values():
        run(1)
    timings = alternate(timed, options.rounds, 2, 2)
    for reference, targets in ((AS_WRITTEN, {"ours": "50"}), (IN_BUFFERS, None)):
        print(f"times as fast as {reference}:")
        table(timings, reference, options.batch, targets=targets)
    memory = [sys.executable, "-c", MEMORY, str(options.big), str(options.threads)]
    root = Path(__file__).parents[1]
    print(subprocess.run(memory, cwd=root, capture_output=True, text=True, check=True).stdout.strip())


if __name__ == "__main__":
    main()
