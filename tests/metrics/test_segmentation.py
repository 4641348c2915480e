import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchmetrics.functional.classification import multiclass_confusion_matrix

from lightning_gans.metrics.segmentation import (
    FCNScore,
    nearest_colours,
    segmentation_scores,
)

COLOURS = torch.tensor([[128, 64, 128], [244, 35, 232], [70, 70, 70], [0, 0, 142]])
KNOWN = torch.tensor([[50, 10, 0], [5, 20, 5], [0, 0, 0]])


class Colours(nn.Module):
    """Logits are minus the squared distances to the colours."""

    def __init__(self, shrink=1, out=False):
        super().__init__()
        self.shrink, self.out = shrink, out
        self.sizes = []

    def forward(self, images):
        assert not self.training
        self.sizes.append(tuple(images.shape))
        images = images[:, :, :: self.shrink, :: self.shrink]
        logits = -(images[:, None] - (COLOURS / 255)[None, :, :, None, None]).square().sum(2)
        return {"out": logits} if self.out else logits


def label_maps(n=3, size=12, seed=0):
    return torch.randint(4, (n, size, size), generator=torch.Generator().manual_seed(seed))


def painted(labels):
    return COLOURS.to(torch.uint8)[labels].permute(0, 3, 1, 2)


def test_known_answer():
    scores = segmentation_scores(KNOWN)
    assert scores["pixel_accuracy"].item() == pytest.approx(0.7777778, abs=1e-7)
    assert scores["class_accuracy"].item() == pytest.approx(0.5, abs=1e-7)
    assert scores["class_iou"].item() == pytest.approx(0.4230769, abs=1e-7)
    skipped = segmentation_scores(KNOWN, absent="skip")
    assert skipped["class_accuracy"].item() == pytest.approx(0.75)
    assert skipped["accuracy_per_class"].isnan().tolist() == [False, False, True]
    # five pixels were taken for the absent class: it has a union, and an intersection over it of 0
    assert skipped["class_iou"].item() == pytest.approx(0.4230769, abs=1e-7)
    assert all(score.dtype == torch.float64 for score in scores.values())


def test_equal_to_the_script():
    rng = np.random.default_rng(0)
    true, found = rng.integers(-1, 7, 1000), rng.integers(0, 5, 1000)
    counts = np.zeros((5, 5))
    for a, b in zip(true, found, strict=True):
        if 0 <= a < 5:
            counts[a, b] += 1
    metric = FCNScore(5, palette=torch.arange(5)[:, None])
    metric.update(
        torch.from_numpy(found).to(torch.uint8).view(1, 1, 20, 50), torch.from_numpy(true).view(1, 20, 50)
    )
    np.testing.assert_array_equal(metric.confusion.numpy(), counts)
    scores = segmentation_scores(metric.confusion)
    right = np.diag(counts)
    union = counts.sum(1) + counts.sum(0) - right
    assert scores["pixel_accuracy"].item() == pytest.approx(right.sum() / (counts.sum() + 1e-12), abs=1e-14)
    assert scores["class_accuracy"].item() == pytest.approx(np.mean(right / (counts.sum(1) + 1e-12)))
    assert scores["class_iou"].item() == pytest.approx(np.mean(right / (union + 1e-12)))


@pytest.mark.parametrize("options", [{"palette": COLOURS}, {"segmenter": Colours(out=True)}])
def test_perfect_images(options):
    metric = FCNScore(4, **options)
    labels = label_maps()
    labels[0, :2] = 255  # unlabelled
    metric.update(painted(labels.clamp(max=3)), labels)
    scores = metric.compute()
    for name in ("pixel_accuracy", "class_accuracy", "class_iou"):
        assert scores[name].item() == pytest.approx(1, abs=1e-9)
    assert metric.confusion.sum() == 3 * 144 - 24


