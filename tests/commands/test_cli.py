"""The command line as users type it: names, precedence, samples, one-line refusals."""

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import lightning_gans
from lightning_gans import load
from lightning_gans.commands.main import main
from lightning_gans.commands.parsing import explain
from lightning_gans.commands.recipes import find_config, recipe_names

QUICK = ("--trainer.max_steps", 2, "--trainer.enable_progress_bar", "false", "--trainer.limit_val_batches", 0)
SMALL = ("--data.batch_size", 16, "--data.limit", 64)


@pytest.fixture
def checkpoint(cli):
    cli(
        "fit",
        "--model",
        "GAN",
        "--model.latent=Uniform",
        "--model.latent.dim=9",
        "--data",
        "Digits",
        *SMALL,
        *QUICK,
    )
    return Path("runs/gan/version_0/checkpoints/last.ckpt")


def init_args(run):
    return yaml.safe_load((Path("runs") / run / "config.yaml").read_text())["model"]["init_args"]


def test_help_and_recipes(cli, capsys):
    cli("--help")
    shown = capsys.readouterr().out
    assert "recipes" in shown
    assert "-parser" not in shown  # modules that help the commands are none themselves
    cli("recipes")
    listed = capsys.readouterr().out
    for name in (*recipe_names(), "loggers/wandb"):
        assert f"\n{name}\n" in listed
    assert ", wgan, wgan_gp\n" in listed  # sweeps
    assert {"quickstart", "gan/ring", "dcgan/mnist", "wgan/ring", "wgan_gp/grid"} <= set(recipe_names())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("recipes",), ("recipse",), ("fit", "--config", "qiuckstart")]
)
def test_without_torch(arguments):
    """What only looks things up does not wait for imports, and takes less than a second of the processor."""
    code = f"""
import sys, time
from lightning_gans.commands.main import main
try:
    main({arguments})
finally:
    assert not {{"torch", "lightning", "numpy"}} & set(sys.modules)
    assert time.process_time() < 1
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == (2 if arguments[0] in ("recipse", "fit") else 0)
    assert "Error" not in run.stderr


def test_version(cli, capsys):
    cli("--version")
    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"lightning-gans {lightning_gans.__version__}"
    assert f"torch {torch.__version__.partition('+')[0]}" in "\n".join(others)


def test_without_optional_packages():
    """Games train where neither Weights & Biases nor torch-fidelity is installed."""
    code = """
import importlib.metadata, sys

MISSING = ("wandb", "torch_fidelity", "tensorboard", "tensorboardX", "sklearn")

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING[:4]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def version(name, installed=importlib.metadata.version):
    if name.replace("-", "_") in MISSING[:4]:
        raise importlib.metadata.PackageNotFoundError(name)
    return installed(name)

importlib.metadata.version = version
sys.meta_path.insert(0, Missing())
from lightning_gans.commands.main import main

main(["fit", "--model=GAN", "--data=GaussianMixtures", "--data.samples=600", "--trainer.max_steps=2",
      "--trainer.callbacks=Evaluate", "--trainer.callbacks.metrics=[ModeCoverage]",
      "--trainer.callbacks.num_samples=100", "--trainer.enable_progress_bar=false"])
