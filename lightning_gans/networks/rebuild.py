"""Record how an object was built, so that a checkpoint can build it again without unpickling code."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightning_gans import checks
from lightning_gans.trust import PACKAGE, NotTrusted, check_trusted, is_trusted, refusal


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


def built_again(value: Any) -> Any:
    """Return what a constructor got, with the modules in it built once more from their own arguments.

    Initial weights are then drawn anew. Modules without weights, and what is no module, stay what they are.

    Raises:
        NotRebuildable: If a module with weights did not record its arguments.
    """
    if isinstance(value, list | tuple):
        return type(value)(map(built_again, value))
    if isinstance(value, dict):
        return {key: built_again(item) for key, item in value.items()}
    if not isinstance(value, nn.Module) or not any(True for _ in value.parameters()):
        return value
    if not isinstance(value, Rebuildable):
        raise NotRebuildable(
            f"{type(value).__name__} is a network that did not record how it was made: give the class or its "
            "partial, or derive it from Rebuildable"
        )
    return type(value)(**built_again(value._arguments))


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
        target = class_of_partial(value)
        if target is not None:
            return {**describe(target), "init_args": describe(value.keywords)}
    raise NotRebuildable(f"{value!r} cannot be rebuilt from plain data")


def class_of_partial(factory: partial[Any]) -> type | None:
    """Return the class whose objects a partial makes, with its keywords alone; None if it is another one."""
    # partial(Adam, lr=...) from Python; partial(instantiator, ..., Adam, lr=...) from a YAML file.
    *instantiators, target = factory.func, *factory.args
    one = isinstance(target, type) and not any(isinstance(x, type) for x in instantiators)
    return target if one else None


def rebuild(
    plain: Any,
    kinds: tuple[type, ...],
    trusted: Iterable[str] = (),
    file: str | Path = "the file",
    **overrides: Any,
) -> Any:
    """Build an object from the plain data of a file, which :func:`describe` returned.

    Args:
        plain: The plain data.
        kinds: Base classes of what may be built: a file must not get to call anything else.
        trusted: Modules, packages and class paths whose classes may be built, beside this package's
            (:func:`~lightning_gans.trust.is_trusted`). All names are checked before any is imported.
        file: Where the data is from, for messages.
        overrides: Further arguments of the outermost class.

    Raises:
        NotTrusted: If a class is none that is built because a file names it.
        ValueError: If a class cannot be found, is of another kind, or refuses its arguments.
    """
    check_trusted(plain, trusted, file)

    def build(plain: Any, **overrides: Any) -> Any:
        if isinstance(plain, list):
            return [build(item) for item in plain]
        if not isinstance(plain, dict):
            return plain
        if "class_path" not in plain:
            return {key: build(item) for key, item in plain.items()}
        cls = find_class(plain["class_path"], kinds)
        if not is_trusted(class_path(cls), trusted):  # a trusted module that imports another one
            raise NotTrusted(refusal([class_path(cls)], file))
        arguments = {**build(plain.get("init_args", {})), **overrides}
        try:
            return partial(cls, **arguments) if plain.get("partial") else cls(**arguments)
        except TypeError as error:
            raise ValueError(f"{plain['class_path']} refuses its arguments: {error}") from error

    return build(plain, **overrides)


def find_class(path: str, kinds: tuple[type, ...]) -> type:
    """Import a class whose path was checked.

    Raises:
        ValueError: If there is none, or it is of another kind.
    """
    module, _, name = path.rpartition(".")
    try:
        cls = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"there is no class {path} here: {error}") from error
    if path.startswith(f"{PACKAGE}."):  # others of this package read files, such as extractors
        kinds = (Rebuildable, Optimizer, LRScheduler)
    if not isinstance(cls, type) or not issubclass(cls, kinds):
        raise ValueError(f"{path} is none of {', '.join(kind.__name__ for kind in kinds)}")
    return cls


def or_default(value: Any, default: Callable[[], Any], name: str, given: int = 0) -> Any:
    """Return an argument; where it is None the default, where it is a dict the default with these arguments.

    Args:
        value: The argument.
        default: Returns what is used by default: an object, a class that makes one, or its ``partial``.
        name: The argument's name, for messages.
        given: So many first arguments of a class that is returned come from whoever calls it.

    Raises:
        ValueError: If the default has no such argument, or does not say how it is made.
    """
    if value is not None and not isinstance(value, dict):
        return value
    made = default()
    if not value:
        return made
    recorded = isinstance(made, Rebuildable)
    cls = type(made) if recorded else made.func if isinstance(made, partial) else made
    if not isinstance(cls, type):
        raise ValueError(f"{name}={value}: nobody knows how the default is made, give a class or an instance")
    if "class_path" in value:
        raise ValueError(f"{name}={value['class_path']} is of another kind: give a {name}")
    known = checks.argument_names(cls)[given:]
    for key in value:
        if key not in known:
            raise ValueError(f"{name}: {checks.unknown_argument(key, cls.__name__, known)}")
    return cls(**{**made._arguments, **value}) if recorded else partial(made, **value)


def made(name: str, network: nn.Module | Callable[..., nn.Module], *given: Any, **more: Any) -> nn.Module:
    """Return a network; make it, if it is what makes one.

    Args:
        name: The argument's name, for messages.
        network: The network, or what makes it: a class, its ``partial``, a function.
        given: First arguments of what makes it, such as shapes.
        more: Further ones, by name.

    Raises:
        ValueError: If it cannot be made of these.
    """
    if isinstance(network, nn.Module):
        return network
    if isinstance(network, partial) and (cls := class_of_partial(network)) is not None:
        # The parser gives arguments without a type hint their defaults, or the value None, these too.
        first = checks.argument_names(cls)[: len(given)]
        # Of the class itself Python 3.10 sees what __new__ takes.
        defaults = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
        kept = {
            name: value
            for name, value in network.keywords.items()
            if name not in first or value not in (None, defaults[name].default)
        }
        network = partial(network.func, *network.args, **kept)
    try:
        return network(*given, **more)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: {checks.first_line(error)}") from error
