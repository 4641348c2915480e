"""Files that would leave a mark if anything in them were run, through every door: see SECURITY.md."""

import hashlib
import itertools
import json
import pickle
import shutil
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning import Trainer
from PIL import EpsImagePlugin, Image
from safetensors.torch import load as load_file
from torch import nn

import lightning_gans
from lightning_gans import GAN, ClassifierExtractor, Digits, TrainedSegmenter, load, load_reference
from lightning_gans.commands.export import export
from lightning_gans.commands.main import main
from lightning_gans.commands.reproduce.cells import _checkpoint
from lightning_gans.commands.study_score import read_session
from lightning_gans.files import recipes_folder
from lightning_gans.game.checkpoints import read_checkpoint
from lightning_gans.game.exported import exported
from tests.game.test_checkpoints import read_or_refused
from tests.tiny_data import write_pictures, write_session

QUIET = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
         "--trainer.limit_val_batches=0")  # fmt: skip
COMMANDS = ("fit", "validate", "test", "sample", "evaluate", "translate", "export")
MORE = {"translate": ("--input=.", "--output=../new"), "export": ("--out=../new",)}
"""What commands need beside a checkpoint."""
numbers = itertools.count()


class Trap:
    def __reduce__(self):
        return (exec, ("open('MARK', 'w').close()",))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of the command line: its folder."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", "--model=GAN", "--data=Digits", "--data.batch_size=16", "--data.limit=64",
              "--trainer.max_steps=1", *QUIET])  # fmt: skip
    return folder / "runs" / "gan" / "version_0"


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run in the current folder."""
    return Path(shutil.copytree(finished, tmp_path / "runs" / "gan" / "version_0")).relative_to(tmp_path)


@pytest.fixture(autouse=True)
def evil(tmp_path, monkeypatch):
    """A module in the current folder that leaves a mark when it is imported; of a name of its own."""
    name = f"evil_{next(numbers)}"
    (tmp_path / f"{name}.py").write_text(
        "open('MARK', 'w').close()\nfrom torch import nn\nclass Evil(nn.Module):\n    pass\n"
        "def make(*arguments) -> nn.Module:\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    assert not Path("MARK").exists()
    assert name not in sys.modules


def edited(run, edit):
    """The run's checkpoint, changed by ``edit``, in a file without a configuration beside it."""
    content = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    edit(content)
    torch.save(content, "edited.ckpt")
    return Path("edited.ckpt")


