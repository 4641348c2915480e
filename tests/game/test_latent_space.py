import pytest
import torch

from lightning_gans.game.latent_space import interpolate_latents, most_certain, vector_arithmetic


def test_interpolation():
    start, end = torch.randn(2, 100)
    line = interpolate_latents(start, end)
    assert line.shape == (9, 100)
    assert torch.equal(line[0], start)
    assert torch.equal(line[-1], end)
    torch.testing.assert_close(line[4], (start + end) / 2)
    torch.testing.assert_close(line.diff(dim=0), ((end - start) / 8).expand(8, 100))


def test_interpolation_arguments():
    with pytest.raises(ValueError, match="steps is 1"):
        interpolate_latents(torch.zeros(2), torch.zeros(2), 1)
    with pytest.raises(ValueError, match=r"start and end have shapes \(2,\) and \(3,\)"):
        interpolate_latents(torch.zeros(2), torch.zeros(3))


def test_arithmetic():
    a, b, c = (torch.full((3, 100), value) for value in (0.5, 0.25, -1.5))
    grid = vector_arithmetic(a, b, c, torch.Generator().manual_seed(0))
    assert grid.shape == (9, 100)
    assert torch.equal(grid[4], torch.full((100,), -1.25))
    offsets = grid + 1.25
    assert offsets.abs().max() <= 0.25
    assert (offsets[torch.arange(9) != 4].abs().amax(1) > 0.2).all()
    assert offsets.min() < -0.2 < 0.2 < offsets.max()


def test_arithmetic_takes_means():
    rng = torch.Generator().manual_seed(0)
    a, b, c = torch.randn(3, 3, 10)
    expected = a.mean(0) - b.mean(0) + c.mean(0)
    torch.testing.assert_close(vector_arithmetic(a, b, c, rng)[4], expected)
    assert (vector_arithmetic(a, b, c, rng, noise=0) == expected).all()


def test_arithmetic_is_reproducible():
    a, b, c = torch.randn(3, 3, 10)
    first, again = (vector_arithmetic(a, b, c, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)


def test_arithmetic_arguments():
    with pytest.raises(ValueError, match=r"c has shape \(3, 4\): give \(n, latent_dim\)"):
        vector_arithmetic(torch.zeros(3, 5), torch.zeros(3, 5), torch.zeros(3, 4), torch.Generator())


def test_arcs():
    """A third of the way from (2, 0) to (0, 2) is at 30 degrees; arcs keep the length, lines do not."""
    line = interpolate_latents(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), 4, spherical=True)
    expected = torch.tensor([[2, 0], [3**0.5, 1], [1, 3**0.5], [0, 2]])
    torch.testing.assert_close(line, expected)
    start, end = torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    start, end = 10 * start / start.norm(), 10 * end / end.norm()
    arc = interpolate_latents(start, end, 9, spherical=True)
    torch.testing.assert_close(arc.norm(dim=1), torch.full((9,), 10.0))
    torch.testing.assert_close(arc.diff(dim=0).norm(dim=1), arc.diff(dim=0).norm(dim=1)[:1].expand(8))
    assert torch.equal(arc[0], start)
    assert torch.equal(arc[-1], end)
    assert interpolate_latents(start, end, 9)[4].norm() < 8
    assert interpolate_latents(start, 3 * end, 3, spherical=True)[1].norm() > 10  # of unequal ones too


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-7, 1e-5, 1e-3])
def test_arcs_of_small_angles_are_lines(size):
    start = torch.tensor([3.0, 4.0, 0.0], dtype=torch.float64)
    end = start + torch.tensor([0.0, 0.0, 5 * size])
    arc, line = (interpolate_latents(start, end, 5, spherical) for spherical in (True, False))
    torch.testing.assert_close(arc, line, rtol=0, atol=2 * size**2 + 1e-12)
    assert (arc[:, 2].diff() >= 0).all()


def test_arcs_without_an_angle():
    start, origin = torch.tensor([3.0, 4.0]), torch.zeros(2)
    assert torch.equal(interpolate_latents(start, origin, 3, True), interpolate_latents(start, origin, 3))
    assert torch.equal(interpolate_latents(start, 2 * start, 3, True)[1], 1.5 * start)
    with pytest.raises(ValueError, match="opposite"):
        interpolate_latents(start, -2 * start, 3, True)


def test_the_most_certain():
    """The logit of class 1 decides; the second sample is of class 0, whatever its logit of 1 is."""
    logits = torch.tensor([[0, 1, 0], [9, 8, 0], [0, 3, 0], [5, 4, 6], [0, 2, 0]]).float()
    assert most_certain(logits, 1, 2).tolist() == [2, 4]
    assert most_certain(logits, 1).tolist() == [2, 4, 0]
    assert most_certain(logits, 2, 1).tolist() == [3]
    with pytest.raises(ValueError, match=r"1 of 5 samples are of class 0, and 3 are needed"):
        most_certain(logits, 0)
    with pytest.raises(ValueError, match=r"k=3 is unknown: use 0, 1, 2"):
        most_certain(logits, 3)
