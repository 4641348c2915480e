"""Record how an object was built, so that a checkpoint can build it again without unpickling code."""

import inspect
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning_gans import checks


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
    """Turn a constructor argument into plain data: numbers, text, lists, ``class_path``/``init_args`` dicts.

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
    # Classes and partials are factories: they are called later, with what the game knows.
    if isinstance(value, type) and "<locals>" not in value.__qualname__:
        return {"class_path": class_path(value), "partial": True}
    if isinstance(value, partial):
        # partial(Adam, lr=...) from Python; partial(instantiator, ..., Adam, lr=...) from a YAML file.
        *instantiators, target = value.func, *value.args
        if isinstance(target, type) and not any(isinstance(x, type) for x in instantiators):
            return {**describe(target), "init_args": describe(value.keywords)}
    raise NotRebuildable(f"{value!r} cannot be rebuilt from plain data")


def rebuild(plain: Any, kinds: tuple[type, ...], **overrides: Any) -> Any:
    """Build an object from the plain data that :func:`describe` returned.

    Args:
        plain: The plain data.
        kinds: Base classes of what may be built: a file must not get to call anything else.
        overrides: Further arguments of the outermost class.

    Raises:
        ValueError: If a class cannot be found, is of another kind, or refuses its arguments.
    """
    if isinstance(plain, list):
        return [rebuild(item, kinds) for item in plain]
    if not isinstance(plain, dict):
        return plain
    if "class_path" not in plain:
        return {key: rebuild(item, kinds) for key, item in plain.items()}
    module, _, name = plain["class_path"].rpartition(".")
    try:
        cls = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no class {plain['class_path']} here: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, kinds)):
        raise ValueError(f"{plain['class_path']} is none of {', '.join(kind.__name__ for kind in kinds)}")
    arguments = {**rebuild(plain.get("init_args", {}), kinds), **overrides}
    try:
        return partial(cls, **arguments) if plain.get("partial") else cls(**arguments)
    except TypeError as error:
        raise ValueError(f"{plain['class_path']} refuses its arguments: {error}") from error


def with_arguments(default: Any, changes: Mapping[str, Any], name: str, given: int = 0) -> Any:
    """Make a default again with some other arguments: an object, a class that makes one, or its ``partial``.

    Args:
        default: What is used where nobody says otherwise.
        changes: Arguments of its class.
        name: The argument that ``changes`` were given for, for messages.
        given: So many of the class's first arguments come from the caller of what is returned.

    Raises:
        ValueError: If the class has no such argument, or ``default`` does not say how it is made.
    """
    if not changes:
        return default
    recorded = isinstance(default, Rebuildable)
    cls = type(default) if recorded else default.func if isinstance(default, partial) else default
    if not isinstance(cls, type):
        raise ValueError(
            f"{name}={dict(changes)}: nothing is known of how the default {name} is made, "
            "so give a class (class_path) or an instance"
        )
    if "class_path" in changes:
        raise ValueError(f"{name}={changes['class_path']} is of another kind: give a {name}")
    known = checks.argument_names(cls)[given:]
    for key in changes:
        if key not in known:
            raise ValueError(f"{name}: {checks.unknown_argument(key, cls.__name__, known)}")
    return cls(**{**default._arguments, **changes}) if recorded else partial(default, **changes)
