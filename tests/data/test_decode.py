import struct
import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from lightning_gans.data.decode import (
    DamagedImage,
    Decoder,
    _is_grey,
    image_endings,
    look_at_image,
    open_image,
    to_channels,
)
from tests.damage import damaged


def colours(height=6, width=6):
    """RGB pixels that differ everywhere."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width):
    """A picture rather than noise, with edges."""
    rows, columns = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(rows / 5 + k) * np.cos(columns / 7) for k in range(3)]
    pixels = np.stack(waves, axis=-1)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = 255
    return pixels.astype(np.uint8)


def stored(image, file_format, **options):
    """An image as it comes back from a file."""
    file = BytesIO()
    image.save(file, file_format, **options)
    return open_image(BytesIO(file.getvalue()), f"x.{file_format}")


def grey(image):
    return np.asarray(to_channels(image, 1)).tolist()


# Modes


def test_grey_and_rgb():
    image = Image.fromarray(colours())
    assert np.array_equal(Decoder(3, 6)(image).permute(1, 2, 0), colours())
    luma = colours() @ np.array([0.299, 0.587, 0.114])
    assert np.abs(Decoder(1, 6)(image)[0].numpy() - luma).max() <= 1
    single = Image.fromarray(colours()[..., 0])
    assert np.array_equal(Decoder(3, 6)(single), np.stack([colours()[..., 0]] * 3))
    result = Decoder(3, 6)(image)
    assert result.dtype == torch.uint8
    assert result.is_contiguous()
    assert result.shape == (3, 6, 6)


def test_one_bit():
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert grey(stored(image, "PNG")) == [[0, 255], [255, 0]]


def test_palette():
    image = Image.fromarray(colours()).quantize(256)
    assert image.mode == "P"
    assert np.array_equal(to_channels(stored(image, "PNG"), 3), image.convert("RGB"))


def test_transparent_ground_is_white():
    # Black strokes on transparent black, as drawing programs store sketches.
    strokes = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    strokes.putpixel((0, 0), (0, 0, 0, 255))
    assert grey(stored(strokes, "PNG")) == [[0, 255]]
    assert grey(stored(strokes.convert("LA"), "PNG")) == [[0, 255]]
    palette = strokes.convert("RGB").quantize(2)
    palette.putalpha(strokes.getchannel("A"))
    assert palette.mode == "PA"
    assert grey(palette) == [[0, 255]]
    half = Image.new("RGBA", (1, 1), (255, 0, 0, 128))
    assert to_channels(half, 3).getpixel((0, 0)) == (255, 127, 127)


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_transparent_palette(file_format):
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.putpixel((1, 0), 1)
    assert grey(stored(image, file_format, transparency=1)) == [[0, 255]]
    if file_format == "PNG":  # an opacity for each colour
        assert grey(stored(image, "PNG", transparency=b"\xff\x80")) == [[0, 127]]


def test_transparent_colour():
    assert grey(stored(Image.fromarray(np.array([[0, 9]], np.uint8)), "PNG", transparency=9)) == [[0, 255]]
    image = Image.new("RGB", (1, 1), (1, 2, 3))
    assert grey(stored(image, "PNG", transparency=(1, 2, 3))) == [[255]]


def test_cmyk_jpeg():
    image = stored(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    assert image.mode == "CMYK"
    red, green, blue = to_channels(image, 3).getpixel((4, 4))
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX"])
def test_other_colour_spaces(mode):
    image = Image.new("RGB", (2, 2), (200, 100, 50))
    assert (
        np.abs(np.subtract(to_channels(image.convert(mode), 3).getpixel((0, 0)), (200, 100, 50))).max() <= 3
    )


def test_lab():
    pixel = to_channels(Image.new("LAB", (1, 1), (255, 128, 128)), 3).getpixel((0, 0))
    assert min(pixel) > 250
    assert grey(Image.new("LAB", (1, 1), (0, 128, 128))) == [[0]]


SIXTEEN = np.array([[0, 257, 25700, 65535]], np.uint16)


def test_sixteen_bits_are_scaled():
    image = stored(Image.fromarray(SIXTEEN), "PNG")
    assert image.mode.startswith("I")
    assert grey(image) == [[0, 1, 100, 255]]
    assert to_channels(image, 3).getpixel((3, 0)) == (255, 255, 255)
    assert grey(stored(Image.fromarray(SIXTEEN), "TIFF")) == [[0, 1, 100, 255]]
    assert grey(Image.frombytes("I;16B", (4, 1), SIXTEEN.astype(">u2").tobytes())) == [[0, 1, 100, 255]]


@pytest.mark.parametrize(("file_format", "dtype"), [("PNG", np.uint16), ("PPM", np.int32)])
def test_sixteen_bits_are_scaled_in_the_dark(file_format, dtype):
    # A dark picture is not a picture of 8 bits.
    assert grey(stored(Image.fromarray(np.array([[0, 200]], dtype)), file_format)) == [[0, 1]]


def test_integers_of_32_bits_are_refused():
    # Whether they mean 0 to 255 or 0 to 65535 would depend on the picture.
    with pytest.raises(DamagedImage, match=r"^x\.TIFF: 32-bit pixels have no fixed range"):
        stored(Image.fromarray(SIXTEEN.astype(np.int32)), "TIFF")


@pytest.mark.parametrize("value", [-1, 70000])
def test_integers_of_unknown_range_are_refused(value):
    image = Image.fromarray(np.array([[3, value]], np.int32))
    with pytest.raises(DamagedImage, match=rf"^x\.tif: pixels from .*{value}.* 16 bits") as error:
        Decoder(1, 2)(image, "x.tif")
    assert "\n" not in str(error.value)


def test_float_pixels_are_refused():
    image = Image.fromarray(np.array([[0.5]], np.float32))
    with pytest.raises(DamagedImage, match=r"^image: float pixels .* save it with 8 or 16 bits"):
        Decoder(3, 1)(image)


# Crop and size


def test_orientation():
    image = Image.fromarray(smooth(40, 24))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = BytesIO()
        image.save(file, "JPEG", exif=exif)
        upright = open_image(BytesIO(file.getvalue()), "x.jpg")
        assert upright.size == ((24, 40) if orientation < 5 else (40, 24))
        assert np.array_equal(upright, ImageOps.exif_transpose(Image.open(file)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_a_look_at_a_turned_file_sees_what_is_read(kind, tmp_path):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.{kind}"
        Image.fromarray(smooth(40, 24)).save(path, kind, exif=exif)
        assert look_at_image(path, "x") == (False, open_image(path, "x").size)
        assert open_image(path, "x").size == ((24, 40) if orientation < 5 else (40, 24))


def test_png_with_exif_behind_its_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    plain = encoded("PNG")
    (tmp_path / "x.png").write_bytes(plain[:-12] + chunk + plain[-12:])
    with Image.open(BytesIO(plain)) as image:
        assert look_at_image(tmp_path / "x.png", "x")[1] == open_image(tmp_path / "x.png", "x").size
        assert look_at_image(tmp_path / "x.png", "x")[1] == image.size[::-1]


def test_every_format_that_pillow_writes_is_read(tmp_path):
    """The files are told by their endings; a look at them sees what reading them finds."""
    readable = image_endings()
    for wanted in (".jpg", ".jfif", ".jpe", ".gif", ".avif", ".jp2", ".pnm", ".bmp", ".tif", ".webp", ".tga"):
        assert wanted in readable
    read = 0
    for ending, kind in Image.registered_extensions().items():
        image = Image.fromarray(smooth(16, 24))
        path = tmp_path / f"x{ending}"
        if kind not in Image.SAVE:
            continue
        for mode in ("RGB", "1"):
            try:
                image.convert(mode).save(path)
            except (OSError, ValueError, KeyError):  # a mode that the format cannot hold
                continue
            if ending in readable:
                found = open_image(path, "x")
                grey, size = look_at_image(path, "x")
                assert size == found.size, (ending, mode)
                assert _is_grey(found) or not grey, (ending, mode)
                read += 1
    assert read > 30


@pytest.mark.parametrize("count", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_damaged_files_of_every_format(tmp_path, count):
    """An image, or one line that says that it is none."""
    image = Image.fromarray(smooth(16, 24))
    refused = 0
    for ending, kind in Image.registered_extensions().items():
        path = tmp_path / f"x{ending}"
        if ending not in image_endings() or kind not in Image.SAVE:
            continue
        image.convert("1" if kind in ("MSP", "XBM") else "P" if kind == "BLP" else "RGB").save(path)
        for _, content in damaged(path.read_bytes(), count):
            path.write_bytes(content)
            for read in (look_at_image, lambda *file: Decoder(3, 8)(open_image(*file), "x")):
                with suppress(DamagedImage):
                    read(path, "x")
                    continue
                refused += 1
    assert refused > count


def test_no_other_program_reads_a_picture(tmp_path):
    """Pillow gives PostScript to Ghostscript, whatever the file's ending."""
    image = Image.fromarray(colours())
    image.save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.png")
    for read in (open_image, look_at_image):
        with pytest.raises(DamagedImage, match=r"^x: not an image"):
            read(tmp_path / "x.png", "x")
    assert not {".eps", ".ps", ".wmf", ".emf", ".h5", ".mpg", ".pdf"} & set(image_endings())