def test_images_are_resized_as_pillow_does():
    seen = []

    class Keep(Colours):
        def forward(self, images):
            seen.append(images)
            return super().forward(images)

    image = torch.randint(256, (1, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    FCNScore(4, Keep()).update(image, torch.zeros(1, 24, 24, dtype=torch.int64))
    pillow = Image.fromarray(image[0].permute(1, 2, 0).numpy()).resize((24, 24), Image.Resampling.BILINEAR)
    ours = (seen[0][0] * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(ours - np.asarray(pillow)).max() <= 1  # Pillow rounds twice


def test_small_logits_are_enlarged():
    labels = label_maps(1, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)
    metric = FCNScore(4, Colours(shrink=2))
    metric.update(painted(labels), labels)
    assert metric.compute()["pixel_accuracy"] > 0.6


def test_normalisation():
    class Check(Colours):
        def forward(self, images):
            torch.testing.assert_close(images.amax(), torch.tensor((1 - 0.5) / 0.25))
            return super().forward(images)

    image = torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    FCNScore(4, Check(), mean=[0.5] * 3, std=[0.25] * 3).update(
        image, torch.zeros(1, 4, 4, dtype=torch.int64)
    )


def test_nearest_colours():
    labels = label_maps()
    noise = torch.randint(-20, 21, (3, 3, 12, 12), generator=torch.Generator().manual_seed(0))
    images = (painted(labels).int() + noise).clamp(0, 255).to(torch.uint8)
    assert torch.equal(nearest_colours(images, COLOURS), labels)
    distances = torch.cdist(images.permute(0, 2, 3, 1).reshape(-1, 3).double(), COLOURS.double())
    assert torch.equal(nearest_colours(images, COLOURS).flatten(), distances.argmin(1))
    between = torch.full((1, 1, 2, 2), 5, dtype=torch.uint8)
    assert not nearest_colours(between, torch.tensor([[0], [10]])).any()  # of two, the first


def test_labels_of_another_size():
    labels = label_maps(2, 8)
    metric = FCNScore(4, palette=COLOURS)
    metric.update(painted(labels), labels.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert metric.compute()["pixel_accuracy"].item() == pytest.approx(1)


def test_batches_give_the_score_of_the_whole():
    labels, others = label_maps(6), label_maps(6, seed=1)
    metric = FCNScore(4, Colours())
    for part in range(0, 6, 4):
        metric.update(painted(others[part : part + 4]), labels[part : part + 4])
    whole = segmentation_scores(multiclass_confusion_matrix(others, labels, 4))
    for name, score in metric.compute().items():
        assert torch.equal(score, whole[name]), name
    metric.reset()
    with pytest.raises(ValueError, match="no pixel with a known label"):
        metric.compute()


def test_bad_input():
    labels = label_maps(1, 4)
    images = painted(labels)
    with pytest.raises(ValueError, match="segmenter and palette"):
        FCNScore()
    with pytest.raises(ValueError, match="segmenter and palette"):
        FCNScore(4, Colours(), palette=COLOURS)
    with pytest.raises(ValueError, match=r"palette is .*give \(19, 3\)"):
        FCNScore(19, palette=COLOURS)
    with pytest.raises(ValueError, match=r"palette='facade'.*facades"):
        FCNScore(palette="facade")
    with pytest.raises(ValueError, match="give 0 to 255"):
        FCNScore(palette=COLOURS / 255)
    with pytest.raises(ValueError, match="give the palette"):
        FCNScore(4, Colours(), labels="inputs")
    with pytest.raises(ValueError, match="absent='drop'"):
        FCNScore(4, Colours(), absent="drop")
    with pytest.raises(ValueError, match=r"it should be \(1, 19, h, w\)"):
        FCNScore(19, Colours()).update(images, labels)
    with pytest.raises(ValueError, match=r"images is float32"):
        FCNScore(4, Colours()).update(images.float(), labels)
    with pytest.raises(ValueError, match=r"label_maps is float32"):
        FCNScore(4, Colours()).update(images, labels.float())
    with pytest.raises(ValueError, match=r"give whole \(1, H, W\)"):
        FCNScore(4, Colours()).update(images, labels[:, :, 0])
    with pytest.raises(ValueError, match=r"palette is .*give \(4, 1\)"):
        nearest_colours(images[:, :1], COLOURS)
