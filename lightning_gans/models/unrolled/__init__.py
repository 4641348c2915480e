"""Unrolled GAN: the game, and optimizers whose steps can be differentiated."""

from lightning_gans.models.unrolled.game import UnrolledGAN

__all__ = ["UnrolledGAN"]
