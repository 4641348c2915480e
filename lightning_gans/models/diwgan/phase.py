"""The first phase of a run: the auto-encoder learns, the data are encoded, the real set is chosen."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from tqdm import tqdm

from lightning_gans.game.sides import read_batch
from lightning_gans.models.diwgan.encoder import largest_error
from lightning_gans.models.diwgan.memory import Memory
from lightning_gans.models.diwgan.real_set import RealSet, choose
from lightning_gans.networks.autoencoder import ConvAutoencoder

ENCODED = 20_000
"""Samples of the data, at most, whose codes are scaled by and which the real set is chosen from."""
TESTED = 2_000
"""Samples, at most, by whose reconstructions an auto-encoder is tested."""
CHUNK = 500


class Samples:
    """The training samples of a data module of this package, or of a loader's data set, without a loader.

    Args:
        data: The data module, if there is one.
        loader: The training loader of data of another kind.
        device: Where they are wanted.

    Raises:
        ValueError: If the data can only be read in their own order.
    """

    def __init__(self, data: Any, loader: Any, device: torch.device) -> None:
        self.device = device
        self.size: int
        self._read: Callable[[list[int]], Tensor]
        if hasattr(data, "reader"):
            self.size, self._read = data.reader()
            return
        stored: Any = getattr(loader, "dataset", None)
        if not (hasattr(stored, "__getitem__") and hasattr(stored, "__len__")):
            raise ValueError(
                f"data={type(stored).__name__} has no samples by number, which DIWGAN's auto-encoder "
                "learns from: give a data module of this package, or a data set with __len__ and __getitem__"
            )
        self.size = len(stored)
        self._read = lambda indices: read_batch(loader.collate_fn([stored[i] for i in indices])).images

    def __len__(self) -> int:
        """Return their number."""
        return self.size

    def at(self, indices: Tensor) -> Tensor:
        """Return the samples with these numbers, float32 ``(n, *image_shape)``."""
        images: Tensor = self._read(indices.tolist())
        return images.to(self.device)


def prepare(game: Any) -> Memory:
    """Do all that a DIWGAN does before its first update.

    Args:
        game: The game, in a run that begins.

    Raises:
        ValueError: If the auto-encoder reconstructs too badly, or its codes cannot be used.
    """
    trainer, encoder, term = game.trainer, game.encoder, game.term
    size = 0 if term.real_set == "redraw" else term.num_real or game.num_pairs
    first = trainer.strategy.broadcast(torch.initial_seed())
    seeds = [(first + replica) % 2**63 for replica in range(game.replicas)]
    modules = [game.data_of(replica) for replica in range(game.replicas)]
    samples = [Samples(data, trainer.train_dataloader, game.device) for data in modules]
    if not size and term.real_set != "redraw":
        raise ValueError(
            "num_real=None: the loader does not say how large its batches are, as one with a batch_sampler: "
            "give num_real, that size or a multiple of it"
        )
    if game.encoder_updates and any(True for _ in encoder.parameters()):
        bar = trainer.progress_bar_callback
        train(
            encoder,
            samples,
            [torch.Generator().manual_seed(seed) for seed in seeds],
            game.encoder_updates,
            game.encoder_batch_size,
            game.encoder_lr,
            trainer.is_global_zero and getattr(bar, "is_enabled", False),
            lambda: game._interruption.raise_if_received(trainer),
        )
    if trainer.world_size > 1:
        for value in encoder.state_dict().values():
            torch.distributed.broadcast(value, 0)
    few = torch.stack([s.at(torch.arange(min(len(s), TESTED))) for s in samples])
    error, variance = (float(x) for x in reconstruction(encoder, few))
    largest = game.max_error or largest_error(modules[0], variance)
    if not math.isfinite(error):
        raise ValueError(
            f"encoder={type(encoder).__name__}: its reconstructions are not finite: look for NaN in the "
            "data, or give a smaller encoder_lr"
        )
    if error > largest:
        raise ValueError(
            f"encoder={type(encoder).__name__}: the mean squared error of its reconstructions is "
            f"{error:.3g}, and {largest:.3g} is the most that codes of this data may have (its variance is "
            f"{variance:.3g}): raise encoder_updates or code_dim, or max_error"
        )
    # Each rank has a real set of its own, unless they pair together.
    rank = 0 if game.gather else game.global_rank
    rngs = [torch.Generator().manual_seed((seed + 7_919 * (rank + 1)) % 2**63) for seed in seeds]
    return begin(game.encode, samples, rngs, size, term.real_set, term.bandwidth)


def train(
    autoencoder: nn.Module,
    samples: Sequence[Samples],
    rngs: Sequence[torch.Generator],
    updates: int,
    batch_size: int,
    lr: float,
    progress: bool,
    after_update: Callable[[], None],
) -> None:
    """Train an auto-encoder to return its input: mean squared error, Adam, a rate that falls to 0.

    Args:
        autoencoder: Of R games at once, which takes flat batches.
        samples: Of each of them.
        rngs: Draw their batches, on the CPU.
        updates: How many.
        batch_size: Samples of each game in a batch.
        lr: The learning rate at the start.
        progress: Whether to show a bar.
        after_update: Called after each update.
    """
    if isinstance(autoencoder, ConvAutoencoder):
        autoencoder.start_at(samples[0].at(torch.arange(min(len(samples[0]), TESTED))))
    parameters = list(autoencoder.parameters())
    optimizer = torch.optim.Adam(parameters, lr)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1 / updates, updates)
    autoencoder.requires_grad_(True).train()
    # What an auto-encoder draws by itself, such as dropout, must not change the training that follows.
    devices = [parameters[0].device] if parameters[0].device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.enable_grad(),
        tqdm(total=updates, desc="auto-encoder", unit=" updates", disable=not progress) as bar,
    ):
        torch.manual_seed(rngs[0].initial_seed())
        for update in range(updates):
            drawn = (
                torch.randint(len(s), (batch_size,), generator=g) for s, g in zip(samples, rngs, strict=True)
            )
            images = torch.cat([s.at(indices) for s, indices in zip(samples, drawn, strict=True)])
            loss = len(samples) * mse_loss(autoencoder(images), images)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            decay.step()
            bar.update()
            if update % 100 == 0:
                bar.set_postfix(mse=f"{loss.item() / len(samples):.3g}")
            after_update()
    optimizer.zero_grad()
    autoencoder.requires_grad_(False).eval()


@torch.no_grad()
def reconstruction(autoencoder: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean squared error of reconstructions, and the variance of the samples around their mean.

    Args:
        autoencoder: Of R games.
        images: ``(R, n, *image_shape)``.

    Returns:
        Two scalars, a number of a sample on average: the largest error of a game, and the least variance.
    """
    errors = [
        (autoencoder(part.flatten(0, 1)) - part.flatten(0, 1)).square().view(len(images), part.shape[1], -1)
        for part in images.split(CHUNK, dim=1)
    ]
    variance = images.flatten(2).var(1, correction=0).mean(1)
    return torch.cat(errors, dim=1).mean((1, 2)).max(), variance.min()


