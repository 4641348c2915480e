"""Run by two processes (torch.distributed.run): the potentials of their joined batch."""

import torch
import torch.distributed as dist
from lightning.pytorch import Callback

from lightning_gans.losses import coulomb
from tests.conformance.games import digits, game, trainer


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
    real, fake, _ = samples()
    real, fake = real.split([7, 5])[rank], fake.split([8, 0])[rank]
    found["uneven"] = [
        [x.tolist() for x in coulomb.potentials(real, fake, 3, 0.5, exclude_self, gather=True)]
        for exclude_self in (False, True)
    ]
    try:
        coulomb.potentials(real[:0], real[:1], gather=True)
    except ValueError as error:
        found["empty"] = str(error)
    return found


def fitted():
    """Whether a game of the joined batch gets over held-out samples that the ranks cannot share evenly."""
    data = digits(eval_batch_size=64)  # 297 held-out samples
    sizes = []

    class Sizes(Callback):
        def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
            sizes.append(len(batch[0]))

    fit = trainer(
        [Sizes()], max_steps=2, limit_val_batches=None, val_check_interval=2, strategy="ddp", devices=2
    )
    fit.fit(game("CoulombGAN", data, gather=True), data)
    everywhere = [None, None]
    dist.all_gather_object(everywhere, sizes)
    uneven = everywhere[0] != everywhere[1] and len(everywhere[0]) == len(everywhere[1])
    return uneven and bool(fit.callback_metrics["val/discriminator_loss"].isfinite())


def found(folder):
    return {**result(dist.get_rank()), "fitted": fitted()}
