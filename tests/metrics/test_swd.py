import numpy as np
import pytest
import torch
from scipy import ndimage

from lightning_gans.metrics.swd import SWD, patch_centres, random_directions, sliced_wasserstein


def pictures(n, size=64, channels=3, seed=0, blur=2.0):
    noise = np.random.default_rng(seed).normal(size=(n, channels, size, size))
    smooth = ndimage.gaussian_filter(noise, (0, 0, blur, blur)) * 200 + 128
    return torch.from_numpy(smooth.clip(0, 255).astype(np.uint8))


def independent(real, fake, patches, directions, seed):
    """The protocol once more, with SciPy and loops, in float64."""
    kernel = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

    def blurred(image):
        return np.stack([ndimage.convolve(channel, kernel, mode="mirror") for channel in image])

    def pyramid(image):
        levels = [image]
        while (min(levels[-1].shape[1:]) + 1) // 2 >= 16:
            levels.append(blurred(levels[-1])[:, ::2, ::2])
        for i in range(len(levels) - 1):
            spread = np.zeros_like(levels[i])
            spread[:, ::2, ::2] = levels[i + 1]
            levels[i] = levels[i] - 4 * blurred(spread)
        return levels

    def descriptors(images, level, side):
        cut = []
        for place, image in enumerate(images):
            values = pyramid(np.broadcast_to(image, (3, *image.shape[1:])).astype(np.float64))[level]
            index = torch.tensor([place])
            for y, x in patch_centres(index, level, values.shape[1:], patches, seed, side)[0].tolist():
                patch = values[:, y - 3 : y + 4, x - 3 : x + 4]
                assert patch.shape == (3, 7, 7)
                cut.append(patch)
        cut = np.array(cut)
        cut = (cut - cut.mean((0, 2, 3), keepdims=True)) / cut.std((0, 2, 3), keepdims=True)
        return cut.reshape(len(cut), -1)

    scores = {}
    for level, values in enumerate(pyramid(real[0].astype(np.float64))):
        lines = random_directions(level, 147, directions, seed).double().numpy()
        first, second = (
            np.sort(descriptors(images, level, side) @ lines.T, axis=0)
            for images, side in ((real, True), (fake, False))
        )
        scores[f"swd_{values.shape[1]}"] = 1000 * np.abs(first - second).mean()
    scores["swd"] = np.mean(list(scores.values()))
    return scores


@pytest.mark.parametrize(
    ("size", "channels", "levels"),
    [(64, 3, [64, 32, 16]), (28, 1, [28]), (50, 3, [50, 25]), (37, 1, [37, 19])],
)
def test_equal_to_scipy(size, channels, levels):
    real, fake = pictures(6, size, channels), pictures(6, size, channels, seed=1, blur=1.5)
    scores = sliced_wasserstein(real, fake, patches=20, directions=40, seed=3)
    expected = independent(real.numpy(), fake.numpy(), 20, 40, 3)
    assert list(scores) == [*(f"swd_{level}" for level in levels), "swd"] == list(expected)
    for name, score in scores.items():
        assert score.dtype == torch.float64
        assert score.shape == ()
        assert score.item() == pytest.approx(expected[name], rel=1e-5), name


def test_patches_are_inside_and_everywhere():
    centres = patch_centres(torch.arange(50), 0, (16, 20), 128, seed=0, real=True)
    assert centres.shape == (50, 128, 2)
    assert centres.amin((0, 1)).tolist() == [3, 3]
    assert centres.amax((0, 1)).tolist() == [12, 16]
    assert torch.equal(centres[7:9], patch_centres(torch.tensor([7, 8]), 0, (16, 20), 128, 0, True))
    for other in (
        patch_centres(torch.arange(50), 1, (16, 20), 128, 0, True),
        patch_centres(torch.arange(50), 0, (16, 20), 128, 1, True),
        patch_centres(torch.arange(50), 0, (16, 20), 128, 0, False),
    ):
        assert (centres == other).float().mean() < 0.2


def test_directions_are_of_unit_length():
    lines = random_directions(0, 147, 512, seed=0)
    torch.testing.assert_close(lines.norm(dim=1), torch.ones(512))
    assert lines.mean().abs() < 0.01


