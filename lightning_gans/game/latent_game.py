"""The game from latent vectors to images, which most papers play: schedule, sampling, checks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_gans.game.adversarial import AdversarialModule, Player
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.optimizers import Adam
from lightning_gans.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lightning_gans.networks.mlp import MLPDiscriminator, MLPGenerator

GeneratorFactory = Callable[[tuple[int, ...], int], nn.Module]
"""Makes a generator from ``(image_shape, latent_dim)``: a network class, or a ``partial`` of one."""

DiscriminatorFactory = Callable[[tuple[int, ...]], nn.Module]
"""Makes a discriminator from ``image_shape``."""


class LatentGame(AdversarialModule):
    """A generator maps latent vectors to images, a discriminator (or critic) tells them from real ones.

    A paper writes two losses; it may name other latents and networks than DCGAN's (MLPs for vectors)::

        class MyGAN(LatentGame):
            def discriminator_loss(self, real, fake):
                return self.discriminator(fake).mean() - self.discriminator(real).mean()

            def generator_loss(self, real, fake):
                return -self.discriminator(fake).mean()

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        num_classes: Number of classes of the data, if it has any.
        latent: Distribution of the latent vectors; the paper's by default.
        generator: The network, or what makes it from ``(image_shape, latent_dim)``; the paper's by default.
        discriminator: The network, or what makes it from ``image_shape``; the paper's by default.
        generator_optimizer: Makes the optimizer of the generator (and of a latent that is learned).
        discriminator_optimizer: Makes the optimizer of the discriminator.
        generator_scheduler: Makes the learning-rate scheduler of the generator.
        discriminator_scheduler: Makes that of the discriminator.
        discriminator_steps: Discriminator updates before each turn of the generator, each on a fresh batch.
        generator_steps: Generator updates in its turn, each on fresh latents.
        kwargs: Arguments of :class:`~lightning_gans.game.adversarial.AdversarialModule`.

    Raises:
        ValueError: If a number of steps is not positive, or ``image_shape`` is no shape.
    """

    shares_fake: bool = False
    """Whether the generator's turn scores the fake batch that the discriminator was just trained on."""

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        latent: Latent | None = None,
        generator: nn.Module | GeneratorFactory | None = None,
        discriminator: nn.Module | DiscriminatorFactory | None = None,
        generator_optimizer: OptimizerCallable = Adam,
        discriminator_optimizer: OptimizerCallable = Adam,
        generator_scheduler: LRSchedulerCallable | None = None,
        discriminator_scheduler: LRSchedulerCallable | None = None,
        discriminator_steps: int = 1,
        generator_steps: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)
        if len(self.image_shape) not in (1, 3) or min(self.image_shape) < 1:
            raise ValueError(f"image_shape={image_shape} is neither (channels, height, width) nor (d,)")
        for name, steps in (
            ("discriminator_steps", discriminator_steps),
            ("generator_steps", generator_steps),
        ):
            if steps < 1:
                raise ValueError(f"{name}={steps}: each player moves at least once, give 1 or more")
        if self.conditional and not num_classes:
            raise ValueError(f"num_classes={num_classes}: {type(self).__name__} needs data with labels")
        self.num_classes = num_classes
        self.latent = latent if latent is not None else self.default_latent()
        generator = generator if generator is not None else self.default_generator()
        self.generator = (
            generator if isinstance(generator, nn.Module) else generator(self.image_shape, self.latent.dim)
        )
        discriminator = discriminator if discriminator is not None else self.default_discriminator()
        self.discriminator = (
            discriminator if isinstance(discriminator, nn.Module) else self.build_discriminator(discriminator)
        )
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.generator_scheduler = generator_scheduler
        self.discriminator_scheduler = discriminator_scheduler
        self.discriminator_steps = discriminator_steps
        self.generator_steps = generator_steps
        self.turns = 0  # discriminator updates since the generator's last turn

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

    def build_discriminator(self, factory: DiscriminatorFactory) -> nn.Module:
        """Make the discriminator; a paper whose discriminator has several outputs asks for them here."""
        return factory(self.image_shape)

    def with_outputs(self, factory: DiscriminatorFactory, outputs: int) -> nn.Module:
        """Make a discriminator with several outputs, for :meth:`build_discriminator`.

        Raises:
            ValueError: If what makes it does not take their number.
        """
        try:
            return factory(self.image_shape, outputs=outputs)  # type: ignore[call-arg]
        except TypeError as error:
            if "unexpected keyword argument 'outputs'" not in str(error):
                raise
            raise ValueError(
                f"discriminator takes no argument outputs, by which {type(self).__name__} asks for "
                f"{outputs} logits an image: use DCGANDiscriminator or another that does"
            ) from error

    def discriminator_loss(self, real: Tensor, fake: Tensor, **labels: Tensor) -> Tensor:
        """What the discriminator minimises: a scalar from ``(n, *image_shape)`` images.

        ``fake`` carries no graph. Conditional games get ``real_labels`` and ``fake_labels`` too.
        """
        raise NotImplementedError

    def generator_loss(self, real: Tensor, fake: Tensor, **labels: Tensor) -> Tensor:
        """What the generator minimises; the discriminator's weights are frozen."""
        raise NotImplementedError

    def after_discriminator_step(self) -> None:
        """Do what the paper does after each discriminator update (WGAN clips its weights here)."""

    def steps_before_generator(self) -> int:
        """Return how many discriminator updates the coming turn of the generator waits for."""
        return self.discriminator_steps

    # ------------------------------------------------------------------ the game

    @property
    def reporting(self) -> bool:
        """Whether a row of the log is due within the generator's coming turn."""
        if self._trainer is None:
            return False
        return self.trainer.global_step % self._log_every + self.generator_steps >= self._log_every

    def players(self) -> dict[str, Player]:
        """The discriminator moves first; a learned latent trains with the generator."""
        return {
            "discriminator": Player(
                ("discriminator",), self.discriminator_optimizer, self.discriminator_scheduler
            ),
            "generator": Player(("generator", "latent"), self.generator_optimizer, self.generator_scheduler),
        }

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """One discriminator update on one batch, and the generator's turn when it is due."""
        real, real_labels = self.memory_format(batch[0]), batch[1]
        self.turns += 1
        due = self.turns >= self.steps_before_generator()
        fake, labels = self.discriminator_turn(real, real_labels, keep_graph=due and self.shares_fake)
        if not due:
            return
        self.turns = 0
        for turn in range(self.generator_steps):
            if turn == 0 and self.shares_fake:
                self.generator_turn(real, real_labels, fake, labels)
            else:
                self.generator_turn(real, real_labels)

    def discriminator_turn(
        self, real: Tensor, real_labels: Tensor, keep_graph: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Update the discriminator once, on ``real`` and as many new fakes.

        Args:
            real: ``(n, *image_shape)``.
            real_labels: ``(n,)`` int64.
            keep_graph: Whether the generator is going to learn from the same fakes.

        Returns:
            The fakes, and the labels for the losses of a conditional game.
        """
        with torch.set_grad_enabled(keep_graph):
            fake, labels = self.draw_fakes(len(real), real_labels)
        loss = self.discriminator_loss(real, fake.detach(), **labels)
        self.minimise("discriminator", loss)
        self.report({"discriminator_loss": loss})
        self.after_discriminator_step()
        return fake, labels

    def generator_turn(
        self,
        real: Tensor,
        real_labels: Tensor,
        fake: Tensor | None = None,
        labels: dict[str, Tensor] | None = None,
    ) -> None:
        """Update the generator once, on ``fake`` with its ``labels``, or on new fakes.

        What the latents are penalised for is added to the generator's loss, and reported beside it.
        """
        if fake is None or labels is None:
            fake, labels = self.draw_fakes(len(real), real_labels)
        with self.frozen(self.discriminator):
            loss = self.generator_loss(real, fake, **labels)
            self.report({"generator_loss": loss})
            self.minimise("generator", self.penalised(loss))

    def penalised(self, generator_loss: Tensor) -> Tensor:
        """Add what the latents are penalised for to the generator's loss, and report it."""
        penalty = self.latent.penalty()
        if penalty is None:
            return generator_loss
        self.report({"latent_penalty": penalty})
        return generator_loss + penalty

    def draw_fakes(self, n: int, real_labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Draw ``n`` fakes with this rank's noise, and the labels for the losses of a conditional game."""
        latents = self.latent(n, self.rng)
        if not self.conditional:
            return self.generator(latents), {}
        labels = self.draw_labels(n, self.rng)
        return self.generator(latents, labels), {"real_labels": real_labels, "fake_labels": labels}

    def draw_labels(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ``(n,)`` labels, all classes alike."""
        assert self.num_classes is not None
        return torch.randint(self.num_classes, (n,), generator=rng, device=rng.device)

    # ------------------------------------------------------------------ sampling

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
        return self.generate(latents, drawn if labels is None else labels, ema)

    def draw_latents(self, n: int, ema: bool = True, seed: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Draw latents ``(n, latent_dim)``, and classes ``(n,)`` if the game is conditional.

        Args:
            n: How many.
            ema: From the averaged latent if there is one.
            seed: The same seed gives the same. Drawn from torch's global generator by default.
        """
        seed = int(torch.randint(2**62, ())) if seed is None else seed
        # The noise is drawn on the CPU: one seed, the same samples on every device.
        rng = torch.Generator().manual_seed(seed)
        latent = self.network("latent", ema)
        with self.inference(latent):
            latents: Tensor = latent(n, rng)
        return latents, self.draw_labels(n, rng) if self.conditional else None

    def generate(self, latents: Tensor, labels: Tensor | None = None, ema: bool = True) -> Tensor:
        """Map ``(n, latent_dim)`` latents to ``(n, *image_shape)`` float32 images, in evaluation mode."""
        generator = self.network("generator", ema)
        images = []
        with self.inference(generator):
            for i in range(0, len(latents), 500):
                chunk = latents[i : i + 500].to(self.device)
                if self.conditional:
                    if labels is None:
                        raise ValueError(f"labels=None: {type(self).__name__} needs a class for each latent")
                    images.append(generator(chunk, labels[i : i + 500].to(self.device)).float())
                else:
                    images.append(generator(chunk).float())
        return torch.cat(images)

    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the logits ``(n,)`` of images (the mean over patches), in evaluation mode."""
        arguments = [images.to(self.device)] + ([labels.to(self.device)] if labels is not None else [])
        with self.inference(self.discriminator):
            logits: Tensor = self.discriminator(*arguments)
        return logits.float().reshape(len(images), -1).mean(1)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Generate as many images as the batch has."""
        return self.sample(len(batch[0]), seed=self._draw(batch_idx))

    # ------------------------------------------------------------------ held-out losses

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log both losses on held-out data; a discriminator that does worse here has learned by heart."""
        self._held_out("val", batch, batch_idx)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log both losses on the test data."""
        self._held_out("test", batch, batch_idx)

    def _held_out(self, stage: str, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        training, self.rng = self.rng, torch.Generator(self.device).manual_seed(self._draw(batch_idx))
        try:
            # A gradient penalty differentiates even here, which inference mode forbids.
            with torch.inference_mode(False):
                real, real_labels = self.memory_format(batch[0]).clone(), batch[1].clone()
                with torch.no_grad():
                    fake, labels = self.draw_fakes(len(real), real_labels)
                with torch.enable_grad():
                    losses = {
                        "discriminator_loss": self.discriminator_loss(real, fake, **labels).detach(),
                        "generator_loss": self.generator_loss(real, fake, **labels).detach(),
                    }
        finally:
            self.rng = training
        row: dict[str, Any] = {f"{stage}/{name}": loss for name, loss in losses.items()}
        if self.trainer.state.fn == "fit":
            row["step"] = float(self.trainer.global_step)  # the loggers' x-axis, which would be batches
        self.log_dict(row, batch_size=len(real), sync_dist=True)

    def _draw(self, batch_idx: int) -> int:
        # The same noise at each evaluation, another on each rank.
        return batch_idx * self.trainer.world_size + self.global_rank

    # ------------------------------------------------------------------ state and checks

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the place in the schedule."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["turns"] = self.turns

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the place in the schedule."""
        super().on_load_checkpoint(checkpoint)
        if self._trainer is not None and self.trainer.training:
            self.turns = checkpoint.get("turns", 0)

    def setup(self, stage: str) -> None:
        """Try the networks on two images before any long work starts.

        Raises:
            ValueError: If latent, generator, discriminator and data do not fit together.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if getattr(data, "view_names", ()):
            raise ValueError(
                f"data={type(data).__name__} serves {' and '.join(data.view_names)}, but a "
                f"{type(self).__name__} learns from single images: use ImageFolder for these files"
            )
        if stage == "fit" and self.conditional and hasattr(data, "training_images"):
            unlabeled = int((data.training_images()[1] < 0).sum())
            if unlabeled and not self.semi_supervised:
                raise ValueError(
                    f"{unlabeled} training samples of {type(data).__name__} have no label, but a conditional "
                    f"{type(self).__name__} needs all: leave out label_fraction and unlabeled data"
                )
        shape = getattr(data, "image_shape", self.image_shape)
        if tuple(shape) != self.image_shape:
            raise ValueError(
                f"image_shape={self.image_shape} of the model is not that of the data, {tuple(shape)}: use it"
            )
        if stage == "fit":
            batch_size = getattr(data, "batch_size", None)
            if batch_size is not None:
                self._check_batch(batch_size)
            self._try_networks()

    def _check_batch(self, batch_size: int) -> None:
        normed = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.modules())
        if normed and batch_size < 2:
            raise ValueError(
                f"data.batch_size={batch_size} leaves batch norm without statistics: give 2 or more"
            )
        self.latent.check_batch(batch_size)

    def _try_networks(self) -> None:
        rng = torch.Generator().manual_seed(0)
        place = next(self.generator.parameters(), torch.empty(0)).device
        name = type(self).__name__
        with self.inference(self.latent):
            latents = self.latent(2, rng).to(place)
        extra = [self.draw_labels(2, rng).to(place)] if self.conditional else []
        with self.inference(self.generator, self.discriminator):
            try:
                images = self.generator(latents, *extra)
            except RuntimeError as error:
                raise ValueError(
                    f"generator of {name} cannot read latents of shape {tuple(latents.shape)}: "
                    f"{_first_line(error)}; make latent.dim and the generator's latent_dim equal"
                ) from error
            if images.shape != (2, *self.image_shape):
                raise ValueError(
                    f"generator of {name} makes images of shape {tuple(images.shape[1:])}, but image_shape="
                    f"{self.image_shape}: build it for that shape"
                )
            try:
                logits = self.discriminator(images, *extra)
            except RuntimeError as error:
                raise ValueError(
                    f"discriminator of {name} cannot read images of shape {self.image_shape}: "
                    f"{_first_line(error)}"
                ) from error
        self.check_logits(logits)

    def check_logits(self, logits: Any) -> None:
        """Check what the discriminator returned for two images.

        Raises:
            ValueError: If that is not one logit an image, or one a patch.
        """
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if shape not in ((2,), (2, 1)) and not (len(shape) == 4 and shape[:2] == (2, 1)):
            raise ValueError(
                f"discriminator of {type(self).__name__} returned {shape} for 2 images: "
                "it must return one logit an image, (N,), or a map of patches, (N, 1, h, w)"
            )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
