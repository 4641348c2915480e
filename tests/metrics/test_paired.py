"""Distances of translations and targets."""

import json
import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from lightning_gans import PairedImages
from lightning_gans.drawing.pixels import to_bytes
from lightning_gans.metrics import L1, LPIPS, PSNR, SSIM
from tests.conformance.shapes import TwoTranslators
from tests.tiny_data import noise, write_labelled

PAIR = noise(20, 3, 16, 17), noise(20, 3, 16, 17, seed=1)


class Distance(nn.Module):
    """The mean absolute difference, of images in [-1, 1]."""

    def forward(self, first, second):
        assert first.shape[1] == 3
        assert -1 <= first.min() < -0.9 < 0.9 < first.max() <= 1
        return (first - second).abs().mean((1, 2, 3), keepdim=True)


def score(metric, *pair):
    for part in zip(*(images.split(7) for images in pair), strict=True):
        metric.update(*part)
    return float(metric.compute()[metric.scores[0]])


def test_l1():
    images, targets = (part.double() / 127.5 - 1 for part in PAIR)
    assert score(L1(), *PAIR) == pytest.approx(float((images - targets).abs().mean()), rel=1e-7)
    assert score(L1(), PAIR[0] * 0, PAIR[0] * 0 + 255) == 2


def test_psnr():
    """The mean of the images' own; 10 log10(255^2 / 5^2) where all pixels are 5 levels apart."""
    images, targets = (part.double().numpy() for part in PAIR)
    each = 10 * np.log10(255**2 / ((images - targets) ** 2).mean((1, 2, 3)))
    assert score(PSNR(), *PAIR) == pytest.approx(each.mean(), rel=1e-6)
    dark = torch.full((3, 1, 4, 4), 10, dtype=torch.uint8)
    assert score(PSNR(), dark, dark + 5) == pytest.approx(34.1514, abs=1e-4)
    assert math.isinf(score(PSNR(), dark, dark))


def test_ssim():
    """Of a constant image and another one: (2 a b + c) / (a^2 + b^2 + c), c = (0.01 * 255)^2."""
    dark = torch.full((3, 1, 16, 16), 50, dtype=torch.uint8)
    c = 2.55**2
    expected = (2 * 50 * 100 + c) / (50**2 + 100**2 + c)
    assert score(SSIM(), dark, dark * 2) == pytest.approx(expected, rel=1e-5)
    assert score(SSIM(), PAIR[0], PAIR[0]) == pytest.approx(1)
    assert score(SSIM(), *PAIR) < 0.2
    apart = [score(SSIM(), *(part[i : i + 1] for part in PAIR)) for i in range(20)]
    assert score(SSIM(), *PAIR) == pytest.approx(np.mean(apart), abs=1e-6)


def test_lpips():
    metric = LPIPS(Distance())
    assert score(metric, *PAIR) == pytest.approx(score(L1(), *PAIR), rel=1e-6)
    grey = [part[:, :1] for part in PAIR]
    assert score(LPIPS(Distance()), *grey) == pytest.approx(score(L1(), *grey), rel=1e-6)
    assert metric.protocol == {"lpips_net": "Distance"}


def test_lpips_without_weights(monkeypatch):
    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchmetrics.functional.image.lpips._get_tv_model_features", fail)
    with pytest.raises(OSError, match=r"weights of VGG16, which cannot be downloaded \(no network\): put"):
        LPIPS("vgg").update(*(part.repeat(1, 1, 2, 2) for part in PAIR))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: L1().update(PAIR[0], PAIR[1][:, :, :8]), r"targets is uint8 .*give uint8 \(20, 3, 16, 17\)"),
        (lambda: PSNR().update(PAIR[0].float(), PAIR[1]), "images is float32"),
        (lambda: SSIM().update(*(part[:, :, :10] for part in PAIR)), "SSIM needs .* 11x11"),
        (lambda: LPIPS().update(*PAIR), "LPIPS needs .* 32x32"),
        (lambda: LPIPS("resnet"), "net='resnet'"),
    ],
)
def test_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_in_an_evaluation(cli, tmp_path):
    """By their names, beside FID; against the real targets of the held-out inputs."""
    write_labelled(tmp_path / "pairs", 6, 16)
    data = PairedImages(str(tmp_path / "pairs"), image_size=16, batch_size=2, cache=False)
    game = TwoTranslators(data.input_shape, data.image_shape)
    trainer = Trainer(max_steps=1, logger=False, enable_checkpointing=False, limit_val_batches=0,
                      enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")  # fmt: skip
    trainer.fit(game, data)
    trainer.save_checkpoint(tmp_path / "game.ckpt")
    cli("evaluate", tmp_path / "game.ckpt", "--data=PairedImages", f"--data.folder={tmp_path / 'pairs'}",
        "--data.image_size=16", "--metrics=[FID,L1,PSNR,SSIM]", "--extractor=tests.metrics.tiny.MeanColour",
        "--json=scores.json")  # fmt: skip
    found = json.loads((tmp_path / "scores.json").read_text())
    inputs, targets = map(torch.cat, zip(*data.val_dataloader(), strict=True))
    pair = to_bytes(game.eval().translate(inputs, seed=0)), to_bytes(targets)
    for metric in (L1, PSNR, SSIM):
        assert found[metric.scores[0]] == pytest.approx(score(metric(), *pair), rel=1e-4)
    assert found["samples"] == found["real_samples"] == 6