def test_grey_is_repeated():
    real, fake = pictures(4, 16, 1), pictures(4, 16, 1, seed=1)
    grey = sliced_wasserstein(real, fake, 16, 16)
    colour = sliced_wasserstein(real.expand(-1, 3, -1, -1), fake.expand(-1, 3, -1, -1), 16, 16)
    assert grey == colour


def test_unlike_images_are_farther_than_like_ones():
    real = pictures(64, 32)
    floor = sliced_wasserstein(real, pictures(64, 32, seed=1), 32, 64)
    fewer = sliced_wasserstein(real[:8], pictures(8, 32, seed=1), 32, 64)
    sharp = sliced_wasserstein(real, pictures(64, 32, seed=1, blur=0.5), 32, 64)
    assert fewer["swd"] > 2 * floor["swd"]
    assert sharp["swd"] > 1.5 * floor["swd"]


def test_collapsed_grey_images_have_a_finite_distance():
    fake = torch.full((8, 3, 32, 32), 77, dtype=torch.uint8)
    scores = sliced_wasserstein(pictures(8, 32), fake, 32, 64)
    # normalised real patches against zeros: the mean size of their projections
    assert all(400 < score < 1100 for score in scores.values())


def test_shuffled_batches_give_the_score_of_the_whole():
    real, fake = pictures(20, 32), pictures(20, 32, seed=1)
    whole = sliced_wasserstein(real, fake, 16, 32)
    metric = SWD(num_images=20, patches=16, directions=32)
    before = torch.get_rng_state()
    for side, images in ((False, fake), (True, real)):
        for index in torch.randperm(20, generator=torch.Generator().manual_seed(0)).split(7):
            metric.update(images[index], index, real=side)
    metric.update(real[:3], torch.arange(100, 103), real=True)  # beyond num_images
    assert metric.compute() == whole
    assert torch.equal(before, torch.get_rng_state())
    metric.reset()
    with pytest.raises(ValueError, match="got no real samples"):
        metric.compute()


def test_the_larger_side_is_cut():
    real, fake = pictures(9, 16), pictures(6, 16, seed=1)
    metric = SWD(patches=8, directions=8)
    metric.update(real, torch.arange(9), real=True)
    metric.update(fake, torch.arange(6), real=False)
    with pytest.warns(UserWarning, match="9 real and 6 generated images: it compares 6"):
        scores = metric.compute()
    assert scores == sliced_wasserstein(real[:6], fake, 8, 8)


def test_bad_input():
    images = pictures(2, 16)
    with pytest.raises(ValueError, match="num_images=1"):
        SWD(num_images=1)
    with pytest.raises(ValueError, match="patches=0"):
        SWD(patches=0)
    with pytest.raises(ValueError, match=r"images is float32 of shape"):
        SWD().update(images.float(), torch.arange(2), real=True)
    with pytest.raises(ValueError, match=r"order is int64 of shape \(3,\)"):
        SWD().update(images, torch.arange(3), real=True)
    with pytest.raises(ValueError, match="at least 16x16 pixels"):
        sliced_wasserstein(images[..., 1:], images[..., 1:])
    with pytest.raises(ValueError, match="one or three channels"):
        SWD().update(images[:, :2], torch.arange(2), real=True)
    metric = SWD()
    metric.update(images, torch.arange(2), real=True)
    with pytest.raises(ValueError, match=r"images of size \(3, 32, 32\) after \(3, 16, 16\)"):
        metric.update(pictures(2, 32), torch.arange(2), real=False)
    with pytest.raises(ValueError, match="2 real and 1 generated"):
        sliced_wasserstein(images, images[:1])
    with pytest.raises(ValueError, match=r"real images have \(16, 16\) pixels, generated ones \(32, 32\)"):
        sliced_wasserstein(images, pictures(2, 32))
    metric = SWD()
    metric.update(images, torch.tensor([4, 4]), real=True)
    with pytest.raises(ValueError, match=r"real sample 4 came twice: call reset\(\)"):
        metric.compute()
    metric = SWD()
    metric.update(images[:1], torch.tensor([4]), real=True)
    with pytest.raises(ValueError, match="got one real sample: it needs at least 2"):
        metric.compute()
