"""Base class of the callbacks that score a game while it trains: when they do, and where the scores go."""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_gans.callbacks.cadence import Cadence
from lightning_gans.callbacks.clock import Timed
from lightning_gans.callbacks.shown import failure_is_a_warning, show_table
from lightning_gans.game.ranks import batch_length
from lightning_gans.game.rows import update_of, write_row
from lightning_gans.metrics.base import snake_case


class Scoring(Timed, ABC):
    """Score every so many generator updates and at the end; a resumed run makes up for a score that it owes.

    A subclass writes :meth:`_evaluate`. Several of a class have different names.

    Args:
        every_n_updates: Generator updates between two scores; counted by crossing. None: only at the end,
            unless a subclass says otherwise.
        name: Name of this callback, if there are several.
        every_n_seconds: Seconds of training between two scores, in place of updates.

    Raises:
        ValueError: If an argument does not fit.
    """

    def __init__(
        self, every_n_updates: int | None, name: str | None, every_n_seconds: float | None = None
    ) -> None:
        super().__init__()
        if None not in (every_n_updates, every_n_seconds):
            both = f"every_n_updates={every_n_updates}, every_n_seconds={every_n_seconds}"
            raise ValueError(f"{both}: give one, and the other as null")
        if name is not None and (not name or "/" in name):
            raise ValueError(f"name={name!r} becomes part of a file's name: use letters and digits")
        self.name = name
        self.every_n_seconds = every_n_seconds
        at_the_end = every_n_updates is every_n_seconds is None
        self.cadence = None if at_the_end else Cadence(every_n_updates, every_n_seconds)
        self._last, self._owed, self._images = -1, float(sys.maxsize), 0
        self._lines: list[dict[str, Any]] = []  # those that rank 0 has written in this fit

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
        super().setup(trainer, pl_module, stage)
        self._last, self._owed, self._images = -1, float(sys.maxsize), 0  # a resumed run restores them
        self._lines = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Plan the first score; make up for one that the resumed run was killed before."""
        super().on_train_start(trainer, pl_module)
        if self.cadence is not None:
            self.cadence.start(self._reached(trainer))
            if self._owed <= self._reached(trainer):
                write_row(trainer, self._evaluate(trainer, pl_module, "val"))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the images; score when a multiple of updates or seconds is reached or passed."""
        self._images += batch_length(batch)
        if self.cadence is not None and self.cadence.due(self._reached(trainer)):
            write_row(trainer, self._evaluate(trainer, pl_module, "val"))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the weights at the end of training, unless that was done; show the lines as a table."""
        if trainer.global_step != self._last:
            write_row(trainer, self._evaluate(trainer, pl_module, "val"))
        title = "/".join([snake_case(type(self).__name__), *([] if self.name is None else [self.name])])
        with failure_is_a_warning(f"the table {title}"):
            show_table(trainer, title, self._lines, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the update that was scored last, when the next will be, and images and seconds."""
        following = sys.maxsize if self.cadence is None else self.cadence.next
        return {"last": self._last, "next": following, "images": self._images, **super().state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state_dict)
        self._last, self._owed = state_dict["last"], state_dict["next"]
        self._images = state_dict.get("images", 0)

    def _reached(self, trainer: Trainer) -> float:
        """Return how far the training is, in what the cadence counts; the same on all ranks."""
        if self.every_n_seconds is None:
            return trainer.global_step
        return float(trainer.strategy.broadcast(self.trained(trainer)))

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
            images = self._images * trainer.world_size
            line |= {"images_per_second": round(images / max(self.trained(trainer), 1e-9), 1)}
        line |= scores
        if fitting:
            self._lines.append(line)
        with (folder / "evaluations.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
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