assert not set(MISSING) & set(sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert Path("runs/gan/version_0/checkpoints/last.ckpt").is_file()


def test_public_names():
    """They are imported when they are used, and are those of the modules that define them."""
    assert {*lightning_gans.__all__, "__version__"} <= set(dir(lightning_gans))
    for name in lightning_gans.__all__:
        value = getattr(lightning_gans, name)
        assert value.__name__ == name
        assert pickle.loads(pickle.dumps(value)) is value
    assert lightning_gans.networks.DCGANGenerator is not None
    with pytest.raises(AttributeError, match="no attribute MNITS"):
        _ = lightning_gans.MNITS


def test_ctrl_c(capsys, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_gans.commands.recipes.recipe_names", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["recipes"])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "lightning-gans: interrupted\n"


def test_nothing_is_dropped_silently(cli, fails, checkpoint):
    line = fails("validate", "--ckpt_path", checkpoint, "--samples.columns", 3)
    assert "--samples.columns: validate writes no run and draws no samples" in line
    fit = ("fit", "--config", "classifier/digits", "--trainer.max_epochs=-1", "--trainer.max_steps=1",
           "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false", "--trainer.logger=false",
           "--trainer.enable_checkpointing=false")  # fmt: skip
    with warnings.catch_warnings(record=True) as told:
        cli(*fit)
    assert not [str(warning.message) for warning in told if "is not used" in str(warning.message)]
    with warnings.catch_warnings(record=True) as told:
        cli(*fit, "--name=mine", "--samples.columns=3", "--checkpoint.every_n_updates=7")
    lines = [str(warning.message) for warning in told if "is not used" in str(warning.message)]
    assert [line.split()[0] for line in lines] == ["checkpoint", "samples"]


@pytest.mark.slow
def test_spawned_processes(tmp_path):
    arguments = ["fit", "--model=GAN", "--data=Digits", *SMALL, *QUICK, "--trainer.strategy=ddp_spawn",
                 "--trainer.accelerator=cpu", "--trainer.devices=2"]  # fmt: skip
    run = subprocess.run([sys.executable, "-m", "lightning_gans", *map(str, arguments)], capture_output=True,
                         text=True, check=False)  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "The run is in runs/gan/version_0\n" in run.stdout
    assert torch.load("runs/gan/version_0/checkpoints/last.ckpt", weights_only=True)["global_step"] == 2


def test_recipes_are_found_by_name_from_any_folder():
    path, name = find_config("dcgan/mnist")
    assert Path(path).is_file()
    assert name == "dcgan/mnist"
    assert find_config("recipes/dcgan/mnist.yaml")[1] == "dcgan/mnist"


def test_runs_are_numbered(cli):
    for _ in range(2):
        cli("fit", "--config", "quickstart", *SMALL, *QUICK)
    assert sorted(path.name for path in Path("runs/quickstart").iterdir()) == ["version_0", "version_1"]


def test_name_of_the_run(cli):
    cli("fit", "--config", "quickstart", "--name", "mine/first", *SMALL, *QUICK)
    assert Path("runs/mine/first/version_0/config.yaml").is_file()


def test_a_later_config_wins(cli):
    Path("more.yaml").write_text("model: {init_args: {discriminator_steps: 3}}\ntrainer: {max_steps: 1}\n")
    cli("fit", "--config", "quickstart", "--config", "more.yaml", *SMALL, *QUICK[2:])
    assert init_args("quickstart/version_0")["discriminator_steps"] == 3


def test_dotted_keys_as_a_sweep_sets_them(cli):
    cli("fit", "--config", "gan/ring", "--data.samples=600",
        "--model.init_args.generator_optimizer.init_args.beta1=0.25",
        "--model.generator_optimizer.lr=0.125", *QUICK)  # fmt: skip
    optimizer = init_args("gan/ring/version_0")["generator_optimizer"]["init_args"]
    assert optimizer["beta1"] == 0.25
    assert optimizer["lr"] == 0.125


def test_resume_goes_on_with_what_the_checkpoint_stores(cli, checkpoint):
    """Class, latent and data are not repeated; the run's own config is used."""
    cli("fit", "--ckpt_path", checkpoint, "--trainer.max_steps", 4)
    resumed = Path("runs/gan/version_1")
    assert init_args("gan/version_1")["latent"]["init_args"]["dim"] == 9
    assert torch.load(resumed / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 4


def test_the_command_line_beats_the_checkpoint(cli, checkpoint):
    cli("fit", "--ckpt_path", checkpoint, "--trainer.max_steps", 4, "--model.generator_optimizer.lr", 0.5,
        "--model.discriminator_steps", 2)  # fmt: skip
    arguments = init_args("gan/version_1")
    assert arguments["discriminator_steps"] == 2
    assert arguments["generator_optimizer"]["init_args"]["lr"] == 0.5
    assert arguments["latent"]["init_args"]["dim"] == 9
    path = "runs/gan/version_1/checkpoints/last.ckpt"
    assert load(path).discriminator_steps == 2
    groups = [state["param_groups"][0] for state in torch.load(path, weights_only=True)["optimizer_states"]]
    assert [group["lr"] for group in groups] == [2e-4, 0.5]


def test_arguments_of_a_checkpoint_whose_run_is_gone(cli, checkpoint):
    """Then they come from the checkpoint itself, below the user's."""
    moved = checkpoint.rename("moved.ckpt")
    cli("fit", "--ckpt_path", moved, "--data", "Digits", *SMALL, "--trainer.max_steps", 3,
        "--trainer.enable_progress_bar", "false", "--trainer.limit_val_batches", 0)  # fmt: skip
    assert init_args("gan/version_1")["latent"]["init_args"]["dim"] == 9


def test_new_learning_rate_under_a_scheduler_on_resume(cli):
    """The schedule goes on where it was, from the new rate."""
    scheduler = "--model.discriminator_scheduler=torch.optim.lr_scheduler.PolynomialLR"
    cli("fit", "--model", "GAN", "--data", "Digits", *SMALL, *QUICK, scheduler,
        "--model.discriminator_scheduler.total_iters", 10)  # fmt: skip
    cli("fit", "--ckpt_path", "runs/gan/version_0/checkpoints/last.ckpt", "--trainer.max_steps", 4,
        "--model.discriminator_optimizer.lr", 0.5)  # fmt: skip
    stored = torch.load("runs/gan/version_1/checkpoints/last.ckpt", weights_only=True)
    assert stored["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.5 * 6 / 10)


@pytest.mark.parametrize("paper", ["WGANGP", "DCGAN"])
def test_scoring_other_papers(cli, paper, capsys):
    cli("fit", "--model", paper, "--data", "Digits", *SMALL, *QUICK)
    path = f"runs/{paper.lower()}/version_0/checkpoints/last.ckpt"
    cli("validate", "--ckpt_path", path, "--trainer.limit_val_batches", 2)
    assert "val/discriminator_loss" in capsys.readouterr().out


def test_new_scheduler_on_resume(cli):
    scheduler = "--model.discriminator_scheduler=torch.optim.lr_scheduler.PolynomialLR"
    cli("fit", "--model", "GAN", "--data", "Digits", *SMALL, *QUICK, scheduler,
        "--model.discriminator_scheduler.total_iters", 2)  # fmt: skip
    cli("fit", "--ckpt_path", "runs/gan/version_0/checkpoints/last.ckpt", "--trainer.max_steps", 3,
        "--model.discriminator_scheduler.total_iters", 6)  # fmt: skip
    stored = torch.load("runs/gan/version_1/checkpoints/last.ckpt", weights_only=True)
    assert stored["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(2e-4 * 3 / 6)


@pytest.mark.parametrize("command", ["validate", "test"])
def test_scoring_commands(cli, checkpoint, command, capsys):
    cli(command, "--ckpt_path", checkpoint, "--trainer.limit_val_batches", 2)
    assert "discriminator_loss" in capsys.readouterr().out
    assert [path.name for path in Path("runs/gan").iterdir()] == ["version_0"]


def test_sample(cli, checkpoint):
    cli("sample", "--ckpt_path", checkpoint, "--n", 9, "--out", "grid.png", "--columns", 3)
    assert Image.open("grid.png").size[0] == Image.open("grid.png").size[1]
    for _ in range(2):
        cli("sample", "--ckpt_path", checkpoint, "--n", 5, "--seed", 3, "--out", "some.npz")
        images = np.load("some.npz")["arr_0"]
        assert images.shape == (5, 8, 8, 1)
        assert images.dtype == np.uint8
    wanted = load(checkpoint).sample(5, seed=3).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(images, wanted)
    cli("sample", "--ckpt_path", checkpoint, "--n", 3, "--seed", 3, "--out", "folder")
    files = sorted(Path("folder").iterdir())
    assert len(files) == 3
    assert np.array_equal(np.asarray(Image.open(files[0])), images[0, :, :, 0])


def test_sample_averaged_or_raw(cli):
    cli("fit", "--config", "quickstart", *SMALL, *QUICK)
    path = "runs/quickstart/version_0/checkpoints/last.ckpt"
    arrays = []
    for weights in ("ema", "raw"):
        cli("sample", "--ckpt_path", path, "--n", 4, "--out", "a.npz", "--weights", weights)
        arrays.append(np.load("a.npz")["arr_0"])
    assert not np.array_equal(*arrays)


def test_sample_of_points(cli, fails):
    cli("fit", "--config", "wgan_gp/grid", "--data.samples", 600, *QUICK)
    path = "runs/wgan_gp/grid/version_0/checkpoints/last.ckpt"
    cli("sample", "--ckpt_path", path, "--n", 30, "--out", "points.npz")
    assert np.load("points.npz")["arr_0"].shape == (30, 2)
    cli("sample", "--ckpt_path", path, "--n", 30, "--out", "points.png")
    assert Image.open("points.png").size[0] > 100
    assert "vectors are no pictures" in fails("sample", "--ckpt_path", path, "--out", "folder")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fitt"], "unknown command fitt: did you mean fit?"),
        (["fit", "--config", "dcgan/mnits"], "neither a file nor a recipe: did you mean dcgan/mnist"),
        (["fit", "--config"], "--config needs a value"),
        (["fit", "--config", "sweeps/wgan_gp"], "is a sweep: lightning-gans sweep wgan_gp"),
        (
            ["fit", "--config", "quickstart", "--config", "gan/ring"],
            "quickstart and --config gan/ring are two",
        ),
        (["fit"], "needs --data and --model, or a recipe that has them"),
        (
            ["fit", "--config", "quickstart", "--model.latnt", "3"],
            "DCGAN has no argument latnt: did you mean latent",
        ),
        (["fit", "--config", "quickstart", "--trainer.max_stepz", "3"], "did you mean --trainer.max_steps"),
        (["fit", "--model", "DCGANN", "--data", "Digits"], "DCGANN is unknown: did you mean DCGAN"),
        (
            ["fit", "--model", "nowhere.Foo", "--data", "Digits"],
            "nowhere.Foo cannot be made: No module named 'nowhere'",
        ),
        (["fit", "--model", "DCGAN", "--data", "Digitz"], "Digitz is unknown: did you mean Digits"),
        (["fit", "--model", "DCGAN", "--data", "Digits", "--data.image_size", "9"], "image_size=9"),
        (["fit", "--model", "DCGAN", "--data", "Digits", "--data.batch_size", "1"], "data.batch_size=1"),
        (
            ["fit", "--model", "GAN", "--data", "Digits", "--model.image_shape", "[1,9,9]"],
            "follows from the data",
        ),
        (
            ["fit", "--config", "quickstart", "--trainer.max_steps", "many"],
            "trainer.max_steps: give a whole number",
        ),
        (["fit", "--config", "quickstart", "--trainer.precision", "16-true"], "use bf16-mixed"),
        (["fit", "--config", "quickstart", "--model.discriminator_steps", "0"], "discriminator_steps=0"),
        (["fit", "--config", "gan/ring", "--data.layout", "rign"], "data.layout: give 'ring'"),
        (
            ["fit", "--model=GAN", "--data=MNIST", "--data.root=nowhere", "--data.download=false"],
            "MNIST: cannot read",
        ),
        (
            ["fit", "--config", "quickstart", "--ckpt_path", "none.ckpt"],
            "checkpoint none.ckpt does not exist",
        ),
        (["fit", "--config", "quickstart", "--ckpt_path", "last"], "give the path of the checkpoint"),
        (["fit", "--config", "quickstart", "--trainer.devices", "-3"], "devices"),
        (["sample", "--ckpt_path", "none.ckpt"], "checkpoint none.ckpt does not exist"),
        (["sample", "--ckpt_path", "none.ckpt", "--n", "0"], "n=0"),
        (
            ["sample", "--ckpt_path", "none.ckpt", "--out", "a.jpg"],
            "out=a.jpg: give a .png, an .npz or a folder",
        ),
        (["sample", "--ckpt_path", "none.ckpt", "--outt", "a.png"], "did you mean --out"),
    ],
)
def test_one_clear_line(fails, arguments, message):
    Path("mine.txt").write_text("kept")
    assert message in fails(*arguments)
    assert Path("mine.txt").read_text() == "kept"


def test_wrong_yaml(fails):
    Path("wrong.yaml").write_text("model: {class_path: DCGAN, init_args: {latent: 7}}\ndata: Digits\n")
    assert "latent" in fails("fit", "--config", "wrong.yaml")
    Path("broken.yaml").write_text("model: {class_path: [")
    fails("fit", "--config", "broken.yaml")


def test_checkpoints_that_do_not_fit(fails, checkpoint):
    line = fails("fit", "--model", "DCGAN", "--data", "Digits", "--ckpt_path", checkpoint)
    assert (
        "is a checkpoint of lightning_gans.models.gan.GAN, but the model is lightning_gans.models.dcgan.DCGAN"
        in line
    )
    bad = Path("bad.ckpt")
    bad.write_bytes(checkpoint.read_bytes()[:1000])
    assert "bad.ckpt is damaged" in fails("fit", "--config", "quickstart", "--ckpt_path", bad)
    assert "bad.ckpt is damaged" in fails("sample", "--ckpt_path", bad)
    line = fails("fit", "--ckpt_path", checkpoint, "--model.latent.dim", 11, "--trainer.max_steps", 4)
    assert "does not fit" in line


@pytest.mark.skipif(os.getuid() == 0, reason="root can write anywhere")
def test_a_folder_that_cannot_be_written(fails):
    Path("runs").mkdir(mode=0o500)
    fails("fit", "--config", "quickstart", *SMALL, *QUICK)


def test_a_file_in_the_place_of_the_folder(fails):
    Path("runs").write_text("not a folder")
    assert "runs" in fails("fit", "--config", "quickstart", *SMALL, *QUICK)
    assert Path("runs").read_text() == "not a folder"


def test_modules_of_the_folder_are_found(cli, monkeypatch):
    """With the installed script, whose own folder is where Python looks first, as with ``python -m``."""
    Path("mine_here.py").write_text("from lightning_gans import GAN\n\n\nclass Mine(GAN):\n    pass\n")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(Path.cwd()))])
    cli("fit", "--model", "mine_here.Mine", "--data", "Digits", "--trainer.fast_dev_run", 1)
    assert sys.modules["mine_here"].__file__ == str(Path("mine_here.py").absolute())
    del sys.modules["mine_here"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 728. TiB"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 40000 bytes."),
    ],
)
def test_too_little_memory(fails, monkeypatch, error):
    def full(*arguments, **named):
        raise error

    monkeypatch.setattr("lightning_gans.commands.sample.load", full)
    line = fails("sample", "--ckpt_path", "game.ckpt")
    assert "too little memory" in line
    assert str(error) in line


