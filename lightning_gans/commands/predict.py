"""Generate through Lightning's predict loop."""

from lightning_gans.commands.fit import start


def run(arguments: list[str]) -> None:
    """Run Lightning's ``predict``."""
    start("predict", arguments)