def test_broken_exif_is_no_reason_to_refuse():
    image = Image.fromarray(colours())
    assert np.array_equal(stored(image, "PNG", exif=b"Exif\0\0nonsense"), image)


def test_crop_to_the_central_square():
    pixels = colours(6, 10)
    assert np.array_equal(Decoder(3, 6)(Image.fromarray(pixels)).permute(1, 2, 0), pixels[:, 2:8])
    tall = pixels.transpose(1, 0, 2)
    assert np.array_equal(Decoder(3, 6)(Image.fromarray(tall)).permute(1, 2, 0), tall[2:8])


def test_crop_of_given_side():
    pixels = colours(7, 10)
    assert np.array_equal(Decoder(3, 4, crop=4)(Image.fromarray(pixels)).permute(1, 2, 0), pixels[1:5, 3:7])


def test_what_is_cut_off_does_not_show():
    pixels = np.zeros((16, 64, 3), np.uint8)
    pixels[:, :24] = pixels[:, 40:] = 255
    assert Decoder(3, 4)(Image.fromarray(pixels)).max() == 0


def test_crop_that_does_not_fit():
    with pytest.raises(DamagedImage, match=r"^a/b\.png: 6x9 pixels are too small: lower crop=7"):
        Decoder(3, 4, crop=7)(Image.fromarray(colours(9, 6)), "a/b.png")


