"""One step of CycleGAN and of Pix2Pix against the order of passes of their authors' PyTorch code.

The references are written anew from the papers and that order: every pass of a network by itself, one graph
for both directions, `torch.optim.Adam` as it comes, single precision. The first has torch's layers where the
networks of this package have faster ones (instance norms, transposed convolutions), the second has ours. Ours
is the whole `Trainer.fit`. Same first weights, same batches: noise of 256 pixels, one image at a time;
CycleGAN with residual networks of 9 blocks, Pix2Pix with the U-Net of 8 halvings, both with 70x70 patches.

    python benchmarks/translation.py                  # about 5 minutes of a core that has nothing else to do
    python benchmarks/translation.py --device cuda    # a few minutes: look at the wall-clock columns
    python benchmarks/translation.py --tiny           # whether it runs

`--only` and `--variants` name other games and variants than those with an aim.

Each variant alternates with the first reference, in a process of these two: among more of them, the allocator
would keep so much memory that none needs new pages, unlike in a real run. Peak memory is the most that a
process with one variant alone holds, beyond what it holds when everything is imported; on a GPU the most that
torch has allocated there.
"""

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import torch
from common import PausedFit, alternate, arguments, finish, machine, parameters, quiet, silent_trainer, table
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss
from torch.utils.data import DataLoader

from lightning_gans import CycleGAN, Pix2Pix
from lightning_gans.networks.base import InstanceNorm
from lightning_gans.networks.unet import UpConv

WARM_UP = 1
PEAK_STEPS = 2


def adam(*networks: nn.Module) -> torch.optim.Adam:
    """The authors' optimizer."""
    return torch.optim.Adam(chain(*(n.parameters() for n in networks)), lr=2e-4, betas=(0.5, 0.999))


def learning(on: bool, *networks: nn.Module) -> None:
    """Whether the weights of networks get gradients."""
    for network in networks:
        for parameter in network.parameters():
            parameter.requires_grad = on


class History:
    """The last translations, 50 of them, half of which come back later."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """Exchange images."""
        returned = []
        for image in images.detach():
            if len(self.images) < 50:
                self.images.append(image)
                returned.append(image)
            elif random.uniform(0, 1) > 0.5:
                place = random.randint(0, 49)
                returned.append(self.images[place])
                self.images[place] = image
            else:
                returned.append(image)
        return torch.stack(returned)


class ReferenceCycleGAN:
    """CycleGAN, pass by pass, with the networks of a game of ours."""

    def __init__(self, game: CycleGAN) -> None:
        self.there, self.back = game.generator_ab, game.generator_ba
        self.judge_b, self.judge_a = game.discriminator_b, game.discriminator_a
        self.identity = game.lambda_identity
        self.histories = History(), History()
        self.generators = adam(self.there, self.back)
        self.discriminators = adam(self.judge_a, self.judge_b)

    @staticmethod
    def against(logits: Tensor, target: float) -> Tensor:
        """The least-squares loss."""
        return mse_loss(logits, torch.tensor(target, dtype=logits.dtype).to(logits).expand_as(logits))

    def step(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """One update of the generators, one of the discriminators; return the losses."""
        fake_b = self.there(a)
        again_a = self.back(fake_b)
        fake_a = self.back(b)
        again_b = self.there(fake_a)

        learning(False, self.judge_a, self.judge_b)
        self.generators.zero_grad()
        loss = 10 * l1_loss(again_a, a) + 10 * l1_loss(again_b, b)
        if self.identity:
            loss = loss + 10 * self.identity * l1_loss(self.there(b), b)
            loss = loss + 10 * self.identity * l1_loss(self.back(a), a)
        loss = loss + self.against(self.judge_b(fake_b), 1.0) + self.against(self.judge_a(fake_a), 1.0)
        loss.backward()
        self.generators.step()

        learning(True, self.judge_a, self.judge_b)
        self.discriminators.zero_grad()
        judged = []
        for judge, real, fake, history in (
            (self.judge_b, b, fake_b, self.histories[0]),
            (self.judge_a, a, fake_a, self.histories[1]),
        ):
            on_real = self.against(judge(real), 1.0)
            on_fake = self.against(judge(history.query(fake)), 0.0)
            judged.append((on_real + on_fake) * 0.5)
            judged[-1].backward()
        self.discriminators.step()
        return loss.detach(), (judged[0] + judged[1]).detach()


class ReferencePix2Pix:
    """Pix2Pix, pass by pass, with the networks of a game of ours."""

    def __init__(self, game: Pix2Pix) -> None:
        self.generator, self.discriminator = game.generator, game.discriminator
        self.generators, self.discriminators = adam(self.generator), adam(self.discriminator)

    @staticmethod
    def against(logits: Tensor, target: float) -> Tensor:
        """The cross entropy."""
        targets = torch.tensor(target, dtype=logits.dtype).to(logits).expand_as(logits)
        return binary_cross_entropy_with_logits(logits, targets)

    def step(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """One update of the discriminator, one of the generator; return the losses, the generator's first."""
        fake = self.generator(a)

        learning(True, self.discriminator)
        self.discriminators.zero_grad()
        on_fake = self.against(self.discriminator(torch.cat([a, fake], 1).detach()), 0.0)
        on_real = self.against(self.discriminator(torch.cat([a, b], 1)), 1.0)
        judged = (on_fake + on_real) * 0.5
        judged.backward()
        self.discriminators.step()

        learning(False, self.discriminator)
        self.generators.zero_grad()
        fooled = self.against(self.discriminator(torch.cat([a, fake], 1)), 1.0)
        loss = fooled + 100 * l1_loss(fake, b)
        loss.backward()
        self.generators.step()
        return loss.detach(), judged.detach()


