"""Segmenters of photographs: training, checkpoints that know their scores, and their use in FCN scores."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer

import lightning_gans
from lightning_gans import Digits, Facades, UnpairedImages
from lightning_gans.callbacks import Checkpoint
from lightning_gans.drawing.pixels import to_bytes
from lightning_gans.metrics import FACADES_CLASSES, FACADES_PALETTE, FCNScore, judge
from lightning_gans.metrics.segmenter import SCORES, DatasetSegmenter, TrainedSegmenter
from lightning_gans.networks import ConvSegmenter
from tests.conformance.shapes import TwoTranslators
from tests.tiny_data import write_labelled

QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
    "num_sanity_val_steps": 0,
}
SHAPE = (3, 16, 16)


def pairs(root, **options):
    options = {"direction": "AtoB", "image_size": 16, "batch_size": 8, **options}
    return Facades(root=str(root), interpolation_b="nearest", cache=False, download=False, **options)


def segmenter(**arguments):
    torch.manual_seed(0)
    small = {"network": {"width": 8, "depth": 2, "dropout": 0}, "lr": 2e-2}
    return DatasetSegmenter(SHAPE, SHAPE, **small | arguments)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_labelled(folder / "facades", 24, 16)
    return folder


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """The checkpoint of a segmenter of the facades, and the segmenter."""
    folder, module = tmp_path_factory.mktemp("segmenter"), segmenter()
    trainer = Trainer(callbacks=[Checkpoint(dirpath=str(folder))], max_epochs=30, check_val_every_n_epoch=30,
                      log_every_n_steps=1, **QUIET)  # fmt: skip
    trainer.fit(module, pairs(root, load_size=16))
    return folder / "last.ckpt", module, {k: float(v) for k, v in trainer.callback_metrics.items()}


def real(root, **options):
    data = pairs(root, **options)
    data.setup("fit")
    inputs, targets = zip(*data.val_dataloader(), strict=True)
    return to_bytes(torch.cat(inputs)), to_bytes(torch.cat(targets))


def test_palette():
    assert len(FACADES_CLASSES) == len(FACADES_PALETTE) == len(set(FACADES_PALETTE)) == 12
    named = dict(zip(FACADES_CLASSES, FACADES_PALETTE, strict=True))
    assert named["facade"] == (0, 48, 255)
    assert FCNScore(palette="facades", labels="targets").palette.tolist() == list(map(list, FACADES_PALETTE))


@pytest.mark.parametrize(("size", "depth"), [((16, 16), 2), ((9, 14), 3), ((64, 32), 5)])
def test_network(size, depth):
    network = ConvSegmenter((3, *size), 5, width=4, depth=depth)
    assert network(torch.rand(2, 3, *size)).shape == (2, 5, *size)
    assert network(torch.rand(2, 3, 70, 41)).shape == (2, 5, 70, 41)


def test_learns_and_the_checkpoint_says_how_well(trained, root):
    path, module, logged = trained
    loaded = lightning_gans.load(path)
    assert type(loaded) is DatasetSegmenter
    photographs, pictures = real(root)
    score = FCNScore(labels="targets", segmenter=TrainedSegmenter(loaded))
    score.update(photographs, pictures)
    scores = {name: float(score.compute()[name]) for name in SCORES}
    assert scores["pixel_accuracy"] > 0.8
    assert loaded.measured == pytest.approx(scores)
    assert {name: logged[f"val/{name}"] for name in SCORES} == pytest.approx(scores, rel=1e-6)
    assert (loaded.tested_on, loaded.data_name) == (24, "Facades")
    for key, value in module.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_loss():
    """The mean over pixels, each with its class's share of the batch to the power of -balance."""
    for balance in (0, 0.5, 1):
        module = segmenter(balance=balance).eval()
        module.log = lambda *_, **__: None
        photographs = torch.rand(2, *SHAPE)
        colours = torch.tensor(FACADES_PALETTE)[torch.tensor([1, 1, 1, 4])].repeat_interleave(4, 0)
        pictures = (colours / 127.5 - 1).T.reshape(1, 3, 16, 1).expand(2, 3, 16, 16)
        losses = F.cross_entropy(module(photographs), module.classes(pictures), reduction="none")
        weights = torch.tensor([0.75**-balance] * 12 + [0.25**-balance] * 4).view(1, 16, 1).expand(2, 16, 16)
        expected = (losses * weights).sum() / weights.sum()
        torch.testing.assert_close(module.training_step((photographs, pictures), 0), expected)


def test_segmenter_of_other_sizes(trained, root):
    judge = TrainedSegmenter(trained[0])
    photographs, pictures = real(root, image_size=32)
    score = FCNScore(labels="targets", segmenter=judge)
    score.update(photographs, pictures)
    assert judge(photographs / 255).shape == (24, 12, 16, 16)
    assert score.compute()["pixel_accuracy"] > 0.8


def test_scores_say_by_which_network(trained):
    path, module, _ = trained
    judge = TrainedSegmenter(path).train()
    assert not any(part.training for part in judge.modules())
    assert not any(p.requires_grad for p in judge.parameters())
    assert all(p.requires_grad for p in module.parameters())  # the caller's own is left alone
    about = FCNScore(labels="inputs", segmenter=judge).protocol
    assert about["segmenter"] == "facades-segmenter"
    assert about["segmenter_scores"].startswith(f"{module.measured['pixel_accuracy']:.4f}/")
    assert about["segmenter_scores"].endswith("of 24 images")
    assert about["segmenter_hash"] != TrainedSegmenter(segmenter()).protocol["segmenter_hash"]
    assert TrainedSegmenter(segmenter()).protocol["segmenter_scores"] == "unknown"
    plain = FCNScore(labels="inputs", palette="facades", segmenter=torch.nn.Conv2d(3, 12, 1)).protocol
    assert plain["segmenter"] == "Conv2d"
    assert FCNScore(labels="targets", palette="facades").protocol["segmenter"] == "nearest colour"


