"""Games from images to images on the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image

from lightning_gans import Pix2Pix, load
from lightning_gans.commands import translate as command
from lightning_gans.data.colour import lab_to_rgb, rgb_to_lab
from lightning_gans.drawing.grids import GAP, STRIP
from lightning_gans.drawing.pixels import to_bytes
from lightning_gans.game.translation import TranslationGame
from tests.conformance.shapes import TwoTranslators
from tests.game.test_reference import patches, resnet
from tests.game.test_reference import saved as as_the_authors_save

SHAPES = "tests.conformance.shapes"


class OneSize(TranslationGame):
    """Its network is not convolutional."""

    def __init__(self, input_shape, image_shape, **arguments):
        super().__init__(input_shape, image_shape, **arguments)
        self.generator = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.Unflatten(1, (1, 8, 8))
        )


def saved(game, path):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    game.trainer = trainer
    trainer.strategy.connect(game)
    trainer.save_checkpoint(path)
    return game.eval()


@pytest.fixture
def checkpoint():
    """A game with two directions; its networks are local."""
    torch.manual_seed(0)
    saved(TwoTranslators((1, 8, 8), (1, 8, 8)), "game.ckpt")
    return Path("game.ckpt")


@pytest.fixture
def trained(cli):
    """A run of two updates, with averaged weights; its data gives both shapes."""
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

    def translate(given, output="out", *arguments, ckpt_path=checkpoint):
        cli("translate", "--ckpt_path", ckpt_path, "--input", given, "--output", output, *arguments)
        paths = sorted(path for path in Path(output).rglob("*") if path.is_file())
        return {path.relative_to(output).as_posix(): np.asarray(Image.open(path)) for path in paths}

    return translate


def by_hand(checkpoint, image, **arguments):
    inputs = torch.from_numpy(np.asarray(image)).view(1, 1, *np.shape(image)) / 127.5 - 1
    return load(checkpoint).translate(inputs, **arguments).add(1).mul(127.5).round().byte()[0, 0].numpy()


def test_translate(run, trained, digits, capsys):
    for weights in ("ema", "raw"):
        made = run("digits", weights, "--weights", weights, ckpt_path=trained)
        assert f"3 translations: {weights}" in capsys.readouterr().out
        assert [*made] == ["more/three.png", "one.png", "two.png"]
        for image, name in zip(digits, ("one.png", "two.png", "more/three.png"), strict=True):
            assert np.array_equal(made[name], by_hand(trained, image, ema=weights == "ema"))


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


@pytest.fixture
def from_grey():
    """A U-Net from grey to colour with noise and batch statistics, for sizes that 16 divides."""
    torch.manual_seed(0)
    return saved(Pix2Pix((1, 16, 16), (3, 16, 16), generator={"width": 4}, lambda_gan=0), "grey.ckpt")


def drawn(*size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def test_any_size_is_padded_by_reflection_and_cut_back(cli, from_grey):
    image = drawn(21, 40)
    Path("in").mkdir()
    Image.fromarray(image).save("in/a.png")
    Image.fromarray(image[:1, :1]).save("in/b.png")  # one pixel
    cli("translate", "--ckpt_path=grey.ckpt", "--input=in", "--output=out", "--seed=5")
    padded = np.pad(image, ((0, 11), (0, 8)), mode="reflect")
    inputs = torch.from_numpy(padded).view(1, 1, 32, 48) / 127.5 - 1
    wanted = to_bytes(from_grey.translate(inputs, seed=5))[0, :, :21, :40]
    assert np.array_equal(np.asarray(Image.open("out/a.png")).transpose(2, 0, 1), wanted)
    assert Image.open("out/b.png").size == (1, 1)


def test_noise_follows_the_seed(cli, from_grey):
    Image.fromarray(drawn(16, 16)).save("a.png")

    def made(*arguments):
        cli("translate", "--ckpt_path=grey.ckpt", "--input=a.png", "--output=out", "--overwrite", *arguments)
        return Path("out/a.png").read_bytes()

    assert made() == made("--seed=0") != made("--seed=1")
    assert made("--deterministic") == made("--deterministic", "--seed=1") != made()


def test_neighbours_in_a_batch_change_nothing(cli, from_grey):
    """10 images of two sizes, one of which is translated in tiles; then the last of them alone."""
    sizes = [(16, 16)] * 5 + [(48, 33), (16, 20), (16, 20), (9, 9), (9, 9)]
    Path("in").mkdir()
    for i, size in enumerate(sizes):
        Image.fromarray(drawn(*size, seed=i)).save(f"in/{i}.png")
    for folder, given in (("all", "in"), ("one", "in/9.png"), ("five", "in/5.png")):
        cli("translate", "--ckpt_path=grey.ckpt", f"--input={given}", f"--output={folder}", "--deterministic",
            "--tile=32", "--overlap=8")  # fmt: skip
    assert [Image.open(f"all/{i}.png").size[::-1] for i in range(10)] == sizes
    for name in ("one/9.png", "five/5.png"):
        alone = np.asarray(Image.open(name)).astype(int)
        assert (
            abs(np.asarray(Image.open(f"all/{Path(name).name}")) - alone).max() <= 1
        )  # convolutions of batches


def test_a_game_from_lightness_to_colour(cli):
    torch.manual_seed(0)
    game = saved(Pix2Pix((1, 16, 16), (2, 16, 16), generator={"width": 4}, lambda_gan=0), "lab.ckpt")
    image = drawn(16, 16, 3)
    Image.fromarray(image).save("a.png")
    cli("translate", "--ckpt_path=lab.ckpt", "--input=a.png", "--output=out")
    lightness = rgb_to_lab(torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1)[0]
    wanted = to_bytes(lab_to_rgb(lightness, game.translate(lightness, seed=0)))[0]
    assert np.array_equal(np.asarray(Image.open("out/a.png")).transpose(2, 0, 1), wanted)


def test_large_images_are_translated_in_tiles(run, checkpoint, monkeypatch):
    """Never more than a tile at a time; a local network makes of them what it makes of the whole."""
    image = drawn(150, 201)
    Image.fromarray(image).save("large.png")
    sizes = []
    translate = TranslationGame.translate

    def watched(self, images, *arguments):
        sizes.append(images.shape[2:].numel())
        return translate(self, images, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(TranslationGame, "translate", watched)
        made = run("large.png", "out", "--tile=64", "--overlap=16")["large.png"]
    assert sizes == [256**2] + [64**2] * (3 * 4)  # the first tell if tiles must be normalised alike
    assert abs(made - by_hand(checkpoint, image).astype(int)).max() <= 1


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_tiles_are_normalised_alike(cli, norm):
    """Else tiles of the flat half would be as rich in contrast as those of the other."""
    torch.manual_seed(0)
    game = Pix2Pix((1, 16, 16), (1, 16, 16), generator={"width": 4, "norm": norm, "downs": 2}, lambda_gan=0,
                   dropout_at_test=False)  # fmt: skip
    for layer in game.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.weight.data *= 10  # untrained, it would hardly answer
    saved(game, "game.ckpt")
    image = np.concatenate([drawn(256, 128), drawn(256, 128) // 32 + 100], 1)
    Image.fromarray(image).save("a.png")
    made = {}
    for tile in (48, 64, 512):
        cli("translate", "--ckpt_path=game.ckpt", "--input=a.png", f"--output={tile}", f"--tile={tile}",
            "--overlap=32")  # fmt: skip
        made[tile] = np.asarray(Image.open(f"{tile}/a.png")).astype(float)
    assert abs(made[48] - made[64]).max() <= 1
    assert made[512].std() > 5
    assert abs(made[48] - made[512]).mean() < made[512].std() / 10


def test_colour_large_enough_for_several_strips(cli, from_grey):
    """Transparency, a palette and pixels of 16 bits are converted tile by tile."""
    image = drawn(70, 90)
    Path("in").mkdir()
    Image.fromarray(image).save("in/a.png")
    Image.fromarray(image.astype(np.uint16) * 257).save("in/b.png")
    Image.merge("LA", [Image.fromarray(image), Image.new("L", (90, 70), 255)]).save("in/c.png")
    Image.fromarray(np.stack([image] * 3, 2)).quantize(256).save("in/d.png")
    cli("translate", "--ckpt_path=grey.ckpt", "--input=in", "--output=out", "--tile=32", "--overlap=16",
        "--deterministic")  # fmt: skip
    a, *others = (np.asarray(Image.open(f"out/{name}.png")) for name in "abcd")
    assert a.shape == (70, 90, 3)
    assert all(np.array_equal(a, other) for other in others)


@pytest.mark.parametrize(("pixels", "most"), [(4 * 64, command.AHEAD + 2 * 4), (63, 1)])
def test_memory_stays_flat(run, monkeypatch, pixels, most):
    """Of many images only those of a batch and some more are open; of large ones, one."""
    Path("in").mkdir()
    for i in range(60):
        Image.fromarray(drawn(8, 8, seed=i)).save(f"in/{i}.png")
    opened, ahead = [0], [0]
    open_image, together = command.open_image, command._Run.together

    def counted(*arguments):
        opened[0] += 1
        ahead.append(opened[0])
        return open_image(*arguments)

    def done(self, batch):
        made = together(self, batch)
        opened[0] -= len(batch)
        return made

    monkeypatch.setattr(command, "PIXELS", pixels)
    monkeypatch.setattr(command, "open_image", counted)
    monkeypatch.setattr(command._Run, "together", done)
    assert len(run("in")) == 60
    assert opened == [0]
    assert max(ahead) <= most + 1


def test_sheets(cli, from_grey):
    Path("in/b").mkdir(parents=True)
    for i in range(17):
        Image.fromarray(drawn(16, 16, seed=i)).save(f"in/{i}.png")
    Image.fromarray(drawn(300, 40)).save("in/b/tall.png")
    cli("translate", "--ckpt_path=grey.ckpt", "--input=in", "--output=out", "--sheets=looks", "--tile=64")
    assert len(list(Path("out").rglob("*.png"))) == 18
    sheets = [Image.open(path) for path in sorted(Path("looks").iterdir())]
    assert [sheet.mode for sheet in sheets] == ["RGB", "RGB"]
    left, right = np.asarray(Image.open("in/0.png")), np.asarray(Image.open("out/0.png"))
    first = np.asarray(sheets[0])[STRIP:]
    assert np.array_equal(first[: 3 * 16 : 3, : 3 * 16 : 3], np.stack([left] * 3, 2))  # enlarged 3 times
    assert np.array_equal(first[: 3 * 16 : 3, 48 + GAP : 96 + GAP : 3], right)
    assert 256 <= sheets[1].height <= 300  # the tall one, shrunk


def test_generators_of_the_authors_code(cli, fails):
    weights, forward = resnet(1)
    as_the_authors_save(weights, "latest_net_G.pth")
    image = drawn(36, 48, 3)
    Image.fromarray(image).save("a.png")
    cli("translate", "--ckpt_path=latest_net_G.pth", "--input=a.png", "--output=out")
    inputs = torch.from_numpy(np.pad(image, ((0, 4), (0, 0), (0, 0)), mode="reflect")).permute(2, 0, 1)
    wanted = to_bytes(forward(inputs[None] / 127.5 - 1))[0, :, :36]
    made = torch.from_numpy(np.array(Image.open("out/a.png"))).permute(2, 0, 1)
    assert (made.int() - wanted.int()).abs().max() <= 1
    as_the_authors_save(patches(3)[0], "latest_net_D.pth")
    assert "holds a discriminator" in fails(
        "translate", "--ckpt_path=latest_net_D.pth", "--input=a.png", "--output=new"
    )


def test_what_cannot_be_translated(cli, fails, checkpoint, from_grey, digits):
    def line(*arguments, ckpt_path=checkpoint):
        return fails("translate", "--ckpt_path", ckpt_path, "--output", "out", "--input", *arguments)

    assert "neither a file nor a folder" in line("nowhere")
    Path("empty").mkdir()
    assert "has no images" in line("empty")
    assert "input=[]" in line("[]")
    assert "would both become one.png" in line("[digits/one.png, digits/one.png]")
    assert "direction=BtoA: a Pix2Pix translates one way" in line(
        "digits", "--direction=BtoA", ckpt_path="grey.ckpt"
    )
    assert "give a tile of at least 48" in line("digits", "--tile=32", "--overlap=20", ckpt_path="grey.ckpt")
    assert "tile=0" in line("digits", "--tile=0")
    assert "overlap=-1" in line("digits", "--overlap=-1")
    assert "without size images are not resized" in line("digits", "--aspect=crop")
    assert "device=cuda:99" in line("digits", "--device", "cuda:99")
    assert not Path("out").exists()
    assert "has no latent to sample from: use translate" in fails("sample", "--ckpt_path", checkpoint)


def test_damaged_images_are_named(fails, checkpoint, digits, monkeypatch):
    given = ("translate", "--ckpt_path", checkpoint, "--input", "digits", "--output")
    Path("digits/text.png").write_text("no image")
    assert "digits/text.png: not an image" in fails(*given, "a")
    Path("digits/text.png").unlink()
    whole = Path("digits/two.bmp").read_bytes()
    Path("digits/two.bmp").write_bytes(whole[:-20])
    assert "digits/two.bmp: damaged" in fails(*given, "b")
    Path("digits/two.bmp").write_bytes(whole)
    monkeypatch.setattr("lightning_gans.commands.translate.free_memory", lambda: 200)
    line = fails(*given, "c")
    assert "digits/more/three.png: its pixels need" in line
    assert "(0 of 3 files" in line


def test_images_larger_than_pillows_limit(run, checkpoint, monkeypatch):
    Image.fromarray(drawn(40, 40)).save("large.png")
    with monkeypatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(Image.DecompressionBombError):  # the command has ended: the limit holds again
            run("large.png", "out", "--tile=32")
    assert Image.open("out/large.png").size == (40, 40)


def test_a_game_that_takes_one_size_alone(cli, fails):
    """An image of another size is refused by name, with the size that fits."""
    saved(OneSize((1, 8, 8), (1, 8, 8)), "fixed.ckpt")
    Image.fromarray(drawn(12, 8)).save("a.png")
    given = ("translate", "--ckpt_path=fixed.ckpt", "--input=a.png", "--trusted", __name__)
    line = fails(*given, "--output=a")
    assert "a.png: the generator fails at 8x12 pixels, give --size 8" in line
    cli(*given, "--output=b", "--size=8")
    assert Image.open("b/a.png").size == (8, 8)


def test_a_folder_of_translations_is_new_and_whole(cli, fails, checkpoint, digits):
    given = ("translate", "--ckpt_path", checkpoint, "--input", "digits", "--output")
    for i in range(16):
        Image.fromarray(digits[0]).save(f"digits/{i}.png")
    Path("digits/zzz.png").write_text("no image")
    line = fails(*given, "out")
    assert "zzz.png" in line
    assert "files were written to out" in line
    done = [path for path in Path("out").rglob("*") if path.is_file()]
    assert f"({len(done)} of 20 files" in line
    line = fails(*given, "out")
    assert "output=out is not empty" in line
    assert "--overwrite" in line
    Path("digits/zzz.png").unlink()
    Path("out/own.txt").write_text("stays")
    cli(*given, "out", "--overwrite")
    assert len([*Path("out").rglob("*.png")]) == 19
    assert Path("out/own.txt").read_text() == "stays"


def test_inputs_are_never_overwritten(fails, checkpoint, digits):
    before = {path: path.read_bytes() for path in Path("digits").rglob("*.*")}

    def line(given, *arguments):
        return fails("translate", "--ckpt_path", checkpoint, "--input", given, "--overwrite", *arguments)

    assert "output=digits lies in input=digits" in line("digits", "--output=digits")
    assert "output=digits/new lies in input=digits" in line("digits", "--output=digits/new")
    assert "sheets=digits/new lies in input=digits" in line("digits", "--output=out", "--sheets=digits/new")
    Path("link").symlink_to("digits")
    assert "output=link/new lies in input=digits" in line("digits", "--output=link/new")
    assert "digits/one.png is one of the inputs" in line("digits/one.png", "--output=digits")
    Path("sheet_0000.png").write_bytes(before[Path("digits/one.png")])
    assert "would be a translation and a sheet" in line("sheet_0000.png", "--output=out", "--sheets=out")
    assert {path: path.read_bytes() for path in Path("digits").rglob("*.*")} == before


def test_shapes_follow_from_the_data(fails):
    model = f"--model={SHAPES}.TwoTranslators"
    assert "data=Digits has no attribute input_shape" in fails("fit", model, "--data=Digits")
    line = fails("fit", model, f"--data={SHAPES}.Negatives", "--model.input_shape=[1,8,9]")
    assert "model.input_shape=(1, 8, 9) is not the data's" in line