REFERENCE = "authors' order, torch's layers"
SAME_LAYERS = "authors' order, our layers"
OURS: dict[str, dict[str, Any]] = {
    "ours, fp32": {},
    "ours, fp32, channels_last": {"channels_last": True},
    "ours, bf16-mixed, channels_last": {"channels_last": True, "precision": "bf16-mixed"},
}
AIMED = ("ours, fp32", "ours, bf16-mixed, channels_last")
FASTEST = ">= 2.3x with bf16 instructions"


@dataclass
class Case:
    """A game of ours, the reference, and the ratios that are aimed at."""

    game: type
    reference: type
    aims: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    size: int = 256
    device: str = "cpu"

    def made(self, **settings: Any) -> Any:
        """The game, with the same weights each time."""
        torch.manual_seed(0)
        shape = (3, self.size, self.size)
        return self.game(shape, shape, **self.settings, **settings)

    def batches(self, count: int = 4) -> list[tuple[Tensor, Tensor]]:
        """Pairs of noise."""
        rng = torch.Generator().manual_seed(1)
        images = 2 * torch.rand(count, 2, 1, 3, self.size, self.size, generator=rng) - 1
        return [(a, b) for a, b in images]

    def variant(self, name: str, steps: int) -> Callable[[int], None]:
        """What does so many steps of a variant."""
        if name in OURS:
            return PausedFit(lambda pause: self.fit(pause, **OURS[name]), steps)
        game = self.made().to(self.device)
        reference = self.reference(game if name == SAME_LAYERS else with_torchs_layers(game))
        pairs = cycle(self.batches())

        def run(steps: int) -> None:
            for a, b in islice(pairs, steps):
                reference.step(a.to(self.device), b.to(self.device))

        return run

    def fit(self, pause: PausedFit, precision: str = "32-true", **settings: Any) -> None:
        """Our fit."""
        with tempfile.TemporaryDirectory() as folder:
            trainer = silent_trainer(
                accelerator="gpu" if self.device == "cuda" else "cpu",
                max_steps=pause.max_steps,
                precision=precision,
                callbacks=[pause],
                default_root_dir=folder,
            )
            batches = self.batches() * pause.max_steps
            trainer.fit(self.made(**settings), DataLoader(batches, batch_size=None))

    def waited(self, run: Callable[[int], None]) -> Callable[[int], None]:
        """The same, until the device has done it."""

        def until_done(steps: int) -> None:
            run(steps)
            if self.device == "cuda":
                torch.cuda.synchronize()

        return until_done

    def peak(self, name: str) -> float:
        """The most memory in GiB that a variant needs, in a process of its own."""
        before = resident("VmRSS")
        run = self.variant(name, PEAK_STEPS)
        run(PEAK_STEPS)
        peak = torch.cuda.max_memory_allocated() if self.device == "cuda" else resident("VmHWM") - before
        finish({name: run})
        return peak / 2**30


