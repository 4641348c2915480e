"""Bad arguments end with one line that names the argument and its value; good ones pass."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from lightning_gans import checks

SQUARES = partial(checks.square_image, sizes=(32, 64))
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "zero": (lambda: checks.at_least(1, good=1, steps=0), "steps=0"),
    "fraction of a step": (lambda: checks.at_least(1, steps=1.5), "steps=1.5"),
    "a truth as a number": (lambda: checks.at_least(0, steps=True), "steps=True"),
    "no seed": (lambda: checks.seed(seed=-1), "seed=-1"),
    "a seed too large": (lambda: checks.seed(good=2**32 - 1, seed=2**32), "seed=4294967296"),
    "no device": (lambda: checks.device("gpu"), "device=gpu.*cpu"),
    "no such device": (lambda: checks.device("cuda:99"), "device=cuda:99.*cpu"),
    "open end": (lambda: checks.within("[0, 1)", dropout=1.0), "dropout=1.0"),
    "closed start": (lambda: checks.within("(0, 1]", share=0), "share=0"),
    "not a number": (lambda: checks.within("[0, inf)", clip=float("nan")), "clip=nan"),
    "infinite": (lambda: checks.positive(good=0.1, clip=float("inf")), "clip=inf"),
    "unknown": (lambda: checks.one_of(("batch", "instance"), norm="bach"), "norm='bach'.*did you mean batch"),
    "other size": (lambda: checks.shaped(("N", 3), x=torch.zeros(2, 4)), r"x is .*\(2, 4\).*\(2, 3\)"),
    "other letter": (lambda: checks.shaped(("n",), x=torch.zeros(2), y=torch.zeros(3)), r"y is .*\(3,\)"),
    "fewer sizes": (lambda: checks.shaped(("n", "d"), x=torch.zeros(2)), r"x is .*\(n, d\)"),
    "other type": (lambda: checks.shaped(("n",), "uint8", x=torch.zeros(2)), "x is float32.*uint8"),
    "no tensor": (lambda: checks.shaped(("n",), x=[0, 1]), "x is a list: give a tensor"),
    "no whole type": (lambda: checks.shaped(("n",), "whole", x=torch.zeros(2) > 1), "x is bool"),
    "no such class": (lambda: checks.labels(3, labels=torch.tensor([0, 3])), r"labels\[1\]=3"),
    "unlabeled": (lambda: checks.labels(3, labels=torch.tensor([-1])), r"labels\[0\]=-1"),
    "two sizes": (lambda: checks.image_shape((3, 32)), r"image_shape=\(3, 32\)"),
    "not square": (lambda: SQUARES((3, 32, 64)), r"image_shape=\(3, 32, 64\)"),
    "size": (lambda: SQUARES((3, 28, 28)), r"image_shape=\(3, 28, 28\).*32, 32\)"),
    "no file": (lambda: checks.existing_file(exclude="none.txt"), "exclude=none.txt"),
    "suffix": (lambda: checks.writable_file((".png",), out="a.gif"), "out=a.gif.*png"),
    "folder as a file": (lambda: checks.writable_file(out="."), "out=."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_is_refused(case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=f"^{message}") as refused:
        call()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: checks.at_least(1, steps=1, limit=None),
        lambda: checks.within("[0, 1)", dropout=0),
        lambda: checks.within("(-inf, inf)", mean=-1e9),
        lambda: checks.one_of(("auto", True, False), in_memory=False),
        lambda: checks.shaped(("n", 3), "float", x=torch.zeros(2, 3).half(), y=None),
        lambda: checks.labels(3, unlabeled=True, labels=torch.tensor([-1, 0, 2])),
        lambda: checks.existing_file(exclude=__file__, other=None),
        lambda: checks.writable_file((".py",), out=__file__),
    ],
)
def test_good_passes(call: Callable[[], None]) -> None:
    call()


def test_returns_shapes() -> None:
    assert checks.image_shape([2]) == (2,)
    assert SQUARES([3, 64, 64]) == (3, 64)


def test_a_file_is_no_folder_and_nothing_is_left_behind(tmp_path: Path) -> None:
    checks.writable_folder(out=tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"^out="):
        checks.writable_folder(out=tmp_path / "file" / "b")


def test_a_folder_with_something_in_it(tmp_path: Path) -> None:
    checks.empty_folder(out=tmp_path / "a" / "b")
    checks.empty_folder(out=tmp_path)
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(ValueError, match=r"^out="):
            checks.empty_folder(out=folder)


def test_a_folder_that_may_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    checks.empty_folder(overwrite=True, out=tmp_path)
    with pytest.raises(ValueError, match="--overwrite"):
        checks.empty_folder(overwrite=False, out=tmp_path)
    with pytest.raises(ValueError, match=r"^out="):
        checks.empty_folder(overwrite=True, out=tmp_path / "file")


def test_devices() -> None:
    assert checks.device("cpu") == torch.device("cpu")
    assert checks.device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_devices_of_a_machine_with_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert checks.device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match=r"device=cuda:2.*cpu or cuda or cuda:0 or cuda:1"):
        checks.device("cuda:2")


def test_a_suggestion_knows_case_and_is_short() -> None:
    assert "bedroom" in checks.suggestion("Bedrom", ["bedroom", "church"])
    assert checks.suggestion("x", [str(n) for n in range(100)]).endswith("...")
    assert checks.suggestion("x", [])
