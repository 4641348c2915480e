"""Parsers that report errors in one line, and commands made from functions. Imports no torch."""

import difflib
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace, auto_cli, set_parsing_settings

from lightning_gans import checks

# A dict with a class_path is a class where a dict of arguments is allowed too, and must be one that exists.
# Within such arguments nothing is built, whatever they name.
set_parsing_settings(validate_subclass_spec_in_any=True, instantiate_subclass_spec_in_any=False)
# Lightning's Timer has an Enum among its defaults, which config.yaml cannot hold otherwise.
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_data(value.value))

LINKED = ("image_shape", "input_shape", "num_classes")
"""Arguments of a model that follow from the data."""

EACH_RUN = ("checkpoint", "samples", "throughput")
"""The callbacks that ``fit`` adds: the options that set them."""

TRUSTED = "A module or package whose classes the checkpoint may name; once for each."

NOISE = re.compile(
    r"Parser key|Expected a <class 'NoneType'>|Does not validate against|Subtypes:|Errors:|Given value"
    r"|Invalid subclass spec|Expected a path but|Subclass types expect|a class path \(str\)|a dict with"
)
"""Lines that only say how the parser went about it."""
PATH = re.compile(r"[A-Za-z_][\w.]*\.\w+")
MISMATCH = re.compile(r"Expected an? (?!dot import|instantiatable)(.*?)(?:\. Got value.*)?$", re.MULTILINE)


