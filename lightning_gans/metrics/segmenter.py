"""A network that tells the classes of pixels: trained once on real pairs, then the judge of translations."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from lightning_gans import checks
from lightning_gans.data.pairs import UnpairedImages
from lightning_gans.drawing.pixels import to_bytes
from lightning_gans.game.rows import log_scores, show_best
from lightning_gans.game.trial import check_shapes
from lightning_gans.metrics.extractors import hash_of
from lightning_gans.metrics.judge import Judge, judge
from lightning_gans.metrics.segmentation import (
    Palette,
    colours,
    confusion_matrix,
    nearest_colours,
    segmentation_scores,
)
from lightning_gans.networks.rebuild import made, or_default
from lightning_gans.networks.segmenter import ConvSegmenter

SCORES = ("pixel_accuracy", "class_accuracy", "class_iou")
FAR = 64  # levels from the nearest colour: more than the noise of JPEG inside of an area
SegmenterFactory = Callable[[tuple[int, ...], int], nn.Module]
"""Makes a segmenter from ``(input_shape, num_classes)``: a network class, or a ``partial`` of one."""


class DatasetSegmenter(Judge):
    """Tell the class of each pixel of photographs, from pairs of photographs and pictures of their labels.

    Pictures of labels become classes by the nearest colour of the palette, so that the noise of JPEG does
    not matter; they should be resized with ``interpolation_b: nearest``, because mixtures of two colours can
    be those of a third class. The loss is cross entropy, of AdamW and a learning rate that rises and falls
    once. Every checkpoint holds the scores, on the test images, of the weights that are in it.

    Args:
        input_shape: ``(channels, height, width)`` of the photographs.
        image_shape: ``(channels, height, width)`` of the pictures of labels.
        palette: The labels' colours (K, channels), 0 to 255, or the name of a data set's.
        network: The network, or a function that makes it from ``(input_shape, K)``; it maps images in
            [-1, 1] to logits (n, K, height, width). A
            :class:`~lightning_gans.networks.segmenter.ConvSegmenter` by default, or with these arguments.
        balance: How much rare classes count: a pixel has the weight of its class's share of the batch to the
            power of minus this. 0: all pixels alike; 1: all classes alike.
        lr: Peak of the learning rate: it rises for a tenth of the run, and falls to 0 as a cosine.
        weight_decay: AdamW's.

    Raises:
        ValueError: If an argument does not fit, or the data is none of such pairs.
    """

    kind = "segmenter"
    known = ("data_name", "measured", "tested_on")
    palette: Tensor
    _confusion: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        image_shape: tuple[int, ...],
        palette: Palette = "facades",
        network: nn.Module | SegmenterFactory | dict[str, Any] | None = None,
        balance: float = 0.5,
        lr: float = 3e-3,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(lr, weight_decay)
        checks.within("[0, 1]", balance=balance)
        found = colours(palette)
        checks.shaped(("K", image_shape[0]), palette=found)
        self.register_buffer("palette", found, persistent=False)
        self.input_shape, self.image_shape = tuple(input_shape), tuple(image_shape)
        self.num_classes = len(found)
        chosen = or_default(network, lambda: ConvSegmenter, "network", given=2)
        self.network = made("network", chosen, self.input_shape, self.num_classes)
        self.balance = balance
        self.measured: dict[str, float] = {}
        self.tested_on = 0
        self._unseen = True
        self.save_hyperparameters(self.plain_arguments(), logger=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(n, *input_shape)`` in [-1, 1] to logits ``(n, K, height, width)``."""
        logits: Tensor = self.network(images)
        return logits

    def classes(self, pictures: Tensor) -> Tensor:
        """Return the class of each pixel of pictures of labels in [-1, 1], int64 (n, height, width)."""
        return nearest_colours(to_bytes(pictures), self.palette)

    # ------------------------------------------------------------------ training

    def setup(self, stage: str) -> None:
        """Check that the data fits and has its test images, before any long work starts.

        Raises:
            ValueError: If it does not fit.
        """
        data = getattr(self.trainer, "datamodule", None)
        if data is not None and (not hasattr(data, "input_shape") or isinstance(data, UnpairedImages)):
            raise ValueError(
                f"data={type(data).__name__} serves no pairs, but a segmenter needs photographs and pictures "
                "of their labels: use Facades or PairedImages"
            )
        check_shapes(self, data)
        super().setup(stage)
        self._unseen = True

    def on_train_start(self) -> None:
        """Have W&B show the best scores."""
        super().on_train_start()
        show_best(self.trainer, {f"val/{name}": True for name in SCORES})

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the cross entropy of the batch's pixels; the first batch of a run is checked."""
        photographs, pictures = batch
        if self._unseen:
            self._check_colours(pictures)
            self._unseen = False
        labels = self.classes(pictures)
        counts = labels.flatten().bincount(minlength=self.num_classes)
        weights = (counts / labels.numel()).clamp(min=1e-6) ** -self.balance
        loss = cross_entropy(self(photographs), labels, weights)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _check_colours(self, pictures: Tensor) -> None:
        values = to_bytes(pictures).int()
        nearest = self.palette.int()[self.classes(pictures)].movedim(-1, 1)
        far = ((values - nearest).square().sum(1) > FAR**2).float().mean()
        if far > 0.5:
            raise ValueError(
                f"{far:.0%} of the pixels of the first batch's targets have none of the palette's colours: "
                "the targets must be the pictures of labels (direction=AtoB of Facades), of this palette"
            )

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the classes ``(n, height, width)``."""
        found: Tensor = self(batch[0]).argmax(1)
        return found

    def on_validation_epoch_start(self) -> None:
        """Begin with no pixels."""
        self._confusion = self._no_pixels()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count the pixels of held-out images."""
        self._confusion += self._count(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the scores that :func:`~lightning_gans.metrics.segmentation.segmentation_scores` describes."""
        if self.trainer.sanity_checking:
            return
        scores = segmentation_scores(self.trainer.strategy.reduce(self._confusion, reduce_op="sum"))
        stage = "test" if self.trainer.testing else "val"
        log_scores(self, {f"{stage}/{name}": scores[name].float() for name in SCORES})

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def measure(self, loader: Any) -> None:
        """Measure the scores on test images."""
        confusion, n = self._no_pixels(), 0
        for batch in loader:
            confusion += self._count([part.to(self.device) for part in batch])
            n += len(batch[0])
        counts = torch.cat([confusion.flatten(), confusion.new_tensor([n])])
        counts = self.trainer.strategy.reduce(counts, reduce_op="sum")
        if counts[-1] > 0:
            scores = segmentation_scores(counts[:-1].view_as(confusion))
            self.measured = {name: float(scores[name]) for name in SCORES}
            self.tested_on = int(counts[-1])

    def _no_pixels(self) -> Tensor:
        return torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64, device=self.device)

    def _count(self, batch: Sequence[Tensor]) -> Tensor:
        return confusion_matrix(self(batch[0]).argmax(1), self.classes(batch[1]), self.num_classes)


class TrainedSegmenter(nn.Module):
    """A trained :class:`DatasetSegmenter` as the segmenter of :class:`~lightning_gans.metrics.FCNScore`.

    Images of another size are resized to those that it was trained on (bilinear, antialiased). It is never
    trained.

    Args:
        checkpoint: The segmenter, or the path of its checkpoint, or the name of its recipe, such as
            ``segmenter/facades``: then it is trained the first time, and kept in the cache folder.

    Attributes:
        palette: The labels' colours, uint8 (K, C).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of a segmenter.
        OSError: If it cannot be trained.
    """

    palette: Tensor

    def __init__(self, checkpoint: str | Path | DatasetSegmenter = "segmenter/facades") -> None:
        super().__init__()
        segmenter = judge(checkpoint, DatasetSegmenter)
        self.channels, *size = segmenter.input_shape
        self.size, self.num_classes = tuple(size), segmenter.num_classes
        self.network = deepcopy(segmenter.network).requires_grad_(False).eval()
        self.register_buffer("palette", segmenter.palette.clone(), persistent=False)
        measured = "/".join(f"{segmenter.measured[name]:.4f}" for name in SCORES if segmenter.measured)
        self.protocol = {
            "segmenter": f"{segmenter.data_name.lower() or 'dataset'}-segmenter",
            "segmenter_hash": hash_of(self.network),
            "segmenter_size": "x".join(map(str, self.size)),
            "segmenter_scores": f"{measured} of {segmenter.tested_on} images" if measured else "unknown",
        }

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, C, H, W) in [0, 1] to logits (n, K, h, w) at the size of the training."""
        checks.shaped(("n", self.channels, "H", "W"), "float", images=images)
        if images.shape[2:] != self.size:
            images = interpolate(images, self.size, mode="bilinear", antialias=True)
        logits: Tensor = self.network(2 * images - 1)
        return logits

    def train(self, mode: bool = True) -> "TrainedSegmenter":
        """Stay in evaluation mode, also if the module that holds this one is set to training."""
        return super().train(False)
