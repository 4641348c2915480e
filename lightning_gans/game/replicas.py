"""Several independent games in one process: the replicas of a game, which differ in their seeds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ClassVar, TypeVar

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves
from typing_extensions import Self

from lightning_gans import checks
from lightning_gans.game.adversarial import AdversarialModule
from lightning_gans.game.latents import Latent
from lightning_gans.game.ranks import noise_seed
from lightning_gans.game.sides import Side, read_batch
from lightning_gans.networks.rebuild import built_again
from lightning_gans.networks.stacked import check_stackable, stack, stacked

Method = TypeVar("Method", bound=Callable[..., Any])


def of_first(method: Method) -> Method:
    """Have a method of a game with several replicas do what it does for replica 0."""

    @wraps(method)
    def acting(self: "Replicas", *args: Any, **kwargs: Any) -> Any:
        return method(self.replica(0) if self.stacked else self, *args, **kwargs)

    return acting  # type: ignore[return-value]


class Replicas(AdversarialModule):
    """Base class of games that can train ``replicas`` times at once, each as a run of its own would.

    Replica ``r`` is the run of ``seed_everything + r`` and ``data.seed + r``: its own initial weights, noise,
    data and optimizer state. All of them are updated by the same calls, on batches that are flat and in the
    order of the replicas: ``(replicas * n, ...)``, of which the first ``n`` samples are those of replica 0.
    The networks are stacked (:mod:`~lightning_gans.networks.stacked`) when a run begins; what looks at one
    game, such as ``sample``, looks at replica 0, and :meth:`replica` returns any.

    A loss that is a mean over samples needs no change. One that couples the samples of a batch works on
    :meth:`per_replica`, and whatever is drawn in training comes from :meth:`draw`. Optimizers must treat each
    weight alone, as Adam, RMSprop and SGD do.

    Args:
        replicas: How many games.
        kwargs: Arguments of :class:`~lightning_gans.game.adversarial.AdversarialModule`.

    Raises:
        ValueError: If ``replicas`` is not positive, or this game cannot have several.
    """

    no_replicas: ClassVar[str] = ""
    """Why this game cannot have several replicas, if it cannot: a sentence without its end."""

    def __init__(self, replicas: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        checks.at_least(1, replicas=replicas)
        self.replicas = replicas
        self.stacked = False  # whether the networks are those of all replicas
        self._seed = torch.initial_seed()
        self._others: list[torch.Generator] = []  # of replicas 1, 2, ...
        if self.no_replicas:
            self.refuse_replicas(self.no_replicas)

    def refuse_replicas(self, reason: str) -> None:
        """Refuse several replicas, for a reason that depends on arguments.

        Raises:
            ValueError: If there are several.
        """
        if self.replicas > 1:
            raise ValueError(
                f"replicas={self.replicas}: {type(self).__name__} has one at a time, since {reason}; start a "
                "run for each seed"
            )

    def draw(self, n: int, of: Callable[[int, torch.Generator], Any]) -> Tensor:
        """Draw ``n`` random things for a flat batch, those of each replica by its own generator.

        Args:
            n: How many, of all replicas together.
            of: Draws as many as it is told, ``(count, ...)``, by a generator: a latent, :meth:`draw_labels`.
        """
        if not self.stacked:
            drawn: Tensor = of(n, self.rng)
            return drawn
        each = n // self.replicas
        if not isinstance(of, nn.Module) or not (learned := _tensors(of)):
            return torch.cat([of(each, rng) for rng in self.rngs])
        own = zip(self.rngs, *(values.unbind() for values in learned.values()), strict=True)
        return torch.cat(
            [functional_call(of, dict(zip(learned, x, strict=True)), (each, rng)) for rng, *x in own]
        )

    def per_replica(self, values: Tensor) -> Tensor:
        """Return a flat batch ``(replicas * n, ...)`` as ``(replicas, n, ...)``."""
        each: Tensor = values.unflatten(0, (self.replicas if self.stacked else 1, -1))
        return each

    def seed_of(self, number: int) -> int:
        """Return the seed of the run that a replica is equal to."""
        return (self._seed + number) % 2**63

    def replica(self, number: int, into: Self | None = None) -> Self:
        """Return the game that a replica plays, with its weights as they are now, in evaluation mode.

        Where there is one, that is this game itself.

        Args:
            number: Which, from 0.
            into: A game that this method returned before, to be given these weights. None: a new one.

        Raises:
            ValueError: If there is none.
        """
        checks.one_of(range(self.replicas), replica=number)
        if self.replicas == 1:
            return self
        self.configure_model()
        game = self._built(0).to(self.device) if into is None else into
        if self.ema is not None:
            game.start_ema()
        weights = self.state_dict()
        own = game.state_dict()
        game.load_state_dict({key: _of_one(weights[key], like, number) for key, like in own.items()})
        return game.eval()

    def another(self, seed: int) -> Self:
        """Build a game of one replica and otherwise the same arguments, with the initial weights of a seed.

        Raises:
            ValueError: If a network did not record how it was made.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # not that of a GPU, which draws dropout's masks
            return type(self)(**built_again({**self._arguments, "replicas": 1}))

    def data_of(self, replica: int) -> Any:
        """Return the data module of a replica, with its own seed, set up for this run."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        return data.of_replica(replica) if self.replicas > 1 else data

    # ------------------------------------------------------------------ Lightning's hooks

    def configure_callbacks(self) -> list[Callback]:
        """Refuse networks that cannot be stacked; Lightning calls this first of all."""
        self._check_parts()
        return super().configure_callbacks()

    def setup(self, stage: str) -> None:
        """Have the data module serve the batches of all replicas.

        Raises:
            ValueError: If it cannot.
        """
        super().setup(stage)
        if self.replicas > 1 and stage != "predict":
            data: Any = getattr(self.trainer, "datamodule", None)
            if not hasattr(data, "serve_replicas"):
                raise ValueError(
                    f"replicas={self.replicas}: each has its own order of the data, which only the data "
                    "modules of this package give: use one, or leave replicas out"
                )
            data.serve_replicas(self.replicas, stage)

    def configure_model(self) -> None:
        """Stack the networks of all replicas, if there are several and it was not done before.

        Raises:
            ValueError: If the networks cannot be stacked, or couple the samples of a batch.
        """
        if self.replicas == 1 or self.stacked:
            return
        self._check_parts()
        games: list[Any] = [self, *(self._built(r).to(self.device) for r in range(1, self.replicas))]
        drawn = [game.draw_latents(2, ema=False, seed=r) for r, game in enumerate(games)]
        alone = [_made_of(game, *given) for game, given in zip(games, drawn, strict=True)]
        done: dict[int, nn.Module] = {}
        for name, network in self._parts():
            of_all = [getattr(game, name) for game in games]
            if isinstance(network, Latent):
                _stack_latents(of_all)
            else:
                setattr(self, name, stack(of_all, done))
        self.stacked = True
        self._others = [torch.Generator() for _ in games[1:]]
        self._parameters_of.clear()
        if self.ema is not None:  # copies of the networks that were replaced
            self.ema = None
            self.start_ema()
        latents, labels = (None if x[0] is None else torch.cat(x) for x in zip(*drawn, strict=True))
        together = _made_of(self, latents, labels)
        for found, *wanted in zip(together, *alone, strict=True):
            if not torch.allclose(found, torch.cat(wanted), rtol=1e-3, atol=1e-4):
                self.refuse_replicas("its networks do not treat each sample of a batch alone")

    def on_fit_start(self) -> None:
        """Seed the noise of each replica."""
        super().on_fit_start()
        seeds = [noise_seed(torch.initial_seed() + r, self.global_rank) for r in range(1, self.replicas)]
        self._others = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]

    @property
    def rngs(self) -> list[torch.Generator]:
        """Return the generators of all replicas."""
        return [self.rng, *self._others]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add up the losses on held-out data, of all replicas together."""
        training, seed = self._others, self.evaluation_seed(batch_idx)
        self._others = [torch.Generator(self.device).manual_seed(seed) for _ in training]
        try:
            super().validation_step(batch, batch_idx)
        finally:
            self._others = training

    test_step = validation_step

    # ------------------------------------------------------------------ inside

    def _parts(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the networks with weights by name, without the averaged ones."""
        for name, network in list(self.named_children()):
            if name != "ema" and network.state_dict():
                yield name, network

    def _check_parts(self) -> None:
        if self.replicas == 1:
            return
        try:
            with torch.random.fork_rng(devices=[]):
                built_again(self._arguments)
            for name, network in self._parts():
                if not isinstance(network, Latent):
                    check_stackable(name, network)
        except ValueError as error:
            self.refuse_replicas(str(error))

    def _built(self, number: int) -> Self:
        """Build the game of one replica as its own run would."""
        return self.another(self.seed_of(number))


def _made_of(game: Any, latents: Any, labels: Tensor | None) -> list[Tensor]:
    """Return what the networks of a game make of latents, and what they say of the images."""
    place = game.device
    fake = Side(latents, labels, latents).to(place)
    with game.inference():
        fake = replace(fake, images=game.generate(fake.images, fake.labels))
        real = read_batch((fake.images, fake.labels))
        return tree_leaves((fake.images, game.judge(fake), game.judge(game.real_side(real))))


def _stack_latents(latents: Sequence[Latent]) -> None:
    """Make the weights of the first of some latents those of all, of which each draw is told its own."""
    for path, tensor in _tensors(latents[0]).items():
        place, _, name = path.rpartition(".")
        of_all = stacked([_tensors(latent)[path] for latent in latents])
        owner = latents[0].get_submodule(place)
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(name, of_all)  # type: ignore[arg-type]
        else:
            owner.register_buffer(name, of_all)


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _of_one(values: Tensor, like: Tensor, number: int) -> Tensor:
    """Return what a replica has of a tensor of all, of the shape that it has in a game of one."""
    if values.ndim > like.ndim:
        return values[number]
    return values if values.shape == like.shape else values[number : number + 1]
