"""The process of a run: it reads from standard input what to run; its argument is the run's folder."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from lightning_gans.commands.reproduce.cells import main
from lightning_gans.commands.reproduce.tables import Cell

cell, *members = (
    Cell("", "", config["seed_everything"], config, Path(folder)) for config, folder in json.load(sys.stdin)
)
sys.exit(main(replace(cell, members=tuple(members))))
