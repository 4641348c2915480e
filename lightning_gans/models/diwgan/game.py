"""DIWGAN: dual importance weights against mode collapse (anonymous submission, without public code)."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import all_gather
from typing_extensions import Self

from lightning_gans import checks
from lightning_gans.game import trial
from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.replicas import of_first
from lightning_gans.game.sides import Side
from lightning_gans.models.diwgan import phase
from lightning_gans.models.diwgan.encoder import EncoderFactory, trained_encoder
from lightning_gans.models.diwgan.pairing import Pairing
from lightning_gans.models.diwgan.real_set import RealSet
from lightning_gans.models.diwgan.term import PairingTerm, Pairs, Search
from lightning_gans.models.diwgan.weights import GeneratorWeight, TargetWeight
from lightning_gans.models.gan import GAN
from lightning_gans.networks.autoencoder import ConvAutoencoder, IdentityAutoencoder, MLPAutoencoder
from lightning_gans.networks.mlp import MLPDiscriminator
from lightning_gans.networks.rebuild import describe, or_default


class DIWGAN(GAN):
    """A GAN whose generator is pulled to real samples, one by one, the more the longer it has missed them.

    ``min_G -E[log D(G(z))] + alpha E[(w_r w_g)^gamma |s_r - s_g|]``: codes s_g of generated samples are
    paired with the codes s_r of a fixed real set. w_g is large where the generator has lately been often, w_r
    where it has been far away (:mod:`lightning_gans.models.diwgan.weights`). The codes are those of an
    auto-encoder that is trained by the run before all else, and frozen. D's loss is GAN's. Networks by
    default: DCGAN's for images; for vectors MLPs of two layers of 128 (G) and one (D), and two normal
    variables.

    Args:
        image_shape: ``(channels, height, width)``, or ``(d,)`` for vectors.
        alpha: Factor of the pairs' distance. 0: GAN, and no auto-encoder.
        gamma: Exponent of the weights.
        past_sets: N, the generated sets that w_g remembers, and the span of w_r's running mean.
        num_real: Size of the real set, a multiple of the batch size. None: a batch. Of a larger one, the next
            block of a batch is paired at each update.
        pairing: ``hungarian``, with the least mean distance, or ``greedy``.
        generator_weight: w_g: in proportion to the ``density`` of the past sets, or to its ``rank`` in the
            batch, or to the ``inverse`` density; ``none``: 1.
        target_weight: w_r: in proportion to the mean distance of a real code to those it was paired with, a
            running one (``history``) or of all the past (``cumulative``); to the running mean distance to the
            nearest (``min``); to one over the density of the past sets (``coverage``); ``none``: 1.
        weight_clip: Least and largest weight; both kinds have mean 1.
        real_set: The real set is the most representative of 16 random ones (``best_of``), a ``random`` one,
            one drawn from a kernel density estimate (``kde``), the samples next to the centres of ``kmeans``,
            or each update's batch of data (``redraw``).
        bandwidth: Of density estimates, in standard deviations of the data's codes. None: Scott's rule.
        encoder: The auto-encoder, or what makes it from ``image_shape``: three convolutions for images, an
            MLP for vectors by default. ``identity``: codes are the samples. Any other text: a checkpoint of
            a DIWGAN, whose auto-encoder is used as it is. An auto-encoder returns its reconstructions, and
            codes ``(N, k)`` by its method ``encode``.
        encoder_updates: Updates of the auto-encoder before training; 0 if it has been trained.
        encoder_batch_size: Samples in each of these.
        encoder_lr: The learning rate, which falls to 0.
        max_error: Largest mean squared error of reconstructions. None: a quarter of the least variance of a
            mixture's components, where the data has any, otherwise half of the data's variance.
        gather: Pairs are those of the joint batch of all ranks, not each rank's own.
        kwargs: Arguments of :class:`~lightning_gans.models.gan.GAN`.

    Raises:
        ValueError: If an argument is out of range, or two do not fit together.
    """

    log_ratio = False  # generated samples are weighted, and paired ones pulled together

    def __init__(
        self,
        image_shape: tuple[int, ...],
        alpha: float = 3.0,
        gamma: float = 1.0,
        past_sets: int = 10,
        num_real: int | None = None,
        pairing: Pairing = "hungarian",
        generator_weight: GeneratorWeight = "density",
        target_weight: TargetWeight = "history",
        weight_clip: tuple[float, float] = (0.1, 10.0),
        real_set: RealSet = "best_of",
        bandwidth: float | None = None,
        encoder: nn.Module | EncoderFactory | dict[str, Any] | str | None = None,
        encoder_updates: int = 3000,
        encoder_batch_size: int = 512,
        encoder_lr: float = 1e-3,
        max_error: float | None = None,
        gather: bool = False,
        **kwargs: Any,
    ) -> None:
        checks.within("[0, inf)", alpha=alpha)
        checks.at_least(0, encoder_updates=encoder_updates)
        checks.at_least(1, encoder_batch_size=encoder_batch_size)
        checks.positive(encoder_lr=encoder_lr, max_error=max_error)
        trained = trained_encoder(encoder) if isinstance(encoder, str) and encoder != "identity" else None
        super().__init__(image_shape, **kwargs)
        if alpha > 0 and self.simultaneous:
            raise ValueError("simultaneous=True is GAN's: leave it out, or give alpha=0")
        self.alpha = alpha
        self.term = PairingTerm(
            gamma,
            past_sets,
            num_real,
            pairing,
            generator_weight,
            target_weight,
            weight_clip,
            real_set,
            bandwidth,
        )
        self.encoder_updates = 0 if trained else encoder_updates
        self.encoder_batch_size, self.encoder_lr = encoder_batch_size, encoder_lr
        self.max_error = max_error
        self.gather = gather
        self.encoder: nn.Module | None = None
        self._search: Search | None = None
        self._batch_size = 0  # of a replica and rank: the first that a run announces
        if alpha > 0:
            default = IdentityAutoencoder if encoder == "identity" else self.default_encoder()
            given = trained if isinstance(encoder, str) else encoder
            network = or_default(given, lambda: default, "encoder", given=1)
            self.encoder = self._made("encoder", network, self.image_shape).requires_grad_(False)
            if not callable(getattr(self.encoder, "encode", None)):
                raise ValueError(f"encoder={type(self.encoder).__name__}: it has no method encode(images)")
        if trained:  # a checkpoint of this game does not need that one
            self.save_hyperparameters({"encoder": describe(trained)}, logger=False)

    def default_latent(self) -> Latent:
        """Two normal variables for vectors, 100 for images."""
        return Normal(2) if len(self.image_shape) == 1 else Normal(100)

    def default_generator(self) -> nn.Module | GeneratorFactory:
        """DCGAN's; for vectors two layers of 128."""
        return LatentGame.default_generator(self)

    def default_discriminator(self) -> nn.Module | DiscriminatorFactory:
        """DCGAN's; for vectors one layer of 128."""
        if len(self.image_shape) == 1:
            return partial(MLPDiscriminator, hidden=(128,), activation="relu")
        return LatentGame.default_discriminator(self)

    def default_encoder(self) -> EncoderFactory:
        """Three convolutions and two linear layers; for vectors three linear layers."""
        return MLPAutoencoder if len(self.image_shape) == 1 else ConvAutoencoder

    # ------------------------------------------------------------------ the loss

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """GAN's, but the generator's samples are drawn first: their pairs are sought while D is updated."""
        if not self.alpha:
            return super().training_step(batch, batch_idx)
        real = self.read(batch)
        discriminator, generator = self.advance_round()
        if generator:
            fake = self.draw_fakes(real)
            self._search = self._seek(real, fake)
        if discriminator:
            self.update_discriminator(real)
        if generator:
            self.update_generator(real, fake)
        return None

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-E[log D(G(z))]``, in training plus ``alpha`` times the weighted distance of pairs."""
        loss = super().generator_loss(real, fake)
        if not (self.alpha and self.training):
            return loss
        search, self._search = self._search, None
        if search is None or search.images is not fake.images:
            search = self._seek(real, fake)
        pairing_loss, terms = self.term.loss(search, self.reporting)
        self.report({"adversarial_loss": loss, "pairing_loss": pairing_loss, **terms})
        return loss + self.alpha * pairing_loss

    def _seek(self, real: Side, fake: Side) -> Search:
        codes, memory = self.codes(fake.images), self.term.memory
        if self.term.real_set == "redraw" and memory is not None:
            with torch.no_grad():
                memory.codes = self._joined(self.codes(real.images))
                memory.images = self._joined(self.per_replica(real.images))
        first = self.global_rank * codes.shape[1] if self._gathers() else 0
        mine = slice(first, first + codes.shape[1])
        return self.term.search(fake.images, codes, self._joined(codes.detach()), mine)

    def codes(self, images: Tensor) -> Tensor:
        """Return the standardised codes ``(R, n, k)`` of a flat batch ``(R * n, *image_shape)``."""
        assert self.term.memory is not None
        self.term.memory = self.term.memory.on(images.device)
        return self.term.memory.standardise(self.per_replica(self.encode(images)))

    def encode(self, images: Tensor) -> Tensor:
        """Return the codes ``(n, k)`` of a flat batch, as the auto-encoder makes them."""
        assert self.encoder is not None
        device = images.device.type
        mixes = torch.amp.is_autocast_available(device)
        with torch.autocast(device, enabled=False) if mixes else nullcontext():  # bfloat16 merges neighbours
            codes: Tensor = self.encoder.encode(images.float())  # type: ignore[operator]
        return codes

    def _gathers(self) -> bool:
        return self.gather and self.trainer.world_size > 1

    def _joined(self, values: Tensor) -> Tensor:
        """Return values ``(R, B, ...)`` of all ranks, one after the other, if pairs are those of all."""
        if not self._gathers():
            return values
        parts = [torch.empty_like(values) for _ in range(self.trainer.world_size)]
        all_gather(parts, values.contiguous())
        return torch.cat(parts, dim=1)

    def pair(self, seed: int | None = None, ema: bool = True) -> Pairs:
        """Pair new samples with the real set as the next update would.

        Args:
            seed: The same seed gives the same samples. Drawn from torch's global generator by default.
            ema: Use averaged weights if there are any.

        Raises:
            ValueError: If the game has not been trained, or has several replicas: ask one of them.
        """
        memory = self.term.memory
        if memory is None or self.replicas > 1:
            reason = "it has not been trained" if memory is None else "ask one of its replicas"
            raise ValueError(f"{type(self).__name__} has no pairs to show: {reason}")
        size = memory.past[-1].shape[1] if memory.past else memory.codes.shape[1]
        images = self.sample(size, ema=ema, seed=seed)
        with self.inference():
            return self.term.pairs(images, self.codes(images))

    def replica(self, number: int, into: Self | None = None) -> Self:
        """Return the game that a replica plays, with its real set; see the base."""
        game = super().replica(number, into)
        if game is not self and self.term.memory is not None:
            game.term.memory = self.term.memory.replica(number)
        return game

    # ------------------------------------------------------------------ the first phase, and the run's state

    def on_train_start(self) -> None:
        """Train the auto-encoder and choose the real set, unless the run is resumed.

        Raises:
            ValueError: If the auto-encoder reconstructs too badly, or its codes cannot be used.
        """
        super().on_train_start()
        if self.alpha and self.term.memory is None:
            self.term.memory = phase.prepare(self)

    @property
    def num_pairs(self) -> int:
        """Return how many pairs an update has: a batch, of all ranks if they pair together."""
        return self._batch_size * (self.trainer.world_size if self.gather else 1)

    def check_batch(self, batch_size: int) -> None:
        """Check that batches have as many samples as there are pairs, and what the base checks.

        Raises:
            ValueError: If not.
        """
        super().check_batch(batch_size)
        if not self.alpha:
            return
        if batch_size < self._batch_size:
            raise ValueError(
                f"a batch of {batch_size} is smaller than the number of pairs, {self._batch_size}"
            )
        self._batch_size = batch_size
        size = self.term.num_real
        if size is not None and size % self.num_pairs:
            raise ValueError(f"num_real={size}: give a multiple of the {self.num_pairs} pairs of an update")

    @of_first
    def _try_networks(self) -> None:
        super()._try_networks()
        if self.encoder is None:
            return
        images = torch.zeros(2, *self.image_shape, device=self.device)
        with trial.trying(self, "encode"), self.inference():
            codes, made = self.encode(images), self.encoder(images)
        found: list[tuple[int, ...]] = [tuple(getattr(value, "shape", ())) for value in (codes, made)]
        if len(found[0]) != 2 or found[0][0] != len(images) or found[1] != images.shape:
            raise ValueError(
                f"encoder={type(self.encoder).__name__} returned codes {trial.described(codes)} and "
                f"reconstructions {trial.described(made)} of {trial.described(images)}: it must return codes "
                "(N, k), and reconstructions of the samples' shape"
            )

    def setup(self, stage: str) -> None:
        """Forget the batch size of an earlier run."""
        self._batch_size = 0
        super().setup(stage)

    def train(self, mode: bool = True) -> "DIWGAN":
        """Switch the mode of all networks; the auto-encoder always stays in evaluation mode."""
        super().train(mode)
        if self.encoder is not None:
            self.encoder.eval()
        return self

    def run_state(self) -> dict[str, Any]:
        """Add the real set, its history and the past codes."""
        return {**super().run_state(), "pairs": self.term.state()}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Go on with the real set of the run.

        Raises:
            ValueError: If the checkpoint has none.
        """
        super().load_run_state(state)
        if self.alpha:
            self.term.load_state(state.get("pairs"))
