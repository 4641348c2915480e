"""What accepted samples cost beside plain ones: rejection sampling by ACGAN's networks for MNIST.

An accepted sample costs 1 / acceptance candidates, the mean over classes where all are wanted alike. A
candidate is made and judged, and the discriminator has as many multiplications as the generator. Untrained
networks, whose heads are scaled so that both terms of the gap vary by 1.5, about as after training; what a
pass costs does not depend on the weights.

    python benchmarks/rejection.py                     # about 4 minutes of one core
    python benchmarks/rejection.py --percent 90        # p = 0.9

Variants alternate in one process. With --threads 1 the ratio to look at is of process CPU time.
"""

import statistics
import time

import torch
from common import alternate, arguments, machine, parameters, quiet, table

from lightning_gans import ACGAN, RejectionSampler
from lightning_gans.game.ratios import terms
from lightning_gans.losses import gold

PLAIN, JUDGED = "plain sampling", "plain sampling, and judging"


def trained_looking(spread: float = 1.5) -> ACGAN:
    """ACGAN with heads that say as much of samples as those of a trained one."""
    torch.manual_seed(0)
    game = ACGAN((1, 32, 32), num_classes=10).eval()
    heads = game.discriminator.source, game.discriminator.classes
    for _ in range(2):  # the spread of a log-softmax is not linear in its logits
        labels = torch.arange(1000) % 10
        logits, class_logits = terms(game, game.sample(1000, labels, seed=0), labels)
        found = logits, gold.log_posterior(class_logits, labels)
        with torch.no_grad():
            for head, values in zip(heads, found, strict=True):
                head.weight.mul_(spread / values.std())
    return game


def compared(game: ACGAN, p: float, n: int) -> str:
    """Say how far the acceptance in bfloat16 is from that in float32, of the same candidates."""
    classes, found = torch.arange(n) % 10, []
    for precision in ("fp32", "bf16"):
        sampler = RejectionSampler(game, p, num_calibration=n, precision=precision)
        with sampler._screening():
            _, _, marginal, conditional = sampler._candidates(classes, torch.Generator().manual_seed(1))
        known = sampler._measured()
        gap = gold.gold_balanced(marginal, conditional, known.ratio)
        found.append(sampler._probabilities(gap, classes, known.log_bound, known.centre))
    off = (found[0] - found[1]).abs()
    return (
        f"mean {found[0].mean():.4f} and {found[1].mean():.4f}, of a sample off by {off.mean():.4f} (at most "
        f"{off.max():.3f})"
    )


def main() -> None:
    options = arguments(__doc__, samples=10_000, rounds=5, percent=50, calibration=5000).parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    print(machine())
    game, p, n = trained_looking(), options.percent / 100, options.samples
    print(
        f"ACGAN, 32x32, generator {parameters(game.generator)} and discriminator "
        f"{parameters(game.discriminator)} parameters; {n:,} samples a round, p = {p}"
    )
    samplers, needed = {}, {}
    for precision in ("fp32", "bf16"):
        name = f"accepted, {precision}"
        sampler = RejectionSampler(game, p, num_calibration=options.calibration, precision=precision)
        start = time.process_time()
        sampler.calibrate()
        each = (time.process_time() - start) / options.calibration
        samplers[name], needed[name] = sampler, float((1 / sampler.class_acceptance).mean())
        print(
            f"{name}: acceptance {sampler.acceptance:.3f}, candidates for one {needed[name]:.3f}; "
            f"calibration on 50,000: {50_000 * each:.0f} s of CPU, once"
        )
    print(f"acceptance in fp32 and bf16 of the same candidates: {compared(game, p, options.calibration)}")

    def plain(count: int, judged: bool = False) -> None:
        labels = torch.arange(count) % 10
        latents, _ = game.draw_latents(count, seed=0)
        for part in torch.arange(count).split(500):
            made = game.sample_from(latents[part], labels[part])
            if judged:
                terms(game, made, labels[part])

    variants = {PLAIN: plain, JUDGED: lambda count: plain(count, judged=True)}
    for name, sampler in samplers.items():
        variants[name] = lambda count, sampler=sampler: sampler.sample(count, seed=0)
    for run in variants.values():
        run(1000)
    timings = alternate(variants, options.rounds, n)
    table(timings, PLAIN, 1, faster=False)
    for name in samplers:
        for below in (PLAIN, JUDGED):
            pairs = zip(timings[name].cpu, timings[below].cpu, strict=True)
            ratios = [own / other / needed[name] for own, other in pairs]
            print(
                f"{name}, by (1 / acceptance) of {below}: {statistics.median(ratios):.2f} ({min(ratios):.2f} "
                f"to {max(ratios):.2f}){'   target <= 1.10' if below == PLAIN else ''}"
            )


if __name__ == "__main__":
    main()
