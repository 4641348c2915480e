"""What the parser makes of settings: arguments of a paper's defaults, and one line on all that it refuses."""

import inspect
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule
from torch import nn

from lightning_gans import DCGAN, LatentGame, RealnessGAN, checks, load
from lightning_gans.commands.fit_parser import Parser, parser_of_fit
from lightning_gans.commands.parsing import OneLine
from lightning_gans.commands.recipes import find_config, recipe_names
from lightning_gans.commands.reproduce.tables import merge
from lightning_gans.game.checkpoints import SelfContained
from lightning_gans.game.latents import Latent, Normal
from lightning_gans.networks import DCGANDiscriminator, DCGANGenerator

QUICK = ("--trainer.max_steps=2", "--trainer.enable_progress_bar=false", "--trainer.limit_val_batches=0")
SMALL = ("--data=Digits", "--data.batch_size=16", "--data.limit=64")
GAMES = [name for name in recipe_names() if not name.startswith(("classifier/", "segmenter/"))]
SHAPES = {"GaussianMixtures": [2], "Digits": [1, 8, 8], "MNIST": [1, 28, 28], "CIFAR10": [3, 32, 32],
          "Sketches": [1, 32, 32], "CelebA": [3, 64, 64], "LSUN": [3, 64, 64]}  # fmt: skip
PAIRS = ("PairedImages", "UnpairedImages", "Facades", "Colorization", "Inpainting")


def build(recipe, *options):
    """The model of a recipe with further options, without its data; weights are not drawn."""
    written = yaml.safe_load(Path(find_config(recipe)[0]).read_text())
    model, data = written["model"], written["data"]
    shape = SHAPES.get(data["class_path"], [3, 256, 256])
    size = data.get("init_args", {}).get("image_size") or shape[-1]
    shape = [shape[0], size, size] if shape[1:] else shape
    follows = {"input_shape": shape} if data["class_path"] in PAIRS else {"num_classes": 10}
    model.setdefault("init_args", {}).update(image_shape=shape, **follows)
    parser = Parser()
    parser.add_argument("--config", action="config")
    parser.add_lightning_class_args(SelfContained, "model", subclass_mode=True)
    Path("model.yaml").write_text(yaml.safe_dump({"model": model}))
    # Anchors are numbers, which the meta device does not have; all others need not draw their weights.
    with torch.device("cpu" if recipe.startswith("realness") else "meta"):
        return parser.instantiate(parser.parse_args(["--config=model.yaml", *options])).model


def network_of(game, part):
    """What an argument of a game becomes; of the two networks of each kind of a CycleGAN the first."""
    first = {"generator": "generator_ab", "discriminator": "discriminator_a"}.get(part, part)
    return getattr(game, part, getattr(game, first, None))


def kind_of(recipe):
    """What the models of recipes differ in beside numbers."""
    written = yaml.safe_load(Path(find_config(recipe)[0]).read_text())
    points = written["data"]["class_path"] == "GaussianMixtures"
    return re.sub(r"[0-9.]+", "0", json.dumps(written["model"])), points


@pytest.mark.parametrize("recipe", {kind_of(name): name for name in GAMES}.values())
def test_first_keys_of_every_kind_of_recipe(recipe):
    """The first argument of latent, networks and optimizers, named by the recipe or the paper's own."""
    before, wanted = build(recipe), {}
    for part in ("latent", "generator", "discriminator"):
        if (network := network_of(before, part)) is None:
            continue
        names = [
            name
            for name in checks.argument_names(type(network))
            if name not in (*checks.FOLLOWS, "receptive_field")
        ]
        if names:
            default = inspect.signature(type(network).__init__).parameters[names[0]].default
            value = network._arguments.get(names[0], default)
            wanted[part, names[0]] = value // 2 if isinstance(value, int) else [2 * n for n in value]
    options = [f"--model.{part}.{name}={json.dumps(value)}" for (part, name), value in wanted.items()]
    rates = [f"--model.{player}_optimizer.lr=0.125" for player in ("generator", "discriminator")]
    game = build(recipe, *options, *rates)
    for (part, name), value in wanted.items():
        network = network_of(game, part)
        assert type(network) is type(network_of(before, part))
        found = network._arguments[name]
        assert found == value or list(found) == value
        # The rest is as it was.
        others = {key: value for key, value in network_of(before, part)._arguments.items() if key != name}
        others.pop("latent_dim", None)
        assert others.items() <= {**network._arguments, **others}.items()
    assert not isinstance(game, LatentGame) or game.generator.latent_dim == game.latent.dim
    for player in ("generator", "discriminator"):
        optimizer = getattr(game, f"{player}_optimizer")([nn.Parameter(torch.zeros(1))])
        assert optimizer.param_groups[0]["lr"] == 0.125


