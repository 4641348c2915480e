"""Seconds of a round of every paper on one device, and the bytes of the gradients that its ranks exchange.

A round is what one update of the generator waits for. The whole `Trainer.fit` with each paper's default
networks, random images in place of data: 32 pixels in batches of 64, DCGAN also 64 pixels in batches of 128;
translations of 256 pixels, one at a time. The median of the rounds after the warm-up. `benchmarks/scaling.py`
computes from these figures what several devices can bring.

    python benchmarks/steps.py --json steps.json                    # on a GPU, if there is one: 2 minutes
    python benchmarks/steps.py --device cpu --tiny --json x.json    # whether it runs
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from common import machine, quiet, silent_trainer
from dcgan import Synthetic
from lightning import seed_everything
from lightning.pytorch import Callback
from torch.utils.data import DataLoader, TensorDataset

from lightning_gans import AdversarialModule, TranslationGame, models


class Labelled(Synthetic):
    """Random bytes of ten classes."""

    num_classes, class_names = 10, tuple("0123456789")

    def load(self, split):
        images, _ = super().load(split)
        return images, torch.arange(self.count) % 10


class Clock(Callback):
    """When each round ends, after all work on the device, and the updates of each player."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.wait, self.rounds = wait, 0
        self.ends: list[float] = []
        self.updates: Counter[str] = Counter()

    def on_train_start(self, trainer, module) -> None:
        step = module.step

        def counted(player: str) -> None:
            self.updates[player] += 1
            step(player)

        module.step = counted

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        if trainer.global_step > self.rounds:
            self.rounds = trainer.global_step
            self.wait()
            self.ends.append(time.perf_counter())


OWN: dict[str, dict[str, Any]] = {
    "DIWGAN": {"encoder_updates": 20, "max_error": 1e6},  # its auto-encoder learns before the first round
    "GOLDACGAN": {"reweight_from": 1},
}
FAST = {"precision": "bf16-mixed", "channels_last": True}


def case(name: str, size: int, batch: int, **arguments: Any) -> tuple[AdversarialModule, dict[str, Any]]:
    """A game with the paper's default networks, and random images as what ``Trainer.fit`` takes."""
    kind, shape = getattr(models, name), (3, size, size)
    arguments = {**OWN.get(name, {}), **arguments}
    if issubclass(kind, TranslationGame):
        pairs = TensorDataset(torch.rand(64, *shape) * 2 - 1, torch.rand(64, *shape) * 2 - 1)
        return kind(shape, shape, **arguments), {"train_dataloaders": DataLoader(pairs, batch)}
    data = Labelled(shape, 16 * batch, batch_size=batch)
    return kind(shape, num_classes=10, **arguments), {"datamodule": data}


def gradient_bytes(game: AdversarialModule) -> dict[str, int]:
    """The bytes of each player's gradients."""
    return {
        player: sum(
            p.numel() * p.element_size()
            for network in game.player_networks(player).values()
            for p in network.parameters()
            if p.requires_grad
        )
        for player in game.players()
    }


def measure(options: argparse.Namespace, name: str, size: int, batch: int, **fast: Any) -> dict[str, Any]:
    """Milliseconds of a round; of each player the updates in it and the bytes of its gradients."""
    seed_everything(0, verbose=False)
    game, data = case(name, size, batch, channels_last=fast.pop("channels_last", False))
    on_gpu = options.device == "cuda"
    clock = Clock(torch.cuda.synchronize if on_gpu else lambda: None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = silent_trainer(
            accelerator="gpu" if on_gpu else "cpu",
            max_steps=options.warm_up + options.rounds,
            callbacks=[clock],
            default_root_dir=folder,
            **fast,
        )
        trainer.fit(game, **data)
    rounds = [end - start for start, end in pairwise(clock.ends[options.warm_up - 1 :])]
    return {
        "game": name,
        "pixels": size,
        "batch": batch,
        **fast,
        "ms": 1000 * statistics.median(rounds),
        "players": {
            player: {"updates": clock.updates[player] / trainer.global_step, "bytes": count}
            for player, count in gradient_bytes(game).items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=Path("runs/steps.json"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--warm-up", type=int, default=15)
    parser.add_argument("--minutes", type=float, default=3, help="begin no game after so long")
    parser.add_argument("--tiny", action="store_true", help="a few rounds at 16 pixels: whether it runs")
    options = parser.parse_args()
    quiet()
    until = time.monotonic() + 60 * options.minutes
    cases = [(name, 32, 64) for name in sorted(models.__all__)]
    cases = [
        (name, 256, 1) if issubclass(getattr(models, name), TranslationGame) else (name, *rest)
        for name, *rest in cases
    ]
    cases.append(("DCGAN", 64, 128))
    if options.tiny:
        cases = [(name, 64 if size == 256 else 16, min(batch, 4)) for name, size, batch in cases[:-1]]
        options.rounds, options.warm_up = 3, 2
    about = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "CPU",
        "machine": machine(),
    }
    rows: list[dict[str, Any]] = []
    for fast in ({}, FAST):
        for name, size, batch in cases:
            if time.monotonic() > until:
                break
            try:
                rows.append(measure(options, name, size, batch, **fast))
            except Exception as error:  # the others are wanted all the same
                rows.append({"game": name, "pixels": size, **fast, "error": f"{error}"[:300]})
            print(rows[-1], flush=True)
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps({**about, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
