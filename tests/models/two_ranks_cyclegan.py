"""Run by two processes (torch.distributed.run): CycleGAN with histories that are full; weights, histories."""

import torch

from lightning_gans import CycleGAN
from lightning_gans.callbacks import Checkpoint
from tests.conformance.games import pairs, same, trainer
from tests.conformance.ranks import digest, reachable


def run(folder, updates, ckpt_path=None):
    torch.manual_seed(0)
    data = pairs(batch_size=2, limit=24)  # six batches an epoch on each rank
    game = CycleGAN(
        data.input_shape,
        data.image_shape,
        generator={"width": 2, "blocks": 1},
        discriminator={"width": 2, "receptive_field": 16},
        lambda_identity=0.5,
        pool_size=3,
    )
    fit = trainer([Checkpoint(dirpath=str(folder))], max_steps=updates, strategy="ddp", devices=2)
    fit.fit(game, data, ckpt_path=ckpt_path)
    torch.distributed.barrier()
    return game, torch.load(folder / "last.ckpt", weights_only=True)


def found(folder):
    game, whole = run(folder / "cyclegan-whole", 12)
    run(folder / "cyclegan-part", 8)
    resumed, stored = run(folder / "cyclegan-part", 12, str(folder / "cyclegan-part" / "last.ckpt"))
    histories = {way: pool.state() for way, pool in game.pools.items()}
    kept = [rank["state"]["pools"] for rank in whole["run_state"]]
    return {
        "weights": digest(reachable(game)),
        "histories": digest(histories),
        "kept": same(kept[torch.distributed.get_rank()], histories),
        "resumed": same(
            (whole["state_dict"], whole["run_state"], reachable(game)),
            (stored["state_dict"], stored["run_state"], reachable(resumed)),
        ),
    }
