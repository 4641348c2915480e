"""The commands of ``lightning-gans``, each a module, which :mod:`lightning_gans.commands.main` finds by name.

A command ``some-name`` is a module (or package) ``some_name`` in this folder. What it does is its function
``some_name``, whose arguments and docstring are its options and its help; or ``run(arguments: list[str])``,
which gets what follows the command's name, of a command that reads that itself. Modules with neither are no
commands. The first line of the module's docstring is the command's line in ``lightning-gans --help``; it is
read without importing the module. What a user did wrong is raised as a ValueError, TypeError, OSError,
ImportError, ArithmeticError or LookupError: its message is printed as one line, without a traceback.
"""
