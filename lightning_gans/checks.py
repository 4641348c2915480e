"""Checks of arguments: bad input ends with one line that names the argument, its value, and what to do.

Arguments are given by name, ``at_least(1, batch_size=batch_size)``; None is not checked, so an optional
argument needs no ``if``.
"""

import difflib
import inspect
import math
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line uses this module before it loads torch
    from torch import Tensor
    from torch import device as Device


def _given(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in values.items() if value is not None]


def at_least(minimum: int, **values: Any) -> None:
    """Refuse what is not a whole number of at least ``minimum``.

    Raises:
        ValueError: Naming the first such argument.
    """
    for name, value in _given(values):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
            raise ValueError(f"{name}={value!r}: give a whole number of at least {minimum}")


def seed(**values: Any) -> None:
    """Refuse what is no seed of Python, NumPy and torch alike.

    Raises:
        ValueError: Naming the first such argument.
    """
    at_least(0, **values)
    for name, value in _given(values):
        if value >= 2**32:
            raise ValueError(f"{name}={value}: give a whole number of at most {2**32 - 1}")


def within(interval: str, **values: Any) -> None:
    """Refuse what is not a finite number in an interval, such as ``"[0, 1)"`` or ``"(0, inf)"``.

    Raises:
        ValueError: Naming the first argument that is outside.
    """
    low, high = (float(end) for end in interval[1:-1].split(","))
    ends = [f"{'more than' if interval[0] == '(' else 'at least'} {low:g}"] if low > -math.inf else []
    ends += [f"{'less than' if interval[-1] == ')' else 'at most'} {high:g}"] if high < math.inf else []
    for name, value in _given(values):
        number = not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
        above = number and (value > low or (value == low and interval[0] == "["))
        if not (above and (value < high or (value == high and interval[-1] == "]"))):
            raise ValueError(f"{name}={value!r}: give a finite number, {' and '.join(ends) or 'of any size'}")


def positive(**values: float | None) -> None:
    """Refuse what is not a finite number of more than 0."""
    within("(0, inf)", **values)


def one_of(choices: Iterable[Any], **values: Any) -> None:
    """Refuse what is not one of some choices; the message has them, or the nearest.

    Raises:
        ValueError: Naming the first such argument.
    """
    choices = list(choices)
    for name, value in _given(values):
        if value not in choices:
            raise ValueError(f"{name}={value!r} is unknown: {suggestion(value, choices)}")


def suggestion(given: object, choices: Iterable[Any], otherwise: str = "use") -> str:
    """Return what may have been meant by an unknown name, or the choices, at most 20 of them; or both."""
    known = [str(choice) for choice in choices]
    folded = {name.casefold(): name for name in reversed(known)}
    asked = str(given).casefold()
    near = difflib.get_close_matches(asked, folded, n=1, cutoff=0.5)
    near = near or sorted((name for name in folded if asked and name.startswith(asked)), key=len)
    # Of numbers none is near by its digits.
    meant = f"did you mean {folded[near[0]]}?" if near and isinstance(given, str) else ""
    listed = (
        f"{otherwise} {', '.join(known[:20] + ['...'] * (len(known) > 20))}" if known else "there are none"
    )
    return meant if meant and not 2 <= len(known) <= 8 else f"{meant} {listed}".strip()


FOLLOWS = {
    "image_shape": "the data",
    "input_shape": "the data",
    "num_classes": "the data",
    "latent_dim": "the latent's dim (model.latent.dim)",
    "outputs": "what the game asks its discriminator for",
}
"""Arguments that are never typed, and what they follow from."""


def argument_names(cls: type) -> list[str]:
    """Return the names of a constructor's arguments; behind ``**kwargs`` those of the next base class too."""
    names: list[str] = []
    for base in cls.__mro__:
        if "__init__" in vars(base):
            _, *parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
            names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
    return list(dict.fromkeys(names))


def unknown_argument(name: str, owner: str, choices: Iterable[str]) -> str:
    """Return a message about an argument that a class does not have, or that is not for a user to give."""
    if name in FOLLOWS:
        return f"{name} follows from {FOLLOWS[name]}: leave it out"
    return f"{owner} has no argument {name}: {suggestion(name, choices)}"


def shaped(shape: Sequence[int | str], dtype: str = "", **tensors: "Tensor | None") -> None:
    """Refuse tensors of another shape or type.

    Args:
        shape: Sizes; a letter stands for any size, the same for all tensors: ``("N", 3, 32, 32)``.
        dtype: ``"float"`` (any), ``"whole"`` (any integers, no bool), a name such as ``"uint8"``, or
            everything.
        tensors: The tensors, by the names of the arguments.

    Raises:
        ValueError: Naming the first tensor that does not fit.
    """
    import torch

    sizes: dict[str, int] = {}
    for name, tensor in _given(tensors):
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{name} is a {type(tensor).__name__}: give a tensor")
        found = str(tensor.dtype).removeprefix("torch.")
        whole = not (tensor.is_floating_point() or tensor.is_complex() or found == "bool")
        typed = {"": True, "float": tensor.is_floating_point(), "whole": whole}.get(dtype, found == dtype)
        if len(tensor.shape) == len(shape):
            for letter, size in zip(shape, tensor.shape, strict=True):
                if isinstance(letter, str):
                    sizes.setdefault(letter, size)
        wanted = [sizes.get(size, size) if isinstance(size, str) else size for size in shape]
        if tuple(wanted) != tuple(tensor.shape) or not typed:
            needed = f"{', '.join(str(size) for size in wanted)}{',' * (len(wanted) == 1)}"
            raise ValueError(
                f"{name} is {found} of shape {tuple(tensor.shape)}: give {dtype}{' ' * bool(dtype)}({needed})"
            )