def test_debug_shows_the_traceback(cli):
    with pytest.raises(FileNotFoundError):
        cli("sample", "--ckpt_path", "none.ckpt", "--debug")


def test_explain_keeps_plain_messages():
    assert explain("clip=0: give a positive number") == "clip=0: give a positive number"


@pytest.fixture
def pictures(tmp_path):
    """A folder of 24 images, half of them twice."""
    rng = np.random.default_rng(0)
    for number in range(12):
        image = Image.fromarray(rng.integers(0, 256, (40, 32, 3), np.uint8))
        for copy in ("a", "b"):
            path = tmp_path / "photos" / f"{copy}{number}.png"
            path.parent.mkdir(exist_ok=True)
            image.save(path)
    return tmp_path / "photos"


def test_preview(cli, capsys, pictures, monkeypatch, tmp_path):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))
    cli("preview", "--data", "Digits", "--data.batch_size", 50, "--out", "digits.png", "--seconds", 0.1)
    assert "1,500 training, 297 test samples" in capsys.readouterr().out
    photos = ("--data=ImageFolder", f"--data.folder={pictures}", "--data.batch_size=6")
    cli("preview", *photos, "--out=photos.png", "--seconds=0.1")
    assert "24 training samples" in capsys.readouterr().out
    for name in ("digits.png", "photos.png"):
        assert Image.open(name).size > (100, 100)


def test_near_duplicates_are_found_and_left_out(cli, capsys, pictures, monkeypatch, tmp_path):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))
    data = ("--data=ImageFolder", f"--data.folder={pictures}", "--data.batch_size=6")
    cli("dedup", *data, "--out", "found", "--epochs", 1)
    dropped = set(Path("found/exclude.txt").read_text().split())
    assert len(dropped) == 12
    assert Path("found/pairs.png").is_file()
    cli("preview", *data, "--data.exclude=found/exclude.txt", "--out=rest.png", "--seconds=0.1")
    assert "12 training samples" in capsys.readouterr().out


def test_games_refuse_what_they_cannot_learn_from(fails, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))
    line = fails("fit", "--model=GAN", "--data=Colorization", f"--data.folder={pictures}",
                 "--data.batch_size=4", "--data.image_size=16")  # fmt: skip
    assert "learns from single images: use ImageFolder" in line
