"""FCN score (pix2pix, CycleGAN): how well a segmentation network recognises generated photographs."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_confusion_matrix

from lightning_gans import checks
from lightning_gans.metrics.extractors import hash_of
from lightning_gans.metrics.states import check_images

PIXELS = 2**18  # that are segmented at once
TINY = 1e-12  # added to denominators, as in pix2pix's script

FACADES_CLASSES = (
    "background", "facade", "window", "door", "cornice", "sill", "balcony", "blind", "deco", "molding",
    "pillar", "shop",
)  # fmt: skip
"""The classes of the CMP facade database, in its order."""
FACADES_PALETTE = (
    (0, 0, 223), (0, 48, 255), (0, 128, 255), (0, 207, 255), (32, 255, 223), (112, 255, 143),
    (191, 255, 64), (255, 239, 0), (255, 159, 0), (255, 80, 0), (255, 0, 0), (175, 0, 0),
)  # fmt: skip
"""Their colours in pix2pix's data set: every fifth of the 64 of MATLAB's map jet."""
PALETTES = {"facades": FACADES_PALETTE}

Palette = Sequence[Sequence[int]] | Tensor | str
"""Colours (K, C) of labels, 0 to 255, or the name of a data set's in :data:`PALETTES`."""


def colours(palette: Palette) -> Tensor:
    """Return the colours of a palette, uint8 (K, C).

    Raises:
        ValueError: If there is none of that name, or they are no colours.
    """
    if isinstance(palette, str):
        checks.one_of(PALETTES, palette=palette)
        palette = PALETTES[palette]
    found = torch.as_tensor(palette)
    checks.shaped(("K", "C"), palette=found)
    if found.dtype.is_floating_point or found.min() < 0 or found.max() > 255:
        raise ValueError(f"palette has {found.dtype} from {found.min()} to {found.max()}: give 0 to 255")
    return found.to(torch.uint8)


