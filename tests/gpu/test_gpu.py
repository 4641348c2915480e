"""What holds on one GPU: `make bench-gpu`, or `pytest -m gpu tests/gpu`.

``LIGHTNING_GANS_TEST_DEVICE=cpu`` runs them on the CPU, as a test of themselves; there nothing is compiled.
"""

import os
from pathlib import Path

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # sums in cuBLAS in one order, for exact resuming

import pytest
import torch
from lightning.pytorch import Callback

from lightning_gans import ClassifierExtractor, DatasetClassifier
from lightning_gans.callbacks import Checkpoint, Evaluate, GeneratorEMA
from lightning_gans.metrics import FID, IS
from tests.conformance.games import PAPERS, digits, game, images_of, outputs, same
from tests.kill import KillAt, Killed

from ..conformance.games import trainer as cpu_trainer

DEVICE = os.environ.get("LIGHTNING_GANS_TEST_DEVICE", "cuda")
MODES = {
    "fp32": ({}, {}),
    "bf16": ({"precision": "bf16-mixed"}, {}),
    "channels_last": ({}, {"channels_last": True}),
    "fast": ({"precision": "bf16-mixed"}, {"channels_last": True, "compile": True}),
}
COMPILED = ("CycleGAN", "DCGAN", "Pix2Pix", "WGANGP")
"""Between them they have all networks of images; compiling takes half a minute each, so they come first."""
TRAINED = [("fast", name) for name in COMPILED]
TRAINED += [(mode, name) for mode in MODES if mode != "fast" for name in PAPERS]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA GPU"),
]


@pytest.fixture(autouse=True)
def exact():
    """float32 is float32, and nothing is compiled for a CPU, which would take minutes."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = False
    with torch.compiler.set_stance("default" if DEVICE == "cuda" else "force_eager"):
        yield
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value


def trainer(callbacks=(), **arguments):
    return cpu_trainer(
        callbacks, **{"accelerator": "gpu" if DEVICE == "cuda" else "cpu", "devices": 1, **arguments}
    )


class Batches(Callback):
    """Where the training batches are, and the loader's data."""

    def __init__(self):
        self.devices = set()

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.devices |= {part.device.type for part in batch} | {module.device.type}
        self.devices.add(trainer.train_dataloader.data.device.type)


@pytest.mark.parametrize(("mode", "name"), TRAINED)
def test_trains(mode, name):
    settings, options = MODES[mode]
    torch.compiler.reset()
    data, batches = images_of(name), Batches()
    module = game(name, data, **options)
    (network, *_) = module.player_networks("generator").values()
    before = [p.detach().clone() for p in network.parameters()]
    fit = trainer([GeneratorEMA(), batches], max_steps=2, **settings)
    fit.fit(module, data)
    assert fit.global_step == 2
    assert batches.devices == {DEVICE}
    assert all(p.isfinite().all() and p.dtype == torch.float32 for p in module.parameters())
    assert not same(before, [p.detach().cpu() for p in network.parameters()])
    assert outputs(module).isfinite().all()


@pytest.mark.parametrize("name", PAPERS)
def test_one_seed_gives_the_same_samples_on_cpu_and_gpu(name):
    module = game(name)
    on_cpu = outputs(module)
    on_device = outputs(module.to(DEVICE))
    assert on_device.device.type == DEVICE
    torch.testing.assert_close(on_device.cpu(), on_cpu, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["DCGAN", "GAN", "CoulombGAN", "Pix2Pix", "CycleGAN"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_killed_and_resumed_is_uninterrupted(name, precision):
    """To the bit, with torch's deterministic algorithms."""

    def run(folder, ckpt_path=None, extra=()):
        torch.manual_seed(5)
        callbacks = [Checkpoint(every_n_updates=2, dirpath=folder), GeneratorEMA(0.9), *extra]
        fit = trainer(callbacks, max_steps=14, precision=precision, deterministic=True)
        fit.fit(game(name), images_of(name), ckpt_path=ckpt_path)
        return torch.load(Path(folder) / "last.ckpt", weights_only=True)

    try:
        whole = run("whole")
        with pytest.raises(Killed):
            run("killed", extra=[KillAt(7)])
        resumed = run("killed", ckpt_path="killed/last.ckpt")
    finally:
        torch.use_deterministic_algorithms(False)
    for key in ("state_dict", "optimizer_states", "global_step"):
        assert same(whole[key], resumed[key]), key


def test_evaluates_as_on_the_cpu():
    data, module = digits(), game("DCGAN")
    extractor = ClassifierExtractor(DatasetClassifier(data.image_shape, data.num_classes))
    rows = []
    for accelerator in ("cpu", "gpu" if DEVICE == "cuda" else "cpu"):
        score = Evaluate([FID(), IS()], extractor, num_samples=200, cache=False)
        rows.append(trainer([score], accelerator=accelerator, limit_val_batches=1).validate(module, data)[0])
    names = [name for name in rows[0] if name in ("val/fid", "val/is")]
    assert len(names) == 2
    for name in names:
        assert rows[1][name] == pytest.approx(rows[0][name], rel=1e-2)
