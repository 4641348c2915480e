"""DeLiGAN: generative adversarial networks for diverse and limited data (Gurumurthy et al., CVPR 2017)."""

import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory
from lightning_gans.game.latents import GaussianMixture, Latent
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
        objective: GAN's two; or ``classes``: the discriminator has an output for each class, learns from real
            labels too, and plays GAN's game (halved for D, minimax for G) with the logsumexp of the outputs,
            as in the released CIFAR-10 code. Samples without label, -1, are welcome.
        schedule: A :class:`~lightning_gans.models.deligan.threshold.Threshold` decides who moves. None: in
            turn, by ``discriminator_steps`` and ``generator_steps``, which are left out otherwise.
        kwargs: Arguments of :class:`~lightning_gans.models.gan.GAN`.

    Raises:
        ValueError: If ``objective=classes`` has no classes, or the schedule does not fit the objective.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        objective: Literal["non_saturating", "minimax", "classes"] = "non_saturating",
        schedule: Threshold | None = None,
        **kwargs: Any,
    ) -> None:
        self.classifies = objective == "classes"  # the discriminator is built for it
        super().__init__(image_shape, objective="minimax" if objective == "classes" else objective, **kwargs)
        if schedule is not None and (objective != "non_saturating" or self.simultaneous):
            raise ValueError(
                f"schedule=Threshold goes by the non-saturating loss of players in turn: leave it out with "
                f"objective={objective} and simultaneous={self.simultaneous}"
            )
        steps = self.discriminator_steps, self.generator_steps
        if schedule is not None and steps != (1, 1):
            raise ValueError(
                f"schedule=Threshold decides who moves: leave out discriminator_steps={steps[0]} and "
                f"generator_steps={steps[1]}"
            )
        if self.classifies and self.simultaneous:
            raise ValueError("simultaneous=True is GAN's: leave it out with objective=classes")
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

    def build_discriminator(self, factory: DiscriminatorFactory) -> nn.Module:
        """Ask for an output for each class."""
        if not self.classifies:
            return super().build_discriminator(factory)
        if not self.num_classes:
            raise ValueError(f"num_classes={self.num_classes}: objective=classes needs data with labels")
        return self.with_outputs(factory, self.num_classes)

    # ------------------------------------------------------------------ losses

    def discriminator_loss(  # type: ignore[override]
        self, real: Tensor, fake: Tensor, real_labels: Tensor | None = None
    ) -> Tensor:
        """GAN's, or with the classes of real samples; without ``real_labels`` none has a label."""
        if not self.classifies:
            return super().discriminator_loss(real, fake)
        if real_labels is None:
            real_labels = torch.full((len(real),), -1, device=real.device)
        real_outputs, fake_outputs = self.discriminator(real), self.discriminator(fake)
        if self.training and self.reporting:
            self.report({"class_loss": semi_supervised.class_loss(real_outputs, real_labels)})
        loss = semi_supervised.discriminator_loss(real_outputs, fake_outputs, real_labels)
        return self.discriminator_loss_scale * loss

    def generator_loss(  # type: ignore[override]
        self, real: Tensor, fake: Tensor, real_labels: Tensor | None = None
    ) -> Tensor:
        """GAN's, on the logits of "real"."""
        return self._generator_loss(self._real_logit(self.discriminator(fake)))

    def draw_fakes(self, n: int, real_labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Hand the labels on to the losses if they need them."""
        fake, labels = super().draw_fakes(n, real_labels)
        return fake, {"real_labels": real_labels} if self.classifies else labels

    def _real_logit(self, outputs: Tensor) -> Tensor:
        return semi_supervised.real_logit(outputs) if self.classifies else outputs

    # ------------------------------------------------------------------ the schedule

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Move in turn, or as the generator's loss decides."""
        if self.schedule is None:
            return super().training_step(batch, batch_idx)
        real, real_labels = self.memory_format(batch[0]), batch[1]
        if self.schedule.adapt() and self.schedule.extra_step:
            self._half_step(real, real_labels)
        for _ in range(self.schedule.moves):
            if self.schedule.generator_moves(self._gate(real, real_labels)):
                self.generator_turn(real, real_labels)
            else:
                self.discriminator_turn(real, real_labels)
        self.report({"threshold": self.schedule.threshold})
        return None

    def _gate(self, real: Tensor, real_labels: Tensor) -> float:
        """Return the generator's loss, without penalty, in evaluation mode; the same on all ranks."""
        with self.inference(self.generator, self.discriminator):
            fake, _ = self.draw_fakes(len(real), real_labels)
            loss = self.generator_loss(real, fake)
        return float(self.trainer.strategy.reduce(loss, reduce_op="mean"))

    def _half_step(self, real: Tensor, real_labels: Tensor) -> None:
        groups = self.player_optimizer("discriminator").param_groups
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = group["lr"] / 2
        try:
            self.discriminator_turn(real, real_labels)
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the threshold and its count."""
        super().on_save_checkpoint(checkpoint)
        if self.schedule is not None:
            checkpoint["schedule"] = {"threshold": self.schedule.threshold, "count": self.schedule.count}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them up."""
        super().on_load_checkpoint(checkpoint)
        if self.schedule is not None and "schedule" in checkpoint:
            self.schedule.threshold = checkpoint["schedule"]["threshold"]
            self.schedule.count = checkpoint["schedule"]["count"]

    # ------------------------------------------------------------------ the mixture

    def penalised(self, generator_loss: Tensor) -> Tensor:
        """Add the mixture's penalty; report how wide the components are, and warn when one has collapsed."""
        if isinstance(self.latent, GaussianMixture) and self.reporting:
            widths = self.latent.sigma.detach().abs()
            self.report({"sigma_min": widths.min(), "sigma_mean": widths.mean()})
            narrowest = float(widths.amax(1).min())  # it has a width as long as one of its sigmas has
            if narrowest < COLLAPSED and not self._warned:
                self._warned = True
                warnings.warn(
                    f"no sigma of a component exceeds {narrowest:.2g}: it repeats one sample; raise "
                    "latent.penalty_weight",
                    stacklevel=2,
                )
        return super().penalised(generator_loss)

    # ------------------------------------------------------------------ what the base cannot know of classes

    def score(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the logits ``(n,)`` of "real", in evaluation mode."""
        if not self.classifies:
            return super().score(images, labels)
        with self.inference(self.discriminator):
            return self._real_logit(self.discriminator(images.to(self.device)))

    def check_logits(self, logits: Any) -> None:
        """Check what the discriminator returned for two images.

        Raises:
            ValueError: If that is not one logit an image, or one for each class.
        """
        if not self.classifies:
            return super().check_logits(logits)
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if shape != (2, self.num_classes):
            raise ValueError(
                f"discriminator of {type(self).__name__} returned {shape} for 2 images: objective=classes "
                f"needs (N, {self.num_classes}), a logit for each class"
            )
        return None
