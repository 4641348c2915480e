"""Games from images to images on the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gans import load

SHAPES = "tests.conformance.shapes"


@pytest.fixture
def checkpoint(cli):
    """A game that was trained for two updates; its data gives both shapes."""
    cli("fit", f"--model={SHAPES}.TwoTranslators", f"--data={SHAPES}.Negatives", "--data.limit=32",
        "--trainer.max_steps=2", "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false",
        "--trainer.callbacks=lightning_gans.callbacks.GeneratorEMA")  # fmt: skip
    return Path("runs/twotranslators/version_0/checkpoints/last.ckpt")


@pytest.fixture
def digits():
    """A folder of images, one of them below it and twice as large."""
    rng = np.random.default_rng(0)
    (folder := Path("digits/more")).mkdir(parents=True)
    images = [rng.integers(0, 256, (size, size), np.uint8) for size in (8, 8, 16)]
    for image, name in zip(images, ("../one.png", "../two.bmp", "three.png"), strict=True):
        Image.fromarray(image).save(folder / name)
    return images


@pytest.fixture
def run(cli, checkpoint):
    """Translate: returns the translations by their names."""

    def translate(given, output="out", *arguments):
        cli("translate", "--ckpt_path", checkpoint, "--input", given, "--output", output, *arguments)
        paths = sorted(path for path in Path(output).rglob("*") if path.is_file())
        return {path.relative_to(output).as_posix(): np.asarray(Image.open(path)) for path in paths}

    return translate


def by_hand(checkpoint, image, **arguments):
    inputs = torch.from_numpy(np.asarray(image)).view(1, 1, *np.shape(image)) / 127.5 - 1
    return load(checkpoint).translate(inputs, **arguments).add(1).mul(127.5).round().byte()[0, 0].numpy()


@pytest.mark.parametrize("weights", ["ema", "raw"])
def test_translate(run, checkpoint, digits, weights, capsys):
    made = run("digits", "out", "--weights", weights)
    assert "3 translations: out" in capsys.readouterr().out
    assert [*made] == ["more/three.png", "one.png", "two.png"]
    for image, name in zip(digits, ("one.png", "two.png", "more/three.png"), strict=True):
        assert np.array_equal(made[name], by_hand(checkpoint, image, ema=weights == "ema"))


def test_what_is_translated(run, checkpoint, digits):
    assert [*run("digits/two.bmp", "one")] == ["two.png"]
    assert [*run("[digits/two.bmp, digits/one.png]", "two")] == ["one.png", "two.png"]
    back = run("digits/one.png", "back", "--direction", "BtoA")["one.png"]
    assert np.array_equal(back, by_hand(checkpoint, digits[0], direction="BtoA"))
    wide = np.concatenate([digits[0], digits[1]], 1)
    Image.fromarray(wide).save("wide.png")
    for half, image in (("left", digits[0]), ("right", digits[1])):
        made = run("wide.png", half, "--half", half)["wide.png"]
        assert np.array_equal(made, by_hand(checkpoint, image))


def test_sizes(run, digits):
    """Images keep theirs unless another is wished."""
    Image.fromarray(np.zeros((20, 10), np.uint8)).save("high.png")
    for arguments, size in (
        ((), (20, 10)),
        (("--size=8",), (8, 8)),
        (("--size=8", "--aspect=crop", "--interpolation=nearest"), (8, 8)),
        (("--size=30", "--aspect=keep"), (60, 30)),
    ):
        assert run("high.png", "out", "--overwrite", *arguments)["high.png"].shape == size


class Deep(Pix2Pix):
    """A game whose generator halves images four times; it was never trained."""


@pytest.fixture
def deep():
    """The checkpoint of a game from grey to colour whose generator wants sizes that 16 divides."""
    torch.manual_seed(0)
    game = Pix2Pix((1, 16, 16), (3, 16, 16), generator={"width": 4}, lambda_gan=0)
    trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(game)
    trainer.save_checkpoint("deep.ckpt")
def test_shapes_follow_from_the_data(fails):
    model = f"--model={SHAPES}.TwoTranslators"
    assert "data=Digits has no attribute input_shape" in fails("fit", model, "--data=Digits")
    line = fails("fit", model, f"--data={SHAPES}.Negatives", "--model.input_shape=[1,8,9]")
    assert "model.input_shape=(1, 8, 9) is not the data's" in line