def specs(evil):
    """What a file may write in the place of a class."""
    system = {"class_path": "os.system", "init_args": {"command": "touch MARK"}}
    Path("sub.yaml").write_text(json.dumps(system))
    torch.save(Trap(), "trap.pth")
    return {
        "function": system,
        "partial": {**system, "partial": True},
        "class": {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", "MARK"]}},
        "module": {"class_path": f"{evil}.Evil"},
        "dotted text": f"{evil}.make",
        "dotted function": "os.getcwd",
        "text": json.dumps(system),
        "file": "sub.yaml",
        "address": "memory://sub.yaml",
        "through the package": {**system, "class_path": "lightning_gans.files.os.system"},
        "a function of the package": {
            "class_path": "lightning_gans.files.write_whole",
            "init_args": {"path": "MARK", "content": "x"},
        },
        "a method of Lightning": {
            "class_path": "lightning.pytorch.callbacks.ModelCheckpoint._link_checkpoint",
            "init_args": {"trainer": None, "filepath": "sub.yaml", "linkpath": "MARK"},
        },
        "a method of torch": "torch.nn.Module.compile",
        "a program of the package": {"class_path": "lightning_gans.commands.reproduce.__main__.Cell"},
        "an extractor of the package": {
            "class_path": "lightning_gans.metrics.extractors.Inception",
            "init_args": {"weights": "trap.pth", "verify": False},
        },
        "through torch": {"class_path": "torch.nn.modules.module.torch.hub.load"},
        "torch.load": {"class_path": "torch.load", "init_args": {"f": "trap.pth", "weights_only": False}},
        "an installed extractor": {
            "class_path": "torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3",
            "init_args": {"name": "x", "features_list": ["64"], "feature_extractor_weights_path": "trap.pth"},
        },
        "an installed metric": {
            "class_path": "torchmetrics.image.FrechetInceptionDistance",
            "init_args": {"feature_extractor_weights_path": "trap.pth"},
        },
        "no name": {"class_path": ["os", "system"]},
        "a name with an escape": {"class_path": "\x1b[2Jos.system"},
        "a list": [system],
        "within a class": {
            "class_path": "lightning_gans.networks.MLPGenerator",
            "init_args": {"image_shape": [1, 8, 8], "latent_dim": system},
        },
        "a layer's function": {
            "class_path": "torch.nn.TripletMarginWithDistanceLoss",
            "init_args": {"distance_function": f"{evil}.make"},
        },
    }


QUICK = ("function", "dotted text", "text", "file", "a function of the package")
"""Kinds for the doors that take longer to open."""
PLACES = ("generator", "discriminator", "latent", "generator_optimizer", "generator_scheduler", "image_shape",
          "new_argument")  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("loads", [load, GAN.load_from_checkpoint, ClassifierExtractor, TrainedSegmenter])
def test_hyperparameters_through_load(run, evil, place, loads):
    """Nothing is imported or called; one line says so."""
    for kind, spec in specs(evil).items():
        if loads is not load and kind not in QUICK:
            continue
        path = edited(run, lambda content: content["hyper_parameters"].update({place: spec}))  # noqa: B023
        _, line = read_or_refused(loads, path)
        if line is None:
            assert place.endswith(("optimizer", "scheduler")), kind  # kept as it is, and called by nobody
        else:
            assert line.isprintable(), kind


@pytest.mark.parametrize("place", ["generator", "generator_optimizer"])
def test_hyperparameters_through_fit(run, evil, fails, place):
    chosen = specs(evil)
    for kind in QUICK if place == "generator" else ("text",):
        path = edited(run, lambda content: content["hyper_parameters"].update({place: chosen[kind]}))  # noqa: B023
        fails("fit", "--ckpt_path", path, *QUIET)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES[:5])
def test_all_through_fit(run, evil, fails, place):
    config = yaml.safe_load((run / "config.yaml").read_text())
    for spec in specs(evil).values():
        path = edited(run, lambda content: content["hyper_parameters"].update({place: spec}))  # noqa: B023
        fails("fit", "--ckpt_path", path, *QUIET)
        config["model"]["init_args"][place] = spec
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        fails("fit", "--ckpt_path", run, *QUIET)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command(run, evil, fails, command):
    system = specs(evil)["function"]
    parts = ("hyper_parameters", "datamodule_hyper_parameters")
    for part, place in itertools.product(parts, ("latent", "_class_path")):
        if part == "datamodule_hyper_parameters" and command in ("sample", "translate", "export"):
            continue  # these do not look at it, or do not build it
        value = f"{evil}.Evil" if place == "_class_path" else system
        path = edited(run, lambda content: content[part].update({place: value}))  # noqa: B023
        assert str(path) in fails(command, "--ckpt_path", path, *MORE.get(command, ()))


