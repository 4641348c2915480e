"""Write a page on which people tell real images from fakes, as in the papers' studies."""

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, Literal

import numpy as np

from lightning_gans import __version__, checks
from lightning_gans.data.decode import Decoder, open_image
from lightning_gans.data.folder import list_images
from lightning_gans.drawing.pixels import as_png
from lightning_gans.files import write_whole

FORMAT = "lightning-gans study 1"
"""What page and results call themselves."""
PAGE = "index.html"


def study(
    real: str,
    fake: str,
    out: str = "study",
    ask: Literal["real", "fake"] = "real",
    paired: bool = False,
    practice: int = 10,
    trials: int = 40,
    exposure: float = 1.0,
    size: int = 256,
    aspect: Literal["squash", "crop"] = "squash",
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Write a page on which people tell real images from fakes: the papers' real-or-fake study.

    The page is one file, which needs neither a server nor a network. It shows pairs of a real image and a
    fake, each for a second, and then waits for an answer. After the first ones, for practice, it says what
    was right. At its end it offers the answers as a file, which study-score reads (Isola et al., 2017,
    section 4.1; Zhu et al., 2017, section 5.1.1). No image is shown twice.

    Args:
        real: Folder of real images.
        fake: Folder of the images that one method generated.
        out: A new folder for the page, ``index.html``.
        ask: Which image people are to point to: the ``real`` one (CycleGAN) or the ``fake`` one (pix2pix).
        paired: Show images of equal names (the endings may differ) together: those of the same input.
            Otherwise they are paired at random, equal names never, as pix2pix had it for maps.
        practice: Pairs for practice. They never count.
        trials: Pairs that count.
        exposure: Seconds for which a pair is shown.
        size: Height and width in pixels that all images are shrunk to.
        aspect: What happens to images that are not square: resized whole (squash), or their central square
            (crop).
        seed: Decides the pairs, their order and their sides. Pages that only differ in it are of one study.
        overwrite: Write into a folder that is not empty, over a page that is there.

    Raises:
        ValueError: If an argument is out of range, images are too few, too small or damaged, a real one is
            among the fakes, or ``out`` is not empty.
        OSError: If there is no such folder, or ``out`` cannot be written.
    """
    checks.at_least(0, practice=practice)
    checks.at_least(1, trials=trials)
    checks.within("[0.05, 60]", exposure=exposure)
    checks.seed(seed=seed)
    decode = Decoder(3, size, aspect=aspect, interpolation="bicubic")
    page = Path(out, PAGE)
    checks.empty_folder(overwrite, out=out)
    folders = {"real": Path(real), "fake": Path(fake)}
    _check_folders(folders)
    files = {kind: list_images(folder, folder) for kind, folder in folders.items()}
    rng = np.random.default_rng(seed)
    reals, fakes = draw_pairs(files["real"], files["fake"], practice, trials, paired, rng)
    # Balanced, so that whoever always takes one side is right in half of the trials.
    real_is_left = [k % 2 == 0 for k in (*rng.permutation(practice), *rng.permutation(trials))]
    paths = [folders["real"] / file for file in reals], [folders["fake"] / file for file in fakes]
    pairs = [
        {"real": a, "fake": b, "left": "real" if left else "fake", "images": [x, y] if left else [y, x]}
        for a, b, x, y, left in zip(reals, fakes, *_pictures(*paths, decode), real_is_left, strict=True)
    ]
    settings = {"ask": ask, "paired": paired, "practice": practice, "trials": trials,
                "exposure": exposure, "size": size, "aspect": aspect}  # fmt: skip
    identity = _identity(settings, {folders[kind]: names for kind, names in files.items()})
    about = {"format": FORMAT, "version": __version__, "study": identity, "seed": seed}
    content = json.dumps({**about, **settings, "pairs": pairs}).replace("<", r"\u003c")
    template = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    write_whole(page, template.replace("{{study}}", content))
    print(
        f"study {identity}, {practice} + {trials} pairs of {size}x{size} pixels: {page} "
        f"({page.stat().st_size / 1e6:.1f} MB)"
    )


def _identity(settings: dict[str, Any], files: dict[Path, list[str]]) -> str:
    """Return a number that follows from the settings and all images, names and content."""
    digest = hashlib.sha256(f"{FORMAT} {settings}".encode())
    for folder, names in files.items():
        for name in names:
            digest.update(os.fsencode(f"\0{name}\0"))
            digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
        digest.update(b"\0\0")
    return digest.hexdigest()[:16]


def draw_pairs(
    real: Sequence[str],
    fake: Sequence[str],
    practice: int,
    trials: int,
    paired: bool,
    rng: np.random.Generator,
) -> tuple[list[str], list[str]]:
    """Draw pairs of a real image and a fake, no image twice.

    Args:
        real: Names of the real images.
        fake: Names of the fakes.
        practice: Pairs for practice.
        trials: Pairs that count.
        paired: Pair equal names, endings aside; otherwise any but these.
        rng: Draws them.

    Returns:
        The real images of ``practice + trials`` pairs, and their fakes.

    Raises:
        ValueError: If there are too few images, or two of one name where names decide.
    """
    count, most = practice + trials, min(len(real), len(fake))
    found = f"real has {len(real)} and fake has {len(fake)}"
    if paired:
        named = [_by_stem(real=real), _by_stem(fake=fake)]
        both = [stem for stem in named[0] if stem in named[1]]
        real, fake = ([own[stem] for stem in both] for own in named)
        most = len(both)
        found += f", with {most} names in both"
    if most < count:
        less = f"give --trials {most - practice}" if most > practice else "lower both numbers"
        raise ValueError(
            f"practice={practice}, trials={trials}: {count} images of each folder are needed, and {found}: "
            f"{less}, or more images"
        )
    order = rng.permutation(len(real))[:count]
    reals = [real[i] for i in order]
    fakes = [fake[i] for i in (order if paired else rng.permutation(len(fake))[:count])]
    if not paired:  # those whose partner has the same name change places
        alike = [i for i in range(count) if _stem(reals[i]) == _stem(fakes[i])]
        if len(alike) == 1:
            alike.append((alike[0] + 1) % count)
        for i, other in zip(alike, [fakes[i] for i in (*alike[1:], *alike[:1])], strict=True):
            fakes[i] = other
    return reals, fakes


def _stem(name: str) -> str:
    return str(PurePath(name).with_suffix(""))


def _by_stem(**names: Sequence[str]) -> dict[str, str]:
    ((kind, given),) = names.items()
    named: dict[str, str] = {}
    for name in given:
        if (other := named.setdefault(_stem(name), name)) != name:
            raise ValueError(f"paired: {other} and {name} of {kind} have one name: rename one of them")
    return named


def _check_folders(folders: dict[str, Path]) -> None:
    """Refuse what is no folder, and folders that share images.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it is one folder, or one lies within the other.
    """
    for kind, folder in folders.items():
        if not folder.is_dir():
            raise FileNotFoundError(f"{kind}={folder} is no folder: give one of images")
    real, fake = (folder.resolve() for folder in folders.values())
    if real in (fake, *fake.parents) or fake in real.parents:
        given = ", ".join(f"{kind}={folder}" for kind, folder in folders.items())
        raise ValueError(f"{given}: one is the other, or lies within it; give two folders apart")


def _pictures(real: Sequence[Path], fake: Sequence[Path], decode: Decoder) -> tuple[list[str], list[str]]:
    """Return images as the page has them, real ones and fakes treated alike.

    They are PNG files, without loss and without metadata, as addresses that hold their content.

    Raises:
        ValueError: If one would have to be enlarged, or is real and a fake.
    """
    sides: list[int] = []
    made: tuple[list[str], list[str]] = [], []
    for pictures, paths in zip(made, (real, fake), strict=True):
        for path in paths:
            image = open_image(path, str(path))
            sides.append(min(image.size))
            png = as_png(decode(image, str(path)))
            pictures.append(f"data:image/png;base64,{base64.b64encode(png).decode()}")
    least = min(range(len(sides)), key=sides.__getitem__)
    if sides[least] < decode.size:
        raise ValueError(
            f"size={decode.size}: {[*real, *fake][least]} has only {sides[least]} pixels, and would look "
            f"enlarged: give --size {sides[least]}, or larger images"
        )
    origin = dict(zip(made[0], real, strict=True))
    for path, picture in zip(fake, made[1], strict=True):
        if picture in origin:
            raise ValueError(f"{origin[picture]} and {path} are the same picture: take it out of one folder")
    return made
