"""The players of a game: what each trains, and what a step of it needs while a run goes on."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau


@dataclass(frozen=True)
class Player:
    """One of those who play against each other.

    Attributes:
        networks: Names of the module's attributes that this player trains. Networks without parameters are
            allowed (a latent that is not learned).
        optimizer: Makes the optimizer from the parameters of all these networks.
        scheduler: Makes its learning-rate scheduler, if any.
    """

    networks: tuple[str, ...]
    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None = None


@dataclass
class RunningPlayer:
    """A player during a run: looked up once, used at every step.

    Attributes:
        parameters: What it trains.
        optimizer: torch's own.
        step: Takes the optimizer's step; the generator's is counted by the trainer.
        scheduler: Its learning-rate scheduler, if any.
        replicas: Games that are played at once; each parameter holds those of all, ``(replicas, ...)``.
    """

    parameters: list[nn.Parameter]
    optimizer: Optimizer
    step: Callable[[], Any]
    scheduler: LRScheduler | None
    replicas: int = 1

    def clip(self, norm: float) -> None:
        """Clip the norm of the gradient, or of each replica's."""
        if self.replicas == 1:
            nn.utils.clip_grad_norm_(self.parameters, norm)
            return
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        parts = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients])
        scale = (norm / (parts.norm(dim=0) + 1e-6)).clamp(max=1)  # as torch's own
        for gradient in gradients:
            gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))

    def lost(self) -> str:
        """Say which replicas have weights or gradients that are not finite, if there are several."""
        if self.replicas == 1:
            return ""
        tensors = [t for p in self.parameters for t in (p, p.grad) if t is not None]
        sums = torch.stack([tensor.detach().flatten(1).sum(1) for tensor in tensors]).sum(0)
        found = [str(r) for r, total in enumerate(sums.tolist()) if not math.isfinite(total)]
        return f" in replica {', '.join(found)} of {self.replicas}" if found else ""

    def step_scheduler(self, until: int) -> None:
        """Step the scheduler until it has counted ``until`` updates or epochs."""
        # A loop, as after a resume the count may be behind: Lightning skips the end of a stored epoch.
        while self.scheduler is not None and self.scheduler.last_epoch < until:
            self.scheduler.step()

    def override(self, player: Player, optimizer: bool, trainer: Trainer) -> None:
        """Replace the settings that were restored with the optimizer's state by those of this run.

        Args:
            player: What this run was given.
            optimizer: Whether the optimizer's settings differ, or the schedule's alone.
            trainer: Whose schedulers are stored in checkpoints.
        """
        if optimizer:
            fresh = player.optimizer(self.parameters)
            for new, old in zip(fresh.param_groups, self.optimizer.param_groups, strict=True):
                old.update({key: value for key, value in new.items() if key != "params"})
                old.pop("initial_lr", None)
        if self.scheduler is None or player.scheduler is None:
            return
        # A schedule depends on its initial learning rate: start the new one, and step it to the same count.
        done = self.scheduler.last_epoch
        for group in self.optimizer.param_groups:
            group["lr"] = group.pop("initial_lr", group["lr"])
        restarted = player.scheduler(self.optimizer)
        for config in trainer.lr_scheduler_configs:
            if config.scheduler is self.scheduler:
                config.scheduler = restarted
        self.scheduler = restarted
        self.step_scheduler(until=done)


def make_optimizers(module: nn.Module, players: dict[str, Player]) -> tuple[list[Optimizer], list[Any]]:
    """Make the optimizers and schedulers of all players, for Lightning's ``configure_optimizers``.

    Raises:
        ValueError: If no player is the generator, or a scheduler waits for a metric.
    """
    if "generator" not in players:
        raise ValueError(
            f"players() of {type(module).__name__} names {', '.join(players) or 'none'}: call one of them "
            "generator, for its updates are those that a run counts"
        )
    optimizers, schedulers = [], []
    for player in players.values():
        parameters = [
            p for name in player.networks for p in getattr(module, name).parameters() if p.requires_grad
        ]
        optimizers.append(player.optimizer(parameters))
        if player.scheduler is not None:
            schedulers.append(player.scheduler(optimizers[-1]))
            if isinstance(schedulers[-1], ReduceLROnPlateau):
                raise ValueError(
                    "ReduceLROnPlateau waits for a metric that a game does not have: use another"
                )
    return optimizers, schedulers


def running_players(
    players: dict[str, Player], optimizers: Any, trainer: Trainer, replicas: int = 1
) -> dict[str, RunningPlayer]:
    """Look up what every step needs.

    Args:
        players: In the order of ``optimizers``.
        optimizers: What the module's ``optimizers()`` returns.
        trainer: The trainer of the run.
        replicas: Games that are played at once.
    """
    wrapped = optimizers if isinstance(optimizers, list) else [optimizers]
    schedulers = {id(c.scheduler.optimizer): c.scheduler for c in trainer.lr_scheduler_configs}
    running = {}
    for name, optimizer in zip(players, wrapped, strict=True):
        assert isinstance(optimizer, LightningOptimizer)
        raw = optimizer.optimizer
        running[name] = RunningPlayer(
            parameters=[p for group in raw.param_groups for p in group["params"]],
            optimizer=raw,
            # Lightning counts the steps of all optimizers as updates; here only the generator's are to count.
            step=optimizer.step if name == "generator" else raw.step,
            scheduler=schedulers.get(id(raw)),
            replicas=replicas,
        )
    return running
