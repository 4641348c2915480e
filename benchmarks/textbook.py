"""The loops of the textbooks: what the benchmarks compare with."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_gans.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from lightning_gans.networks.resnet import ResNetDiscriminator, ResNetGenerator


class Textbook:
    """DCGAN as PyTorch's own tutorial example trains it; written anew, with the networks of this package.

    Single precision, probabilities and ``BCELoss``, ``torch.optim.Adam`` as it comes, D's weight gradients
    computed in G's update too and thrown away, losses and mean outputs read with ``.item()`` in each step.
    """

    networks: tuple[type[nn.Module], type[nn.Module]] = (DCGANGenerator, DCGANDiscriminator)
    adam: ClassVar[dict[str, Any]] = {"lr": 2e-4, "betas": (0.5, 0.999)}

    def __init__(self, image_shape: tuple[int, ...], device: str = "cpu", **options: int) -> None:
        self.device = device
        self.generator, self.discriminator = (n(image_shape, **options).to(device) for n in self.networks)
        self.criterion = nn.BCELoss()
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), **self.adam)
            for network in (self.generator, self.discriminator)
        )
        self.losses = (0.0, 0.0)

    def fakes(self, count: int) -> Tensor:
        """Images of new noise."""
        return self.generator(torch.randn(count, self.generator.latent_dim, device=self.device))

    def step(self, real: Tensor) -> None:
        """One update of D, one of G."""
        ones, zeros = (fill(len(real), device=self.device) for fill in (torch.ones, torch.zeros))

        self.discriminator.zero_grad()
        output = torch.sigmoid(self.discriminator(real))
        real_loss = self.criterion(output, ones)
        real_loss.backward()
        output.mean().item()
        fake = self.fakes(len(real))
        output = torch.sigmoid(self.discriminator(fake.detach()))
        fake_loss = self.criterion(output, zeros)
        fake_loss.backward()
        output.mean().item()
        self.discriminator_optimizer.step()

        self.generator.zero_grad()
        output = torch.sigmoid(self.discriminator(fake))
        loss = self.criterion(output, ones)
        loss.backward()
        output.mean().item()
        self.generator_optimizer.step()
        self.losses = ((real_loss + fake_loss).item(), loss.item())


class TextbookWGANGP(Textbook):
    """WGAN-GP's Algorithm 1 as it is usually written down: five updates of the critic, one of G."""

    networks = (ResNetGenerator, ResNetDiscriminator)
    adam: ClassVar[dict[str, Any]] = {"lr": 1e-4, "betas": (0.0, 0.9)}
    critic_steps, penalty = 5, 10.0

    def __init__(self, image_shape: tuple[int, ...], device: str = "cpu", **options: int) -> None:
        super().__init__(image_shape, device, **options)
        self.steps = 0

    def step(self, real: Tensor) -> None:
        """One update of the critic; each fifth time one of G."""
        self.discriminator.zero_grad()
        fake = self.fakes(len(real)).detach()
        part = torch.rand(len(real), 1, 1, 1, device=self.device)
        between = (part * real + (1 - part) * fake).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.discriminator(between).sum(), between, create_graph=True)
        penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
        loss = self.discriminator(fake).mean() - self.discriminator(real).mean() + self.penalty * penalty
        loss.backward()
        self.discriminator_optimizer.step()
        self.losses = (loss.item(), self.losses[1])

        self.steps += 1
        if self.steps % self.critic_steps == 0:
            self.generator.zero_grad()
            loss = -self.discriminator(self.fakes(len(real))).mean()
            loss.backward()
            self.generator_optimizer.step()
            self.losses = (self.losses[0], loss.item())
