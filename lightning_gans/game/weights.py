"""The networks of a game: frozen, averaged, in evaluation mode, compiled, in another memory order."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn


class Weights(LightningModule):
    """Base class with what any game does with its networks."""

    never_compiled: tuple[str, ...] = ()
    """Networks that ``compile`` leaves alone: those whose gradient is itself differentiated."""

    compiles: bool
    channels_last: bool

    def __init__(self) -> None:
        super().__init__()
        self.ema: nn.ModuleDict | None = None
        self._ema_followed = False
        self._parameters_of: dict[int, tuple[nn.Parameter, ...]] = {}

    def player_networks(self, player: str) -> dict[str, nn.Module]:
        """Return the networks of ``player`` by attribute name."""
        raise NotImplementedError

    @contextmanager
    def frozen(self, *networks: nn.Module) -> Iterator[None]:
        """Within this block the weights of ``networks`` get no gradient, and none is computed for them."""
        parameters = [p for network in networks for p in self.trainable(network) if p.requires_grad]
        for parameter in parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.requires_grad_(True)

    @contextmanager
    def played_with(self, name: str, weights: Mapping[str, Tensor]) -> Iterator[None]:
        """Within this block network ``name`` has other weights, and the same code calls it.

        Gradients reach these weights, and what they were computed from. The network's own are not touched,
        and what happens to its buffers (the statistics of batch norm) is undone at the end.

        Args:
            name: Of an attribute that is a network.
            weights: By the names of the network's parameters; those that are not named stay.

        Raises:
            KeyError: If the network has no parameter of such a name.
        """
        network: nn.Module = getattr(self, name)
        own = dict(network.named_parameters())
        others = {id(own[key]): weight for key, weight in weights.items()}
        others.update({id(buffer): buffer.clone() for buffer in network.buffers()})
        # The places of a module are swapped as torch.func.functional_call does it, which would cost twice as
        # much, as it does so at every call of the network.
        places: list[tuple[dict[str, Any], str, Tensor | None]] = [
            (place, key, tensor)
            for module in network.modules()
            for place in (module._parameters, module._buffers)
            for key, tensor in place.items()
            if id(tensor) in others
        ]
        for place, key, tensor in places:
            place[key] = others[id(tensor)]
        try:
            yield
        finally:
            for place, key, tensor in places:
                place[key] = tensor

    def trainable(self, network: nn.Module) -> tuple[nn.Parameter, ...]:
        """Return the parameters of a network that learn, frozen at the moment or not."""
        # Walking the modules costs more than freezing: done once per network.
        if id(network) not in self._parameters_of:
            self._parameters_of[id(network)] = tuple(p for p in network.parameters() if p.requires_grad)
        return self._parameters_of[id(network)]

    def start_ema(self) -> None:
        """Register averaged copies of the generator's networks as :attr:`ema`, if there are none."""
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
    def inference(self) -> Iterator[None]:
        """Within this block: no gradients, and all networks in evaluation mode."""
        modes = [(module, module.training) for module in self.modules()]
        for module, _ in modes:
            module.training = False
        try:
            with torch.no_grad():
                yield
        finally:
            for module, mode in modes:
                module.training = mode

    def train(self, mode: bool = True) -> "Weights":
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

    def fit_averages(self, weights: dict[str, Tensor], fitting: bool) -> None:
        """Make averages and the weights of a checkpoint fit each other.

        Averages that are missing begin as a copy of the weights. Those that a run without
        :class:`~lightning_gans.callbacks.GeneratorEMA` finds are dropped, with a warning.

        Args:
            weights: The checkpoint's ``state_dict``.
            fitting: Whether a run is resumed, which says itself whether it averages.
        """
        averaged = {key for key in weights if key.startswith("ema.")}
        if averaged and self.ema is None and fitting:
            warnings.warn(
                "the checkpoint holds averaged weights, the run has no GeneratorEMA: they are dropped",
                stacklevel=2,
            )
            for key in averaged:
                del weights[key]
        elif averaged and self.ema is None:
            self.start_ema()
        elif self.ema is not None and not averaged:
            weights.update({f"ema.{key}": weights[key] for key in self.ema.state_dict()})

    def setup(self, stage: str) -> None:
        """Move the networks to the device of the run, to be tried there before any long work starts."""
        # Lightning moves them only after this hook, in which `device` already says otherwise.
        self.to(self.device)

    def prepare_networks(self, names: Iterable[str]) -> None:
        """Bring the networks into the memory order of this run, and compile them if it asks for it.

        Raises:
            ValueError: If a network cannot be compiled in place.
        """
        if self.ema is not None and not self._ema_followed:
            warnings.warn("the averaged weights are dropped: this run has no GeneratorEMA", stacklevel=2)
            self.ema = None
        self._parameters_of.clear()
        for name in dict.fromkeys(names):
            network: nn.Module = getattr(self, name)
            if self.channels_last:
                network.to(memory_format=torch.channels_last)
            if self.compiles and name not in self.never_compiled and list(network.parameters()):
                if type(network) is nn.Sequential:  # torch's compile() does nothing for it, without a warning
                    raise ValueError(
                        f"{name} is a bare nn.Sequential, which compile leaves alone: subclass it"
                    )
                network.compile()
        if self.channels_last and self.ema is not None:
            self.ema.to(memory_format=torch.channels_last)
