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


def test_translate(cli, checkpoint, digits, capsys):
    for weights in ("ema", "raw"):
        cli(
            "translate",
            "--ckpt_path",
            checkpoint,
            "--input",
            "digits",
            "--out",
            weights,
            "--weights",
            weights,
        )
    assert "3 translations: raw" in capsys.readouterr().out
    for folder in ("ema", "raw"):
        files = sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.*"))
        assert files == ["more/three.png", "one.png", "two.png"]
        inputs = torch.from_numpy(np.stack(digits[:2])).unsqueeze(1) / 127.5 - 1
        wanted = load(checkpoint).translate(inputs, ema=folder == "ema").add(1).mul(127.5).round().byte()
        made = [np.asarray(Image.open(Path(folder) / name)) for name in files]
        assert np.array_equal(np.stack(made[1:]), wanted[:, 0].numpy())
        assert made[0].shape == (8, 8)
    cli("translate", "--ckpt_path", checkpoint, "--input", "digits/two.bmp", "--out", "one")
    cli("translate", "--ckpt_path", checkpoint, "--input", "[digits/two.bmp, digits/one.png]", "--out", "two")
    assert [len(list(Path(name).iterdir())) for name in ("one", "two")] == [1, 2]


def test_what_cannot_be_translated(cli, fails, checkpoint, digits):
    def line(*arguments):
        return fails("translate", "--ckpt_path", checkpoint, "--out", "out", "--input", *arguments)

    assert "neither a file nor a folder" in line("nowhere")
    Path("empty").mkdir()
    assert "has no images" in line("empty")
    assert "input=[]" in line("[]")
    Path("digits/text.png").write_text("no image")
    assert "digits/text.png" in line("digits")
    assert "would both become one.png" in line("[digits/one.png, digits/one.png]")
    assert "TwoTranslators has no latent to sample from: use translate" in fails(
        "sample", "--ckpt_path", checkpoint
    )


def test_a_folder_of_translations_is_new_and_whole(cli, fails, checkpoint, digits):
    given = ("translate", "--ckpt_path", checkpoint, "--input", "digits", "--out")
    assert "out=digits is not empty" in fails(*given, "digits")  # it would have overwritten what it reads
    for i in range(16):
        Image.fromarray(digits[0]).save(f"digits/{i}.png")
    Path("digits/zzz.png").write_text("no image")
    line = fails(*given, "out")
    assert "zzz.png" in line
    assert "16 of 20 files" in line
    assert len([path for path in Path("out").rglob("*") if path.is_file()]) == 16
    assert "out=out is not empty" in fails(*given, "out")
    assert "device=cuda:99" in fails(*given, "new", "--device", "cuda:99")


def test_shapes_follow_from_the_data(fails):
    model = f"--model={SHAPES}.TwoTranslators"
    assert "data=Digits has no attribute input_shape" in fails("fit", model, "--data=Digits")
    line = fails("fit", model, f"--data={SHAPES}.Negatives", "--model.input_shape=[1,8,9]")
    assert "model.input_shape=(1, 8, 9) is not the data's" in line
