"""What ``lightning-gans sample`` writes, and what it refuses before any work."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from torch import nn

from lightning_gans import GAN, WGAN, ConditionalGAN
from lightning_gans.networks.rebuild import Rebuildable


class Shades(Rebuildable, nn.Module):
    """An image of class k is of shade k / 10, whatever the latent."""

    def __init__(self, image_shape, num_classes=10):
        super().__init__()
        self.shape, self.weight = tuple(image_shape), nn.Parameter(torch.zeros(1))

    def forward(self, latents, labels):
        return (labels / 10 + self.weight).view(-1, 1, 1, 1).expand(-1, *self.shape)


class Latents(Rebuildable, nn.Module):
    """A vector is its latent."""

    def forward(self, latents):
        return latents


class FirstNumber(Rebuildable, nn.Module):
    """The logit of a vector is its first number."""

    def forward(self, vectors):
        return vectors[:, 0]


class Diverged(Rebuildable, nn.Module):
    """The images after the first 500 are not finite."""

    def __init__(self, image_shape, latent_dim):
        super().__init__()
        self.shape, self.weight = tuple(image_shape), nn.Parameter(torch.ones(1))

    def forward(self, latents):
        return torch.full((len(latents), *self.shape), 0.0 if len(latents) == 500 else float("nan"))


def saved(game):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    game.trainer = trainer
    trainer.strategy.connect(game)
    trainer.save_checkpoint("game.ckpt")


def written(cli, *arguments, out="samples.npz"):
    cli("sample", "--ckpt_path", "game.ckpt", "--out", out, *arguments)
    return np.load(out)["arr_0"] if out.endswith(".npz") else np.asarray(Image.open(out))


def test_a_folder_is_new(cli, fails):
    saved(GAN((1, 8, 8)))
    arguments = ("sample", "--ckpt_path", "game.ckpt", "--out", "folder")
    cli(*arguments, "--n", 3)
    before = {path: path.read_bytes() for path in Path("folder").iterdir()}
    line = fails(*arguments, "--n", 2, "--seed", 1)
    assert "out=folder is not empty" in line
    assert before == {path: path.read_bytes() for path in Path("folder").iterdir()}
    Path("file").touch()
    assert "out=file is a file" in fails(*arguments[:-1], "file")


def test_a_full_disk_is_no_success(cli, fails, full_disk, capsys):
    saved(GAN((1, 8, 8)))
    full_disk(7)
    line = fails("sample", "--ckpt_path", "game.ckpt", "--out", "folder")
    assert "No space left on device" in line
    assert "7 of 64 files" in line
    sizes = [Image.open(path).size for path in Path("folder").iterdir()]
    assert sizes == [(8, 8)] * 7
    full_disk(0)
    assert "samples.png" in fails("sample", "--ckpt_path", "game.ckpt", "--out", "samples.png")
    assert not Path("samples.png").exists()


def test_classes_come_in_turn(cli, fails):
    saved(ConditionalGAN((1, 4, 4), num_classes=10, generator=Shades((1, 4, 4))))

    def drawn(*arguments):
        shades = written(cli, "--n", 12, *arguments)[:, 0, 0, 0] / 127.5 - 1
        return (10 * shades).round().astype(int).tolist()

    assert drawn() == [*range(10), 0, 1]
    assert drawn("--labels", 3) == [3] * 12
    assert drawn("--labels", "[7,0,2]") == [7, 0, 2] * 4
    for columns, labels in (
        (10, ()),
        (8, ("--labels", 3)),
        (6, ("--labels", "[7,0,2]")),
        (2, ("--columns", 2)),
    ):
        assert written(cli, *labels, out="grid.png").shape[1] == columns * (48 + 2) + 2
    for labels, named in ((10, "labels[0]=10: give 0 to 9"), ("[1,-1]", "labels[1]=-1"), ("[]", "labels=[]")):
        assert named in fails("sample", "--ckpt_path", "game.ckpt", "--labels", labels)
    saved(GAN((1, 4, 4)))
    assert "labels=3: a GAN has no classes" in fails("sample", "--ckpt_path", "game.ckpt", "--labels", 3)


def test_rejection(cli, fails, capsys):
    """The discriminator of Goodfellow's game on points that are all alike but for one number."""
    saved(GAN((2,), latent={"dim": 2}, generator=Latents(), discriminator=FirstNumber()))
    few = ("--n", 400, "--num_calibration", 1000, "--rejection")
    plain = written(cli, "--n", 400)
    assert abs(plain[:, 0].mean()) < 0.2
    capsys.readouterr()
    accepted = written(cli, *few, 0.9)
    share = capsys.readouterr().out
    assert "400 samples, of the " in share
    assert "that are accepted: samples.npz" in share
    rejected = written(cli, *few, 0.9, "--rejected", "true")
    assert accepted.shape == rejected.shape == (400, 2)
    assert accepted[:, 0].mean() > 0.6
    assert rejected[:, 0].mean() < -0.1
    assert (written(cli, *few, 0.9) == accepted).all()
    assert (written(cli, *few, 0.9, "--seed", 1) != accepted).any()
    assert "rejection=1.5: " in fails("sample", "--ckpt_path", "game.ckpt", "--rejection", 1.5)
    assert "rejected=True: " in fails("sample", "--ckpt_path", "game.ckpt", "--rejected", "true")
    saved(WGAN((2,)))
    assert "rejection: the logits of a WGAN" in fails(
        "sample", "--ckpt_path", "game.ckpt", "--rejection", 0.5
    )


