"""Remember how an object was built, so that a checkpoint can build it again without unpickling code."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any


class Rebuildable:
    """Mixin that records the arguments of its constructor.

    Networks, latents and games derive from it. A checkpoint then holds a class path and plain values
    instead of pickled objects, and loads under ``weights_only=True``. Derive your own network from it
    (``class MyGenerator(Rebuildable, nn.Module)``) and checkpoints of games that use it are self-contained.
    """

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> "Rebuildable":
        """Record ``args`` and ``kwargs`` under the names of the constructor's parameters."""
        self = super().__new__(cls)
        # bind_partial: copy and pickle call __new__ without arguments and restore __dict__ afterwards.
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs).arguments
        arguments: dict[str, Any] = {}
        for name, value in list(bound.items())[1:]:
            kind = inspect.signature(cls.__init__).parameters[name].kind
            arguments.update(value if kind is inspect.Parameter.VAR_KEYWORD else {name: value})
        object.__setattr__(self, "_arguments", arguments)
        return self


class NotRebuildable(ValueError):
    """An argument that cannot be written as plain data."""


def class_path(cls: type) -> str:
    """Return the dotted path of a class, as YAML recipes spell it."""
    return f"{cls.__module__}.{cls.__qualname__}"


def describe(value: Any) -> Any:
    """Turn a constructor argument into plain data: numbers, text, lists, and ``class_path``/``init_args`` dicts.

    Raises:
        NotRebuildable: If the value is an object whose construction was not recorded (a lambda, a plain
            ``nn.Module``).
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, dict):
        return {key: describe(item) for key, item in value.items()}
    if isinstance(value, Rebuildable):
        return {"class_path": class_path(type(value)), "init_args": describe(value._arguments)}
    if isinstance(value, type) and "<locals>" not in value.__qualname__:
        return {"class_path": class_path(value)}
    if isinstance(value, partial):
        # partial(Adam, lr=...) from Python; partial(instantiator, ..., Adam, lr=...) from a YAML file.
        *instantiators, target = value.func, *value.args
        if isinstance(target, type) and not any(isinstance(x, type) for x in instantiators):
            return {"class_path": class_path(target), "init_args": describe(value.keywords)}
    raise NotRebuildable(f"{value!r} cannot be rebuilt from plain data")
