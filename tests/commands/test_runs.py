"""The folder of a run: its name, its claim, what it holds, and when it is left out or given back."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock
from lightning.pytorch import Callback

from lightning_gans.commands import limits
from lightning_gans.commands.run_folder import claim, give_back

RUN = ("fit", "--model=GAN", "--data=Digits", "--data.limit=64", "--data.batch_size=16",
       "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false")  # fmt: skip
SHORT = (*RUN, "--trainer.max_steps=2")
FIRST = Path("runs/gan/version_0")


def runs():
    return sorted(path.as_posix() for path in Path("runs").rglob("version_*"))


def content(run):
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if not path.is_dir())


def test_every_claim_is_another_folder():
    """Also if they are made at the same time, and beside folders that are none of a run."""
    Path("runs/mine/version_7").mkdir(parents=True)
    Path("runs/mine/version_x").mkdir()
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: claim(Path(), "mine"), range(8)))
    assert {path.name for path in claims} == {f"version_{number}" for number in range(8, 16)}


def test_a_claim_removes_what_killed_runs_left():
    """Half written checkpoints, as large as whole ones; not of a run that lives."""
    parts = [claim(Path(), "mine") / f"checkpoints/last.ckpt.{'0' * 32}.part" for _ in range(2)]
    for part in parts:
        part.parent.mkdir()
        part.touch()
    with FileLock(parts[1].with_name("last.ckpt.lock")):
        claim(Path(), "mine")
    assert [part.exists() for part in parts] == [False, True]


def test_only_a_start_is_given_back():
    for kept in (False, True):
        folder = claim(Path(), "a/b")
        for name in ("config.yaml", "checkpoints/last.ckpt.lock", *(["metrics.csv"] * kept)):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
        give_back(folder, Path())
        assert Path("runs").exists() == kept


@pytest.mark.slow
def test_runs_that_start_together():
    command = [sys.executable, "-m", "lightning_gans", *SHORT]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in processes:
        error = process.communicate()[1]
        assert process.returncode == 0, error
    assert len(runs()) == 4
    assert all("checkpoints/last.ckpt" in content(Path(run)) for run in runs())


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", ".", "", "a/../../b"])
def test_a_run_lies_below_runs(fails, tmp_path, name):
    assert f"--name {name}" in fails(*SHORT, f"--name={name}")
    Path("mine.yaml").write_text(f"name: {name!r}\n")
    assert f"--name {name}" in fails(*SHORT, "--config=mine.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--trainer.precision=16-true"],
        ["--trainer.devices=-3"],
        ["--model.generator_optimizer.lr=-1"],
        ["--data=MNIST", "--data.root=nowhere", "--data.download=false"],
        ["--checkpoint.dirpath=blocked/by/a/file"],
    ],
)
def test_a_start_that_fails_leaves_nothing(fails, tmp_path, arguments):
    Path("blocked").touch()
    fails(*SHORT, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]


class CtrlC(Callback):
    def __init__(self, hook: str):
        setattr(self, hook, lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))


@pytest.fixture
def sigint():
    """Lightning ignores Ctrl-C from the first one on."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("hook", ["setup", "on_fit_start", "on_sanity_check_start"])
