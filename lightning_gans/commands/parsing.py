"""Parsers that report errors in one line, and commands made from functions. Imports no torch."""

import difflib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, auto_cli

LINKED = ("image_shape", "input_shape", "num_classes")
"""Arguments of a model that follow from the data."""

TRUSTED = "A module or package whose classes the checkpoint may name; once for each."

NOISE = re.compile(
    r"Expected a <class 'NoneType'>|Does not validate against|Subtypes:|Errors:|Given value"
    r"|Expected a path but|is not a subclass of|Expected an? <class 'function'>|Expected a callable"
)


class OneLine:
    """Base class of parsers that raise a one-line ValueError in place of exiting."""

    _option_string_actions: dict[str, Any]

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a ValueError with the message, shortened to one line."""
        raise ValueError(explain(message, list(self._option_string_actions))) from ex


class FunctionParser(OneLine, ArgumentParser):
    """A parser of the arguments of a function."""


def call(function: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Run a function with arguments from the command line: its docstring is the help.

    Classes are found by their short names if their modules have been imported.
    """
    rest, trusted = take_trusted(arguments)
    given = [*rest, f"--trusted={json.dumps(trusted)}"] if trusted else rest
    auto_cli(function, args=given, as_positional=False, parser_class=FunctionParser)


def take_trusted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Take ``--trusted MODULE``, which may be repeated, out of a command's arguments.

    It never comes from a file, which must not say what is trusted.

    Returns:
        The other arguments, and the modules.

    Raises:
        ValueError: If one is no name of a module.
    """
    rest, trusted = [], []
    left = iter(arguments)
    for argument in left:
        flag, equals, value = argument.partition("=")
        if flag != "--trusted":
            rest.append(argument)
            continue
        value = value if equals else next(left, "")
        if not all(part.isidentifier() for part in value.split(".")):
            raise ValueError(f"--trusted {value}: give the name of a module or package, such as my_project")
        trusted.append(value)
    return rest, trusted


def explain(message: str, options: Sequence[str] = ()) -> str:
    """Shorten a parser's message to the line that matters, and add the nearest names to an unknown one.

    Args:
        message: What the parser said: often a tree of all the types that a value could have had.
        options: The options that the command has.
    """
    if denied := re.search(r"Importing '([^']+)' is not allowed", message):
        from lightning_gans.networks.trust import refusal

        return refusal([denied[1]], "the checkpoint or its run's config.yaml")
    key = re.search(r'Parser key "([^"]+)"', message)
    lines = [re.sub(r'^\s*(- )?(Parser key "[^"]+":)?\s*(- )?', "", line) for line in message.splitlines()]
    telling = [line for line in lines if line and not NOISE.search(line)]
    reason = telling[1:2] if telling and telling[0].endswith(":") else []
    text = re.sub(r"\s+", " ", " ".join([*telling[:1], *reason]) or message)
    for pattern, names in (
        (r"Option '([^']+)' is not accepted", _argument_names),
        (r"unrecognized arguments: (--[^ =]+)", lambda: options),
        (r"dot import path string: (\S+)", lambda: {known.__name__ for known in _known_classes()}),
    ):
        unknown = re.search(pattern, text)
        if unknown:
            near = difflib.get_close_matches(unknown[1], sorted(names()), n=2, cutoff=0.6)
            text = f"{unknown[1]} is unknown" + (f": did you mean {' or '.join(near)}?" if near else "")
            break
    named = key and re.search(rf"\b{re.escape(key[1])}\b", text)
    return text if key is None or named else f"{key[1]}: {text}"


def _known_classes() -> Iterator[type]:
    """Yield the classes of this package whose modules are imported."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith("lightning_gans."):
            for value in vars(module).values():
                if isinstance(value, type) and value.__module__ == name and not issubclass(value, Exception):
                    yield value


def _argument_names() -> set[str]:
    return {name for known in _known_classes() for name in inspect.signature(known).parameters}
