"""What ``lightning-gans latent`` draws, and what it refuses before any work."""

from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from lightning_gans import GAN, ConditionalGAN, CycleGAN, DeLiGAN
from lightning_gans.commands import latent
from lightning_gans.game.latents import Uniform
from lightning_gans.metrics.extractors import Extractor
from lightning_gans.networks.rebuild import Rebuildable
from tests.commands.test_sample import Latents, saved
from tests.models.test_cyclegan import SMALL

GAME = ("--ckpt_path", "game.ckpt")


class Pixels(Rebuildable, nn.Module):
    """The four pixels of an image are its latent; that of class k has k / 100 more."""

    def forward(self, latents, labels=None):
        shift = 0 if labels is None else labels.view(-1, 1) / 100
        return (latents + shift).view(-1, 1, 2, 2)


class Brightest(Extractor):
    """The class is the brightest of the first three pixels, of which a fourth class never is."""

    def __init__(self):
        super().__init__("brightest", 1)

    @property
    def protocol(self):
        return {"extractor": self.name, "hash": "", "resize": "none", "precision": "fp32"}

    def extract(self, images):
        pixels = images.float().flatten(1)
        return pixels, torch.cat([pixels[:, :3], torch.zeros(len(images), 1)], 1)


BRIGHTEST = ("--extractor", "tests.commands.test_latent.Brightest")


def pixel_game(kind=GAN, **arguments):
    networks = {"generator": Pixels(), "discriminator": Pixels()}
    saved(kind((1, 2, 2), latent=Uniform(4, 0.3), **networks, **arguments))


@pytest.fixture
def drawn(monkeypatch):
    """The images of each grid that was drawn, as numbers in [-1, 1]: the latents, to half a grey level."""
    grids = []

    def note(images, *arguments, **labels):
        grids.append(images.flatten(1).float() / 127.5 - 1)
        return draw(images, *arguments, **labels)

    draw = latent.labelled_grid
    monkeypatch.setattr(latent, "labelled_grid", note)
    return grids


def latents_of(n, seed=0):
    return Uniform(4, 0.3)(n, torch.Generator().manual_seed(seed))


def near(found, expected, levels=1):
    torch.testing.assert_close(found, expected, rtol=0, atol=0.005 * levels)


def test_lines(cli, drawn):
    pixel_game()
    cli("latent", "interpolate", *GAME, "--latents", "[7,0,3]", "--steps", 3)
    z = latents_of(64)
    near(drawn[0], torch.stack([z[7], (z[7] + z[0]) / 2, z[0], z[0], (z[0] + z[3]) / 2, z[3]]))
    assert Image.open("interpolation.png").size[0] > 3 * 64
    cli("latent", "interpolate", *GAME, "--latents", "[7,0]", "--steps", 3, "--spherical", "--seed", 5)
    a, b = latents_of(64, seed=5)[[7, 0]].double()
    half = torch.acos(a @ b / a.norm() / b.norm()) / 2
    near(drawn[1][1], ((a + b) / (2 * half.cos())).float())


def test_lines_of_each_class(cli, drawn):
    pixel_game(ConditionalGAN, num_classes=4)
    cli("latent", "interpolate", *GAME, "--latents", "[1,2]", "--steps", 2, "--labels", "[0,3]")
    z = latents_of(64)[1:3]
    near(drawn[0], torch.cat([z, z + 0.03]))


def test_animations(cli):
    pixel_game()
    cli("latent", "interpolate", *GAME, "--latents", "[7,0,3]", "--steps", 4, "--out", "a/line.gif")
    assert Image.open("a/line.gif").n_frames == 7  # a way begins where the one before it ends
    cli("latent", "walk", *GAME, "--a", "[0]", "--b", "[1]", "--steps", 5, "--out", "walk.gif")
    assert Image.open("walk.gif").n_frames == 5


def test_arithmetic_of_numbers(cli, drawn):
    pixel_game()
    cli("latent", "arithmetic", *GAME, "--a", "[0,1,2]", "--b", "[3,4]", "--c", "[5]")
    z = latents_of(64)
    means = torch.stack([z[:3].mean(0), z[3:5].mean(0), z[5]])
    centre = means[0] - means[1] + means[2]
    concepts, nine, pixels = drawn
    near(concepts[[0, 3, 6, 1, 4, 2]], z[:6])
    assert (concepts[[5, 7, 8]] == 1).all()  # nothing
    near(concepts[9:], means)
    near(nine[4], centre)
    assert (nine - centre).abs().amax(1)[[0, 1, 2, 3, 5, 6, 7, 8]].min() > 0.03
    assert (nine - centre).abs().max() < 0.255
    near(pixels[0], centre, levels=4)  # this game's images are its latents


def test_pixels_are_another_thing_than_latents(cli, drawn, monkeypatch):
    pixel_game()
    monkeypatch.setattr(Pixels, "forward", lambda self, latents: (3 * latents).square().view(-1, 1, 2, 2))
    cli("latent", "arithmetic", *GAME, "--a", "[0,1]", "--b", "[2]", "--c", "[3]", "--noise", 0)
    z = latents_of(64)
    near(
        drawn[2][0],
        ((9 * z[:2].square()).mean(0) - 9 * z[2].square() + 9 * z[3].square()).clamp(-1, 1),
        levels=4,
    )
    assert (drawn[1] - drawn[2]).abs().max() > 0.1


