"""Pix2pix: image-to-image translation with conditional GANs (Isola et al., 2016, arXiv 1611.07004)."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_gans import checks
from lightning_gans.game.sides import Side
from lightning_gans.game.translation import JudgeFactory, TranslationGame, TranslatorFactory
from lightning_gans.losses import translation as losses
from lightning_gans.networks.patchgan import PatchDiscriminator
from lightning_gans.networks.unet import UNetGenerator


class Pix2Pix(TranslationGame):
    """G translates an input x into a target y; D, which sees x too, tells y from G(x), patch by patch.

    ``min_G max_D  E[log D(x, y)] + E[log(1 - D(x, G(x)))] + lambda E|y - G(x)|`` (equation 4), the latter a
    mean over pixels, with the non-saturating loss for G and half of its own for D. Noise is dropout in G, and
    nothing else. By default: U-Net, discriminator of 70x70 patches, Adam 2e-4 with beta1 0.5.

    The ablations of the paper's Table 1: L1 alone ``lambda_gan=0``, cGAN ``lambda_l1=0``, GAN
    ``lambda_l1=0, conditional=False``, L1 + GAN ``conditional=False``, L1 + cGAN the defaults.

    Args:
        input_shape: ``(channels, height, width)`` of x.
        image_shape: ``(channels, height, width)`` of y, of the same size.
        generator: G, or what makes it from both shapes, or a dict: arguments of the paper's.
        discriminator: D, or what makes it from the shape of all that it sees, or a dict likewise.
        conditional: D sees x and y, joined in this order; else y alone.
        objective: Cross entropy (``gan``) or least squares (``lsgan``).
        lambda_gan: Weight of the adversarial loss of G. 0: there is no D.
        lambda_l1: Weight of mean |y - G(x)|.
        lambda_l2: Weight of mean (y - G(x))^2.
        norm_at_test: Batch norm uses the statistics of each image (``batch``), as in the paper, or running
            ones in :meth:`translate`.
        dropout_at_test: Dropout is on in :meth:`translate`, as in the paper.
        kwargs: Arguments of :class:`~lightning_gans.game.translation.TranslationGame`.

    Raises:
        ValueError: If x and y differ in size, or an argument is out of range.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        image_shape: tuple[int, ...],
        generator: nn.Module | TranslatorFactory | dict[str, Any] | None = None,
        discriminator: nn.Module | JudgeFactory | dict[str, Any] | None = None,
        conditional: bool = True,
        objective: losses.Objective = "gan",
        lambda_gan: float = 1.0,
        lambda_l1: float = 100.0,
        lambda_l2: float = 0.0,
        norm_at_test: Literal["batch", "running"] = "batch",
        dropout_at_test: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_shape, image_shape, **kwargs)
        checks.one_of(get_args(losses.Objective), objective=objective)
        checks.one_of(("batch", "running"), norm_at_test=norm_at_test)
        checks.within("[0, inf)", lambda_gan=lambda_gan, lambda_l1=lambda_l1, lambda_l2=lambda_l2)
        if not lambda_gan + lambda_l1 + lambda_l2:
            raise ValueError(
                "lambda_gan=0, lambda_l1=0 and lambda_l2=0: nothing is learned, give one of them more"
            )
        if self.input_shape[1:] != self.image_shape[1:]:
            raise ValueError(
                f"input_shape={self.input_shape} and image_shape={self.image_shape} differ in size"
            )
        self.conditional, self.objective = conditional, objective
        self.lambda_gan, self.lambda_l1, self.lambda_l2 = lambda_gan, lambda_l1, lambda_l2
        self.norm_at_test, self.dropout_at_test = norm_at_test, dropout_at_test
        self.generator = self.make("generator", generator, UNetGenerator, self.input_shape, self.image_shape)
        seen = (self.image_shape[0] + conditional * self.input_shape[0], *self.image_shape[1:])
        self.discriminator = (
            self.make("discriminator", discriminator, PatchDiscriminator, seen) if lambda_gan else None
        )

    def judge(self, side: Side, direction: str = "AtoB") -> Any:
        """Map pairs of input and target, or targets alone, to logits ``(n, 1, h, w)`` of patches."""
        if self.conditional:
            assert side.inputs is not None
            side = Side(torch.cat([side.inputs, side.images], 1))
        return super().judge(side)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Translate once; update D on that and on the target, then G against the new D."""
        real = self.read(batch)
        fake = self.draw_fakes(real)
        judges = [] if self.discriminator is None else [self.discriminator]
        if judges:
            loss = self.discriminator_loss(real, fake.detach())
            self.report({"discriminator_loss": loss})
            self.minimise("discriminator", loss)
        with self.frozen(*judges):
            loss = self.generator_loss(real, fake)
            self.report({"generator_loss": loss})
            self.minimise("generator", loss)

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-1/2 E[log D(x, y)] - 1/2 E[log(1 - D(x, G(x)))]``."""
        fake_logits, real_logits = self.judge(fake), self.judge(real)
        return losses.discriminator_loss(real_logits, fake_logits, self.objective)

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-lambda_gan E[log D(x, G(x))] + lambda_l1 E|y - G(x)| + lambda_l2 E[(y - G(x))^2]``."""
        terms = {}
        if self.lambda_gan:
            terms["gan"] = losses.generator_loss(self.judge(fake), self.objective)
        if self.lambda_l1:
            terms["l1"] = losses.l1(fake.images, real.images)
        if self.lambda_l2:
            terms["l2"] = losses.l2(fake.images, real.images)
        self.report(terms)
        return torch.stack([getattr(self, f"lambda_{name}") * term for name, term in terms.items()]).sum()

    def held_out_losses(self, batch: Any) -> dict[str, Tensor]:
        """Return the losses on held-out pairs, and mean |y - G(x)|, with networks as at test time."""
        real = self.read(batch)
        with self.as_tested(len(real), self.rng.initial_seed() << 32):
            fake = self.draw_fakes(real)
            found = {
                "generator_loss": self.generator_loss(real, fake),
                "l1": losses.l1(fake.images, real.images),
            }
            if self.discriminator is not None:
                found["discriminator_loss"] = self.discriminator_loss(real, fake)
        return found
