"""Animations."""

import warnings
from collections.abc import Sequence
from io import BytesIO
from math import sqrt
from pathlib import Path

from PIL import Image

from lightning_gans.drawing.grids import with_headings
from lightning_gans.files import write_whole

FRAMES, PIXELS, SIDE = 120, 24_000_000, 640


def save_gif(
    frames: Sequence[Path],
    file: Path,
    frame_duration: float = 0.12,
    captions: Sequence[str] | None = None,
) -> None:
    """Join pictures to an animation that stays small; the last frame is held for two seconds.

    At most 120 frames are taken, evenly spaced, and fewer of large ones; first and last are always among
    them. Frames of more than 640 x 640 pixels are made smaller.

    Args:
        frames: PNG files, in order. Those that are not there any more are left out; those that cannot be
            read too, with a warning. Without any, nothing is written.
        file: The GIF, written whole; its folder is made.
        frame_duration: Seconds that a frame is shown.
        captions: A line for each frame, written on a strip above it.
    """
    there = []
    for i, frame in enumerate(frames):
        if frame.is_file() and (found := _size_and_mode(frame)):
            there.append((frame, captions[i] if captions else None))
            width, height, mode = found  # of the last frame: earlier ones may be of a run with other settings
    if not there:
        return
    shrink = min(1.0, SIDE / sqrt(width * height))
    size = round(width * shrink), round(height * shrink)
    most = max(2, min(FRAMES, PIXELS // (size[0] * size[1])))
    if len(there) > most:
        there = [there[round(i * (len(there) - 1) / (most - 1))] for i in range(most)]
    pictures = []
    for frame, caption in there:
        with Image.open(frame, formats=("PNG",)) as opened:
            picture = opened.convert(mode).resize(size, Image.Resampling.LANCZOS)
        pictures.append(with_headings(picture, [caption]) if caption else picture)
    if mode == "RGB":
        # One palette for all frames: with one for each, rare colours (a legend's) would flicker.
        sheet = Image.new("RGB", (pictures[0].width, 3 * pictures[0].height))
        for i, picture in enumerate((pictures[0], pictures[len(pictures) // 2], pictures[-1])):
            sheet.paste(picture, (0, i * picture.height))
        palette = sheet.quantize(128, Image.Quantize.FASTOCTREE)
        pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    first, *rest = pictures
    durations = [round(frame_duration * 1000)] * len(rest) + [2000]
    content = BytesIO()
    first.save(content, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
    write_whole(file, content.getvalue())


def _size_and_mode(frame: Path) -> tuple[int, int, str] | None:
    """Return width, height and mode (grey or colour) of a picture; None, with a warning, if it is damaged."""
    try:
        with Image.open(frame, formats=("PNG",)) as picture:
            picture.load()
            return picture.width, picture.height, "L" if picture.mode == "L" else "RGB"
    except (OSError, SyntaxError, ValueError) as error:
        warnings.warn(f"{frame} is left out of the animation: {error}", stacklevel=3)
        return None
