"""Decode an image file to a uint8 tensor: refuse damaged files, convert the mode, crop and resize."""

import re
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFilter, ImageOps, UnidentifiedImageError
from torch import Tensor

from lightning_gans import checks

Interpolation = Literal["nearest", "bilinear", "bicubic"]


# Formats that Pillow hands to other programs (Ghostscript, Windows) or cannot decode at all.
_NOT_READ = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
_ORIENTATION = 0x0112  # number of the EXIF tag
_EXIF_IN_PNG = re.compile(rb"eXIf|profile type exif|adobe\.xmp")


class DamagedImage(ValueError):
    """A file that holds no usable image; the message begins with the file's name."""


@dataclass(frozen=True)
class Decoder:
    """Convert an image to a fixed number of channels and a fixed size; equal decoders give equal pixels.

    Args:
        channels: 1 (grey) or 3 (RGB).
        size: Height and width of the result in pixels.
        crop: Side of the central square, in pixels, that is cut out before resizing. None: the largest one.
        aspect: What happens to images that are not square: ``"crop"`` to their central square, or
            ``"squash"`` (resized whole to a square).
        interpolation: ``"nearest"``, ``"bilinear"`` or ``"bicubic"``; the latter two antialias when they
            shrink.
        thicken: Before resizing, make all that is not nearly white (below 250) black, and spread it by one
            pixel on each side.

    Raises:
        ValueError: If an argument does not fit.
    """

    channels: int
    size: int
    crop: int | None = None
    aspect: Literal["crop", "squash"] = "crop"
    interpolation: Interpolation = "bilinear"
    thicken: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        checks.one_of((1, 3), channels=self.channels)
        checks.at_least(1, size=self.size, crop=self.crop)
        checks.one_of(("crop", "squash"), aspect=self.aspect)
        checks.one_of(get_args(Interpolation), interpolation=self.interpolation)
        if self.aspect == "squash" and self.crop is not None:
            raise ValueError(f"crop={self.crop} is not used with aspect='squash': leave out one of them")

    def __call__(self, image: Image.Image, name: str = "image") -> Tensor:
        """Return uint8 (channels, size, size).

        Args:
            image: An image of any mode, as :func:`open_image` returns it.
            name: Name of the image in error messages.

        Raises:
            DamagedImage: If the image is smaller than ``crop``, or its mode cannot be shown.
        """
        return torch.from_numpy(np.array(self.pixels(image, name), order="C"))

    def pixels(self, image: Image.Image, name: str = "image") -> NDArray[np.uint8]:
        """Decode as :meth:`__call__` does, to a read-only array, without torch operations and copies.

        Torch operations in a decoding thread would start a pool of torch's threads for each such thread.
        """
        image = self.picture(image, name)
        return np.asarray(image).reshape(self.size, self.size, self.channels).transpose(2, 0, 1)

    def picture(self, image: Image.Image, name: str = "image") -> Image.Image:
        """Decode as :meth:`__call__` does, to an image of mode ``L`` or ``RGB``."""
        image = to_channels(image, self.channels, name)
        width, height = image.size
        if self.aspect == "crop":
            side = self.crop or min(width, height)
            if side > min(width, height):
                advice = f"lower crop={side}, or leave the file out"
                raise DamagedImage(f"{name}: {width}x{height} pixels are too small: {advice}")
            left, top = (width - side) // 2, (height - side) // 2
            # Cropped first: the filter of ``resize(box=...)`` would mix in pixels outside of the crop.
            if (width, height) != (side, side):
                image = image.crop((left, top, left + side, top + side))
        if self.thicken:
            image = image.point(lambda value: 255 * (value >= 250)).filter(ImageFilter.MinFilter(3))
        if image.size != (self.size, self.size):
            how = Image.Resampling[self.interpolation.upper()]
            image = image.resize((self.size, self.size), how)
        return image


def image_endings() -> tuple[str, ...]:
    """Return the endings of the files that :func:`open_image` reads, in lower case."""
    formats = _formats()
    return tuple(sorted(end for end, kind in Image.registered_extensions().items() if kind in formats))


def _formats() -> list[str]:
    """Return the formats that Pillow itself decodes: a file's ending may lie about its format."""
    Image.init()
    return [kind for kind in Image.ID if kind not in _NOT_READ]


