"""Log the losses on the test data, and the scores of Evaluate."""

from lightning_gans.commands.fit import start


def run(arguments: list[str]) -> None:
    """Run Lightning's ``test``."""
    start("test", arguments)
