"""How good generated digits are, by the judgement of a small classifier of real ones.

    python benchmarks/mnist_quality.py classifier             # trains it once, half a minute
    python benchmarks/mnist_quality.py score --ckpt runs/dcgan/mnist/version_0/checkpoints/last.ckpt [--raw]
    python benchmarks/mnist_quality.py textbook --minutes 10       # the textbook loop in the same budget
    python benchmarks/mnist_quality.py precision --seeds 0 1 2 --updates 1000   # fp32 and bf16-mixed compared

MNIST is looked for as the package does (LIGHTNING_GANS_DATA). The classifier is kept under --out with its
accuracy. A score is over 10,000 samples: the share of each digit, the mean of the top probability, and the
Frechet distance between samples and the 10,000 test digits in the classifier's 128 features.
"""

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
from common import machine, quiet, silent_trainer
from lightning import seed_everything
from textbook import Textbook
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lightning_gans import DCGAN, MNIST, load
from lightning_gans.data.loader import MemoryLoader, to_float
from lightning_gans.drawing.grids import image_grid

SIZE = 32
SAMPLES = 10_000
NEEDED_ACCURACY = 0.985


class Classifier(nn.Module):
    """A small CNN: images (N, 1, 32, 32) in [-1, 1] to 10 logits, over 128 features."""

    def __init__(self) -> None:
        super().__init__()

        def stage(inputs: int, outputs: int) -> list[nn.Module]:
            return [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]

        self.body = nn.Sequential(
            *stage(1, 16), *stage(16, 32), *stage(32, 64), nn.Flatten(), nn.Linear(64 * 16, 128), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(128, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


def digits(split: str) -> tuple[Tensor, Tensor]:
    """uint8 images (N, 1, 32, 32), resized as the data module does it, and labels (N,)."""
    return MNIST(image_size=SIZE, download=False).real_images(split)[:2]


def judged(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (N, 10) and features (N, 128) of images in [-1, 1]."""
    probabilities, features = [], []
    with torch.no_grad():
        for part in images.split(500):
            features.append(classifier.body(part))
            probabilities.append(classifier.head(features[-1]).softmax(1))
    return torch.cat(probabilities), torch.cat(features)


def train_classifier(epochs: int, seed: int = 0) -> dict:
    """Train on the 60,000 training digits; the result is what `get_classifier` stores."""
    torch.manual_seed(seed)
    classifier = Classifier().to(memory_format=torch.channels_last)
    batches = MemoryLoader(*digits("train"), 128, shuffle=True, drop_last=True, seed=seed)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=2e-3, fused=True)
    steps = epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            cross_entropy(classifier(images), labels).backward()
            optimizer.step()
            schedule.step()
    classifier.eval()
    images, labels = digits("test")
    probabilities, features = judged(classifier, to_float(images))
    return {
        "weights": classifier.state_dict(),
        "accuracy": (probabilities.argmax(1) == labels).double().mean().item(),
        "top_probability": probabilities.amax(1).double().mean().item(),
        "mean": features.double().mean(0),
        "covariance": features.double().T.cov(),
    }


class Judge:
    """The classifier, and what it says about the real test digits."""

    def __init__(self, out: Path, epochs: int = 1) -> None:
        path = out / "classifier.pt"
        if not path.exists():
            start = time.process_time()
            stored = train_classifier(epochs)
            print(f"classifier trained in {time.process_time() - start:.0f} s of CPU time: {path}")
            out.mkdir(parents=True, exist_ok=True)
            torch.save(stored, path)
        self.stored = torch.load(path, weights_only=True)
        self.classifier = Classifier()
        self.classifier.load_state_dict(self.stored["weights"])
        self.classifier.eval()
        self.accuracy, self.top_probability = self.stored["accuracy"], self.stored["top_probability"]
        if self.accuracy < NEEDED_ACCURACY:
            raise SystemExit(f"the classifier has only {self.accuracy:.2%} on the test digits: delete {path}")

    def describe(self) -> str:
        return (
            f"classifier: {self.accuracy:.2%} of the test digits right, "
            f"mean top probability on them {self.top_probability:.3f}"
        )

    def score(self, images: Tensor) -> dict:
        """Judge images (N, 1, 32, 32) in [-1, 1]."""
        # As files would hold them: 256 levels.
        images = to_float(images.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8))
        probabilities, features = judged(self.classifier, images)
        shares = probabilities.argmax(1).bincount(minlength=10).double() / len(images)
        features = features.double()
        return {
            "shares": [round(share, 4) for share in shares.tolist()],
            "min_share": shares.min().item(),
            "max_share": shares.max().item(),
            "top_probability": probabilities.amax(1).double().mean().item(),
            "fid": frechet(
                self.stored["mean"], self.stored["covariance"], features.mean(0), features.T.cov()
            ),
            "samples": len(images),
        }


def frechet(mean1: Tensor, covariance1: Tensor, mean2: Tensor, covariance2: Tensor) -> float:
    """Squared Frechet distance of two Gaussians, in double precision.

    The trace of sqrt(A B) is that of sqrt(sqrt(A) B sqrt(A)): symmetric, so its eigenvalues are real.
    """
    values, vectors = torch.linalg.eigh(covariance1.double())
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariance2.double() @ root).clamp_min(0).sqrt().sum()
    distance = (mean1 - mean2).double().square().sum() + covariance1.trace() + covariance2.trace() - 2 * cross
    return distance.item()


def show(name: str, score: dict) -> None:
    """Print one score."""
    shares = "  ".join(f"{digit}: {share:.1%}" for digit, share in enumerate(score["shares"]))
    print(
        f"{name}: shares {score['min_share']:.1%} to {score['max_share']:.1%}, "
        f"top probability {score['top_probability']:.3f}, FID {score['fid']:.2f} ({score['samples']} samples)"
        f"\n    {shares}",
        flush=True,
    )


def store(out: Path, name: str, score: dict) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(score, indent=1))


def textbook(minutes: float, seed: int) -> tuple[Tensor, int, float]:
    """Train the textbook loop for so long; return samples, updates and images a second."""
    torch.manual_seed(seed)
    loop = Textbook((1, SIZE, SIZE))
    data = MemoryLoader(*digits("train"), 128, shuffle=True, drop_last=True, seed=seed)
    start, updates = time.perf_counter(), 0
    while time.perf_counter() - start < 60 * minutes:
        for images, _ in data:
            loop.step(images)
            updates += 1
            if updates % 500 == 0:
                print(
                    f"  {updates} updates, losses D {loop.losses[0]:.2f}, G {loop.losses[1]:.2f}", flush=True
                )
            if time.perf_counter() - start >= 60 * minutes:
                break
    seconds = time.perf_counter() - start
    loop.generator.eval()
    with torch.no_grad():
        samples = torch.cat([loop.generator(torch.randn(500, 100)) for _ in range(SAMPLES // 500)])
    return samples, updates, updates * 128 / seconds


def trained(seed: int, updates: int, precision: str) -> tuple[DCGAN, float]:
    """Train our DCGAN; return it and the seconds that took."""
    seed_everything(seed, verbose=False)
    model = DCGAN((1, SIZE, SIZE), channels_last=True)
    with tempfile.TemporaryDirectory() as folder:
        trainer = silent_trainer(max_steps=updates, precision=precision, default_root_dir=folder)
        start = time.perf_counter()
        trainer.fit(model, datamodule=MNIST(image_size=SIZE, download=False, seed=seed))
    return model, time.perf_counter() - start


def compare_precisions(judge: Judge, seeds: list[int], updates: int, out: Path) -> None:
    """Train with each seed in fp32 and in bf16-mixed; print all scores, means and deviations."""
    scores: dict[str, list[dict]] = {"32-true": [], "bf16-mixed": []}
    for seed in seeds:
        for precision, row in scores.items():
            model, seconds = trained(seed, updates, precision)
            images = model.sample(SAMPLES, seed=0)
            row.append({**judge.score(images), "seconds": seconds})
            show(f"{precision}, seed {seed}, {updates} updates in {seconds:.0f} s", row[-1])
            image_grid(images[:64]).save(out / f"precision-{precision}-{seed}.png")
            store(out, "precision", scores)
    print(f"\n{updates} updates, {len(seeds)} seeds: mean +- standard deviation")
    for key in ("min_share", "max_share", "top_probability", "fid"):
        cells, means, spreads = [], [], []
        for precision, row in scores.items():
            values = [score[key] for score in row]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            means.append(statistics.mean(values))
            spreads.append(spread)
            cells.append(f"{precision} {means[-1]:.4f} +- {spread:.4f}")
        within = "within" if abs(means[0] - means[1]) <= max(spreads) else "BEYOND"
        print(f"  {key:16} " + "    ".join(cells) + f"    {within} the spread")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = {name: commands.add_parser(name) for name in ("classifier", "score", "textbook", "precision")}
    for sub in command.values():
        sub.add_argument("--out", type=Path, default=Path("runs/mnist_quality"), help="folder of the results")
        sub.add_argument("--threads", type=int, default=torch.get_num_threads())
    command["classifier"].add_argument("--epochs", type=int, default=1)
    command["score"].add_argument("--ckpt", required=True)
    command["score"].add_argument(
        "--raw", action="store_true", help="the last weights, not the averaged ones"
    )
    command["score"].add_argument("--seed", type=int, default=0)
    command["textbook"].add_argument("--minutes", type=float, required=True)
    command["textbook"].add_argument("--seed", type=int, default=0)
    command["precision"].add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    command["precision"].add_argument("--updates", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    warnings.filterwarnings("ignore")
    print(machine())
    judge = Judge(options.out, **({"epochs": options.epochs} if options.command == "classifier" else {}))
    print(judge.describe())

    if options.command == "classifier":
        show("real training digits", judge.score(to_float(digits("train")[0][:SAMPLES])))
    elif options.command == "score":
        images = load(options.ckpt).sample(SAMPLES, ema=not options.raw, seed=options.seed)
        score = judge.score(images)
        show(options.ckpt, score)
        store(options.out, f"score-{'raw' if options.raw else 'ema'}", {**score, "ckpt": options.ckpt})
    elif options.command == "textbook":
        images, updates, speed = textbook(options.minutes, options.seed)
        score = judge.score(images)
        show(f"textbook loop, {options.minutes} minutes, {updates} updates, {speed:.0f} images/s", score)
        image_grid(images[:64]).save(options.out / "textbook.png")
        store(options.out, "textbook", {**score, "updates": updates, "images_per_second": speed})
    else:
        compare_precisions(judge, options.seeds, options.updates, options.out)


if __name__ == "__main__":
    main()
