"""Fitting capacity: the accuracy on real images of a classifier that was trained on generated ones."""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count, islice, repeat
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lightning_gans import checks
from lightning_gans.data.base import Data, DataModule, resize
from lightning_gans.data.cache import cache_folder
from lightning_gans.data.loader import to_float
from lightning_gans.data.sources import read_at
from lightning_gans.files import locked, written_whole
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.optimizers import Adam
from lightning_gans.game.rejection import RejectionSampler
from lightning_gans.metrics.statistics import open_npz
from lightning_gans.metrics.stream import rounded
from lightning_gans.networks.classifier import LeNet

SIZE, BATCH, LR, DECAYED_AT = 32, 128, 1e-3, (20, 40)
CHUNK = 1000
PROTOCOL = 1
"""Version of how classifiers are trained; a new number makes those in the cache unused."""

Mode = Literal["online", "fixed"]
Judges = list[LeNet]
"""Classifiers that were trained on real images."""
Epochs = Iterator[tuple[Tensor, Tensor]]
"""Gives the images and labels of each epoch, without end."""


@dataclass(frozen=True)
class Budget:
    """What classifiers are trained on, and for how long.

    Args:
        seeds: Classifiers of each kind, with initial weights and batches of their own; give at least 3 for
            figures that are to be reported. They share the generated images.
        mode: ``online``: new images in each epoch, of labels drawn at random. ``fixed``: the same ones,
            equally many of each label. They give different scores.
        epochs: Epochs of a classifier; the learning rate falls to a tenth at the 20th, and again at the 40th.
        samples_per_epoch: Generated images of an epoch, with ``online``.
        per_class: Generated images of a class, with ``fixed``.
        real: Train classifiers on real images too, for the ceiling and for GAN-test.
        seed: Decides samples, classifiers and batches.
        rejection: Learn only from images that the discriminator accepts: p, in (0, 1), of
            :class:`~lightning_gans.game.rejection.RejectionSampler`. The same numbers of images, then.
        num_calibration: Samples by which it is calibrated.
        precision: ``bf16``: images are generated in bfloat16, which is faster on a GPU, or a CPU with such
            instructions; the classifiers learn in float32 all the same.

    Raises:
        ValueError: If one is out of range.
    """

    seeds: int = 3
    mode: Mode = "online"
    epochs: int = 40
    samples_per_epoch: int = 10_000
    per_class: int = 5_000
    real: bool = True
    seed: int = 0
    rejection: float | None = None
    num_calibration: int = 50_000
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.one_of(("online", "fixed"), mode=self.mode)
        checks.one_of(("fp32", "bf16"), precision=self.precision)
        counts = ("seeds", "epochs", "samples_per_epoch", "per_class", "num_calibration")
        checks.at_least(1, **{name: getattr(self, name) for name in counts})
        checks.seed(seed=self.seed)
        if self.rejection is not None:
            checks.within("(0, 1)", rejection=self.rejection)

    def sampler(self, game: LatentGame, ema: bool) -> RejectionSampler | None:
        """Return what chooses among a game's samples, calibrated when it is first used; None: all are taken.

        Raises:
            ValueError: If the game's discriminator gives no log density ratios.
        """
        if self.rejection is None:
            return None
        return RejectionSampler(
            game,
            self.rejection,
            num_calibration=self.num_calibration,
            ema=ema,
            seed=self.seed,
            precision=self.precision,
        )

    def protocol(self) -> dict[str, str]:
        """Return what to report beside a score."""
        new = f"{self.samples_per_epoch:,} new images"
        images = new if self.mode == "online" else f"{self.per_class:,} images a class"
        seeds = f"{self.seeds} seed{'s' * (self.seeds > 1)}"
        about = {"classifier": f"LeNet, {self.epochs} epochs of {images}, {seeds}"}
        if self.rejection is not None:
            about["rejection"] = f"p = {self.rejection:g}, measured on {self.num_calibration:,}"
        return {**about, "precision": self.precision}

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

    @cached_property
    def key(self) -> str:
        """A hash of all that a classifier which is trained on these images depends on."""
        digest = hashlib.sha256(f"{tuple(self.train.shape)} {self.num_classes}".encode())
        for values in (self.train, self.train_labels):
            digest.update(values.contiguous().numpy().data)
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class FittingCapacityScores:
    """Accuracies in [0, 1], one a seed.

    Attributes:
        gan_train: Trained on generated images, tested on real ones: the fitting capacity.
        ceiling: Trained on as many real images for as long, tested on real ones.
        gan_test: Trained on real images, tested on generated ones.
        n_test: Real test images, and generated ones for ``gan_test``.
        budget: What the classifiers were trained on.
        acceptance: Share of the generated images that the discriminator accepted, with ``rejection``.
    """

    gan_train: tuple[float, ...]
    ceiling: tuple[float, ...]
    gan_test: tuple[float, ...]
    n_test: int
    budget: Budget = field(repr=False)
    acceptance: float | None = None

    def values(self) -> dict[str, float]:
        """Return the values to log: means, and standard deviations over seeds where there are several."""
        names = ("fitting_capacity", "fitting_capacity_ceiling", "gan_test")
        scores = dict(zip(names, (self.gan_train, self.ceiling, self.gan_test), strict=True))
        means = {name: mean(values) for name, values in scores.items() if values}
        means |= {f"{name}_sd": stdev(values) for name, values in scores.items() if len(values) > 1}
        return means if self.acceptance is None else {**means, "acceptance": self.acceptance}

    def __str__(self) -> str:
        """Return a table."""
        rows = [
            ("fitting capacity (GAN-train)", "trained on generated, tested on real", self.gan_train),
            ("its ceiling", "trained on real, tested on real", self.ceiling),
            ("GAN-test", "trained on real, tested on generated", self.gan_test),
        ]
        lines = [f"{name:30}{_percent(scores):18}{what}" for name, what, scores in rows if scores]
        about = self.budget.protocol()["classifier"]
        if self.acceptance is not None:
            about += f", accepted ({100 * self.acceptance:.1f} %) with p = {self.budget.rejection:g}"
        lines.append(f"{about}; {self.n_test:,} test images")
        return "\n".join(lines)


