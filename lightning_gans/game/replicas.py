"""Several independent games in one process: the replicas of a game, which differ in their seeds."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_gans import checks
from lightning_gans.game.adversarial import AdversarialModule


class Replicas(AdversarialModule):
    """Base class of games that can train ``replicas`` times at once, each as a run of its own would.

    Replica ``r`` is the run of ``seed_everything + r`` and ``data.seed + r``: its own initial weights, noise,
    data and optimizer state. All of them are updated by the same calls, on batches that are flat and in the
    order of the replicas: ``(replicas * n, ...)``, of which the first ``n`` samples are those of replica 0.

    A loss that is a mean over samples needs no change. One that couples the samples of a batch works on
    :meth:`per_replica`, and whatever is drawn in training comes from :meth:`draw`.

    Args:
        replicas: How many games.
        kwargs: Arguments of :class:`~lightning_gans.game.adversarial.AdversarialModule`.

    Raises:
        ValueError: If ``replicas`` is not positive, or this game cannot have several.
    """

    no_replicas: ClassVar[str] = ""
    """Why this game cannot have several replicas, if it cannot: the end of a sentence."""

    def __init__(self, replicas: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        checks.at_least(1, replicas=replicas)
        if replicas > 1:
            reason = self.no_replicas or "several cannot be trained at once yet"
            raise ValueError(f"replicas={replicas} of {type(self).__name__}: {reason}; leave it out")
        self.replicas = replicas

    def draw(self, n: int, of: Callable[[int, torch.Generator], Any]) -> Tensor:
        """Draw ``n`` random things for a flat batch, those of each replica by its own generator.

        Args:
            n: How many, of all replicas together.
            of: Draws as many as it is told, ``(count, ...)``, by a generator: a latent, :meth:`draw_labels`.
        """
        drawn: Tensor = of(n, self.rng)
        return drawn

    def per_replica(self, values: Tensor) -> Tensor:
        """Return a flat batch ``(replicas * n, ...)`` as ``(replicas, n, ...)``."""
        return values.unflatten(0, (self.replicas, -1))

    def data_of(self, replica: int) -> Any:
        """Return the data module of a replica, with its own seed, set up for training."""
        assert replica < self.replicas
        return self.trainer.datamodule  # type: ignore[attr-defined]
