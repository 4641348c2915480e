import numpy as np
import pytest
import torch
from lightning_gans.drawing.pictures import Scatter, image_grid, save_gif
from PIL import Image, ImageChops

from lightning_gans.drawing import pictures


def test_grid_places_images_row_by_row():
    images = torch.linspace(-1, 1, 5).reshape(5, 1, 1, 1).expand(5, 1, 2, 3)
    sheet = np.asarray(image_grid(images, columns=3, scale=2))
    assert sheet.shape == (2 * (4 + 2) + 2, 3 * (6 + 2) + 2)
    assert [int(sheet[3 + 6 * (i // 3), 3 + 8 * (i % 3)]) for i in range(5)] == [0, 64, 128, 191, 255]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGB")])
def test_grid_of_any_number_of_channels(channels, mode):
    assert image_grid(torch.zeros(2, channels, 8, 8)).mode == mode


@pytest.mark.parametrize(("side", "cell"), [(8, 48), (28, 56), (32, 64), (64, 64)])
def test_small_images_are_enlarged(side, cell):
    assert image_grid(torch.zeros(1, 1, side, side)).size == (cell + 4, cell + 4)


def test_values_out_of_range_do_not_wrap():
    sheet = np.asarray(image_grid(torch.tensor([-9.0, 9.0, float("nan")]).reshape(3, 1, 1, 1), scale=1))
    assert [int(sheet[2, 2 + 3 * i]) for i in range(3)] == [0, 255, 0]


def test_scatter_paints_the_landscape_the_right_way_up():
    plot = Scatter(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    mesh = plot.mesh()
    picture = np.asarray(plot.draw(torch.zeros(1, 2), "title", mesh[:, 1]).convert("L"))
    left, top, right, bottom = plot.box
    middle = (left + right) // 2 + 20
    assert picture[top + 5, middle] > picture[bottom - 25, middle] + 30
    picture = np.asarray(plot.draw(torch.zeros(1, 2), "title", mesh[:, 0]).convert("L"))
    row = (top + bottom) // 2 + 20
    assert picture[row, right - 5] > picture[row, left + 5] + 30


def test_scatter_puts_points_where_they_are():
    plot = Scatter(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
    left, top, right, bottom = plot.box
    picture = np.asarray(plot.draw(torch.tensor([[0.0, 0.0]]), "")).astype(int)
    red, _, blue = picture[(top + bottom) // 2, (left + right) // 2]
    assert red > blue + 60
    picture = np.asarray(plot.draw(torch.tensor([[1.0, 1.0]]), "")).astype(int)
    red, _, blue = picture[(top + bottom) // 2, (left + right) // 2]
    assert red == blue  # nothing is left of the last picture


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 0.0])
def test_scatter_survives_scores_and_points_that_are_not_finite(bad):
    plot = Scatter(torch.randn(9, 2))
    plot.draw(torch.full((3, 2), bad), "", torch.full((plot.resolution**2,), bad))
    Scatter(torch.randn(9, 3)).draw(torch.full((3, 3), bad), "")
    Scatter(torch.full((3, 2), bad), real=False).draw(torch.full((3, 2), bad), "")


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
            assert abs(difference).max() <= 6
        assert gif.info["duration"] == 2000


def test_gif_of_large_pictures_stays_small(tmp_path):
    save_gif(frames(tmp_path, 5, (1600, 900)), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (853, 480)  # 640 x 640 pixels
        assert gif.n_frames == 5


def test_gif_of_nothing_is_not_written(tmp_path):
    save_gif([tmp_path / "gone.png"], tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()


def test_gif_of_many_large_pictures_has_fewer_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "GIF_PIXELS", 40 * 30 * 10)
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
