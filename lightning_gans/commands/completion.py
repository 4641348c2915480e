"""Print a script by which a shell completes commands, options and the names of classes."""

from argparse import ArgumentParser
from importlib import import_module
from typing import Literal

from lightning_gans.commands.recipes import added_names, recipe_names


def completion(shell: Literal["bash", "zsh", "tcsh"] = "bash") -> None:
    """Print a script by which a shell completes commands, options and the names of classes.

    In bash: ``eval "$(lightning-gans completion)"``, or write it to a file that ``~/.bashrc`` sources.

    Args:
        shell: The shell.

    Raises:
        ImportError: If the package shtab is missing.
    """
    try:
        import shtab
    except ImportError as error:
        advice = "pip install 'lightning-gans[completion]'"
        raise ImportError(f"completion needs the package shtab: {advice}") from error
    from lightning.pytorch import LightningDataModule

    from lightning_gans.commands.fit_parser import parser_of_fit
    from lightning_gans.commands.main import known_commands
    from lightning_gans.commands.parsing import OneLine, subclasses
    from lightning_gans.game.checkpoints import SelfContained

    names = {
        "--config": [*recipe_names(), *added_names()],
        "--model": sorted(cls.__name__ for cls in subclasses(SelfContained)),
        "--data": sorted(cls.__name__ for cls in subclasses(LightningDataModule)),
    }
    # jsonargparse's own script has all options of all classes of torch, which takes it many minutes.
    parser = ArgumentParser("lightning-gans")
    commands = parser.add_subparsers()
    for name, line in known_commands().items():
        own = name.replace("-", "_")
        function = getattr(import_module(f"lightning_gans.commands.{own}"), own, None)
        options = OneLine() if function else parser_of_fit()
        if function:
            options.add_function_arguments(function, as_positional=False)
        command = commands.add_parser(name, help=line)
        for option in sorted({*options._option_string_actions, "--config", "--ckpt_path"} - {"-h", "--help"}):
            command.add_argument(option, choices=names.get(option), dest=option)
    print(shtab.complete(parser, shell))