def with_torchs_layers(game: nn.Module) -> nn.Module:
    """Have the layers of this package do what those of torch do from which they are derived."""
    for layer in game.modules():
        if type(layer) in (InstanceNorm, UpConv):
            layer.__class__ = type(layer).__bases__[0]
    return game


def resident(key: str) -> int:
    """Bytes of memory that this process holds now (VmRSS), or held at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def cases(tiny: bool = False, device: str = "cpu", size: int = 256) -> dict[str, Case]:
    """All comparisons, by name."""
    small = {"generator": {"width": 4}, "discriminator": {"width": 4, "receptive_field": 16}} if tiny else {}
    size = 32 if tiny else size
    aims = dict(zip(AIMED, (">= 1.03x", FASTEST), strict=True))
    pix2pix = dict(zip(AIMED, (">= 1.1x", FASTEST), strict=True))
    return {
        "cyclegan": Case(CycleGAN, ReferenceCycleGAN, aims, small, size, device),
        "cyclegan-identity": Case(
            CycleGAN, ReferenceCycleGAN, aims, {**small, "lambda_identity": 0.5}, size, device
        ),
        "pix2pix": Case(Pix2Pix, ReferencePix2Pix, pix2pix, small, size, device),
    }


def main(given: list[str] | None = None) -> None:
    parser = arguments(__doc__, rounds=3, steps=1, size=256)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    games, others = ["cyclegan-identity", "pix2pix"], [SAME_LAYERS, *OURS]
    parser.add_argument("--only", nargs="+", choices=cases(), default=games, metavar="GAME")
    parser.add_argument("--variants", nargs="+", choices=others, default=AIMED, metavar="VARIANT")
    parser.add_argument("--tiny", action="store_true", help="networks of a few weights, on 32 pixels")
    parser.add_argument(
        "--time", metavar="VARIANT", help="this variant beside the reference, in this process"
    )
    parser.add_argument("--peak", metavar="VARIANT", help="the memory of this variant, in this process")
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    quiet()
    chosen = [cases(options.tiny, options.device, options.size)[name] for name in options.only]
    if options.time or options.peak:
        for case in chosen:
            compare(case, options) if options.time else print(case.peak(options.peak))
        return
    print(machine() + (f"; {torch.cuda.get_device_name()}" if options.device == "cuda" else ""))
    for name, case in zip(options.only, chosen, strict=True):
        networks = case.made().named_children()
        sizes = ", ".join(f"{key} {parameters(network)}" for key, network in networks)
        print(f"\n{name}, {case.size} px, batch 1; parameters: {sizes}; {options.steps} steps a round")
        given = [sys.executable, __file__, "--only", name, *["--tiny"] * options.tiny]
        for key in ("rounds", "steps", "size", "threads", "device"):
            given += [f"--{key}", str(getattr(options, key))]
        for variant in options.variants:
            print(output([*given, "--time", variant]), end="", flush=True)
        peaks = {
            variant: float(output([*given, "--peak", variant])) for variant in (REFERENCE, *options.variants)
        }
        for variant, peak in peaks.items():
            print(f"{variant:{max(map(len, peaks))}}  peak {peak:.2f} GiB, {peak / peaks[REFERENCE]:.2f}x")


def output(command: list[str]) -> str:
    """What a process prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def compare(case: Case, options: Any) -> None:
    """Print the times of a variant beside those of the reference."""
    steps = WARM_UP + options.rounds * options.steps
    variants = {name: case.variant(name, steps) for name in (REFERENCE, options.time)}
    waited = {name: case.waited(run) for name, run in variants.items()}
    for run in waited.values():
        run(WARM_UP)
    timings = alternate(waited, options.rounds, options.steps)
    finish(variants)
    table(timings, REFERENCE, 1, targets=case.aims)


if __name__ == "__main__":
    main()
