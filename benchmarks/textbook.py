"""The DCGAN loop of the textbooks: what the benchmarks compare with."""

import torch
from torch import Tensor, nn

from lightning_gans.networks.dcgan import DCGANDiscriminator, DCGANGenerator


class Textbook:
    """DCGAN as PyTorch's own tutorial example trains it; written anew, with the networks of this package.

    Single precision, probabilities and ``BCELoss``, ``torch.optim.Adam`` as it comes, D's weight gradients
    computed in G's turn too and thrown away, losses and mean outputs read with ``.item()`` in each step.
    """

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        self.generator, self.discriminator = DCGANGenerator(image_shape), DCGANDiscriminator(image_shape)
        self.criterion = nn.BCELoss()
        self.generator_optimizer, self.discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
            for network in (self.generator, self.discriminator)
        )
        self.losses = (0.0, 0.0)

    def step(self, real: Tensor) -> None:
        """One update of D, one of G."""
        ones, zeros = torch.ones(len(real)), torch.zeros(len(real))

        self.discriminator.zero_grad()
        output = torch.sigmoid(self.discriminator(real))
        real_loss = self.criterion(output, ones)
        real_loss.backward()
        output.mean().item()
        fake = self.generator(torch.randn(len(real), 100))
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
