"""The commands of ``lightning-gans``, each a module, which :mod:`lightning_gans.commands.main` finds by name.

A command ``some-name`` is a module (or package) ``some_name`` in this folder with a function ``run(arguments:
list[str]) -> None`` of its own, which gets what follows the command's name. The first line of the module's
docstring is the command's line in ``lightning-gans --help``; it is read without importing the module. Modules
without ``run`` are no commands. What a user did wrong is raised as a ValueError, TypeError, OSError,
ImportError, ArithmeticError or LookupError: its message is printed as one line, without a traceback.
"""
