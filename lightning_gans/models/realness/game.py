"""RealnessGAN: Real or Not Real, that is the Question (Xiangli et al., ICLR 2020, arXiv 2002.05512)."""

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import Self

from lightning_gans import checks
from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.replicas import of_first
from lightning_gans.game.sides import Side
from lightning_gans.models.realness import losses
from lightning_gans.models.realness.anchors import Anchors, ReleasedAnchors
from lightning_gans.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lightning_gans.networks.mlp import MaxoutDiscriminator, MLPGenerator
from lightning_gans.networks.rebuild import or_default


class RealnessGAN(LatentGame):
    """The discriminator returns a distribution over outcomes of realness instead of one number.

    ``max_G min_D E[KL(A1 || D(x))] + E[KL(A0 || D(G(z)))]`` with fixed anchors A1 for real and A0 for
    generated images. A round is ``discriminator_steps`` updates of D and ``generator_steps`` of G (k_G), each
    on a batch of its own, except that G's first shares D's last. Two outcomes with the anchors (0, 1) and
    (1, 0) and objective 1 are the first GAN. Networks by default: DCGAN's of width 32, D with spectral norm;
    the paper's toy networks for vectors. The reported ``kl_real`` and ``kl_fake`` sum up to the value, which
    is 2 JSD(A1, A0) where both players are at their best.

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        num_outcomes: N. What makes the discriminator is asked for as many ``outputs`` (twice as many if
            ``resample`` is ``adaptive``).
        anchors: What makes A1 and A0; the authors' shifted histograms by default, or a dict of other
            arguments of these.
        objective: What G minimises: 1, ``-KL(A0 || D(G(z)))``; 2, this plus ``KL(D(x) || D(G(z)))``; 3, this
            plus ``KL(A1 || D(G(z)))``.
        resample: In training, logits are drawn from a Gaussian that fits them over the ``batch`` (the paper),
            or, ``adaptive``, from one whose mean and variance D returns for each image (the released code);
            or they are what D returns (``none``).
        gather: The Gaussian fits the batches of all ranks, not each rank its own.
        kwargs: Arguments of :class:`~lightning_gans.game.latent_game.LatentGame`.

    Raises:
        ValueError: If there are fewer than two outcomes, the anchors are equal, there are none for this
            number of outcomes, or the discriminator does not return as many logits.
    """

    anchor_real: Tensor
    anchor_fake: Tensor

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_outcomes: int = 51,
        anchors: Anchors | dict[str, Any] | None = None,
        objective: Literal[1, 2, 3] = 2,
        resample: Literal["batch", "adaptive", "none"] = "batch",
        gather: bool = False,
        **kwargs: Any,
    ) -> None:
        checks.at_least(2, num_outcomes=num_outcomes)
        checks.one_of((1, 2, 3), objective=objective)
        checks.one_of(("batch", "adaptive", "none"), resample=resample)
        if gather and resample != "batch":
            raise ValueError(f"gather=True is for resample='batch', not {resample!r}: leave it out")
        # Set before the networks are made, which depend on these.
        self.num_outcomes = num_outcomes
        self.num_outputs = 2 * num_outcomes if resample == "adaptive" else num_outcomes
        super().__init__(image_shape, **kwargs)
        self.anchors: Anchors = or_default(anchors, ReleasedAnchors, "anchors")
        self.objective = objective
        self.resample = resample
        self.gather = gather
        real, fake = self.anchors(num_outcomes, torch.Generator().manual_seed(0))
        if torch.equal(real, fake):
            raise ValueError(f"anchors={self.anchors} are equal for real and fake: give different ones")
        # Not stored with the weights: they follow from the arguments, and redrawn ones are in the run state.
        self.register_buffer("anchor_real", real, persistent=False)
        self.register_buffer("anchor_fake", fake, persistent=False)

    def default_latent(self) -> Latent:
        """128 normal variables."""
        return Normal(128)

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """DCGAN's; for vectors four layers of 400 with batch norm."""
        if len(self.image_shape) == 1:
            return partial(MLPGenerator, hidden=(400,) * 4, output="none", batch_norm=True)
        return partial(DCGANGenerator, width=32)

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """DCGAN's with spectral norm; for vectors three maxout layers of 200."""
        if len(self.image_shape) == 1:
            return partial(
                MaxoutDiscriminator, hidden=(200,) * 3, input_dropout=0.0, dropout=0.0, init_range=None
            )
        return partial(DCGANDiscriminator, width=32, norm="spectral")

    def judge(self, side: Side) -> Tensor:
        """Return logits ``(n, num_outcomes)``, resampled in training.

        Raises:
            ValueError: If the discriminator returned another number of them.
        """
        outputs: Tensor = self.discriminator(side.images)
        if outputs.shape != (len(side), self.num_outputs):
            raise ValueError(
                f"discriminator returned {tuple(outputs.shape)}: num_outcomes={self.num_outcomes} and "
                f"resample={self.resample} need {(len(side), self.num_outputs)}"
            )
        if not self.training or self.resample == "none":
            return outputs[:, : self.num_outcomes]
        noise = self.draw(
            len(side), lambda n, rng: torch.randn(n, self.num_outcomes, generator=rng, device=rng.device)
        )
        if self.resample == "adaptive":
            return losses.reparametrise(outputs, noise)
        return losses.resample(self.per_replica(outputs), self.per_replica(noise), self.gather).flatten(0, 1)

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``E[CE(A1, D(x))] + E[CE(A0, D(G(z)))]``: the divergences and two constants."""
        real_logits, fake_logits = self.judge(real), self.judge(fake)
        if self.reporting:
            self.report(
                {
                    "kl_real": losses.kl_divergence(self.anchor_real, real_logits.detach()),
                    "kl_fake": losses.kl_divergence(self.anchor_fake, fake_logits.detach()),
                }
            )
        return losses.discriminator_loss(real_logits, fake_logits, self.anchor_real, self.anchor_fake)

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """Objective 1, 2 or 3."""
        if self.objective == 1:
            return losses.ideal_generator_loss(self.judge(fake), self.anchor_fake)
        if self.objective == 3:
            return losses.anchor_generator_loss(self.judge(fake), self.anchor_real, self.anchor_fake)
        with torch.no_grad():
            real_logits = self.judge(real)
        return losses.generator_loss(real_logits, self.judge(fake), self.anchor_fake)

    def on_round_start(self) -> None:
        """Redraw anchors that are random, by the updates so far: alike in all ranks, replicas and runs."""
        if self.anchors.redraws:
            rng = torch.Generator(self.device).manual_seed(self.trainer.global_step)
            self.anchor_real, self.anchor_fake = self.anchors(self.num_outcomes, rng)

    def replica(self, number: int, into: Self | None = None) -> Self:
        """Return the game that a replica plays, with the anchors of this round."""
        game = super().replica(number, into)
        game.anchor_real, game.anchor_fake = self.anchor_real, self.anchor_fake
        return game

    @of_first
    def outcome_logits(self, images: Tensor) -> Tensor:
        """Return the logits ``(n, num_outcomes)`` of images, in evaluation mode and never resampled."""
        with self.inference():
            return self.judge(Side(images.to(self.device))).float()

    def logits(self, judged: Any) -> Tensor:
        """Return how much more D finds of A1 than of A0 in images, ``(n,)``: ``sum_u (A1 - A0)(u) l_u(x)``.

        This is minus objective 3 up to a constant, and with two outcomes the logit of the first GAN.
        """
        of_outcomes: Tensor = judged.float() * (self.anchor_real - self.anchor_fake)
        return of_outcomes.sum(1)

    def run_state(self) -> dict[str, Any]:
        """Add the anchors of this round."""
        return {**super().run_state(), "anchors": [self.anchor_real, self.anchor_fake]}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Restore the anchors, unless this run has fixed ones."""
        super().load_run_state(state)
        if self.anchors.redraws:
            for anchor, stored in zip((self.anchor_real, self.anchor_fake), state["anchors"], strict=True):
                anchor.copy_(stored)

    def check_batch(self, batch_size: int) -> None:
        """Check that batches are large enough for resampling, and what the base checks.

        Raises:
            ValueError: If not.
        """
        samples = batch_size * (self.trainer.world_size if self.gather else 1)
        if self.resample == "batch" and samples < 2:
            raise ValueError(f"data.batch_size={batch_size}: give 2 or more, or model.resample: none")
        super().check_batch(batch_size)

    def check_judged(self, judged: Any) -> None:
        """Check nothing: :meth:`judge` has checked it."""
