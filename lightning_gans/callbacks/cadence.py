"""When a callback acts: every so many generator updates."""

from lightning_gans.checks import at_least


class Cadence:
    """Tell at which generator updates a callback has to act.

    A callback acts when a multiple of ``every`` is reached or passed, so that several updates in one batch
    do not miss one. A callback that keeps
    :attr:`next` in its state goes on after a resume as if the run had not stopped; one that does not calls
    :meth:`start` in ``on_train_start``.

    Args:
        every: Generator updates between two multiples.

    Attributes:
        next: The next update at which the callback acts.

    Raises:
        ValueError: If ``every`` is not positive.
    """

    def __init__(self, every: int) -> None:
        at_least(1, every_n_updates=every)
        self.every = every
        self.next = every

    def start(self, update: int) -> None:
        """Set :attr:`next` to the first multiple after ``update``, at which a run starts."""
        self.next = (update // self.every + 1) * self.every

    def due(self, update: int) -> bool:
        """Return whether :attr:`next` was reached or passed; if so, set it to the next multiple."""
        if update < self.next:
            return False
        self.start(update)
        return True
