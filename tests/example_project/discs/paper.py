"""A paper: Boundary-Seeking Generative Adversarial Networks (Hjelm et al., 2017, arXiv 1702.08431)."""

from torch.nn.functional import softplus

from lightning_gans import LatentGame

from .networks import Discriminator, Generator


class BoundarySeekingGAN(LatentGame):
    """G seeks the boundary of D, where it cannot decide: min_G 1/2 E[(log D(G(z)) - log(1 - D(G(z))))^2].

    D's loss is the GAN's. With D = sigmoid(logit), what G minimises is half the square of the logit.
    """

    def default_generator(self):
        return Generator

    def default_discriminator(self):
        return Discriminator

    def discriminator_loss(self, real, fake):
        return softplus(-self.judge(real)).mean() + softplus(self.judge(fake)).mean()

    def generator_loss(self, real, fake):
        logits = self.judge(fake)
        self.report({"at_the_boundary": (logits.abs() < 1).float().mean()})
        return logits.square().mean() / 2
