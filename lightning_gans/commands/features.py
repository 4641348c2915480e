"""Classify images by the features of a discriminator, with a linear SVM; draw what excites them."""

import json as json_format
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from lightning_gans import checks
from lightning_gans.commands.evaluate import call_as_in_the_run, set_up
from lightning_gans.data.base import ImageDataModule, free_memory
from lightning_gans.data.loader import to_float
from lightning_gans.data.selection import mostly_unlabeled
from lightning_gans.drawing.grids import labelled_grid, shrunk
from lightning_gans.drawing.pixels import as_png
from lightning_gans.files import write_whole
from lightning_gans.game.checkpoints import load
from lightning_gans.game.latent_game import LatentGame
from lightning_gans.game.sides import Side
from lightning_gans.metrics.evaluation import RealImages, real_images_of
from lightning_gans.metrics.svm import C_GRID, Labelled, SVMErrors, svm_count, svm_errors
from lightning_gans.networks.features import GRID, averaged_batch_norm, feature_maps, pooled_features
from lightning_gans.networks.guided import guided_backpropagation

Features = NDArray[np.float32]  # (N, d)

BATCH = 128
"""Images of a batch, whose statistics the authors average for batch norm."""
SHOWN, IMAGES = 6, 9
"""Features in the picture, and images that excite each most."""
LIBLINEAR = 24
"""Bytes that a feature of an image takes while an SVM is trained: float64, and liblinear's pairs."""


def run(arguments: list[str]) -> None:
    """Run ``features`` with arguments from the command line; the data is by default that of the run."""
    call_as_in_the_run(features, arguments, ("data",))


