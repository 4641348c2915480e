"""The time that a run has spent on training."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from lightning.pytorch import Trainer


class Clock:
    """Count seconds, except those for which it is stopped; stops may lie within each other."""

    def __init__(self) -> None:
        self._began = perf_counter()
        self._stopped: list[float] = []

    def start(self, seconds: float = 0.0) -> None:
        """Go on from so many seconds."""
        self._began = perf_counter() - seconds
        self._stopped.clear()

    def stop(self) -> None:
        """Stop, until :meth:`go` has been called for each call of this."""
        self._stopped.append(perf_counter())

    def go(self) -> None:
        """Take back one :meth:`stop`."""
        stopped = self._stopped.pop()
        if not self._stopped:
            self._began += perf_counter() - stopped

    @property
    def seconds(self) -> float:
        """The seconds so far."""
        return (self._stopped[0] if self._stopped else perf_counter()) - self._began


@contextmanager
def stopped(trainer: Trainer) -> Iterator[None]:
    """Stop the attributes ``clock`` of all callbacks of a run, for what is not training."""
    clocks = [x.clock for x in trainer.callbacks if hasattr(x, "clock")]  # type: ignore[attr-defined]
    if clocks and trainer.strategy.root_device.type == "cuda":
        torch.cuda.synchronize()  # steps that it has not done yet are part of the training
    for clock in clocks:
        clock.stop()
    try:
        yield
    finally:
        for clock in clocks:
            clock.go()
