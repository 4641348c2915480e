import json
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from PIL import Image

from lightning_gans.callbacks import FittingCapacity, GOLDTerms, gold_terms
from lightning_gans.data import Digits
from lightning_gans.game.latents import Normal
from lightning_gans.losses import gold
from lightning_gans.models import ACGAN, GOLDACGAN, WGAN
from lightning_gans.networks.acgan import ACGANDiscriminator, ACGANGenerator
from tests.callbacks.helpers import Save, digits, fit, image_game, ring, updates_drawn
from tests.callbacks.test_sample_grid import Watcher


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """What pictures are drawn of; each gets longer in the course of a run."""
    given = []

    def draw(history, *others):
        given.append((dict(history), *others))
        return Image.new("L", (8, 8), 20 * len(history))

    monkeypatch.setattr(gold_terms, "draw_gold", draw)
    return given


def two_headed(cls=ACGAN, **kwargs):
    seed_everything(5, verbose=False)
    return cls(
        (1, 8, 8),
        10,
        latent=Normal(4),
        generator=partial(ACGANGenerator, num_classes=10, width=4, hidden=8),
        discriminator=partial(ACGANDiscriminator, num_classes=10, width=4, hidden=8),
        **kwargs,
    )


def trainer_of(tmp_path, data):
    data.setup()
    trainer = Trainer(logger=False, accelerator="cpu", default_root_dir=tmp_path)
    trainer.datamodule = data
    return trainer


def summary(values):
    return torch.stack([values.mean(), values.quantile(0.1), values.quantile(0.9)])


def test_values_are_the_estimator_s_in_evaluation_mode(tmp_path, drawn):
    game, data = two_headed().train(), digits()
    with torch.no_grad():  # new networks say the same of all samples, almost
        for head in (game.discriminator.source, game.discriminator.classes):
            head.weight.mul_(1e4)
    _, values = GOLDTerms(num_samples=40, seed=3).picture(trainer_of(tmp_path, data), game)
    assert game.discriminator.training
    game.eval()
    labels = torch.arange(40) % 10
    latents, _ = game.draw_latents(40, ema=False, seed=3)
    images = game.sample_from(latents, labels, ema=False)
    test_images, test_labels = data.load("test")
    real, known = test_images[:40].float() / 127.5 - 1, test_labels[:40]
    with torch.no_grad():
        (logits, a), (on_real, of_real) = game.discriminator(images), game.discriminator(real)
    wanted = {
        "gold_marginal": logits,
        "gold_conditional": gold.log_posterior(a, labels),
        "gold": gold.gold(logits, a, labels),
        "gold_marginal_real": on_real,
        "gold_conditional_real": -gold.log_posterior(of_real, known),
        "gold_real": gold.gold(on_real, of_real, known, generated=False),
    }
    ratio = gold.balance(logits, wanted["gold_conditional"])
    assert 0.1 < ratio < 10
    means = {f"val/{name}": float(x.mean()) for name, x in wanted.items()}
    assert values == pytest.approx({**means, "val/gold_ratio": float(ratio)}, rel=1e-4)
    ((history, ratios, capacity, shown, gap, classes, mark),) = drawn
    kinds = [summary(wanted[name + kind]) for kind in ("_real", "") for name in gold_terms.NAMES]
    assert torch.allclose(history[0].flatten(0, 1), torch.stack(kinds), rtol=1e-4, atol=1e-6)
    assert ratios == {0: pytest.approx(float(ratio), rel=1e-4)}
    assert torch.allclose(gap, wanted["gold"], rtol=1e-4, atol=1e-6)
    assert torch.equal(shown, images)
    assert torch.equal(classes, labels)
    assert (capacity, mark) == ({}, None)


def test_real_samples_without_labels_have_a_marginal_term_only(tmp_path, drawn):
    class Partly(Digits):
        known = 3  # classes whose samples have their label

        def load(self, split):
            images, labels = super().load(split)
            return images, torch.where(labels < self.known, labels, -1)

    for kept in (True, False):
        data = Partly(batch_size=16)
        data.known *= kept
        trainer = trainer_of(tmp_path, data)
        _, values = GOLDTerms(num_samples=50).picture(trainer, two_headed())
        real = [name for name in values if name.endswith("_real")]
        assert real == [f"val/{name}_real" for name in (gold_terms.NAMES if kept else gold_terms.NAMES[:1])]
        assert drawn[-1][0][0][0, 1:].isnan().all() == (not kept)
        assert drawn[-1][0][0][:, 0].isfinite().all()


