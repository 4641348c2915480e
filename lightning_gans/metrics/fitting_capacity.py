"""Fitting capacity: how well does a classifier do that has seen nothing but generated images?"""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning import LightningDataModule
from torch import Tensor
from tqdm import tqdm

from lightning_gans.data.base import Data, DataModule, resize
from lightning_gans.drawing.pixels import as_stored
from lightning_gans.game.checkpoints import load
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.optimizers import Adam
from lightning_gans.networks.classifier import LeNet

SIZE, BATCH, LR, DECAYED_AT = 32, 128, 1e-3, (20, 40)
CHUNK = 1000

Mode = Literal["online", "fixed"]
Epochs = Callable[[int], tuple[Tensor, Tensor]]
"""Gives the images and labels of an epoch, numbered from 1."""


@dataclass(frozen=True)
class Budget:
    """What a classifier is trained on, and for how long.

    Attributes:
        seeds: Classifiers of each kind.
        mode: ``online``: new samples in each epoch. ``fixed``: the same ones.
        epochs: Epochs; the learning rate falls to a tenth at the 20th, and again at the 40th.
        samples_per_epoch: Samples of an epoch, with ``online``.
        per_class: Samples of a class, with ``fixed``.

    Raises:
        ValueError: If one is out of range.
    """

    seeds: int = 3
    mode: Mode = "online"
    epochs: int = 40
    samples_per_epoch: int = 10_000
    per_class: int = 5_000

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.mode not in ("online", "fixed"):
            raise ValueError(f"mode={self.mode!r} is unknown: use online or fixed")
        for name in ("seeds", "epochs", "samples_per_epoch", "per_class"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    def epoch_size(self, num_classes: int) -> int:
        """Return the samples of an epoch."""
        return self.samples_per_epoch if self.mode == "online" else self.per_class * num_classes


@dataclass(frozen=True)
class RealData:
    """Real images at 32 pixels, on the CPU.

    Attributes:
        train: uint8 (N, C, 32, 32), labelled.
        train_labels: int64 (N,).
        test: uint8 (n, C, 32, 32), labelled.
        test_labels: int64 (n,).
        num_classes: Number of classes.
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    num_classes: int


@dataclass(frozen=True)
class Judges:
    """Classifiers that were trained on real images, with their accuracies on real test images."""

    networks: tuple[LeNet, ...]
    accuracies: tuple[float, ...]


@dataclass(frozen=True)
class FittingCapacityScores:
    """Accuracies in [0, 1], one a seed.

    Attributes:
        gan_train: Trained on generated images, tested on real ones: the fitting capacity.
        ceiling: Trained on as many real images for as long, tested on real ones.
        gan_test: Trained on real images, tested on generated ones.
        n_test: Real test images, and generated ones for ``gan_test``.
        budget: What the classifiers were trained on.
    """

    gan_train: tuple[float, ...]
    ceiling: tuple[float, ...]
    gan_test: tuple[float, ...]
    n_test: int
    budget: Budget = field(repr=False)

    def values(self) -> dict[str, float]:
        """Return what is logged: means, and standard deviations over seeds where there are several."""
        result = {}
        for name, scores in (
            ("fitting_capacity", self.gan_train),
            ("fitting_capacity_ceiling", self.ceiling),
            ("gan_test", self.gan_test),
        ):
            if scores:
                result[name] = mean(scores)
            if len(scores) > 1:
                result[f"{name}_sd"] = stdev(scores)
        return result

    def __str__(self) -> str:
        """Return a table."""
        rows = [
            ("fitting capacity (GAN-train)", "trained on generated, tested on real", self.gan_train),
            ("its ceiling", "trained on real, tested on real", self.ceiling),
            ("GAN-test", "trained on real, tested on generated", self.gan_test),
        ]
        lines = [f"{name:30}{_percent(scores):18}{what}" for name, what, scores in rows if scores]
        b = self.budget
        new = (
            f"{b.samples_per_epoch:,} new images" if b.mode == "online" else f"{b.per_class:,} images a class"
        )
        seeds = f"{b.seeds} seed{'s' * (b.seeds > 1)}"
        lines.append(f"LeNet, {b.epochs} epochs of {new}, {seeds}; {self.n_test:,} test images")
        return "\n".join(lines)


def _percent(scores: tuple[float, ...]) -> str:
    spread = f" +- {100 * stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{100 * mean(scores):.2f}{spread} %"


def fitting_capacity(
    game: LatentGame,
    data: DataModule,
    *,
    seeds: int = 3,
    mode: Mode = "online",
    epochs: int = 40,
    samples_per_epoch: int = 10_000,
    per_class: int = 5_000,
    ema: bool = True,
    real: bool = True,
    seed: int = 0,
    progress: bool = False,
) -> FittingCapacityScores:
    """Score a conditional game by the classifiers that its images make (GOLD; GAN-train and GAN-test).

    A LeNet is trained on generated images with the labels that they were made for, and tested on all real
    test images. Protocol of GOLD (arXiv 1910.09170): 32 pixels, Adam with learning rate 1e-3 and betas (0.5,
    0.999), batches of 128. GOLD's figures are means of 5 trainings: ``seeds=5``. ``online`` and ``fixed``
    give different scores: ``online`` draws the labels of each epoch at random, ``fixed`` has equally many of
    each.

    The global random numbers are not touched.

    Args:
        game: A game whose generator sees labels.
        data: Labelled data with a test split.
        seeds: Classifiers of each kind; give at least 3 for figures that are to be reported.
        mode: See :class:`Budget`, as for the next three.
        epochs: Epochs of a classifier.
        samples_per_epoch: Generated images of an epoch, with ``online``.
        per_class: Generated images of a class, with ``fixed``.
        ema: Use averaged weights if there are any.
        real: Train classifiers on real images too: the ceiling, and the judges of GAN-test.
        seed: Decides samples, classifiers and batches.
        progress: Show a progress bar.

    Raises:
        ValueError: If an argument is out of range, or game and data do not fit.
        TypeError: If ``game`` is no latent game, or ``data`` no data module of lightning_gans.
    """
    budget = Budget(seeds, mode, epochs, samples_per_epoch, per_class)
    check_game(game, data, budget)
    images = real_data(data)
    total = epochs * seeds * (2 if real else 1)
    with tqdm(total=total, desc="fitting capacity", unit="epoch", disable=not progress) as bar:
        judges = train_judges(images, budget, seed, game.device, bar) if real else Judges((), ())
        return score_game(game, images, judges, budget, ema, seed, bar)


def score_checkpoint(
    ckpt_path: str,
    data: LightningDataModule,
    seeds: int = 3,
    mode: Mode = "online",
    epochs: int = 40,
    samples_per_epoch: int = 10_000,
    per_class: int = 5_000,
    weights: Literal["ema", "raw"] = "ema",
    real: bool = True,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> None:
    """Fitting capacity of a conditional game: the accuracy of classifiers trained on what it generates.

    A LeNet at 32 pixels, as in Mining GOLD Samples (arXiv 1910.09170).

    Args:
        ckpt_path: The game's checkpoint.
        data: Labelled data with a test split, of the same image size.
        seeds: Classifiers of each kind; give at least 3 for figures that are to be reported.
        mode: ``online``: new images in each epoch. ``fixed``: the same ones. They give different scores.
        epochs: Epochs of a classifier; the learning rate falls to a tenth at the 20th and the 40th.
        samples_per_epoch: Generated images of an epoch, with ``online``.
        per_class: Generated images of a class, with ``fixed``.
        weights: Averaged weights, if the checkpoint has some, or those of the last update.
        real: Also train on real images with the same budget: the ceiling, and GAN-test.
        seed: Decides samples, classifiers and batches.
        device: Such as ``cpu`` or ``cuda``; the accelerator, if there is one, by default.
        progress: Show a progress bar.

    Raises:
        ValueError: If an argument is out of range, or game and data do not fit.
        TypeError: If the checkpoint is no latent game, or ``data`` no data module of lightning_gans.
    """
    Budget(seeds, mode, epochs, samples_per_epoch, per_class)  # complains before any file is read
    game: Any = load(ckpt_path)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    scores = fitting_capacity(
        game.to(device),
        data,  # type: ignore[arg-type]
        seeds=seeds,
        mode=mode,
        epochs=epochs,
        samples_per_epoch=samples_per_epoch,
        per_class=per_class,
        ema=weights == "ema",
        real=real,
        seed=seed,
        progress=progress,
    )
    print(scores)


# ---------------------------------------------------------------------- the parts, for the callback too


def check_game(game: Any, data: Any, budget: Budget) -> None:
    """Look whether game, data and budget fit together; reads no image.

    Raises:
        ValueError: If they do not.
        TypeError: If they are not of the right kind.
    """
    if not isinstance(game, LatentGame):
        raise TypeError(f"fitting capacity needs a game with latents, not a {type(game).__name__}")
    if not isinstance(data, DataModule):
        raise TypeError(f"data={type(data).__name__}: give a data module of lightning_gans")
    if not game.conditional:
        raise ValueError(
            f"{type(game).__name__} generates without labels, and a classifier cannot be trained on that: "
            "fitting capacity needs a conditional game, such as ConditionalGAN"
        )
    name = type(data).__name__
    if data.num_classes is None:
        raise ValueError(f"data={name} has no labels here: fitting capacity needs them")
    if data.num_classes != game.num_classes:
        raise ValueError(f"data={name} has {data.num_classes} classes, the game {game.num_classes}")
    if tuple(data.image_shape) != game.image_shape:
        raise ValueError(
            f"data={name} has images {tuple(data.image_shape)}, the game makes {game.image_shape}: give the "
            "data that it was trained on"
        )
    if len(game.image_shape) != 3:
        raise ValueError(f"image_shape={game.image_shape}: fitting capacity needs images")
    if not data.has_test_split:
        raise ValueError(f"data={name} has no test split here: fitting capacity is measured on one")
    if budget.epoch_size(data.num_classes) < data.num_classes:
        raise ValueError(
            f"samples_per_epoch={budget.samples_per_epoch} leaves classes without a sample: give at least "
            f"{data.num_classes}"
        )


def real_data(data: DataModule) -> RealData:
    """Read the labelled training and test images of a data module.

    Raises:
        ValueError: If there are none, or a label is out of range.
    """
    if data.trainer is None:
        data.prepare_data()
        data.setup("fit")
    data.setup("test")
    num_classes = data.num_classes
    assert num_classes is not None
    parts: list[tuple[Tensor, Tensor]] = []
    for split, (images, labels) in (("train", data.training_images()), ("test", data._ready("test"))):
        if (labels >= num_classes).any() or (labels < -1).any():
            raise ValueError(
                f"data={type(data).__name__} has labels from {int(labels.min())} to {int(labels.max())}: "
                f"they must lie between 0 and {num_classes - 1}, or be -1"
            )
        labelled = (labels >= 0).nonzero().squeeze(1)
        if len(labelled) == 0:
            raise ValueError(f"data={type(data).__name__} has no labelled {split} images")
        parts.append((_shrunk(images, labelled), labels[labelled]))
    return RealData(*parts[0], *parts[1], num_classes)


def train_judges(real: RealData, budget: Budget, seed: int, device: torch.device, bar: Any = None) -> Judges:
    """Train classifiers on real images, in random order, with the budget that generated ones get."""
    networks = []
    for classifier in range(budget.seeds):
        own = _mixed(seed, classifier, 0)
        networks.append(_train(_real_epochs(real, budget, own), real, budget, own, device, bar))
    accuracies = [_accuracy(network, real.test, real.test_labels) for network in networks]
    return Judges(tuple(networks), tuple(accuracies))


def score_game(
    game: LatentGame,
    real: RealData,
    judges: Judges,
    budget: Budget,
    ema: bool = True,
    seed: int = 0,
    bar: Any = None,
) -> FittingCapacityScores:
    """Train classifiers on generated images, test them on real ones, and let judges judge generated ones."""
    accuracies = []
    for classifier in range(budget.seeds):
        own = _mixed(seed, classifier, 1)
        epochs = _generated_epochs(game, real.num_classes, budget, ema, own)
        network = _train(epochs, real, budget, own, game.device, bar)
        accuracies.append(_accuracy(network, real.test, real.test_labels))
    gan_test: tuple[float, ...] = ()
    if judges.networks:
        labels = _balanced(len(real.test), real.num_classes)
        images = _generate(game, labels, ema, _mixed(seed, 0, 4))
        gan_test = tuple(_accuracy(network, images, labels) for network in judges.networks)
    return FittingCapacityScores(tuple(accuracies), judges.accuracies, gan_test, len(real.test), budget)


# ---------------------------------------------------------------------- inside


def _train(
    epoch_data: Epochs,
    real: RealData,
    budget: Budget,
    seed: int,
    device: torch.device,
    bar: Any,
) -> LeNet:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(seed)
        network = LeNet((real.test.shape[1], SIZE, SIZE), real.num_classes)
    network.to(device)
    optimizer = Adam(network.parameters(), lr=LR, beta1=0.5)
    order_rng = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for epoch in range(1, budget.epochs + 1):
            for group in optimizer.param_groups:
                group["lr"] = LR * 0.1 ** sum(epoch >= at for at in DECAYED_AT)
            images, labels = epoch_data(epoch)
            for chosen in torch.randperm(len(images), generator=order_rng).split(BATCH):
                logits = network(_floats(images[chosen], device))
                optimizer.zero_grad()
                F.cross_entropy(logits, labels[chosen].to(device)).backward()
                optimizer.step()
            if bar is not None:
                bar.update()
    return network.eval()


@torch.no_grad()
def _accuracy(network: LeNet, images: Tensor, labels: Tensor) -> float:
    device = next(network.parameters()).device
    right = 0
    with torch.autocast(device.type, enabled=False):
        for chunk, wanted in zip(images.split(CHUNK), labels.split(CHUNK), strict=True):
            right += int((network(_floats(chunk, device)).argmax(1) == wanted.to(device)).sum())
    return right / len(images)


def _generate(game: LatentGame, labels: Tensor, ema: bool, seed: int) -> Tensor:
    """Return uint8 images (n, C, 32, 32) on the CPU, as if they had been stored in files."""
    parts = []
    for i, chunk in enumerate(labels.split(CHUNK)):
        images = as_stored(game.sample(len(chunk), chunk, ema=ema, seed=_mixed(seed, i, 5)), i * CHUNK)
        parts.append(resize(images.cpu(), SIZE))
    return torch.cat(parts)


def _real_epochs(real: RealData, budget: Budget, seed: int) -> Epochs:
    """Serve real images: each once before any is served again."""
    rng = torch.Generator().manual_seed(seed)
    size = budget.epoch_size(real.num_classes)
    waiting = torch.empty(0, dtype=torch.int64)

    def epoch_data(epoch: int) -> tuple[Tensor, Tensor]:
        nonlocal waiting
        while len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(len(real.train), generator=rng)])
        chosen, waiting = waiting[:size], waiting[size:]
        return real.train[chosen], real.train_labels[chosen]

    return epoch_data


def _generated_epochs(game: LatentGame, num_classes: int, budget: Budget, ema: bool, seed: int) -> Epochs:
    size = budget.epoch_size(num_classes)
    if budget.mode == "fixed":
        labels = _balanced(size, num_classes)
        images = _generate(game, labels, ema, seed)
        return lambda epoch: (images, labels)

    def epoch_data(epoch: int) -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(_mixed(seed, epoch, 2))
        labels = torch.randint(num_classes, (size,), generator=rng)
        return _generate(game, labels, ema, _mixed(seed, epoch, 3)), labels

    return epoch_data


def _shrunk(data: Data, chosen: Tensor) -> Tensor:
    parts = []
    for chunk in chosen.split(CHUNK):
        images = data[chunk] if isinstance(data, Tensor) else data.__getitems__(chunk.tolist())
        parts.append(resize(images, SIZE))
    return torch.cat(parts)


def _floats(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device).float() / 127.5 - 1


def _balanced(n: int, num_classes: int) -> Tensor:
    return torch.arange(n) % num_classes


def _mixed(*numbers: int) -> int:
    """Return a seed that differs for different numbers."""
    result = 0
    for number in numbers:
        result = (result * 1_000_003 + number + 1) % 2**62
    return result