class OneLine(ArgumentParser):
    """A parser without abbreviations that raises a one-line ValueError in place of exiting."""

    owner = ""
    """The class whose arguments this parser reads, if that is all it does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # An abbreviation would be taken for another option as soon as there is one of that name.
        super().__init__(*args, **{"usage": "%(prog)s [options]", **kwargs, "allow_abbrev": False})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a ValueError with the message, shortened to one line."""
        if found := re.search(r"argument (--\S+): expected one argument", message):
            # The parser names --model where --model.generator.width has no value.
            for option, after in zip(self.args, [*self.args[1:], "--"], strict=True):
                if option.startswith(found[1]) and "=" not in option and after.startswith("--"):
                    message = f"{option} needs a value"
        raise ValueError(explain(message, self._option_string_actions, self.owner, ex)) from ex

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """Return the help, without the marks of docstrings."""
        return str(super().format_help(*args, **kwargs)).replace("``", "")

    def add_class_arguments(self, theclass: type, nested_key: str | None = None, **kwargs: Any) -> Any:
        """Add the arguments of a class, and remember it if it is the only one."""
        if nested_key is None:
            self.owner = theclass.__name__
        return super().add_class_arguments(theclass, nested_key, **kwargs)

    def parse_args(  # type: ignore[override]
        self, args: Any = None, namespace: Any = None, **kwargs: Any
    ) -> Namespace:
        """Parse options; see :meth:`_keep_classes`."""
        # The parser writes null so when it hands an option on to the parser of a class, and people do too.
        args = args and [re.sub("^(--.*)=None$", r"\1=null", arg) for arg in args]
        for i, (option, after) in enumerate(zip(args or [], [*(args or [])[1:], "--"], strict=False)):
            kind = getattr(self._option_string_actions.get(option), "_typehint", None)
            if kind is bool and after.startswith("--"):  # a switch, such as --overwrite
                args[i] = f"{option}=true"
        return self._keep_classes(namespace, super().parse_args(args, namespace, **kwargs))

    def parse_object(self, obj: Any, namespace: Any = None, **kwargs: Any) -> Namespace:
        """Parse values; see :meth:`_keep_classes`."""
        return self._keep_classes(namespace, super().parse_object(obj, namespace, **kwargs))

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a file; errors name it."""
        content = read_yaml(Path(path))
        try:
            self._check_keys(content)
            parsed: Namespace = super().parse_path(path, *args, **kwargs)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return parsed

    def instantiate(self, namespace: Namespace, *args: Any, **kwargs: Any) -> Namespace:
        """Build what was parsed; a classifier that is trained for it reads the data from the same folder."""
        root, before = namespace.get("data.init_args.root"), dict(os.environ)
        if root is not None:
            os.environ["LIGHTNING_GANS_DATA"] = str(root)
        try:
            return super().instantiate(namespace, *args, **kwargs)  # type: ignore[no-any-return]
        finally:
            if root is not None:
                os.environ.pop("LIGHTNING_GANS_DATA")
                os.environ.update(before)

    def dump(self, namespace: Namespace, *args: Any, **kwargs: Any) -> str:
        """Write a configuration down; the parser would take a dict of arguments for a function.

        It would also leave out what follows from the data where that does not know it, and it was typed.
        """
        kwargs["skip_link_targets"] = False
        plain = {
            key: value
            for key, value in namespace.items(branches=True, nested=False)
            if isinstance(value, dict) and "Callable" in self._type_of(key)
        }
        rest = namespace.clone()
        for key in plain:
            rest[key] = None
        text = str(super().dump(rest, *args, **kwargs))
        return str(yaml.safe_dump({**yaml.safe_load(text), **plain}, sort_keys=False)) if plain else text

    def _type_of(self, key: str) -> str:
        return str(getattr(self._option_string_actions.get(f"--{key}"), "_typehint", ""))

    def _check_keys(self, content: dict[str, Any]) -> None:
        """Refuse unknown keys of a file; the parser would only name the first, without those it has."""
        known = self._option_string_actions
        for key, value in content.items():
            names = [key]
            if isinstance(value, dict) and any(
                x.startswith(f"--{key}.") and x[-5:] != ".help" for x in known
            ):
                names = [f"{key}.{below}" for below in value]
            for name in names:
                if f"--{name}" not in known:
                    self.error(f"unrecognized arguments: --{name}")

    def _keep_classes(self, before: Any, after: Namespace) -> Namespace:
        """Refuse arguments for which the parser has dropped a class that does not take them.

        It does so where a dict, of arguments of a default, is allowed in place of a class.
        """
        for key, value in after.items(branches=True, nested=False):
            named = before.get(key) if before else None
            cls = _find(named.get("class_path", "")) if isinstance(named, Namespace) else None
            if not isinstance(value, dict) or cls is None:
                continue
            names = [name for name in checks.argument_names(cls) if name not in checks.FOLLOWS]
            for name in value:
                if name not in names:
                    self.error(f"{key}: {checks.unknown_argument(name, cls.__name__, names)}")
            parser = type(self)()  # of the arguments in question, whose values cannot be right
            parser.add_class_arguments(cls, skip={*checks.argument_names(cls)} - {*value})
            try:
                parser.parse_object(value)
            except ValueError as error:
                self.error(f"{key}.{error}")
            self.error(f"{key}: {cls.__name__} does not take {value}")
        return after


def call(function: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Run a function with arguments from the command line: its docstring is the help.

    Classes are found by their short names if their modules have been imported.
    """
    given, trusted = take_trusted(arguments)
    # A command of several functions is a module of another name.
    names = dict.fromkeys([function.__module__.rpartition(".")[2], function.__name__])
    prog = f"lightning-gans {' '.join(names).replace('_', '-')}"
    with ExitStack() as stack:
        if trusted:
            from lightning_gans.trust import trust_also

            stack.enter_context(trust_also(trusted))
            given.append(f"--trusted={json.dumps(trusted)}")
        auto_cli(function, args=given, as_positional=False, parser_class=OneLine, prog=prog)


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


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads 1e-3 as a number, and refuses a key that is given twice, of which YAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: list[str] = []
        for key, _ in node.value:
            if key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
            keys += [key.value] * (key.value != "<<")
        return dict(super().construct_mapping(node, deep))


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a file; one that is no YAML, is empty, or no mapping is refused.

    Raises:
        ValueError: Saying what is wrong, and in which line.
    """
    try:
        content = yaml.load(path.read_text(), _Loader)
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}, " if error.problem_mark else ""
        raise ValueError(f"{path}: {place}{error.problem or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: this is no YAML file") from error
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise ValueError(f"{path}: the file holds {found}: write keys with values, as in model: DCGAN")
    return content


def explain(
    message: str,
    options: Mapping[str, Any] | None = None,
    owner: str = "",
    cause: BaseException | None = None,
) -> str:
    """Shorten a parser's message to the line that matters, and add the nearest names to an unknown one.

    Args:
        message: What the parser said: often a tree of all the types that a value could have had.
        options: The options that the parser has, and their actions.
        owner: The class whose arguments these are.
        cause: What was raised; its innermost kind is told where the message gives no reason.
    """
    if denied := re.search(r"Importing '([^']+)' is not allowed", message):
        from lightning_gans.trust import refusal

        return refusal([denied[1]], "the checkpoint or its run's config.yaml")
    options = options or {}
    key = re.search(r'Parser key "([^"]+)"', message)
    lines = [re.sub(r'^\s*(- )?(Parser key "[^"]+":)?\s*(- )?', "", line) for line in message.splitlines()]
    telling = [line for line in lines if line and not NOISE.search(line)]
    # What a value could have been matters only if that is all that is wrong with it.
    mismatches = [line for line in telling if key and MISMATCH.match(line)]
    reasons = [line for line in telling if line not in mismatches]
    if mismatches and not reasons:
        text = _mismatch(mismatches, message)
    else:
        text = " ".join(reasons[: 1 + reasons[0].endswith(":")]) if reasons else message
        text = _reworded(re.sub(r"\s+", " ", text), message, options, owner, key[1] if key else "")
    if text.endswith(":") and cause is not None:
        while inner := cause.__cause__ or cause.__context__:
            cause = inner
        text = f"{text} {type(cause).__name__}"
    if key is None:
        return text
    return f"{key[1]}.{text}" if re.match(r"[A-Za-z_][\w.]*: ", text) else f"{key[1]}: {text}"


def _mismatch(lines: Sequence[str], message: str) -> str:
    """Say what a value should have been."""
    given = re.search(r"(?:Given value|Got value): (?:NestedArg\(.* val=)?(.*)", message)
    value = given[1].rstrip(")").strip("'") if given else "this"
    kinds = []
    for kind in re.findall(MISMATCH, "\n".join(lines)):
        kind = re.sub(r"^<class '(.*)'>$|\b[a-z_.]+\.(?=\w)", r"\1", kind)
        kind = re.sub(r"^Literal\[(.*)\]$", lambda found: found[1].replace(", ", " or "), kind)
        words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
        kinds.append(words.get(kind, f"a list, as in [{value}]" if kind == "list" else kind))
    return f"give {' or '.join(dict.fromkeys(kinds))}, not {value or 'nothing'}"


def _reworded(text: str, message: str, options: Mapping[str, Any], owner: str, key: str) -> str:
    """Say a parser's line in the words of this package, with what to do."""
    if found := re.search(r"(?:Option '|accept option '|unrecognized arguments: --)([^' =]+)", text):
        return _unknown_option(found[1], options, owner)
    if found := re.search(r"unrecognized arguments: (\S+)", text):
        option = "--ckpt_path" if Path(found[1], "checkpoints").is_dir() else "--config"
        meant = f"--{found[1].lstrip('-')}" if found[1].startswith("-") else f"{option} {found[1]}"
        return f"{found[1]} is no option: they begin with --, as in {meant}"
    if found := re.search(r"dot import path string: (\S*)", text):
        unknown = _unknown_class(found[1], f"{message} {getattr(options.get(f'--{key}'), '_typehint', '')}")
        wanted = f"give single keys (--{key}.help lists them) or false, not {found[1]}"
        return wanted if key in EACH_RUN else unknown
    if found := re.search(r"class, but (\S+ )?is abstract", text):
        given = re.search(r"Given value: (\S+)", message)
        return _abstract((found[1] or (given and given[1]) or "").strip())
    if found := re.search(r"subclasses with name (\w+)\..*ambiguity: (.*)\.", text):
        return f"there are several {found[1]}: give {found[2].replace(', ', ' or ')}"
    if found := re.search(r"arguments are required: (.*)", text):
        names = [re.sub(r"^(fit|validate|test)\.", "--", name) for name in found[1].split(", ")]
        if owner:
            names = [name for name in names if name not in checks.FOLLOWS]
            if not names:
                return (
                    f"{owner} gets image_shape and latent_dim (model.latent.dim) from the game: give neither"
                )
            return f"{owner} needs {' and '.join(names)}"
        named = [f"--{name}" if f"--{name}" in options else name for name in names]
        recipe = ", or a recipe that has them: --config NAME (`lightning-gans recipes` lists them)"
        return f"the command needs {' and '.join(named)}{recipe if 'fit.model' in found[1] else ''}"
    if found := re.search(r"Unable to load config '(.*)'", text):
        return f"give a YAML file or single keys (with a dot), not {found[1]}"
    if found := re.search(r"Problem with given class_path '(.*?)': ?(.*)", text):
        return f"{found[1]} cannot be made: {found[2]}".strip()
    return re.sub(r"^Type \S+\[.*\] expects a function or a callable class: ", "", text)