def test_draws_start_cadence_and_end_and_leaves_the_training_bit_for_bit(tmp_path, drawn):
    ends = []
    for callbacks in ([], [GOLDTerms(2, num_samples=20)]):
        game, watcher = two_headed(GOLDACGAN, reweight_from=3), Watcher()
        fit(tmp_path, game, digits(), [*callbacks, watcher], 5)
        state = torch.cat([x.flatten().float() for x in game.state_dict().values()])
        ends.append((state, game.rng.get_state(), watcher.seen))
    assert torch.equal(ends[0][0], ends[1][0])
    assert torch.equal(ends[0][1], ends[1][1])
    assert ends[0][2] == ends[1][2]
    assert updates_drawn(tmp_path, "gold") == list(callbacks[0].history) == [0, 2, 4, 5]
    assert [given[-1] for given in drawn] == [None, None, 3, 3]
    with Image.open(tmp_path / "gold.gif") as gif:
        assert gif.n_frames == 4


class Scores(FittingCapacity):
    """Writes a line as FittingCapacity does, without scoring; another one at the end."""

    def setup(self, trainer, pl_module, stage):
        pass

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.write(trainer, f"p{trainer.global_step % 2}", trainer.global_step)

    def on_train_end(self, trainer, pl_module):
        self.write(trainer, None, trainer.global_step)

    def write(self, trainer, name, update):
        with (Path(trainer.default_root_dir) / "evaluations.jsonl").open("a") as file:
            for line in ({"fid": 1.0}, {"fitting_capacity": update / 10}):
                file.write(json.dumps({"update": update, "name": name, **line}) + "\n")


def test_history_and_fitting_capacities_survive_a_resume_exactly(tmp_path, drawn):
    def run(name, steps, *callbacks, **kwargs):
        callback = GOLDTerms(2, num_samples=20, gif=False)
        (tmp_path / name).mkdir()
        # Of a process that was killed while it wrote.
        (tmp_path / name / "evaluations.jsonl").write_text('{"update": 3, "fitting_cap\n')
        game = two_headed(GOLDACGAN, reweight_from=2)
        fit(tmp_path / name, game, digits(), [Scores(), callback, *callbacks], steps, **kwargs)
        return callback

    whole = run("whole", 6)
    run("first", 4, Save(tmp_path / "half.ckpt", 3))
    torch.load(tmp_path / "half.ckpt", weights_only=True)
    second = run("second", 6, ckpt_path=tmp_path / "half.ckpt")
    assert list(whole.history) == list(second.history) == [0, 2, 4, 6]
    assert all(torch.equal(whole.history[update], second.history[update]) for update in whole.history)
    assert whole.ratios == second.ratios
    assert whole.reweighted_from == second.reweighted_from == 2
    scores = {"p1": {1: 0.1, 3: 0.3, 5: 0.5}, "p0": {2: 0.2, 4: 0.4, 6: 0.6}, "fitting capacity": {6: 0.6}}
    assert whole.capacity == second.capacity == scores
    assert drawn[-1][2] == scores  # what was scored at the end of training is drawn, too


def test_a_new_run_has_a_new_history(tmp_path):
    callback = GOLDTerms(num_samples=16, gif=False)
    for name in ("a", "b"):
        fit(tmp_path / name, two_headed(), digits(), [callback], 1)
        assert list(callback.history) == [0, 1]


def test_of_games_without_class_head_the_marginal_term_is_drawn(tmp_path, drawn):
    game = image_game()
    _, values = GOLDTerms(num_samples=20).picture(trainer_of(tmp_path, digits()), game)
    logits = game.score(game.sample(20, ema=False, seed=0))
    assert list(values) == ["val/gold_marginal_real", "val/gold_marginal"]
    assert values["val/gold_marginal"] == pytest.approx(float(logits.mean()), rel=1e-4)
    ((history, ratios, _, _, gap, labels, _),) = drawn
    assert history[0].shape == (2, 1, 3)
    assert (ratios, labels) == ({}, None)
    assert torch.allclose(gap, logits, rtol=1e-4, atol=1e-6)


def test_games_without_density_ratios_are_not_drawn(tmp_path):
    with pytest.warns(UserWarning, match="GOLDTerms draws nothing: .* WGAN"):
        fit(tmp_path, WGAN((2,)), ring(), [GOLDTerms()], 1)
    assert not (tmp_path / "gold").exists()


def test_bad_arguments():
    with pytest.raises(ValueError, match="num_samples=15"):
        GOLDTerms(num_samples=15)
    with pytest.raises(ValueError, match="every_n_updates=0"):
        GOLDTerms(0)
