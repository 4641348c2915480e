"""Checkpoints that are damaged, incomplete, or of another model."""

import shutil
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from torch.optim.lr_scheduler import StepLR

import lightning_gans
from lightning_gans import GAN, GaussianMixtures, load
from lightning_gans.callbacks import Checkpoint, GeneratorEMA, SampleGrid
from lightning_gans.game.checkpoints import read_checkpoint
from lightning_gans.networks import MLPDiscriminator, MLPGenerator
from tests.damage import damaged


def small(hidden=(4,), **arguments):
    return GAN(
        (2,),
        generator=partial(MLPGenerator, hidden=hidden, output="none"),
        discriminator=partial(MLPDiscriminator, hidden=hidden),
        generator_scheduler=partial(StepLR, step_size=5),
        **arguments,
    )


def fit(module, ckpt_path=None, **settings):
    folder = "resumed" if ckpt_path else "here"
    shutil.rmtree(folder, ignore_errors=True)
    callbacks = [Checkpoint(dirpath=folder), SampleGrid(every_n_updates=1), GeneratorEMA()]
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(callbacks=callbacks, limit_val_batches=0, **quiet, **settings)
    trainer.fit(module, GaussianMixtures(samples=600, batch_size=30), ckpt_path=ckpt_path)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A checkpoint of two updates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("content"))
        fit(small(), max_steps=2)
        return Path("here/last.ckpt").read_bytes()


def read_or_refused(function, path):
    """What a function makes of a checkpoint, and the line by which it refuses it; one of them is None."""
    try:
        return function(path), None
    except ValueError as error:
        return None, str(error)


def same(left, right):
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.slow)])
def test_damaged_copies(content, count):
    """One line, or what was written: what a disk or a network does to a file is never read as values."""
    Path("whole.ckpt").write_bytes(content)
    whole = read_checkpoint("whole.ckpt")
    path, refused = Path("damaged.ckpt"), 0
    for what, copy in damaged(content, count, seed=count):
        path.write_bytes(copy)
        read, line = read_or_refused(read_checkpoint, path)
        if line is None:
            assert same(read, whole), what
        else:
            assert line.startswith("checkpoint damaged.ckpt"), what
            assert line.isprintable(), what
            refused += 1
    assert refused > 0.8 * count


def test_the_damaged_entry_is_named(content, fails):
    Path("whole.ckpt").write_bytes(content)
    weight = load("whole.ckpt").generator.layers[0].weight
    at = content.index(weight.detach().numpy().tobytes()) + 5
    Path("flipped.ckpt").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    reason = r"checksum of its entry .*data/\d+ is wrong"
    with pytest.raises(ValueError, match=rf"flipped\.ckpt is damaged .*{reason}"):
        load("flipped.ckpt")
    with pytest.raises(ValueError, match=reason):
        fit(small(), "flipped.ckpt", max_steps=3)
    assert "checksum of its entry" in fails("sample", "--ckpt_path", "flipped.ckpt")


def test_an_entry_that_is_marked_as_a_folder(content):
    """torch would return memory as it is in the place of its values."""
    at = content.rindex(b"archive/data/1") - 8  # its attributes, in the archive's directory
    Path("folder.ckpt").write_bytes(content[:at] + b"\x10" + content[at + 1 :])
    with pytest.raises(ValueError, match=r"archive/data/1\d? is marked as a folder"):
        load("folder.ckpt")


def written(content, **parts):
    """The path of a checkpoint with right checksums and other parts; those that are None are missing."""
    Path("whole.ckpt").write_bytes(content)
    stored = torch.load("whole.ckpt", weights_only=True)
    stored.update(parts)
    torch.save({key: value for key, value in stored.items() if value is not None}, "edited.ckpt")
    return "edited.ckpt"


