"""Labels that are asked for while a run goes on."""

from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from lightning_gans.data import DataModule, Digits, GaussianMixtures, ImageDataModule


class Numbers(ImageDataModule):
    """60 images whose grey level is their number, of three classes."""

    channels, native_size, class_names = 1, 4, ("a", "b", "c")

    def load(self, split):
        size = 60 if split == "train" else 6
        images = torch.arange(size, dtype=torch.uint8).view(size, 1, 1, 1).expand(size, 1, 4, 4)
        return images, torch.arange(size) % 3


def ready(**kwargs):
    data = Numbers(batch_size=6, **{"num_labels": 6, **kwargs})
    data.prepare_data()
    data.setup("fit")
    return data


def labelled(data):
    """The samples that have a label, and their labels."""
    labels = data.stored("train")[1]
    chosen = (labels >= 0).nonzero().squeeze(1)
    return data.reader()[1](chosen.tolist()), labels[chosen]


def number(images):
    return ((images[:, 0, 0, 0] + 1) * 127.5).round().long()


def test_so_many_labels_equally_many_of_each_class():
    data = ready()
    images, labels = labelled(data)
    assert data.num_labelled == 6
    assert labels.bincount().tolist() == [2, 2, 2]
    assert torch.equal(number(images) % 3, labels)
    assert data.hparams["num_labels"] == 6
    more = ready(num_labels=12).stored("train")[1] >= 0
    assert (more | (data.stored("train")[1] < 0)).all()


def test_the_pool_is_what_has_no_label_without_what_is_held_out():
    data = ready(val_fraction=0.25)
    held_out = set(number(torch.cat([batch[0] for batch in data.val_dataloader()])).tolist())
    _, read = data.reader()
    pool = set(number(read(data.pool().tolist())).tolist())
    with_label = set(number(labelled(data)[0]).tolist())
    assert len(held_out) == 15
    assert len(pool) == 60 - 15 - 6
    assert not pool & held_out
    assert not pool & with_label


@pytest.mark.parametrize("in_memory", [True, False])
def test_labels_that_are_asked_for_are_the_true_ones_and_are_served(in_memory):
    data = ready(in_memory=in_memory, num_workers=0)
    loader = data.train_dataloader()
    stream = iter(loader)
    served = [next(stream) for _ in range(2)]
    asked = data.pool()[[3, 17, 40]]
    assert torch.equal(data.label(asked), asked % 3)
    assert data.num_labelled == 9
    assert not torch.isin(asked, data.pool()).any()
    served += [*stream, *loader]
    images, labels = (torch.cat(parts) for parts in zip(*served[2:], strict=True))
    wanted = torch.isin(number(images), asked)
    assert wanted.any()
    assert torch.equal(labels[wanted], number(images[wanted]) % 3)
    assert (labels >= 0).sum() == torch.isin(number(images), number(labelled(data)[0])).sum()


def test_every_rank_serves_them():
    for rank in range(2):
        data = ready()
        data.trainer = SimpleNamespace(
            global_rank=rank, world_size=2, overfit_batches=0,
            strategy=SimpleNamespace(root_device=torch.device("cpu")),
        )  # fmt: skip
        data.trainer.train_dataloader = loader = data.train_dataloader()
        loader.labels = loader.labels.clone()  # as on a GPU
        data.label(data.pool())
        images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
        assert len(images) == 30
        assert torch.equal(labels, number(images) % 3)


def test_resumed_with_the_labels_of_the_checkpoint(tmp_path):
    class Asks(BoringModel):
        def training_step(self, batch, batch_idx):
            seen.append(batch)
            if self.trainer.global_step in (3, 7):
                self.trainer.datamodule.label(self.trainer.datamodule.pool()[:2])
            return super().training_step(torch.zeros(1, 32), batch_idx)

    def fit(steps, ckpt_path=None, data=None):
        seen.clear()
        data = data or Numbers(batch_size=6, num_labels=6)
        trainer = Trainer(
            max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
            default_root_dir=tmp_path, accelerator="cpu",
        )  # fmt: skip
        trainer.fit(Asks(), data, ckpt_path=ckpt_path)
        trainer.save_checkpoint(tmp_path / f"{steps}.ckpt")
        return data, [torch.cat([number(images), labels]) for images, labels in seen]

    seen = []
    whole, batches = fit(12)
    fit(5)
    resumed, rest = fit(12, tmp_path / "5.ckpt")
    again, _ = fit(12, tmp_path / "5.ckpt", whole)  # which has more labels than the checkpoint
    assert torch.equal(torch.stack(rest), torch.stack(batches[5:]))
    assert whole.num_labelled == resumed.num_labelled == again.num_labelled == 10
    assert whole.state_dict()["asked"] == resumed.state_dict()["asked"]
    with pytest.raises(ValueError, match="resume with its data"):
        fit(12, tmp_path / "12.ckpt", Numbers(batch_size=6, num_labels=3, limit=10))


def test_before_setup_and_where_images_are_read_anew():
    data = Numbers(batch_size=6, num_labels=6, load_size=6)
    asked = ready().pool()[:3].tolist()
    data.load_state_dict({"asked": asked})
    data.setup("fit")
    images, labels = labelled(data)
    assert len(labels) == 9
    assert torch.equal(number(images) % 3, labels)
    _, of_evaluations, _ = data.real_images("train")
    assert torch.equal(of_evaluations, data.stored("train")[1])


@pytest.mark.parametrize("asked", [{"asked": [60]}, {"asked": ["1"]}, {"asked": 3}])
def test_a_damaged_checkpoint(asked):
    with pytest.raises(ValueError, match="labels of other data"):
        ready().load_state_dict(asked)


@pytest.mark.parametrize(
    ("indices", "message"),
    [([60], "60 is no"), ([-1], "-1 is no"), ([0, 0], "named twice")],
)
def test_what_cannot_be_asked_for(indices, message):
    data = ready()
    with pytest.raises(ValueError, match=message):
        data.label(data.pool()[:1].repeat(2) if indices == [0, 0] else torch.tensor(indices))
    first = (data.stored("train")[1] >= 0).nonzero()[0]
    with pytest.raises(ValueError, match=f"{int(first)} is no training sample without label"):
        data.label(first)


def test_no_labels_to_ask_for():
    class Unlabeled(DataModule):
        image_shape, num_classes, class_names, has_test_split = (1,), None, (), False

        def load(self, split):
            return torch.zeros(8, 1), torch.full((8,), -1)

    for data in (ready(num_labels=None), Unlabeled(batch_size=4)):
        data.setup("fit")
        with pytest.raises(ValueError, match="no labels to ask for"):
            data.label(torch.tensor([0]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_labels": 0}, "num_labels=0"),
        ({"num_labels": 2}, "num_labels=2 is less than a label for each class: use 3"),
        ({"num_labels": 61}, "num_labels=61 exceeds the 60 labels"),
        ({"label_fraction": 0.5}, "num_labels=6 and label_fraction=0.5: give one"),
    ],
)
def test_bad_numbers_of_labels(given, message):
    with pytest.raises(ValueError, match=message):
        ready(**given)


def test_samples_and_digits_have_labels_to_ask_for():
    for data in (GaussianMixtures("ring", samples=100, batch_size=10, num_labels=16), Digits(num_labels=10)):
        data.setup("fit")
        data.label(data.pool()[:5])
        assert data.num_labelled == data.num_labels + 5
        assert len(labelled(data)[0]) == data.num_labelled


def test_replicas_do_not_ask():
    data = ready()
    data.serve_replicas(2, "fit")
    with pytest.raises(ValueError, match="replicas=2"):
        data.label(data.pool()[:1])