def _percent(scores: tuple[float, ...]) -> str:
    spread = f" +- {100 * stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{100 * mean(scores):.2f}{spread} %"


def fitting_capacity(
    game: LatentGame,
    data: DataModule,
    weights: Literal["ema", "raw"] = "ema",
    progress: bool = False,
    cache: bool | str = True,
    **budget: Any,
) -> FittingCapacityScores:
    """Score a conditional game by classifiers trained on its images (GOLD; GAN-train and GAN-test).

    A LeNet is trained on generated images with the labels that they were made for, and tested on all real
    test images. Protocol of GOLD (arXiv 1910.09170): 32 pixels, Adam with learning rate 1e-3 and betas (0.5,
    0.999), batches of 128. GOLD's figures are means of 5 trainings: ``seeds=5``.

    The global random numbers are not touched.

    Args:
        game: A game whose generator sees labels.
        data: Labelled data with a test split.
        weights: Averaged weights, if there are any, or those of the last update.
        progress: Show a progress bar.
        cache: Keep classifiers that were trained on real images in ``LIGHTNING_GANS_CACHE``, else
            ``~/.cache/lightning_gans``; in the folder given; or (false) not at all.
        **budget: Arguments of :class:`Budget`.

    Raises:
        ValueError: If an argument is out of range, or game and data do not fit.
        TypeError: If ``game`` is no latent game, or ``data`` no data module of lightning_gans.
    """
    spent = Budget(**budget)
    check_game(game, data, spent)
    images = real_data(data)
    total = spent.epochs * spent.seeds * (2 if spent.real else 1)
    with tqdm(total=total, desc="fitting capacity", unit="epoch", disable=not progress) as bar:
        judges = train_judges(images, spent, game.device, folder_of(cache), bar)
        return score_game(game, images, judges, spent, weights == "ema", bar)


# ---------------------------------------------------------------------- the parts, for the callback too


