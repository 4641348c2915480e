"""ACGAN: image synthesis with auxiliary classifier GANs (Odena et al., 2017, arXiv 1610.09585).

As the baseline of GOLD (Mo et al., NeurIPS 2019, arXiv 1910.09170) has it.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from lightning_gans import checks
from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.sides import Side
from lightning_gans.game.trial import described
from lightning_gans.losses import gan, semi_supervised
from lightning_gans.losses.precision import full_precision
from lightning_gans.networks.acgan import (
    ACGANColourDiscriminator,
    ACGANColourGenerator,
    ACGANDiscriminator,
    ACGANGenerator,
    ACGANMLPDiscriminator,
    ACGANMLPGenerator,
)


class ACGAN(LatentGame):
    """The generator sees the label; the discriminator finds it out beside telling real from generated.

    With l the logit of "real", a the logits of the classes, CE the cross entropy of a label, g = G(z, c)::

        L_D = E[softplus(-l(x))] + E[softplus(l(g))] + E[CE(a(x), y)] + class_weight * E[CE(a(g), c)]
        L_G = E[softplus(-l(g))] + E[CE(a(g), c)]

    Samples without a label (-1) take part in the first two terms of L_D alone; as in GOLD's released code,
    the class of as many fakes as there are labelled samples in the batch counts. Labels c are drawn, all
    classes alike. Networks by default: GOLD's, for grey images, colour images, and vectors.

    Args:
        image_shape: ``(channels, size, size)``, or ``(d,)`` for vectors.
        num_classes: Number of classes of the data.
        class_weight: lambda_c, the weight of the class of generated samples in L_D. It is small because early
            ones do not show the class they were made for.
        kwargs: Arguments of :class:`~lightning_gans.game.latent_game.LatentGame`.

    Raises:
        ValueError: If an argument is out of range, the data has no labels, or the discriminator has no head
            for the classes.
    """

    conditional = True
    semi_supervised = True
    shares_fake = True
    log_ratio = True
    no_replicas = "its class losses are means over the labelled samples of a batch"

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        class_weight: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, num_classes, **kwargs)
        checks.within("[0, inf)", class_weight=class_weight)
        self.class_weight = class_weight

    def default_latent(self) -> Latent:
        """Normal, of 100 numbers; of 2 for vectors."""
        return Normal(2 if len(self.image_shape) == 1 else 100)

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """GOLD's for grey images, for colour images, for vectors."""
        return self._kind(ACGANGenerator, ACGANColourGenerator, ACGANMLPGenerator)

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """GOLD's for grey images, for colour images, for vectors."""
        return self._kind(ACGANDiscriminator, ACGANColourDiscriminator, ACGANMLPDiscriminator)

    def _kind(self, grey: type, colour: type, vectors: type) -> partial[nn.Module]:
        kind = vectors if len(self.image_shape) == 1 else grey if self.image_shape[0] == 1 else colour
        return partial(kind, num_classes=self.num_classes)

    def class_logits(self, judged: Any) -> Tensor:
        """Return the logits of the discriminator's second head."""
        logits: Tensor = judged[1]
        return logits

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """L_D, with the weights of :meth:`fake_weights` for each generated sample."""
        assert real.labels is not None
        assert fake.labels is not None
        (on_real, real_classes), (on_fake, fake_classes) = self.judge(real), self.judge(fake)
        on_fake, fake_classes = full_precision(on_fake), full_precision(fake_classes)
        fooled, classes = softplus(on_fake), cross_entropy(fake_classes, fake.labels, reduction="none")
        weights = self.fake_weights(on_fake, fake_classes, fake.labels)
        if weights is not None:
            fooled, classes = weights * fooled, weights * classes
        labelled = real.labels >= 0
        fake_class_loss = (classes * labelled).sum() / labelled.sum().clamp(min=1)
        real_class_loss = semi_supervised.class_loss(real_classes, real.labels)
        self.report({"class_loss": real_class_loss, "fake_class_loss": fake_class_loss})
        source = softplus(-full_precision(on_real)).mean() + fooled.mean()
        return source + real_class_loss + self.class_weight * fake_class_loss

    def fake_weights(self, logits: Tensor, class_logits: Tensor, labels: Tensor) -> Tensor | None:
        """Return the weights ``(n,)`` of generated samples in L_D, without gradient; None: all 1."""
        return None

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """L_G."""
        assert fake.labels is not None
        on_fake, classes = self.judge(fake)
        return gan.generator_loss(on_fake) + cross_entropy(full_precision(classes), fake.labels)

    def check_judged(self, judged: Any) -> None:
        """Check that the discriminator has two heads.

        Raises:
            ValueError: If it has not.
        """
        super().check_judged(judged)
        fits = isinstance(judged, tuple) and len(judged) == 2 and isinstance(judged[1], Tensor)
        if not fits or tuple(judged[1].shape) != (2, self.num_classes):
            raise ValueError(
                f"discriminator of {type(self).__name__} returned {described(judged)} for 2 images: it must "
                f"return logits (N,) and class logits (N, {self.num_classes}), as TwoHeadedDiscriminator does"
            )