def _unknown_option(name: str, options: Mapping[str, Any], owner: str) -> str:
    """Say which part of a dotted name is unknown, and what is near it."""
    known = [option[2:].split(".") for option in options if option.startswith("--") and option[-1] != "+"]
    parts = name.split(".")
    for depth, part in enumerate(parts):
        choices = {x[depth] for x in known if x[:depth] == parts[:depth] and len(x) > depth}
        choices -= {"help", "print_shtab"}
        if part not in choices:
            break
    if part in ("print_shtab", "print_completion"):
        return "the command lightning-gans completion prints a script for your shell"
    if part == "class_path":
        return "beside class_path there is only init_args: write the arguments of the class below that"
    if (owner or known) and not choices and part not in checks.FOLLOWS:
        return f"no class is chosen that has an argument {part}: give one first"
    if owner or part in checks.FOLLOWS:
        return checks.unknown_argument(part, owner, sorted(choices))
    longer = [f"--{name}" for name in sorted(choices) if name.startswith(part)]
    if depth == 0 and (near := [*longer, *_options_below(part, options)]):
        return f"--{part} is unknown: did you mean {' or '.join(near)}?"
    above = "--" + "".join(f"{part}." for part in parts[:depth])
    advice = checks.suggestion(part, sorted(choices)).replace("did you mean ", f"did you mean {above}")
    return f"{above}{part} is unknown: {advice}"


