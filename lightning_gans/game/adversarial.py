"""The game that all papers share: which player is updated, on which gradients, and how a run survives.

No loss and no network lives here. A paper subclasses :class:`AdversarialModule`, names its players and
writes ``training_step`` with the verbs of the base: :meth:`~AdversarialModule.minimise`,
:meth:`~AdversarialModule.frozen` and :meth:`~AdversarialModule.report`.
"""

import inspect
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_gans import checks
from lightning_gans.game.checkpoints import SelfContained
from lightning_gans.game.held_out import HeldOutLosses
from lightning_gans.game.monitors import check_monitors, monitors
from lightning_gans.game.players import Player, RunningPlayer, make_optimizers, running_players
from lightning_gans.game.progress import epoch_is_whole
from lightning_gans.game.ranks import average_over_ranks, batch_length, noise_seed, share_buffers
from lightning_gans.game.rows import write_row
from lightning_gans.game.trainer_settings import NoGPUCheck, check_trainer
from lightning_gans.game.trial import check_gradients, check_loss
from lightning_gans.game.weights import Weights


class AdversarialModule(SelfContained, HeldOutLosses, Weights, ABC):
    """Base class of all papers.

    What it promises:

    - ``trainer.global_step`` counts generator updates, whatever the schedule: only the player named
      ``"generator"`` steps through Lightning. ``max_steps``, checkpoints and the loggers' x-axis agree.
    - Plain ``strategy=ddp`` works: only the updated player's gradients travel, and every rank draws its own
      noise from :attr:`rng`.
    - A killed run resumes bit for bit: checkpoints hold random states and run state of all ranks.
    - Checkpoints are self-contained: :func:`lightning_gans.load` rebuilds the game from the file alone.
    - Ctrl-C and SIGTERM end a run between two batches, on all ranks, saved by ``Checkpoint``.
    - A loss that is not finite stops the run with the paper's name, the player and the update.

    Args:
        gradient_clip_norm: Clip the norm of each player's gradient to this value before its step.
        scheduler_interval: Learning-rate schedulers step after each generator ``update`` or each ``epoch``.
        compile: Compile the networks in place (checkpoint keys stay the same), except those in
            :attr:`never_compiled`.
        channels_last: Keep images and convolutions in channels-last memory order.

    Raises:
        ValueError: If ``gradient_clip_norm`` is not positive.
    """

    rng: torch.Generator
    replicas: int = 1

    def __init__(
        self,
        gradient_clip_norm: float | None = None,
        scheduler_interval: Literal["update", "epoch"] = "update",
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        checks.positive(gradient_clip_norm=gradient_clip_norm)
        checks.one_of(("update", "epoch"), scheduler_interval=scheduler_interval)
        self.automatic_optimization = False
        self.gradient_clip_norm = gradient_clip_norm
        self.scheduler_interval = scheduler_interval
        self.compiles = compile
        self.channels_last = channels_last
        self.rng = torch.Generator()
        self._running: dict[str, RunningPlayer] = {}
        self._samples = 1  # samples in this rank's batch
        self._reported: dict[str, Tensor | float] = {}
        self._log_every = sys.maxsize
        self._last_written = 0
        self._monitored: set[str | None] = set()  # metrics that callbacks go by
        self._unchecked: list[tuple[str, int, Tensor]] = []
        self._overridden: set[str] = set()
        self.save_hyperparameters(self.plain_arguments(), logger=False)

    # ------------------------------------------------------------------ what a paper writes

    @abstractmethod
    def players(self) -> dict[str, Player]:
        """Name the players; one of them is ``"generator"``."""

    # ------------------------------------------------------------------ the verbs

    def minimise(self, player: str, loss: Tensor | Iterator[Tensor]) -> None:
        """Update ``player`` once, down ``loss``: clear, backward, average over ranks, clip, step."""
        self.gradients(player, loss)
        self.step(player)

    def gradients(self, player: str, loss: Tensor | Iterator[Tensor], shared_graph: bool = False) -> None:
        """The first half of :meth:`minimise`, for games in which all players are updated at once.

        Over ranks, gradients are averaged by the samples of each: that is the gradient of the joint batch
        where ``loss`` is a mean over samples.

        Args:
            player: Whose gradients.
            loss: A scalar; or what yields several, whose sum it is: each is computed when the graph of the
                one before is gone, so that one at a time is in memory.
            shared_graph: The losses of several players come from one graph: keep it, and let gradients reach
                the networks of ``player`` alone. (Otherwise that is what ``frozen`` and ``detach`` are for,
                which also save the work.)

        Raises:
            ValueError: If the loss is no scalar, or gives ``player`` no gradient.
            FloatingPointError: If the loss is not finite. (On an accelerator it is checked when a
                checkpoint or a log row is written: reading it every step would stall the device.)
        """
        parameters = self._running[player].parameters
        for parameter in parameters:
            parameter.grad = None
        parts = []
        for part in loss if isinstance(loss, Iterator) else (loss,):
            check_loss(self, player, part)
            # Not manual_backward: DDP would average all gradients; only this player's are averaged, below.
            # A mean over the samples of all replicas: times their number, each one's gradient is its own.
            times, inputs = torch.full_like(part, self.replicas), parameters if shared_graph else None
            part.backward(times, shared_graph, inputs=inputs)
            parts.append(part.detach())
        check_gradients(self, player, parameters)
        loss = sum(parts[1:], parts[0])
        if self.trainer.world_size > 1:
            loss = average_over_ranks(parameters, loss, self._samples)
        if loss.device.type != "cpu":
            self._unchecked.append((player, self.trainer.global_step, loss))
        elif not math.isfinite(loss.item()):
            self._stop(player, self.trainer.global_step, loss)
        if self.gradient_clip_norm is not None:
            self._running[player].clip(self.gradient_clip_norm)

    def step(self, player: str) -> None:
        """The second half of :meth:`minimise`: the optimizer's step."""
        self._running[player].step()
        if player == "generator" and self.scheduler_interval == "update":
            self._step_schedulers(until=self.trainer.global_step)

    def report(self, values: Mapping[str, Tensor | float]) -> None:
        """Offer values for the log, as ``train/<name>``; the last of each name before an update is written.

        Costs nothing on the device: values are read only for the rows that are written, every
        ``trainer.log_every_n_steps`` generator updates. Guard values that are costly to compute with
        :attr:`reporting`.
        """
        if self._trainer is not None and self._trainer.evaluating:
            return  # losses on held-out data call this, too
        for name, value in values.items():
            self._reported[name] = value = value.detach() if isinstance(value, Tensor) else value
            if f"train/{name}" in self._monitored:  # callbacks look before the row is written
                self.trainer.callback_metrics[f"train/{name}"] = torch.as_tensor(value)

    @property
    def reporting(self) -> bool:
        """Return whether the row of the next generator update will be written; False outside of training."""
        return self.row_is_due(within=1)

    def row_is_due(self, within: int) -> bool:
        """Return whether a row of the log will be written within so many generator updates."""
        if self._trainer is None or not self.training:
            return False
        return self.trainer.global_step % self._log_every + within >= self._log_every

    # ------------------------------------------------------------------ networks and weights

    def player_networks(self, player: str) -> dict[str, nn.Module]:
        """Return the networks of ``player`` by attribute name."""
        return {name: getattr(self, name) for name in self.players()[player].networks}

    def player_optimizer(self, player: str) -> Optimizer:
        """Return the torch optimizer of ``player``; there is one from the start of training on."""
        return self._running[player].optimizer

    # ------------------------------------------------------------------ Lightning's hooks

    def configure_callbacks(self) -> list[Callback]:
        """Refuse trainer settings that mean something else in a game; Lightning calls this first of all."""
        check_trainer(self.trainer)
        again = any(isinstance(callback, NoGPUCheck) for callback in self.trainer.callbacks)  # type: ignore[attr-defined]
        return super().configure_callbacks() + ([] if again else [NoGPUCheck()])

    def configure_optimizers(self) -> Any:
        """Make each player's optimizer and scheduler."""
        return make_optimizers(self, self.players())

    def on_fit_start(self) -> None:
        """Prepare networks and the random numbers of this rank; look up once what every step needs."""
        super().on_fit_start()
        self.prepare_networks(name for player in self.players().values() for name in player.networks)
        seed = noise_seed(torch.initial_seed(), self.global_rank)
        self.rng = torch.Generator(self.device).manual_seed(seed)
        if self.trainer.world_size > 1:
            torch.manual_seed(seed)  # dropout masks must differ between ranks too
        self._running = running_players(self.players(), self.optimizers(), self.trainer, self.replicas)
        # Lightning asks for the signature of training_step at every batch: stored, it need not be computed.
        step = type(self).training_step
        step.__signature__ = inspect.signature(step)  # type: ignore[attr-defined]

    def on_train_start(self) -> None:
        """Restore the state of a resumed run, with the optimizer settings that this run changes."""
        super().on_train_start()
        self._unchecked.clear()
        self._monitored = {callback.monitor for callback in monitors(self.trainer)}
        self._log_every = self.trainer.log_every_n_steps or sys.maxsize  # type: ignore[attr-defined]
        self._last_written = self.trainer.global_step
        for name, player in self.players().items():
            if {f"{name}_optimizer", f"{name}_scheduler"} & self._overridden:
                changed = f"{name}_optimizer" in self._overridden
                self._running[name].override(player, changed, self.trainer)
        self._overridden.clear()
        if self.scheduler_interval == "epoch":
            self._step_schedulers(until=self.trainer.current_epoch)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Count the samples of this rank's batch, by which its gradients are weighted."""
        if self.trainer.world_size > 1:
            self._samples = batch_length(batch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write a row of the log if one is due."""
        self._write_row()
        super().on_train_batch_end(outputs, batch, batch_idx)

    def _write_row(self) -> None:
        every, update = self._log_every, self.trainer.global_step
        if update // every > self._last_written // every:
            self._last_written = update
            self._check_losses()
            row = {f"train/{name}": value for name, value in self._reported.items()}
            write_row(self.trainer, row, bar=[name for name in row if name.endswith("_loss")])
            self._reported.clear()
            check_monitors(self.trainer)

    def on_validation_start(self) -> None:
        """Copy the buffers of the first rank to all, so that all evaluate the same networks."""
        share_buffers(self)

    def on_train_epoch_end(self) -> None:
        """Step the schedulers whose unit is an epoch."""
        if self.scheduler_interval == "epoch" and epoch_is_whole(self.trainer):
            self._step_schedulers(until=self.trainer.current_epoch + 1)

    def on_train_end(self) -> None:
        """Check that the last losses are finite, and share the buffers."""
        super().on_train_end()
        self._check_losses()
        share_buffers(self)  # so that all ranks draw the same samples from now on

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add random states and run state of all ranks, unless a loss was not finite. All ranks call this."""
        self._check_losses()
        # Written before the checkpoint: a run that is killed in between would not write it again.
        self._write_row()
        checkpoint["reported"] = dict(self._reported)
        super().on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is one of this game; take its averaged weights.

        Raises:
            ValueError: If the checkpoint was written by another class, or has other weights.
        """
        super().on_load_checkpoint(checkpoint)
        fitting = self._trainer is not None and self.trainer.training
        self.fit_averages(checkpoint["state_dict"], fitting)
        if fitting:
            self._reported = dict(checkpoint.get("reported", {}))
            stored = checkpoint.get("hyper_parameters", {})
            self._overridden = {key for key, value in self.hparams.items() if stored.get(key) != value}

    # ------------------------------------------------------------------ inside

    def _step_schedulers(self, until: int) -> None:
        for player in self._running.values():
            player.step_scheduler(until)

    def _check_losses(self) -> None:
        unchecked, self._unchecked = self._unchecked, []
        if unchecked:
            finite = torch.stack([loss.float() for _, _, loss in unchecked]).isfinite()
            if not finite.all():
                self._stop(*unchecked[int(finite.int().argmin())])

    def _stop(self, player: str, update: int, loss: Tensor) -> NoReturn:
        path = Path(self.trainer.log_dir or self.trainer.default_root_dir) / "checkpoints" / "not-finite.ckpt"
        self.trainer.save_checkpoint(path)
        where = f"at generator update {update}{self._running[player].lost()}; the state was saved to {path}"
        raise FloatingPointError(
            f"{type(self).__name__}: the loss of the {player} is {loss.item()} {where}. Try a smaller "
            "learning rate or model.gradient_clip_norm"
        )
