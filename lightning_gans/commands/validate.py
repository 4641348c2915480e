"""Log the losses on the validation data, and the scores of Evaluate."""

from lightning_gans.commands.fit import start


def run(arguments: list[str]) -> None:
    """Run Lightning's ``validate``."""
    start("validate", arguments)
