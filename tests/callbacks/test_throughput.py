import csv

import pytest
from lightning.pytorch.loggers import CSVLogger

from lightning_gans.callbacks import Throughput, throughput
from tests.callbacks.helpers import fit, point_game, ring


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves by one second for each batch of the data."""
    now = [0.0]
    monkeypatch.setattr(throughput, "perf_counter", lambda: now[0])
    return now


def ticking(data, now):
    loader = data.train_dataloader

    class Ticking:
        def __init__(self):
            self.loader = loader()

        def __len__(self):
            return len(self.loader)

        def __iter__(self):
            for batch in self.loader:
                now[0] += 1.0
                yield batch

    data.train_dataloader = Ticking
    return data


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        read = list(csv.DictReader(file))
    return {int(r["step"]): float(r["train/images_per_second"]) for r in read if r["train/images_per_second"]}


def test_counts_the_real_images_of_the_window(tmp_path, clock):
    logger = CSVLogger(tmp_path, name="", version="")
    trainer = fit(tmp_path, point_game(), ticking(ring(), clock), [Throughput(4)], 12, logger=logger)
    # Lightning fetches one batch ahead, so the first window sees an uneven number of seconds.
    speeds = rows(tmp_path)
    assert list(speeds) == [4, 8, 12]
    assert speeds[8] == speeds[12] == 32
    assert trainer.progress_bar_metrics["images/s"] == 32


def test_images_of_all_updates_of_a_round_count(tmp_path, clock):
    logger = CSVLogger(tmp_path, name="", version="")
    game = point_game(discriminator_steps=5)
    fit(tmp_path, game, ticking(ring(), clock), [Throughput(2)], 6, logger=logger)
    assert rows(tmp_path)[4] == 32

    logger = CSVLogger(tmp_path / "b", name="", version="")
    game = point_game(generator_steps=3)
    fit(tmp_path, game, ticking(ring(), clock), [Throughput(4)], 12, logger=logger)
    assert list(rows(tmp_path / "b")) == [4, 8, 12]


def test_validation_does_not_count(clock):
    callback = Throughput()
    callback._open()
    clock[0] = 5.0
    callback.on_validation_start(None, None)
    clock[0] = 105.0
    callback.on_validation_end(None, None)
    assert clock[0] - callback._started == 5.0


def test_refuses_an_empty_window():
    with pytest.raises(ValueError, match="every_n_updates=0"):
        Throughput(every_n_updates=0)
