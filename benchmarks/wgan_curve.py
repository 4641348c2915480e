"""WGAN's claim on MNIST: the critic's estimate falls while the samples get better. One plot of both.

    python benchmarks/wgan_curve.py --minutes 8 [--out runs/wgan_curve] [--precision bf16-mixed]

The estimate is that of the last critic step before each generator update (Algorithm 1), smoothed by a median
filter as in the paper's figures. Quality is what the classifier of mnist_quality.py says of 2,000 samples:
the mean of the top probability, and the Frechet distance to the test digits in its features.
"""

import argparse
import json
import warnings
from datetime import timedelta
from pathlib import Path

import torch
from common import machine, quiet, silent_trainer
from lightning import seed_everything
from lightning.pytorch import Callback
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mnist_quality import SIZE, Judge
from scipy.signal import medfilt
from scipy.stats import spearmanr

from lightning_gans import MNIST, WGAN
from lightning_gans.drawing.grids import image_grid


class Curve(Callback):
    """Writes down the estimate before every update, and the quality every so many."""

    def __init__(self, judge: Judge, every: int) -> None:
        self.judge, self.every = judge, every
        self.estimates: list[float] = []
        self.quality: list[dict] = []
        self.grids = []

    def on_train_start(self, trainer, module) -> None:
        step = module.step

        def watched(player: str) -> None:
            if player == "generator":
                self.estimates.append(float(module._reported["wasserstein_estimate"]))
            step(player)
            if player == "generator" and trainer.global_step % self.every == 0:
                self.look(trainer.global_step, module)

        self.look(0, module)
        module.step = watched

    def look(self, update: int, module) -> None:
        images = module.sample(2000, seed=0)
        self.quality.append({"update": update, **self.judge.score(images)})
        self.grids.append(images[:16])
        latest = self.estimates[-1] if self.estimates else float("nan")
        print(
            f"update {update}: estimate {latest:.4f}, top probability "
            f"{self.quality[-1]['top_probability']:.3f}, FID {self.quality[-1]['fid']:.1f}",
            flush=True,
        )


def draw(curve: Curve, path: Path) -> None:
    figure = Figure(figsize=(9, 7.5), dpi=100)
    FigureCanvasAgg(figure)
    top, strip = figure.subplots(2, 1, height_ratios=(2.2, 1))
    updates = range(1, len(curve.estimates) + 1)
    window = min(101, len(curve.estimates) // 2 * 2 - 1)
    top.plot(updates, curve.estimates, color="#2166ac", alpha=0.2, linewidth=0.7)
    # The filter pads with zeros: its ends are cut off.
    half = window // 2
    smooth = medfilt(curve.estimates, window)[half:-half]
    top.plot(list(updates)[half:-half], smooth, color="#2166ac", label="critic's estimate (median filter)")
    top.set_xlabel("generator updates")
    top.set_ylabel("critic's estimate of the Wasserstein distance", color="#2166ac")
    top.set_ylim(bottom=0)
    right = top.twinx()
    at = [row["update"] for row in curve.quality]
    right.plot(at, [row["fid"] for row in curve.quality], "o-", color="#e6550d", markersize=3, label="FID")
    right.set_ylabel("FID of 2,000 samples (features of an MNIST classifier)", color="#e6550d")
    right.set_ylim(bottom=0)
    top.set_title("WGAN on MNIST: the estimate falls while the samples get better")
    chosen = torch.linspace(0, len(at) - 1, min(6, len(at))).round().int().tolist()
    sheets = [image_grid(curve.grids[i], columns=4, scale=2) for i in chosen]
    for i, (index, sheet) in enumerate(zip(chosen, sheets, strict=True)):
        axes = strip.inset_axes((i / len(chosen), 0, 0.95 / len(chosen), 1))
        axes.imshow(sheet, cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"update {at[index]}", fontsize=9)
        axes.axis("off")
    strip.axis("off")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=50, help="updates between two looks at the samples")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--quality", type=Path, default=Path("runs/mnist_quality"), help="its classifier")
    parser.add_argument("--out", type=Path, default=Path("runs/wgan_curve"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    warnings.filterwarnings("ignore")
    print(machine())
    options.out.mkdir(parents=True, exist_ok=True)
    judge = Judge(options.quality)
    print(judge.describe())

    seed_everything(options.seed, verbose=False)
    curve = Curve(judge, options.every)
    trainer = silent_trainer(
        max_time=timedelta(minutes=options.minutes),
        max_epochs=-1,
        precision=options.precision,
        callbacks=[curve],
    )
    model = WGAN((1, SIZE, SIZE), channels_last=True)
    trainer.fit(model, MNIST(image_size=SIZE, batch_size=64, seed=options.seed))
    draw(curve, options.out / "wgan_curve.png")
    (options.out / "wgan_curve.json").write_text(
        json.dumps({"estimates": curve.estimates, "quality": curve.quality})
    )
    at = [row["update"] for row in curve.quality[1:]]
    smooth = [sum(curve.estimates[u - options.every : u]) / options.every for u in at]
    rank = spearmanr(smooth, [row["fid"] for row in curve.quality[1:]]).statistic
    print(
        f"{len(curve.estimates)} updates; estimate from {max(smooth):.4f} to {smooth[-1]:.4f}; FID from "
        f"{curve.quality[0]['fid']:.1f} to {curve.quality[-1]['fid']:.1f}; rank correlation {rank:.2f}"
    )
    print(f"plot: {options.out / 'wgan_curve.png'}")


if __name__ == "__main__":
    main()
