"""Base class of the callbacks that score a game while it trains: when they do, and where the scores go."""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_gans.callbacks.cadence import Cadence
from lightning_gans.callbacks.clock import Clock, Spent
from lightning_gans.game.rows import update_of, write_row


class Scoring(Callback, ABC):
    """Score every so many generator updates and at the end; a resumed run makes up for a score that it owes.

    A subclass writes :meth:`_evaluate`. Several of a class have different names.

    Args:
        every_n_updates: Generator updates between two scores; counted by crossing. None: only at the end,
            unless a subclass says otherwise.
        name: Name of this callback, if there are several.

    Raises:
        ValueError: If an argument does not fit.
    """

    def __init__(self, every_n_updates: int | None, name: str | None) -> None:
        super().__init__()
        if name is not None and (not name or "/" in name):
            raise ValueError(f"name={name!r} becomes part of a file's name: use letters and digits")
        self.name = name
        self.cadence = None if every_n_updates is None else Cadence(every_n_updates)
        self._last, self._owed = -1, sys.maxsize
        self.clock, self._spent = Clock(), Spent()

    @abstractmethod
    def _evaluate(self, trainer: Trainer, module: Any, stage: str) -> dict[str, float]:
        """Score the current weights, write lines, set ``_last``; return scores by their names in the log."""

    @property
    def state_key(self) -> str:
        """The name of this callback's state in a checkpoint, where others of its class have theirs."""
        return self._generate_state_key(name=self.name)

    # ------------------------------------------------------------------ when it scores

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the names; forget what an earlier run owed.

        Raises:
            ValueError: If two have the same name.
        """
        check_names(trainer.callbacks)  # type: ignore[attr-defined]
        # A resumed run restores them after this.
        self._last, self._owed, self._spent = -1, sys.maxsize, Spent()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.clock.stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock go on."""
        self.clock.go()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the first score; make up for one that the resumed run was killed before."""
        self.clock.start(self._spent)
        if self.cadence is not None:
            self.cadence.start(trainer.global_step)
            if self._owed <= trainer.global_step:
                write_row(trainer, self._evaluate(trainer, pl_module, "val"))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score when a multiple of ``every_n_updates`` is reached or passed."""
        if self.cadence is not None and self.cadence.due(trainer.global_step):
            write_row(trainer, self._evaluate(trainer, pl_module, "val"))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the weights at the end of training, unless that was done."""
        if trainer.global_step != self._last:
            write_row(trainer, self._evaluate(trainer, pl_module, "val"))

    def state_dict(self) -> dict[str, Any]:
        """Return the update that was scored last, the next that will be, and the seconds of training."""
        following = sys.maxsize if self.cadence is None else self.cadence.next
        return {"last": self._last, "next": following, **self.clock.spent._asdict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._last, self._owed = state_dict["last"], state_dict["next"]
        self._spent = Spent(**{name: state_dict.get(name, 0.0) for name in Spent._fields})

    # ------------------------------------------------------------------ where the scores go

    def _prefix(self, stage: str) -> str:
        return f"{stage}/" if self.name is None else f"{stage}/{self.name}/"

    def _write_line(
        self, trainer: Trainer, about: Mapping[str, Any], scores: Mapping[str, Any]
    ) -> Path | None:
        """Add a line to ``evaluations.jsonl`` in the run's folder, which is returned; all ranks call this.

        Rank 0 writes it, in a fit with the seconds of training; ``validate`` and ``test`` have a folder of
        their own only if there is a logger. None where nothing is written.
        """
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # all ranks must call this
        fitting = trainer.state.fn == "fit"
        if not (trainer.is_global_zero and (fitting or trainer.loggers)):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        line = {"update": update_of(trainer), "name": self.name, **about}
        if fitting:
            line |= {name: round(seconds, 3) for name, seconds in self.clock.spent._asdict().items()}
        with (folder / "evaluations.jsonl").open("a") as file:
            file.write(json.dumps({**line, **scores}) + "\n")
        return folder


def check_names(callbacks: Iterable[Callback]) -> None:
    """Check that callbacks of a class which keep a state in checkpoints can be told apart.

    Raises:
        ValueError: If two that score have the same name, or none; or two of a class without names are given.
    """
    seen: set[str] = set()
    for callback in callbacks:
        if type(callback).state_dict is Callback.state_dict:
            continue
        if callback.state_key in seen:
            kind = type(callback).__name__
            if isinstance(callback, Scoring):
                raise ValueError(
                    f"two {kind} callbacks have name={callback.name}: give each a name of its own"
                )
            raise ValueError(f"trainer.callbacks has two {kind}: give one")
        seen.add(callback.state_key)