@torch.no_grad()
def begin(
    encode: Callable[[Tensor], Tensor],
    samples: Sequence[Samples],
    rngs: Sequence[torch.Generator],
    size: int,
    how: RealSet,
    bandwidth: float | None,
) -> Memory:
    """Encode the data of R games, and choose the real set of each.

    Args:
        encode: Returns the codes ``(R * n, k)`` of a flat batch.
        samples: Of each game.
        rngs: Of each, on the CPU.
        size: Of the real sets; 0 for ``redraw``.
        how: See :func:`~lightning_gans.models.diwgan.real_set.choose`.
        bandwidth: Standard deviation of what ``kde`` adds to the codes.

    Raises:
        ValueError: If there are fewer samples, or codes are not finite or all alike in a dimension.
    """
    number = min(len(s) for s in samples)
    if size > number:
        raise ValueError(f"num_real={size} exceeds the {number} training samples: use at most {number}")
    chosen = [torch.randperm(len(s), generator=g)[:ENCODED] for s, g in zip(samples, rngs, strict=True)]
    parts = []
    for chunk in zip(*(indices.split(CHUNK) for indices in chosen), strict=True):
        images = torch.cat([s.at(indices) for s, indices in zip(samples, chunk, strict=True)])
        parts.append(encode(images).unflatten(0, (len(samples), -1)))
    codes = torch.cat(parts, dim=1)
    if not codes.isfinite().all():
        raise ValueError("encoder: codes of the data are not finite, look at its weights and at the data")
    mean, std = codes.mean(1, keepdim=True), codes.std(1, keepdim=True, correction=0)
    flat = std <= 1e-6 * mean.abs().clamp(min=1)
    if flat.any():
        raise ValueError(
            f"encoder: {int(flat.any(0).sum())} of {codes.shape[2]} numbers of the codes are the same for "
            "all samples, zero variance: give it a smaller code_dim, or train it longer"
        )
    codes = (codes - mean) / std
    sets = [choose(c, size, how, g) if size else torch.arange(0) for c, g in zip(codes, rngs, strict=True)]
    real = torch.stack([c[s] for c, s in zip(codes, sets, strict=True)])
    if how == "kde":
        assert bandwidth is not None
        noise = [torch.randn(real.shape[1:], generator=g) for g in rngs]
        real = real + bandwidth * torch.stack(noise).to(real)
    kept = [s.at(indices[own]) for s, indices, own in zip(samples, chosen, sets, strict=True)]
    return Memory(mean, std, real, torch.stack(kept), torch.zeros_like(real[:, :, 0]))
