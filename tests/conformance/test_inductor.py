"""``compile: true`` with torch's real compiler: slow to start, so not in the fast suite."""

import pytest
import torch
from lightning.pytorch import Callback

from .games import PAPERS, game, images_of, trainer


class Losses(Callback):
    def __init__(self):
        self.rows = []

    def on_train_batch_end(self, trainer, module, *_):
        self.rows.append({k: float(v) for k, v in trainer.callback_metrics.items()})


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_compiled_by_inductor(name):
    rows = []
    for compiled in (False, True):
        torch.compiler.reset()
        losses = Losses()
        data = images_of(name)
        trainer([losses], max_steps=3).fit(game(name, data, compile=compiled), data)
        rows.append(losses.rows)
    for plain, fast in zip(*rows, strict=True):
        assert plain == pytest.approx(fast, rel=1e-2, abs=1e-3)
