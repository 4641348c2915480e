"""Look into a generator's latents: lines between them, arithmetic with concepts, and their directions."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor

import lightning_gans.metrics.classifier  # noqa: F401 - imported so that short names are known
from lightning_gans import checks
from lightning_gans.commands.evaluate import call_as_in_the_run
from lightning_gans.commands.parsing import call
from lightning_gans.commands.sample import chosen_classes, latent_game
from lightning_gans.drawing.gifs import save_gif
from lightning_gans.drawing.grids import beside, image_grid, labelled_grid, most_images
from lightning_gans.drawing.pixels import as_png, as_stored, drawn_part
from lightning_gans.drawing.scatter import labelled_points
from lightning_gans.files import write_whole
from lightning_gans.game.latent_space import interpolate_latents, most_certain, vector_arithmetic
from lightning_gans.metrics.extractors import Extractor

Concept = int | list[int]
"""A class that a classifier finds, or numbers of latents."""
DRAWN, SEARCHED = 64, 1000
"""Latents that are drawn: as many as by ``sample``, or as a classifier finds concepts among."""
LONGEST = 2**15
"""Pixels that a picture can have a side."""


def run(arguments: list[str]) -> None:
    """Run one of the commands; where classes are named, the run's own classifier finds them by default."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print("usage: lightning-gans latent COMMAND [options]\n\ncommands:")
        for known, function in COMMANDS.items():
            print(f"  {known:18}{(function.__doc__ or '').partition(chr(10))[0]}")
        print("\nlightning-gans latent COMMAND --help shows the options.")
        return
    if name not in COMMANDS:
        raise ValueError(f"latent {name} is unknown: {checks.suggestion(name, COMMANDS)}")
    if re.search(r"--[abc][= ][0-9]", " ".join(rest)):
        call_as_in_the_run(COMMANDS[name], rest, ["extractor"])
    else:
        call(COMMANDS[name], rest)


