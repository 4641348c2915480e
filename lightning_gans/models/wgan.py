"""Wasserstein GAN (Arjovsky et al., 2017, 1701.07875) and WGAN-GP (Gulrajani et al., 2017, 1704.00028)."""

from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.optimizers import Adam, RMSprop
from lightning_gans.game.sides import Side
from lightning_gans.losses import wgan as losses
from lightning_gans.networks.dcgan import DCGANDiscriminator
from lightning_gans.networks.resnet import ResNetDiscriminator, ResNetGenerator


class _Wasserstein(LatentGame):
    """The critic's estimate of the Wasserstein distance, and the generator that lowers it."""

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-E[f(G(z))]``."""
        return losses.generator_loss(self.judge(fake))

    def distance(self, real: Tensor, fake: Tensor) -> Tensor:
        """``E[f(x)] - E[f(G(z))]``, the Wasserstein distance up to the critic's Lipschitz constant."""
        return losses.wasserstein_estimate(real, fake)


class WGAN(_Wasserstein):
    """The critic f estimates the Wasserstein distance of real and fake; G lowers it.

    ``max_f E[f(x)] - E[f(G(z))]`` over functions whose weights lie in ``[-clip, clip]`` (Algorithm 1):
    ``discriminator_steps`` RMSProp steps of the critic, each on fresh data and noise and followed by the
    clipping of all its parameters, then one step of G. Networks by default: DCGAN's.

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        clip: c, the bound of every parameter of the critic.
        clipped: Clip ``all`` parameters, gains of batch norm too (the released code), or ``weights`` only:
            those with two dimensions or more.
        warmup_updates: The critic takes ``boost`` steps before each of the first so many generator updates.
            25 in the released code, off (0) in Algorithm 1 and here.
        boost_every: It does so again at every multiple of this number of generator updates; 500 in the
            released code, 0 for never.
        boost: See ``warmup_updates``; 100 in the released code.
        discriminator_steps: n_critic.
        generator_optimizer: Makes the optimizer of G.
        discriminator_optimizer: Makes the optimizer of the critic.
        kwargs: Arguments of :class:`~lightning_gans.game.latent_game.LatentGame`.

    Raises:
        ValueError: If ``clip`` or ``boost`` is not positive.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        clip: float = 0.01,
        clipped: Literal["all", "weights"] = "all",
        warmup_updates: int = 0,
        boost_every: int = 0,
        boost: int = 100,
        discriminator_steps: int = 5,
        generator_optimizer: OptimizerCallable = RMSprop,
        discriminator_optimizer: OptimizerCallable = RMSprop,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_shape,
            discriminator_steps=discriminator_steps,
            generator_optimizer=generator_optimizer,
            discriminator_optimizer=discriminator_optimizer,
            **kwargs,
        )
        checks.positive(clip=clip)
        checks.at_least(1, boost=boost)
        checks.at_least(0, warmup_updates=warmup_updates, boost_every=boost_every)
        self.clip = clip
        self.clipped = clipped
        self.warmup_updates = warmup_updates
        self.boost_every = boost_every
        self.boost = boost
        self._clip_critic()

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``E[f(G(z))] - E[f(x)]``, the negative of the estimate."""
        loss = losses.discriminator_loss(self.judge(real), self.judge(fake))
        self.report({"wasserstein_estimate": -loss.detach()})
        return loss

    def after_discriminator_step(self) -> None:
        """Clip after the step, so that no critic outside the box is ever used."""
        self._clip_critic()

    def steps_before_generator(self) -> int:
        """n_critic, or the released code's boost."""
        update = self.trainer.global_step
        if update < self.warmup_updates or (self.boost_every and update % self.boost_every == 0):
            return self.boost
        return self.discriminator_steps

    def _clip_critic(self) -> None:
        parameters = self.trainable(self.discriminator)
        if self.clipped == "weights":
            parameters = tuple(p for p in parameters if p.ndim > 1 + self.stacked)
        losses.clip_weights(parameters, self.clip)


class WGANGP(_Wasserstein):
    """WGAN whose critic is kept 1-Lipschitz by a penalty on its gradient instead of by clipping.

    ``E[f(G(z))] - E[f(x)] + penalty * E[(|grad f(x^)| - 1)^2]``, x^ uniform on the lines between real and
    fake (Algorithm 1). Networks by default: the paper's residual ones at 32 and 64 pixels, otherwise
    DCGAN's with a critic without norm, MLPs for vectors. The penalty is computed in float32.

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        penalty: lambda; 10 in the paper, 0.1 in its toy experiments.
        discriminator_steps: n_critic.
        generator_optimizer: Makes the optimizer of G.
        discriminator_optimizer: Makes the optimizer of the critic.
        kwargs: Arguments of :class:`~lightning_gans.game.latent_game.LatentGame`.

    Raises:
        ValueError: If ``penalty`` is negative, or the critic has batch norm (the penalty is one of each
            sample alone).
    """

    # double backward does not pass through a compiled network
    never_compiled = ("discriminator",)

    def __init__(
        self,
        image_shape: tuple[int, ...],
        penalty: float = 10.0,
        discriminator_steps: int = 5,
        generator_optimizer: OptimizerCallable = lambda params: Adam(params, lr=1e-4, beta1=0.0, beta2=0.9),
        discriminator_optimizer: OptimizerCallable = lambda params: Adam(
            params, lr=1e-4, beta1=0.0, beta2=0.9
        ),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_shape,
            discriminator_steps=discriminator_steps,
            generator_optimizer=generator_optimizer,
            discriminator_optimizer=discriminator_optimizer,
            **kwargs,
        )
        checks.within("[0, inf)", penalty=penalty)
        if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.discriminator.modules()):
            raise ValueError("discriminator has batch norm, no penalty fits that: use norm: layer or none")
        self.penalty = penalty

    def default_latent(self) -> Latent:
        """128 normal variables."""
        return Normal(128)

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """Residual at 32 and 64 pixels."""
        residual = self.image_shape[1:] in ((32, 32), (64, 64))
        return ResNetGenerator if residual else super().default_generator()

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """Residual at 32 and 64 pixels; never batch norm."""
        if len(self.image_shape) == 1:
            return super().default_discriminator()
        if self.image_shape[1:] in ((32, 32), (64, 64)):
            return ResNetDiscriminator
        return partial(DCGANDiscriminator, norm="none")

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``E[f(G(z))] - E[f(x)]`` plus the penalty; the reported estimate is without it."""
        loss = losses.discriminator_loss(self.judge(real), self.judge(fake))
        places = self.draw(len(real), lambda n, rng: torch.rand(n, generator=rng, device=rng.device))
        penalty = losses.gradient_penalty(
            lambda images: self.judge(replace(fake, images=images)), real.images, fake.images, t=places
        )
        self.report({"wasserstein_estimate": -loss.detach(), "gradient_penalty": penalty})
        return loss + self.penalty * penalty
