import numpy as np
import pytest
from PIL import Image, ImageChops

from lightning_gans.drawing import gifs
from lightning_gans.drawing.gifs import save_gif


def frames(folder, n, size=(40, 30)):
    """Shades of grey that wander by a column a frame."""
    paths = []
    for i in range(n):
        paths.append(folder / f"{i}.png")
        ImageChops.offset(Image.linear_gradient("L").rotate(90), i, 0).resize(size, 0).save(paths[-1])
    return paths


def test_gif_is_thinned_and_keeps_both_ends(tmp_path):
    paths = frames(tmp_path, 250)
    save_gif(paths, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 120
        for place, picture in ((0, paths[0]), (119, paths[-1])):
            gif.seek(place)
            with Image.open(picture) as expected:
                difference = np.asarray(gif.convert("L")).astype(int) - np.asarray(expected).astype(int)
            assert abs(difference).max() <= 8
        assert gif.info["duration"] == 2000


def test_gif_of_large_pictures_stays_small(tmp_path):
    save_gif(frames(tmp_path, 5, (1600, 900)), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (853, 480)  # 640 x 640 pixels
        assert gif.n_frames == 5


def test_gif_of_nothing_is_not_written(tmp_path):
    save_gif([tmp_path / "gone.png"], tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()


@pytest.mark.parametrize("length", [0, 20, 70])
def test_damaged_pictures_are_left_out(tmp_path, length):
    paths = frames(tmp_path, 3)
    paths[2].write_bytes(paths[2].read_bytes()[:length])
    with pytest.warns(UserWarning, match=r"2\.png is left out of the animation"):
        save_gif(paths, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 2


def test_gif_of_many_large_pictures_has_fewer_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(gifs, "PIXELS", 40 * 30 * 10)
    save_gif(frames(tmp_path, 30), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 10


def test_gif_keeps_a_colour_that_becomes_rare(tmp_path):
    paths = []
    for i, width in enumerate((30, 10, 1)):
        paths.append(tmp_path / f"{i}.png")
        picture = Image.linear_gradient("L").convert("RGB").resize((60, 60))
        picture.paste((33, 102, 172), (0, 0, width, 60))
        picture.save(paths[-1])
    save_gif(paths, tmp_path / "a.gif", captions=["one", "two", "three"])
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (60, 82)
        gif.seek(2)
        red, _, blue = gif.convert("RGB").getpixel((0, 50))
    assert blue > red + 100