def _options_below(name: str, options: Mapping[str, Any]) -> list[str]:
    """Return the options that a name is the last part of, and arguments of model or data of that name."""
    found = [option for option in options if option.endswith(f".{name}")]
    for option in {"--model", "--data"} & {*options}:
        kinds = [
            cls
            for path in PATH.findall(str(getattr(options[option], "_typehint", "")))
            if (cls := _find(path))
        ]
        if any(name in checks.argument_names(cls) for kind in kinds for cls in subclasses(kind)):
            found.append(f"{option}.{name}")
    return found[:2]


def _unknown_class(name: str, message: str) -> str:
    """Say what is near the name of a class, among the kinds that the message names."""
    kinds = [cls for path in PATH.findall(message) if (cls := _find(path))]
    known = {cls.__name__: cls.__module__ for kind in kinds for cls in subclasses(kind)}
    ours = [cls for cls in known if known[cls].startswith("lightning_gans")]
    elsewhere = any(cls.__name__ == name for cls in _ours())
    folded = {cls.casefold(): cls for cls in known}
    near = [] if elsewhere else difflib.get_close_matches(name.casefold(), folded, n=1)
    if near:
        advice = f"did you mean {folded[near[0]]}?"
    else:
        shown = sorted(ours if len(ours) > 1 else known)
        advice = checks.suggestion("", shown) if len(shown) < 40 else "give it as my_module.MyClass"
    return f"{name or 'an empty name'} is {'of another kind' if elsewhere else 'unknown'}: {advice}"


def _abstract(path: str) -> str:
    """Say what can be used in place of an abstract class, or what it lacks."""
    cls, name = _find(path), path.rpartition(".")[2]
    known = sorted(below.__name__ for below in subclasses(cls)) if cls else []
    if known:
        return f"{name} is abstract, first give a class of this kind: {checks.suggestion('', known)}"
    return f"{name} has to define {' and '.join(sorted(getattr(cls, '__abstractmethods__', ())))}"


def _find(path: str) -> type | None:
    """Return a class by its path, or one of this package by its name, if it has been imported."""
    module, _, name = path.rpartition(".")
    if not module:
        return next((cls for cls in _ours() if cls.__name__ == name), None)
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def _ours() -> Iterator[type]:
    """Yield the classes of this package that have been imported."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith("lightning_gans."):
            yield from (x for x in vars(module).values() if isinstance(x, type) and x.__module__ == name)


def subclasses(cls: type) -> Iterator[type]:
    """Yield the classes below one that have been imported, are public, and can be built."""
    left: list[type] = type.__subclasses__(cls)
    seen = set[type]()
    for below in left:
        if below in seen:
            continue
        seen.add(below)
        left += type.__subclasses__(below)  # which the loop comes to later
        if not (
            below.__name__.startswith("_") or inspect.isabstract(below) or "<locals>" in below.__qualname__
        ):
            yield below
