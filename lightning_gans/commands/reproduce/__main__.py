"""The process of one cell: it reads from standard input what to run; its argument is the cell's folder."""

import json
import sys
from pathlib import Path

from lightning_gans.commands.reproduce.cells import main
from lightning_gans.commands.reproduce.tables import Cell

sys.exit(main(Cell("", "", -1, json.load(sys.stdin), Path(sys.argv[1]))))
