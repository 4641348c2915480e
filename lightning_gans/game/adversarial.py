"""The game that all papers share: who steps when, on which gradients, and how a run survives.

No loss and no network lives here. A paper subclasses :class:`AdversarialModule`, names its players and
writes ``training_step`` with the verbs of the base: :meth:`~AdversarialModule.minimise`,
:meth:`~AdversarialModule.frozen` and :meth:`~AdversarialModule.report`.
"""

import inspect
import math
import os
import pickle
import random
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_gans.networks.rebuild import NotRebuildable, Rebuildable, class_path, describe, rebuild

GPU_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"


@dataclass(frozen=True)
class Player:
    """One side of the game.

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
class _Seat:
    """A player at the table: what a step needs, looked up once per run."""

    parameters: list[nn.Parameter]
    optimizer: Optimizer
    step: Any
    scheduler: LRScheduler | None


class SelfContained(Rebuildable, LightningModule):
    """A module whose checkpoints say how it was built: :func:`load` rebuilds it from the file alone.

    A subclass calls ``save_hyperparameters(self.plain_arguments())`` in its constructor.
    """

    def plain_arguments(self) -> dict[str, Any]:
        """Return the class path and the constructor's arguments as plain data."""
        plain: dict[str, Any] = {"_class_path": class_path(type(self))}
        lost = []
        for name, value in self._arguments.items():
            try:
                plain[name] = describe(value)
            except NotRebuildable:
                lost.append(name)
        return {**plain, "_not_rebuildable": lost} if lost else plain

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is one of this class, with weights of these shapes.

        Raises:
            ValueError: If it is not.
        """
        written_by = checkpoint.get("hyper_parameters", {}).get("_class_path")
        if written_by not in (None, class_path(type(self))):
            raise ValueError(f"the checkpoint is one of {written_by}, not of {class_path(type(self))}")
        weights = checkpoint["state_dict"]
        for key, value in self.state_dict().items():
            if key.startswith("ema."):  # averaged weights may come and go
                continue
            if key not in weights or weights[key].shape != value.shape:
                found = tuple(weights[key].shape) if key in weights else "missing"
                raise ValueError(
                    f"the checkpoint does not fit: {key} is {found} there and {tuple(value.shape)} here; "
                    "give the arguments of the model that the run was started with"
                )


class AdversarialModule(SelfContained):
    """Base class of all papers.

    What it promises:

    - ``trainer.global_step`` counts generator updates, whatever the schedule: only the player named
      ``"generator"`` steps through Lightning. ``max_steps``, checkpoints and the loggers' x-axis agree.
    - Plain ``strategy=ddp`` works: only the stepped player's gradients travel, and every rank draws its own
      noise from :attr:`rng`.
    - A killed run resumes bit for bit: checkpoints hold the random states of all ranks.
    - Checkpoints are self-contained: :func:`load` rebuilds the game from the file alone.
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

    conditional: bool = False
    """Whether generator and discriminator see labels."""

    semi_supervised: bool = False
    """Whether the losses of a conditional game accept real samples without a label, -1."""

    never_compiled: tuple[str, ...] = ()
    """Networks that ``compile`` leaves alone: those whose gradient is itself differentiated."""

    def __init__(
        self,
        gradient_clip_norm: float | None = None,
        scheduler_interval: Literal["update", "epoch"] = "update",
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        if gradient_clip_norm is not None and gradient_clip_norm <= 0:
            raise ValueError(
                f"gradient_clip_norm={gradient_clip_norm} clips everything: give a positive number"
            )
        self.automatic_optimization = False
        self.gradient_clip_norm = gradient_clip_norm
        self.scheduler_interval = scheduler_interval
        self.compiles = compile
        self.channels_last = channels_last
        self.ema: nn.ModuleDict | None = None
        self._ema_followed = False
        self.rng = torch.Generator()
        self._seats: dict[str, _Seat] = {}
        self._parameters_of: dict[int, tuple[nn.Parameter, ...]] = {}
        self._reported: dict[str, Tensor | float] = {}
        self._log_every = 1
        self._last_written = 0
        self._unchecked: list[tuple[str, int, Tensor]] = []
        self._resumed: dict[str, Any] | None = None
        self._overridden: set[str] = set()
        self._gpu_check: str | None = None
        self.save_hyperparameters(self.plain_arguments())

    # ------------------------------------------------------------------ what a paper writes

    def players(self) -> dict[str, Player]:
        """Name the players in the order of their turns; one of them is ``"generator"``."""
        raise NotImplementedError

    # ------------------------------------------------------------------ the verbs

    def minimise(self, player: str, loss: Tensor) -> None:
        """Let ``player`` take one step down ``loss``: clear, backward, average over ranks, clip, step."""
        self.gradients(player, loss)
        self.step(player)

    def gradients(self, player: str, loss: Tensor, shared_graph: bool = False) -> None:
        """The first half of :meth:`minimise`, for games in which all players move at once.

        Args:
            player: Whose gradients.
            loss: A scalar.
            shared_graph: The losses of several players come from one graph: keep it, and let gradients reach
                the networks of ``player`` alone. (Otherwise that is what ``frozen`` and ``detach`` are for,
                which also save the work.)

        Raises:
            FloatingPointError: If the loss is not finite. (On an accelerator it is looked at when a
                checkpoint or a log row is written: reading it every step would stall the device.)
        """
        seat = self._seats[player]
        for parameter in seat.parameters:
            parameter.grad = None
        # Not manual_backward: DDP stays disarmed, and only the gradients of this player travel, below.
        loss.backward(inputs=seat.parameters if shared_graph else None, retain_graph=shared_graph)
        loss = loss.detach()
        if self.trainer.world_size > 1:
            loss = self._average_over_ranks(seat.parameters, loss)
        if loss.device.type != "cpu":
            self._unchecked.append((player, self.trainer.global_step, loss))
        elif not math.isfinite(loss.item()):
            self._stop(player, self.trainer.global_step, loss)
        if self.gradient_clip_norm is not None:
            nn.utils.clip_grad_norm_(seat.parameters, self.gradient_clip_norm)

    def step(self, player: str) -> None:
        """The second half of :meth:`minimise`: the optimizer's step."""
        seat = self._seats[player]
        seat.step()
        if player == "generator" and self.scheduler_interval == "update":
            self._step_schedulers(until=self.trainer.global_step)

    @contextmanager
    def frozen(self, *networks: nn.Module) -> Iterator[None]:
        """Within this block the weights of ``networks`` get no gradient, and none is computed for them."""
        parameters = [p for network in networks for p in self._trainable(network) if p.requires_grad]
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)

    def report(self, values: Mapping[str, Tensor | float]) -> None:
        """Offer values for the log, as ``train/<name>``; the last of each name before an update is written.

        Costs nothing on the device: values are read only for the rows that are written, every
        ``trainer.log_every_n_steps`` generator updates. Guard values that are costly to compute with
        :attr:`reporting`.
        """
        for name, value in values.items():
            self._reported[name] = value.detach() if isinstance(value, Tensor) else value

    @property
    def reporting(self) -> bool:
        """Whether the row of the coming generator update will be written."""
        return (self.trainer.global_step + 1) % self._log_every == 0

    # ------------------------------------------------------------------ networks and weights

    def player_networks(self, player: str) -> dict[str, nn.Module]:
        """Return the networks of ``player`` by attribute name."""
        return {name: getattr(self, name) for name in self.players()[player].networks}

    def player_optimizer(self, player: str) -> Optimizer:
        """Return the torch optimizer of ``player``; there is one from the start of training on."""
        return self._seats[player].optimizer

    def start_ema(self) -> None:
        """Register averaged copies of the generator's side as :attr:`ema`, if there are none."""
        if self.ema is None:
            self.ema = nn.ModuleDict({k: deepcopy(v) for k, v in self.player_networks("generator").items()})
            self.ema.requires_grad_(False)
            self.ema.eval()
        self._ema_followed = True

    def network(self, name: str, ema: bool) -> nn.Module:
        """Return the averaged copy of network ``name`` if asked for and there is one, else the network."""
        if ema and self.ema is not None and name in self.ema:
            return self.ema[name]
        network: nn.Module = getattr(self, name)
        return network

    @contextmanager
    def inference(self, *networks: nn.Module) -> Iterator[None]:
        """Within this block: no gradients, and ``networks`` in evaluation mode."""
        modes = [(module, module.training) for network in networks for module in network.modules()]
        for network in networks:
            network.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    def train(self, mode: bool = True) -> "AdversarialModule":
        """Switch the mode of all networks; averaged copies always stay in evaluation mode."""
        super().train(mode)
        if self.ema is not None:
            self.ema.eval()
        return self

    def memory_format(self, images: Tensor) -> Tensor:
        """Bring images into channels-last order if the game asks for it."""
        if self.channels_last and images.ndim == 4:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def _trainable(self, network: nn.Module) -> tuple[nn.Parameter, ...]:
        # Walking the modules costs more than freezing: done once per network.
        if id(network) not in self._parameters_of:
            self._parameters_of[id(network)] = tuple(p for p in network.parameters() if p.requires_grad)
        return self._parameters_of[id(network)]

    # ------------------------------------------------------------------ Lightning's hooks

    def configure_callbacks(self) -> list[Callback]:
        """Refuse trainer settings that mean something else in a game; Lightning calls this first of all.

        Raises:
            ValueError: For a precision, a strategy or a trainer argument that does not fit; the message
                says what to use instead.
        """
        trainer = self.trainer
        if trainer.precision not in ("32-true", "bf16-mixed"):
            raise ValueError(
                f"trainer.precision={trainer.precision} is not supported: use bf16-mixed "
                "(float16 needs loss scaling, which the discriminator's own steps do not go through)"
            )
        if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy):
            raise ValueError(
                f"trainer.strategy={type(trainer.strategy).__name__} wraps all players as one model: use ddp"
            )
        if trainer.gradient_clip_val is not None:
            raise ValueError(
                f"trainer.gradient_clip_val={trainer.gradient_clip_val} does not know whose turn it is: "
                "use model.gradient_clip_norm"
            )
        if trainer.accumulate_grad_batches != 1:
            raise ValueError(
                f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches} means nothing in a game: "
                "raise data.batch_size, or use more devices"
            )
        return []

    def configure_optimizers(self) -> Any:
        """Make each player's optimizer and scheduler."""
        optimizers, schedulers = [], []
        for player in self.players().values():
            parameters = [
                p for name in player.networks for p in getattr(self, name).parameters() if p.requires_grad
            ]
            optimizers.append(player.optimizer(parameters))
            if player.scheduler is not None:
                schedulers.append(player.scheduler(optimizers[-1]))
                if isinstance(schedulers[-1], torch.optim.lr_scheduler.ReduceLROnPlateau):
                    raise ValueError(
                        "ReduceLROnPlateau waits for a metric that a game does not have: use another"
                    )
        return optimizers, schedulers

    def on_fit_start(self) -> None:
        """Memory order, compilation, own random numbers; look up what every step needs."""
        if self.ema is not None and not self._ema_followed:
            warnings.warn("the averaged weights are dropped: this run has no GeneratorEMA", stacklevel=2)
            self.ema = None
        networks = {n: net for player in self.players() for n, net in self.player_networks(player).items()}
        for name, network in networks.items():
            if self.channels_last:
                network.to(memory_format=torch.channels_last)
            if self.compiles and name not in self.never_compiled and list(network.parameters()):
                if type(network) is nn.Sequential:  # for which torch's compile() does nothing, silently
                    raise ValueError(
                        f"{name} is a bare nn.Sequential, which compile leaves alone: subclass it"
                    )
                network.compile()
        if self.channels_last and self.ema is not None:
            self.ema.to(memory_format=torch.channels_last)
        # Every rank its own stream: Lightning seeds all alike, and N ranks would draw one fake batch N times.
        seed = (torch.initial_seed() * 1_000_003 + 7_919 * (self.global_rank + 1)) % 2**63
        self.rng = torch.Generator(self.device).manual_seed(seed)
        if self.trainer.world_size > 1:
            torch.manual_seed(seed)  # dropout masks must differ between ranks too
        self._seat_players()
        # Lightning reads the signature of training_step at every batch: have it ready.
        step = type(self).training_step
        step.__signature__ = inspect.signature(step)  # type: ignore[attr-defined]
        if not torch.cuda.is_available():
            # Lightning asks for the driver's management library at each look for a GPU, and each step of Adam
            # looks for one: 0.3 ms to learn again that there is none. torch's own look is remembered.
            self._gpu_check = os.environ.pop(GPU_CHECK, None)

    def on_train_start(self) -> None:
        """Put a resumed run's random numbers back."""
        self._unchecked.clear()
        self._log_every = self.trainer.log_every_n_steps or sys.maxsize  # type: ignore[attr-defined]
        self._last_written = self.trainer.global_step
        if self._resumed is not None:
            self._restore_random_states(self._resumed)
            self._resumed = None
        self._apply_overrides()
        if self.scheduler_interval == "epoch":
            self._step_schedulers(until=self.trainer.current_epoch)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write a row of the log if one is due."""
        every, update = self._log_every, self.trainer.global_step
        if update // every > self._last_written // every:
            self._last_written = update
            self._check_losses()
            self._write_log(update)

    def on_train_epoch_end(self) -> None:
        """Step schedulers that go by epochs."""
        if self.scheduler_interval == "epoch":
            self._step_schedulers(until=self.trainer.current_epoch + 1)

    def on_train_end(self) -> None:
        """Look at the last losses before the run is called finished."""
        self._check_losses()

    def on_exception(self, exception: BaseException) -> None:
        """Put the environment back."""
        self.teardown("fit")

    def teardown(self, stage: str) -> None:
        """Put the environment back."""
        if self._gpu_check is not None:
            os.environ[GPU_CHECK], self._gpu_check = self._gpu_check, None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the random states of all ranks. All ranks call this."""
        self._check_losses()
        states: list[Any] = [self._random_states()]
        if self.trainer.world_size > 1:
            mine, states = states[0], [None] * self.trainer.world_size
            torch.distributed.all_gather_object(states, mine)
        checkpoint["random_states"] = states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is one of this game; take its random states and its averaged weights.

        Raises:
            ValueError: If the checkpoint was written by another class, or by another number of ranks.
        """
        super().on_load_checkpoint(checkpoint)
        weights = checkpoint["state_dict"]
        averaged = {key for key in weights if key.startswith("ema.")}
        if averaged and self.ema is None:
            if self._trainer is not None and self.trainer.training:
                warnings.warn(
                    "the checkpoint holds averaged weights, the run has no GeneratorEMA: they are dropped",
                    stacklevel=2,
                )
                for key in averaged:
                    del weights[key]
            else:
                self.start_ema()
        elif self.ema is not None and not averaged:
            weights.update({f"ema.{key}": weights[key] for key in self.ema.state_dict()})
        if self._trainer is not None and self.trainer.training:
            self._resumed = checkpoint.get("random_states")
            stored = checkpoint.get("hyper_parameters", {})
            self._overridden = {key for key, value in self.hparams.items() if stored.get(key) != value}

    # ------------------------------------------------------------------ inside

    def _seat_players(self) -> None:
        self._parameters_of.clear()
        wrapped = self.optimizers()
        wrapped = wrapped if isinstance(wrapped, list) else [wrapped]
        schedulers = {id(c.scheduler.optimizer): c.scheduler for c in self.trainer.lr_scheduler_configs}
        for name, optimizer in zip(self.players(), wrapped, strict=True):
            assert isinstance(optimizer, LightningOptimizer)
            raw = optimizer.optimizer
            self._seats[name] = _Seat(
                parameters=[p for group in raw.param_groups for p in group["params"]],
                optimizer=raw,
                # Lightning counts the steps of any optimizer; it is told of the generator's alone.
                step=optimizer.step if name == "generator" else raw.step,
                scheduler=schedulers.get(id(raw)),
            )

    def _average_over_ranks(self, parameters: list[nn.Parameter], loss: Tensor) -> Tensor:
        gradients = [p.grad for p in parameters if p.grad is not None]
        # The loss travels along, so that all ranks stop together when one of them has lost it.
        flat = torch.cat([g.flatten() for g in gradients] + [loss.to(gradients[0].dtype).reshape(1)])
        torch.distributed.all_reduce(flat)
        flat /= self.trainer.world_size
        pieces = flat.split([g.numel() for g in gradients] + [1])
        torch._foreach_copy_(
            gradients, [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=False)]
        )
        averaged: Tensor = pieces[-1].reshape(())
        return averaged

    def _check_losses(self) -> None:
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        finite = torch.stack([loss.float() for _, _, loss in unchecked]).isfinite()
        if finite.all():
            return
        self._stop(*unchecked[int(finite.int().argmin())])

    def _stop(self, player: str, update: int, loss: Tensor) -> NoReturn:
        path = Path(self.trainer.log_dir or self.trainer.default_root_dir) / "checkpoints" / "not-finite.ckpt"
        self.trainer.save_checkpoint(path)
        raise FloatingPointError(
            f"{type(self).__name__}: the loss of the {player} is {loss.item()} at generator update {update}; "
            f"the state was saved to {path}. Try a smaller learning rate or model.gradient_clip_norm"
        )

    def _write_log(self, update: int) -> None:
        row = {f"train/{name}": float(value) for name, value in self._reported.items()}
        self._reported.clear()
        for logger in self.trainer.loggers:
            logger.log_metrics(row, step=update)
            logger.save()  # a killed run keeps its rows
        # For progress bars, early stopping and checkpoints by metric; Lightning's own x-axis counts batches.
        losses = {name: value for name, value in row.items() if name.endswith("_loss")}
        self.log_dict(losses, prog_bar=True, logger=False)
        self.log_dict({name: value for name, value in row.items() if name not in losses}, logger=False)

    def _step_schedulers(self, until: int) -> None:
        # Counted, not called once: Lightning skips the end of an epoch that a checkpoint was written at.
        for seat in self._seats.values():
            while seat.scheduler is not None and seat.scheduler.last_epoch < until:
                seat.scheduler.step()

    def _apply_overrides(self) -> None:
        # Lightning restores an optimizer's settings with its state. What this run was given anew wins.
        for name, player in self.players().items():
            seat = self._seats[name]
            changed = {f"{name}_optimizer", f"{name}_scheduler"} & self._overridden
            if f"{name}_optimizer" in changed:
                fresh = player.optimizer(seat.parameters)
                for new, old in zip(fresh.param_groups, seat.optimizer.param_groups, strict=True):
                    old.update({key: value for key, value in new.items() if key != "params"})
                    old.pop("initial_lr", None)
            if changed and seat.scheduler is not None and player.scheduler is not None:
                # A schedule goes by the learning rate that it began with: begin anew, and go to where it was.
                done = seat.scheduler.last_epoch
                for group in seat.optimizer.param_groups:
                    group["lr"] = group.pop("initial_lr", group["lr"])
                restarted = player.scheduler(seat.optimizer)
                for config in self.trainer.lr_scheduler_configs:
                    if config.scheduler is seat.scheduler:
                        config.scheduler = restarted
                seat.scheduler = restarted
                self._step_schedulers(until=done)
        self._overridden.clear()

    def _random_states(self) -> dict[str, Any]:
        name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global state is what user code may draw from
        states = {
            "rng": self.rng.get_state(),
            "torch": torch.get_rng_state(),
            "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
            "python": random.getstate(),
        }
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def _restore_random_states(self, states: Any) -> None:
        if len(states) != self.trainer.world_size:
            warnings.warn(
                f"the checkpoint is one of {len(states)} ranks, resumed by {self.trainer.world_size}: "
                "training goes on, but not with the random numbers of an uninterrupted run",
                stacklevel=2,
            )
            return
        mine = states[self.global_rank]
        self.rng.set_state(mine["rng"].cpu())
        torch.set_rng_state(mine["torch"].cpu())
        name, keys, *rest = mine["numpy"]
        np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
        version, internal, gauss = mine["python"]
        random.setstate((version, tuple(internal), gauss))
        if self.device.type == "cuda" and "cuda" in mine:
            torch.cuda.set_rng_state(mine["cuda"].cpu(), self.device)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this package into CPU memory, without running code from it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or no checkpoint of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"checkpoint {path} is damaged or not a checkpoint ({type(error).__name__})"
        ) from error
    if not isinstance(checkpoint, dict) or "_class_path" not in checkpoint.get("hyper_parameters", {}):
        raise ValueError(f"checkpoint {path} was not written by lightning_gans")
    return checkpoint


def load(path: str | Path, **arguments: Any) -> SelfContained:
    """Rebuild a trained game or classifier from its checkpoint: class, arguments, weights, averaged ones too.

    Args:
        path: The checkpoint. It is read with ``weights_only``: nothing in it is unpickled as code.
        arguments: Constructor arguments to use instead of the stored ones. Needed only for objects that
            could not be written down: networks that are no
            :class:`~lightning_gans.networks.Rebuildable`.

    Only games, networks, latents, optimizers and schedulers that can be imported here are built.

    Returns:
        The module on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, of another package, or needs ``arguments``.
    """
    checkpoint = read_checkpoint(path)
    stored = dict(checkpoint["hyper_parameters"])
    name = stored.pop("_class_path")
    lost = [argument for argument in stored.pop("_not_rebuildable", []) if argument not in arguments]
    forgivable = {argument for argument in lost if argument.endswith(("_optimizer", "_scheduler"))}
    if set(lost) - forgivable:
        needed = sorted(set(lost) - forgivable)
        raise ValueError(
            f"checkpoint {path} does not say how to build {', '.join(needed)}: "
            f"call load(path, {', '.join(f'{argument}=...' for argument in needed)})"
        )
    if forgivable:
        warnings.warn(
            f"{', '.join(sorted(forgivable))} could not be stored: the default is used", stacklevel=2
        )
    plain = {"class_path": name, "init_args": {k: v for k, v in stored.items() if k not in arguments}}
    try:
        with torch.random.fork_rng(devices=[]):  # for first weights, which those of the checkpoint replace
            module: SelfContained = rebuild(
                plain, (SelfContained, nn.Module, Optimizer, LRScheduler), **arguments
            )
    except ValueError as error:
        raise ValueError(f"checkpoint {path} cannot be rebuilt: {error}") from error
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    module.eval()
    return module
