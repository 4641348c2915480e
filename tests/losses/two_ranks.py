"""Run by two processes (torch.distributed.run): the potentials of their joined batch; writes JSON."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from lightning_gans.losses import coulomb


def samples():
    """Real and generated samples, and points elsewhere."""
    real, fake, points = torch.randn(3, 12, 3, 4, generator=torch.Generator().manual_seed(0))
    return real, fake[:8], points


def result(rank):
    real, fake, points = samples()
    real, fake = real.chunk(2)[rank], fake.chunk(2)[rank]
    found = {
        "potentials": [
            [x.tolist() for x in coulomb.potentials(real, fake, 3, 0.5, exclude_self, gather=True)]
            for exclude_self in (False, True)
        ],
        "local": [x.tolist() for x in coulomb.potentials(real, fake, 3, 0.5)],
        "elsewhere": coulomb.potential(points, real, fake, 3, 0.5, gather=True).tolist(),
    }
    try:
        coulomb.potentials(real, fake[: 4 - rank], gather=True)
    except ValueError as error:
        found["error"] = str(error)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    (Path(sys.argv[1]) / f"rank{rank}.json").write_text(json.dumps(result(rank)))
    dist.barrier()
    dist.destroy_process_group()
