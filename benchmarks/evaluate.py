"""What FID + IS + KID of 1,000 images cost, beside the feature pass alone and three metrics of torchmetrics.

python benchmarks/evaluate.py [--images 1000] [--chunk 20] [--rounds 5]

The network is the Inception of 2015 with random weights, made here. In every round all variants pass
``chunk`` images, one after the other; a pass of ``images`` is so many times as long. What a metric computes
at the end is timed on ``images`` images in every round. Processor time of one thread.
"""

import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from common import arguments, machine, quiet
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from lightning_gans.metrics import FID, IS, KID, Inception, RealStatistics

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the tests' network
from tests.metrics.random_inception import save_random_weights, smooth_images


def seconds(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    options = arguments(__doc__, images=1000, chunk=20, rounds=5).parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    warnings.filterwarnings("ignore")
    print(machine())
    n = options.images
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        save_random_weights(weights)
        ours = Inception(str(weights), verify=False)
        fast = Inception(str(weights), verify=False, precision="bf16")
        theirs = {
            "FID": FrechetInceptionDistance(feature_extractor_weights_path=str(weights)),
            "IS": InceptionScore(
                NoTrainInceptionV3("inception-v3-compat", ["logits_unbiased"], str(weights))
            ),
            "KID": KernelInceptionDistance(
                NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights)), subset_size=n
            ),
        }
        chunk = smooth_images(options.chunk, 32)
        # What the metrics see at the end: features of many images, made from those of a few.
        rng = torch.Generator().manual_seed(0)
        some, logits = ours(chunk)
        real, fake = (some[torch.randint(len(some), (n,), generator=rng)] for _ in range(2))
        real, fake = (x + 0.1 * torch.randn(x.shape, generator=rng) for x in (real, fake))
        many = logits[torch.randint(len(some), (n,), generator=rng)]

        def at_the_end() -> None:
            index = torch.arange(n)
            fid, kid, score = FID(), KID(subset_size=n), IS()
            for part in index.split(50):
                fid.update(fake[part], real=False)
                kid.update(fake[part], part, real=False)
                score.update(many[part], part)
            # The real side is kept between evaluations.
            fid.take_real(RealStatistics(real.double().mean(0), real.double().T.cov(), n))
            kid.update(real, index, real=True)
            for metric in (fid, kid, score):
                metric.compute()

        def their_end() -> None:
            for name, metric in theirs.items():
                metric.reset()
                if name == "FID":
                    for side, x in (("real", real.double()), ("fake", fake.double())):
                        setattr(metric, f"{side}_features_sum", x.sum(0))
                        setattr(metric, f"{side}_features_cov_sum", x.T @ x)
                        setattr(metric, f"{side}_features_num_samples", torch.tensor(n))
                elif name == "IS":
                    metric.features.append(many)
                else:
                    metric.real_features.append(real)
                    metric.fake_features.append(fake)
                metric._update_count = 1
                metric.compute()
                metric.reset()

        def three_passes() -> None:
            theirs["FID"].update(chunk, real=False)
            theirs["IS"].update(chunk)
            theirs["KID"].update(chunk, real=False)

        variants = {
            "features alone": lambda: ours(chunk),
            "features alone, bf16": lambda: fast(chunk),
            "torchmetrics, three passes": three_passes,
        }
        rows = {name: [] for name in [*variants, "ours, at the end", "torchmetrics, at the end"]}
        for work in variants.values():
            work()
        for _ in range(options.rounds):
            for name, work in variants.items():
                rows[name].append(seconds(work) * n / options.chunk)
            rows["ours, at the end"].append(seconds(at_the_end))
            rows["torchmetrics, at the end"].append(seconds(their_end))
        for name, values in rows.items():
            print(f"{name:28} {statistics.median(values):8.1f} s for {n} images")
        alone, end = rows["features alone"], rows["ours, at the end"]
        other = [
            a + b
            for a, b in zip(rows["torchmetrics, three passes"], rows["torchmetrics, at the end"], strict=True)
        ]
        mine = [a + b for a, b in zip(alone, end, strict=True)]
        for title, below in (("the feature pass alone", alone), ("torchmetrics", other)):
            ratios = [a / b for a, b in zip(mine, below, strict=True)]
            print(
                f"FID + IS + KID by {title}: {statistics.median(ratios):.3f} "
                f"({min(ratios):.3f} to {max(ratios):.3f})"
            )
        quick = [a + b for a, b in zip(rows["features alone, bf16"], end, strict=True)]
        ratios = [a / b for a, b in zip(quick, mine, strict=True)]
        print(f"with bf16 features by with fp32: {statistics.median(ratios):.3f}")
        precise, rough = ours(chunk)[0], fast(chunk)[0]
        error = ((rough - precise).norm() / precise.norm()).item()
        print(f"bf16 features differ by {error:.2%} (norm) of {len(chunk)} images")


if __name__ == "__main__":
    main()
