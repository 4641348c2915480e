"""When a callback acts: every so many generator updates, or seconds of training."""

from lightning_gans.checks import at_least, positive


class Cadence:
    """Tell at which generator updates, or after which seconds, a callback has to act.

    A callback acts when a multiple is reached or passed, so that several updates in one batch do not miss
    one. A callback that keeps :attr:`next` in its state goes on after a resume as if the run had not stopped;
    one that does not calls :meth:`start` in ``on_train_start``.

    Args:
        every_n_updates: Generator updates between two multiples.
        every_n_seconds: Seconds between two multiples, in place of updates.

    Attributes:
        next: The next update, or second, at which the callback acts.

    Raises:
        ValueError: If there are no whole updates, or no seconds, between two.
    """

    def __init__(self, every_n_updates: int | None = None, every_n_seconds: float | None = None) -> None:
        at_least(1, every_n_updates=every_n_updates)
        positive(every_n_seconds=every_n_seconds)
        every = every_n_updates if every_n_seconds is None else every_n_seconds
        assert every is not None
        self.every: float = every
        self.next: float = every

    def start(self, reached: float) -> None:
        """Set :attr:`next` to the first multiple after what is reached when a run starts."""
        self.next = (reached // self.every + 1) * self.every

    def due(self, reached: float) -> bool:
        """Return whether :attr:`next` was reached or passed; if so, set it to the next multiple."""
        if reached < self.next:
            return False
        self.start(reached)
        return True
