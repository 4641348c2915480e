"""What metrics say of themselves; metrics of others; functions and classes that go together."""

import inspect
import subprocess
import sys
import warnings
from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchmetrics.functional.image import peak_signal_noise_ratio as psnr
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from lightning_gans import metrics as m
from lightning_gans.metrics.base import Contract, score_names, snake_case
from lightning_gans.metrics.evaluation import Evaluation, RealImages
from lightning_gans.metrics.stream import Samples

from .own import Brightness, MeanFeature, NeedsColour, Pixels, Two
from .tiny import TinyExtractor

METRICS = [
    name for name in m.__all__ if isinstance(getattr(m, name), type) and issubclass(getattr(m, name), Metric)
]
OURS = [name for name in METRICS if not hasattr(getattr(m, name), "take_game")]  # the others with games
N, PALETTE = 20, [[0, 0, 0], [255, 255, 255]]
MEANS, COVARIANCES = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.eye(2).expand(2, 2, 2)


class Distance(nn.Module):
    def forward(self, x, y):
        return (x - y).abs().mean((1, 2, 3))


def data(real):
    generator = torch.Generator().manual_seed(int(real))
    images = torch.randint(0, 256, (N, 1, 32, 32), dtype=torch.uint8, generator=generator)
    return {
        "images": images,
        "samples": torch.randn(N, 2, generator=generator),
        "features": torch.randn(N, 3, generator=generator),
        "logits": torch.randn(N, 2, generator=generator),
        "labels": torch.arange(N) % 2,
        "modes": torch.arange(N) % 4,
        "targets": torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=generator),
        "label_maps": torch.randint(2, (N, 32, 32), generator=generator),
        "index": torch.arange(N),
        "order": torch.arange(N),
    }


FAKE, REAL = data(False), data(True)


def per_class_fid():
    values = []
    for label in (0, 1):
        real, fake = (m.feature_statistics(x["features"][x["labels"] == label]) for x in (REAL, FAKE))
        values.append(m.frechet_distance(*real[:2], *fake[:2]))
    return {"intra_fid": torch.stack(values).mean()}


def fid():
    real, fake = (m.feature_statistics(x["features"]) for x in (REAL, FAKE))
    return {"fid": m.frechet_distance(*real[:2], *fake[:2])}


def near(prefix, key):
    distances, _ = m.nearest_neighbours(FAKE[key][:16], REAL[key])
    return {f"{prefix}_distance": distances[:, 0].mean()}


def class_lpips():
    images, labels = FAKE["images"], FAKE["labels"]
    each = [m.lpips_diversity(images[labels == label], Distance(), 1000) for label in (0, 1)]
    return {"class_lpips": torch.stack(each).mean()}


def parzen():
    centres, real = (x["images"].double() / 255 for x in (FAKE, REAL))
    estimate = m.parzen_estimate(centres, real[:5], real[5:15], [0.2])
    return {"parzen": estimate.mean, "parzen_error": estimate.standard_error, "parzen_sigma": 0.2}


def fcn():
    found = m.nearest_colours(FAKE["images"].expand(-1, 3, -1, -1), torch.tensor(PALETTE))
    return m.segmentation_scores(multiclass_confusion_matrix(found, FAKE["label_maps"], 2))


def paired(name, function, **options):
    pair = (FAKE[side].float() for side in ("images", "targets"))
    return {name: torch.as_tensor(function(*pair, **options)).double().mean()}