def test_arithmetic_of_classes(cli, drawn, capsys):
    pixel_game()
    cli("latent", "arithmetic", *GAME, "--a", 0, "--b", 1, "--c", 2, *BRIGHTEST, "--average", 5, "--n", 200)
    concepts, nine, _ = drawn
    for k in range(3):
        members = concepts[k:15:3, :3]
        assert (members.argmax(1) == k).all()
        assert (members[:, k] - members.sort(1).values[:, 1] > 0.1).all()  # surely
    near(nine[4], concepts[15] - concepts[16] + concepts[17], levels=4)
    out = capsys.readouterr().out
    assert "0 \N{MINUS SIGN} 1 + 2: arithmetic.png" in out
    assert "sees in the result: " in out


def test_the_runs_own_classifier(cli, fails, drawn, capsys):
    pixel_game()
    Path("run/checkpoints").mkdir(parents=True)
    Path("game.ckpt").rename("run/checkpoints/last.ckpt")
    command = ("latent", "walk", "--ckpt_path", "run", "--a", 0, "--b", 1, "--latents", "[9]", "--steps", 3)

    def run_scored_by(path):
        callback = {"class_path": "Evaluate", "init_args": {"extractor": {"class_path": path}}}
        Path("run/config.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [callback]}}))

    run_scored_by("elsewhere.Extractor")
    assert "--trusted elsewhere" in fails(*command)
    run_scored_by(BRIGHTEST[1])
    cli(*command)
    out = capsys.readouterr()
    assert "as in its run: extractor Brightest" in out.err
    before, start, after = drawn[0]
    near(start, latents_of(1000)[9])
    near(after - start, start - before, levels=2)
    assert (after - before)[0] > 0.3
    assert (after - before)[1] < -0.3


def test_points(cli, fails):
    saved(DeLiGAN((2,), latent={"dim": 2}))
    cli("latent", "interpolate", *GAME, "--steps", 20)
    assert Image.open("interpolation.png").size == (600, 620)
    assert "out=a.gif: points" in fails("latent", "interpolate", *GAME, "--out", "a.gif")
    for command in ("arithmetic", "walk"):
        concepts = ("--a", "[0]", "--b", "[0]", *("--c", "[0]") * (command == "arithmetic"))
        assert "of points there is only latent interpolate" in fails("latent", command, *GAME, *concepts)
    saved(GAN((1,), latent={"dim": 2}, generator=Latents()))
    assert "points of two dimensions or more" in fails("latent", "interpolate", *GAME)


def test_mixtures_draw_as_sample_does(cli, drawn):
    """Numbers are those of the pictures of ``sample``, for latents that depend on how many are drawn too."""
    game = DeLiGAN((1, 8, 8), latent={"dim": 5})
    saved(game)
    cli("latent", "interpolate", *GAME, "--latents", "[63,2]", "--steps", 2)
    near(drawn[0], game.sample(64, seed=0)[[63, 2]].flatten(1))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("game"))
        pixel_game()
        return Path("game.ckpt").absolute()


CONCEPTS = ("--a", "[0]", "--b", "[1]", "--c", "[2]")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["draw"], "latent draw is unknown: use interpolate, arithmetic, walk"),
        (["interpolate", "--latents", "[3]"], "latents=[3]: give two or more"),
        (["interpolate", "--latents", "[3,64]"], "latents[1]=64: give 0 to 63, or draw more, by --n"),
        (["interpolate", "--latents", "[-1,3]"], "latents[0]=-1: give 0 to 63"),
        (["interpolate", "--steps", "1"], "steps=1: give a whole number of at least 2"),
        (["interpolate", "--steps", "9999999"], "4 x 9999999 images make too large a picture"),
        (["interpolate", "--out", "a.jpg"], "out=a.jpg: give a file that ends in .png or .gif"),
        (["interpolate", "--labels", "0"], "labels=0: a GAN has no classes"),
        (["interpolate", "--replica", "1"], "replica=1 is unknown: use 0"),
        (["arithmetic", *CONCEPTS, "--a", "[]"], "a=[]: a concept needs a latent at least"),
        (["arithmetic", *CONCEPTS, "--a", "7"], "a=7: say which classifier finds the class, by --extractor"),
        (
            ["arithmetic", *CONCEPTS, "--b", "3", *BRIGHTEST],
            "b=3: 0 of 1,000 samples are of class 3, and 3 are needed: draw more, by --n, or average fewer",
        ),
        (["arithmetic", *CONCEPTS, "--b", "4", *BRIGHTEST], "b=4 is unknown: use 0, 1, 2, 3"),
        (["arithmetic", *CONCEPTS, "--out", "a.gif"], "out=a.gif: give a file that ends in .png"),
        (["walk", *CONCEPTS[:4], "--reach", "0"], "reach=0.0"),
        (["walk", *CONCEPTS[:4], "--latents", "[]"], "latents=[]: give one or more"),
    ],
)
def test_bad_input(fails, stored, arguments, line):
    command, *rest = arguments
    assert line in fails("latent", command, "--ckpt_path", stored, *rest)
    assert not [*Path().glob("*.png")]


def test_other_games(fails):
    pixel_game(ConditionalGAN, num_classes=4)
    assert "labels=None: give the one class that is held" in fails("latent", "arithmetic", *GAME, *CONCEPTS)
    assert "labels[0]=4: give 0 to 3" in fails("latent", "walk", *GAME, *CONCEPTS[:4], "--labels", 4)
    saved(CycleGAN((1, 16, 16), (1, 16, 16), **SMALL))
    assert "a CycleGAN has no latent to sample from: use translate" in fails("latent", "interpolate", *GAME)
