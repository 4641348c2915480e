"""DIWGAN: dual importance weights against mode collapse (anonymous submission, without public code)."""

from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.distributed import all_gather

from lightning_gans import checks
from lightning_gans.game.latent_game import DiscriminatorFactory, GeneratorFactory, LatentGame
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.game.sides import Side
from lightning_gans.models.diwgan import phase, weights
from lightning_gans.models.diwgan.encoder import EncoderFactory, largest_error, trained_encoder
from lightning_gans.models.diwgan.memory import Memory
from lightning_gans.models.diwgan.pairing import Pairing, Pairs, costs, pair
from lightning_gans.models.diwgan.real_set import RealSet
from lightning_gans.models.diwgan.weights import GeneratorWeight, TargetWeight
from lightning_gans.models.gan import GAN
from lightning_gans.networks.autoencoder import ConvAutoencoder, IdentityAutoencoder, MLPAutoencoder
from lightning_gans.networks.mlp import MLPDiscriminator
from lightning_gans.networks.rebuild import or_default


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
        checks.within("[0, inf)", alpha=alpha, gamma=gamma)
        checks.at_least(1, past_sets=past_sets, num_real=num_real, encoder_batch_size=encoder_batch_size)
        checks.at_least(0, encoder_updates=encoder_updates)
        checks.positive(bandwidth=bandwidth, encoder_lr=encoder_lr, max_error=max_error)
        checks.one_of(get_args(Pairing), pairing=pairing)
        checks.one_of(get_args(GeneratorWeight), generator_weight=generator_weight)
        checks.one_of(get_args(TargetWeight), target_weight=target_weight)
        checks.one_of(get_args(RealSet), real_set=real_set)
        low, high = weight_clip
        if not 0 <= low <= 1 <= high:
            raise ValueError(f"weight_clip={weight_clip}: weights have mean 1, give what 1 is between")
        if real_set == "kde" and bandwidth is None:
            raise ValueError(
                "bandwidth=None: real_set=kde needs one, Scott's would be far wider than the modes"
            )
        if real_set == "redraw" and (num_real or target_weight not in ("coverage", "none")):
            raise ValueError(
                f"real_set=redraw remembers no real sample: num_real={num_real} and target_weight="
                f"{target_weight} must be None, and coverage or none"
            )
        trained = isinstance(encoder, str) and encoder != "identity"
        if trained:  # a checkpoint of this game must not need that one
            encoder = self._arguments["encoder"] = trained_encoder(str(encoder))
        super().__init__(image_shape, **kwargs)
        if alpha > 0 and self.simultaneous:
            raise ValueError("simultaneous=True is GAN's: leave it out, or give alpha=0")
        self.alpha, self.gamma = alpha, gamma
        self.past_sets, self.num_real = past_sets, num_real
        self.pairing: Pairing = pairing
        self.generator_weight: GeneratorWeight = generator_weight
        self.target_weight: TargetWeight = target_weight
        self.weight_clip = low, high
        self.real_set: RealSet = real_set
        self.bandwidth = bandwidth
        self.encoder_updates = 0 if trained else encoder_updates
        self.encoder_batch_size, self.encoder_lr = encoder_batch_size, encoder_lr
        self.max_error = max_error
        self.gather = gather
        self.encoder: nn.Module | None = None
        self.memory: Memory | None = None
        self._batch_size = 0  # of a replica and rank; the largest that was announced
        if alpha > 0:
            default = IdentityAutoencoder if encoder == "identity" else self.default_encoder()
            network = or_default(
                None if isinstance(encoder, str) else encoder, lambda: default, "encoder", given=1
            )
            self.encoder = self._made("encoder", network, self.image_shape).requires_grad_(False)
            if not callable(getattr(self.encoder, "encode", None)):
                raise ValueError(f"encoder={type(self.encoder).__name__}: it has no method encode(images)")

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

    def generator_loss(self, real: Side, fake: Side) -> Tensor:
        """``-E[log D(G(z))]``, in training plus ``alpha`` times the weighted distance of pairs."""
        loss = super().generator_loss(real, fake)
        if not (self.alpha and self.training):
            return loss
        pairing_loss = self.pairing_loss(real, fake)
        self.report({"adversarial_loss": loss, "pairing_loss": pairing_loss})
        return loss + self.alpha * pairing_loss

    def pairing_loss(self, real: Side, fake: Side) -> Tensor:
        """Pair generated samples with the real set, weigh the pairs, and remember both (Eq. 2, its mean).

        Raises:
            ValueError: If there are fewer samples than pairs.
        """
        assert self.memory is not None
        memory, codes = self.memory, self.codes(fake.images)
        if self.real_set == "redraw":
            with torch.no_grad():
                memory.codes = self._joined(self.codes(real.images))
            memory.images, memory.history = self._joined(self.per_replica(real.images)), memory.codes[:, :, 0]
        everyone = self._joined(codes.detach())
        block = memory.block(everyone.shape[1])
        target = memory.codes[:, block]
        if target.shape != everyone.shape:
            raise ValueError(
                f"a batch of {everyone.shape[1]} is smaller than the number of pairs, or does not divide the "
                f"{memory.codes.shape[1]} samples of the real set: keep batches of one size"
            )
        away = costs(target, everyone)
        if away.isfinite().all():
            order = pair(away, self.pairing)
        else:  # the loss is not finite either, by which the base stops the run on all ranks
            order = torch.arange(away.shape[2], device=away.device).expand(away.shape[:2])
        fake_weights = memory.fake_weights(everyone, self.generator_weight, self.bandwidth, self.weight_clip)
        real_weights = memory.real_weights(block, self.target_weight, self.bandwidth, self.weight_clip)
        start = self.global_rank * codes.shape[1] if self._gathers() else 0
        mine = slice(start, start + codes.shape[1])
        partner = order.argsort(1)[:, mine]  # the real code of each generated one of this rank
        own_real, own_fake = real_weights.gather(1, partner), fake_weights[:, mine]
        partners = target.gather(1, partner[:, :, None].expand_as(codes))
        distances = weights.distance(partners, codes)
        if self.reporting:
            self.report(
                {
                    "pairing_distance": distances.mean(),
                    "real_weight_max": real_weights.max(),
                    "fake_weight_max": fake_weights.max(),
                    "real_weight_share": weights.effective_share(real_weights),
                    "fake_weight_share": weights.effective_share(fake_weights),
                }
            )
        nearest = self.target_weight == "min"
        seen = away.amin(2) if nearest else away.gather(2, order[:, :, None]).squeeze(2)
        memory.remember(block, seen, everyone, self.past_sets, self.target_weight)
        return weights.weighted(distances, own_real, own_fake, self.gamma)

    def codes(self, images: Tensor) -> Tensor:
        """Return the standardised codes ``(R, n, k)`` of a flat batch ``(R * n, *image_shape)``."""
        assert self.memory is not None
        return self.memory.standardise(self.per_replica(self._encode(images)))

    def _encode(self, images: Tensor) -> Tensor:
        assert self.encoder is not None
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 could not tell neighbours apart
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
        memory = self.memory
        if memory is None or self.replicas > 1:
            reason = "it has not been trained" if memory is None else "ask one of its replicas"
            raise ValueError(f"{type(self).__name__} has no pairs to show: {reason}")
        size = memory.past[-1].shape[1] if memory.past else memory.codes.shape[1]
        block = memory.block(size)
        images = self.sample(size, ema=ema, seed=seed)
        with self.inference():
            codes = self.codes(images)
        target = memory.codes[:, block]
        away = costs(target, codes)
        order = pair(away, self.pairing)
        fake_weights = memory.fake_weights(codes, self.generator_weight, self.bandwidth, self.weight_clip)
        real_weights = memory.real_weights(block, self.target_weight, self.bandwidth, self.weight_clip)
        distances = away.gather(2, order[:, :, None]).squeeze(2)
        chosen = order[0]
        return Pairs(
            memory.images[0, block], images[chosen], distances[0], real_weights[0], fake_weights[0, chosen]
        )

    # ------------------------------------------------------------------ the first phase, and the run's state

    def on_train_start(self) -> None:
        """Train the auto-encoder and choose the real set, unless the run is resumed.

        Raises:
            ValueError: If the auto-encoder reconstructs too badly, or its codes cannot be used.
        """
        super().on_train_start()
        if self.alpha and self.memory is None:
            self._begin()

    def _begin(self) -> None:
        assert self.encoder is not None
        trainer = self.trainer
        first = trainer.strategy.broadcast(torch.initial_seed())
        seeds = [(first + replica) % 2**63 for replica in range(self.replicas)]
        modules = [self.data_of(replica) for replica in range(self.replicas)]
        samples = [phase.Samples(data, trainer.train_dataloader, self.device) for data in modules]
        if self.encoder_updates and any(True for _ in self.encoder.parameters()):
            phase.train(
                self.encoder,
                samples,
                [torch.Generator().manual_seed(seed) for seed in seeds],
                self.encoder_updates,
                self.encoder_batch_size,
                self.encoder_lr,
                trainer.is_global_zero and getattr(trainer.progress_bar_callback, "is_enabled", False),
                self._end_if_interrupted,
            )
        if trainer.world_size > 1:
            for value in self.encoder.state_dict().values():
                torch.distributed.broadcast(value, 0)
        few = [s.at(torch.arange(min(len(s), phase.TESTED))) for s in samples]
        error, variance = phase.reconstruction(self.encoder, torch.stack(few))
        largest = self.max_error or largest_error(modules[0], float(variance.min()))
        if not float(error.max()) <= largest:
            raise ValueError(
                f"encoder={type(self.encoder).__name__}: the mean squared error of its reconstructions is "
                f"{float(error.max()):.3g}, and {largest:.3g} is the most that codes of this data may have "
                f"(variance {float(variance.min()):.3g}): raise encoder_updates or code_dim, or max_error"
            )
        # Each rank has a real set of its own, unless they pair together.
        rank = 0 if self.gather else self.global_rank
        rngs = [torch.Generator().manual_seed((seed + 7_919 * (rank + 1)) % 2**63) for seed in seeds]
        size = 0 if self.real_set == "redraw" else self.num_real or self._pairs(self._batch_size)
        self.memory = phase.begin(self._encode, samples, rngs, size, self.real_set, self.bandwidth)

    def _end_if_interrupted(self) -> None:
        assert self._interruption is not None
        self._interruption.raise_if_received(self.trainer)

    def _pairs(self, batch_size: int) -> int:
        return batch_size * (self.trainer.world_size if self.gather else 1)

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
        self._batch_size, pairs = batch_size, self._pairs(batch_size)
        if self.num_real is not None and self.num_real % pairs:
            raise ValueError(f"num_real={self.num_real}: give a multiple of the {pairs} pairs of an update")

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
        return {**super().run_state(), "memory": self.memory and self.memory.state()}

    def load_run_state(self, state: dict[str, Any]) -> None:
        """Go on with the real set of the run.

        Raises:
            ValueError: If the checkpoint has none.
        """
        super().load_run_state(state)
        if self.alpha:
            if not state.get("memory"):
                raise ValueError(
                    "the checkpoint has no real set: it was written before one was chosen, or with alpha=0"
                )
            self.memory = Memory.of(state["memory"])
