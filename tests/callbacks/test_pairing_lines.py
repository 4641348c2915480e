from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from lightning_gans.callbacks import PairingLines, pairing_lines
from lightning_gans.models import GAN
from tests.callbacks.helpers import Save, digits, fit, image_game, point_game, ring, updates_drawn, weights


class Pairing(GAN):
    """Pairs as DIWGAN does: once it has been trained."""

    def pair(self, seed, ema):
        assert self.global_step > 0
        fake, ones = self.sample(8, ema=ema, seed=seed), torch.ones(8)
        return SimpleNamespace(
            real=fake + 1, fake=fake, distances=2 * ones, real_weights=3 * ones, fake_weights=ones / 2
        )


def pairing_game(**kwargs):
    game = point_game(**kwargs)
    return Pairing((2,), latent=game.latent, generator=game.generator, discriminator=game.discriminator)


def test_draws_first_update_cadence_and_end_and_leaves_the_training_bit_for_bit(tmp_path):
    ends = []
    for callbacks in ([PairingLines(4), Save(tmp_path / "a/half.ckpt", 5)], []):
        torch.manual_seed(0)
        game = pairing_game()
        fit(tmp_path / "a", game, ring(), callbacks, 6)
        ends.append(weights(game))
    assert torch.equal(*ends)
    assert updates_drawn(tmp_path / "a", "pairs") == [1, 4, 6]
    with Image.open(tmp_path / "a/pairs.gif") as gif:
        assert gif.n_frames == 3
    fit(tmp_path / "b", pairing_game(), ring(), [PairingLines(4)], 8, ckpt_path=tmp_path / "a/half.ckpt")
    assert updates_drawn(tmp_path / "b", "pairs") == [1, 4, 8]


def test_a_line_has_the_product_of_both_weights(monkeypatch):
    drawn = []
    monkeypatch.setattr(pairing_lines, "draw_pairs", lambda *what: drawn.append(what))
    pairs = SimpleNamespace(real=torch.zeros(2, 2), fake=torch.ones(2, 2), distances=torch.tensor([1.0, 2.0]))
    pairs.real_weights, pairs.fake_weights = torch.tensor([0.5, 1.5]), torch.tensor([2.0, 1.0])
    PairingLines().picture(SimpleNamespace(global_step=3), SimpleNamespace(pair=lambda seed, ema: pairs))
    real, fake, pull, title = drawn[0]
    assert real is pairs.real
    assert fake is pairs.fake
    assert pull.tolist() == [1.0, 1.5]
    assert title.endswith("1.5")


def test_games_that_pair_nothing_are_not_drawn(tmp_path):
    game = pairing_game()
    game.alpha = 0.0
    for other in (point_game(), game):
        with pytest.warns(UserWarning, match="pairs nothing"):
            fit(tmp_path, other, ring(), [PairingLines(2)], 2)
    assert not (tmp_path / "pairs").exists()


def test_refuses_what_has_no_lines(tmp_path):
    game = image_game()
    game.pair = None
    with pytest.raises(ValueError, match=r"image_shape=\(1, 8, 8\)"):
        fit(tmp_path, game, digits(), [PairingLines(2)], 2)
    with pytest.raises(ValueError, match="every_n_updates=0"):
        PairingLines(0)
