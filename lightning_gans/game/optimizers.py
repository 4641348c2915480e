"""torch's optimizers with the papers' defaults, and every number a key of its own.

A recipe or a sweep sets ``model.generator_optimizer.beta1`` as any other number. (A lambda around
``torch.optim.Adam(betas=(0.5, 0.999))`` cannot be written back to YAML: the tuple defeats the parser.)
"""

from collections.abc import Iterable
from typing import Any

import torch


class Adam(torch.optim.Adam):
    """Adam as DCGAN uses it (arXiv 1511.06434, section 4): lr 2e-4, beta1 0.5.

    Args:
        params: The parameters to train.
        lr: Step size.
        beta1: Decay of the running mean of the gradient.
        beta2: Decay of the running mean of its square.
        eps: Added to the root of the latter.
        weight_decay: L2 penalty.
        fused: One kernel for all parameters; same maths. ``None``: on for floating-point parameters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-4,
        beta1: float = 0.5,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        params = list(params)
        if fused is None:
            fused = all(p.is_floating_point() for p in params if isinstance(p, torch.Tensor))
        super().__init__(params, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=fused)


class RMSprop(torch.optim.RMSprop):
    """RMSProp as WGAN uses it (arXiv 1701.07875, Algorithm 1): lr 5e-5, no momentum, not centred.

    Args:
        params: The parameters to train.
        lr: Step size.
        alpha: Decay of the running mean of the squared gradient.
        eps: Added to the root of the latter.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 5e-5, alpha: float = 0.99, eps: float = 1e-8
    ) -> None:
        super().__init__(params, lr=lr, alpha=alpha, eps=eps, foreach=True)


class SGD(torch.optim.SGD):
    """SGD with momentum as the first GAN used it (released code, MNIST): lr 0.1, momentum 0.5.

    Args:
        params: The parameters to train.
        lr: Step size.
        momentum: Share of the last step that is kept.
    """

    def __init__(self, params: Iterable[Any], lr: float = 0.1, momentum: float = 0.5) -> None:
        super().__init__(params, lr=lr, momentum=momentum, foreach=True)
