"""The same images, through this package's chain and through those that papers' numbers come from."""

from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics, register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3

from lightning_gans.metrics.extractors import Extractor, Inception
from lightning_gans.metrics.frechet import FID
from lightning_gans.metrics.inception_score import IS
from lightning_gans.metrics.kernel import KID
from lightning_gans.metrics.manifold import PrecisionRecall
from tests.metrics.random_inception import save_random_weights, smooth_images

FEATURES = ["2048", "logits_unbiased"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    file = tmp_path_factory.mktemp("inception") / "random.pth"
    save_random_weights(file)
    return str(file)


def pictures(n):
    """Real and generated images; the generated ones are paler, and vary less."""
    real = smooth_images(n, 32, seed=1)
    fake = smooth_images(n, 32, seed=2)
    return real, (fake.float() * 0.9 + 20).to(torch.uint8)


class Images(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def extract(extractor, images, batch=64):
    parts = [extractor(part) for part in images.split(batch)]
    return [torch.cat(tensors) for tensors in zip(*parts, strict=True)]


def our_scores(extractor, real, fake, subsets=100):
    """The chain as a callback runs it: one pass of each set through the extractor feeds all metrics."""
    metrics = FID(), KID(subsets), PrecisionRecall()
    inception_score = IS(shuffle_seed=2020)
    for images, is_real in ((real, True), (fake, False)):
        for place in range(0, len(images), 64):
            features, logits = extractor(images[place : place + 64])
            index = torch.arange(place, place + len(features))
            for metric in metrics:
                given = (features,) if isinstance(metric, FID) else (features, index)
                metric.update(*given, real=is_real)
            if not is_real:
                inception_score.update(logits, index)
    scores = inception_score.compute()
    for metric in metrics:
        scores |= metric.compute()
    return {key: float(value) for key, value in scores.items()}


def torch_fidelity_scores(real, fake, subsets=100, **extractor):
    scores = calculate_metrics(
        input1=Images(fake),
        input2=Images(real),
        isc=True,
        fid=True,
        kid=True,
        kid_subsets=subsets,
        prc=True,
        cuda=False,
        cache=False,
        verbose=False,
        **extractor,
    )
    names = {
        "fid": "frechet_inception_distance",
        "is": "inception_score_mean",
        "is_std": "inception_score_std",
        "kid": "kernel_inception_distance_mean",
        "kid_std": "kernel_inception_distance_std",
        "precision": "precision",
        "recall": "recall",
        "f_score": "f_score",
    }
    return {ours: scores[theirs] for ours, theirs in names.items()}


def assert_same_scores(ours, theirs):
    print(f"\nours:   {ours}\ntheirs: {theirs}")
    assert ours["fid"] == pytest.approx(theirs["fid"], rel=1e-4)
    for key in ("is", "is_std", "kid", "kid_std"):
        assert ours[key] == pytest.approx(theirs[key], rel=1e-3)
    for key in ("precision", "recall", "f_score"):
        assert ours[key] == pytest.approx(theirs[key], abs=1e-3)
        assert 0.01 < ours[key] < 0.99  # says something
    assert ours["is"] > 1.1


# A stand-in for the network: statistics of many images


class Small(nn.Module):
    """A few colours of an image as features, random combinations as logits."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(48, 20, generator=generator))

    def forward(self, images):
        features = F.adaptive_avg_pool2d(images.float() / 64, 4).flatten(1)
        return features, (features - features.mean(1, keepdim=True)) @ self.weight


class Theirs(FeatureExtractorBase):
    def __init__(self, name, features_list, **_):
        super().__init__(name, features_list)
        self.network = Small()

    def forward(self, images):
        outputs = dict(zip(FEATURES, self.network(images), strict=True))
        return tuple(outputs[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list():
        return tuple(FEATURES)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "logits_unbiased" if metric == "isc" else "2048"

    @staticmethod
    def can_be_compiled():
        return False


class Ours(Extractor):
    def __init__(self):
        super().__init__("small", 3)
        self.network = Small()

    protocol: ClassVar = {}

    def extract(self, images):
        return self.network(images)


def test_scores_of_small_features_are_torch_fidelitys():
    register_feature_extractor("small", Theirs)
    real, fake = pictures(2000)
    theirs = torch_fidelity_scores(real, fake, subsets=10, feature_extractor="small")
    assert_same_scores(our_scores(Ours(), real, fake, subsets=10), theirs)


# The network: features of few images


def test_features_are_torch_fidelitys(weights):
    images, _ = pictures(6)
    theirs = FeatureExtractorInceptionV3("inception-v3-compat", FEATURES, weights)
    expected = theirs(images)
    network = Inception(weights, verify=False)
    for ours, other in zip(network(images), expected, strict=True):
        assert other.std(0).mean() > 0.1  # says something
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(network(images[:2])[0], expected[0][:2], rtol=1e-4, atol=1e-4)


def test_features_of_the_antialiased_resize_are_torchmetrics(weights):
    images, _ = pictures(2)
    expected = NoTrainInceptionV3("inception-v3-compat", FEATURES, weights)(images).view(2, -1)
    features, _ = Inception(weights, resize="antialias", verify=False)(images)
    torch.testing.assert_close(features, expected[:, :2048], rtol=1e-5, atol=1e-4)


def test_grey_is_repeated(weights):
    network = Inception(weights, verify=False)
    grey = pictures(2)[0][:, :1]
    assert torch.equal(network(grey)[0], network(grey.repeat(1, 3, 1, 1))[0])


def test_bf16_is_near(weights):
    images, _ = pictures(2)
    exact, exact_logits = Inception(weights, verify=False)(images)
    network = Inception(weights, precision="bf16", verify=False)
    near, logits = network(images)
    assert network.protocol["precision"] == "bf16"
    assert near.dtype == logits.dtype == torch.float32
    # Random weights amplify rounding more than trained ones.
    assert 1e-4 < (near - exact).norm() / exact.norm() < 0.1
    assert F.cosine_similarity(logits, exact_logits).min() > 0.7


# All of it


@pytest.mark.slow  # 8,000 images through Inception: 20 minutes of one core
def test_scores_are_torch_fidelitys(weights):
    real, fake = pictures(2000)
    theirs = torch_fidelity_scores(
        real,
        fake,
        feature_extractor="inception-v3-compat",  # else precision and recall take another network
        feature_extractor_weights_path=weights,
    )
    assert_same_scores(our_scores(Inception(weights, verify=False), real, fake), theirs)


@pytest.mark.slow  # 1,024 images through Inception: 3 minutes of one core
def test_fid_of_the_antialiased_resize_is_torchmetrics(weights):
    real, fake = pictures(256)
    theirs = FrechetInceptionDistance(antialias=True, feature_extractor_weights_path=weights)
    ours, extractor = FID(), Inception(weights, resize="antialias", verify=False)
    for images, is_real in ((real, True), (fake, False)):
        for part in images.split(64):
            theirs.update(part, real=is_real)
            ours.update(extractor(part)[0], real=is_real)
    ours, theirs = float(ours.compute()["fid"]), float(theirs.compute())
    print(f"\nours: {ours}  theirs: {theirs}")
    assert ours == pytest.approx(theirs, rel=1e-4)