def test_squash():
    left, right = Image.new("L", (8, 4), 0), Image.new("L", (4, 4), 255)
    image = Image.new("L", (12, 4))
    image.paste(left, (0, 0))
    image.paste(right, (8, 0))
    squashed = Decoder(1, 6, aspect="squash", interpolation="nearest")(image)[0]
    assert squashed.tolist() == [[0, 0, 0, 0, 255, 255]] * 6
    assert Decoder(1, 4)(image)[0].tolist() == [[0, 0, 0, 0]] * 4


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [24, 31, 90])
def test_agrees_with_torch(interpolation, size):
    pixels = smooth(64, 64) // 2 + 64  # Pillow clips what overshoots after each of two passes
    expected = F.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None].float(),
        size=(size, size),
        mode=interpolation,
        antialias=True,
    )[0]
    result = Decoder(3, size, interpolation=interpolation)(Image.fromarray(pixels))
    assert (result - expected).abs().max() <= 1.5


def test_lines_are_thickened_before_they_shrink():
    drawing = np.full((8, 8), 255, np.uint8)
    drawing[2, 2], drawing[6, 6] = 249, 250  # a faint line, and what is nearly white
    expected = np.full((8, 8), 255)
    expected[1:4, 1:4] = 0
    assert np.array_equal(Decoder(1, 8, thicken=True)(Image.fromarray(drawing))[0], expected)
    assert Decoder(1, 4, interpolation="nearest", thicken=True)(Image.fromarray(drawing))[0, 0, 0] == 0


def test_nearest_keeps_values():
    pixels = np.random.default_rng(0).choice(np.array([0, 100, 255], np.uint8), (50, 50))
    result = Decoder(1, 16, interpolation="nearest")(Image.fromarray(pixels))
    assert set(result.unique().tolist()) == {0, 100, 255}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 2}, "channels=2"),
        ({"size": 0}, "size=0"),
        ({"crop": 0}, "crop=0"),
        ({"aspect": "pad"}, "aspect='pad'.* crop, squash"),
        ({"aspect": "squash", "crop": 3}, "crop=3 is not used with aspect='squash'"),
        ({"interpolation": "lanczos"}, "interpolation='lanczos'.* nearest, bilinear, bicubic"),
    ],
)
def test_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Decoder(**{"channels": 3, "size": 8, **arguments})


def test_equal_decoders_look_equal():
    assert repr(Decoder(3, 8)) == repr(Decoder(3, 8, None, "crop", "bilinear"))
    assert Decoder(3, 8) != Decoder(3, 9)


# Damaged files


def encoded(file_format, size=64):
    file = BytesIO()
    Image.fromarray(colours(size, size)).save(file, file_format)
    return file.getvalue()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.0005, 0.02, 0.5, 0.9])
def test_cut_off(file_format, share, tmp_path):
    whole = encoded(file_format)
    path = tmp_path / "picture"
    path.write_bytes(whole)
    assert open_image(path, "picture").size == (64, 64)
    path.write_bytes(whole[: max(1, int(len(whole) * share))])
    with pytest.raises(DamagedImage, match=r"^dogs/picture: (damaged|not an) image") as error:
        open_image(path, "dogs/picture")
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"version https://git-lfs\n", "not an image"),
        (b"\0" * 99, "not an image"),
    ],
)
def test_no_image(content, message, tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    for file in (path, str(path), BytesIO(content)):
        with pytest.raises(DamagedImage, match=rf"^x\.jpg: {message}"):
            open_image(file, "x.jpg")


def test_flipped_bits():
    whole = bytearray(encoded("PNG"))
    whole[len(whole) // 2] ^= 255
    with pytest.raises(DamagedImage, match=r"^x\.png: damaged image"):
        open_image(BytesIO(bytes(whole)), "x.png")


def test_decompression_bomb():
    header = struct.pack(">II5B", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header
    chunk += struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with pytest.raises(DamagedImage, match=r"^x\.png: Image size .* exceeds .*; shrink it, or leave it out$"):
        open_image(BytesIO(b"\x89PNG\r\n\x1a\n" + chunk + encoded("PNG")[33:]), "x.png")


def test_missing_file_is_not_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.png"):
        open_image(tmp_path / "x.png", "x.png")


def test_first_frame():
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    assert grey(stored(frames[0], "GIF", save_all=True, append_images=frames[1:])) == [[10] * 4] * 4
