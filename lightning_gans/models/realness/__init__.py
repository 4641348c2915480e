"""RealnessGAN: game, losses and anchors."""

from lightning_gans.models.realness.anchors import Anchors, CustomAnchors, ReleasedAnchors, SkewNormalAnchors
from lightning_gans.models.realness.game import RealnessGAN

__all__ = ["Anchors", "CustomAnchors", "RealnessGAN", "ReleasedAnchors", "SkewNormalAnchors"]
