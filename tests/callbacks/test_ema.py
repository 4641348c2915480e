import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from lightning_gans.callbacks import GeneratorEMA
from tests.callbacks.helpers import Save, digits, fit, norm_game, point_game, ring, weights


class Recursion(Callback):
    """Does by hand, in another way, what the callback promises."""

    def __init__(self, decay, start_step=0):
        self.decay, self.start_step = decay, start_step
        self.updates = 0

    def on_fit_start(self, trainer, pl_module):
        self.average = [p.detach().clone().double() for p in pl_module.generator.parameters()]

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.updates == 0 and batch_idx == 0:
            pl_module.player_optimizer("generator").register_step_post_hook(lambda *_: self.step(pl_module))

    def step(self, pl_module):
        self.updates += 1
        decay = 0.0 if self.updates <= self.start_step else self.decay
        for average, weight in zip(self.average, pl_module.generator.parameters(), strict=True):
            average.mul_(decay).add_(weight.detach().double(), alpha=1 - decay)


@pytest.mark.parametrize(
    ("schedule", "start_step"),
    [({}, 0), ({"generator_steps": 3}, 0), ({"discriminator_steps": 3}, 0), ({"generator_steps": 2}, 5)],
)
def test_equals_the_recursion_after_every_update(tmp_path, schedule, start_step):
    game, by_hand = point_game(**schedule), Recursion(0.9, start_step)
    trainer = fit(tmp_path, game, ring(), [GeneratorEMA(0.9, start_step), by_hand], max_steps=12)
    assert by_hand.updates == trainer.global_step == 12
    for expected, average in zip(by_hand.average, game.ema["generator"].parameters(), strict=True):
        torch.testing.assert_close(average.double(), expected, rtol=1e-5, atol=1e-6)
    raw = next(game.generator.parameters())
    assert not torch.equal(raw, next(game.ema["generator"].parameters()))


def test_one_update_is_exact(tmp_path):
    seed_everything(0, verbose=False)
    game = point_game()
    before = weights(game.generator)
    fit(tmp_path, game, ring(), [GeneratorEMA(0.9)], max_steps=1)
    after = weights(game.generator)
    assert torch.equal(weights(game.ema["generator"]), before + (1 - 0.9) * (after - before))


def test_copies_until_start_step(tmp_path):
    game = norm_game()
    fit(tmp_path, game, digits(), [GeneratorEMA(0.9, start_step=3)], max_steps=3)
    averaged, raw = game.ema["generator"].state_dict(), game.generator.state_dict()
    assert all(torch.equal(averaged[key], raw[key]) for key in raw)


def test_running_statistics_are_averaged_with_the_weights(tmp_path):
    """Statistics of the last weights do not fit averaged ones; counters are copied."""
    game, history = norm_game(), []

    class Watch(Callback):
        def on_train_batch_end(self, trainer, module, *_):
            history.append({k: v.clone() for k, v in module.generator.named_buffers()})

    start = {k: v.clone() for k, v in game.generator.named_buffers()}
    fit(tmp_path, game, digits(), [GeneratorEMA(0.9), Watch()], max_steps=4)
    assert any("running_var" in name for name in start)
    for name, value in start.items():
        for after in history:
            value = 0.9 * value + 0.1 * after[name] if value.is_floating_point() else after[name]
        torch.testing.assert_close(game.ema["generator"].get_buffer(name), value)


def test_only_the_generators_side_is_averaged_and_nothing_of_it_trains(tmp_path):
    game = point_game()
    fit(tmp_path, game, ring(), [GeneratorEMA()], max_steps=2)
    assert set(game.ema) == {"generator", "latent"}
    assert not any(p.requires_grad for p in game.ema.parameters())


def test_training_is_the_same_with_it(tmp_path):
    ends = []
    for callbacks in ([], [GeneratorEMA(0.9)]):
        seed_everything(1, verbose=False)
        game = norm_game()
        fit(tmp_path, game, digits(), callbacks, max_steps=4)
        ends.append(torch.cat([weights(game.generator), weights(game.discriminator)]))
    assert torch.equal(*ends)


def test_a_resumed_run_ends_with_the_same_average(tmp_path):
    seed_everything(0, verbose=False)
    whole = norm_game()
    fit(tmp_path, whole, digits(), [GeneratorEMA(0.9, start_step=2)], max_steps=8)

    seed_everything(0, verbose=False)
    saving = Save(tmp_path / "half.ckpt", 3)
    fit(tmp_path, norm_game(), digits(), [GeneratorEMA(0.9, start_step=2), saving], max_steps=5)
    resumed = norm_game()
    fit(tmp_path, resumed, digits(), [GeneratorEMA(0.9, start_step=2)], 8, ckpt_path=tmp_path / "half.ckpt")
    averaged = resumed.ema.state_dict()
    assert all(torch.equal(value, averaged[key]) for key, value in whole.ema.state_dict().items())


def test_one_callback_serves_several_runs_and_leaves_no_hook_behind(tmp_path):
    callback, game = GeneratorEMA(0.5), point_game()
    for _ in range(2):
        trainer = fit(tmp_path, game, ring(), [callback], max_steps=2)
        assert not trainer.optimizers[-1]._optimizer_step_post_hooks


@pytest.mark.parametrize("arguments", [{"decay": 1.0}, {"decay": -0.1}, {"start_step": -1}])
def test_refuses_numbers_that_make_no_sense(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        GeneratorEMA(**arguments)


def test_refuses_a_module_that_is_no_game(tmp_path):
    trainer = Trainer(default_root_dir=tmp_path, logger=False, accelerator="cpu")
    with pytest.raises(TypeError, match="LightningModule is no game"):
        GeneratorEMA().setup(trainer, LightningModule(), "fit")