def features(
    ckpt_path: str,
    data: LightningDataModule | None = None,
    num_labels: int | Literal["all"] = 1000,
    draws: int = 100,
    c: tuple[float, ...] = C_GRID,
    val_fraction: float = 1 / 6,
    baselines: bool = True,
    out: str | None = "guided.png",
    seed: int = 0,
    device: str | None = None,
    json: str | None = None,
    trusted: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Classify images by the features of a trained discriminator, and draw what excites its last ones.

    The features are the maps of all hidden convolutions after their activation, max-pooled to 4x4 and joined;
    the classifier is a linear SVM with an L2 penalty. Batch norm uses the mean of the statistics of batches
    of 128 training images. A discriminator that sees labels gets none (Radford et al., 2015, sections 5 and
    6.2, and the authors' code).

    Args:
        ckpt_path: The checkpoint of a game from latents to images, or the folder of its run; the option's
            name may be left out.
        data: Labelled images with a test split, which are resized to what the discriminator was trained on.
            Default: the data of the run, where the paper has other data.
        num_labels: Training images that have a label, equally many of each class, in each of several draws;
            or ``all`` of them, and one SVM.
        draws: How many times they are drawn. A tenth of the draws chooses C. 0: no SVM, the picture alone.
        c: The SVM's C to choose from.
        val_fraction: Share of the training images by which C is chosen. They are in no draw; the one SVM of
            ``all`` images is trained on them, too, once C is chosen.
        baselines: Classify by the features of an untrained discriminator and by pixels, too, with the same
            draws; and draw the untrained discriminator beside the trained one.
        out: The picture, a ``.png``: for the first 6 features of the last hidden convolution the 9 test
            images that excite each most, and their guided backpropagation. None: no picture.
        seed: Decides draws and random filters.
        device: The device, such as ``cpu`` or ``cuda``. Default: a GPU if there is one.
        json: Write what is returned to this file.
        trusted: Modules whose classes the checkpoint may name; once for each.

    Returns:
        Without draws nothing; else ``error``, which has for ``discriminator``, ``random filters`` and
        ``pixels`` the mean test ``error`` in [0, 1], 1.96 standard deviations over the draws (``interval``),
        the ``errors`` of all draws, the chosen ``c``, the ``validation`` errors by C, and the number of
        ``features``; and the ``protocol``.

    Raises:
        ValueError: If an argument is out of range, the discriminator has no convolution with an activation,
            or the data does not fit: images of other channels, no labels, fewer than classes.
    """
    checks.at_least(0, draws=draws)
    checks.seed(seed=seed)
    checks.within("(0, 1)", val_fraction=val_fraction)
    for each in c:
        checks.positive(c=each)
    if not c:
        raise ValueError("c=(): give at least one to choose from")
    if num_labels != "all":
        checks.at_least(1, num_labels=num_labels)
    if not draws and (out is None or json is not None):
        raise ValueError(
            f"draws=0: there is no SVM, and out={out}, json={json}: draw once, or ask for a picture"
        )
    if data is None:
        raise ValueError("data=None: the run says none, give the images to classify, as in --data MNIST")
    checks.writable_file(json=json)
    checks.writable_file((".png",), out=out)
    place = checks.device(device)
    game: Any = load(ckpt_path, trusted=trusted)
    if not isinstance(game, LatentGame):
        raise ValueError(f"ckpt_path={ckpt_path}: a {type(game).__name__} is no game from latents to images")
    game = game.replica(0).to(place)
    shapes = _shapes(game)
    dims = [shape[0] * math.prod(min(GRID, side) for side in shape[1:]) for shape in shapes]
    judges: dict[str, LatentGame | None] = {"discriminator": game}
    if baselines:
        try:
            judges["random filters"] = game.another(seed).to(place).eval()
        except ValueError as error:
            raise ValueError(f"baselines=True: {error}, or leave them out: --baselines false") from error
        judges |= {"pixels": None} if draws else {}
    train, test = _images(data, "train", game.image_shape), _images(data, "test", game.image_shape)
    sets = _Sets(train, test, num_labels, draws, val_fraction, seed) if draws else None
    known = 0 if sets is None else len(sets.known)
    _check_memory(sum(dims), test.count, known, whole=num_labels == "all")

    errors: dict[str, Any] = {}
    columns: list[Tensor] = []
    for kind, judge in judges.items():
        if judge is not None:
            _average_batch_norm(judge, train, kind)
        of_test = _features(judge, test, torch.arange(test.count), f"{kind}: test images")
        if sets is not None:
            of_train = _features(judge, train, sets.known, f"{kind}: training images")
            errors[kind] = _plain(sets.errors(of_train, of_test, c, seed, kind), of_test.shape[1])
        if judge is not None and out is not None:
            last = torch.from_numpy(of_test[:, -dims[-1] :]).reshape(test.count, shapes[-1][0], -1)
            columns.append(_most_exciting(judge, test, last[:, :SHOWN].amax(2)))
    report: dict[str, Any] = {}
    if sets is not None:
        network = type(game.discriminator).__name__
        about: dict[str, Any] = {"scored": ckpt_path, "network": network, "maps": shapes}
        about |= {"train": train.key, "test": test.key, **sets.protocol, "c": list(c), "seed": seed}
        report = {"error": errors, "protocol": about}
        print(_table(report))
    if json is not None:
        write_whole(json, json_format.dumps(report, indent=1) + "\n")
    if out is not None:
        write_whole(out, as_png(_picture(columns, list(judges), shapes[-1])))
        print(f"what excites the last features: {out}")
    return report


class _Sets:
    """The labelled images: what is drawn from the training images, what C is chosen by, what is tested.

    Attributes:
        known: Places of all training images that are used, ascending, int64 (n,).
        protocol: What there is to say of them.
    """

    def __init__(
        self,
        train: RealImages,
        test: RealImages,
        num_labels: int | Literal["all"],
        draws: int,
        val_fraction: float,
        seed: int,
    ) -> None:
        labelled, self._tested = ((x.labels >= 0).nonzero().squeeze(1) for x in (train, test))
        classes = len(train.labels[labelled].unique())
        if classes < 2 or not len(self._tested):
            found = f"{classes} classes in training, and {len(self._tested)} labelled test images"
            raise ValueError(
                f"data={train.key['data']} has {found}: an SVM needs two classes, which both splits have; "
                "--draws 0 draws the picture alone"
            )
        # They are in a random order.
        validation, rest = labelled.tensor_split([round(val_fraction * len(labelled))])
        if not len(validation) or not len(rest):
            raise ValueError(
                f"val_fraction={val_fraction} leaves {len(validation)} images to choose C by and {len(rest)} "
                "to train on: give another share, or more images"
            )
        self._whole = num_labels == "all"
        if num_labels == "all":
            drawn = [rest]
        else:
            labels, seeds = train.labels[rest], range(seed * draws, (seed + 1) * draws)  # no two alike
            drawn = [rest[mostly_unlabeled(labels, num_labels, each) >= 0] for each in seeds]
        self.known = torch.cat([validation, *drawn]).unique()
        places = [torch.searchsorted(self.known, each).numpy() for each in (validation, *drawn)]
        self._validation, self._draws = places[0], places[1:]
        self._labels, self._test_labels = train.labels[self.known], test.labels[self._tested]
        self.protocol = {
            "num_labels": len(labelled) if self._whole else num_labels,
            "draws": len(drawn),
            "validation_images": len(validation),
            "test_images": len(self._tested),
        }

    def errors(self, known: Features, test: Features, c: Sequence[float], seed: int, doing: str) -> SVMErrors:
        """Train and test SVMs on features of the ``known`` training images and of all test images."""
        tested = Labelled(test[self._tested.numpy()], self._test_labels.numpy())
        samples = Labelled(known, self._labels.numpy())
        count = svm_count(self._draws, c, self._whole)
        with tqdm(total=count, desc=f"{doing}: SVMs", delay=2, leave=False) as bar:
            return svm_errors(
                samples, self._draws, self._validation, tested, c, self._whole, seed, bar.update
            )


def _judging(game: LatentGame, images: Tensor) -> Callable[[Tensor], Any]:
    """Return what shows images to the discriminator, with what belongs to these images but no labels."""
    side = game.real_side(Side(images, torch.full((len(images),), -1, device=images.device)))
    return lambda shown: game.judge(replace(side, images=shown))


@torch.no_grad()
def _shapes(game: LatentGame) -> list[tuple[int, ...]]:
    """Return the shapes (features, h, w) of the maps of each hidden convolution.

    Raises:
        ValueError: If there are none, or images without labels cannot be judged.
    """
    name = type(game.discriminator).__name__
    images = torch.zeros(2, *game.image_shape, device=game.device)
    try:
        maps = feature_maps(_judging(game, images), images)
    except (RuntimeError, LookupError, TypeError) as error:
        raise ValueError(f"{name} cannot judge images without labels: {checks.first_line(error)}") from error
    if not maps:
        raise ValueError(
            f"the discriminator of this {type(game).__name__}, {name}, has no convolution with an activation "
            "after it, whose maps could be features: give a run of a convolutional one"
        )
    return [tuple(each.shape[1:]) for each in maps]


def _images(data: LightningDataModule, split: Literal["train", "test"], shape: tuple[int, ...]) -> RealImages:
    """Return the images of a split at the discriminator's size.

    Raises:
        ValueError: If they are of another shape.
    """
    if not isinstance(data, ImageDataModule):
        set_up(data, split)
    images = real_images_of(data, split, shape[1] if shape[1] == shape[2] else None)
    if images.shape != shape:
        name = type(data).__name__
        raise ValueError(
            f"data={name} has images {images.shape}, but the discriminator judges {shape}: give others"
        )
    return images


def _check_memory(size: int, tested: int, known: int, whole: bool) -> None:
    """Refuse more features than fit into memory.

    Args:
        size: Features of an image.
        tested: Test images, whose features become float64 when they are classified.
        known: Other images.
        whole: Whether one SVM is trained on all of these.

    Raises:
        ValueError: If so.
    """
    needed, free = size * (12 * tested + (4 + LIBLINEAR * whole) * known), free_memory()
    if needed > free:
        raise ValueError(
            f"{size:,} features of {tested + known:,} images need {needed / 2**30:,.1f} GiB of memory and "
            f"{free / 2**30:,.1f} are free: give fewer num_labels or draws, or less data, by --data.limit"
        )


@torch.no_grad()
def _average_batch_norm(game: LatentGame, train: RealImages, doing: str) -> None:
    """Give the discriminator's batch norms the mean of the statistics of batches of training images."""
    if not any(isinstance(part, _BatchNorm) for part in game.discriminator.modules()):
        return
    size = min(BATCH, train.count)
    with averaged_batch_norm(game.discriminator):
        for places in _bar(torch.arange(train.count // size * size), size, f"{doing}: batch norm"):
            images = to_float(train.at(places)).to(game.device)
            _judging(game, images)(images)


@torch.no_grad()
def _features(game: LatentGame | None, images: RealImages, places: Tensor, doing: str) -> Features:
    """Return the features of the images at some places, or their pixels, a row an image."""
    rows, start = np.empty((0, 0), np.float32), 0
    for part in _bar(places, BATCH, doing):
        batch = to_float(images.at(part))
        if game is not None:
            batch = batch.to(game.device)
            batch = pooled_features(feature_maps(_judging(game, batch), batch))
        found = batch.flatten(1).float().cpu().numpy()
        if start == 0:
            rows = np.empty((len(places), found.shape[1]), np.float32)
        rows[start : start + len(part)] = found
        start += len(part)
    return rows


def _bar(places: Tensor, size: int, doing: str) -> Iterator[Tensor]:
    """Yield places in batches, and show how far it is."""
    with tqdm(total=len(places), desc=doing, unit=" images", delay=2, leave=False) as bar:
        for part in places.split(size):
            yield part
            bar.update(len(part))


def _most_exciting(game: LatentGame, images: RealImages, maxima: Tensor) -> Tensor:
    """Return for each feature its views, and below them the images that excite it most.

    Args:
        game: The game of the discriminator.
        images: The images.
        maxima: (N, features): what each image excites of each of the first features of the last layer.

    Returns:
        (2 * features, 9, C, H, W) in [-1, 1]; each view is stretched to this range.
    """
    rows = []
    for feature, each in enumerate(maxima.T):
        shown = to_float(images.at(each.topk(min(IMAGES, len(each))).indices)).to(game.device)
        views = guided_backpropagation(_judging(game, shown), shown, feature)
        low, high = (extreme.reshape(-1, 1, 1, 1) for extreme in views.flatten(1).aminmax(dim=1))
        rows += [((views - low) / (high - low).clamp(min=1e-12)) * 2 - 1, shown]
    return torch.stack(rows).cpu()


def _picture(columns: Sequence[Tensor], names: Sequence[str], shape: tuple[int, ...]) -> Image.Image:
    """Draw the views and images of one discriminator beside those of another."""
    sheet = torch.cat(list(columns), 1)
    each = columns[0].shape[1]
    headings = [
        name if i == each // 2 else "" for name, _ in zip(names, columns, strict=False) for i in range(each)
    ]
    rows = [text for i in range(len(sheet) // 2) for text in (f"feature {i}", "of images")]
    title = f"guided backpropagation, last hidden convolution ({'x'.join(map(str, shape))})"
    picture = labelled_grid(shrunk(sheet.flatten(0, 1)), sheet.shape[1], title, rows, headings)
    return picture.convert("L") if sheet.shape[2] == 1 else picture


def _plain(found: SVMErrors, size: int) -> dict[str, Any]:
    return {
        "error": found.mean,
        "interval": found.interval,
        "errors": list(found.test),
        "c": found.c,
        "validation": {f"{c:g}": error for c, error in found.validation.items()},
        "features": size,
    }


def _table(report: dict[str, Any]) -> str:
    """Say in a few lines what came out."""
    about = report["protocol"]
    lines = [
        f"SVMs of {about['num_labels']:,} labels of {about['train']['data']}, draws: {about['draws']}; C by "
        f"{about['validation_images']:,} other images; test errors of {about['test_images']:,} images"
    ]
    for kind, found in report["error"].items():
        spread = f" ± {found['interval']:.2%}" if about["draws"] > 1 else ""
        lines.append(
            f"  {kind:16}{found['error']:.2%}{spread}  C {found['c']:g}, {found['features']:,} features"
        )
    return "\n".join(lines)
