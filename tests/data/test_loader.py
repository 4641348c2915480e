import itertools

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_gans.data import MemoryLoader, ZipLoader
from lightning_gans.data.loader import epoch_batches, to_float


def loader(size=20, batch_size=4, **kwargs):
    """A loader whose labels tell which samples it serves."""
    options = {"shuffle": True, "drop_last": True, "seed": 3} | kwargs
    images = torch.arange(size).view(size, 1, 1, 1).expand(size, 1, 2, 3).to(torch.uint8)
    return MemoryLoader(images, torch.arange(size), batch_size, **options)


def ids(batches):
    return [labels.tolist() for _, labels in batches]


def flat(batches):
    return [sample for batch in ids(batches) for sample in batch]


def test_epochs_cover_the_data_in_new_orders():
    data = loader()
    first, second = flat(data), flat(data)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert first == flat(loader())
    assert first != flat(loader(seed=4))
    assert flat(loader(shuffle=False)) == list(range(20))


def test_batches_hold_their_images_and_labels():
    for images, labels in loader(22, drop_last=False):
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert torch.equal(images[:, 0, 0, 0], to_float(labels.to(torch.uint8)))
        assert images.is_contiguous()


def test_every_grey_value():
    grey = torch.arange(256, dtype=torch.uint8)
    values = to_float(grey)
    torch.testing.assert_close(values, grey.float() / 127.5 - 1, rtol=0, atol=2e-7)
    assert values[0] == -1
    assert values[-1] == 1
    assert (values.diff() > 0).all()


def test_float_data_is_served_unchanged():
    points = torch.randn(10, 2)
    data = MemoryLoader(points, torch.zeros(10, dtype=torch.int64), 5, shuffle=False, drop_last=True, seed=0)
    assert torch.equal(torch.cat([batch for batch, _ in data]), points)