class Latents:
    """A game, and latents that its images are made from, by number.

    Args:
        ckpt_path: The checkpoint, or the folder of its run.
        n: Latents that are drawn, among them those that are given by number. ``lightning-gans sample`` with
            the same ``n``, ``seed`` and ``labels`` shows their images, row by row from number 0. Default: 64,
            or 1,000 where a classifier is to find concepts among them.
        labels: The classes of a conditional game, which are held while latents change.
        seed: The same seed gives the same latents.
        weights: Averaged weights (``ema``), if the checkpoint has some, or those of the last update
            (``raw``).
        device: The device, such as ``cpu`` or ``cuda``. Default: a GPU if there is one.
        replica: Which game, of a run that trained several.
        trusted: Modules whose classes the checkpoint may name; once for each.
        concepts: The concepts that are wanted.

    Raises:
        ValueError: If an argument is out of range, or the game starts from no latents.
    """

    def __init__(
        self,
        ckpt_path: str,
        n: int | None = None,
        labels: int | list[int] | None = None,
        seed: int = 0,
        weights: Literal["ema", "raw"] = "ema",
        device: str | None = None,
        replica: int = 0,
        trusted: tuple[str, ...] = (),
        concepts: Sequence[Concept] = (),
    ) -> None:
        checks.at_least(1, n=n)
        checks.seed(seed=seed)
        self.seed, self.ema, place = seed, weights == "ema", checks.device(device)
        self.game = latent_game(ckpt_path, replica, trusted).to(place)
        self.shape = self.game.image_shape
        self.classes: Sequence[int | None] = chosen_classes(self.game, labels) or [None]
        if concepts and len(self.shape) == 1:
            raise ValueError(f"ckpt_path={ckpt_path}: of points there is only latent interpolate")
        if concepts and len(self.classes) > 1:
            raise ValueError(f"labels={labels}: give the one class that is held, as in --labels 0")
        searched = any(isinstance(concept, int) for concept in concepts)
        self.drawn = self.game.draw_latents(n or (SEARCHED if searched else DRAWN), self.ema, seed)[0].cpu()
        self._logits: Tensor | None = None  # of their images, once a class is looked for

    def images(self, latents: Tensor, held: int = 0) -> Tensor:
        """Map latents to images, uint8 (n, C, H, W), or vectors (n, d); ``held`` says of which class."""
        label = self.classes[held]
        labels = None if label is None else torch.full((len(latents),), label)
        return as_stored(self.game.sample_from(latents, labels, self.ema).cpu())

    def numbered(self, **numbers: Sequence[int]) -> Tensor:
        """Return the latents of some numbers, (n, latent_dim).

        Raises:
            ValueError: Naming the first number that is none of a latent.
        """
        (name, chosen), n = *numbers.items(), len(self.drawn)
        for place, number in enumerate(chosen):
            if not 0 <= number < n:
                raise ValueError(f"{name}[{place}]={number}: give 0 to {n - 1}, or draw more, by --n")
        return self.drawn[list(chosen)]

    def of_concept(self, name: str, concept: Concept, extractor: Extractor | None, average: int) -> Tensor:
        """Return the latents of a concept, (n, latent_dim): those of numbers, or of a class.

        Raises:
            ValueError: Naming the concept, if it has no members, or no classifier.
        """
        if isinstance(concept, list):
            if not concept:
                raise ValueError(f"{name}=[]: a concept needs a latent at least, as in --{name} '[0,5,9]'")
            return self.numbered(**{name: concept})
        if extractor is None:
            raise ValueError(
                f"{name}={concept}: say which classifier finds the class, by --extractor ClassifierExtractor "
                f"--extractor.checkpoint classifier/..., or give latents by their numbers, as in [{concept}]"
            )
        if self._logits is None:
            self._logits = self.logits(self.images(self.drawn), extractor)
        checks.one_of(range(self._logits.shape[1]), **{name: concept})
        try:
            return self.drawn[most_certain(self._logits, concept, average)]
        except ValueError as error:
            raise ValueError(f"{name}={concept}: {error}, by --n, or average fewer") from error

    def logits(self, images: Tensor, extractor: Extractor) -> Tensor:
        """Return a classifier's logits of uint8 images, (n, num_classes), on the CPU."""
        network = extractor.to(self.game.device)
        return torch.cat([network(part.to(self.game.device))[1].cpu() for part in images.split(250)])


