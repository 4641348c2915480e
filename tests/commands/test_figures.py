"""Pictures of a table's trainings, of runs that are made up."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure as Canvas
from PIL import Image

from lightning_gans.commands.reproduce import figures as module
from lightning_gans.commands.reproduce.figures import draw_samples, figures, stored
from lightning_gans.commands.reproduce.plot import curves_of, draw, draw_curves
from lightning_gans.commands.reproduce.results import Figure, Results
from lightning_gans.commands.reproduce.tables import Grid, load_table

TABLE = {
    "title": "A table",
    "source": "none",
    "columns": {
        "modes": {"score": "modes", "better": "high"},
        "best": {"score": "fid", "over": "min", "better": "low"},
        "worst": {"score": "fid", "over": "max", "better": "low"},
    },
    "data": {"ring": {}},
    "rows": {name: {"recipe": "gan/ring", "published": None} for name in ("GAN", "WGAN")},
    "budgets": {"quick": {"describe": "Nothing.", "seeds": [0, 1]}},
}


def results_of(unfinished=(), **changes) -> Results:
    """Return the results of a table whose runs have all finished."""
    Path("small.yaml").write_text(yaml.safe_dump({**TABLE, **changes}, sort_keys=False))
    table = load_table("small.yaml")
    grid = Grid(table, table.budgets["quick"], Path("runs"))
    column = next(iter(table.columns.values()))
    states = {cell: "failed" if cell.title in unfinished else "finished" for cell in grid.cells()}
    return Results(grid, [Figure(cell, column, now) for cell, now in states.items()])


def version(cell, number=0) -> Path:
    return cell.folder / f"runs/fit/version_{number}"


def write_lines(cell, lines):
    version(cell).mkdir(parents=True)
    protocol = {"name": None, "samples": 9, "protocol": {}}
    texts = [json.dumps({**protocol, **line}) + "\n" for line in lines]
    (version(cell) / "evaluations.jsonl").write_text("".join(texts))


def write_points(cell, updates, number=0, value=0.0):
    folder = version(cell, number) / "samples"
    folder.mkdir(parents=True)
    for update in updates:
        points = np.full((3, 2), value, np.float32)
        np.savez(folder / f"update={update:08d}.npz", fake=points, real=np.eye(2, dtype=np.float32))
        Image.new("L", (8, 8)).save(folder / f"update={update:08d}.png")


def data_of(results):
    return next(iter(results.grid.budget.data.values()))


def cells_of(results):
    return {cell.title: cell for cell in dict.fromkeys(x.cell for x in results.figures)}


def test_curves_are_means_over_seeds():
    results = results_of(unfinished=["WGAN, ring, seed 1"])
    for title, cell in cells_of(results).items():
        last = int(title[-1])
        write_lines(
            cell,
            [
                {"update": 100, "modes": 2 + 2 * last, "fid": 9.0, "seconds": 4.0 + 2 * last},
                {"update": 200, "modes": 8, "fid": None if last else 7.0, "seconds": 20.0, "replicas": 2},
            ],
        )
    curves = curves_of(results, data_of(results))
    assert list(curves) == ["modes ↑", "fid ↓"]  # two columns of one score are one curve
    found = [point[:4] for point in curves["modes ↑"]["GAN"]]
    assert found == [(100, 5.0, 3.0, math.sqrt(2)), (200, 10.0, 8.0, 0.0)]
    assert [point[:3] for point in curves["fid ↓"]["GAN"]] == [(100, 5.0, 9.0), (200, 10.0, 7.0)]
    assert [point[:3] for point in curves["modes ↑"]["WGAN"]] == [(100, 4.0, 2.0), (200, 10.0, 8.0)]


@pytest.mark.parametrize(
    ("accelerator", "lacks", "wanted"),
    [("cpu", False, "processor seconds"), ("cuda", False, "seconds"), ("cpu", True, "seconds")],
)
def test_curves_over_seconds(monkeypatch, accelerator, lacks, wanted):
    """Of the processor on a CPU; of the wall clock on a GPU, or if runs of older versions lack the others."""
    results = results_of()
    for title, cell in cells_of(results).items():
        spent = {"seconds": 40.0, "replicas": 2}
        spent |= {} if lacks and title == "WGAN, ring, seed 1" else {"processor_seconds": 10.0}
        write_lines(cell, [{"update": update, "modes": 1.0, **spent} for update in (1, 2)])
        (cell.folder / "status.json").write_text(json.dumps({"accelerator": accelerator}))
    labels = []
    monkeypatch.setattr(
        Canvas, "savefig", lambda self, *_, **__: labels.extend(x.get_xlabel() for x in self.axes)
    )
    draw_curves(results, data_of(results))
    assert labels == ["generator updates", f"{wanted} of training"]
    seconds = {x.seconds for x in curves_of(results, data_of(results))["modes ↑"]["GAN"]}
    assert seconds == {5.0 if wanted == "processor seconds" else 20.0}


def test_runs_that_end_by_time(monkeypatch):
    """Their updates differ: the first evaluations are a point, and the second ones another."""
    results = results_of()
    for title, cell in cells_of(results).items():
        last = int(title[-1])
        lines = [
            {"update": (50 + 10 * last) * n, "modes": 2.0 * n, "fid": 900.0 / 40**n, "seconds": n}
            for n in (1, 2)
        ]
        write_lines(cell, lines)
    curves = curves_of(results, data_of(results))
    assert [(x.update, x.mean) for x in curves["modes ↑"]["GAN"]] == [(55, 2), (110, 4)]
    scales = {}
    monkeypatch.setattr(
        Canvas,
        "savefig",
        lambda self, *args, **options: scales.update(
            (x.get_title("left"), x.get_yscale()) for x in self.axes
        ),
    )
    draw_curves(results, data_of(results))
    assert scales["modes ↑"] == "linear"
    assert scales["fid ↓"] == "log"


def test_curves_over_labels(monkeypatch):
    """Of a run in which labels are added; a score without their number is drawn over updates only."""
    columns = {
        name: {"score": "fitting_capacity", "scale": 100, "at": at} for name, at in (("start", 1), ("end", 2))
    }
    results = results_of(columns={**columns, "modes": {"score": "modes"}})
    for title, cell in cells_of(results).items():
        rows = zip((100, 150, 200), (10, 10, 12), (0.25, 0.5, 0.75), strict=True)
        lines = [
            {"update": update, "labels": labels, "fitting_capacity": score + int(title[-1]) / 8}
            for update, labels, score in rows
        ]
        write_lines(cell, [*lines, *({"update": update, "modes": 1.0, "name": "b"} for update in (1, 2))])
    curves = curves_of(results, data_of(results))
    assert list(curves) == ["fitting_capacity", "modes"]
    points = [(x.update, x.labels, x.mean) for x in curves["fitting_capacity"]["GAN"]]
    assert points == [(100, 10, 31.25), (150, 10, 56.25), (200, 12, 81.25)]
    drawn = []

    def savefig(self, *args, **options):
        drawn.extend((x.get_xlabel(), [line.get_xydata().tolist() for line in x.lines]) for x in self.axes)

    monkeypatch.setattr(Canvas, "savefig", savefig)
    draw_curves(results, data_of(results))
    over_labels = [lines for label, lines in drawn if label == "labelled training samples"]
    assert over_labels[0] == [[[10, 56.25], [12, 81.25]]] * 2  # the last score of each number; a line a row
    assert [label for label, _ in drawn].count("generator updates") == 2


def test_columns_of_one_baseline_share_a_panel(monkeypatch):
    """Over their names, with a line a run and one of the means; what a run lacks interrupts its line."""
    columns = {
        "plain": {"score": "modes"},
        "other": {"score": "fid"},
        "p = 0.5": {"score": "modes", "baseline": "plain"},
    }
    results = results_of(columns=columns)
    known = results.grid.table.columns
    values = {("GAN", 0): [1, 2], ("GAN", 1): [3, 6], ("WGAN", 0): [5, None], ("WGAN", 1): [7, 9]}
    figures = [
        Figure(cell, known[name], "finished", value)
        for cell in cells_of(results).values()
        for name, value in zip(("plain", "p = 0.5"), values[cell.row, cell.seed], strict=True)
    ]
    drawn = {}

    def savefig(self, *args, **options):
        drawn.update({axis.get_title("left").strip(): axis for axis in self.axes if axis.get_visible()})

    monkeypatch.setattr(Canvas, "savefig", savefig)
    draw(Results(results.grid, figures))
    assert list(drawn) == ["modes", "other"]
    axis = drawn["modes"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["plain", "p = 0.5"]
    lines = [list(line.get_ydata()) for line in axis.lines if len(line.get_ydata()) == 2]
    assert lines[:3] == [[1, 2], [3, 6], [2, 4]]
    assert [line[0] for line in lines[3:]] == [5, 7, 6]
    assert math.isnan(lines[3][1])
    assert lines[5][1] == 9


def test_one_evaluation_makes_no_curve():
    results = results_of()
    for cell in cells_of(results).values():
        write_lines(cell, [{"update": 100, "modes": 2.0}])
    assert draw_curves(results, data_of(results)) is None


def test_updates_are_chosen_evenly_and_the_last_is_among_them():
    cell = cells_of(results_of())["GAN, ring, seed 0"]
    assert stored(cell) == {}
    write_points(cell, range(0, 10_001, 500))
    assert list(stored(cell)) == [2000, 4000, 6000, 8000, 10_000]


def test_what_a_resumed_run_repeated_counts_once():
    cell = cells_of(results_of())["GAN, ring, seed 0"]
    write_points(cell, [0, 10, 20])
    write_points(cell, [20, 30], number=1)
    assert {update: path.parent.parent.name for update, path in stored(cell).items()} == {
        10: "version_0",
        20: "version_1",
        30: "version_1",
    }


def test_an_untrained_game_is_drawn_if_there_is_no_other():
    cell = cells_of(results_of())["GAN, ring, seed 0"]
    write_points(cell, [0])
    assert list(stored(cell)) == [0]


def test_samples_of_one_run_a_row(monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "draw_histories", lambda *what: drawn.append(what) or Image.new("L", (1, 1)))
    results = results_of(unfinished=["WGAN, ring, seed 0"])
    for number, cell in enumerate(cells_of(results).values()):
        write_points(cell, [0, 10], value=float(number))
    assert draw_samples(results, data_of(results))[0] == "points"
    histories, title, real = drawn[0]
    assert {name: list(found) for name, found in histories.items()} == {"GAN": [10], "WGAN": [10]}
    assert histories["GAN"][10][0, 0] == 0.0  # of seed 0
    assert histories["WGAN"][10][0, 0] == 3.0  # of seed 1: the other has not finished
    assert title == "A table\nring; budget quick; one run a row"
    assert real.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_files_are_named_by_what_they_show(monkeypatch):
    monkeypatch.setattr(module, "draw", lambda results: b"plot")
    results = results_of(data={"ring": {}, "a grid": {}})
    cells = cells_of(results)
    write_lines(cells["GAN, ring, seed 0"], [{"update": 1, "modes": 1.0}, {"update": 2, "modes": 2.0}])
    write_points(cells["GAN, a grid, seed 0"], [10])
    for path in version(cells["GAN, a grid, seed 0"]).rglob("*.npz"):
        path.unlink()  # pictures are left
    found = dict(figures(results))
    assert list(found) == ["plot.png", "curves-ring.png", "images-a-grid.png"]
    assert all(content.startswith(b"\x89PNG") for name, content in found.items() if name != "plot.png")


def test_a_damaged_file_leaves_the_other_pictures(monkeypatch):
    monkeypatch.setattr(module, "draw", lambda results: b"plot")
    results = results_of()
    cell = cells_of(results)["GAN, ring, seed 0"]
    write_points(cell, [10])
    (version(cell) / "samples/update=00000010.npz").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="the samples of ring are not drawn: .*update=00000010.npz"):
        assert [name for name, _ in figures(results)] == ["plot.png"]