def test_ctrl_c_before_the_first_batch(cli, capsys, sigint, hook):
    callback = f"--trainer.callbacks={__name__}.CtrlC"
    with pytest.raises(SystemExit) as stop:
        cli(*SHORT, callback, f"--trainer.callbacks.hook={hook}", "--trainer.limit_val_batches=1")
    assert stop.value.code == 130
    assert capsys.readouterr().err.endswith("lightning-gans: interrupted\n")
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", ["validate", "test"])
def test_ctrl_c_while_scoring(cli, capsys, sigint, command):
    cli(*SHORT)
    config = yaml.safe_load((FIRST / "config.yaml").read_text())
    config["trainer"] |= {"callbacks": [{"class_path": f"{__name__}.CtrlC", "init_args": {}}]}
    hook = {"validate": "on_validation_batch_start", "test": "on_test_batch_start"}[command]
    config["trainer"]["callbacks"][0]["init_args"]["hook"] = hook
    (FIRST / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(SystemExit) as stop:
        cli(command, f"--ckpt_path={FIRST}/checkpoints/last.ckpt", "--trainer.limit_val_batches=1")
    assert stop.value.code == 130
    assert capsys.readouterr().err.endswith("lightning-gans: interrupted\n")


def test_without_a_logger(cli):
    """The run has its folder, with all but the log; several times."""
    for number in range(2):
        cli(*SHORT, "--trainer.logger=false")
        found = content(Path(f"runs/gan/version_{number}"))
        assert {"config.yaml", "checkpoints/last.ckpt", "samples.gif"} <= set(found)
        assert "metrics.csv" not in found
    assert not Path("checkpoints").exists()


def test_barebones(cli, tmp_path):
    """It needs no other option, and writes nothing, whatever the recipe has."""
    cli("fit", "--config=classifier/digits", "--trainer.barebones=true", "--trainer.max_epochs=1")
    cli(*SHORT[:-2], "--trainer.max_steps=1", "--trainer.barebones=true",
        "--trainer.callbacks=Evaluate", "--trainer.callbacks.metrics=[ClassBalance]")  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_left_out(cli):
    off = ("samples", "throughput", "checkpoint")
    Path("off.yaml").write_text("".join(f"{key}: false\n" for key in off))
    cli(*SHORT, *(f"--{key}=false" for key in off))
    Path("null.yaml").write_text("samples: null\n")
    cli(*SHORT, "--config=off.yaml", "--config=null.yaml")
    cli(*SHORT, "--config=off.yaml", "--samples.columns=4")
    for number in range(2):
        assert not {"samples.gif", "checkpoints/last.ckpt"} & set(content(Path(f"runs/gan/version_{number}")))
    assert "samples.gif" in content(Path("runs/gan/version_2"))
    config = yaml.safe_load(Path("runs/gan/version_2/config.yaml").read_text())
    assert config["samples"]["columns"] == 4
    assert config["checkpoint"] is False


def test_neither_settings_nor_false(fails):
    line = fails(*SHORT, "--samples=flase")
    assert "samples: " in line
    assert "false, not flase" in line


def test_another_class_is_another_run(cli):
    """Under a recipe or a run's config.yaml; a name that was typed counts as it is."""
    recipe = ("fit", "--config=quickstart", "--trainer.callbacks=null", "--data.limit=64", *SHORT[4:])
    cli(*recipe, "--model=lightning_gans.DCGAN", "--data=Digits")
    cli(*recipe, "--model=LSGAN")
    cli(*recipe, "--model=LSGAN", "--name=mine")
    cli("fit", "--config=runs/quickstart-lsgan/version_0/config.yaml")
    cli("fit", "--config=runs/quickstart-lsgan/version_0/config.yaml", "--model=HingeGAN")
    assert runs() == [
        "runs/mine/version_0",
        "runs/quickstart-lsgan-hingegan/version_0",
        "runs/quickstart-lsgan/version_0",
        "runs/quickstart-lsgan/version_1",
        "runs/quickstart/version_0",
    ]


@pytest.mark.parametrize(
    ("limit", "more"),
    [("max_steps=2", "max_steps"), ("max_epochs=1", "max_epochs"), ("max_time=00:00:00:01", "max_time")],
)
def test_a_finished_run_says_how_it_goes_on(cli, fails, limit, more):
    cli(*RUN, f"--trainer.{limit}")
    last = f"--ckpt_path={FIRST}/checkpoints/last.ckpt"
    line = fails("fit", last)
    assert "at its end" in line
    assert f"--trainer.{more}" in line
    assert runs() == [str(FIRST)]
    if more == "max_steps":
        cli("fit", last, "--trainer.max_steps=3")
        assert torch.load("runs/gan/version_1/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


def test_a_run_that_was_stopped_early_says_so(cli, fails):
    stops = {"monitor": "val/discriminator_loss", "patience": 1, "min_delta": 1e9, "mode": "max"}
    callback = {"class_path": "EarlyStopping", "init_args": stops}
    Path("stops.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [callback]}}))
    cli(*RUN, "--trainer.max_epochs=4", "--trainer.limit_val_batches=1", "--config=stops.yaml")
    last = FIRST / "checkpoints/last.ckpt"
    assert torch.load(last, weights_only=True)["epoch"] < 3
    assert "EarlyStopping" in fails("fit", f"--ckpt_path={last}")
    assert runs() == [str(FIRST)]
    cli("fit", f"--ckpt_path={last}", "--trainer.callbacks=null")
    assert torch.load("runs/gan/version_1/checkpoints/last.ckpt", weights_only=True)["epoch"] == 3


def test_a_run_killed_before_its_end_reaches_it(cli):
    """After its last update, that is: pictures and scores are still to come."""
    cli(*SHORT)
    (FIRST / "checkpoints/last.ckpt.lock").touch()
    cli("fit", f"--ckpt_path={FIRST}/checkpoints/last.ckpt")
    assert "samples.gif" in content(Path("runs/gan/version_1"))


@pytest.mark.parametrize(("model", "limit"), [("GAN", "max_steps"), ("DatasetClassifier", "max_epochs")])
def test_a_run_that_nothing_limits_ends(cli, monkeypatch, caplog, model, limit):
    monkeypatch.setattr(limits, "UPDATES", 3)
    monkeypatch.setattr(limits, "EPOCHS", 1)
    with caplog.at_level("INFO", "lightning.pytorch"):
        cli(*RUN, f"--model={model}", "--name=mine")
    assert f"trainer.{limit}" in caplog.text
    config = yaml.safe_load(Path("runs/mine/version_0/config.yaml").read_text())
    assert config["trainer"][limit] == (3 if limit == "max_steps" else 1)


def test_a_callback_with_an_enum_among_its_defaults(cli):
    timer = ("--trainer.callbacks=Timer", "--trainer.callbacks.duration=00:01:00:00")
    cli(*SHORT, *timer, "--trainer.max_steps=1")
    cli("fit", "--ckpt_path", "runs/gan/version_0", "--trainer.max_steps=2")
    assert "interval: step" in Path("runs/gan/version_1/config.yaml").read_text()
