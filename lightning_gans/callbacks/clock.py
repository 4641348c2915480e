"""The time that a run has spent on training."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, process_time
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


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


class Timed(Callback):
    """A callback with a clock of the training, that goes on from where it was in a resumed run."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self._spent = Clock(), Spent()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the seconds of an earlier run; a resumed one restores its own after this."""
        self._spent = Spent()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.clock.stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock go on."""
        self.clock.go()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.clock.start(self._spent)

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds of training."""
        return self.clock.spent._asdict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._spent = Spent(**{name: state_dict.get(name, 0.0) for name in Spent._fields})
        self.clock.start(self._spent)
        self.clock.stop()  # until the training starts

    def trained(self, trainer: Trainer) -> float:
        """Return the seconds of training: the processor's on a CPU, else those of the clock."""
        spent = self.clock.spent
        return spent.processor_seconds if trainer.strategy.root_device.type == "cpu" else spent.seconds