def check_game(game: Any, data: Any, budget: Budget) -> None:
    """Check that game, data and budget fit together; reads no image.

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
    if data.num_classes is None or not data.has_test_split:
        what = "labels" if data.num_classes is None else "test split"
        raise ValueError(
            f"data={name} has no {what} here: fitting capacity is measured on labelled test images"
        )
    theirs, ours = ((x.num_classes, tuple(x.image_shape)) for x in (data, game))
    if theirs != ours:
        raise ValueError(
            f"data={name} has {theirs[0]} classes, the game {ours[0]}; images are {theirs[1]}, the game's "
            f"{ours[1]}: give the data that it was trained on"
        )
    if len(game.image_shape) != 3:
        raise ValueError(f"image_shape={game.image_shape}: fitting capacity needs images")
    budget.sampler(game, ema=True)
    if budget.mode == "online":
        checks.at_least(data.num_classes, samples_per_epoch=budget.samples_per_epoch)


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
    for split in ("train", "test"):
        images, labels = data.stored(split)
        checks.labels(num_classes, unlabeled=True, **{f"{split}_labels": labels})
        labelled = (labels >= 0).nonzero().squeeze(1)
        if len(labelled) == 0:
            raise ValueError(f"data={type(data).__name__} has no labelled {split} images")
        parts.append((_shrunk(images, labelled), labels[labelled]))
    return RealData(*parts[0], *parts[1], num_classes)


def folder_of(cache: bool | str) -> Path | None:
    """Return the folder in which classifiers of real images are kept, or None."""
    return None if cache is False else cache_folder(cache) / "fitting_capacity"


def train_judges(
    real: RealData, budget: Budget, device: torch.device, folder: Path | None = None, bar: Any = None
) -> Judges:
    """Train classifiers on real images, with the budget of those that are trained on generated ones.

    Args:
        real: The images.
        budget: For how long.
        device: Where to.
        folder: Where they are kept, so that all runs with the same images and budget share them.
        bar: Progress bar.
    """
    judges: Judges = []
    for classifier in range(budget.seeds if budget.real else 0):
        seed = _mixed(budget.seed, classifier, 0)
        train = partial(_train, _real_epochs(real, budget, seed), real, budget, [seed], device, bar)
        judges += train() if folder is None else [_kept(train, real, budget, seed, folder).to(device)]
    return judges


def score_game(
    game: LatentGame,
    real: RealData,
    judges: Judges,
    budget: Budget,
    ema: bool = True,
    bar: Any = None,
) -> FittingCapacityScores:
    """Train classifiers on generated images, test them on real ones, and test judges on generated ones.

    Args:
        game: The game.
        real: Real images.
        judges: Classifiers that were trained on real images.
        budget: What the classifiers are trained on, and for how long.
        ema: Use averaged weights, if there are any.
        bar: Progress bar.
    """
    sampler = budget.sampler(game, ema)
    make = partial(_generate, game, sampler, budget, ema)
    seeds = [_mixed(budget.seed, classifier, 1) for classifier in range(budget.seeds)]
    epochs = _generated_epochs(make, real.num_classes, budget, seeds[0])
    pupils = _train(epochs, real, budget, seeds, game.device, bar)
    gan_train, ceiling = (_accuracies(networks, real.test, real.test_labels) for networks in (pupils, judges))
    gan_test: tuple[float, ...] = ()
    if judges:
        labels = torch.arange(len(real.test)) % real.num_classes
        gan_test = _accuracies(judges, make(labels, _mixed(budget.seed, 0, 4)), labels)
    acceptance = None if sampler is None else sampler.acceptance
    return FittingCapacityScores(gan_train, ceiling, gan_test, len(real.test), budget, acceptance)


# ---------------------------------------------------------------------- inside


def _train(
    epochs: Epochs, real: RealData, budget: Budget, seeds: Sequence[int], device: torch.device, bar: Any
) -> Judges:
    """Train a classifier for each seed, all on the same images."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        pupils = [_Pupil(real, seed, device) for seed in seeds]
        for epoch, (images, labels) in enumerate(islice(epochs, budget.epochs), 1):
            images, labels = images.to(device), labels.to(device)
            for pupil in pupils:
                pupil.learn(epoch, images, labels)
                if bar is not None:
                    bar.update()
    return [pupil.network.eval() for pupil in pupils]


class _Pupil:
    """A classifier that is trained, its optimizer, and the order in which it sees images."""

    def __init__(self, real: RealData, seed: int, device: torch.device) -> None:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            self.network = _untrained(real).to(device)
        self.optimizer = Adam(self.network.parameters(), lr=LR, beta1=0.5)
        self.order_rng = torch.Generator().manual_seed(seed)

    def learn(self, epoch: int, images: Tensor, labels: Tensor) -> None:
        """Learn from an epoch, counted from 1, of images and labels on the classifier's device."""
        for group in self.optimizer.param_groups:
            group["lr"] = LR * 0.1 ** sum(epoch >= at for at in DECAYED_AT)
        order = torch.randperm(len(images), generator=self.order_rng).to(images.device)
        for chosen in order.split(BATCH):
            logits = self.network(to_float(images[chosen]))
            self.optimizer.zero_grad()
            F.cross_entropy(logits, labels[chosen]).backward()
            self.optimizer.step()