@pytest.mark.parametrize("command", COMMANDS)
def test_pickles(run, fails, command):
    """In a state of a callback, as the whole file, in the oldest format, within the archive."""
    content = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    content["callbacks"]["Checkpoint"] = Trap()
    torch.save(content, "callbacks.ckpt")
    torch.save(content, "legacy.ckpt", _use_new_zipfile_serialization=False)
    Path("whole.ckpt").write_bytes(pickle.dumps(Trap()))
    with zipfile.ZipFile(run / "checkpoints/last.ckpt") as old, zipfile.ZipFile("zip.ckpt", "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(Trap()) if name.endswith("data.pkl") else old.read(name))
    for name in ("callbacks", "legacy", "whole", "zip"):
        assert f"{name}.ckpt is damaged or not a checkpoint" in fails(
            command, "--ckpt_path", f"{name}.ckpt", *MORE.get(command, ())
        )
        for loads in (load, GAN.load_from_checkpoint, ClassifierExtractor, read_checkpoint):
            with pytest.raises(ValueError, match="damaged or not a checkpoint"):
                loads(f"{name}.ckpt")
        with pytest.raises(ValueError, match="damaged or no file of weights"):
            load_reference(f"{name}.ckpt")
        with pytest.raises(pickle.UnpicklingError):
            Trainer(logger=False).fit(GAN((1, 8, 8)), Digits(), ckpt_path=f"{name}.ckpt")


def test_exported_games(run, evil, fails):
    """The card names what the checkpoint names, the weights are no pickle; its recipe is a configuration."""
    export(run, "shared")
    card = json.loads(Path("shared/config.json").read_text())
    weights = Path("shared/model.safetensors").read_bytes()
    for kind, spec in specs(evil).items():
        model = {**card["model"], "generator": spec}
        Path("shared/config.json").write_text(json.dumps({**card, "model": model}))
        assert read_or_refused(load, "shared")[1].isprintable(), kind
        files = exported(model, load_file(weights), 1, {"recipe": card["recipe"]})
        for name, content in files.items():
            Path("shared", name).write_bytes(content)
        assert read_or_refused(load, "shared")[1].isprintable(), kind
        Path("shared/model.safetensors").write_bytes(weights)
    recipe = {**card["recipe"], "data": specs(evil)["function"]}
    Path("shared/config.json").write_text(json.dumps({**card, "recipe": recipe}))
    assert "shared/config.json names os.system" in fails("evaluate", "shared", "--n=4", "--device=cpu")
    pickled = pickle.dumps(Trap())
    Path("shared/model.safetensors").write_bytes(pickled)
    digest = hashlib.sha256(json.dumps(card["model"]).encode() + pickled).hexdigest()
    Path("shared/config.json").write_text(json.dumps({**card, "sha256": digest}))
    with pytest.raises(ValueError, match=r"config\.json is damaged or not a checkpoint"):
        load("shared")


def test_data_modules_of_a_checkpoint(run, evil):
    """Lightning's own method, which builds what the arguments name, if their types allow classes."""
    chosen = specs(evil)
    for kind in ("function", "text"):
        for name in ("root", "classes", "_class_path", "_instantiator"):
            change = {name: chosen[kind]}
            path = edited(run, lambda content: content["datamodule_hyper_parameters"].update(change))  # noqa: B023
            with suppress(Exception):
                Digits.load_from_checkpoint(path)


def test_a_classifier_of_ones_own(cli, fails, mine, monkeypatch):
    """``--trusted`` holds for all that a command opens."""
    cli("fit", "--config=classifier/digits", f"--model.network={mine}.Judge", "--trainer.max_epochs=1",
        "--data.limit=64", "--data.batch_size=16", *QUIET)  # fmt: skip
    checkpoint = next(Path("runs").rglob("last.ckpt"))
    np.savez("images.npz", arr_0=np.zeros((4, 8, 8, 1), np.uint8))
    scoring = ("evaluate", "--samples=images.npz", "--metrics=[IS]", "--metrics.splits=1",
               "--extractor=ClassifierExtractor", f"--extractor.checkpoint={checkpoint}")  # fmt: skip
    monkeypatch.delitem(sys.modules, mine)
    assert f"--trusted {mine}" in fails(*scoring)
    cli(*scoring, "--trusted", mine)


def test_the_configuration_beside_a_checkpoint(run, evil, fails):
    original = yaml.safe_load((run / "config.yaml").read_text())
    system = specs(evil)["function"]
    callback = "lightning.pytorch.callbacks."
    lambda_callback = {
        "class_path": f"{callback}LambdaCallback",
        "init_args": {"on_fit_start": "os.getcwd", "setup": f"{evil}.make"},
    }
    averaging = {"class_path": f"{callback}WeightAveraging", "init_args": {"avg_fn": f"{evil}.make"}}
    function = specs(evil)["a function of the package"]
    throughput = {"class_path": f"{callback}ThroughputMonitor", "init_args": {"batch_size_fn": function}}
    edits = [
        *[("model", "generator", specs(evil)[kind]) for kind in QUICK],
        ("data", "root", system),
        ("data", "class_path", f"{evil}.Evil"),
        *[("trainer", place, system) for place in ("callbacks", "plugins", "strategy", "logger", "profiler")],
        *[
            ("trainer", "callbacks", [value])
            for value in (system, lambda_callback, averaging, throughput, f"{evil}.Evil")
        ],
        ("trainer", "callbacks.class_path", "os.system"),
        ("trainer", "plugins", [{"class_path": f"{evil}.Evil"}]),
        ("trainer", "logger", {"class_path": "lightning.pytorch.loggers.MLFlowLogger"}),
        ("trusted", None, [evil]),
    ]
    for section, place, value in edits:
        config = json.loads(json.dumps(original))
        if place is None:
            config[section] = value
        else:
            inner = config[section]
            inner = inner["init_args"] if "init_args" in inner and place != "class_path" else inner
            inner[place] = value
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        fails("fit", "--ckpt_path", run, *QUIET)
    text = yaml.safe_dump(original)
    for tag in ("!!python/object/apply:os.system ['touch MARK']", f"!!python/name:{evil}.make"):
        (run / "config.yaml").write_text(text.replace("generator: null", f"generator: {tag}"))
        assert "config.yaml is damaged" in fails("fit", "--ckpt_path", run, *QUIET)


@pytest.mark.parametrize("kinds", [("text",), pytest.param(None, marks=pytest.mark.slow)])
def test_scores_of_the_configuration_beside_a_checkpoint(run, evil, fails, kinds):
    """``evaluate`` takes data, extractor and metrics of the run."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    chosen = [spec for kind, spec in specs(evil).items() if kinds is None or kind in kinds]
    scored = [
        {"metrics": f"{evil}.Evil"},
        *[{"metrics": [spec]} for spec in chosen],
        *[{"extractor": spec} for spec in chosen],
        *[{"extractor": {"class_path": "ModuleExtractor", "init_args": {"module": x}}} for x in chosen],
    ]
    for arguments in scored:
        callback = {"class_path": "Evaluate", "init_args": {"metrics": ["IS"], **arguments}}
        changed = {**config, "trainer": {**config["trainer"], "callbacks": [callback]}}
        (run / "config.yaml").write_text(yaml.safe_dump(changed))
        fails("evaluate", run, "--device", "cpu", "--n", 4)
    for root in chosen:
        data = {**config["data"], "init_args": {**config["data"]["init_args"], "root": root}}
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "data": data}))
        fails("evaluate", run, "--device", "cpu", "--n", 4)


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("trainer.default_root_dir", "OUT"),
        ("trainer", '{"default_root_dir": "OUT"}'),
        ("checkpoint", {"dirpath": "../not_here"}),
        ("checkpoint", {"init_args.dirpath": "OUT"}),
        ("checkpoint", '{"dirpath": "OUT"}'),
        ("config", "inner.yaml"),
        ("name", "../not_here"),
        (
            "callbacks",
            [{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args.dirpath": "OUT"}],
        ),
        (
            "callbacks",
            '[{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint",'
            ' "init_args": {"dirpath": "OUT"}}]',
        ),
        (
            "callbacks",
            [
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"filename": "../../../../../not_here"},
                }
            ],
        ),
        (
            "logger",
            {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "file:OUT"}},
        ),
        (
            "logger",
            {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "memory://runs"}},
        ),
        (
            "logger",
            {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"name": "../../not_here"}},
        ),
        (
            "logger",
            {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"version": "OUT"}},
        ),
        (
            "logger",
            {
                "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                "init_args": {"sub_dir": "~nobody/x"},
            },
        ),
        (
            "logger",
            {
                "class_path": "lightning.pytorch.loggers.WandbLogger",
                "dict_kwargs": {"settings": {"base_url": "theirs"}},
            },
        ),
        (
            "profiler",
            {
                "class_path": "lightning.pytorch.profilers.SimpleProfiler",
                "init_args": {"filename": "x/../../not_here"},
            },
        ),
        ("model_registry", "theirs"),
    ],
)
def test_where_the_configuration_writes(run, fails, tmp_path, section, value):
    """Below the current folder, and below that of its run, in whatever way it says so."""
    outside = str(tmp_path.with_name("not_here"))
    value = json.loads(json.dumps(value).replace("OUT", outside))
    config = yaml.safe_load((run / "config.yaml").read_text())
    inside = section in ("callbacks", "logger", "profiler", "model_registry")
    (config["trainer"] if inside else config)[section] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "inner.yaml").write_text(json.dumps({"checkpoint": {"dirpath": outside}}))
    message = fails("fit", "--ckpt_path", run, "--trainer.max_steps=2", *QUIET)
    assert "outside of this folder and of its run" in message
    assert not Path(outside).exists()
    assert not (run.parent / "version_1").exists()


def test_where_the_user_writes(cli, fails, run, tmp_path):
    """What she types is right, and files that are only read lie anywhere."""
    outside = tmp_path.with_name("other")
    cli("fit", "--ckpt_path", run, "--trainer.max_steps=2", f"--checkpoint.dirpath={outside}", *QUIET)
    assert (outside / "last.ckpt").exists()
    config = yaml.safe_load((run / "config.yaml").read_text())
    home = "lightning_gans.metrics.extractors"
    extractor = {"class_path": f"{home}.Inception", "init_args": {"weights": "/data/weights.pth"}}
    scored = {"metrics": ["lightning_gans.metrics.FID"], "extractor": extractor, "every_n_updates": 10}
    callback = {"class_path": "lightning_gans.callbacks.evaluate.Evaluate", "init_args": scored}
    config["trainer"]["callbacks"] = [callback]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    line = fails("fit", "--ckpt_path", run, "--trainer.max_steps=2", *QUIET)
    assert "weights=/data/weights.pth: no such file" in line


def test_a_recipe_that_a_file_names(run, fails, tmp_path):
    """It is one of the package's: another configuration would be a program."""
    Path("theirs.yaml").write_text("model: GAN\n")
    depth = len(recipes_folder().resolve().parts)
    recipe = f"classifier/{'../' * depth}{str(tmp_path)[1:]}/theirs"
    extractor = {"class_path": f"{ClassifierExtractor.__module__}.ClassifierExtractor"}
    scored = {"metrics": ["lightning_gans.metrics.IS"], "extractor": extractor}
    extractor["init_args"] = {"checkpoint": recipe}
    config = yaml.safe_load((run / "config.yaml").read_text())
    callback = {"class_path": "lightning_gans.callbacks.evaluate.Evaluate", "init_args": scored}
    config["trainer"]["callbacks"] = [callback]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert "there is no such recipe" in fails("evaluate", run, "--device=cpu", "--n=4")
    scored["extractor"] = f"--trusted={__name__}"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert "--extractor needs a value" not in fails("evaluate", run, "--device=cpu", "--n=4")


@pytest.mark.parametrize("part", ["epoch", "loops", "callbacks", "optimizer_states"])
def test_parts_that_a_checkpoint_lacks(run, fails, part):
    for change in ("pop", "set"):
        path = edited(run, lambda x: x.pop(part) if change == "pop" else x.update({part: "x"}))  # noqa: B023
        message = fails("fit", "--ckpt_path", path, "--config", run / "config.yaml", *QUIET)
        assert f"lacks {part}" in message if change == "pop" else f"its {part} is no" in message


def test_the_configuration_does_not_choose_the_checkpoint(cli, run, capsys, caplog):
    config = yaml.safe_load((run / "config.yaml").read_text())
    torch.save(Trap(), "trap.pth")
    config |= {"ckpt_path": "trap.pth", "weights_only": False}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    caplog.set_level("INFO", "lightning.pytorch")
    cli("fit", "--ckpt_path", run, "--trainer.max_steps=2", *QUIET)
    assert f"settings: {run}/config.yaml" in capsys.readouterr().err
    cli("fit", "--ckpt_path", run, "--config", run / "config.yaml", "--trainer.max_steps=2", *QUIET)
    assert caplog.text.count("Restored all states") == 2


def test_names_of_files_are_not_trusted(run, evil, fails):
    """A file's name that is typed looks like a module's: ``evil.ckpt``, beside an ``evil.py``."""
    spec = {"class_path": f"{evil}.Evil"}
    path = edited(run, lambda content: content["hyper_parameters"].update(generator=spec))
    path = path.rename(f"{evil}.ckpt")
    given = ("--ckpt_path", path, f"--trainer.default_root_dir={evil}.runs", f"--name={evil}.first")
    assert "add --trusted" in fails("fit", *given, *QUIET)
    assert "add --trusted" in fails("evaluate", "--ckpt_path", path, f"--json={evil}.json", "--data=Digits")
    text = f"{evil}.make"
    path = edited(run, lambda content: content["hyper_parameters"].update(generator=text))
    fails("fit", "--ckpt_path", path, f"--name={text}", *QUIET)


def test_a_state_names_no_file_to_delete(run, fails):
    """Lightning's ModelCheckpoint deletes what its state calls an earlier checkpoint of its folder."""
    Path("precious.txt").write_text("kept")
    best = "runs/gan/version_1/checkpoints/../../../../precious.txt"
    state = {"best_k_models": {best: torch.tensor(9.0)}, "dirpath": "runs/gan/version_1/checkpoints"}
    path = edited(run, lambda content: content["callbacks"].update(ModelCheckpoint=state))
    config = ("--config", run / "config.yaml", "--trainer.max_steps=3")
    assert "precious.txt" in fails("fit", "--ckpt_path", path, *config, *QUIET)
    assert Path("precious.txt").read_text() == "kept"


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
showpage
%%EOF
"""


def test_pictures_for_other_programs(cli, fails, run, monkeypatch):
    """PostScript in a file called .png: Pillow would give it to Ghostscript."""

    def ghostscript(*_, **__):
        Path("MARK").touch()
        return Image.new("RGB", (8, 8)).im

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    write_pictures(Path("samples"), 2, 256)
    for path in (*run.glob("samples/*.png"), Path("theirs/0.png"), Path("theirs/1.png")):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(EPS)
    with Image.open("theirs/0.png") as opened:
        opened.load()
    Path("MARK").unlink()  # the trap works
    with pytest.warns(UserWarning, match="left out of the animation"):
        cli("fit", "--ckpt_path", run, "--trainer.max_steps=2", *QUIET)
    for command in (
        ("evaluate", "--samples=theirs", "--metrics=[IS]", "--device=cpu"),
        ("fit", "--model=GAN", "--data=ImageFolder", "--data.folder=theirs", "--data.image_size=8", *QUIET),
        ("dedup", "--folder=theirs"),
        ("translate", "--ckpt_path", run, "--input=theirs"),
        ("study", "--real=theirs", "--fake=samples", "--practice=0", "--trials=1"),
    ):
        fails(*command)


def test_answers_to_a_study(evil):
    write_session("answers.json", "ada", fooled=1)
    good = json.loads(Path("answers.json").read_text())
    for spec, name in itertools.product(specs(evil).values(), ("seed", "answers", "exposure")):
        Path("answers.json").write_text(json.dumps({**good, name: spec}))
        with pytest.raises(ValueError, match=r"is missing or wrong|in place of an object"):
            read_session("answers.json")


def test_a_table_goes_on_from_a_checkpoint(run):
    """``reproduce`` starts anew where a checkpoint holds objects."""
    torch.save({"global_step": Trap()}, run / "checkpoints/last.ckpt")
    assert _checkpoint(run.parent) == (None, 0.0)


MINE = """
from pathlib import Path
from torch import nn
from lightning_gans import GAN
from lightning_gans.networks import ConvClassifier

class Judge(ConvClassifier):
    pass

class Mine(GAN):
    pass

class Plain(nn.Module):
    def __init__(self, latent_dim: int, activation: type[nn.Module] = nn.ReLU):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(latent_dim, 64), activation(), nn.Unflatten(1, (1, 8, 8)))

    def forward(self, latents):
        return self.net(latents)
