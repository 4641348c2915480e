"""The time that a run has spent on training."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, process_time
from typing import NamedTuple

import torch
from lightning.pytorch import Trainer


class Spent(NamedTuple):
    """Seconds that have passed.

    Attributes:
        seconds: Of the wall clock, in which other programs may have had the processor.
        processor_seconds: User and system time of this process, of all its threads together.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0

    def since(self, other: "Spent") -> "Spent":
        """Return what has passed after another reading."""
        return Spent(self.seconds - other.seconds, self.processor_seconds - other.processor_seconds)


def _now() -> Spent:
    return Spent(perf_counter(), process_time())


class Clock:
    """Count seconds, except those for which it is stopped; stops may lie within each other."""

    def __init__(self) -> None:
        self.start(Spent())

    def start(self, spent: Spent) -> None:
        """Go on from so many seconds."""
        self._began = _now().since(spent)
        self._stopped: list[Spent] = []

    def stop(self) -> None:
        """Stop, until :meth:`go` has been called for each call of this."""
        self._stopped.append(_now())

    def go(self) -> None:
        """Take back one :meth:`stop`."""
        stopped = self._stopped.pop()
        if not self._stopped:
            self._began = _now().since(stopped.since(self._began))

    @property
    def spent(self) -> Spent:
        """The seconds so far."""
        return (self._stopped[0] if self._stopped else _now()).since(self._began)


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
