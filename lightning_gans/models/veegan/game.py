"""VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning (arXiv 1705.07761).

Srivastava, Valkov, Russell, Gutmann and Sutton, NeurIPS 2017.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.game.latent_game import DiscriminatorFactory, LatentGame
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.players import Player
from lightning_gans.game.sides import Side
from lightning_gans.losses import gan as losses
from lightning_gans.losses.precision import full_precision
from lightning_gans.models.veegan.networks import DCGANPairDiscriminator, MLPPairDiscriminator
from lightning_gans.networks.dcgan import DCGANDiscriminator
from lightning_gans.networks.mlp import MLPDiscriminator
from lightning_gans.networks.rebuild import made, or_default


class VEEGAN(LatentGame):
    """A third network, the reconstructor F, maps samples back to latents; modes that G leaves out betray it.

    D sees pairs, and tells (G(z), z) from (x, F(x)): its logit estimates the logarithm of their ratio of
    densities. D minimises ``E[softplus(-D(G(z), z))] + E[softplus(D(x, F(x)))]``; G and F together minimise
    ``E[D(G(z), z)] + reconstruction_weight * E[|z - F(G(z))|^2]``, so that F learns from the distance alone.
    Both sides are updated at once, from the same weights, batch and noise. Networks by default: the authors'
    for vectors, DCGAN's for images. The reported ``reconstruction`` is the second term.

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        reconstructor: F, or what makes it from ``image_shape`` with as many ``outputs`` as F finds latents.
        reconstruction_weight: Factor of the squared distance: 1/2 in the authors' code, a normal
            log-density; 1 in the paper. It is summed over the latent's numbers.
        latent_noise: The latents that D sees of real samples are drawn from N(F(x), I) in training, as in
            the authors' code, in place of F(x).
        noise_units: So many last numbers of a latent are noise for G alone, which F does not find and D does
            not see; 1 in the authors' code.
        kwargs: Arguments of :class:`~lightning_gans.game.latent_game.LatentGame`. The discriminator is
            called with ``(images, latents)``.

    Raises:
        ValueError: If ``reconstruction_weight`` is negative, no number of a latent is left, or the
            discriminator was built for another number.
    """

    shares_fake = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        reconstructor: nn.Module | DiscriminatorFactory | dict[str, Any] | None = None,
        reconstruction_weight: float = 0.5,
        latent_noise: bool = True,
        noise_units: int = 0,
        **kwargs: Any,
    ) -> None:
        checks.within("[0, inf)", reconstruction_weight=reconstruction_weight)
        checks.at_least(0, noise_units=noise_units)
        # Set before the networks are made, which depend on it.
        self.noise_units = noise_units
        super().__init__(image_shape, **kwargs)
        network = or_default(reconstructor, self.default_reconstructor, "reconstructor", given=1)
        self.reconstructor = made("reconstructor", network, self.image_shape, outputs=self.found_dim)
        self.reconstruction_weight = reconstruction_weight
        self.latent_noise = latent_noise
        built_for = getattr(self.discriminator, "latent_dim", self.found_dim)
        if built_for != self.found_dim:
            raise ValueError(
                f"discriminator has latent_dim={built_for}, but of the latent's {self.latent.dim} numbers it "
                f"sees {self.found_dim}: leave its latent_dim out, or give this one"
            )

    @property
    def found_dim(self) -> int:
        """Return how many numbers of a latent F finds and D sees."""
        if self.noise_units >= self.latent.dim:
            raise ValueError(
                f"noise_units={self.noise_units} leaves nothing of a latent of {self.latent.dim} numbers to "
                "be found: give fewer, or a larger latent"
            )
        return self.latent.dim - self.noise_units

    def default_latent(self) -> Latent:
        """254 normal variables for vectors, 100 for images."""
        return Normal(254) if len(self.image_shape) == 1 else super().default_latent()

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """One layer of 128 for vectors, DCGAN's convolutions for images; both see latents."""
        kind = MLPPairDiscriminator if len(self.image_shape) == 1 else DCGANPairDiscriminator
        return partial(kind, latent_dim=self.found_dim)

    def default_reconstructor(self) -> nn.Module | DiscriminatorFactory:
        """Two layers of 128 for vectors, DCGAN's convolutions for images."""
        if len(self.image_shape) == 1:
            return partial(MLPDiscriminator, hidden=(128, 128), activation="relu")
        return DCGANDiscriminator

    def players(self) -> dict[str, Player]:
        """Train F with G, by one optimizer."""
        players = super().players()
        generator = players["generator"]
        return {**players, "generator": replace(generator, networks=(*generator.networks, "reconstructor"))}

    def reconstruct(self, images: Tensor) -> Tensor:
        """Return what F finds in samples: latents ``(n, found_dim)``.

        Raises:
            ValueError: If it returned something else.
        """
        latents: Tensor = self.reconstructor(images)
        if latents.numel() != len(images) * self.found_dim:
            raise ValueError(
                f"reconstructor returned {tuple(latents.shape)} for {len(images)} samples: it must return "
                f"(N, {self.found_dim})"
            )
        return latents.reshape(-1, self.found_dim)

    def real_side(self, real: Side) -> Side:
        """Add what F finds in real samples, with noise in training."""
        latents = self.reconstruct(real.images)
        if self.latent_noise and self.training:
            latents = latents + self.draw(len(real), self._noise)
        return replace(real, latents=latents)

    def judge(self, side: Side) -> Tensor:
        """Show D a sample with its latent; the logit is that of "generated"."""
        assert side.latents is not None
        logits: Tensor = self.discriminator(side.images, side.latents[:, : self.found_dim])
        return logits

    def logits(self, judged: Any) -> Tensor:
        """Return D's logits as other games have them, of "real"."""
        return -super().logits(judged)

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``E[softplus(-D(G(z), z))] + E[softplus(D(x, F(x)))]``: a GAN's, with sides exchanged."""
        return losses.discriminator_loss(self.judge(fake), self.judge(real))

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``E[D(G(z), z)] + reconstruction_weight * E[|z - F(G(z))|^2]``."""
        assert fake.latents is not None
        wanted = fake.latents[:, : self.found_dim]
        distances = (wanted - full_precision(self.reconstruct(fake.images))).square().sum(1)
        reconstruction = self.reconstruction_weight * distances.mean()
        self.report({"reconstruction": reconstruction})
        return full_precision(self.judge(fake)).mean() + reconstruction

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One batch of a round: an update of D, of G and F, or of all at once."""
        real = self.read(batch)
        discriminator, generator = self.advance_round()
        with torch.set_grad_enabled(generator):
            fake = self.draw_fakes(real)
        if discriminator:
            with torch.no_grad():
                known = self.real_side(real)
            loss = self.discriminator_loss(known, fake.detach())
            self.gradients("discriminator", loss)
            self.report({"discriminator_loss": loss})
        if generator:
            with self.frozen(self.discriminator):
                loss = self.generator_loss(real, fake)
                self.gradients("generator", self.penalised(loss))
            self.report({"generator_loss": loss})
        if discriminator:
            self.step("discriminator")
            self.after_discriminator_step()
        if generator:
            self.step("generator")

    def _noise(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn(n, self.found_dim, generator=rng, device=rng.device)
