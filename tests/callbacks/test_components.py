"""The picture of a learned mixture."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything
from PIL import Image

from lightning_gans.callbacks import GeneratorEMA
from lightning_gans.callbacks.components import Components
from lightning_gans.drawing.mixtures import principal_plane
from lightning_gans.game.latents import GaussianMixture
from lightning_gans.models import WGAN, ConditionalGAN, DeLiGAN
from lightning_gans.networks import MLPDiscriminator, MLPGenerator
from tests.callbacks.helpers import Save, digits, fit, point_game, ring, weights


def points(dim=2, **arguments):
    seed_everything(0, verbose=False)
    return DeLiGAN((2,), latent=GaussianMixture(dim, 6), **arguments)


def images():
    seed_everything(0, verbose=False)
    return WGAN((1, 8, 8), latent=GaussianMixture(5, 6))


def drawn(folder):
    return {
        int(path.stem.removeprefix("update=")): np.asarray(Image.open(path).convert("RGB"))
        for path in (folder / "components").glob("update=*.png")
    }


@pytest.mark.parametrize("make", [points, lambda: points(1), lambda: points(7)])
def test_points(tmp_path, make):
    fit(tmp_path, make(), ring(), [Components(4)], 6)
    pictures = drawn(tmp_path)
    assert sorted(pictures) == [0, 4, 6]
    assert not np.array_equal(pictures[0], pictures[6])
    with Image.open(tmp_path / "components.gif") as gif:
        assert gif.n_frames == 3


def test_a_row_of_images_for_each_component(tmp_path):
    game = images()
    fit(tmp_path, game, digits(), [Components(4, rows=3, columns=5, gif=False)], 4)
    picture = drawn(tmp_path)[4]
    side, gap = 48, 2  # 8 pixels, 6 times as large
    left = picture[22 + gap :, 10 + gap :]
    cells = [
        [left[row * (side + gap) :, column * (side + gap) :][:side:6, :side:6, 0] for column in range(5)]
        for row in range(3)
    ]
    latents = game.latent.of_components(
        torch.arange(3).repeat_interleave(5), torch.Generator().manual_seed(0)
    )
    expected = game.sample_from(latents.detach()).view(3, 5, 8, 8)
    for row in range(3):
        for column in range(5):
            found = torch.tensor(cells[row][column].astype(np.float32)) / 127.5 - 1
            torch.testing.assert_close(found, expected[row, column], rtol=0, atol=1 / 127)
    assert not (tmp_path / "components.gif").exists()


def test_averaged_weights_are_drawn(tmp_path):
    game = images()
    fit(tmp_path / "plain", game, digits(), [Components(4)], 4)
    averaged = images()
    fit(tmp_path / "averaged", averaged, digits(), [GeneratorEMA(0.9999), Components(4)], 4)
    assert torch.equal(
        weights(game), torch.cat([p.flatten() for n, p in averaged.named_parameters() if "ema" not in n])
    )
    assert not np.array_equal(drawn(tmp_path / "plain")[4], drawn(tmp_path / "averaged")[4])


def test_classes_come_in_turn():
    seed_everything(0, verbose=False)
    game = ConditionalGAN((1, 8, 8), num_classes=10, latent=GaussianMixture(4, 3))
    asked = []
    made = game.sample_from
    game.sample_from = lambda latents, labels, **more: asked.append(labels) or made(latents, labels, **more)
    Components(4, columns=12).picture(SimpleNamespace(global_step=0), game)
    assert asked[0].tolist() == [*range(10), 0, 1] * 3


def test_training_is_the_same_bit_for_bit(tmp_path):
    ends = []
    for watchers in ([], [Components(3)]):
        seed_everything(0, verbose=False)
        game = points(generator=MLPGenerator((2,), 2, (8,)), discriminator=MLPDiscriminator((2,), (8,)))
        fit(tmp_path, game, ring(), watchers, 5)
        ends.append(weights(game))
    assert torch.equal(*ends)


def test_resumed_run_owes_nothing_and_repeats_nothing(tmp_path):
    fit(tmp_path, points(), ring(), [Components(4), Save(tmp_path / "half.ckpt", 5)], 5)
    (tmp_path / "components" / "update=00000000.png").rename(tmp_path / "first.png")
    fit(tmp_path, points(), ring(), [Components(4)], 9, ckpt_path=tmp_path / "half.ckpt")
    assert sorted(drawn(tmp_path)) == [4, 5, 8, 9]


def testprincipal_plane():
    rng = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=rng))[0]
    means = (torch.randn(500, 6, generator=rng) * torch.tensor([5.0, 3, 1, 0.5, 0.3, 0.1])) @ basis.T + 7
    plane = principal_plane(means)
    torch.testing.assert_close((plane * basis[:, :2]).sum(0).abs(), torch.ones(2), rtol=0, atol=0.02)
    torch.testing.assert_close(plane.T @ plane, torch.eye(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(principal_plane(-means), plane)
    assert torch.equal(principal_plane(means[:, :2]), torch.eye(2))
    assert principal_plane(means[:1]).isfinite().all()


def test_other_latents_are_not_drawn(tmp_path):
    """Recipes of mixtures serve their baselines too."""
    with pytest.warns(UserWarning, match=r"draws nothing: the latents of GAN are Normal, no GaussianMixture"):
        fit(tmp_path, point_game(), ring(), [Components()], 2)
    assert not (tmp_path / "components").exists()


@pytest.mark.parametrize("name", ["every_n_updates", "rows", "columns", "frame_duration"])
def test_bad_numbers(name):
    with pytest.raises(ValueError, match=f"{name}=0"):
        Components(**{name: 0})
