"""Latent distributions: what the generator starts from."""

import math
import warnings
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, softplus

from lightning_gans import checks
from lightning_gans.networks.rebuild import Rebuildable


class Latent(Rebuildable, nn.Module, ABC):
    """A distribution over latent vectors.

    ``latent(n, rng)`` draws ``(n, dim)`` float32 values. Noise is drawn on the device of ``rng``; where
    parameters of its own come in, they decide the device of the result. It is an ``nn.Module`` because some
    papers learn its parameters; those are trained with the generator.

    Args:
        dim: Length of a latent vector.

    Raises:
        ValueError: If ``dim`` is not positive.
    """

    def __init__(self, dim: int = 100) -> None:
        super().__init__()
        checks.at_least(1, dim=dim)
        self.dim = dim

    @abstractmethod
    def forward(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ``(n, dim)`` latent vectors."""

    def penalty(self) -> Tensor | None:
        """Return the scalar that learned parameters add to the generator's loss, if there is one."""
        return None

    def check_batch(self, batch_size: int) -> None:
        """Check, before training, that batches of this size can be drawn.

        Raises:
            ValueError: If they cannot.
        """

    def extra_repr(self) -> str:
        """Show the length in ``print(model)``."""
        return f"dim={self.dim}"


class Normal(Latent):
    """Standard normal latents, N(0, I)."""

    sigma = 1.0

    def forward(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ``(n, dim)`` latent vectors."""
        return torch.randn(n, self.dim, generator=rng, device=rng.device)


class Uniform(Latent):
    """Uniform latents, each coordinate in ``[-bound, bound)``.

    Args:
        dim: Length of a latent vector.
        bound: Half of the interval: 1 in the DCGAN paper, sqrt(3) for unit variance.

    Raises:
        ValueError: If ``dim`` or ``bound`` is not positive.
    """

    def __init__(self, dim: int = 100, bound: float = 1.0) -> None:
        super().__init__(dim)
        checks.positive(bound=bound)
        self.bound = bound

    def forward(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ``(n, dim)`` latent vectors."""
        return torch.rand(n, self.dim, generator=rng, device=rng.device).mul_(2 * self.bound).sub_(self.bound)


class GaussianMixture(Latent):
    """A mixture of N Gaussians whose means and widths are learned with the generator.

    ``p(z) = (1/N) sum_i N(mu_i, diag(sigma_i^2))``, sampled as ``z = mu_i + sigma_i * eps``,
    ``eps ~ N(0, I)``; the weights stay 1/N. A penalty pulls every sigma to 1: without it sigma = 0 is a
    local optimum, N memorised samples. It acts on all components, also those that a batch does not draw.
    Source: DeLiGAN (Gurumurthy et al., CVPR 2017), section 4; sampling and penalty of its released code.

    Args:
        dim: Length of a latent vector.
        num_components: N; 50 or 100 in the paper, small against the number of training samples.
        mean_bound: The means start in U(-mean_bound, mean_bound).
        sigma: All widths start at this value.
        signed_sigma: They start in U(-sigma, sigma) instead, as in the released CIFAR-10 code.
        sigma_param: What is trained: sigma itself (``raw``, its sign is free), or its inverse image under
            ``softplus`` or ``exp``, which keep it positive.
        sampling: Components are drawn at ``random``, or (``stratified``, in training only) each equally often
            in a batch.
        penalty_weight: Factor of the penalty; 0 for none. The released code has 0.1 for points, 1/3 for
            MNIST, 0.05 for sketches.
        penalty_reduction: ``mean`` of ``(1 - sigma)^2`` over components and dimensions (the released code),
            or the mean over components of its ``sum`` over dimensions (the paper): a factor of ``dim``.

    Raises:
        ValueError: If an argument is out of range, or a stratified batch is no multiple of N.
    """

    def __init__(
        self,
        dim: int = 100,
        num_components: int = 50,
        mean_bound: float = 1.0,
        sigma: float = 0.2,
        signed_sigma: bool = False,
        sigma_param: Literal["raw", "softplus", "exp"] = "raw",
        sampling: Literal["random", "stratified"] = "random",
        penalty_weight: float = 0.1,
        penalty_reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__(dim)
        checks.at_least(1, num_components=num_components)
        checks.positive(sigma=sigma)
        checks.within("[0, inf)", mean_bound=mean_bound, penalty_weight=penalty_weight)
        checks.one_of(("raw", "softplus", "exp"), sigma_param=sigma_param)
        checks.one_of(("random", "stratified"), sampling=sampling)
        checks.one_of(("mean", "sum"), penalty_reduction=penalty_reduction)
        if signed_sigma and sigma_param != "raw":
            raise ValueError(f"signed_sigma=True needs sigma_param=raw: {sigma_param} is always positive")
        self.num_components = num_components
        self.sigma_param = sigma_param
        self.sampling = sampling
        self.penalty_weight = penalty_weight
        self.penalty_reduction = penalty_reduction
        shape = (num_components, dim)
        self.mu = nn.Parameter(torch.empty(shape).uniform_(-mean_bound, mean_bound))
        if signed_sigma:
            trained = torch.empty(shape).uniform_(-sigma, sigma)
        elif sigma_param == "softplus":
            trained = torch.full(shape, sigma + math.log(-math.expm1(-sigma)))
        else:
            trained = torch.full(shape, math.log(sigma) if sigma_param == "exp" else sigma)
        self.trained_sigma = nn.Parameter(trained)

    @property
    def sigma(self) -> Tensor:
        """The standard deviations, ``(num_components, dim)``; with ``raw``, their sign means nothing."""
        if self.sigma_param == "softplus":
            return softplus(self.trained_sigma)
        return self.trained_sigma.exp() if self.sigma_param == "exp" else self.trained_sigma

    def forward(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ``(n, dim)`` latent vectors."""
        if self.sampling == "stratified" and self.training:
            self._check_strata(n)
            components = torch.randperm(n, generator=rng, device=rng.device) % self.num_components
        else:
            components = torch.randint(self.num_components, (n,), generator=rng, device=rng.device)
        return self.of_components(components, rng)

    def check_batch(self, batch_size: int) -> None:
        """Check that a batch can have all components; warn if random ones cannot.

        Raises:
            ValueError: If a stratified batch is no multiple of N.
        """
        if self.sampling == "stratified":
            self._check_strata(batch_size)
        elif self.num_components > batch_size:
            warnings.warn(
                f"num_components={self.num_components} exceeds data.batch_size={batch_size}: components that "
                "a batch does not draw only feel the penalty and the optimizer's momentum",
                stacklevel=2,
            )

    def _check_strata(self, n: int) -> None:
        if n % self.num_components:
            raise ValueError(
                f"sampling=stratified draws each of num_components={self.num_components} equally often, "
                f"but the batch has {n}: make it a multiple, or use sampling=random"
            )

    def of_components(self, components: Tensor, rng: torch.Generator) -> Tensor:
        """Draw a latent vector from each of the components ``(n,)``: ``(n, dim)``."""
        noise = torch.randn(len(components), self.dim, generator=rng, device=rng.device)
        components = components.to(self.mu.device)
        # embedding, unlike indexing, adds up its gradient in the same order every time, on CPUs too.
        return embedding(components, self.mu) + embedding(components, self.sigma) * noise.to(self.mu)

    def penalty(self) -> Tensor | None:
        """Return the weighted mean of ``(1 - sigma)^2``."""
        if self.penalty_weight == 0:
            return None
        distance = (1 - self.sigma).square()
        return self.penalty_weight * (
            distance.mean() if self.penalty_reduction == "mean" else distance.sum(-1).mean()
        )

    def extra_repr(self) -> str:
        """Show the size in ``print(model)``."""
        return f"dim={self.dim}, num_components={self.num_components}"