def test_in_an_evaluation(trained, root, cli, tmp_path):
    """Translations of label maps are scored, and real photographs in their place, which is the ceiling."""
    game = TwoTranslators(SHAPE, SHAPE)
    trainer = Trainer(max_steps=1, limit_val_batches=0, enable_checkpointing=False, **QUIET)
    trainer.fit(game, pairs(root, direction="BtoA"))
    trainer.save_checkpoint(tmp_path / "game.ckpt")
    found = {}
    for scored in ("translations", "targets"):
        metric = {"labels": "inputs", "scored": scored, "segmenter": {"class_path": "TrainedSegmenter",
                  "init_args": {"checkpoint": str(trained[0])}}}  # fmt: skip
        cli("evaluate", tmp_path / "game.ckpt", "--data=Facades", f"--data.root={root}",
            "--data.image_size=16", "--data.interpolation_b=nearest", "--data.download=false",
            "--json=scores.json",
            f"--metrics={json.dumps([{'class_path': 'FCNScore', 'init_args': metric}])}")  # fmt: skip
        found[scored] = json.loads(Path("scores.json").read_text())
    ceiling = found["targets"]
    assert {name: ceiling[name] for name in SCORES} == pytest.approx(trained[1].measured)
    assert found["translations"]["pixel_accuracy"] < ceiling["pixel_accuracy"] - 0.3
    assert ceiling["protocol"]["scored_images"] == "targets"
    assert len(ceiling["iou_per_class"]) == 12


def test_back_to_labels(root, cli, tmp_path):
    """Of a game that translates both ways: each pixel has the class of the nearest colour."""
    data = pairs(root, direction="BtoA")
    game = TwoTranslators(SHAPE, SHAPE)
    trainer = Trainer(max_steps=1, limit_val_batches=0, enable_checkpointing=False, **QUIET)
    trainer.fit(game, data)
    trainer.save_checkpoint(tmp_path / "game.ckpt")
    metric = {"class_path": "FCNScore", "init_args": {"labels": "targets", "palette": "facades"}}
    cli("evaluate", tmp_path / "game.ckpt", "--data=Facades", f"--data.root={root}", "--data.image_size=16",
        "--data.interpolation_b=nearest", "--data.download=false", "--json=scores.json",
        "--direction=BtoA", f"--metrics={json.dumps([metric])}")  # fmt: skip
    found = json.loads(Path("scores.json").read_text())
    labels, photographs = map(torch.cat, zip(*data.val_dataloader(), strict=True))
    expected = FCNScore(labels="targets", palette="facades")
    expected.update(to_bytes(game.translate(photographs, direction="BtoA")), to_bytes(labels))
    assert found["pixel_accuracy"] == pytest.approx(float(expected.compute()["pixel_accuracy"]))
    assert found["protocol"]["direction"] == "BtoA"
    perfect = FCNScore(labels="targets", palette="facades")
    perfect.update(to_bytes(labels), to_bytes(labels))
    assert perfect.compute()["pixel_accuracy"] == pytest.approx(1)


def test_by_its_recipe(trained, root, monkeypatch, tmp_path):
    """It is trained once, and another kind of judge is none."""
    made = []

    def train(recipe, config, file):
        made.append(recipe)
        file.write_bytes(trained[0].read_bytes())

    monkeypatch.setenv("LIGHTNING_GANS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(judge, "_train", train)
    first, second = (TrainedSegmenter("segmenter/facades-small").protocol for _ in range(2))
    assert first == second == TrainedSegmenter(trained[0]).protocol
    assert made == ["segmenter/facades-small"]
    with pytest.raises(ValueError, match="one of a DatasetSegmenter, not of a DatasetClassifier"):
        lightning_gans.ClassifierExtractor(trained[0])


def fitted(module, data):
    Trainer(max_epochs=1, limit_val_batches=0, enable_checkpointing=False, **QUIET).fit(module, data)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: segmenter(palette="cmp"), "palette='cmp'"),
        (lambda root: segmenter(palette=[[1], [2]]), r"palette is uint8 .*give \(2, 3\)"),
        (lambda root: segmenter(balance=2), "balance=2"),
        (lambda root: segmenter(network={"wide": 4}), "wide"),
        (lambda root: ConvSegmenter((3, 8, 16), 12), "cannot be halved 4 times"),
        (lambda root: fitted(segmenter(), Digits(image_size=16)), "Digits serves no pairs"),
        (
            lambda root: fitted(segmenter(), UnpairedImages("facades", root=str(root), image_size=16)),
            "UnpairedImages serves no pairs",
        ),
        (lambda root: fitted(segmenter(), pairs(root, image_size=32)), r"is not the data's, \(3, 32, 32\)"),
        (lambda root: fitted(segmenter(), pairs(root, direction="BtoA")), "direction=AtoB"),
        (lambda root: TrainedSegmenter("segmenter/none"), r"none\.yaml: there is no such file"),
        (
            lambda root: TrainedSegmenter(segmenter())(torch.rand(1, 1, 16, 16)),
            r"give float \(1, 3, 16, 16\)",
        ),
    ],
)
def test_refused(root, make, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        make(root)
