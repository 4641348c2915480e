"""Generative Adversarial Nets (Goodfellow et al., 2014, arXiv 1406.2661)."""

from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
from lightning_gans.game.sides import Side
from lightning_gans.losses import gan as losses
from lightning_gans.networks.mlp import MaxoutDiscriminator, MLPGenerator


class GAN(LatentGame):
    """The original game: D tells real from fake, G makes D err.

    ``min_G max_D  E[log D(x)] + E[log(1 - D(G(z)))]``, with D = sigmoid(discriminator). Algorithm 1: k
    discriminator steps (``discriminator_steps``), then one generator step on fresh noise. Networks by
    default: the paper's MNIST ones (ReLU MLP against maxout) for images, small MLPs for vectors.

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        objective: What G minimises: ``-E[log D(G(z))]`` (non-saturating, section 3), or the game's own
            ``E[log(1 - D(G(z)))]``, which stalls while D wins.
        simultaneous: Both players are updated at once from the same weights and the same noise, as in the
            released code, instead of one after the other (Algorithm 1). The losses are this class's,
            in a subclass too.
        discriminator_loss_scale: Factor of D's loss; 0.5 in the released code, 1 in the paper.
        kwargs: Arguments of :class:`~lightning_gans.game.latent_game.LatentGame`.

    Raises:
        ValueError: If the objective is unknown, or simultaneous updates are asked for with several steps a
            round.
    """

    log_ratio = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        objective: Literal["non_saturating", "minimax"] = "non_saturating",
        simultaneous: bool = False,
        discriminator_loss_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, **kwargs)
        checks.one_of(("non_saturating", "minimax"), objective=objective)
        self.objective = objective
        self.simultaneous = simultaneous
        self.discriminator_loss_scale = discriminator_loss_scale
        if simultaneous and (self.discriminator_steps, self.generator_steps) != (1, 1):
            steps = f"discriminator_steps={self.discriminator_steps}, generator_steps={self.generator_steps}"
            raise ValueError(f"simultaneous=True is one update of both: {steps} must be 1 and 1")

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """ReLU MLP; sigmoid pixels, rescaled to [-1, 1]."""
        if len(self.image_shape) == 1:
            return super().default_generator()
        return partial(MLPGenerator, output="sigmoid", init_range=0.05)

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """Maxout with dropout for images."""
        return super().default_discriminator() if len(self.image_shape) == 1 else MaxoutDiscriminator

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-E[log D(x)] - E[log(1 - D(G(z)))]``."""
        return self._discriminator_loss(self.judge(real), self.judge(fake))

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-E[log D(G(z))]``, or ``E[log(1 - D(G(z)))]``."""
        return self._generator_loss(self.judge(fake))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Algorithm 1, or the simultaneous step of the released code."""
        if not self.simultaneous:
            return super().training_step(batch, batch_idx)
        real = self.read(batch)
        fake = self.draw_fakes(real)
        # One pass through D serves both players: the same weights and the same dropout mask.
        real_logits, fake_logits = self.judge(real), self.judge(fake)
        discriminator_loss = self._discriminator_loss(real_logits, fake_logits)
        generator_loss = self._generator_loss(fake_logits)
        self.gradients("discriminator", discriminator_loss, shared_graph=True)
        self.gradients("generator", self.penalised(generator_loss), shared_graph=True)
        self.step("discriminator")
        self.step("generator")
        self.report({"discriminator_loss": discriminator_loss, "generator_loss": generator_loss})
        return None

    def _discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        return self.discriminator_loss_scale * losses.discriminator_loss(real_logits, fake_logits)

    def _generator_loss(self, fake_logits: Tensor) -> Tensor:
        if self.objective == "minimax":
            return losses.minimax_generator_loss(fake_logits)
        return losses.generator_loss(fake_logits)
