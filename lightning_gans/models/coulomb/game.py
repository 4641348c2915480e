"""Coulomb GAN: real samples attract, generated ones repel (Unterthiner et al., 2017, arXiv 1708.08819)."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.optimizers import Adam
from lightning_gans.game.sides import Side
from lightning_gans.losses import coulomb as losses
from lightning_gans.models.coulomb.networks import CoulombDiscriminator, CoulombGenerator


class CoulombGAN(LatentGame):
    """Real samples attract, generated ones repel; D learns the potential of both, and G climbs it.

    ``Phi(a) = mean k(a, real) - mean k(a, fake)`` with the Plummer kernel of exponent ``kernel_dim - 2``
    (:mod:`lightning_gans.losses.coulomb`). D regresses ``potential_scale * Phi`` at the samples of its
    batch, G ascends D. Both gradients are taken at the same weights and the same fakes. Networks by default:
    the paper's at 32 and 64 pixels, otherwise DCGAN's, MLPs for vectors.

    Reported beside the losses: the energy of the field, which training lowers to its noise floor; that floor,
    of two batches of real samples (not with ``exclude_self``); the mean potentials; and what D's loss is to
    be held against: ``constant_loss``, the loss of the best constant, and ``sides_loss``, that of the best
    two numbers, one for real and one for generated samples.

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        kernel_dim: The kernel's dimension, at least 3; the paper's d.
        epsilon: Softening length of the kernel in units of the data. Structure below it is not learned.
        potential_scale: D regresses this multiple of the potential. Potentials of images vary by hundredths,
            less than what a new D returns, which then takes many updates to come down to them. Adam's updates
            of G do not depend on it (but for its eps), those of SGD are in proportion.
        exclude_self: Leave the kernel of a sample with itself out of the potentials; the released codes keep
            it.
        gather: Potentials of the joined batch of all ranks, instead of each rank's own. The energy that is
            reported is that of rank 0's samples in the joint field.
        remember_previous: D also regresses the potential at the previous fakes, as in the released code's
            option; reported as ``previous_loss``.
        weight_decay: L2 penalty, ``weight_decay / 2 * |w|^2``, of the kernels of all convolutions; in no
            reported loss.
        generator_optimizer: Makes the optimizer of G.
        discriminator_optimizer: Makes the optimizer of D.
        kwargs: Arguments of :class:`~lightning_gans.game.latent_game.LatentGame`.

    Raises:
        ValueError: If an argument is out of range.
    """

    shares_fake = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        kernel_dim: int = 3,
        epsilon: float = 1.0,
        potential_scale: float = 1.0,
        exclude_self: bool = False,
        gather: bool = False,
        remember_previous: bool = False,
        weight_decay: float = 1e-7,
        generator_optimizer: OptimizerCallable = lambda params: Adam(params, lr=1e-4, beta1=0.9),
        discriminator_optimizer: OptimizerCallable = lambda params: Adam(params, lr=5e-5, beta1=0.9),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            image_shape,
            generator_optimizer=generator_optimizer,
            discriminator_optimizer=discriminator_optimizer,
            **kwargs,
        )
        losses.check_kernel(kernel_dim, epsilon)
        checks.positive(potential_scale=potential_scale)
        checks.within("[0, inf)", weight_decay=weight_decay)
        if self.generator_steps != 1:
            raise ValueError(f"generator_steps={self.generator_steps}: G changes the field, give 1")
        self.kernel_dim = kernel_dim
        self.epsilon = epsilon
        self.potential_scale = potential_scale
        self.exclude_self = exclude_self
        self.gather = gather
        self.remember_previous = remember_previous
        self.weight_decay = weight_decay
        self.previous: Tensor | None = None  # fakes of the last update, if they are remembered
        self._kernels: dict[str, list[Tensor]] = {}

    def default_latent(self) -> Latent:
        """32 normal variables; 16 for images of 32 pixels (CIFAR-10)."""
        return Normal(16 if self.image_shape[1:] == (32, 32) else 32)

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """The paper's at 32 and 64 pixels."""
        return CoulombGenerator if self._papers_size() else super().default_generator()

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """The paper's at 32 and 64 pixels."""
        return CoulombDiscriminator if self._papers_size() else super().default_discriminator()

    def _papers_size(self) -> bool:
        return self.image_shape[1:] in ((32, 32), (64, 64))

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``E[(D(y) - Phi(y))^2] + E[(D(x) - Phi(x))^2]``, real y and generated x in passes of their own."""
        # Held-out data may end with a batch of one sample: without itself none would be left.
        exclude_self = self.exclude_self and (self.training or len(real) > 1)
        pairs = zip(self.per_replica(real.images), self.per_replica(fake.images), strict=True)
        kernel = self.kernel_dim, self.epsilon, exclude_self, self._gathers()
        fields = [losses.potentials(y, x, *kernel) for y, x in pairs]
        if self.training:
            self._report_field(*map(torch.stack, zip(*fields, strict=True)))
        at_real, at_fake = (self.potential_scale * torch.cat(side) for side in zip(*fields, strict=True))
        return losses.discriminator_loss(self.judge(real), self.judge(fake), at_real, at_fake)

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-E[D(G(z))]``."""
        return losses.generator_loss(self.judge(fake))

    def field(self, points: Tensor, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return the potential ``(n,)`` at points ``(n, ...)``, and the force on a generated sample there.

        For pictures (:class:`~lightning_gans.callbacks.Field`); this rank's samples alone.
        """
        kernel = self.kernel_dim, self.epsilon
        return losses.potential(points, real, fake, *kernel), losses.force(points, real, fake, *kernel)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """G climbs D, and D regresses the potential of the fakes that G climbed with.

        D's loss does not depend on G's weights, only on these fakes: both players are updated as if at once,
        as in the authors' TensorFlow code, and in the order of their PyTorch code.
        """
        real = self.read(batch)
        if len(real) >= 2 * self.replicas:
            self._report_floor(real.images)
        _, due = self.advance_round()
        with torch.set_grad_enabled(due):
            fake = self.draw_fakes(real)
        if due:
            self.update_generator(real, fake)
        fake = fake.detach()
        loss = self.discriminator_loss(real, fake)
        terms = {"discriminator_loss": loss}
        if self.previous is not None:
            sides = (self.per_replica(x) for x in (self.previous, real.images, fake.images))
            kernel = self.kernel_dim, self.epsilon, self._gathers()
            targets = torch.cat(
                [losses.potential(old, y, x, *kernel) for old, y, x in zip(*sides, strict=True)]
            )
            terms["previous_loss"] = losses.regression_loss(
                self.judge(Side(self.previous)), self.potential_scale * targets
            )
            loss = loss + terms["previous_loss"]
        self.minimise("discriminator", loss)
        self.report(terms)
        if self.remember_previous:
            self.previous = fake.images

    def minimise(self, player: str, loss: Any) -> None:
        """As the base, with the L2 penalty of the player's convolution kernels."""
        if self.weight_decay:
            squares = [kernel.square().sum() for kernel in self._kernels[player]]
            loss = loss + self.weight_decay / 2 * sum(squares)
        super().minimise(player, loss)

    def _gathers(self) -> bool:
        return self.gather and self.trainer.world_size > 1

    def _report_field(self, at_real: Tensor, at_fake: Tensor) -> None:
        """Report what potentials say of a batch, ``(n,)`` or, of all replicas, ``(replicas, n)``."""
        gap = at_real.mean(-1) - at_fake.mean(-1)
        sides = at_real.var(-1, correction=0) + at_fake.var(-1, correction=0)
        self.report({"real_potential": at_real.mean(), "fake_potential": at_fake.mean()})
        self.report({"energy": gap.mean() / 2})
        squared = self.potential_scale**2  # the losses are those of scaled potentials
        self.report({"constant_loss": squared * (sides + gap**2 / 2).mean()})
        self.report({"sides_loss": squared * sides.mean()})

    def _report_floor(self, real: Tensor) -> None:
        """Report the energy of two batches of real samples, where a row of the log is due."""
        if self.reporting and not self.exclude_self:
            each = [losses.energy_floor(y, self.kernel_dim, self.epsilon) for y in self.per_replica(real)]
            batches = self.trainer.world_size if self.gather else 1
            self.report({"energy_floor": torch.stack(each).mean() / batches})

    def check_judged(self, judged: Any) -> None:
        """Check that the discriminator returned one number for each of two images.

        Raises:
            ValueError: If it did not.
        """
        super().check_judged(judged)
        if judged.shape != (2,):
            raise ValueError(f"discriminator returned {tuple(judged.shape)} for 2 images, not (N,)")

    def on_fit_start(self) -> None:
        """Look up the kernels that decay, once."""
        super().on_fit_start()
        self._kernels = {
            player: [
                kernel
                for network in self.player_networks(player).values()
                for layer in network.modules()
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
                # Under spectral norm `layer.weight` is computed from a parameter; that one decays.
                for kernel in layer.parameters()
                if kernel.ndim == 4 and kernel.requires_grad
            ]
            for player in self.players()
        }

    def run_state(self) -> dict[str, Any]:
        """Add the remembered fakes."""
        return {**super().run_state(), "previous": self.previous}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Go on with the remembered fakes."""
        super().load_run_state(state)
        self.previous = state["previous"] if self.remember_previous else None
