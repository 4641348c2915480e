"""ACGAN: image synthesis with auxiliary classifier GANs (Odena et al., 2017, arXiv 1610.09585).

As the baseline of GOLD (Mo et al., NeurIPS 2019, arXiv 1910.09170) has it.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from lightning_gans import checks
from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.sides import Side
from lightning_gans.game.trial import described
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

    Labels c are drawn, all classes alike. Samples without a label (-1) take part in the first two terms of
    L_D alone. As in GOLD's released code, a batch with k labelled samples counts the classes of k of its
    fakes, and without any both class terms are 0; each rank counts its own. Where few samples have a label,
    ``labeled_batch_size`` of them are drawn for each update of D, and go through it apart from the batch: the
    third term is over these, the fourth over all fakes. Networks by default: GOLD's, for grey images, colour
    images, and vectors.

    Args:
        image_shape: ``(channels, size, size)``, or ``(d,)`` for vectors.
        num_classes: Number of classes of the data.
        class_weight: lambda_c, the weight of the class of generated samples in L_D. It is small because early
            ones do not show the class they were made for.
        labeled_batch_size: Labelled training samples for the class loss of each update (and rank), as they
            have labels by then. None: those of the batch.
        kwargs: Arguments of :class:`~lightning_gans.game.latent_game.LatentGame`.

    Raises:
        ValueError: If an argument is out of range, no sample of the data has a label, or the discriminator
            has no head for the classes.
    """

    conditional = True
    semi_supervised = True
    shares_fake = True
    log_ratio = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        class_weight: float = 0.1,
        labeled_batch_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_shape, num_classes, **kwargs)
        checks.within("[0, inf)", class_weight=class_weight)
        checks.at_least(1, labeled_batch_size=labeled_batch_size)
        self.class_weight = class_weight
        self.labeled_batch_size = labeled_batch_size
        self._choosing: list[torch.Generator] = []  # of each replica: which labelled samples

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

    # ------------------------------------------------------------------ the losses

    def discriminator_loss(self, real: Side, fake: Side) -> Tensor:
        """L_D, with the weights of :meth:`fake_weights`."""
        on_real, real_classes, labels = self._judge_real(real)
        fooled, fake_classes = self._of_fakes("discriminator", fake)
        labelled = labels >= 0
        real_classes = cross_entropy(real_classes, labels, ignore_index=-1, reduction="none")
        class_loss = self._mean_of(labelled, real_classes)
        fake_class_loss = fake_classes.mean() if self._draws else self._mean_of(labelled, fake_classes)
        self.report({"class_loss": class_loss, "fake_class_loss": fake_class_loss})
        return softplus(-on_real).mean() + fooled.mean() + class_loss + self.class_weight * fake_class_loss

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """L_G, with the weights of :meth:`fake_weights`."""
        source, classes = self._of_fakes("generator", fake)
        return source.mean() + classes.mean()

    def fake_weights(self, player: str, marginal: Tensor, conditional: Tensor) -> Tensor | None:
        """Return the weights ``(n,)`` of generated samples in the loss of a player; None: all are 1.

        Args:
            player: Whose loss.
            marginal: l(g), ``(n,)``, without gradient.
            conditional: log D_C(c | g), ``(n,)``, without gradient.
        """
        return None

    def _of_fakes(self, player: str, fake: Side) -> tuple[Tensor, Tensor]:
        """Return two terms of each fake in the loss of a player, weighted: of its source, of its class."""
        assert fake.labels is not None
        logits, class_logits = map(full_precision, self.judge(fake))
        source = softplus(logits if player == "discriminator" else -logits)
        classes = cross_entropy(class_logits, fake.labels, reduction="none")
        weights = self.fake_weights(player, logits.detach(), -classes.detach())
        return (source, classes) if weights is None else (weights * source, weights * classes)

    def _mean_of(self, chosen: Tensor, losses: Tensor) -> Tensor:
        """Return the mean over the chosen samples of each replica; 0 without any."""
        chosen, losses = self.per_replica(chosen), self.per_replica(chosen * losses)
        return (losses.sum(1) / chosen.sum(1).clamp(min=1)).mean()

    # ------------------------------------------------------------------ labelled samples

    @property
    def _draws(self) -> bool:
        """Whether the class loss of real samples is over labelled ones that are drawn for it."""
        return self.training and self.labeled_batch_size is not None

    def _judge_real(self, real: Side) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of real samples; class logits and labels of those that the class loss sees."""
        assert real.labels is not None
        if not self._draws:
            logits, class_logits = self.judge(real)
            return full_precision(logits), full_precision(class_logits), real.labels
        # Apart from the batch: in its batch norm, few samples drawn again and again would make real batches
        # unlike generated ones, and the discriminator would tell them by that alone.
        images, labels = self._draw_labelled()
        _, class_logits = self.judge(Side(self.memory_format(images), labels))
        logits, _ = self.judge(real)
        return full_precision(logits), full_precision(class_logits), labels

    def _draw_labelled(self) -> tuple[Tensor, Tensor]:
        size = self.labeled_batch_size
        drawn = [self.data_of(r).draw_labelled(size, rng) for r, rng in enumerate(self._choosing)]
        images, labels = (torch.cat(parts).to(self.device) for parts in zip(*drawn, strict=True))
        return images, labels

    def setup(self, stage: str) -> None:
        """Check that labelled samples can be drawn, and what the base checks.

        Raises:
            ValueError: If not.
        """
        super().setup(stage)
        if stage != "fit" or self.labeled_batch_size is None:
            return
        given = f"labeled_batch_size={self.labeled_batch_size}"
        if not hasattr(getattr(self.trainer, "datamodule", None), "draw_labelled"):
            raise ValueError(
                f"{given}: labelled samples are drawn from the data modules of this package only: use one, "
                "or leave it out"
            )
        normed = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.discriminator.modules())
        if normed and self.labeled_batch_size < 2:
            raise ValueError(f"{given} leaves batch norm without statistics: give 2 or more")

    def on_fit_start(self) -> None:
        """Seed the choice of labelled samples."""
        super().on_fit_start()
        # On the CPU, as the samples are: an update would wait for what is drawn on a GPU.
        seeds = [(rng.initial_seed() + 1) % 2**63 for rng in self.rngs]
        self._choosing = [torch.Generator().manual_seed(seed) for seed in seeds]

    def run_state(self) -> dict[str, Any]:
        """Add the random state of the choice of labelled samples."""
        return {**super().run_state(), "choosing": [rng.get_state() for rng in self._choosing]}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Go on with this random state."""
        super().load_run_state(state)
        for rng, own in zip(self._choosing, state["choosing"], strict=False):  # none where a file is loaded
            rng.set_state(own.cpu())

    # ------------------------------------------------------------------ checks before a run

    def check_judged(self, judged: Any) -> None:
        """Check that the discriminator has two heads.

        Raises:
            ValueError: If it has not.
        """
        super().check_judged(judged)
        shapes = [tuple(part.shape) for part in judged if isinstance(part, Tensor)]
        if not isinstance(judged, tuple) or shapes != [(2,), (2, self.num_classes)]:
            raise ValueError(
                f"discriminator of {type(self).__name__} returned {described(judged)} for 2 images: it must "
                f"return logits (N,) and class logits (N, {self.num_classes}), as TwoHeadedDiscriminator does"
            )
