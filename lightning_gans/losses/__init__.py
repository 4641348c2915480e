"""Losses that several papers share: pure functions of logits, a module a family."""

from lightning_gans.losses import (
    coulomb,
    distances,
    gan,
    gold,
    hinge,
    lsgan,
    semi_supervised,
    translation,
    wgan,
)

__all__ = ["coulomb", "distances", "gan", "gold", "hinge", "lsgan", "semi_supervised", "translation", "wgan"]
