"""Run by two processes (torch.distributed.run), and in one: every score of the same samples; writes JSON."""

import torch
import torch.distributed as dist

from lightning_gans.metrics.balance import ClassBalance
from lightning_gans.metrics.base import Contract
from lightning_gans.metrics.evaluation import Evaluation, RealImages
from lightning_gans.metrics.frechet import FID, PerClassFID, feature_statistics
from lightning_gans.metrics.inception_score import IS, ModifiedIS
from lightning_gans.metrics.kernel import KID
from lightning_gans.metrics.manifold import DensityCoverage, PrecisionRecall
from lightning_gans.metrics.neighbours import FeatureNeighbours, NearestNeighbours
from lightning_gans.metrics.parzen import ParzenLikelihood
from lightning_gans.metrics.statistics import RealStatistics
from lightning_gans.metrics.stream import Samples
from lightning_gans.metrics.swd import SWD
from tests.metrics.tiny import TinyExtractor

REAL, FAKE, SIZE, CLASSES = 331, 257, 24, 5


def samples(n, seed):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES - 1, (n,), generator=rng)  # a class stays empty
    features = torch.randn(n, SIZE, generator=rng) + 0.3 * labels[:, None] + 0.1 * seed
    return {
        "features": features,
        "labels": labels,
        "logits": 2 * torch.randn(n, CLASSES, generator=rng),
        "index": torch.arange(n),
        "order": torch.arange(n),
    }


def batches(data, rank, world):
    """The share of a rank, in batches whose last ones are uneven."""
    place = torch.arange(rank, len(data["index"]), world)
    return [{name: values[part] for name, values in data.items()} for part in place.split(50)]


def update(metric, data, rank, world, **side):
    for batch in batches(data, rank, world):
        metric.update(*(batch[name] for name in Contract(metric).wants), **side)


def scores(rank, world):
    real, fake = samples(REAL, 1), samples(FAKE, 2)
    metrics = {
        "fid": FID(),
        "per class": PerClassFID(CLASSES),
        "kid": KID(subsets=5, subset_size=100),
        "precision": PrecisionRecall(),
        "density": DensityCoverage(),
        "is": IS(splits=7),
        "is, shuffled": IS(splits=7, shuffle_seed=2020),
        "is, whole": IS(splits=1),
        "mis": ModifiedIS(),
    }
    results = {}
    for name, metric in metrics.items():
        for _ in range(2):  # a second evaluation knows nothing of the first
            metric.reset()
            if Contract(metric).compares:
                update(metric, real, rank, world, real=True)
                update(metric, fake, rank, world, real=False)
            else:
                update(metric, fake, rank, world)
            results[name] = metric.compute()

    metric, known = FID(), RealStatistics(*feature_statistics(real["features"]))
    for ranks in ((0,), (0, 1)):
        metric.reset()
        if rank in ranks:
            metric.take_real(known)
        update(metric, fake, rank, world, real=False)
        results[f"fid, statistics on {len(ranks)}"] = metric.compute()

    for name, metric in (
        ("fid", FID()),
        ("kid", KID(subsets=5, subset_size=100)),
        ("is", IS(splits=7)),
    ):
        if rank == 0:  # the other one has not a single sample
            for side in ({"real": True}, {"real": False}) if Contract(metric).compares else ({},):
                update(metric, real if side.get("real") else fake, 0, 1, **side)
        results[f"{name}, one rank idle"] = metric.compute()
    results |= evaluated(rank, world)
    return {name: {key: value.tolist() for key, value in values.items()} for name, values in results.items()}


def evaluated(rank, world):
    """All metrics through one pass, as a training run does it; the second time with the statistics kept."""
    rng = torch.Generator().manual_seed(0)
    real, fake = (torch.randint(256, (n, 1, 16, 16), dtype=torch.uint8, generator=rng) for n in (REAL, FAKE))
    labels = [torch.arange(n) % 10 for n in (REAL, FAKE)]
    metrics = [
        FID(), PerClassFID(10), KID(subsets=5, subset_size=100), PrecisionRecall(), DensityCoverage(),
        IS(splits=7),
        ModifiedIS(), SWD(16, patches=8, directions=8), ClassBalance(), NearestNeighbours(9, 3),
        FeatureNeighbours(9, 3), ParzenLikelihood(num_validation=5),
    ]  # fmt: skip
    evaluation = Evaluation(
        metrics, TinyExtractor(), count=FAKE, batch_size=50, rank=rank, world_size=world, progress=False
    )
    results = {}
    for time in (1, 2):
        share = evaluation.share(FAKE)
        batches = [
            Samples(fake[part[0] : part[-1] + 1], torch.tensor(part), labels[1][part[0] : part[-1] + 1])
            for part in (list(share)[i : i + 50] for i in range(0, len(share), 50))
        ]
        values = evaluation.run(batches, RealImages(real, labels[0], {"data": "noise"})).values
        results[f"evaluation {time}"] = values
    return results


def found(folder):
    return scores(dist.get_rank(), dist.get_world_size())