"""


@pytest.fixture
def mine(tmp_path):
    """A module of the user's, in her folder; imported by nobody."""
    name = f"mine_{next(numbers)}"
    (tmp_path / f"{name}.py").write_text(MINE)
    yield name
    sys.modules.pop(name, None)


FIT = ("--data=Digits", "--data.batch_size=16", "--data.limit=64", "--trainer.max_steps=1", *QUIET)


def test_a_game_of_ones_own(cli, fails, mine, monkeypatch):
    """Refused with one line, which says what makes it work; what is typed is trusted."""
    cli("fit", f"--model={mine}.Mine", *FIT)
    run = Path("runs/mine/version_0")
    monkeypatch.delitem(sys.modules, mine)
    for command in ("fit", "sample"):
        assert f"add --trusted {mine} " in fails(command, "--ckpt_path", run)
        assert mine not in sys.modules
    cli("sample", "--ckpt_path", run, "--n=2", "--trusted", mine)
    monkeypatch.delitem(sys.modules, mine)
    with pytest.raises(ValueError, match="add --trusted"):
        load(run)
    assert type(load(run, trusted=[mine])).__name__ == "Mine"
    assert type(load(run)).__name__ == "Mine"  # by now it is imported
    for number, more in enumerate(([f"--trusted={mine}"], [f"--model={mine}.Mine"], ["--config=mine.yaml"])):
        monkeypatch.delitem(sys.modules, mine)
        Path("mine.yaml").write_text(f"model: {{class_path: {mine}.Mine}}\ndata: Digits\n")
        cli("fit", "--ckpt_path", run, *more, f"--trainer.max_steps={number + 2}", *QUIET)


