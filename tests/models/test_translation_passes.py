"""CycleGAN and Pix2Pix against plain loops: the same losses and weights, update by update, in float64."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from lightning_gans import CycleGAN, Pix2Pix
from tests.conformance.games import trainer

UPDATES = 3


@pytest.fixture
def translation(monkeypatch):
    """benchmarks/translation.py, whose references are written for themselves."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import translation

    return translation


class InFloat64(Callback):
    """Goes over to float64 once everything is checked; records the losses of every update."""

    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer, module):
        module.double()
        module._unseen = False  # the first batch is checked for float32
        report = module.report

        def recorded(values):
            self.seen.append({name: value.item() for name, value in values.items() if name.endswith("_loss")})
            report(values)

        module.report = recorded


@pytest.mark.parametrize("device", ["takes batches one by one", "at once"])
@pytest.mark.parametrize(
    ("game", "settings"),
    [
        (CycleGAN, {"generator": {"width": 4, "blocks": 1}, "lambda_identity": 0.5}),
        (CycleGAN, {"generator": {"width": 4, "blocks": 1}}),
        (CycleGAN, {"generator": {"width": 4, "blocks": 1}, "discriminator": {"norm": "batch"}}),
        (Pix2Pix, {"generator": {"width": 4, "dropout": "none"}}),
    ],
)
def test_same_losses_and_weights_as_pass_by_pass(translation, game, settings, device, monkeypatch):
    if device == "at once":  # as accelerators
        monkeypatch.setattr("lightning_gans.models.cyclegan.game.ONE_BY_ONE", ())
    discriminator = {"width": 4, "receptive_field": 16, **settings.get("discriminator", {})}
    case = translation.cases(tiny=True, device="cpu")[game.__name__.lower()]
    case.size, case.settings = 16, {**settings, "discriminator": discriminator}
    ours, theirs = case.made(), translation.with_torchs_layers(case.made().double())
    reference = case.reference(theirs)
    batches = [(a.double(), b.double()) for a, b in case.batches(UPDATES)]
    losses = InFloat64()
    trainer([losses], max_steps=UPDATES).fit(ours, DataLoader(batches, batch_size=None))
    expected = [[loss.item() for loss in reference.step(a, b)] for a, b in batches]
    for name, values in zip(
        ("generator_loss", "discriminator_loss"), zip(*expected, strict=True), strict=True
    ):
        seen = [values[name] for values in losses.seen if name in values]
        assert seen == pytest.approx(values, rel=1e-9)
    weights = theirs.state_dict()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-9)


def test_the_benchmark_runs(translation, capsys):
    arguments = ["--tiny", "--rounds", "1", "--only", "pix2pix"]
    translation.main([*arguments, "--time", "ours, fp32"])
    translation.main([*arguments, "--peak", translation.REFERENCE])
    *lines, peak = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[0] for line in lines[1:3]] == [translation.REFERENCE, "ours, fp32"]
    assert float(peak) > 0
