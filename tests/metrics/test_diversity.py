import math
from itertools import combinations
from urllib.error import URLError

import pytest
import torch
from torch import nn

from lightning_gans.metrics.diversity import (
    LPIPSDiversity,
    PerClassLPIPSDiversity,
    draw_pairs,
    lpips_diversity,
    lpips_network,
)


class Difference(nn.Module):
    """Stands for LPIPS: the mean absolute difference."""

    def forward(self, first, second):
        assert first.shape[1] == 3
        assert first.min() >= -1
        assert first.max() <= 1
        assert not self.training
        return (first - second).abs().mean((1, 2, 3))[:, None, None, None]


class One(nn.Module):
    def forward(self, first, second):
        return (first - second).abs().mean()


NET = Difference().eval()


def images(n, seed=0, channels=3):
    return torch.randint(
        256, (n, channels, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def test_all_pairs():
    samples = images(7)
    values = samples.double() / 127.5 - 1
    expected = sum((values[i] - values[j]).abs().mean() for i, j in combinations(range(7), 2)) / 21
    assert lpips_diversity(samples, NET, batch_size=4).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("n", "num_pairs"), [(2, 5), (50, 1225), (50, 300), (5000, 1000)])
def test_pairs(n, num_pairs):
    pairs = draw_pairs(n, num_pairs, [0])
    assert len(pairs) == min(num_pairs, n * (n - 1) // 2)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert pairs.min() >= 0
    assert pairs.max() < n
    assert len(pairs.unique(dim=0)) == len(pairs)
    assert torch.equal(pairs, draw_pairs(n, num_pairs, [0]))


def test_collapsed_generator():
    assert lpips_diversity(images(1).expand(10, -1, -1, -1), NET) == 0


def test_grey_and_resized():
    grey = images(5, channels=1)
    assert lpips_diversity(grey, NET) == lpips_diversity(grey.expand(-1, 3, -1, -1), NET)
    # larger pixels are no other picture
    large = lpips_diversity(grey, NET, resize=16)
    assert 0 < large < lpips_diversity(grey, NET)


def test_shuffled_batches_give_the_score_of_the_whole():
    samples = images(60)
    metric = LPIPSDiversity(num_samples=40, num_pairs=100, net=Difference(), seed=5)
    before = torch.get_rng_state()
    for index in torch.randperm(60, generator=torch.Generator().manual_seed(0)).split(13):
        metric.update(samples[index], index)
    score = metric.compute()["lpips"]
    assert score.dtype == torch.float64
    assert torch.equal(score, lpips_diversity(samples[:40], NET, num_pairs=100, seed=5))
    assert torch.equal(before, torch.get_rng_state())
    metric.reset()
    with pytest.raises(ValueError, match="there is no sample"):
        metric.compute()


def test_within_classes():
    # two classes of one picture each, a class of two pictures, a class of one sample, an empty class
    first, second, third, fourth = images(4)
    samples = torch.stack([first, first, second, second, second, third, fourth, third])
    labels = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])
    metric = PerClassLPIPSDiversity(5, net=Difference())
    metric.update(samples[:3], labels[:3], torch.arange(3))
    metric.update(samples[3:], labels[3:], torch.arange(3, 8))
    scores = metric.compute()
    between = (third.double() - fourth.double()).abs().mean().item() / 127.5
    per_class = scores["lpips_per_class"].tolist()
    assert per_class[:3] == pytest.approx([0, 0, between], rel=1e-6)
    assert all(math.isnan(value) for value in per_class[3:])
    assert scores["class_lpips_classes"] == 3
    assert scores["class_lpips"].item() == pytest.approx(between / 3, rel=1e-6)


def test_torchvisions_network(monkeypatch):
    pretrained = "torchmetrics.functional.image.lpips._get_tv_model_features"
    from torchmetrics.functional.image.lpips import _get_tv_model_features

    monkeypatch.setattr(pretrained, lambda net, pretrained: _get_tv_model_features(net, False))
    before = torch.get_rng_state()
    net = lpips_network("alex")
    assert torch.equal(before, torch.get_rng_state())
    score = lpips_diversity(images(4), net, resize=64)
    assert 0 < score < 10
    metric = LPIPSDiversity(resize=64)
    metric.update(images(4), torch.arange(4))
    assert metric.compute()["lpips"] > 0
    assert isinstance(metric.net, nn.Module)


def test_without_a_network_connection(monkeypatch):
    def fail(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setattr("torchmetrics.functional.image.lpips._get_tv_model_features", fail)
    metric = LPIPSDiversity(net="vgg", resize=64)  # asks for nothing yet
    metric.update(images(4), torch.arange(4))
    with pytest.raises(OSError, match="weights of VGG16, which cannot be downloaded") as error:
        metric.compute()
    assert "checkpoints" in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_input():
    with pytest.raises(ValueError, match=r"net='inception' is unknown: .* alex, vgg, squeeze"):
        LPIPSDiversity(net="inception")
    with pytest.raises(ValueError, match="num_pairs=0"):
        LPIPSDiversity(num_pairs=0)
    with pytest.raises(ValueError, match="num_samples=1"):
        LPIPSDiversity(num_samples=1)
    with pytest.raises(ValueError, match=r"too small for LPIPS: give resize=64"):
        LPIPSDiversity().update(images(2), torch.arange(2))
    with pytest.raises(ValueError, match="one or three channels"):
        LPIPSDiversity(net=Difference()).update(images(2, channels=2), torch.arange(2))
    with pytest.raises(ValueError, match="1 images have no pair"):
        lpips_diversity(images(1), NET)
    with pytest.raises(ValueError, match=r"labels\[1\]=2"):
        PerClassLPIPSDiversity(2, net=Difference()).update(images(2), torch.tensor([0, 2]), torch.arange(2))
    with pytest.raises(ValueError, match="1 labels for 2 images"):
        PerClassLPIPSDiversity(2, net=Difference()).update(images(2), torch.tensor([0]), torch.arange(2))
    metric = PerClassLPIPSDiversity(2, net=Difference())
    metric.update(images(2), torch.arange(2), torch.arange(2))
    with pytest.raises(ValueError, match="no class has two samples"):
        metric.compute()
    metric = LPIPSDiversity(net=Difference())
    metric.update(images(2), torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="generated sample 1 came twice"):
        metric.compute()
    with pytest.raises(ValueError, match="net made 1 distances of 3 pairs"):
        lpips_diversity(images(3), One())
