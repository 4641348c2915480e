"""The game from images to images: what pix2pix, CycleGAN and their kind have in common."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.game import trial
from lightning_gans.game.adversarial import AdversarialModule
from lightning_gans.game.as_in_training import as_in_training
from lightning_gans.game.optimizers import Adam
from lightning_gans.game.players import Player
from lightning_gans.game.sides import Side, check_real
from lightning_gans.networks.rebuild import made, or_default

TranslatorFactory = Callable[[tuple[int, ...], tuple[int, ...]], nn.Module]
"""Makes a generator from ``(input_shape, image_shape)``: a network class, or a ``partial`` of one."""

JudgeFactory = Callable[[tuple[int, ...]], nn.Module]
"""Makes a discriminator from ``(channels, height, width)`` of what it sees."""

PIXELS = 2**20
"""Pixels that are translated at once: 16 images of 256x256."""


class TranslationGame(AdversarialModule):
    """Generators translate images of one domain into another, discriminators judge the translations.

    A paper makes its networks (:meth:`make`), names them in :attr:`generators` and :attr:`discriminators` if
    it has more than ``generator`` and ``discriminator``, and writes ``training_step``; beside it
    :meth:`judge`, where its discriminator sees more than the images. Batches are ``(input, target)``: pairs,
    or images of two domains that do not belong together (:class:`~lightning_gans.PairedImages`,
    :class:`~lightning_gans.UnpairedImages`).

    Directions are seen from the batch: ``AtoB`` is from its input to its target, ``BtoA`` back.

    Args:
        input_shape: ``(channels, height, width)`` of what is translated.
        image_shape: ``(channels, height, width)`` of the translations.
        generator_optimizer: Makes the optimizer of the generators.
        discriminator_optimizer: Makes the optimizer of the discriminators.
        generator_scheduler: Makes the learning-rate scheduler of the generators.
        discriminator_scheduler: Makes that of the discriminators.
        kwargs: Arguments of :class:`~lightning_gans.game.adversarial.AdversarialModule`.

    Raises:
        ValueError: If a shape is none of images.
    """

    num_classes = None

    generators: ClassVar[Mapping[str, str]] = {"AtoB": "generator"}
    """The network that translates in each direction, by attribute name."""

    discriminators: ClassVar[Mapping[str, str]] = {"AtoB": "discriminator"}
    """The network that judges the translations of each direction; None or missing where none does."""

    norm_at_test: Literal["batch", "running"] = "running"
    """Statistics of batch norm in :meth:`translate`: of each image by itself, or running ones."""

    dropout_at_test: bool = False
    """Whether dropout is on in :meth:`translate`."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        image_shape: tuple[int, ...],
        generator_optimizer: OptimizerCallable = Adam,
        discriminator_optimizer: OptimizerCallable = Adam,
        generator_scheduler: LRSchedulerCallable | None = None,
        discriminator_scheduler: LRSchedulerCallable | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, shape in (("input_shape", input_shape), ("image_shape", image_shape)):
            if len(checks.image_shape(shape, name)) != 3:
                raise ValueError(f"{name}={shape}: a translation needs images, (channels, height, width)")
        self.input_shape, self.image_shape = tuple(input_shape), tuple(image_shape)
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.generator_scheduler = generator_scheduler
        self.discriminator_scheduler = discriminator_scheduler
        self._unseen = True  # no real batch of this run was checked yet

    # ------------------------------------------------------------------ what a paper uses and writes

    def make(
        self,
        name: str,
        network: nn.Module | Callable[..., nn.Module] | dict[str, Any] | None,
        default: Callable[..., nn.Module],
        *shapes: tuple[int, ...],
    ) -> nn.Module:
        """Make a network of an argument of the constructor.

        Args:
            name: The argument's name.
            network: The network, what makes it of ``shapes``, or a dict: the default with these arguments.
            default: The class used by default, or its ``partial``.
            shapes: What it is made for.

        Raises:
            ValueError: If it cannot be made of these.
        """
        return made(name, or_default(network, lambda: default, name, given=len(shapes)), *shapes)

    def players(self) -> dict[str, Player]:
        """All discriminators are one player, if there are any, all generators another."""
        judges = tuple(name for name in self.discriminators.values() if getattr(self, name, None) is not None)
        players = {}
        if judges:
            players["discriminator"] = Player(
                judges, self.discriminator_optimizer, self.discriminator_scheduler
            )
        translators = tuple(self.generators.values())
        players["generator"] = Player(translators, self.generator_optimizer, self.generator_scheduler)
        return players

    def generate(self, inputs: Tensor, ema: bool = False, direction: str = "AtoB") -> Tensor:
        """Translate images; the only place that calls a generator.

        Args:
            inputs: ``(n, channels, height, width)``.
            ema: With averaged weights, if there are any.
            direction: One of :attr:`directions`.
        """
        name = self._named(self.generators, direction, "generate")
        images: Tensor = self.network(name, ema)(inputs)
        return images

    def judge(self, side: Side, direction: str = "AtoB") -> Any:
        """Map translations of a direction, or images like them, to logits; the only place that calls a judge.

        ``side.inputs`` are the inputs that the images belong to.
        """
        return self.get_submodule(self._named(self.discriminators, direction, "judge"))(side.images)

    def _named(self, names: Mapping[str, str], direction: str, method: str) -> str:
        name = names[direction]
        if getattr(self, name, None) is None:
            raise TypeError(f"{type(self).__name__} has no {name}: write {method}()")
        return name

    # ------------------------------------------------------------------ the game

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions in which the game translates: ``AtoB``, ``BtoA``."""
        return tuple(self.generators)

    def channels(self, direction: str = "AtoB") -> tuple[int, int]:
        """Return the channels of inputs and of translations."""
        checks.one_of(self.directions, direction=direction)
        a, b = self.input_shape[0], self.image_shape[0]
        return (a, b) if direction == "AtoB" else (b, a)

    def size_multiple(self, direction: str = "AtoB") -> int:
        """Return what height and width of inputs must be divisible by, as far as the generator says."""
        checks.one_of(self.directions, direction=direction)
        return int(getattr(getattr(self, self.generators[direction], None), "size_multiple", 1))

    def read(self, batch: Any) -> Side:
        """Take a batch ``(input, target)`` as real samples of the target; the first of a run is checked.

        Raises:
            ValueError: If it is no batch of the model's images.
        """
        pair = isinstance(batch, list | tuple) and len(batch) == 2
        if not pair or not all(isinstance(part, Tensor) for part in batch):
            raise ValueError(
                f"a batch of the data is {trial.described(batch)}: {type(self).__name__} needs "
                "(input, target), two tensors of images"
            )
        inputs, targets = batch
        if self._unseen:
            check_real(inputs, self.input_shape, "the first batch of inputs")
            check_real(targets, self.image_shape, "the first batch of targets")
            if len(inputs) != len(targets):
                raise ValueError(
                    f"the first batch has {len(inputs)} inputs and {len(targets)} targets: give as many"
                )
            self._unseen = False
        return Side(self.memory_format(targets), inputs=self.memory_format(inputs))

    def draw_fakes(self, real: Side) -> Side:
        """Translate the inputs of ``real``."""
        assert real.inputs is not None
        return Side(self.generate(real.inputs), inputs=real.inputs)

    @contextmanager
    def as_tested(self, n: int, seed: int, deterministic: bool = False) -> Iterator[None]:
        """Within this block, networks act on batches of ``n`` images as :meth:`translate` lets them.

        Args:
            n: Images in a batch.
            seed: Of dropout's noise for the first; that of the next is ``seed + 1``.
            deterministic: Without noise, and with running statistics.
        """
        norm = self.norm_at_test == "batch" and not deterministic
        noise = self.dropout_at_test and not deterministic
        with self.inference(), as_in_training(norm, range(seed, seed + n) if noise else None):
            yield

    def translate(
        self,
        images: Tensor,
        ema: bool = True,
        deterministic: bool = False,
        direction: str = "AtoB",
        seed: int | None = None,
    ) -> Tensor:
        """Translate images as the paper does at test time; networks and random states stay as they are.

        What becomes of an image does not depend on the others.

        Args:
            images: ``(n, channels, height, width)`` float in [-1, 1], of any size that the generator takes.
            ema: Use averaged weights if there are any.
            deterministic: Without noise and with running statistics, where the paper has it otherwise.
            direction: From inputs to targets of the batches, ``AtoB``, or back.
            seed: Image ``i`` gets the noise of ``seed + i``. Drawn from torch's global generator by default.

        Returns:
            ``(n, channels, height, width)`` float32 in [-1, 1].

        Raises:
            ValueError: If the game has no such direction, or the images do not fit.
        """
        checks.shaped(("n", self.channels(direction)[0], "h", "w"), "float", images=images)
        if not images.numel():
            raise ValueError(f"images is empty, of shape {tuple(images.shape)}: give at least one")
        seed = int(torch.randint(2**62, ())) if seed is None else seed
        size = max(1, PIXELS // images[0, 0].numel())
        parts = []
        for start, part in enumerate(images.split(size)):
            with self.as_tested(len(part), seed + start * size, deterministic):
                inputs = self.memory_format(part.to(self.device, torch.float32))
                parts.append(self.generate(inputs, ema, direction).float())
        return torch.cat(parts)

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Translate the inputs of the batch."""
        inputs = self.read(batch).inputs
        assert inputs is not None
        return self.translate(inputs, seed=self.evaluation_seed(batch_idx) << 32)

    # ------------------------------------------------------------------ checks before a run

    def setup(self, stage: str) -> None:
        """Translate two images in each direction before any long work starts.

        Raises:
            ValueError: If networks and data do not fit together.
        """
        super().setup(stage)
        self._unseen = True
        name, data = type(self).__name__, getattr(self.trainer, "datamodule", None)
        if hasattr(data, "image_shape") and not hasattr(data, "input_shape"):
            raise ValueError(
                f"data={type(data).__name__} serves single images, but a {name} translates one kind into "
                "another: use PairedImages or UnpairedImages"
            )
        trial.check_shapes(self, data)
        self._try_networks(self.norm_at_test == "batch")
        if stage == "fit":
            trial.check_served(self, data)

    def on_train_start(self) -> None:
        """Check the sizes of batches that no data module of this package serves."""
        super().on_train_start()
        trial.check_loader(self)

    def check_batch(self, batch_size: int) -> None:
        """Check that the game can learn from batches of this size on each rank.

        Raises:
            ValueError: If it is 1, and batch norm would have one value a channel.
        """
        if batch_size == 1 and self.norm_at_test != "batch":  # else that was tried before
            self._try_networks(batch_statistics=True)

    def _try_networks(self, batch_statistics: bool) -> None:
        for direction in self.directions:
            given, wanted = ("input_shape", "image_shape")[:: 1 if direction == "AtoB" else -1]
            noise = torch.rand(2, *getattr(self, given), generator=torch.Generator().manual_seed(0))
            inputs = self.memory_format(2 * noise.to(self.device) - 1)
            with self.inference(), as_in_training(batch_statistics, None):
                with trial.trying(self, "generate"):
                    images = self.generate(inputs, direction=direction)
                trial.check_images(self, images, wanted)
                if getattr(self, self.discriminators[direction], None) is not None:
                    with trial.trying(self, "judge"):
                        self.judge(Side(images, inputs=inputs), direction)
