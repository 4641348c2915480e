"""The game from latent vectors to images, which most papers play: schedule, sampling, checks."""

import sys
import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.game import trial
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.optimizers import Adam
from lightning_gans.game.players import Player
from lightning_gans.game.replicas import Replicas, of_first
from lightning_gans.game.sides import Side, check_labels, check_real, read_batch
from lightning_gans.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lightning_gans.networks.mlp import MLPDiscriminator, MLPGenerator
from lightning_gans.networks.rebuild import made, or_default

GeneratorFactory = Callable[[tuple[int, ...], int], nn.Module]
"""Makes a generator from ``(image_shape, latent_dim)``: a network class, or a ``partial`` of one."""

DiscriminatorFactory = Callable[[tuple[int, ...]], nn.Module]
"""Makes a discriminator from ``image_shape``."""


@dataclass
class _Round:
    """The place in a round; no attribute of the module, whose own are slow to set.

    Attributes:
        batches: That were served in it.
        discriminator_steps: Updates of the discriminator that it has.
    """

    batches: int = 0
    discriminator_steps: int = 1


class LatentGame(Replicas):
    """A generator maps latent vectors to images, a discriminator (or critic) tells them from real ones.

    A paper writes two losses of the two sides; it may name other latents and networks than DCGAN's (MLPs for
    vectors)::

        class MyGAN(LatentGame):
            def discriminator_loss(self, real, fake):
                return self.judge(fake).mean() - self.judge(real).mean()

            def generator_loss(self, real, fake):
                return -self.judge(fake).mean()

    What its discriminator sees of a :class:`~lightning_gans.game.sides.Side` is said in :meth:`judge`, what
    its networks find in real images in :meth:`real_side`. A round is ``discriminator_steps`` updates of the
    discriminator and ``generator_steps`` of the generator, each on a batch of its own, except that the
    generator's first shares the discriminator's last.

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        num_classes: Number of classes of the data, if it has any.
        latent: Distribution of the latent vectors; the paper's by default. As for the networks, a dict of
            arguments stands for the paper's with these: ``latent={"dim": 5}``.
        generator: The network, or what makes it from ``(image_shape, latent_dim)``; the paper's by default.
        discriminator: The network, or what makes it from ``image_shape``; the paper's by default.
        generator_optimizer: Makes the optimizer of the generator (and of a latent that is learned).
        discriminator_optimizer: Makes the optimizer of the discriminator.
        generator_scheduler: Makes the learning-rate scheduler of the generator.
        discriminator_scheduler: Makes that of the discriminator.
        discriminator_steps: Discriminator updates in a round, each on a fresh batch.
        generator_steps: Generator updates in a round.
        kwargs: Arguments of :class:`~lightning_gans.game.replicas.Replicas`.

    Raises:
        ValueError: If a number of steps is not positive, ``image_shape`` is no shape, or a network was built
            for another number of classes.
    """

    conditional: bool = False
    """Whether the generator sees labels."""

    semi_supervised: bool = False
    """Whether the losses of a conditional game accept real samples without a label, -1."""

    shares_fake: bool = False
    """Whether the generator's first update in a round judges the fakes that the discriminator just learned
    from."""

    log_ratio: bool = False
    """Whether the logits of the best discriminator are log p_data / p_g, as those of GAN's loss are."""

    num_outputs: int | None = None
    """Numbers that the discriminator returns for an image, asked for as ``outputs`` of what makes it. None:
    one logit, or a map of patches."""

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        latent: Latent | dict[str, Any] | None = None,
        generator: nn.Module | GeneratorFactory | dict[str, Any] | None = None,
        discriminator: nn.Module | DiscriminatorFactory | dict[str, Any] | None = None,
        generator_optimizer: OptimizerCallable = Adam,
        discriminator_optimizer: OptimizerCallable = Adam,
        generator_scheduler: LRSchedulerCallable | None = None,
        discriminator_scheduler: LRSchedulerCallable | None = None,
        discriminator_steps: int = 1,
        generator_steps: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape = checks.image_shape(image_shape)
        checks.at_least(1, discriminator_steps=discriminator_steps, generator_steps=generator_steps)
        if self.conditional and not num_classes:
            raise ValueError(
                f"num_classes={num_classes}: {type(self).__name__} needs data with labels, and "
                "the number of their classes: as num_classes of the data, or of the model"
            )
        self.num_classes = num_classes
        self.latent: Latent = or_default(latent, self.default_latent, "latent")
        network = or_default(generator, self.default_generator, "generator", given=2)
        self.generator = self._made("generator", network, self.image_shape, self.latent.dim)
        network = or_default(discriminator, self.default_discriminator, "discriminator", given=1)
        outputs = {} if self.num_outputs is None else {"outputs": self.num_outputs}
        self.discriminator = self._made("discriminator", network, self.image_shape, **outputs)
        for name in ("generator", "discriminator") if self.conditional else ():
            built_for = getattr(getattr(self, name), "num_classes", num_classes)
            if built_for != num_classes:
                raise ValueError(f"{name} has num_classes={built_for}, but the data has {num_classes}")
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.generator_scheduler = generator_scheduler
        self.discriminator_scheduler = discriminator_scheduler
        self.discriminator_steps = discriminator_steps
        self.generator_steps = generator_steps
        self._round = _Round()
        self._unseen = True  # no real batch of this run was checked yet
        self._opponents: tuple[nn.Module, ...] = ()  # networks that the generator's player does not train

    # ------------------------------------------------------------------ what a paper writes

    def default_latent(self) -> Latent:
        """Make the paper's latent distribution."""
        return Normal(100)

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """Make the paper's generator, or say what makes it: DCGAN's, an MLP for vectors."""
        if len(self.image_shape) == 1:
            return partial(MLPGenerator, hidden=(128, 128), output="none")
        return DCGANGenerator

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """Make the paper's discriminator, or say what makes it: DCGAN's, an MLP for vectors."""
        if len(self.image_shape) == 1:
            return partial(MLPDiscriminator, hidden=(128, 128))
        return DCGANDiscriminator

    @abstractmethod
    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """What the discriminator minimises, a scalar; ``fake`` carries no graph."""

    @abstractmethod
    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """What the generator minimises, a scalar; the other players' weights are frozen."""

    def judge(self, side: Side) -> Any:
        """Map samples to logits by the discriminator; the only place that calls it.

        Returns:
            Logits, one an image ``(n,)`` or one a patch ``(n, 1, h, w)``; or several outputs as a tuple that
            begins with them.
        """
        return self.discriminator(side.images)

    def generate(self, latents: Tensor, labels: Tensor | None = None, ema: bool = False) -> Tensor:
        """Map ``(n, latent_dim)`` latents to ``(n, *image_shape)``; the only place that calls the generator.

        Args:
            latents: Where to start from.
            labels: ``(n,)`` int64, for a conditional game.
            ema: With averaged weights, if there are any.
        """
        arguments = (latents, labels) if self.conditional else (latents,)
        images: Tensor = self.network("generator", ema)(*arguments)
        return images

    def real_side(self, real: Side) -> Side:
        """Add to real samples what this game computes of them, such as an encoder's latents; here nothing.

        Called without gradients before the discriminator's update, and with them before the generator's.
        """
        return real

    def fake_labels(self, real: Side) -> Tensor | None:
        """Choose the classes ``(n,)`` of as many fakes as ``real`` has: all alike in conditional games."""
        return self.draw(len(real), self.draw_labels) if self.conditional else None

    def after_discriminator_step(self) -> None:
        """Do what the paper does after each discriminator update (WGAN clips its weights here)."""

    def steps_before_generator(self) -> int:
        """Return how many discriminator updates the round that begins now has."""
        return self.discriminator_steps

    def on_round_start(self) -> None:
        """Do what the paper does before a round."""

    # ------------------------------------------------------------------ the game

    @property
    def reporting(self) -> bool:
        """Return whether a row of the log will be written within this round; False outside of training."""
        return self.row_is_due(within=self.generator_steps)

    def players(self) -> dict[str, Player]:
        """The discriminator is updated first; a learned latent trains with the generator."""
        return {
            "discriminator": Player(
                ("discriminator",), self.discriminator_optimizer, self.discriminator_scheduler
            ),
            "generator": Player(("generator", "latent"), self.generator_optimizer, self.generator_scheduler),
        }

    def on_fit_start(self) -> None:
        """Look up once the networks that the generator's update does not change."""
        super().on_fit_start()
        own = self.player_networks("generator").values()
        others = [net for player in self.players() for net in self.player_networks(player).values()]
        self._opponents = tuple(network for network in others if network not in own)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One batch of a round: an update of the discriminator, of the generator, or of both."""
        real = self.read(batch)
        discriminator, generator = self.advance_round()
        fake = None
        if discriminator:
            fake = self.update_discriminator(real, keep_graph=generator and self.shares_fake)
        if generator:
            self.update_generator(real, fake if self.shares_fake else None)

    def read(self, batch: Any) -> Side:
        """Take a batch of data as real samples; the first of a run is checked.

        Raises:
            ValueError: If it is no batch of the model's images.
        """
        real = read_batch(batch)
        if self._unseen:
            check_real(real.images, self.image_shape, "the first batch of images")
            check_labels(real.labels, len(real))
            if self.num_classes:
                unlabeled = not self.conditional or self.semi_supervised
                checks.labels(self.num_classes, unlabeled, labels=real.labels)
            known = hasattr(getattr(self._trainer, "datamodule", None), "training_images")  # looked at before
            of_none = real.labels is not None and not known and bool((real.labels < 0).all())
            if self.conditional and of_none:
                warnings.warn(
                    f"no sample of the first batch has a label: {type(self).__name__} learns nothing of "
                    "classes from such data",
                    stacklevel=2,
                )
            self._unseen = False
        return replace(real, images=self.memory_format(real.images))

    def advance_round(self) -> tuple[bool, bool]:
        """Go on by a batch; return whether the discriminator, and the generator, are updated on it."""
        now = self._round
        if now.batches == 0:
            self.on_round_start()
            now.discriminator_steps = self.steps_before_generator()
        now.batches += 1
        batch, steps = now.batches, now.discriminator_steps
        if batch >= steps + self.generator_steps - 1:
            now.batches = 0
        return batch <= steps, batch >= steps

    def update_discriminator(self, real: Side, keep_graph: bool = False) -> Side:
        """Update the discriminator once, on ``real`` and as many new fakes.

        Args:
            real: Samples of the data.
            keep_graph: Whether the generator is going to learn from the same fakes.

        Returns:
            The fakes.
        """
        with torch.set_grad_enabled(keep_graph):
            fake = self.draw_fakes(real)
        with torch.no_grad():
            real = self.real_side(real)
        loss = self.discriminator_loss(real, fake.detach())
        self.minimise("discriminator", loss)
        self.report({"discriminator_loss": loss})
        self.after_discriminator_step()
        return fake

    def update_generator(self, real: Side, fake: Side | None = None) -> None:
        """Update the generator once, on ``fake`` or on new fakes.

        What the latents are penalised for is added to the generator's loss, and reported beside it.
        """
        if fake is None:
            fake = self.draw_fakes(real)
        with self.frozen(*self._opponents):
            loss = self.generator_loss(self.real_side(real), fake)
            self.report({"generator_loss": loss})
            self.minimise("generator", self.penalised(loss))

    def penalised(self, generator_loss: Tensor) -> Tensor:
        """Add what the latents are penalised for to the generator's loss, and report it."""
        penalty = self.latent.penalty()
        if penalty is None:
            return generator_loss
        self.report({"latent_penalty": penalty})
        return generator_loss + penalty

    def draw_fakes(self, real: Side) -> Side:
        """Draw as many fakes as there are real samples, with this rank's noise."""
        latents, labels = self.draw(len(real), self.latent), self.fake_labels(real)
        return Side(self.generate(latents, labels), labels, latents)

    def draw_labels(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ``(n,)`` labels, all classes alike."""
        assert self.num_classes is not None
        return torch.randint(self.num_classes, (n,), generator=rng, device=rng.device)

    def held_out_losses(self, batch: Any) -> dict[str, Tensor]:
        """Return the losses of both players on held-out samples and as many fakes."""
        real = self.read(batch)
        with torch.no_grad():
            real, fake = self.real_side(real), self.draw_fakes(real)
        return {
            "discriminator_loss": self.discriminator_loss(real, fake),
            "generator_loss": self.generator_loss(real, fake),
        }

    def run_state(self) -> dict[str, Any]:
        """Return the place in the round."""
        return asdict(self._round)

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Restore the place in the round."""
        self._round = _Round(state["batches"], state["discriminator_steps"])

    # ------------------------------------------------------------------ sampling

    @of_first
    def sample(
        self, n: int, labels: Tensor | None = None, ema: bool = True, seed: int | None = None
    ) -> Tensor:
        """Draw images from the generator, in evaluation mode.

        Args:
            n: How many.
            labels: ``(n,)`` int64 classes for a conditional game; drawn by default.
            ema: Use averaged weights if there are any.
            seed: The same seed gives the same images. Drawn from torch's global generator by default.

        Returns:
            ``(n, *image_shape)`` float32; images are in [-1, 1].
        """
        latents, drawn = self.draw_latents(n, ema, seed)
        return self.sample_from(latents, drawn if labels is None else labels, ema)

    @of_first
    def draw_latents(self, n: int, ema: bool = True, seed: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Draw latents ``(n, latent_dim)``, and classes ``(n,)`` if the game is conditional.

        Args:
            n: How many.
            ema: From the averaged latent if there is one.
            seed: The same seed gives the same. Drawn from torch's global generator by default.
        """
        checks.at_least(1, n=n)
        seed = int(torch.randint(2**62, ())) if seed is None else seed
        # The noise is drawn on the CPU: one seed, the same samples on every device.
        rng = torch.Generator().manual_seed(seed)
        with self.inference():
            latents: Tensor = self.network("latent", ema)(n, rng)
        return latents, self.draw_labels(n, rng) if self.conditional else None

    @of_first
    def sample_from(self, latents: Tensor, labels: Tensor | None = None, ema: bool = True) -> Tensor:
        """Map ``(n, latent_dim)`` latents to ``(n, *image_shape)`` float32 images, in evaluation mode.

        Raises:
            ValueError: If latents have another shape, or labels are missing, no classes, or of no use.
        """
        checks.shaped(("n", self.latent.dim), "float", latents=latents)
        if self.conditional and labels is None:
            raise ValueError(f"labels=None: {type(self).__name__} needs a class for each latent")
        if labels is not None and not self.conditional:
            raise ValueError(f"labels given, but {type(self).__name__} is not conditional: leave them out")
        self._check_classes(labels, len(latents))
        images = []
        with self.inference():
            for i in range(0, len(latents), 500):
                chosen = None if labels is None else labels[i : i + 500].to(self.device)
                images.append(self.generate(latents[i : i + 500].to(self.device), chosen, ema).float())
        return torch.cat(images)

    def _check_classes(self, labels: Tensor | None, n: int, unlabeled: bool = False) -> None:
        if labels is not None:
            checks.labels(self.num_classes or sys.maxsize, unlabeled, labels=labels)
            checks.shaped((n,), labels=labels)

    @of_first
    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the discriminator's logits ``(n,)`` of images, in evaluation mode; unlabeled by default.

        Raises:
            ValueError: If images have another shape, labels are no classes, or the game cannot do without.
        """
        checks.shaped(("n", *self.image_shape), "float", images=images)
        self._check_classes(labels, len(images), unlabeled=True)
        real = read_batch((images, labels))
        if labels is None and self.conditional and not self.semi_supervised:
            real = Side(images)  # no -1: a GPU would be of no use any more after it was looked up there
        real = real.to(self.device)
        try:
            with self.inference():
                return self.logits(self.judge(self.real_side(real)))
        except (TypeError, AttributeError, LookupError, RuntimeError) as error:
            if labels is not None or not self.conditional:
                raise
            raise ValueError(
                f"labels=None: the judge of a {type(self).__name__} needs the class of each image, int64 (n,)"
            ) from error

    def logits(self, judged: Any) -> Tensor:
        """Return what :meth:`judge` returned as one number an image, ``(n,)``: the mean over patches."""
        first: Tensor = judged[0] if isinstance(judged, tuple) else judged
        return first.float().reshape(len(first), -1).mean(1)

    def class_logits(self, judged: Any) -> Tensor | None:
        """Return the logits ``(n, num_classes)`` of the classes in what :meth:`judge` returned; here none."""
        return None

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Generate as many images as the batch has."""
        return self.sample(len(read_batch(batch)), seed=self.evaluation_seed(batch_idx))

    # ------------------------------------------------------------------ checks before a run

    def setup(self, stage: str) -> None:
        """Test the networks with two images before any long work starts.

        Raises:
            ValueError: If latent, generator, discriminator and data do not fit together.
        """
        super().setup(stage)
        self._unseen = True
        data = getattr(self.trainer, "datamodule", None)
        trial.check_data(self, data, training=stage == "fit")
        if stage == "fit":
            trial.check_served(self, data)
            self._try_networks()

    def on_train_start(self) -> None:
        """Check the sizes of batches that no data module of this package serves."""
        super().on_train_start()
        trial.check_loader(self)

    def check_batch(self, batch_size: int) -> None:
        """Check that the game can learn from batches of this size on each rank.

        Raises:
            ValueError: If it cannot.
        """
        normed = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.modules())
        if normed and batch_size < 2:
            raise ValueError(
                f"data.batch_size={batch_size} leaves batch norm without statistics: give 2 or more"
            )
        self.latent.check_batch(batch_size)

    def check_judged(self, judged: Any) -> None:
        """Check what :meth:`judge` returned for two images.

        Raises:
            ValueError: If that is not what the losses need.
        """
        first = judged[0] if isinstance(judged, tuple) and judged else judged
        found = tuple(first.shape) if isinstance(first, Tensor) else ()
        if self.num_outputs is not None:
            fits, wanted = found == (2, self.num_outputs), f"(N, {self.num_outputs})"
        else:
            fits = found in ((2,), (2, 1)) or (len(found) == 4 and found[:2] == (2, 1))
            wanted = "one logit an image, (N,), or a map of patches, (N, 1, h, w)"
        if not fits:
            raise ValueError(
                f"discriminator of {type(self).__name__} returned {trial.described(judged)} for 2 images: it "
                f"must return {wanted}"
            )

    def _made(
        self, name: str, network: nn.Module | Callable[..., nn.Module], *shape: Any, **outputs: int
    ) -> nn.Module:
        try:
            return made(name, network, *shape, **outputs)
        except ValueError as error:
            if "unexpected keyword argument 'outputs'" not in str(error):
                raise
            raise ValueError(
                f"{name}: it takes no argument outputs, by which {type(self).__name__} asks for "
                f"{self.num_outputs} logits an image: use DCGANDiscriminator or another that does"
            ) from error

    @of_first
    def _try_networks(self) -> None:
        with trial.trying(self, "generate"), self.inference():
            latents, labels = self.draw_latents(2, ema=False, seed=0)
            fake = Side(latents, labels, latents).to(self.device)
            fake = replace(fake, images=self.generate(fake.images, fake.labels))
        trial.check_images(self, fake.images)
        # Unlabeled, unless the game is conditional: then its networks may not accept the label -1.
        real = read_batch((fake.images, fake.labels))
        with trial.trying(self, "judge"), self.inference():
            judged = self.judge(fake), self.judge(self.real_side(real))
        for of_side in judged:
            self.check_judged(of_side)
