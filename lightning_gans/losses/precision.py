"""One rule for all losses: they are computed in float32 or better."""

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Return ``values`` in float32 if they are bfloat16 or half; float32 and float64 pass unchanged."""
    return values if values.dtype in (torch.float32, torch.float64) else values.float()