def test_arguments_of_defaults_in_python():
    game = DCGAN((1, 8, 8), latent={"dim": 5}, generator={"width": 16}, discriminator={"norm": "none"})
    assert isinstance(game.latent, Normal)
    assert isinstance(game.generator, DCGANGenerator)
    assert isinstance(game.discriminator, DCGANDiscriminator)
    assert game.sample(2).shape == (2, 1, 8, 8)
    assert game.plain_arguments()["generator"] == {"width": 16}
    assert RealnessGAN((1, 8, 8), anchors={"shift": 0.5}).anchors.shift == 0.5
    assert DCGAN((1, 8, 8), generator={}).generator.latent_dim == 100


class Plain(nn.Module):
    pass


class Odd(DCGAN):
    def default_generator(self):
        return Plain()

    def default_discriminator(self):
        return lambda shape: DCGANDiscriminator(shape)


@pytest.mark.parametrize(
    ("game", "arguments", "words"),
    [
        (DCGAN, {"generator": {"wdith": 3}}, ["generator", "DCGANGenerator", "wdith", "width"]),
        (DCGAN, {"generator": {"latent_dim": 3}}, ["generator", "latent_dim", "latent.dim"]),
        (DCGAN, {"discriminator": {"image_shape": 3}}, ["discriminator", "image_shape", "the data"]),
        (DCGAN, {"generator": {"width": "wide"}}, ["generator", "width='wide'"]),
        (DCGAN, {"latent": {"dimm": 3}}, ["latent", "Normal", "dimm", "dim"]),
        (DCGAN, {"latent": {"class_path": "os.system"}}, ["latent", "os.system"]),
        (RealnessGAN, {"anchors": {"shfit": 3}}, ["anchors", "ReleasedAnchors", "shfit", "shift"]),
        (Odd, {"generator": {"width": 3}}, ["generator", "width"]),
        (Odd, {"discriminator": {"width": 3}}, ["discriminator", "width"]),
    ],
)
def test_wrong_arguments_of_defaults(game, arguments, words):
    with pytest.raises(ValueError, match=words[0]) as error:
        game((1, 8, 8), **arguments)
    assert all(word in str(error.value) for word in words)


def test_abstract_classes_are_not_built():
    class Half(LatentGame):
        def discriminator_loss(self, real, fake):
            return self.judge(fake).mean()

    for cls, arguments in ((Half, [(1, 8, 8)]), (LatentGame, [(1, 8, 8)]), (Latent, [5])):
        with pytest.raises(TypeError, match="abstract"):
            cls(*arguments)


def test_arguments_of_defaults_from_run_to_checkpoint_and_on(cli, fails):
    cli("fit", "--model=DCGAN", "--model.generator.width=16", "--model.latent.dim=5", *SMALL, *QUICK)
    run = Path("runs/dcgan/version_0")
    arguments = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]
    assert arguments["generator"] == {"width": 16}
    game = load(run / "checkpoints/last.ckpt")
    assert (game.latent.dim, game.generator._arguments["width"]) == (5, 16)
    cli("fit", "--config", run / "config.yaml", "--model.generator.norm=none", *QUICK)  # as a sweep would
    arguments = yaml.safe_load(Path("runs/dcgan/version_1/config.yaml").read_text())["model"]["init_args"]
    assert arguments["generator"] == {"width": 16, "norm": "none"}
    moved = (run / "checkpoints/last.ckpt").rename("moved.ckpt")  # no config.yaml beside it
    cli("fit", "--ckpt_path", moved, *SMALL, "--trainer.max_steps=3", *QUICK[1:])
    assert load("runs/dcgan/version_2/checkpoints/last.ckpt").latent.dim == 5
    assert "does not fit" in fails(
        "fit", "--ckpt_path", moved, "--model.latent.dim=7", *SMALL, "--trainer.max_steps=9"
    )


