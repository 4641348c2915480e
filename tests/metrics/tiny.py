"""A small extractor for tests: a fixed random network, quick and deterministic."""

import torch
from torch.nn import functional as F

from lightning_gans.metrics import Extractor


class TinyExtractor(Extractor):
    """12 features and 10 logits of grey images; counts its passes."""

    def __init__(self, seed: int = 0):
        super().__init__("tiny", 1)
        rng = torch.Generator().manual_seed(seed)
        self.register_buffer("first", torch.randn(12, 64, generator=rng) / 8)
        self.register_buffer("second", torch.randn(10, 12, generator=rng))
        self.seed, self.images = seed, 0

    @property
    def protocol(self):
        return {"extractor": "tiny", "hash": f"{self.seed:016x}", "resize": "8", "precision": "fp32"}

    def extract(self, images):
        self.images += len(images)
        x = F.interpolate(images / 127.5 - 1, (8, 8), mode="bilinear").flatten(1)
        features = torch.tanh(x @ self.first.T)
        return features, 4 * features @ self.second.T


class MeanColour(Extractor):
    """Three features of colour images."""

    def __init__(self):
        super().__init__("mean colour", 3)

    @property
    def protocol(self):
        return {"extractor": "mean colour", "hash": "0", "resize": "none", "precision": "fp32"}

    def extract(self, images):
        return images.float().mean((2, 3)) / 255, images.float()[:, :, 0, 0]
