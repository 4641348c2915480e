"""A cell's own process: told on standard input what to run, in the folder that is its argument."""

import json
import sys
from pathlib import Path

from lightning_gans.commands.reproduce.cells import main
from lightning_gans.commands.reproduce.tables import Cell

sys.exit(main(Cell("", "", -1, json.load(sys.stdin), Path(sys.argv[1]))))
