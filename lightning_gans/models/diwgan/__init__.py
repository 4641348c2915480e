"""DIWGAN: a generator that is pulled to the samples it misses."""

from lightning_gans.models.diwgan.game import DIWGAN

__all__ = ["DIWGAN"]
