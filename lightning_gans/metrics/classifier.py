"""A classifier of a data set's images: trained once, then used to score what games generate."""

import hashlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from lightning_gans import __version__
from lightning_gans.checks import existing_file, positive, within, writable_folder
from lightning_gans.data.base import DataModule
from lightning_gans.data.cache import cache_folder
from lightning_gans.data.loader import first_loader
from lightning_gans.files import locked, recipes_folder
from lightning_gans.game.checkpoints import SelfContained, load
from lightning_gans.game.rows import show_best
from lightning_gans.metrics.extractors import Extractor, hash_of, resized
from lightning_gans.metrics.stacked import stacked_labels
from lightning_gans.networks.classifier import ConvClassifier
from lightning_gans.networks.rebuild import class_path

_KNOWN = ("data_name", "accuracy", "tested_on")  # stored in a checkpoint beside the weights
ClassifierFactory = Callable[[tuple[int, ...], int], nn.Module]
"""Makes a classifier from ``(image_shape, num_classes)``: a network class, or a ``partial`` of one."""


class DatasetClassifier(SelfContained):
    """Classify the images of a data set: cross entropy, AdamW, a learning rate that rises and falls once.

    Unlabeled images (-1) are left out. Every checkpoint holds the accuracy, on the test images, of the
    weights that are in it, so that scores by this classifier can say how good it is.

    Args:
        image_shape: ``(channels, size, size)``.
        num_classes: Number of classes of the data.
        network: The network, or a function that makes it from ``(image_shape, num_classes)``; it has
            ``features_and_logits(images)``. :class:`~lightning_gans.networks.classifier.ConvClassifier` by
            default.
        lr: Peak of the learning rate: it rises for a tenth of the run, and falls to 0 as a cosine.
        weight_decay: AdamW's.
        label_smoothing: Share of the target that goes to all classes alike.

    Raises:
        ValueError: If an argument does not fit, or the data has no labels.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        network: nn.Module | ClassifierFactory | None = None,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not num_classes:
            raise ValueError(f"num_classes={num_classes}: a DatasetClassifier needs data with labels")
        positive(lr=lr)
        within("[0, inf)", weight_decay=weight_decay)
        within("[0, 1)", label_smoothing=label_smoothing)
        self.image_shape = tuple(image_shape)
        self.num_classes = num_classes
        network = network if network is not None else ConvClassifier
        self.network = network if isinstance(network, nn.Module) else network(self.image_shape, num_classes)
        if not hasattr(self.network, "features_and_logits"):
            raise ValueError(
                f"network={type(self.network).__name__} has no features_and_logits(images): derive it from "
                "ConvClassifier, or write that method"
            )
        self.lr, self.weight_decay, self.label_smoothing = lr, weight_decay, label_smoothing
        self.data_name = ""
        self.accuracy: float | None = None
        self.tested_on = 0
        self.save_hyperparameters(self.plain_arguments(), logger=False)

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images ``(n, *image_shape)`` in [-1, 1] to features ``(n, d)`` and logits ``(n, K)``."""
        features, logits = self.network.features_and_logits(images)  # type: ignore[operator]
        return features, logits

    def forward(self, images: Tensor) -> Tensor:
        """Map images in [-1, 1] to logits."""
        return self.features_and_logits(images)[1]

    # ------------------------------------------------------------------ training

    def setup(self, stage: str) -> None:
        """Check that the data fits and has its test images, before any long work starts.

        Raises:
            ValueError: If it does not fit.
        """
        data = getattr(self.trainer, "datamodule", None)
        views = getattr(data, "view_names", ())
        if views:
            raise ValueError(
                f"data={type(data).__name__} serves {' and '.join(views)}, but a classifier needs images and "
                "labels"
            )
        shape = tuple(getattr(data, "image_shape", self.image_shape))
        if shape != self.image_shape:
            raise ValueError(f"image_shape={self.image_shape} of the model is not that of the data, {shape}")
        if isinstance(data, DataModule) and data.has_test_split:
            data.setup("test")

    def configure_optimizers(self) -> Any:
        """Make AdamW and the schedule of its learning rate."""
        updates = self.trainer.estimated_stepping_batches
        if math.isinf(updates):
            raise ValueError("a classifier's learning rate falls to 0: say when, with trainer.max_epochs")
        optimizer = torch.optim.AdamW(self.parameters(), self.lr, weight_decay=self.weight_decay)
        # Not torch's OneCycleLR, which fails if a resumed run has more epochs than before.
        schedule = LambdaLR(optimizer, partial(_one_cycle, updates=int(updates)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Have W&B show the best loss and accuracy."""
        super().on_train_start()
        show_best(self.trainer, {"val/accuracy": True, "val/loss": False})

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the cross entropy of the labelled images of the batch."""
        logits, labels = self(batch[0]), batch[1]
        loss = F.cross_entropy(
            logits, labels, ignore_index=-1, reduction="sum", label_smoothing=self.label_smoothing
        ) / (labels >= 0).sum().clamp(min=1)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log loss and accuracy on held-out images."""
        self._held_out("val", *batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log loss and accuracy on the test images."""
        self._held_out("test", *batch)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the classes ``(n,)``."""
        classes: Tensor = self(batch[0]).argmax(1)
        return classes

    def _held_out(self, stage: str, images: Tensor, labels: Tensor) -> None:
        images, labels = images[labels >= 0], labels[labels >= 0]
        if len(labels) == 0:
            return
        logits = self(images)
        row = {
            f"{stage}/loss": F.cross_entropy(logits, labels),
            f"{stage}/accuracy": (logits.argmax(1) == labels).float().mean(),
        }
        self.log_dict(row, batch_size=len(labels), prog_bar=True, sync_dist=True)

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Measure the accuracy of the weights that are saved, and store it with them. All ranks call this."""
        super().on_save_checkpoint(checkpoint)
        self._measure()
        checkpoint["classifier"] = {name: getattr(self, name) for name in _KNOWN}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is one of this classifier, and read its accuracy.

        Raises:
            ValueError: If it is not.
        """
        super().on_load_checkpoint(checkpoint)
        for name in _KNOWN:
            setattr(self, name, checkpoint["classifier"][name])

    def _measure(self) -> None:
        loader = self._test_loader()
        if loader is None:
            return
        counts = torch.zeros(2, dtype=torch.int64, device=self.device)
        mode = self.training
        self.eval()
        with torch.no_grad():
            for images, labels, *_ in loader:
                right = self(images.to(self.device)).argmax(1) == labels.to(self.device)
                counts += torch.stack([right.sum(), (labels >= 0).sum().to(self.device)])
        self.train(mode)
        right, n = self.trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        if n > 0:
            self.accuracy, self.tested_on = right / n, n

    def _test_loader(self) -> Any:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self.data_name = type(data).__name__ if data is not None else self.data_name
        if isinstance(data, DataModule):
            if data.has_test_split:
                data.setup("test")
                return data.test_dataloader()
            return data.val_dataloader() or None
        return first_loader(self.trainer.val_dataloaders)


def _one_cycle(step: int, updates: int) -> float:
    rise = max(1, updates // 10)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - rise) / max(1, updates - rise)))


class Progress(Callback):
    """Print how many updates are done, of how many, a line each, for the process that waits for them."""

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Print it at each twentieth update."""
        if trainer.global_step % 20 == 0:
            print(trainer.global_step, trainer.estimated_stepping_batches, flush=True)


def trained(recipe: str) -> SelfContained:
    """Return the classifier of a recipe from the cache folder; train it if there is none that can be read.

    The file is named by a hash of the recipe's text and this package's version; only a finished training
    leaves one. Of several processes one trains and the others wait. The data is read from the folder
    ``LIGHTNING_GANS_DATA``; that is the ``data.root`` of a command whose classifier it is.

    Args:
        recipe: Name of the recipe, such as ``classifier/digits``.

    Raises:
        ValueError: If there is no such recipe.
        OSError: If the cache folder cannot be written, or the training fails; with the last line of its
            output.
    """
    config = recipes_folder() / f"{recipe}.yaml"
    existing_file(checkpoint=config)
    if ".." in config.parts:  # a file must not name another's configuration, which is a program
        raise ValueError(f"checkpoint={recipe}: there is no such recipe")
    key = hashlib.sha256(config.read_bytes() + __version__.encode()).hexdigest()[:16]
    file = cache_folder() / "classifiers" / f"{recipe.replace('/', '-')}-{key}.ckpt"
    if (found := _readable(file)) is not None:
        return found
    writable_folder(LIGHTNING_GANS_CACHE=file.parent)
    with locked(file, f"trains {recipe}"):
        if (found := _readable(file)) is not None:  # of the process that this one waited for
            return found
        for leftover in file.parent.glob(f"{file.name}.*.part"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        print(f"training {recipe}, once; it is kept in {file}", file=sys.stderr)
        _train(recipe, config, file)
        return load(file)


def _readable(file: Path) -> SelfContained | None:
    """Return a classifier from the cache; None if it is missing, damaged, or of a class that is no more."""
    try:
        found = load(file)
    except Exception:
        return None
    return found if isinstance(found, DatasetClassifier) else None


def _train(recipe: str, config: Path, file: Path) -> None:
    # Without the variables that would make it one of this run's ranks, or give it this run's settings.
    own = (
        "PL_", "LIGHTNING_GANS__", "RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_",
        "TORCHELASTIC_",
    )  # fmt: skip
    place = file.with_name(f"{file.name}.{uuid4().hex}.part")
    place.mkdir()
    try:
        given = {
            "default_root_dir": place,
            "enable_progress_bar": "false",
            "callbacks+": class_path(Progress),
        }
        with (
            (place / "errors.txt").open("w+") as errors,
            subprocess.Popen(
                [sys.executable, "-m", "lightning_gans", "fit", "--config", str(config)]
                + [f"--trainer.{name}={value}" for name, value in given.items()],
                env={name: value for name, value in os.environ.items() if not name.startswith(own)},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as run,
        ):
            try:
                assert run.stdout is not None
                with tqdm(desc=f"training {recipe}", unit=" updates", leave=False) as bar:
                    for line in run.stdout:
                        if re.fullmatch(r"[0-9]+ [0-9]+\n", line):
                            bar.n, bar.total = map(int, line.split())
                            bar.refresh()
            except BaseException:  # such as Ctrl-C: nobody waits for it any more
                run.kill()
                raise
        stored = sorted(place.rglob("last.ckpt"))
        if run.returncode or not stored:
            lines = (place / "errors.txt").read_text().split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), "it left no checkpoint")
            with suppress(ValueError):  # not ended by a signal
                number = -run.returncode if run.returncode < 0 else run.returncode - 128
                reason = f"it was stopped by {signal.Signals(number).name}"
            raise OSError(f"{recipe} could not be trained: {reason.removeprefix('lightning-gans: ')}")
        stored[-1].replace(file)
    finally:
        shutil.rmtree(place, ignore_errors=True)


class ClassifierExtractor(Extractor):
    """A trained :class:`DatasetClassifier` as the extractor of features and logits for metrics.

    Images of another size are resized to the classifier's (bilinear, antialiased).

    Args:
        checkpoint: The classifier, or the path of its checkpoint, or the name of its recipe, such as
            ``classifier/mnist``: then it is trained the first time, and kept in the cache folder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of a classifier.
        OSError: If it cannot be trained.
    """

    def __init__(self, checkpoint: str | Path | DatasetClassifier) -> None:
        classifier: Any = checkpoint
        if isinstance(checkpoint, str | Path):
            by_recipe = isinstance(checkpoint, str) and checkpoint.startswith("classifier/")
            classifier = trained(str(checkpoint)) if by_recipe else load(checkpoint)
        if not isinstance(classifier, DatasetClassifier):
            raise ValueError(
                f"checkpoint={checkpoint} is one of a {type(classifier).__name__}, not of a "
                "DatasetClassifier: train one with lightning-gans fit --config classifier/..."
            )
        super().__init__(f"{classifier.data_name.lower() or 'dataset'}-classifier", classifier.image_shape[0])
        self.size, self.num_classes = classifier.image_shape[-1], classifier.num_classes
        self.accuracy, self.tested_on = classifier.accuracy, classifier.tested_on
        self.network = deepcopy(classifier.network).requires_grad_(False).eval()
        self._hash = hash_of(self.network)

    @property
    def protocol(self) -> dict[str, str]:
        """Name, hash of the weights, resize, and accuracy with the number of test images behind it."""
        accuracy = "unknown" if self.accuracy is None else f"{self.accuracy:.4f} of {self.tested_on}"
        return {
            "extractor": self.name,
            "hash": self._hash,
            "resize": f"antialias-{self.size}",
            "precision": "fp32",
            "accuracy": accuracy,
        }

    def extract(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classifier's features and logits."""
        size = (self.size, self.size)
        x = images.float() if images.shape[-2:] == size else resized(images, self.size, "antialias")
        features, logits = self.network.features_and_logits(x / 127.5 - 1)  # type: ignore[operator]
        return features, logits

    def classify_channels(self, images: Tensor) -> Tensor:
        """Return the modes of stacked digits, by classifying each channel as a grey image.

        Args:
            images: uint8 (n, 3, H, W).

        Returns:
            int64 (n,), ``100 a + 10 b + c`` for the digits a, b, c in red, green and blue.

        Raises:
            ValueError: If the images have not 3 channels, or this is no classifier of 10 grey classes.
        """
        if (self.channels, self.num_classes) != (1, 10):
            raise ValueError(
                f"{self.name} reads {self.channels} channels and knows {self.num_classes} classes: stacked "
                "digits need one of grey images and 10 classes (--config classifier/mnist)"
            )
        if images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(f"images have shape {tuple(images.shape)}: (n, 3, H, W) is needed")
        return stacked_labels(self(images.flatten(0, 1).unsqueeze(1))[1].unflatten(0, (-1, 3)))