def labels(num_classes: int, unlabeled: bool = False, **tensors: "Tensor | None") -> None:
    """Refuse labels that are not whole numbers (n,) from 0, or from -1 if ``unlabeled``, to the last class.

    Raises:
        ValueError: Naming the first label that is out of range.
    """
    first = -1 if unlabeled else 0
    for name, tensor in _given(tensors):
        shaped(("n",), "whole", **{name: tensor})
        bad = (tensor < first) | (tensor >= num_classes)
        if bad.any():
            place = int(bad.nonzero()[0])
            raise ValueError(f"{name}[{place}]={int(tensor[place])}: give {first} to {num_classes - 1}")


def image_shape(shape: Sequence[int], name: str = "image_shape") -> tuple[int, ...]:
    """Return the shape of samples as a tuple: (channels, height, width), or (d,) for vectors.

    Raises:
        ValueError: If it is neither.
    """
    shape = tuple(shape)
    if len(shape) not in (1, 3) or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(f"{name}={shape}: give (channels, height, width), or (d,) for vectors")
    return shape


def square_image(shape: Sequence[int], sizes: Collection[int] = ()) -> tuple[int, int]:
    """Return the channels and the size of square images.

    Args:
        shape: (channels, size, size).
        sizes: The sizes that fit; empty: all.

    Raises:
        ValueError: If the images are not square, or of another size.
    """
    shape = image_shape(shape)
    if len(shape) != 3 or shape[1] != shape[2]:
        raise ValueError(f"image_shape={shape}: this network needs square images, (channels, size, size)")
    if sizes and shape[1] not in sizes:
        near = sorted(sorted(sizes, key=lambda size: abs(size - shape[1]))[:2])
        raise ValueError(
            f"image_shape={shape}: this network needs other sizes, resize the images to "
            + " or ".join(f"(channels, {size}, {size})" for size in near)
        )
    return shape[0], shape[1]


def existing_file(**paths: str | Path | None) -> None:
    """Refuse paths where there is no file.

    Raises:
        ValueError: Naming the first such argument.
    """
    for name, path in _given(paths):
        if not Path(path).is_file():
            raise ValueError(f"{name}={path}: there is no such file")


def writable_folder(**folders: str | Path | None) -> None:
    """Refuse folders that cannot be written, or made; nothing is left behind.

    Raises:
        OSError: Naming the first such argument.
    """
    for name, folder in _given(folders):
        _try_to_write(f"{name}={folder}", Path(folder))


def empty_folder(overwrite: bool | None = None, **folders: str | Path | None) -> None:
    """Refuse folders that have something in them, which would be mixed with what is to be written.

    Args:
        overwrite: Whether that is wished, if the command has such an option.
        folders: The folders, by the names of the arguments.

    Raises:
        ValueError: Naming the first argument that is a file or not empty.
        OSError: Naming the first that cannot be written.
    """
    for name, folder in _given(folders):
        if Path(folder).exists() and not Path(folder).is_dir():
            raise ValueError(f"{name}={folder} is a file: give a new folder")
        if not overwrite and Path(folder).is_dir() and any(Path(folder).iterdir()):
            advice = "delete it first" if overwrite is None else "add --overwrite to replace files in it"
            raise ValueError(f"{name}={folder} is not empty: give a new folder, or {advice}")
        writable_folder(**{name: folder})


def writable_file(suffixes: Collection[str] = (), **files: str | Path | None) -> None:
    """Refuse files that cannot be written, or that have none of some suffixes; their folder may be missing.

    Raises:
        ValueError: Naming the first argument that is a folder or has another suffix.
        OSError: Naming the first argument whose folder cannot be written.
    """
    for name, file in _given(files):
        if suffixes and Path(file).suffix.lower() not in suffixes:
            raise ValueError(f"{name}={file}: give a file that ends in {' or '.join(suffixes)}")
        if Path(file).is_dir():
            raise ValueError(f"{name}={file} is a folder: give a file")
        _try_to_write(f"{name}={file}", Path(file).parent)


def _try_to_write(given: str, folder: Path) -> None:
    path = folder.absolute()
    there = next(place for place in (path, *path.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(f"{given}: cannot write to {there} ({error.strerror}), give another place") from error


def device(name: str | None) -> "Device":
    """Return the device of a name such as ``cpu`` or ``cuda:1``; of None a GPU if there is one.

    Raises:
        ValueError: If this machine has no such device.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    here = ["cpu"]
    # torch 2.6 may not be asked which where there is none.
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        kind = accelerator.type
        here += [kind, *(f"{kind}:{i}" for i in range(torch.accelerator.device_count()))]
    if name not in here:
        raise ValueError(f"device={name}: torch finds no such device here, give {' or '.join(here)}")
    return torch.device(name)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its kind where it has none: a reason for a message."""
    line = str(error).strip().split("\n")[0] or type(error).__name__
    return "".join(char if char.isprintable() else "?" for char in line)  # a damaged file holds any names
