import numpy as np
import pytest
import torch

from lightning_gans.drawing.grids import image_grid, in_colour, labelled_grid, with_headings


def test_grid_places_images_row_by_row():
    images = torch.linspace(-1, 1, 5).reshape(5, 1, 1, 1).expand(5, 1, 2, 3)
    sheet = np.asarray(image_grid(images, columns=3, scale=2))
    assert sheet.shape == (2 * (4 + 2) + 2, 3 * (6 + 2) + 2)
    assert [int(sheet[3 + 6 * (i // 3), 3 + 8 * (i % 3)]) for i in range(5)] == [0, 64, 128, 191, 255]


def test_bytes_are_drawn_as_they_are():
    images = torch.tensor([0, 7, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)
    assert np.asarray(image_grid(images, scale=1))[2, 2::3].tolist() == [0, 7, 255]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGB")])
def test_grid_of_any_number_of_channels(channels, mode):
    assert image_grid(torch.zeros(2, channels, 8, 8)).mode == mode


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(("side", "cell"), [(8, 48), (28, 56), (32, 64), (64, 64)])
def test_small_images_are_enlarged(side, cell, n):
    assert image_grid(torch.zeros(n, 1, side, side)).size == (n * (cell + 2) + 2, cell + 4)


@pytest.mark.parametrize(("shape", "size"), [((2, 8, 200), (400, 16)), ((3, 90, 10), (20, 180))])
def test_tall_and_wide_images_are_enlarged_by_their_area(shape, size):
    wide, high = image_grid(torch.zeros(1, *shape)).size
    assert (wide - 4, high - 4) == size


def test_values_out_of_range_do_not_wrap():
    sheet = np.asarray(image_grid(torch.tensor([-9.0, 9.0, float("nan")]).reshape(3, 1, 1, 1), scale=1))
    assert [int(sheet[2, 2 + 3 * i]) for i in range(3)] == [0, 255, 0]


def test_images_in_colour_and_of_another_size():
    images = torch.rand(2, 1, 6, 4)
    assert torch.equal(in_colour(images), images.expand(2, 3, 6, 4))
    assert in_colour(images, (3, 2)).shape == (2, 3, 3, 2)


def test_headings_stand_above_their_columns():
    picture = image_grid(torch.ones(2, 1, 60, 60), scale=1)
    above = 255 - np.asarray(with_headings(picture, ["", "two"]).convert("L"))[: -picture.height].astype(int)
    assert above.shape[0] > 10
    assert above[:, :62].sum() == 0
    assert above[:, 62:].sum() > 1000


def test_labels_are_beside_the_pixels_not_on_them():
    images = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1).expand(6, 3, 64, 64)
    picture = np.asarray(labelled_grid(images, 3, "a title", ["one", "two"], ["a", "b", "c"]).convert("L"))
    assert picture.shape[0] > 134
    assert picture.shape[1] > 200
    levels, counts = np.unique(picture, return_counts=True)
    found = dict(zip(levels.tolist(), counts.tolist(), strict=True))
    assert all(found[level] >= 64 * 64 for level in (0, 51, 102, 153, 204))