def test_plain_networks_of_the_command_line(cli, fails, mine, monkeypatch, capsys):
    """The run's configuration says how they are built; types are those that the command line had."""
    cli("fit", "--model=GAN", f"--model.generator={mine}.Plain", "--model.generator.latent_dim=100",
        "--model.generator.activation=torch.nn.Tanh", *FIT)  # fmt: skip
    run = Path("runs/gan/version_0")
    monkeypatch.delitem(sys.modules, mine)
    assert f"add --trusted {mine} " in fails("sample", "--ckpt_path", run)
    cli("sample", "--ckpt_path", run, "--n=2", f"--trusted={mine}")
    assert f"settings: {run}/config.yaml" in capsys.readouterr().err
    assert isinstance(GAN.load_from_checkpoint(run).generator.net[1], nn.Tanh)
    (run / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"does not say how to build generator: call load\(path, generator="):
        load(run)


def test_load_from_checkpoint(run):
    loaded = GAN.load_from_checkpoint(run)
    assert type(loaded) is GAN
    assert torch.equal(loaded.sample(2, seed=0), load(run).sample(2, seed=0))
    assert type(lightning_gans.LatentGame.load_from_checkpoint(run, map_location="cpu")) is GAN
    with pytest.raises(ValueError, match=r"one of lightning_gans\.models\.gan\.GAN, not of .*DCGAN"):
        lightning_gans.DCGAN.load_from_checkpoint(run)


def test_a_class_of_a_script(run, mine):
    """A checkpoint calls it ``__main__.Mine``; whoever imports the class can load it."""
    path = edited(run, lambda content: content["hyper_parameters"].update(_class_path="__main__.Mine"))
    with pytest.raises(ValueError, match="of a script"):
        load(path)
    imported = __import__(mine)
    assert type(imported.Mine.load_from_checkpoint(path)) is imported.Mine


def test_what_a_trusted_module_imports_is_not_trusted(run, mine):
    """Its own classes are; a library's class is not, by another name."""
    name = f"{mine}.nn.Flatten"
    Path(f"{mine}.py").write_text("from torch_fidelity.feature_extractor_inceptionv3 import *\n")
    extractor = {
        "class_path": f"{mine}.FeatureExtractorInceptionV3",
        "init_args": {"name": "x", "features_list": ["64"], "feature_extractor_weights_path": "trap.pth"},
    }
    torch.save(Trap(), "trap.pth")
    for spec in (extractor, {"class_path": name}):
        path = edited(run, lambda content: content["hyper_parameters"].update(generator=spec))  # noqa: B023
        with pytest.raises(ValueError, match=r"torch_fidelity|there is no class"):
            load(path, trusted=[mine])