def interpolate(
    ckpt_path: str,
    out: str = "interpolation.png",
    latents: list[int] | None = None,
    steps: int = 9,
    spherical: bool = False,
    **options: Any,
) -> None:
    """Draw what lies between latents, on a way from each to the next (figure 4 of the DCGAN paper).

    Args:
        ckpt_path: The checkpoint, or the folder of its run.
        out: A ``.png`` with a row of images for each way (of points: a scatter plot), or a ``.gif`` that goes
            all the way. Of a conditional game with several labels: of each.
        latents: Numbers of the latents, at least two, as in [0,5,9]. Default: the first five.
        steps: Images of each way, its ends included.
        spherical: Go along arcs around the origin, not along straight lines. Between normal latents a line
            comes nearer to the origin than almost all latents are.
        **options: Other arguments of :class:`Latents`.

    Raises:
        ValueError: If an argument is out of range, or two latents are opposite and have no arc.
        OSError: If ``out`` cannot be written.
    """
    checks.writable_file((".png", ".gif"), out=out)
    checks.at_least(2, steps=steps)
    numbers = list(range(5)) if latents is None else latents
    if len(numbers) < 2:
        raise ValueError(f"latents={latents}: give two or more, as in --latents '[0,5,9]'")
    space = Latents(ckpt_path, concepts=(), **options)
    chosen = space.numbered(latents=numbers)
    ways = [f"{a} to {b}" for a, b in pairwise(numbers)]
    _check_size(space.shape, len(ways) * len(space.classes), steps, out)
    line = torch.cat([interpolate_latents(a, b, steps, spherical) for a, b in pairwise(chosen)])
    shown = [space.images(line, held) for held in range(len(space.classes))]
    rows = [way if k is None else f"{way}, class {k}" for k in space.classes for way in ways]
    title = f"{'Arcs' if spherical else 'Lines'} between latents"
    if len(space.shape) == 1:
        of_way = torch.arange(len(rows)).repeat_interleave(steps)
        write_whole(out, as_png(labelled_points(torch.cat(shown), of_way, title)))
    elif _animated(out):
        # A way begins where the one before it ends.
        places = [i for i in range(len(line)) if i == 0 or i % steps]
        frames = torch.stack(shown, 1)[places]
        _write_frames(frames, len(shown), [ways[i // steps] for i in places], out)
    else:
        write_whole(out, as_png(labelled_grid(torch.cat(shown), steps, title, rows)))
    print(f"{len(rows)} ways of {steps} steps{drawn_part(space.shape)}: {out}")


def arithmetic(
    ckpt_path: str,
    a: Concept,
    b: Concept,
    c: Concept,
    out: str = "arithmetic.png",
    average: int = 3,
    noise: float = 0.25,
    extractor: Extractor | None = None,
    **options: Any,
) -> None:
    """Draw concept a - concept b + concept c (figure 7 of the DCGAN paper), beside the same of pixels.

    A concept is the average of some latents: those of the numbers in a list, ``[3,17,40]``, or those whose
    images a classifier is surest to be of a class, ``7``. The picture has the concepts with their averages,
    the result with eight neighbours around it, and what the same arithmetic of the images' pixels gives.

    Args:
        ckpt_path: The checkpoint, or the folder of its run.
        a: The first concept.
        b: The concept that is subtracted.
        c: The concept that is added.
        out: Where the picture goes, a ``.png``.
        average: Latents of a class that are averaged.
        noise: The neighbours are the result plus uniform noise, up to this in each coordinate.
        extractor: The classifier that finds classes, as of ``evaluate``. Default: the run's.
        **options: Other arguments of :class:`Latents`.

    Raises:
        ValueError: If an argument is out of range, a concept has no members, or the game makes points.
        OSError: If ``out`` cannot be written.
    """
    checks.writable_file((".png",), out=out)
    checks.at_least(1, average=average)
    checks.within("[0, inf)", noise=noise)
    given = {"a": a, "b": b, "c": c}
    space = Latents(ckpt_path, concepts=[a, b, c], **options)
    found = [space.of_concept(name, concept, extractor, average) for name, concept in given.items()]
    rows = max(map(len, found))
    _check_size(space.shape, rows + 1, 7, out)
    rng = torch.Generator().manual_seed(space.seed)
    nine = space.images(vector_arithmetic(found[0], found[1], found[2], rng, noise))
    averages = space.images(torch.stack([each.mean(0) for each in found]))
    members = [space.images(each) for each in found]
    means = [each.float().mean(0) for each in members]
    of_pixels = (means[0] - means[1] + means[2]).round().clamp(0, 255).to(torch.uint8)[None]
    # Concepts can have different lengths: white is where there is nothing.
    sheet = torch.full((rows + 1, 3, *space.shape), 255, dtype=torch.uint8)
    for i, each in enumerate(members):
        sheet[: len(each), i] = each
    sheet[rows] = averages
    names = [name if isinstance(concept, list) else str(concept) for name, concept in given.items()]
    headings = [
        f"{sign} {name}".strip() for sign, name in zip(("", "\N{MINUS SIGN}", "+"), names, strict=True)
    ]
    panels = [
        labelled_grid(sheet.flatten(0, 1), 3, "Concepts", [*[""] * rows, "average"], headings),
        labelled_grid(nine, 3, "= of latents, and 8 neighbours"),
        labelled_grid(of_pixels, 1, "= of pixels"),
    ]
    write_whole(out, as_png(beside(*panels, gap=8)))
    print(f"{' '.join(headings)}{drawn_part(space.shape)}: {out}")
    if extractor is not None:
        probability, k = space.logits(torch.cat([nine, of_pixels]), extractor).softmax(1).max(1)
        around = " ".join(map(str, [*k[:4].tolist(), *k[5:9].tolist()]))
        print(
            f"what the classifier sees in the result: {k[4]} ({probability[4]:.0%}); in its neighbours: "
            f"{around}; in the pixels: {k[9]} ({probability[9]:.0%})"
        )


def walk(
    ckpt_path: str,
    a: Concept,
    b: Concept,
    out: str = "walk.png",
    latents: list[int] | None = None,
    steps: int = 9,
    reach: float = 1.0,
    average: int = 3,
    extractor: Extractor | None = None,
    **options: Any,
) -> None:
    """Draw samples along the direction from concept b to concept a (figure 8 of the DCGAN paper).

    Their latents are ``z + t v``, where v is the average of a less that of b; the paper turned faces so. A
    concept is a list of numbers of latents, or a class, as in ``latent arithmetic``.

    Args:
        ckpt_path: The checkpoint, or the folder of its run.
        a: The concept that is walked to.
        b: The concept that is walked away from.
        out: A ``.png`` with a row for each latent, or a ``.gif``.
        latents: Numbers of the latents z. Default: the first eight.
        steps: Images of each walk.
        reach: t goes from ``-reach`` to ``reach``.
        average: Latents of a class that are averaged.
        extractor: The classifier that finds classes, as of ``evaluate``. Default: the run's.
        **options: Other arguments of :class:`Latents`.

    Raises:
        ValueError: If an argument is out of range, a concept has no members, or the game makes points.
        OSError: If ``out`` cannot be written.
    """
    checks.writable_file((".png", ".gif"), out=out)
    checks.at_least(2, steps=steps)
    checks.at_least(1, average=average)
    checks.positive(reach=reach)
    if latents == []:
        raise ValueError("latents=[]: give one or more, as in --latents '[0,5,9]'")
    space = Latents(ckpt_path, concepts=[a, b], **options)
    starts = space.numbered(latents=range(min(8, len(space.drawn))) if latents is None else latents)
    _check_size(space.shape, len(starts), steps, out)
    ends = [space.of_concept(name, each, extractor, average).mean(0) for name, each in (("a", a), ("b", b))]
    t = torch.linspace(-reach, reach, steps)
    images = space.images((starts[:, None] + t[:, None] * (ends[0] - ends[1])).flatten(0, 1))
    headings = [f"{value:+.2f}" for value in t.tolist()]
    if _animated(out):
        frames = images.unflatten(0, (-1, steps)).transpose(0, 1)
        _write_frames(frames, ceil(sqrt(len(starts))), headings, out)
    else:
        write_whole(out, as_png(labelled_grid(images, steps, "", headings=headings)))
    print(f"{len(starts)} walks of {steps} steps{drawn_part(space.shape)}: {out}")


def _animated(out: str) -> bool:
    return Path(out).suffix.lower() == ".gif"


def _check_size(shape: Sequence[int], rows: int, columns: int, out: str) -> None:
    """Refuse what cannot be drawn, before images are made.

    Raises:
        ValueError: If so.
    """
    if len(shape) == 1:
        if shape[0] == 1 or _animated(out):
            raise ValueError(f"out={out}: points of two dimensions or more can be drawn, as a .png")
        return
    scale = max(1, round(64 / max(shape[1:])))
    longest = max(rows * shape[1], columns * shape[2]) * scale
    if longest > LONGEST or rows * columns > most_images(shape, scale):
        raise ValueError(f"{rows} x {columns} images make too large a picture: give fewer latents or steps")


def _write_frames(frames: Tensor, columns: int, captions: Sequence[str], out: str) -> None:
    """Write an animation of ``(steps, n, C, H, W)`` images, each frame a grid."""
    with TemporaryDirectory() as folder:
        files = [Path(folder, f"{i}.png") for i in range(len(frames))]
        for file, images in zip(files, frames, strict=True):
            file.write_bytes(as_png(image_grid(images, columns, max(1, round(96 / max(images.shape[2:]))))))
        save_gif(files, Path(out), captions=captions)


COMMANDS: dict[str, Callable[..., None]] = {
    "interpolate": interpolate,
    "arithmetic": arithmetic,
    "walk": walk,
}