@pytest.mark.parametrize(
    ("shape", "out", "said"),
    [
        ((4, 4, 8), "a.png", "64 samples, 3 of 4 channels: a.png"),
        ((2, 4, 4), "a.png", "64 samples, 1 of 2 channels: a.png"),
        ((4, 8, 8), "folder", "64 samples: folder"),
        ((2,), "a.png", "64 samples: a.png"),
        ((7,), "a.png", "64 samples, 3 of 7 dimensions: a.png"),
        ((1,), "a.npz", "64 samples: a.npz"),
    ],
)
def test_any_shape_is_written_and_what_is_left_out_is_said(cli, capsys, shape, out, said):
    saved(GAN(shape))
    capsys.readouterr()
    cli("sample", "--ckpt_path", "game.ckpt", "--out", out)
    assert capsys.readouterr().out == f"{said}\n"


@pytest.mark.parametrize(
    ("shape", "arguments", "named"),
    [
        ((5, 4, 4), ("--out", "folder"), "at most 4 channels"),
        ((2,), ("--out", "folder"), "out=folder: vectors are no pictures"),
        ((1,), ("--out", "a.png"), "out=a.png: numbers of one dimension"),
        ((1, 4, 4), ("--columns", 0), "columns=0"),
        ((1, 4, 4), ("--seed", -1), "seed=-1"),
        ((1, 4, 4), ("--seed", 2**70), f"seed={2**70}"),
        ((1, 4, 4), ("--n", 10**9), "n=1000000000: "),
        ((1, 4, 4), ("--n", 10**12, "--out", "a.npz"), "GiB of memory"),
        ((1, 4, 4), ("--out", "file/a.png"), "out=file/a.png: cannot write"),
        ((1, 4, 4), ("--device", "cuda:99"), "device=cuda:99"),
        ((1, 4, 4), ("--device", "gpu"), "device=gpu"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(fails, shape, arguments, named):
    saved(GAN(shape))
    Path("file").touch()
    assert named in fails("sample", "--ckpt_path", "game.ckpt", *arguments)
    assert sorted(path.name for path in Path().iterdir()) == ["file", "game.ckpt"]


def test_a_generator_that_diverged(fails):
    saved(GAN((1, 4, 4), generator=Diverged))
    line = fails("sample", "--ckpt_path", "game.ckpt", "--n", 501, "--out", "folder")
    assert "sample 500 is not finite" in line
    assert "500 of 501 files" in line
