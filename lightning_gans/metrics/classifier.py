"""A classifier of a data set's images: trained once, then used to score what games generate."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_gans.checks import within
from lightning_gans.game.rows import show_best
from lightning_gans.metrics.extractors import Extractor, hash_of, resized
from lightning_gans.metrics.judge import Judge, judge
from lightning_gans.metrics.stacked import stacked_labels
from lightning_gans.networks.classifier import ConvClassifier

ClassifierFactory = Callable[[tuple[int, ...], int], nn.Module]
"""Makes a classifier from ``(image_shape, num_classes)``: a network class, or a ``partial`` of one."""


class DatasetClassifier(Judge):
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

    kind = "classifier"
    known = ("data_name", "accuracy", "tested_on")

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        network: nn.Module | ClassifierFactory | None = None,
        lr: float = 2e-3,
        weight_decay: float = 1e-2,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        if not num_classes:
            raise ValueError(f"num_classes={num_classes}: a DatasetClassifier needs data with labels")
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
        self.label_smoothing = label_smoothing
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
        super().setup(stage)

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

    def measure(self, loader: Any) -> None:
        """Measure the accuracy on labelled test images."""
        counts = torch.zeros(2, dtype=torch.int64, device=self.device)
        for images, labels, *_ in loader:
            right = self(images.to(self.device)).argmax(1) == labels.to(self.device)
            counts += torch.stack([right.sum(), (labels >= 0).sum().to(self.device)])
        right, n = self.trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        if n > 0:
            self.accuracy, self.tested_on = right / n, n


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
        classifier = judge(checkpoint, DatasetClassifier)
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
