"""Draw a game's own estimate of the distance beside FID over training, from the runs of a table.

    lightning-gans reproduce wgan-estimate
    python benchmarks/wgan_estimate.py runs/tables/wgan-estimate/quick WGAN WGAN-GP GAN --out estimate.png

A panel a row of the table; a line a seed.
"""

import argparse
import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE = "#2166ac", "#e6550d"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, help="folder of a table's budget")
    parser.add_argument("rows", nargs="+", help="folders of its rows")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    figure = Figure(figsize=(3.6 * len(options.rows), 3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axis, row in zip(figure.subplots(1, len(options.rows), squeeze=False)[0], options.rows, strict=True):
        other = axis.twinx()
        for path in sorted((options.table / row).glob("*/seed=*/runs/fit/version_*/evaluations.jsonl")):
            lines = [line for x in path.read_text().splitlines() if "fid" in (line := json.loads(x))]
            updates = [line["update"] for line in lines]
            axis.plot(updates, [line["estimate"] for line in lines], color=BLUE, linewidth=1)
            other.semilogy(updates, [line["fid"] for line in lines], color=ORANGE, linewidth=1)
        axis.set_title(row)
        axis.set_xlabel("generator updates")
        axis.tick_params(axis="y", colors=BLUE)
        other.tick_params(axis="y", which="both", colors=ORANGE)
    figure.axes[0].set_ylabel("the game's estimate", color=BLUE)
    figure.axes[-1].set_ylabel("FID", color=ORANGE)
    figure.savefig(options.out)


if __name__ == "__main__":
    main()
