"""The states of a process's random generators: read for a checkpoint, and restored from it."""

import random
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the global generators of torch, numpy and Python, and of the device's."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global state is what user code may draw from
    states = {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": random.getstate(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Restore the states that :func:`random_states` returned."""
    torch.set_rng_state(states["torch"].cpu())
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def _generator(device: str, state: bytes) -> torch.Generator:
    generator = torch.Generator(device)
    generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return generator


def _describe(generator: torch.Generator) -> tuple[Any, ...]:
    return _generator, (str(generator.device), generator.get_state().numpy().tobytes())


# torch passes a generator's state to a spawned process in shared memory, which is gone when it is read there.
ForkingPickler.register(torch.Generator, _describe)