@torch.no_grad()
def _accuracies(networks: Sequence[LeNet], images: Tensor, labels: Tensor) -> tuple[float, ...]:
    accuracies = []
    for network in networks:
        device = next(network.parameters()).device
        with torch.autocast(device.type, enabled=False):
            parts = [network(to_float(part.to(device))).argmax(1).cpu() for part in images.split(CHUNK)]
        accuracies.append(int((torch.cat(parts) == labels).sum()) / len(labels))
    return tuple(accuracies)


def _generate(
    game: LatentGame, sampler: RejectionSampler | None, budget: Budget, ema: bool, labels: Tensor, seed: int
) -> Tensor:
    """Generate uint8 images (n, C, 32, 32) of labels (n,), rounded as in files, on the CPU."""

    def make(part: slice) -> Tensor:
        chosen, own = labels[part], _mixed(seed, part.start // CHUNK, 5)
        if sampler is not None:
            return sampler.sample(len(chosen), chosen, own)
        return game.sample(len(chosen), chosen, ema=ema, seed=own)

    with torch.autocast(game.device.type, torch.bfloat16, enabled=budget.precision == "bf16"):
        batches = rounded(make, range(len(labels)), CHUNK)
        return torch.cat([resize(images.cpu(), SIZE) for _, images in batches])


def _real_epochs(real: RealData, budget: Budget, seed: int) -> Epochs:
    """Yield epochs of real images; each image is used once before any is used again."""
    rng = torch.Generator().manual_seed(seed)
    size = budget.epoch_size(real.num_classes)
    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        while len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(len(real.train), generator=rng)])
        chosen, waiting = waiting[:size], waiting[size:]
        yield real.train[chosen], real.train_labels[chosen]


def _generated_epochs(
    make: Callable[[Tensor, int], Tensor], num_classes: int, budget: Budget, seed: int
) -> Epochs:
    size = budget.epoch_size(num_classes)
    if budget.mode == "fixed":
        labels = torch.arange(size) % num_classes
        yield from repeat((make(labels, seed), labels))
    for epoch in count(1):
        rng = torch.Generator().manual_seed(_mixed(seed, epoch, 2))
        labels = torch.randint(num_classes, (size,), generator=rng)
        yield make(labels, _mixed(seed, epoch, 3)), labels


def _kept(train: Callable[[], Judges], real: RealData, budget: Budget, seed: int, folder: Path) -> LeNet:
    """Return a classifier of real images from its file in a folder; train it if there is none that is whole.

    Of several processes one trains and the others wait.
    """
    about = (PROTOCOL, real.key, budget.epochs, budget.epoch_size(real.num_classes), seed)
    file = folder / f"{hashlib.sha256(str(about).encode()).hexdigest()[:32]}.npz"
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(file, "trains a classifier on the same images"))
            with open_npz(file, "classifier") as stored:
                with torch.device("meta"):  # draws no initial weights
                    network = _untrained(real)
                weights = {name: torch.from_numpy(stored[name]) for name in stored}
                network.load_state_dict(weights, assign=True)
            return network.eval()
        except (OSError, ValueError):  # there is none, or a damaged one, or no such folder
            (network,) = train()
        try:
            arrays = {name: value.numpy(force=True) for name, value in network.state_dict().items()}
            with written_whole(file) as part, part.open("wb") as opened:
                np.savez(opened, **arrays)
        except OSError as error:
            warnings.warn(
                f"a classifier of real images is not kept, the next run trains it anew: {error}; "
                "LIGHTNING_GANS_CACHE names another folder",
                stacklevel=2,
            )
    return network


def _untrained(real: RealData) -> LeNet:
    return LeNet((real.test.shape[1], SIZE, SIZE), real.num_classes)


def _shrunk(data: Data, chosen: Tensor) -> Tensor:
    parts = []
    for chunk in chosen.split(CHUNK):
        parts.append(resize(read_at(data, chunk), SIZE))
    return torch.cat(parts)


def _mixed(*numbers: int) -> int:
    """Mix numbers into one seed, another one for other numbers."""
    result = 0
    for number in numbers:
        result = (result * 1_000_003 + number + 1) % 2**62
    return result
