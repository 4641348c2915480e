"""Unrolled Generative Adversarial Networks (Metz et al., ICLR 2017, arXiv 1611.02163)."""

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.sides import Side
from lightning_gans.losses import gan as losses
from lightning_gans.models.unrolled import steps
from lightning_gans.networks.mlp import MLPDiscriminator, MLPGenerator


class UnrolledGAN(LatentGame):
    """The generator climbs what the discriminator's loss will be after K more updates of the discriminator.

    ``f(G, D) = -E[log D(x)] - E[log(1 - D(G(z)))]`` is what D minimises, by one ordinary update. G minimises
    ``-f(G, D_K)``, where D_K is D after K updates on the same batch and noise: G's gradient leads through
    these updates too, which depend on what G makes. D_K is then forgotten. K = 0 is the saturating game of
    the first GAN. Both players are updated at once, from the same weights, batch and noise. Networks by
    default: the authors' for vectors, DCGAN's for images.

    Where a round has several updates of D, the last is that at once with G's; where it has several of G,
    each unrolls D from where it is. Over ranks each unrolls with its own batch. D cannot be compiled, for
    its gradient is differentiated.

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        unrolled_steps: K. An update of G costs K + 1 passes of D, forward and back, and as many back again.
        second_order: G's gradient leads through the updates of D. Without this it is that of a game against
            D_K as it stands, at about half the cost.
        unroll_with: D's own ``optimizer``, from its present state on (Adam, AdamW, RMSprop, SGD), as in the
            authors' code; or plain gradient descent with its learning rate, ``sgd``.
        kwargs: Arguments of :class:`~lightning_gans.game.latent_game.LatentGame`.

    Raises:
        ValueError: If ``unrolled_steps`` is negative, or D's updates are clipped. Before a run: if D's
            optimizer cannot be unrolled.
    """

    # double backward does not pass through a compiled network
    never_compiled = ("discriminator",)
    shares_fake = True
    log_ratio = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        unrolled_steps: int = 5,
        second_order: bool = True,
        unroll_with: Literal["optimizer", "sgd"] = "optimizer",
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, **kwargs)
        checks.at_least(0, unrolled_steps=unrolled_steps)
        checks.one_of(("optimizer", "sgd"), unroll_with=unroll_with)
        if unrolled_steps and self.gradient_clip_norm is not None:
            raise ValueError(
                f"gradient_clip_norm={self.gradient_clip_norm}: unrolled updates are not clipped, and would "
                "differ from D's: leave it out"
            )
        self.unrolled_steps = unrolled_steps
        self.second_order = second_order
        self.unroll_with = unroll_with

    def default_latent(self) -> Latent:
        """256 normal variables."""
        return Normal(256)

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """Two layers of 128 with tanh for vectors."""
        if len(self.image_shape) == 1:
            return partial(MLPGenerator, hidden=(128, 128), activation="tanh", output="none")
        return super().default_generator()

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """Two layers of 128 with tanh for vectors."""
        if len(self.image_shape) == 1:
            return partial(MLPDiscriminator, hidden=(128, 128), activation="tanh")
        return super().default_discriminator()

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``f = -E[log D(x)] - E[log(1 - D(G(z)))]``."""
        return losses.discriminator_loss(self.judge(real), self.judge(fake))

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-f``, against the discriminator that there is."""
        return -self.discriminator_loss(real, fake)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One batch of a round: an update of D, of G through D's next K updates, or of both at once."""
        real = self.read(batch)
        discriminator, generator = self.advance_round()
        if not generator:
            self.update_discriminator(real)
            return
        fake = self.draw_fakes(real)
        loss = self.discriminator_loss(real, fake)
        if discriminator:
            self.gradients("discriminator", loss, shared_graph=True)
        generator_loss = -self.unrolled(loss, real, fake)
        self.gradients("generator", self.penalised(generator_loss), shared_graph=True)
        if discriminator:
            self.step("discriminator")
            self.after_discriminator_step()
        self.step("generator")
        self.report({"discriminator_loss": loss, "generator_loss": generator_loss})

    def unrolled(self, loss: Tensor, real: Side, fake: Side) -> Tensor:
        """Return ``f(G, D_K)``, which G's weights reach by what it made, and by what D_K learned from that.

        Args:
            loss: ``f(G, D)``.
            real: Samples of the data.
            fake: Generated ones, with the graph that made them.
        """
        own = {name: p for name, p in self.discriminator.named_parameters() if p.requires_grad}
        sizes = [p.numel() for p in own.values()]
        at: list[Tensor] = list(own.values())
        step = self._next_steps()
        for _ in range(self.unrolled_steps):
            # The loss is a mean over all replicas: the factor makes each one's gradient that of a run alone.
            gradients = torch.autograd.grad(
                self.replicas * loss, at, create_graph=self.second_order, materialize_grads=True
            )
            weights = step(steps.flat(at), steps.flat(gradients))
            if not self.second_order:
                weights = weights.detach().requires_grad_()
            at = [weights]
            parts = zip(own.items(), weights.split(sizes), strict=True)
            with self.played_with("discriminator", {name: part.view_as(p) for (name, p), part in parts}):
                loss = self.discriminator_loss(real, fake)
        return loss

    def on_fit_start(self) -> None:
        """Refuse an optimizer that cannot be unrolled."""
        super().on_fit_start()
        if self.unrolled_steps:
            self._next_steps()

    def _next_steps(self) -> steps.Step:
        optimizer = self.player_optimizer("discriminator")
        return steps.steps_of(optimizer) if self.unroll_with == "optimizer" else steps.descent(optimizer)
