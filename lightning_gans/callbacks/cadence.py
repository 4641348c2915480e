"""When a callback acts: every so many generator updates."""

from lightning_gans.checks import at_least


class Cadence:
    """Tell at which updates a callback is due.

    Multiples are counted by crossing: several updates in one batch do not miss one. A callback that keeps
    :attr:`next` in its state goes on after a resume as if the run had not stopped; one that does not calls
    :meth:`start` in ``on_train_start``.

    Args:
        every: Generator updates between two multiples.

    Attributes:
        next: The next update at which something is due.

    Raises:
        ValueError: If ``every`` is not positive.
    """

    def __init__(self, every: int) -> None:
        at_least(1, every_n_updates=every)
        self.every = every
        self.next = every

    def start(self, update: int) -> None:
        """Plan from where a run starts: the next multiple after ``update``."""
        self.next = (update // self.every + 1) * self.every

    def due(self, update: int) -> bool:
        """Return True once when a multiple was reached or passed, and plan the next one."""
        if update < self.next:
            return False
        self.start(update)
        return True
