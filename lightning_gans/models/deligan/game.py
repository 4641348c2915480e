"""DeLiGAN: generative adversarial networks for diverse and limited data (Gurumurthy et al., CVPR 2017)."""

import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory
from lightning_gans.game.latents import GaussianMixture, Latent
from lightning_gans.game.sides import Side
from lightning_gans.losses import semi_supervised
from lightning_gans.models.deligan.networks import (
    DeLiGANCIFARDiscriminator,
    DeLiGANGenerator,
    DeLiGANMNISTDiscriminator,
    DeLiGANMNISTGenerator,
)
from lightning_gans.models.deligan.threshold import Threshold
from lightning_gans.models.gan import GAN

COLLAPSED = 1e-3


class DeLiGAN(GAN):
    """A GAN whose latents are a mixture of Gaussians that is learned with the generator.

    Losses are GAN's; the generator's has the penalty of the
    :class:`~lightning_gans.game.latents.GaussianMixture`, whose least and mean width are reported. Any other
    latent may be given, for comparison. Networks by default: the paper's for images of 28 and 32 pixels,
    otherwise GAN's. Mixtures by default: the released code's for MNIST at 28 pixels, for points where data
    are vectors, otherwise for CIFAR-10.

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        num_classes: Number of classes of the data, if it has any.
        objective: GAN's two; or ``classes``: the discriminator has an output for each class, learns from real
            labels too, and plays GAN's game (halved for D, minimax for G) with the logsumexp of the outputs,
            as in the released CIFAR-10 code. Samples without label, -1, are welcome.
        schedule: A :class:`~lightning_gans.models.deligan.threshold.Threshold` decides which player is
            updated. None: ``discriminator_steps`` and ``generator_steps``, which are left out otherwise.
        kwargs: Arguments of :class:`~lightning_gans.models.gan.GAN`.

    Raises:
        ValueError: If ``objective=classes`` has no classes, or the schedule does not fit the objective.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        objective: Literal["non_saturating", "minimax", "classes"] = "non_saturating",
        schedule: Threshold | None = None,
        **kwargs: Any,
    ) -> None:
        self.classifies = objective == "classes"
        if self.classifies:  # set first, as the discriminator is built for it
            self.num_outputs = num_classes
            if not num_classes:
                raise ValueError(f"num_classes={num_classes}: objective=classes needs data with labels")
        objective_of_gan = "minimax" if objective == "classes" else objective
        super().__init__(image_shape, num_classes=num_classes, objective=objective_of_gan, **kwargs)
        if schedule is not None and (objective != "non_saturating" or self.simultaneous):
            given = f"objective={objective}, simultaneous={self.simultaneous}"
            raise ValueError(f"schedule=Threshold goes by the non-saturating loss: leave it out with {given}")
        steps = self.discriminator_steps, self.generator_steps
        if schedule is not None and steps != (1, 1):
            given = f"discriminator_steps={steps[0]}, generator_steps={steps[1]}"
            raise ValueError(f"schedule=Threshold decides who is updated: leave out {given}")
        if self.classifies and self.simultaneous:
            raise ValueError("simultaneous=True is GAN's: leave it out with objective=classes")
        if schedule is not None:
            self.refuse_replicas("its schedule, Threshold, decides by the loss of one game who is updated")
        self.schedule = schedule
        self._warned = False

    def default_latent(self) -> Latent:
        """The released code's: of points, of MNIST at 28 pixels, otherwise of CIFAR-10."""
        if len(self.image_shape) == 1:
            return GaussianMixture(2, 50, sigma=0.02, penalty_weight=0.1)
        if self.image_shape[1:] == (28, 28):
            return GaussianMixture(30, 50, penalty_weight=1 / 3)
        return GaussianMixture(100, 100, penalty_weight=0.05)

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """The paper's at 28 and 32 pixels."""
        if self.image_shape[1:] == (28, 28):
            return DeLiGANMNISTGenerator
        return DeLiGANGenerator if self.image_shape[1:] == (32, 32) else super().default_generator()

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """The paper's at 28 and 32 pixels."""
        if self.image_shape[1:] == (28, 28):
            return DeLiGANMNISTDiscriminator
        if self.image_shape[1:] == (32, 32):
            return DeLiGANCIFARDiscriminator
        return super().default_discriminator()

    # ------------------------------------------------------------------ losses

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """GAN's, or with the classes of the real samples that have one."""
        if not self.classifies:
            return super().discriminator_loss(real, fake)
        real_outputs, fake_outputs = self.judge(real), self.judge(fake)
        assert real.labels is not None
        if self.reporting:
            self.report({"class_loss": semi_supervised.class_loss(real_outputs, real.labels)})
        loss = semi_supervised.discriminator_loss(real_outputs, fake_outputs, real.labels)
        return self.discriminator_loss_scale * loss

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """GAN's, on the logits of "real"."""
        return self._generator_loss(self._real_logit(self.judge(fake)))

    def logits(self, judged: Any) -> Tensor:
        """Return the logits ``(n,)`` of "real"."""
        return super().logits(self._real_logit(judged))

    def _real_logit(self, outputs: Tensor) -> Tensor:
        return semi_supervised.real_logit(outputs) if self.classifies else outputs

    # ------------------------------------------------------------------ the schedule

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Update both players as the base does, or those that the generator's loss decides for."""
        if self.schedule is None:
            return super().training_step(batch, batch_idx)
        real = self.read(batch)
        if self.schedule.adapt() and self.schedule.extra_step:
            self._half_step(real)
        for _ in range(self.schedule.updates):
            if not self.schedule.chooses_generator(self._gate(real)):
                self.update_discriminator(real)
            elif not 0 <= self.trainer.max_steps <= self.trainer.global_step:
                self.update_generator(real)
        self.report({"threshold": self.schedule.threshold})
        return None

    def _gate(self, real: Side) -> float:
        """Return the generator's loss, without penalty, in evaluation mode; the same on all ranks."""
        with torch.no_grad():
            latents = self.draw(len(real), self.latent)  # as in training, where they may be stratified
        with self.inference():
            loss = self.generator_loss(real, Side(self.generate(latents), latents=latents))
        return float(self.trainer.strategy.reduce(loss, reduce_op="mean"))

    def _half_step(self, real: Side) -> None:
        groups = self.player_optimizer("discriminator").param_groups
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = group["lr"] / 2
        try:
            self.update_discriminator(real)
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def run_state(self) -> dict[str, Any]:
        """Add the threshold and its count."""
        schedule = self.schedule and {"threshold": self.schedule.threshold, "count": self.schedule.count}
        return {**super().run_state(), "schedule": schedule}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Go on with this threshold."""
        super().load_run_state(state)
        if self.schedule is not None and state["schedule"] is not None:
            self.schedule.threshold = state["schedule"]["threshold"]
            self.schedule.count = state["schedule"]["count"]

    # ------------------------------------------------------------------ the mixture

    def penalised(self, generator_loss: Tensor) -> Tensor:
        """Add the mixture's penalty; report how wide the components are, and warn when one has collapsed."""
        if isinstance(self.latent, GaussianMixture) and self.reporting:
            widths = self.latent.sigma.detach().abs()
            self.report({"sigma_min": widths.min(), "sigma_mean": widths.mean()})
            narrowest = float(widths.amax(-1).min())  # collapsed only if all its sigmas are near 0
            if narrowest < COLLAPSED and not self._warned:
                self._warned = True
                advice = "it repeats one sample; raise latent.penalty_weight"
                warnings.warn(f"no sigma of a component exceeds {narrowest:.2g}: {advice}", stacklevel=2)
        return super().penalised(generator_loss)
