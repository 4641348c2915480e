"""Two networks: plain modules of torch, which know nothing of GANs, Lightning or this package."""

from torch import nn


class Generator(nn.Module):
    def __init__(self, image_shape, latent_dim=32, width=16):
        super().__init__()
        channels, height, _ = image_shape
        self.width, self.side = width, height // 4
        self.seed = nn.Linear(latent_dim, 2 * width * self.side**2)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, latents):
        return self.layers(self.seed(latents).view(-1, 2 * self.width, self.side, self.side))


class Discriminator(nn.Module):
    def __init__(self, image_shape, width=16):
        super().__init__()
        channels, height, _ = image_shape
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * (height // 4) ** 2, 1),
        )

    def forward(self, images):
        return self.layers(images).flatten()
