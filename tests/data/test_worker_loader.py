"""Batches from worker processes and of two domains: the same as from memory, and exactly resumable."""

import multiprocessing
import os
import random
import signal

import pytest
import torch

from lightning_gans.data.decode import DamagedImage
from lightning_gans.data.loader import MemoryLoader, WorkerLoader, ZipLoader
from lightning_gans.data.sources import ImageSource, TensorImages

IMAGES = torch.randint(0, 256, (37, 3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(37)


class Broken(ImageSource):
    def _pixels(self, item):
        if item == 20:
            raise DamagedImage("20.png: is no image")
        return IMAGES[item].numpy()


def options(**given):
    return {"shuffle": True, "drop_last": True, "seed": 5, "flip": True, "crop": 6} | given


def memory(**given):
    return MemoryLoader(IMAGES, LABELS, 4, **options(**given))


def workers(num_workers=0, **given):
    return WorkerLoader(TensorImages(IMAGES), LABELS, 4, num_workers=num_workers, **options(**given))


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_same_batches_as_from_memory(num_workers):
    fast, slow = memory(), workers(num_workers)
    assert_same([*fast, *fast, *fast], [*slow, *slow, *slow])


@pytest.mark.parametrize("drop_last", [True, False])
def test_every_evaluation_begins_at_the_front(drop_last):
    given = {"shuffle": False, "drop_last": drop_last, "flip": False, "crop": None}
    fast, slow = memory(**given), workers(2, **given)
    before = multiprocessing.active_children()
    half = [batch for batch, _ in zip(slow, range(3), strict=False)]
    assert_same(half, list(memory(**given))[:3])
    for _ in range(2):
        assert_same(list(fast), list(slow))
    assert set(multiprocessing.active_children()) <= set(before)  # an evaluation leaves no workers behind


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2])
def test_restored_at_random_points(num_workers, world_size):
    rng = random.Random(num_workers + world_size)
    for rank in range(world_size):
        ranks = {"rank": rank, "world_size": world_size}
        whole = memory(**ranks)
        expected = [batch for _ in range(4) for batch in whole]
        for _ in range(2):
            stop = rng.randrange(len(expected) - 1)
            first = workers(num_workers, **ranks)
            stream = (batch for _ in range(4) for batch in first)
            assert_same([next(stream) for _ in range(stop + 1)], expected[: stop + 1])
            again = workers(num_workers, **ranks)
            again.load_state_dict(first.state_dict())
            rest = [batch for _ in range(4) for batch in again]
            assert_same(rest[: len(expected) - stop - 1], expected[stop + 1 :])


def test_ranks_share_an_epoch():
    shards = [
        [label for _, labels in workers(rank=r, world_size=3) for label in labels.tolist()] for r in range(3)
    ]
    assert [len(shard) for shard in shards] == [12] * 3
    assert len({label for shard in shards for label in shard}) == 36


def test_torchs_random_state_is_left_alone():
    state = torch.get_rng_state()
    list(workers(2))
    assert torch.equal(state, torch.get_rng_state())


def test_crops_lie_within_the_image_and_move():
    places = set()
    loader = MemoryLoader(IMAGES[:1].expand(37, -1, -1, -1), LABELS, 37, **options(flip=False))
    windows = IMAGES[0].unfold(1, 6, 1).unfold(2, 6, 1).permute(1, 2, 0, 3, 4).reshape(16, 3, 6, 6)
    for _ in range(20):
        for images, _ in loader:
            for image in images:
                found = [k for k in range(16) if torch.allclose(image, windows[k] / 127.5 - 1, atol=1e-6)]
                assert len(found) == 1
                places.add(found[0])
    assert places == set(range(16))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_image_is_named_in_one_line(num_workers):
    loader = WorkerLoader(
        Broken(37, (3, 9, 9), "broken"),
        LABELS,
        4,
        num_workers=num_workers,
        **options(shuffle=False, flip=False, crop=None),
    )
    with pytest.raises(DamagedImage) as error:
        list(loader)
    assert str(error.value) == "20.png: is no image"


def zipped(**given):
    longer = MemoryLoader(IMAGES, LABELS, 4, **options(**given))
    shorter = MemoryLoader(IMAGES[:11], LABELS[:11], 4, **options(seed=6, epoch_size=37, **given))
    return ZipLoader(longer, shorter)


def test_two_domains_of_different_sizes():
    a, b = map(torch.cat, zip(*zipped(flip=False, crop=None), strict=True))
    assert a.shape == b.shape == (36, 3, 9, 9)
    assert len(a.unique(dim=0)) == 36
    counts = b.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 11
    assert counts.min() >= 3
    assert counts.max() <= 4


def test_two_domains_are_restored():
    loader = zipped()
    whole = [*loader, *loader]
    first = zipped()
    stream = iter(first)
    assert_same([next(stream) for _ in range(5)], whole[:5])
    again = zipped()
    again.load_state_dict(first.state_dict())
    assert_same([*again, *again][: len(whole) - 5], whole[5:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_workers": -1}, "num_workers=-1"),
        ({"crop": 10}, "crop=10 does not fit images of 9 x 9"),
        ({"crop": 0}, "crop=0 does not fit"),
    ],
)
def test_bad_input(change, words):
    with pytest.raises(ValueError, match=words):
        workers(**change)


def test_loaders_of_different_lengths_do_not_zip():
    with pytest.raises(ValueError, match=r"\[9, 2\] batches: give them the same epoch_size"):
        ZipLoader(memory(), MemoryLoader(IMAGES[:11], LABELS[:11], 4, **options()))


def test_a_state_of_another_seed():
    with pytest.raises(ValueError, match=r"seed=5 differs .* resume with seed=9"):
        workers().load_state_dict({"seed": 9, "epoch": 0, "index": 0})


def test_ctrl_c_leaves_the_workers_to_their_process():
    """A terminal sends it to all of them; the run must be able to end its batch."""
    fast, slow = iter(memory()), iter(workers(2))
    before = multiprocessing.active_children()
    served = [next(slow), next(slow)]  # one of each: both have started
    for worker in set(multiprocessing.active_children()) - set(before):
        os.kill(worker.pid, signal.SIGINT)
    assert_same([*served, *slow], list(fast))