@pytest.mark.parametrize(("drop_last", "sizes"), [(True, [4] * 5), (False, [4, 4, 4, 4, 4, 2])])
def test_last_batch(drop_last, sizes):
    data = loader(22, drop_last=drop_last)
    assert [len(batch) for batch in ids(data)] == sizes
    assert len(data) == len(sizes)


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("size", [20, 21, 22, 23, 24, 25, 26, 27])
@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 4), (3, 2), (3, 1), (4, 5)])
def test_ranks_are_disjoint_and_cover_the_epoch(size, world_size, batch_size, drop_last):
    ranks = [
        loader(size, batch_size, drop_last=drop_last, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for _ in range(2):
        batches = [ids(rank) for rank in ranks]
        assert {len(rank) for rank in batches} == {len(ranks[0])}
        assert all(batch for rank in batches for batch in rank)
        served = [sample for rank in batches for batch in rank for sample in batch]
        assert (
            len(served)
            == len(set(served))
            == (size - size % (world_size * batch_size) if drop_last else size)
        )
        if drop_last:
            assert {len(batch) for rank in batches for batch in rank} == {batch_size}


def test_ranks_together_see_the_batch_of_one_process():
    alone = ids(loader(batch_size=10))
    ranks = [ids(loader(batch_size=5, rank=rank, world_size=2)) for rank in range(2)]
    assert [left + right for left, right in zip(*ranks, strict=True)] == alone


def test_state_is_three_integers():
    data = loader()
    batches = iter(data)
    next(batches)
    assert data.state_dict().items() >= {"seed": 3, "epoch": 0, "index": 1}.items()
    for _ in range(4):
        next(batches)
    assert data.state_dict().items() >= {"seed": 3, "epoch": 1, "index": 0}.items()


@pytest.mark.parametrize("served", range(12))
def test_a_restored_position_goes_on_exactly(served):
    def stream(data):
        while True:
            yield from data

    def take(batches, n):
        return [next(batches) for _ in range(n)]

    data = loader(flip=True)
    batches = stream(data)
    take(batches, served)
    state = data.state_dict()
    expected = take(batches, 13)

    restored = loader(flip=True)
    restored.load_state_dict(state)
    iter(restored)  # Lightning asks for an iterator twice
    assert len(restored) == 5
    for (images, labels), (other_images, other_labels) in zip(
        expected, take(stream(restored), 13), strict=True
    ):
        assert torch.equal(labels, other_labels)
        assert torch.equal(images, other_images)


def test_iter_alone_loses_nothing():
    data = loader()
    iter(data)
    iter(data)
    assert flat(data) == flat(loader())


def test_an_iterator_goes_on_where_the_last_one_stopped():
    data = loader()
    seen = ids(data) + ids(data)
    data = loader()
    assert [labels.tolist() for _, (_, labels) in zip(range(2), data, strict=False)] == seen[:2]
    assert ids(data) == seen[2:7]
    assert data.state_dict().items() >= {"seed": 3, "epoch": 1, "index": 2}.items()


def test_without_shuffling_every_iterator_begins_at_the_front():
    data = loader(shuffle=False)
    next(iter(data))
    assert ids(data)[0] == [0, 1, 2, 3]  # a validation that was limited must not go on elsewhere
    data.load_state_dict({"seed": 3, "epoch": 0, "index": 4})
    iter(data)
    assert ids(data)[0] == [16, 17, 18, 19]
    assert ids(data)[0] == [0, 1, 2, 3]


def test_flips_mirror_about_half_and_differ_between_epochs():
    images = torch.arange(3, dtype=torch.uint8).expand(400, 1, 1, 3)
    data = MemoryLoader(images, torch.arange(400), 100, shuffle=False, drop_last=True, seed=0, flip=True)
    epochs = [torch.cat([batch for batch, _ in data]) for _ in range(2)]
    mirrored = [epoch[:, 0, 0, 0] > epoch[:, 0, 0, 2] for epoch in epochs]
    assert 150 < mirrored[0].sum() < 250
    assert not torch.equal(mirrored[0], mirrored[1])
    assert torch.equal(epochs[0].sort(dim=3).values, to_float(images))


class Recorder(LightningModule):
    """Remembers the samples of every batch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        images, labels = batch
        self.seen.append((labels.tolist(), images.sum().item()))
        return self.weight * images.mean()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(folder, ckpt_path=None, validate=False, checkpoint=None, max_steps=13, **kwargs):
    recorder = Recorder()
    trainer = Trainer(
        max_steps=max_steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[checkpoint or ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)],
        num_sanity_val_steps=1 if validate else 0,
        **kwargs,
    )
    val = loader(8, shuffle=False) if validate else None
    trainer.fit(recorder, loader(flip=True), val, ckpt_path=ckpt_path)
    return recorder.seen


@pytest.mark.filterwarnings("ignore")
class TestLightningResumes:
    @pytest.mark.parametrize("validate", [False, True])
    def test_after_any_batch(self, tmp_path, validate):
        seen = train(tmp_path, validate=validate)
        assert len(seen) == 13
        for step in (1, 3, 5, 7, 10):  # within and at the end of an epoch of 5, and in the second
            resumed = train(tmp_path / "resumed", tmp_path / f"step={step}.ckpt", validate)
            assert resumed == seen[step:], step

    def test_after_any_batch_of_limited_epochs(self, tmp_path):
        seen = train(tmp_path, limit_train_batches=3)
        assert len({tuple(labels) for labels, _ in seen}) > 5
        for step in (1, 3, 5, 6, 7):
            resumed = train(tmp_path / "resumed", tmp_path / f"step={step}.ckpt", limit_train_batches=3)
            assert resumed == seen[step:], step

    @pytest.mark.parametrize("limit", [1.0, 3])
    @pytest.mark.parametrize("validate", [False, True])
    def test_after_an_epoch(self, tmp_path, limit, validate):
        checkpoint = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        seen = train(tmp_path, None, validate, checkpoint, limit_train_batches=limit)
        per_epoch = 5 if limit == 1.0 else 3
        for epoch in (0, 1):
            stored = tmp_path / f"epoch={epoch}.ckpt"
            resumed = train(tmp_path / "resumed", stored, validate, limit_train_batches=limit)
            assert resumed == seen[(epoch + 1) * per_epoch :], epoch

    def test_within_a_run_that_validates_often(self, tmp_path):
        options = {"validate": True, "val_check_interval": 2, "check_val_every_n_epoch": None}
        seen = train(tmp_path, **options)
        for step in (2, 4, 5, 6):
            resumed = train(tmp_path / "resumed", tmp_path / f"step={step}.ckpt", **options)
            assert resumed == seen[step:], step


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 21}, "batch_size=21 does not fit 20 samples: use at most 20"),
        ({"batch_size": 11, "world_size": 2}, "batch_size=11 on each of 2 ranks .* use at most 10"),
        ({"size": 3, "world_size": 4, "drop_last": False}, "use more data"),
        ({"rank": 2, "world_size": 2}, "rank=2"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_arguments(change, words):
    with pytest.raises(ValueError, match=words) as error:
        loader(**change)
    assert "\n" not in str(error.value)


def test_bad_data():
    options = {"shuffle": False, "drop_last": False, "seed": 0}
    labels = torch.zeros(5, dtype=torch.int64)
    with pytest.raises(ValueError, match="float64"):
        MemoryLoader(torch.zeros(5, 2, dtype=torch.float64), labels, 2, **options)
    with pytest.raises(ValueError, match="labels have shape"):
        MemoryLoader(torch.zeros(6, 2), labels, 2, **options)
    with pytest.raises(ValueError, match="flip=True"):
        MemoryLoader(torch.zeros(5, 2), labels, 2, flip=True, **options)


def test_a_position_of_other_data_is_refused():
    with pytest.raises(ValueError, match=r"at batch 9 of 20 samples by 4"):
        loader().load_state_dict({"seed": 3, "epoch": 0, "index": 9})
    with pytest.raises(ValueError, match="resume with seed=8"):
        loader().load_state_dict({"seed": 8, "epoch": 0, "index": 0})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("fits", [True, False])
def test_on_the_gpu(monkeypatch, fits):
    if not fits:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    data = loader(flip=True, device="cuda:0")
    assert data.data.is_cuda == fits
    for (images, labels), (expected, expected_labels) in zip(data, loader(flip=True), strict=True):
        assert images.is_cuda
        assert labels.is_cuda
        torch.testing.assert_close(images.cpu(), expected)
        assert torch.equal(labels.cpu(), expected_labels)


def test_position_of_other_data():
    pair = ZipLoader(loader(), loader(seed=4))
    for resumed, state in (
        (pair, loader().state_dict()),
        (loader(), pair.state_dict()),
        (loader(), {"a": 1}),
    ):
        with pytest.raises(ValueError, match="another kind of data: resume with its data module"):
            resumed.load_state_dict(state)


@pytest.mark.parametrize("drop_last", [False, True])
def test_smallest_batch_of_an_epoch(drop_last):
    for size, batch_size, world_size in itertools.product((8, 9, 10, 13, 16, 17), (2, 4), (1, 2)):
        options = {"shuffle": True, "drop_last": drop_last, "seed": 0, "world_size": world_size}
        images, labels = torch.zeros(size, 1, 4, 4), torch.zeros(size)
        found = [
            len(batch)
            for rank in range(world_size)
            for _, batch in MemoryLoader(images, labels, batch_size, rank=rank, **options)
        ]
        count, smallest = epoch_batches(size, batch_size, world_size, drop_last)
        assert (count * world_size, smallest) == (len(found), min(found))
