import pytest
import torch

from lightning_gans.game.latent_space import interpolate_latents, vector_arithmetic


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
