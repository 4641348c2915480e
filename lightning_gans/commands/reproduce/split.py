"""A run with replicas, split into the runs that each of them is."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_gans.callbacks.checkpoint import WholeCheckpointIO
from lightning_gans.files import write_whole
from lightning_gans.game.checkpoints import load, read_checkpoint
from lightning_gans.trust import class_paths, what_to_trust

KEPT = (
    "epoch",
    "global_step",
    "pytorch-lightning_version",
    "loops",
    "state_dict",
    "hparams_name",
    "hyper_parameters",
    "datamodule_hparams_name",
    "datamodule_hyper_parameters",
    "run_state",
)
"""What a checkpoint of one replica has; optimizers and callbacks are of the run of all."""


def split(
    places: Sequence[Path], lines: Sequence[Mapping[str, Any]], folders: Mapping[int, Path], seed: int
) -> None:
    """Write the run's folder of each replica, as a run of its seed alone would have left it.

    It has ``config.yaml``, ``evaluations.jsonl``, ``checkpoints/last.ckpt`` with the weights (no run goes on
    from it), and what the run has in its folder ``replica=K``. The run's ``metrics.csv`` has means over
    replicas and stays where it is.

    Args:
        places: The folders of the run, one for each time that it was started, in order.
        lines: Its evaluations.
        folders: Where to write, by replica.
        seed: The seed of the first replica.
    """
    path = next(x for place in reversed(places) if (x := place / "checkpoints" / "last.ckpt").is_file())
    config = yaml.safe_load((path.parents[1] / "config.yaml").read_text())
    trusted = [str(home) for name in class_paths(config) if (home := what_to_trust(name))]
    stored = read_checkpoint(path)
    game: Any = load(path, trusted=trusted)
    config["model"]["init_args"]["replicas"] = stored["hyper_parameters"]["replicas"] = 1
    for replica, folder in folders.items():
        for place in places:
            if (place / f"replica={replica}").is_dir():
                shutil.copytree(place / f"replica={replica}", folder, dirs_exist_ok=True)
        config["seed_everything"] = config["data"]["init_args"]["seed"] = seed + replica
        write_whole(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        own = [line for line in lines if line["replica"] == replica]
        texts = [json.dumps({k: x for k, x in line.items() if k not in ("replica", "seed")}) for line in own]
        write_whole(folder / "evaluations.jsonl", "".join(f"{text}\n" for text in texts))
        single = {**stored, **_of_replica(stored, game.replica(replica), seed + replica)}
        single = {name: single[name] for name in KEPT if name in single}
        WholeCheckpointIO().save_checkpoint(single, folder / "checkpoints" / "last.ckpt")


def _of_replica(stored: Mapping[str, Any], game: Any, seed: int) -> dict[str, Any]:
    """Return what the checkpoint of a replica has in place of that of all."""
    data = stored.get("datamodule_hyper_parameters", {})
    return {
        "state_dict": game.state_dict(),
        "run_state": [{"state": game.run_state()}],
        "datamodule_hyper_parameters": {**data, "seed": seed},
    }
