"""When callbacks act."""

import pytest

from lightning_gans.callbacks.cadence import Cadence


def test_due_once_at_each_multiple_reached_or_passed() -> None:
    cadence = Cadence(5)
    assert [update for update in (0, 1, 4, 5, 5, 6, 9, 12, 13, 15, 31, 34, 35) if cadence.due(update)] == [
        5,
        12,
        15,
        31,
        35,
    ]


def test_starts_from_any_update() -> None:
    cadence = Cadence(5)
    cadence.start(20)
    assert not cadence.due(20)
    assert not cadence.due(24)
    assert cadence.due(25)


def test_no_interval() -> None:
    with pytest.raises(ValueError, match="every_n_updates=0"):
        Cadence(0)
    with pytest.raises(ValueError, match=r"every_n_updates=0\.5"):
        Cadence(0.5)


def test_seconds_may_be_parts() -> None:
    cadence = Cadence(every_n_seconds=0.5)
    assert [at for at in (0.1, 0.6, 0.9, 1.0) if cadence.due(at)] == [0.6, 1.0]
