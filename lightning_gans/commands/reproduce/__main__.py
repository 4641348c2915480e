"""A cell's own process: told on standard input what to run, in the folder that is its argument."""

import json
import sys
from pathlib import Path

from lightning_gans.commands.reproduce.cells import main

told = json.load(sys.stdin)
sys.exit(main(Path(sys.argv[1]), told["identity"], told["config"]))