MINE = """
from lightning_gans import GAN
from torch import nn

class Refuses(GAN):
    def __init__(self, image_shape: tuple[int, ...], depth: int = 3, **kwargs):
        raise ValueError(f"depth={depth}: too deep")

class Fails(GAN):
    def __init__(self, image_shape: tuple[int, ...], **kwargs):
        assert False

class Needs(nn.Module):
    def __init__(self, image_shape: tuple[int, ...], latent_dim: int, width: int):
        super().__init__()

class Breaks(nn.Module):
    def __init__(self, image_shape: tuple[int, ...], latent_dim: int):
        raise RuntimeError("out of luck")

class Untyped(nn.Module):
    def __init__(self, image_shape, latent_dim=9, width=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width), nn.Linear(width, 64), nn.Unflatten(1, image_shape)
        )

    def forward(self, latents):
        return self.layers(latents)

"""


def test_a_network_without_type_hints(cli):
    Path("untyped.py").write_text(MINE)
    network = ["--model.generator=untyped.Untyped", "--model.generator.width=5"]
    cli("fit", "--model=DCGAN", *network, *SMALL, *QUICK)
    game = load("runs/dcgan/version_0", trusted=["untyped"])
    assert game.generator.layers[0].out_features == 5


FILES = {
    "mine.py": MINE,
    "missing.py": "import no_such_package\n",
    "torn.py": "from lightning_gans.networks import NoSuchNetwork\n",
    "syntax.py": "class A(\n",
    "tab.yaml": "model:\n\tclass_path: DCGAN\n",
    "empty.yaml": "",
    "list.yaml": "- a\n",
    "twice.yaml": "model: DCGAN\ndata: Digits\ntrainer: {max_steps: 3}\ntrainer: {max_epochs: 3}\n",
    "top.yaml": "modle: DCGAN\ndata: Digits\n",
    "step.yaml": "model: DCGAN\ndata: Digits\ntrainer: {max_step: 3}\n",
    "old.yaml": "model: {class_path: DCGAN, init_args: {discriminator_step: 2}}\ndata: Digits\n",
    "beside.yaml": "model: DCGAN\ndata: {class_path: Digits, batch_size: 3}\n",
    "network.yaml": "model: {class_path: GAN, init_args: {generator: MLPGenerator}}\ndata: Digits\n",
    "width.yaml": "model: {class_path: GAN, init_args: {generator: {width: 4}}}\n",
}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        # abbreviations
        ("fit --config quickstart --trainer.max_step 2", ["trainer.max_step is", "--trainer.max_steps"]),
        ("fit --ckpt X", ["--ckpt is unknown", "--ckpt_path"]),
        ("fit --conf quickstart", ["--conf is unknown", "--config"]),
        ("sample --ckpt X", ["--ckpt is unknown", "--ckpt_path"]),
        ("fit --config quickstart --checkpoint.every 3", ["Checkpoint has no argument every", "every_n_"]),
        ("reproduce realness-toy --job 2", ["--job", "--jobs"]),
        # files
        ("fit --config tab.yaml", ["tab.yaml", "line 2", r"'\t'"]),
        ("fit --config empty.yaml", ["empty.yaml", "nothing"]),
        ("fit --config list.yaml", ["list.yaml", "list"]),
        ("fit --config twice.yaml", ["twice.yaml", "line 4", "trainer"]),
        ("fit --config top.yaml", ["top.yaml", "modle", "model"]),
        ("fit --config step.yaml", ["step.yaml", "trainer.max_step", "trainer.max_steps"]),
        ("fit --config old.yaml", ["old.yaml", "DCGAN", "discriminator_step", "discriminator_steps"]),
        ("fit --config beside.yaml", ["beside.yaml", "data", "init_args"]),
        ("preview --config top.yaml", ["top.yaml", "modle"]),
        # classes
        ("fit --model mine.None --data Digits", ["mine.None", "has no attribute"]),
        ("fit --model missing.A --data Digits", ["missing.A", "No module named 'no_such_package'"]),
        ("fit --model torn.A --data Digits", ["torn.A", "NoSuchNetwork"]),
        ("fit --model syntax.A --data Digits", ["model", "syntax.py, line 1"]),
        ("fit --model mine.Refuses --data Digits", ["depth=3: too deep"]),
        ("fit --model mine.Fails --data Digits", ["mine.Fails", "AssertionError"]),
        ("fit --config quickstart --model.generator missing.A", ["model.generator", "no_such_package"]),
        ("fit --config quickstart --model.generator mine.Needs", ["model.generator", "Needs needs width"]),
        ("fit --config quickstart --model.generator mine.Breaks", ["generator", "out of luck"]),
        ("fit --model MNIST --data Digits", ["model", "MNIST is of another kind", "DCGAN"]),
        ("fit --model DCGAN --data DCGAN", ["data", "DCGAN is of another kind", "Digits"]),
        ("fit --config quickstart --trainer.callbacks Foo", ["trainer.callbacks", "Foo is", "Evaluate"]),
        ("fit --config quickstart --trainer.callbacks EarlyStoping", ["did you mean EarlyStopping"]),
        ("fit --config quickstart --trainer.logger Foo", ["trainer.logger", "Foo is unknown"]),
        ("fit --model LatentGame --data Digits", ["model", "LatentGame is abstract", "DCGAN"]),
        ("fit --model AdversarialModule --data Digits", ["model", "AdversarialModule is abstract"]),
        ("fit --model TranslationGame --data Digits", ["model", "TranslationGame"]),
        ("fit --config quickstart --model.latent Latent", ["model.latent", "abstract", "Normal"]),
        ("fit --config quickstart --model.generator_optimizer SGD",
         ["model.generator_optimizer", "torch.optim.SGD", "lightning_gans.game.optimizers.SGD"]),
        ("evaluate --extractor.size 3 --samples a --reference b", ["extractor", "Inception"]),
        ("preview --data Foo", ["data", "Foo is unknown", "Digits"]),
        # arguments
        ("fit --config quickstart --model.foo 3", ["model", "DCGAN", "foo", "preset"]),
        ("fit --config quickstart --model.generator.wdith 3", ["generator", "DCGANGenerator", "mean width"]),
        ("fit --config dcgan/digits --model.generator.wdith 3", ["model.generator", "wdith", "width"]),
        ("fit --config wgan/mnist --model.generator.dropout 3", ["generator", "no argument dropout"]),
        ("fit --config network.yaml --model.generator.width 3", ["MLPGenerator", "width"]),
        ("fit --config network.yaml --config width.yaml", ["width.yaml", "MLPGenerator", "width"]),
        ("fit --config dcgan/digits --model.generator.width wide", ["model.generator.width", "whole number"]),
        ("fit --config dcgan/digits --model.generator.latent_dim 5", ["latent_dim", "latent.dim"]),
        ("fit --config quickstart --model.generator_scheduler.end 5", ["generator_scheduler", "end"]),
        ("fit --config quickstart --trainer.foo 3", ["--trainer.foo", "callbacks"]),
        ("fit --config quickstart --seed 3", ["--seed_everything"]),
        ("fit --config quickstart --samples.every 3", ["samples", "SampleGrid", "every_n_updates"]),
        ("fit --model DCGAN", ["--data"]),
        ("fit --data Digits", ["--model"]),
        ("sample", ["--ckpt_path"]),
        ("fit --config quickstart --max_steps 5", ["--max_steps", "did you mean --trainer.max_steps"]),
        ("fit --config quickstart --batch_size 5", ["--batch_size", "did you mean --data.batch_size"]),
        ("FIT --config quickstart", ["FIT", "did you mean fit?"]),
        ("fit --config quickstart --model.generator.width", ["--model.generator.width needs a value"]),
        ("fit --model dcgan --data Digits", ["dcgan is unknown", "did you mean DCGAN"]),
        ("fit quickstart", ["quickstart", "--config quickstart"]),
        # values
        ("fit --config quickstart --seed_everything abc", ["seed_everything", "whole number", "abc"]),
        ("fit --config quickstart --trainer.max_steps 2.5", ["trainer.max_steps", "whole number", "2.5"]),
        ("fit --config quickstart --trainer.max_steps -5", ["max_steps", "-5"]),
        ("fit --config quickstart --trainer.max_steps", ["--trainer.max_steps", "value"]),
        ("fit --config quickstart --data.batch_size -5", ["batch_size=-5"]),
        ("fit --config quickstart --model.generator_optimizer.lr fast", ["generator_optimizer.lr", "fast"]),
        ("fit --config quickstart --model.objective foo", ["model.objective", "'minimax'", "foo"]),
        ("fit --config quickstart --model.compile maybe", ["model.compile", "true or false", "maybe"]),
        ("fit --config quickstart --trainer.precision fast", ["trainer.precision", "bf16-mixed", "fast"]),
        ("evaluate --samples a --metrics FID", ["metrics", "[FID]"]),
        ("sample --ckpt_path x --n many", ["n", "whole number", "many"]),
    ],
)  # fmt: skip
def test_one_line(fails, line, words, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)
    said = fails(*line.split())
    assert all(word in said for word in words), said
    assert len(said) < 600
    assert not Path("runs").exists()


