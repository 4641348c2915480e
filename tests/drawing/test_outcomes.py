import numpy as np
import torch
from matplotlib.figure import Figure

from lightning_gans.drawing.outcomes import draw_history


def test_heat_follows_the_outcomes(monkeypatch):
    past = torch.zeros(4, 5)
    past[:, 4], past[2] = 1, 0
    past[2, 0] = 1
    seen = {}
    drawn = Figure.suptitle
    monkeypatch.setattr(Figure, "suptitle", lambda self, *a, **k: seen.update(f=self) or drawn(self, *a, **k))
    history = {10 * i: torch.stack([row, row]) for i, row in enumerate(past)}
    picture = np.asarray(draw_history(history, torch.full((2, 5), 0.2)).convert("L")).astype(int)
    for axes in (axes for axes in seen["f"].axes if axes.get_title(loc="left").startswith("D's mean")):

        def level(update, outcome, axes=axes):
            across, up = axes.transData.transform((update, outcome))
            return picture[round(picture.shape[0] - up), round(across)]

        assert all(level(update, 4) < 80 for update in (0, 10, 30))
        assert level(20, 4) > 200
        assert level(20, 0) < 80
        assert level(0, 0) > 200