TWINS = {
    "FID": ({}, fid),
    "PerClassFID": ({"num_classes": 2}, per_class_fid),
    "IS": ({"splits": 2}, lambda: m.inception_score(FAKE["logits"], 2)),
    "ModifiedIS": ({}, lambda: m.modified_inception_score(FAKE["logits"])),
    "KID": (
        {"subset_size": 10, "subsets": 2},
        lambda: m.kernel_distance(REAL["features"], FAKE["features"], 2, 10),
    ),
    "PrecisionRecall": ({}, lambda: m.precision_recall(REAL["features"], FAKE["features"])),
    "DensityCoverage": ({}, lambda: m.density_coverage(REAL["features"], FAKE["features"])),
    "SWD": (
        {"patches": 2, "directions": 4},
        lambda: m.sliced_wasserstein(REAL["images"], FAKE["images"], 2, 4),
    ),
    "ModeCoverage": (
        {"means": MEANS, "covariances": COVARIANCES},
        lambda: m.mode_coverage(FAKE["samples"], MEANS, COVARIANCES),
    ),
    "MixtureJSD": (
        {"means": MEANS, "covariances": COVARIANCES},
        lambda: m.mixture_jsd(REAL["samples"], FAKE["samples"], MEANS, COVARIANCES),
    ),
    "StackedModes": ({"num_modes": 4}, lambda: m.mode_count_and_kl(FAKE["modes"], 4)),
    "ClassBalance": ({}, lambda: m.class_balance(FAKE["logits"].argmax(1), 2)),
    "TopProbability": ({}, lambda: {"top_probability": FAKE["logits"].softmax(1).amax(1).mean()}),
    "NearestNeighbours": ({}, lambda: near("neighbour", "images")),
    "FeatureNeighbours": ({}, lambda: near("feature_neighbour", "features")),
    "ParzenLikelihood": (
        {"num_centres": N, "num_validation": 5, "num_points": 10, "sigmas": [0.2]},
        parzen,
    ),
    "LPIPSDiversity": (
        {"net": Distance()},
        lambda: {"lpips": m.lpips_diversity(FAKE["images"], Distance())},
    ),
    "PerClassLPIPSDiversity": ({"net": Distance(), "num_classes": 2}, class_lpips),
    "FCNScore": ({"num_classes": 2, "palette": PALETTE}, fcn),
    "L1": ({}, lambda: paired("l1", lambda x, y: (x - y).abs() / 127.5)),
    "PSNR": (
        {},
        lambda: paired("psnr", psnr, data_range=255.0, reduction="none", dim=(1, 2, 3)),
    ),
    "SSIM": ({}, lambda: paired("ssim", ssim, data_range=255.0)),
    "LPIPS": ({"net": Distance()}, lambda: paired("lpips", lambda x, y: (x - y).abs() / 127.5)),
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.filterwarnings("ignore")
def test_class_and_function_are_one_and_its_scores_are_named(name):
    arguments, function = TWINS[name]
    metric = Contract(getattr(m, name)(**arguments))
    for real in (False, True) if metric.compares else (False,):
        given = dict(REAL if real else FAKE)
        if name == "FCNScore":
            given["images"] = given["images"].expand(-1, 3, -1, -1)
        metric.update(given, real)
    found, expected = metric.compute(), function()
    for score, value in expected.items():
        torch.testing.assert_close(found[score].double(), torch.as_tensor(value).double(), equal_nan=True)
    scores = score_names(name)
    for score, value in found.items():
        assert any(fnmatchcase(score, pattern) for pattern in scores), score
        assert value.dim() == score.endswith("_per_class")
    if not name.endswith("Neighbours"):  # whose others need held-out images
        assert all(any(fnmatchcase(score, pattern) for score in found) for pattern in scores)


def test_all_functions_are_public():
    called = inspect.getsource(sys.modules[__name__])
    functions = [name for name in m.__all__ if inspect.isfunction(getattr(m, name)) and name != "score_names"]
    assert {name for name in functions if f"m.{name}(" not in called} <= {
        "fooling_rate", "parzen_log_likelihood", "stacked_labels"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("metric", "wants", "compares", "real_needs"),
    [
        (FrechetInceptionDistance(Pixels()), ("images",), True, "images"),
        (MeanFeature(), ("features",), True, "features"),
        (Brightness(), ("images",), False, None),
        (m.FID(), ("features",), True, "statistics"),
        (m.IS(), ("logits", "order"), False, None),
        (m.SWD(), ("images", "order"), True, "images"),
        (m.FCNScore(2, palette=PALETTE, labels="targets"), ("images", "targets"), False, None),
    ],
)
def test_what_update_says(metric, wants, compares, real_needs):
    contract = Contract(metric)
    assert (contract.wants, contract.compares, contract.real_needs) == (wants, compares, real_needs)


def test_names():
    assert [snake_case(name) for name in ("FID", "KernelMMD", "FrechetInceptionDistance")] == [
        "fid", "kernel_mmd", "frechet_inception_distance"
    ]  # fmt: skip
    assert score_names("lightning_gans.metrics.KID") == ("kid", "kid_std")
    assert score_names("no.such.Metric") == score_names(Brightness) == ()


def images(seed, n=60):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8, generator=generator)


