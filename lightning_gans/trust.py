"""Which classes are built because a file names them: names are checked before anything is imported.

See SECURITY.md. A class of this package, a layer, optimizer or scheduler of torch; what the caller names as
trusted; and classes of the caller's own modules, once these are imported. Functions and methods, only those
of modules that the caller names.
"""

import re
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

PACKAGE = __name__.partition(".")[0]
PROGRAMS = (f"{PACKAGE}.commands", f"{PACKAGE}.__main__")
"""The modules of this package that do things, some of them when they are imported."""


class NotTrusted(ValueError):
    """A file names a class that is not built because a file names it."""


_ALSO: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


@contextmanager
def trust_also(names: Iterable[str]) -> Iterator[None]:
    """Within this block trust these too: a command's ``--trusted``, for all files that it opens."""
    token = _ALSO.set((*_ALSO.get(), *names))
    try:
        yield
    finally:
        _ALSO.reset(token)


class _Verdicts(dict[str, bool]):
    """jsonargparse's table of imports that are allowed, which it looks up by the whole name first."""

    def __init__(self, trusted: Iterable[str]) -> None:
        super().__init__({"*": False})
        self.trusted = tuple(trusted)

    def __contains__(self, path: object) -> bool:
        return True

    def __getitem__(self, path: str) -> bool:
        return is_trusted(path, self.trusted)


@contextmanager
def only_trusted(trusted: Iterable[str]) -> Iterator[None]:
    """Within this block jsonargparse imports only what a file may name, in whatever form it is named.

    The parser's own list of imports that are allowed: it is asked before each import, whether the name is a
    ``class_path``, a function's, one in a string that is parsed again, or one in another file; and again with
    the name under which what was imported is defined.

    Args:
        trusted: Modules, packages and class paths that are allowed too.
    """
    from jsonargparse import _common, _optionals, set_parsing_settings

    settings = _common.parsing_settings
    before = {key: settings[key] for key in ("import_path_verdicts", "import_paths_enforced")}
    addresses = "s" in _optionals._get_config_read_mode()
    set_parsing_settings(config_read_mode_fsspec_enabled=False)  # a file must not have others fetched
    settings.update(import_path_verdicts=_Verdicts(trusted), import_paths_enforced=True)
    try:
        yield
    finally:
        settings.update(before)
        set_parsing_settings(config_read_mode_fsspec_enabled=addresses)


def is_trusted(path: str, trusted: Iterable[str] = ()) -> bool:
    """Return whether a class may be built because a file names it; imports nothing.

    Args:
        path: The class path.
        trusted: Modules and packages that the caller trusts with all in them, and class paths.
    """
    for name in (*trusted, *_ALSO.get()):
        if path == name or (path.startswith(f"{name}.") and not _is_class_path(name)):
            return True
    if path.startswith(f"{PACKAGE}."):  # its functions write files, too
        return _is_class_path(path) and not path.startswith(PROGRAMS)
    home, _, name = path.rpartition(".")
    module = sys.modules.get(home)
    return path in of_torch() or (
        module is not None and is_own(module) and isinstance(getattr(module, name, None), type)
    )


def _is_class_path(path: str) -> bool:
    """Return whether a name is spelt as that of a class within modules."""
    home, _, name = path.rpartition(".")
    return name[:1].isupper() and home == home.lower() != ""


def check_trusted(plain: Any, trusted: Iterable[str], file: str | Path) -> None:
    """Check all class paths in the plain data of a file.

    Raises:
        NotTrusted: If there are some that are not trusted: one line that says what to do.
    """
    unknown = {path: None for path in class_paths(plain) if not is_trusted(path, trusted)}
    if unknown:
        raise NotTrusted(refusal(unknown, file))


def class_paths(plain: Any) -> Iterator[str]:
    """Yield all that plain data names as ``class_path`` or ``_class_path``."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            if key in ("class_path", "_class_path"):
                yield str(value)
            yield from class_paths(value)
    elif isinstance(plain, list | tuple):
        for value in plain:
            yield from class_paths(value)


def refusal(paths: Iterable[str], file: str | Path) -> str:
    """Return one line that refuses class paths that a file names, and says how they can be trusted."""
    paths = list(paths)
    shown = [path if re.fullmatch(r"[\w.<>]{1,120}", path) else ascii(path[:120]) for path in paths]
    start = f"{file} names {', '.join(shown)}"
    modules = list(dict.fromkeys(map(what_to_trust, paths)))
    if None in modules:
        return f"{start}: that is no part of a game, do not use the file"
    if "__main__" in modules:
        return (
            f"{start}, of a script that was run: import its class and call CLASS.load_from_checkpoint(PATH), "
            "or keep the class in a module"
        )
    add = f"add {' '.join(f'--trusted {module}' for module in modules)} (in Python: trusted={modules}"
    if any(module in paths for module in modules):
        return f"{start}: a library's constructors may run what a file holds. If you know this one, {add})"
    return f"{start}: a file may build only classes of {PACKAGE}. If you trust it, {add}, or import it first)"


def what_to_trust(path: str) -> str | None:
    """Return the own package of a class, or the path of a library's class; None for what is not to trust."""
    top, *names = path.split(".")
    if not names or not all(part.isidentifier() for part in (top, *names)):
        return None
    if top in (*sys.stdlib_module_names, PACKAGE, "torch"):
        return None
    if top == "__main__":
        return top
    spec = find_spec(top)
    places = [spec.origin, *(spec.submodule_search_locations or ())] if spec else []
    return path if any(place and _is_installed(place) for place in places) else top


def is_own(module: ModuleType) -> bool:
    """Return whether a module is the caller's, neither Python's nor installed."""
    if module.__name__ == "__main__" and not hasattr(module, "__file__"):
        return True  # typed into an interpreter
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not _is_installed(file)


def _is_installed(file: str) -> bool:
    return any(Path(file).resolve().is_relative_to(place) for place in _installed())


@cache
def _installed() -> frozenset[Path]:
    paths = sysconfig.get_paths()
    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    places = [*(paths[name] for name in names), *site.getsitepackages(), site.getusersitepackages()]
    return frozenset(Path(place).resolve() for place in places) | {Path(__file__).resolve().parent}


def paths_of(cls: type) -> set[str]:
    """Return the paths by which a class is imported: of its module, and of packages that show it."""
    parts = cls.__module__.split(".")
    homes = [".".join(parts[:end]) for end in range(1, len(parts))]
    shown = [home for home in homes if getattr(sys.modules.get(home), cls.__name__, None) is cls]
    return {f"{home}.{cls.__qualname__}" for home in (*shown, cls.__module__)}


@cache
def of_torch() -> frozenset[str]:
    """Return the class paths of torch's layers, optimizers and schedulers."""
    found: set[str] = set()
    for module, kind in ((nn, nn.Module), (torch.optim, Optimizer), (torch.optim.lr_scheduler, LRScheduler)):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, kind):
                found |= paths_of(value)
    return frozenset(found)