WRONG = {
    "state_dict": [None, {}, [], {"a": 1}, {"generator.layers.0.weight": torch.zeros(2)}],
    "hyper_parameters": [
        None,
        [],
        {"_class_path": 3},
        {"_class_path": "lightning_gans.models.gan.GAN"},
        {"_class_path": "lightning_gans.models.gan.GAN", "image_shape": torch.zeros(3)},
        {"_class_path": "lightning_gans.models.gan.GAN", "image_shape": [2], "_not_rebuildable": [["a"]]},
        {"_class_path": "lightning_gans.models.gan.GAN", "image_shape": [2], "latent": {"class_path": 7}},
        {"_class_path": "lightning_gans.models.gan.NoGAN"},
        {"_class_path": "lightning_gans.networks.MLPGenerator", "image_shape": [2], "latent_dim": 3},
        {"_class_path": ""},
        {"_class_path": "GAN"},
    ],
    "run_state": [3, [3], [{}], {"state": 1}, [{"state": []}]],
    "optimizer_states": [3, [3], [{"state": 3}]],
}


@pytest.mark.parametrize("part", WRONG)
def test_parts_of_another_kind(content, part):
    """Right checksums, and a content that no run writes: one line."""
    for value in WRONG[part]:
        _, line = read_or_refused(load, written(content, **{part: value}))
        if line is None:
            assert part in ("run_state", "optimizer_states"), value  # of use for a resumed run only
        else:
            assert "edited.ckpt" in line, value
            assert line.isprintable(), value


def resumed_with_warnings(content, **parts):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(small(), written(content, **parts), max_steps=3)
    lines = [str(warning.message) for warning in told if "the checkpoint lacks" in str(warning.message)]
    assert len(lines) <= 1
    return lines[0] if lines else ""


def test_what_is_missing_is_named(content):
    Path("whole.ckpt").write_bytes(content)
    whole = torch.load("whole.ckpt", weights_only=True)
    assert resumed_with_warnings(content) == ""
    ranks = whole["run_state"]
    raw = {key: value for key, value in whole["state_dict"].items() if not key.startswith("ema.")}
    first, second = whole["optimizer_states"]
    empty = {**second, "state": {}}
    callbacks = {key: value for key, value in whole["callbacks"].items() if not key.startswith("SampleGrid")}
    without = lambda name: [{key: value for key, value in ranks[0].items() if key != name}]  # noqa: E731
    for parts, names in (
        ({"run_state": without("random"), "loops": None, "callbacks": callbacks},
         ["random states", "loops", "the state of SampleGrid"]),
        ({"run_state": without("state"), "optimizer_states": [first]}, ["own state", "optimizer 1 (Adam)"]),
        ({"run_state": None, "optimizer_states": [first, empty], "lr_schedulers": [], "callbacks": None},
         ["random states", "own state", "optimizer 1 (Adam)", "a learning-rate scheduler",
          "the state of SampleGrid", "the state of Checkpoint"]),
        ({"state_dict": raw, "progress": None, "GaussianMixtures": None},
         ["averaged weights", "progress", "the position in GaussianMixtures"]),
    ):  # fmt: skip
        line = resumed_with_warnings(content, **parts)
        assert all(name in line for name in names), line
        assert line.count(",") == len(names), line


def test_the_argument_that_differs_is_named(content):
    Path("whole.ckpt").write_bytes(content)
    shapes = r"\(5, 100\) in this model and \(4, 100\) in the checkpoint"
    hidden = r"of the arguments, generator\.hidden is \[5\] here and was \[4\]"
    latent = lightning_gans.game.latents.Normal(7)
    for module, reason in (
        (small(hidden=(5,)), rf"generator\.layers\.0\.weight is {shapes}; {hidden}"),
        (small(latent=latent), r"generator.*latent is Normal\(dim=7\) here and was None"),
        (small(hidden=(4, 4)), r"generator\.hidden is \[4, 4\] here and was \[4\]"),
        (small(hidden=()), r"hidden is \[\] here and was \[4\]"),
    ):
        with pytest.raises(ValueError, match=reason):
            fit(module, "whole.ckpt", max_steps=3)


def test_the_folder_above_runs_names_the_newest(tmp_path):
    for number in (2, 10):
        file = tmp_path / f"version_{number}/checkpoints/last.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
    with pytest.raises(FileNotFoundError, match="version_10 is one"):
        read_checkpoint(tmp_path)