def run(*metrics, fake=None, extractor=None):
    fake = images(1) if fake is None else fake
    evaluation = Evaluation(metrics, extractor, count=len(fake), progress=False)
    real = RealImages(images(2), torch.full((60,), -1), {"data": "noise"})
    evaluation.try_out(RealImages(fake, torch.full((len(fake),), -1), {}), real)
    return evaluation.run([Samples(fake, torch.arange(len(fake)))], real).values


def test_metrics_of_torchmetrics_are_fed_as_by_hand():
    metric = FrechetInceptionDistance(Pixels())
    metric.update(images(1), real=False)
    metric.update(images(2), real=True)
    by_hand = metric.compute()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = run(
            FrechetInceptionDistance(Pixels()), KernelInceptionDistance(Pixels(), subset_size=20, subsets=3)
        )
    assert float(found["frechet_inception_distance"]) == pytest.approx(float(by_hand), rel=1e-4)
    assert {"kernel_inception_distance", "kernel_inception_distance_1"} <= found.keys()


def test_metrics_of_ones_own():
    extractor = TinyExtractor()
    found = run(MeanFeature(), Brightness(), extractor=extractor)
    real, fake = (extractor(images(seed))[0].mean() for seed in (2, 1))
    assert float(found["mean_feature"]) == pytest.approx(float(real - fake), abs=1e-6)
    assert float(found["brightness"]) == pytest.approx(float(images(1).float().mean()), rel=1e-6)


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (Two(), "Two.update takes preds and target: call its arguments by what they take"),
        (NeedsColour(), r"NeedsColour.update cannot take images uint8 \(2, 1, 8, 8\)"),
        (MeanFeature(), "extractor=None, but MeanFeature needs features"),
        (nn.Identity(), "Identity is no torchmetrics.Metric"),
        (m.FCNScore(2, palette=PALETTE), "FCNScore needs label_maps of the samples, and there are none"),
    ],
)
def test_what_does_not_fit_is_said_in_a_line(metric, words):
    with pytest.raises(ValueError, match=words) as caught:
        run(metric)
    assert "\n" not in str(caught.value)


def test_label_maps_come_as_pictures():
    """Of pix2pix's data sets: colours stand for labels, in the input or in the target."""
    maps = torch.randint(2, (6, 8, 8), generator=torch.Generator().manual_seed(0))
    pictures = torch.tensor(PALETTE, dtype=torch.uint8)[maps].permute(0, 3, 1, 2)
    wrong = pictures.clone()
    wrong[:, :, :4] = 255 - wrong[:, :, :4]
    metric = m.FCNScore(2, palette=PALETTE, labels="targets")
    metric.update(wrong, pictures)
    assert float(metric.compute()["pixel_accuracy"]) == pytest.approx(0.5)
    reads = m.FCNScore(2, segmenter=nn.Conv2d(3, 2, 1), palette=PALETTE, labels="inputs")
    reads.update(wrong, pictures)
    assert 0 <= float(reads.compute()["pixel_accuracy"]) <= 1
    with pytest.raises(ValueError, match="give the palette"):
        m.FCNScore(2, segmenter=nn.Conv2d(3, 2, 1), labels="inputs")


WITHOUT = """
import importlib.metadata as metadata, sys

class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torch_fidelity":
            raise ModuleNotFoundError(name)

def missing(function):
    def wrapped(name):
        if name.replace("-", "_") == "torch_fidelity":
            raise metadata.PackageNotFoundError(name)
        return function(name)
    return wrapped

sys.meta_path.insert(0, Missing())
metadata.version, metadata.distribution = map(missing, (metadata.version, metadata.distribution))
import lightning_gans.metrics as m
m.Inception()
print([name for name in ("torch_fidelity", "wandb") if name in sys.modules])
"""


def test_torch_fidelity_is_needed_by_nothing_but_the_inception_network():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