def look_at_image(file: Path, name: str) -> tuple[bool, tuple[int, int]]:
    """Return whether an image is grey, and its width and height, if possible without reading its pixels.

    Args:
        file: Path of the image.
        name: Its name in error messages.

    Raises:
        DamagedImage: If it is damaged, as far as that shows.
    """
    try:
        with Image.open(file, formats=_formats()) as image:
            # Pillow would decode a PNG's pixels to look for EXIF data behind them.
            plain = image.format == "PNG" and not _EXIF_IN_PNG.search(file.read_bytes())
            if plain or image.getexif().get(_ORIENTATION, 1) == 1:
                return _is_grey(image), image.size
    except Exception:  # Pillow raises many kinds of exceptions; open_image raises one that names the fault
        pass
    # The size of a turned image is for the decoder to say: some formats turn themselves, others do not.
    decoded = open_image(file, name)
    return _is_grey(decoded), decoded.size


def stored_size(file: Path) -> tuple[int, int]:
    """Return how many pixels an image has, and how many bytes when it is open, by its header alone.

    Of what is no image both are 0: :func:`open_image` says what is wrong with it.
    """
    try:
        with Image.open(file, formats=_formats()) as image:
            pixels = image.width * image.height
            return pixels, pixels * (4 if len(image.getbands()) > 1 else 2 if image.mode[:2] == "I;" else 1)
    except Exception:  # as in look_at_image
        return 0, 0


def _is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")


def open_image(file: str | Path | BytesIO, name: str) -> Image.Image:
    """Read the first frame of an image into memory, turned upright.

    Args:
        file: A path, or the bytes of an image file.
        name: Name of the file in error messages.

    Returns:
        The first frame, all of it in memory, turned as EXIF says.

    Raises:
        DamagedImage: If it is no image, cut off, broken, or too large to be safe
            (``PIL.Image.MAX_IMAGE_PIXELS``).
        OSError: If the file cannot be read at all.
    """
    if not isinstance(file, BytesIO):
        # In one read: Pillow reads in small pieces, and at each of them Python would switch threads.
        with Path(file).open("rb", buffering=0) as opened:
            file = BytesIO(opened.readall())
    if not file.getbuffer().nbytes:
        raise DamagedImage(f"{name}: empty (0 bytes); replace it")
    try:
        image: Image.Image = Image.open(file, formats=_formats())
        image.load()
    except UnidentifiedImageError as error:
        raise DamagedImage(f"{name}: not an image that Pillow {PIL.__version__} reads; replace it") from error
    except Image.DecompressionBombError as error:
        size = checks.first_line(error).split(",")[0]  # "Image size (...) exceeds limit of ... pixels"
        raise DamagedImage(f"{name}: {size}; shrink it, or leave it out") from error
    except MemoryError:
        raise
    # Pillow's readers raise nearly any exception for broken files. (The file is in memory by now: an OSError
    # means a broken image, not a failed read.)
    except Exception as error:
        raise DamagedImage(f"{name}: damaged image ({checks.first_line(error)}); replace it") from error
    with suppress(Exception):  # a picture with broken EXIF is still a picture
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "I":
        if image.format not in ("PNG", "PPM"):
            raise DamagedImage(f"{name}: 32-bit pixels have no fixed range: save it with 8 or 16 bits")
        image = image.convert("I;16")  # the range of these formats, however dark the picture is
    return image


def to_channels(image: Image.Image, channels: int, name: str = "image") -> Image.Image:
    """Convert any mode to 8 bits a channel.

    Transparent ground becomes white: Pillow's own conversion shows the colour below it, mostly black, in
    which dark strokes vanish. 16 bits are scaled by 1/257, where Pillow clips.

    Args:
        image: An image of any mode.
        channels: 1 for mode ``L``, 3 for mode ``RGB``.
        name: Name of the image in error messages.

    Raises:
        DamagedImage: If the pixels have no known range (float, more than 16 bits), or the mode is unknown.
    """
    target = "L" if channels == 1 else "RGB"
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _to_8_bits(image, name)
    elif _is_transparent(image):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    elif image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.buildTransform(lab, rgb, "LAB", "RGB").apply(image)
    elif image.mode == "F":
        raise DamagedImage(f"{name}: float pixels have no fixed range: save it with 8 or 16 bits")
    if image.mode == target:
        return image
    try:
        return image.convert(target)
    except ValueError as error:
        raise DamagedImage(f"{name}: pixels of mode {image.mode}: save it as {target}") from error


def _to_8_bits(image: Image.Image, name: str) -> Image.Image:
    pixels = np.asarray(image).astype(np.int64)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > 65535:
        raise DamagedImage(f"{name}: pixels from {low} to {high}: save it with 8 or 16 bits")
    if image.mode != "I" or high > 255:
        pixels = (pixels + 128) // 257
    return Image.fromarray(pixels.astype(np.uint8))


def _is_transparent(image: Image.Image) -> bool:
    alpha_in_palette = image.palette is not None and image.palette.mode.endswith("A")
    return image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info or alpha_in_palette