class FCNScore(Metric):
    """Agreement of generated images with the label maps that they were made from.

    Photographs are resized to the size of the label maps (bilinear, in bytes, as pix2pix does) and segmented
    there. For the opposite task, photograph to labels, give ``palette`` in place of a network: each pixel
    becomes the label of the nearest colour.

    In an evaluation the label maps come from the data module, if it has ``label_maps(split)``; or they are
    read, by the colours of ``palette``, from the pictures of labels that pix2pix's data sets have.

    Values of different segmentation networks are not comparable: the protocol beside them names the network.
    The papers' is a Caffe FCN-8s of Cityscapes, for which there is no official port. What a network can
    recognise at all is seen by scoring real photographs (``scored: targets``), the papers' row "ground
    truth".

    The confusion matrix is summed over ranks.

    Args:
        num_classes: Number of classes; labels outside 0 to num_classes - 1 are ignored. None: as many as
            palette or segmenter have, else Cityscapes' 19.
        segmenter: Module that makes logits (n, num_classes, h, w), or a mapping with them under "out", of
            images (n, C, H, W) in [0, 1]. Logits of another size are resized to the label map's.
            :class:`~lightning_gans.metrics.segmenter.TrainedSegmenter` is one.
        mean: Subtracted from the images' channels, in [0, 1].
        std: The images' channels are divided by it.
        palette: Colours (num_classes, C) of the labels, 0 to 255, or ``facades``. None: the segmenter's, if
            it has a ``palette``.
        labels: Where an evaluation finds the true labels: ``label_maps`` of the data module, or the pictures
            that are its ``inputs`` (labels to photographs) or its ``targets`` (photographs to labels).
        absent: "zero" counts classes that are not in any label map as 0, as pix2pix's script does; "skip"
            leaves them out of the means.
        scored: What an evaluation scores: the generator's ``translations``, or the real ``targets`` in their
            place, which is the ceiling of a segmenter. Needs pairs.

    Raises:
        ValueError: If there is neither segmenter nor palette, or both where label maps are no pictures; or an
            argument does not fit.
    """

    higher_is_better = True
    full_state_update = False
    scores = ("pixel_accuracy", "class_accuracy", "class_iou", "accuracy_per_class", "iou_per_class")
    confusion: Tensor
    palette: Tensor | None

    def __init__(
        self,
        num_classes: int | None = None,
        segmenter: nn.Module | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        palette: Palette | None = None,
        absent: Literal["zero", "skip"] = "zero",
        labels: Literal["label_maps", "inputs", "targets"] = "label_maps",
        scored: Literal["translations", "targets"] = "translations",
    ) -> None:
        super().__init__()
        checks.one_of(("label_maps", "inputs", "targets"), labels=labels)
        checks.one_of(("translations", "targets"), scored=scored)
        if labels == "label_maps" and (segmenter is None) == (palette is None):
            raise ValueError("segmenter and palette: give FCNScore one of them")
        if labels != "label_maps" and palette is None:
            palette = getattr(segmenter, "palette", None)
            if palette is None:
                raise ValueError(f"labels={labels} are pictures: give the palette of their colours")
        found = None if palette is None else colours(palette)
        if num_classes is None:
            num_classes = len(found) if found is not None else getattr(segmenter, "num_classes", 19)
        _check_arguments(num_classes, absent)
        checks.shaped((num_classes, "C"), palette=found)
        self.wants = ("images" if scored == "translations" else "targets", labels)
        self.num_classes = num_classes
        self.absent = absent
        self.segmenter = segmenter.eval() if segmenter is not None else None
        self.mean, self.std = mean, std
        self.register_buffer("palette", found, persistent=False)
        zeros = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.add_state("confusion", zeros, dist_reduce_fx="sum")

    @property
    def protocol(self) -> dict[str, str]:
        """What was scored, against which labels, and by which network."""
        about = {"scored_images": self.wants[0].replace("images", "translations"), "labels": self.wants[1]}
        if self.segmenter is None:
            return {**about, "segmenter": "nearest colour"}
        if hasattr(self.segmenter, "protocol"):
            return {**about, **self.segmenter.protocol}  # type: ignore[dict-item]
        name = type(self.segmenter).__name__
        return {**about, "segmenter": name, "segmenter_hash": hash_of(self.segmenter)}

    @torch.no_grad()
    def update(self, images: Tensor, label_maps: Tensor) -> None:
        """Add generated images, uint8 (n, C, h, w), and the true label maps (n, H, W).

        With ``labels`` of ``inputs`` or ``targets``, label maps are pictures of them, uint8 (n, C, H, W).
        """
        check_images(images)
        if self.wants[1] != "label_maps":
            assert self.palette is not None
            label_maps = nearest_colours(label_maps, self.palette)
        checks.shaped((len(images), "H", "W"), "whole", label_maps=label_maps)
        known = (label_maps >= 0) & (label_maps < self.num_classes)
        label_maps = label_maps.long().where(known, -1)
        # The logits of one image of 1024x2048 pixels and 19 classes take 160 MB.
        size = max(1, PIXELS // max(1, label_maps[0].numel())) if len(label_maps) else 1
        for part, label_map in zip(images.split(size), label_maps.split(size), strict=True):
            found = self._segment(part, (label_map.shape[1], label_map.shape[2]))
            self.confusion += confusion_matrix(found, label_map, self.num_classes)

    def _segment(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        if self.segmenter is None:
            assert self.palette is not None
            labels = nearest_colours(images, self.palette)
            if labels.shape[1:] != size:
                labels = interpolate(labels[None].float(), size, mode="nearest-exact")[0].long()
            return labels
        values = images.float()
        if values.shape[2:] != size:
            values = interpolate(values, size, mode="bilinear", antialias=True).round().clamp(0, 255)
        values = values / 255
        for numbers, operation in ((self.mean, torch.sub), (self.std, torch.div)):
            if numbers is not None:
                values = operation(values, values.new_tensor(numbers).view(1, -1, 1, 1))
        with torch.autocast(images.device.type, enabled=False):
            logits = self.segmenter(values)
        if isinstance(logits, Mapping):
            logits = logits["out"]
        if logits.dim() != 4 or logits.shape[:2] != (len(images), self.num_classes):
            raise ValueError(
                f"the segmenter makes {tuple(logits.shape)} of {len(images)} images: it should be "
                f"({len(images)}, {self.num_classes}, h, w)"
            )
        if not logits.isfinite().all():
            raise ValueError("the segmenter's logits are not finite")
        if logits.shape[2:] != size:
            logits = interpolate(logits, size, mode="bilinear")
        found: Tensor = logits.argmax(1)
        return found

    def compute(self) -> dict[str, Tensor]:
        """Return the scores that :func:`segmentation_scores` describes."""
        return segmentation_scores(self.confusion, self.absent)


def confusion_matrix(found: Tensor, true: Tensor, num_classes: int) -> Tensor:
    """Return how many pixels of each true class (rows) were taken for which, int64; true -1 is ignored."""
    matrix: Tensor = multiclass_confusion_matrix(
        found, true, num_classes, ignore_index=-1, validate_args=False
    )
    return matrix


def segmentation_scores(confusion: Tensor, absent: Literal["zero", "skip"] = "zero") -> dict[str, Tensor]:
    """Score a confusion matrix as pix2pix's script does.

    Args:
        confusion: Pixels (K, K), true labels in rows.
        absent: "zero" counts classes without a pixel as 0; "skip" leaves them out of the means.

    Returns:
        ``pixel_accuracy``: share of right pixels. ``class_accuracy``: mean share of a class's pixels that are
        right. ``class_iou``: mean intersection over union. ``accuracy_per_class`` and ``iou_per_class`` (K,),
        nan for skipped classes. All float64.

    Raises:
        ValueError: If there is no pixel.
    """
    _check_arguments(len(confusion), absent)
    counts = confusion.double()
    if counts.sum() == 0:
        raise ValueError("there is no pixel with a known label")
    right, true, seen = counts.diagonal(), counts.sum(1), counts.sum(0)
    union = true + seen - right
    accuracy, iou = right / (true + TINY), right / (union + TINY)
    if absent == "skip":
        accuracy, iou = accuracy.where(true > 0, torch.nan), iou.where(union > 0, torch.nan)
    return {
        "pixel_accuracy": right.sum() / (counts.sum() + TINY),
        "class_accuracy": accuracy.nanmean(),
        "class_iou": iou.nanmean(),
        "accuracy_per_class": accuracy,
        "iou_per_class": iou,
    }


def nearest_colours(images: Tensor, palette: Tensor) -> Tensor:
    """Return the label of the nearest colour for each pixel, int64 (n, H, W); of several, the lowest.

    Args:
        images: Pictures of labels, as a generator makes them, uint8 (n, C, H, W).
        palette: Colours (K, C) of the labels, 0 to 255.

    Raises:
        ValueError: If images are not bytes, or colours do not have their channels.
    """
    check_images(images)
    checks.shaped(("K", images.shape[1]), palette=palette)
    values = images.int()
    labels = torch.zeros(len(images), *images.shape[2:], dtype=torch.int64, device=images.device)
    nearest = torch.full_like(labels, torch.iinfo(torch.int64).max)
    # One by one, to need the memory of one image only.
    for label, colour in enumerate(palette.to(images.device).int()):
        distance = (values - colour.view(-1, 1, 1)).square().sum(1)
        labels[distance < nearest] = label
        nearest = torch.minimum(nearest, distance)
    return labels


def _check_arguments(num_classes: int, absent: str) -> None:
    checks.at_least(2, num_classes=num_classes)
    checks.one_of(("zero", "skip"), absent=absent)
