"""The entry point ``lightning-gans``: find the command, run it, and say in one line what went wrong."""

import ast
import os
import pkgutil
import platform
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from lightning_gans import __version__, checks, commands

EXPECTED = (ValueError, TypeError, OSError, ImportError, ArithmeticError, LookupError)
"""What bad input raises, beside Lightning's MisconfigurationException, which derives from Exception alone."""


def known_commands() -> dict[str, str]:
    """Return the description of each command for ``--help`` by its name, without importing any command."""
    found = {}
    for module in pkgutil.iter_modules(commands.__path__):
        path = Path(commands.__path__[0]) / module.name
        code = ast.parse((path / "__init__.py" if module.ispkg else path.with_suffix(".py")).read_text())
        names = {"run", module.name} - {"main"}
        if any(isinstance(part, ast.FunctionDef) and part.name in names for part in code.body):
            found[module.name.replace("_", "-")] = (ast.get_docstring(code) or "").partition("\n")[0]
    return found


def memory_is_full(error: Exception) -> bool:
    """Return whether memory did not suffice; of the CPU's torch says so in the message alone."""
    kind = type(error).__name__
    return isinstance(error, MemoryError) or kind == "OutOfMemoryError" or "can't allocate" in str(error)


def show_help() -> None:
    """Print the list of commands."""
    print("usage: lightning-gans COMMAND [options]\n\ncommands:")
    for name, line in known_commands().items():
        print(f"  {name:18}{line}")
    print("\nlightning-gans COMMAND --help shows the options; --debug shows tracebacks.")
    print("lightning-gans --version shows what is installed.")


def show_versions() -> None:
    """Print the versions that a report of a fault needs; the first line is this package's."""
    print(f"lightning-gans {__version__}")
    print(f"Python {platform.python_version()} on {platform.platform()}")
    for package in ("torch", "torchvision", "lightning", "torchmetrics", "jsonargparse", "numpy"):
        print(package, version(package))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; on bad input, print one line and exit with 2."""
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)  # so that class paths of modules in the current folder work, as with python -m
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    command, *rest = [argument for argument in given if argument != "--debug"] or ["--help"]
    try:
        if command in ("-h", "--help"):
            show_help()
        elif command == "--version":
            show_versions()
        elif command not in (known := known_commands()):
            raise ValueError(f"unknown command {command}: {checks.suggestion(command, known)}")
        else:
            name = command.replace("-", "_")
            module = import_module(f"{commands.__name__}.{name}")
            if hasattr(module, "run"):
                module.run(rest)
            else:
                from lightning_gans.commands.parsing import call

                call(getattr(module, name), rest)
        sys.stdout.flush()
    except (KeyboardInterrupt, SystemExit) as stop:
        # Lightning turns Ctrl-C into an exit with code 1.
        if not any(isinstance(error, KeyboardInterrupt) for error in (stop, stop.__context__)):
            raise
        print("lightning-gans: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            sys.exit(141)  # as of a program that the signal SIGPIPE ends
        kind = type(error).__name__
        full = memory_is_full(error)
        if debug or not (full or isinstance(error, EXPECTED) or kind == "MisconfigurationException"):
            raise
        from lightning_gans.commands.parsing import explain

        text = explain(str(error), cause=error) or kind
        if full:
            text = f"there is too little memory, lower batch size, networks or numbers ({text})"
        # What a KeyError says is the key alone.
        print(f"lightning-gans: {f'{kind}: ' * isinstance(error, KeyError)}{text}", file=sys.stderr)
        sys.exit(2)


def _nobody_reads() -> bool:
    """Return whether the reader of the output is gone, as in ``recipes | head``; the rest goes nowhere."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
