"""Train classifiers on generated images, test them on real ones."""

import lightning_gans.data  # noqa: F401 - found by short names
from lightning_gans.commands.parsing import call
from lightning_gans.metrics.fitting_capacity import score_checkpoint


def run(arguments: list[str]) -> None:
    """Run ``fitting-capacity`` with arguments from the command line."""
    call(score_checkpoint, arguments)
