"""Losses: pure functions of logits, one module a paper, each with the two players' losses."""

from lightning_gans.losses import distances, gan, hinge, lsgan, realness, wgan

__all__ = ["distances", "gan", "hinge", "lsgan", "realness", "wgan"]