def test_arguments_of_defaults_in_a_table():
    """A table's overrides reach defaults, and classes that its recipe names, as on the command line."""
    for recipe in ("quickstart", "wgan_gp/ring"):
        config = yaml.safe_load(Path(find_config(recipe)[0]).read_text())
        merge(config, {"model.latent.dim": 5, "model.generator_optimizer.lr": 0.5})
        model = parser_of_fit().parse_object(config).model.init_args
        latent = model.latent if recipe == "quickstart" else model.latent.init_args
        assert latent["dim"] == 5
        assert model.generator_optimizer.init_args.lr == 0.5


def test_null_of_an_argument_of_a_class():
    options = ["--model=DCGAN", "--model.image_shape=[1,8,8]", "--model.generator=MLPGenerator"]
    parser = Parser()
    parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
    for value in ("null", "None"):
        config = parser.parse_args([*options, f"--model.generator.init_range={value}"])
        assert config.model.init_args.generator.init_args.init_range is None


def test_options_of_true_or_false_need_no_value():
    def command(folder: str, overwrite: bool = False, quiet: bool | None = None):
        pass

    parser = OneLine()
    parser.add_function_arguments(command, as_positional=False)
    for given in (
        ["--overwrite", "--folder=x"],
        ["--folder=x", "--overwrite"],
        ["--folder=x", "--overwrite=true"],
    ):
        assert parser.parse_args(given).overwrite is True
    assert parser.parse_args(["--overwrite", "false", "--folder=x"]).overwrite is False
    for given in ("--folder", "--quiet"):
        with pytest.raises(ValueError, match=f"{given} needs a value"):
            parser.parse_args([given, "--overwrite"])


def test_completion(cli, fails, capsys, monkeypatch):
    pytest.importorskip("shtab")
    cli("completion", "--shell=zsh")
    script = capsys.readouterr().out
    for word in ("--trainer.max_steps", "fitting-capacity", "quickstart", "FashionMNIST", "--columns"):
        assert word in script
    assert "lightning-gans completion" in fails("fit", "--print_shtab", "bash")
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "pip install 'lightning-gans[completion]'" in fails("completion")
