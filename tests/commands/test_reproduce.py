"""Tables of papers: what is read, run, skipped, gathered and shown, mostly with runs that are made up."""

import csv
import importlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock
from PIL import Image

from lightning_gans import metrics
from lightning_gans.callbacks.evaluate import SCORES
from lightning_gans.commands.lightning_cli import fit_parser
from lightning_gans.commands.recipes import recipes_folder
from lightning_gans.commands.reproduce import cells as cells_module
from lightning_gans.commands.reproduce import reproduce
from lightning_gans.commands.reproduce import run as command
from lightning_gans.commands.reproduce.cells import Cell, evaluations, read_status, run, state
from lightning_gans.commands.reproduce.plot import draw
from lightning_gans.commands.reproduce.results import measure, over, summary
from lightning_gans.commands.reproduce.tables import (
    Column,
    cells_of,
    load_table,
    merge,
    read_yaml,
    table_names,
)

package = importlib.import_module("lightning_gans.commands.reproduce")

TABLE = """
title: A small table
source: A paper, table 1
columns:
  modes: {score: modes, better: high, digits: 1}
  quality: {score: high_quality, over: max, better: high}
data:
  ring: {}
rows:
  GAN: {recipe: gan/ring, published: {ring: {modes: 3, quality: [0.5, 0.1]}}}
  WGAN: {recipe: wgan/ring, published: {ring: {modes: 7, quality: null}}, set: {model.clip: 0.2}}
  MMD: {published: {ring: {modes: 5.5, quality: null}}}
budgets:
  quick:
    describe: Four updates.
    comparable: false
    note: nothing is learned in four updates.
    seeds: [0, 1]
    seconds: 30
    set:
      trainer: {max_steps: 4, limit_val_batches: 0}
      trainer.callbacks:
        - class_path: Evaluate
          init_args: {metrics: [ModeCoverage], num_samples: 50, every_n_updates: 2}
      samples.every_n_updates: 4
      checkpoint.every_n_updates: 1
  paper: {describe: As in the paper., comparable: true, seeds: [0, 1, 2], rows: {GAN: {seconds: 600}}}
"""
OUT = Path("runs/tables/small/quick")


def evaluate(name, metrics=("ModeCoverage",)) -> dict:
    metrics = list(metrics) if isinstance(metrics, tuple) else metrics
    return {"class_path": "Evaluate", "init_args": {"name": name, "metrics": metrics}}


def write_table(**changes) -> str:
    """Write the table with other entries at dotted places; None removes one."""
    table = yaml.safe_load(TABLE)
    for place, value in changes.items():
        *parents, last = place.split("__")
        node = table
        for name in parents:
            node = node[name]
        if value is None:
            del node[last]
        else:
            node[last] = value
    Path("small.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
    return "small.yaml"


def option(arguments, name):
    return arguments[arguments.index(name) + 1]


@pytest.fixture
def runs(monkeypatch):
    """Runs in this process that only write scores: modes = 2 * seed for GAN, 8 for WGAN."""
    made = []

    def fit(arguments):
        folder = Path(option(arguments, "--trainer.default_root_dir"))
        config = yaml.safe_load(Path(option(arguments, "--config")).read_text())
        made.append(folder.relative_to(OUT).as_posix())
        if failing and folder.name == failing[0]:
            print("lightning-gans: it went wrong", file=(folder / "log.txt").open("a"))
            raise SystemExit(2)
        seed, model = config["seed_everything"], config["model"]["class_path"]
        modes = 2 * seed if model == "GAN" else 8
        place = folder / "runs" / "fit" / f"version_{len(list(folder.glob('runs/fit/*')))}"
        place.mkdir(parents=True)
        lines = [
            {"update": update, "name": None, "samples": 50, "real_samples": None, "modes": modes / update,
             "high_quality": update / 10, "protocol": {"weights": "raw", "seed": 0}}
            for update in (1, 2)
        ]  # fmt: skip
        lines[-1]["modes"] = float(modes)
        (place / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def run_here(cells, jobs, done):
        for cell in cells:
            code = cells_module.main(cell.folder, cell.identity, cell.config)
            done(cell, "running" if code == cells_module.BUSY else state(cell), code, 1.0)

    failing: list[str] = []
    monkeypatch.setattr("lightning_gans.commands.main.main", fit)
    monkeypatch.setattr(package, "run", run_here)
    monkeypatch.setattr(cells_module, "_speak_into", lambda path: path.touch())
    made_runs = type("Runs", (), {"made": made, "failing": failing})
    return made_runs


def results():
    with (OUT / "results.csv").open() as file:
        return {(x["row"], int(x["seed"] or -1), x["column"]): x for x in csv.DictReader(file)}


# ---------------------------------------------------------------------- what a run is told


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ({"trainer.max_steps": 5}, {"trainer": {"max_steps": 5, "callbacks": [1, 2]}}),
        ({"trainer": {"callbacks": [3]}}, {"trainer": {"max_steps": 9, "callbacks": [3]}}),
        ({"model.latent.dim": 7}, {"latent": {"class_path": "Normal", "init_args": {"dim": 7, "low": 0}}}),
        (
            {"model.latent": {"dim": 7}},
            {"latent": {"class_path": "Normal", "init_args": {"dim": 7, "low": 0}}},
        ),
        ({"model": {"init_args": {"latent": {"class_path": "U"}}}}, {"latent": {"class_path": "U"}}),
        (
            {"model.latent.class_path": "U"},
            {"latent": {"class_path": "U", "init_args": {"dim": 2, "low": 0}}},
        ),
        ({"model.generator.width": 3}, {"generator": {"class_path": "G", "init_args": {"width": 3}}}),
        ({"model.clip": None}, {"clip": None}),
        ({"samples.every": 2}, {"samples": {"every": 2}}),
        ({"model": {"class_path": "LSGAN"}}, {"model": {"class_path": "LSGAN"}}),
    ],
)
def test_overrides(overrides, wanted):
    config = {
        "model": {
            "class_path": "GAN",
            "init_args": {
                "latent": {"class_path": "Normal", "init_args": {"dim": 2, "low": 0}},
                "generator": "G",
            },
        },
        "trainer": {"max_steps": 9, "callbacks": [1, 2]},
    }
    merge(config, overrides)
    found = {**config["model"].get("init_args", {}), **config}
    assert {key: found[key] for key in wanted} == wanted


def test_overrides_through_a_plain_value():
    with pytest.raises(ValueError, match=r"trainer.callbacks.0 leads through callbacks, which is \[1\]"):
        merge({"trainer": {"callbacks": [1]}}, {"trainer.callbacks.0": 2})


def test_later_overrides_win():
    """Recipe, table, data set, row, budget, and the budget's row."""
    places = ["set", "data__ring", "rows__WGAN", "budgets__quick", "budgets__quick__rows__WGAN"]
    for last in range(len(places)):
        changes = {"rows__WGAN__set": {}, "budgets__quick__rows": {"WGAN": {}}, "data__ring": {"set": {}}}
        quick = yaml.safe_load(TABLE)["budgets"]["quick"]["set"]
        for number, place in enumerate(places[: last + 1]):
            own = quick if place == "budgets__quick" else {}
            changes[place if place == "set" else f"{place}__set"] = {**own, "model.clip": 10 + number}
        table = load_table(write_table(**changes))
        for cell in cells_of(table, table.budgets["quick"], Path()):
            if cell.row == "WGAN":
                assert cell.config["model"]["init_args"]["clip"] == 10 + last
            assert cell.config["trainer"]["max_steps"] == 4


def test_identity_is_of_what_the_run_is_told():
    table = load_table(write_table())
    first = cells_of(table, table.budgets["quick"], Path())
    assert [cell.identity for cell in first] == [
        cell.identity for cell in cells_of(table, table.budgets["quick"], Path("elsewhere"))
    ]
    assert len({cell.identity for cell in first}) == 4
    other = load_table(write_table(columns__modes={"score": "modes", "digits": 3}))
    assert [x.identity for x in cells_of(other, other.budgets["quick"], Path())] == [
        x.identity for x in first
    ]
    other = load_table(write_table(rows__WGAN__set={"model.clip": 0.3}))
    same = [
        x.identity == y.identity
        for x, y in zip(first, cells_of(other, other.budgets["quick"], Path()), strict=True)
    ]
    assert same == [True, False, True, False]


def test_numbers_as_people_write_them():
    Path("a.yaml").write_text("lr: 1e-3\nname: 1e\n")
    assert read_yaml(Path("a.yaml")) == {"lr": 0.001, "name": "1e"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows__GAN__recipe": "gan/rnig"}, "rows.GAN.recipe: gan/rnig is neither a file nor a recipe: did"),
        ({"columns__modes__score": "modez"}, "score=modez is not computed by GAN on ring"),
        ({"columns__fid": {"score": "fid"}}, "published.ring.fid is missing"),
        ({"columns__quality": None}, "quality is unknown: use modes"),
        ({"rows__GAN__published": None}, "rows.GAN: published is missing: give the paper's figures, or null"),
        ({"rows__GAN__published__ring": None, "rows__GAN__published__disc": {}}, "disc is unknown: use ring"),
        ({"rows__GAN__published__ring__quality": None}, "published.ring.quality is missing"),
        ({"rows__GAN__published__ring__quality": [1, 2, 3]}, "give a figure, or [figure, deviation]"),
        ({"rows__GAN__published__ring__quality": "0.5?"}, "is '0.5?': give a number"),
        ({"rows__GAN__sett": {}}, "rows.GAN: sett is unknown: did you mean set?"),
        ({"rows__g-a-n": {}, "rows__g a n": {}}, "g-a-n and g a n would share the folder g-a-n"),
        ({"titel": "A table"}, "titel is unknown: did you mean title?"),
        ({"title": None}, "title is missing"),
        ({"budgets__quick__seeds": []}, "budgets.quick: seeds is missing"),
        ({"budgets__quick__seeds": [1, 1]}, "has one twice"),
        ({"budgets__quick__seeds": [-1]}, "give a list of numbers, from 0"),
        ({"budgets__quick__comparable": None}, "comparable=None: say true or false"),
        ({"budgets__quick__note": None}, "note is missing: say why"),
        ({"budgets__quick__rows": {"WGANN": {}}}, "WGANN is unknown: did you mean WGAN?"),
        ({"budgets__quick__data": {"a": {"stands_for": "rnig"}}}, "stands_for=rnig is unknown: did you mean"),
        ({"columns__modes__over": "median"}, "over=median is unknown: use last, min"),
        ({"columns__modes__better": "up"}, "better=up is unknown: use high or low"),
        ({"columns__modes__class": -1}, "class=-1: give its number"),
        ({"budgets__quick__set": {"trainer.callbacks.a": 1}}, "trainer.callbacks.a leads through callbacks"),
        ({"rows": ["GAN"]}, "rows is ['GAN']: give names with values below it"),
        ({"columns__modes__score": "modes_typo"}, "score=modes_typo is not computed by GAN"),
        ({"columns__modes__score": 5}, "columns.modes: score=5: give its name"),
        ({"columns__modes__class": 2}, "class=2: modes is one score of all classes, leave class out"),
        ({"columns__modes__class": True}, "class=True: give its number"),
        ({"columns__modes__from": 0}, "from=0: give the first evaluation that counts, from 1"),
        ({"budgets__quick__set__trainer.callbacks": [evaluate("a"), evaluate("b")]},
         "several Evaluate callbacks of GAN on ring with budget quick compute modes: say evaluate: a or b"),
        ({"budgets__quick__set__trainer.callbacks": [evaluate("a", ["ModifiedIS"])],
          "columns__modes__score": "mis_per_class"}, "is a score of each class: say class, from 0"),
        ({"budgets__quick__set__trainer.callbacks": [evaluate("a", "FID")]}, "is 'FID': give a list"),
        ({"budgets__quick__set__trainer.callbacks": [evaluate("a", [{"a": 1}])]}, "give a class_path"),
        ({"notes": "one"}, "notes is 'one': give a list"),
        ({"budgets__quick__seeds": [True]}, "give a list of numbers, from 0"),
        ({"budgets__quick__seconds": -3}, "budgets.quick.seconds is -3: give a number from 0"),
        ({"rows__GAN__published__ring__quality": [0.5, -1]}, "quality is -1: give a number from 0"),
        ({"budgets__quick__data": {}}, "budgets.quick.data is empty: name one at least"),
        ({"rows__GAN__recipe": "tables/realness-toy"}, "tables/realness-toy is neither a file nor a recipe"),
        ({"rows__GAN__recipe": 5}, "rows.GAN.recipe is 5: give a recipe's name"),
        ({"rows__GAN__set": {"seed_everything": 7}}, "rows.GAN.set: seed_everything is each run's own"),
    ],
)  # fmt: skip
def test_bad_tables(changes, message):
    with pytest.raises(ValueError, match=r"^table small: ") as caught:
        load_table(write_table(**changes))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_given_twice():
    Path("twice.yaml").write_text(TABLE.replace("  MMD:", "  GAN:"))
    with pytest.raises(ValueError, match="GAN is given twice"):
        load_table("twice.yaml")


def test_files_that_are_no_tables():
    Path("broken.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"broken\.yaml is no YAML"):
        load_table("broken.yaml")
    Path("list.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match="table list: the file is"):
        load_table("list.yaml")
    with pytest.raises(FileNotFoundError, match="neither a file nor a table: did you mean realness-toy"):
        load_table("realness-toi")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: table"),
        (["small.yaml", "--budget", "quik"], "budget=quik is unknown: did you mean quick?"),
        (["small.yaml", "--only", "GANN"], "only=GANN is unknown: did you mean GAN?"),
        (["small.yaml", "--only", "MMD"], "only=MMD: it is published only"),
        (["small.yaml", "--data", "rnig"], "data=rnig is unknown: did you mean ring?"),
        (["small.yaml", "--jobs", "0"], "jobs=0: give the number of processes"),
        (["small.yaml", "--seeds", "-1"], "seeds"),
        (["small.yaml", "--dry-run", "--as-sweep"], "give one of them"),
        (["small.yaml", "--dryrun"], "unrecognized arguments: --dryrun"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, message):
    write_table()
    with pytest.raises(ValueError, match=re.escape(message)):
        command(arguments)
    assert not Path("runs").exists()


# ---------------------------------------------------------------------- known answers


def made_up(*versions) -> Cell:
    """A cell whose run was started several times, with these evaluations: (update, scores)."""
    cell = Cell("GAN", "ring", 0, {}, Path("cell"), None)
    for number, lines in enumerate(versions):
        place = cell.folder / "runs" / "fit" / f"version_{number}"
        place.mkdir(parents=True)
        text = [
            {"name": None, "samples": 9, "protocol": {}, "update": update, **scores}
            for update, scores in lines
        ]
        (place / "evaluations.jsonl").write_text("\n".join(map(json.dumps, text)))
    return cell


def figure(cell, column):
    return measure(cell, "finished", [column])[0]


@pytest.mark.parametrize(
    ("how", "wanted"), [("last", 4), ("min", 1), ("max", 7), ("mean", 4), ("sd", 6**0.5)]
)
def test_over_the_evaluations(how, wanted):
    assert over(how, [1, 7, 4]) == pytest.approx(wanted)
    cell = made_up([(10, {"fid": 1.0}), (20, {"fid": 7.0}), (30, {"fid": 4.0}), (31, {"is": 2.0})])
    found = figure(cell, Column("FID", "fid", over=how))
    assert found.value == pytest.approx(wanted)
    assert found.evaluations == (1 if how == "last" else 3)


def test_over_seeds():
    assert summary([]) is None
    assert summary([1, 2, 6]) == pytest.approx((3, math.sqrt(7)))  # of a sample: 4 + 1 + 9 over 2
    mean, deviation = summary([5])
    assert mean == 5
    assert math.isnan(deviation)


def test_a_class_of_a_score():
    cell = made_up([(5, {"mis_per_class": [1.5, None, 2.5]})])
    values = [figure(cell, Column("c", "mis_per_class", of_class=k)).value for k in range(3)]
    assert values == [1.5, None, 2.5]
    for which in (None, 3):
        found = figure(cell, Column("c", "mis_per_class", of_class=which))
        assert found.value is None
        assert found.problem == f"mis_per_class has classes 0 to 2, and class is {which}"


def test_scores_that_could_not_be_computed():
    """A smallest or mean of the others would be another figure than the column says."""
    cell = made_up([(1, {"mis": None}), (2, {"mis": 2.0})])
    assert figure(cell, Column("c", "mis")).value == 2
    assert figure(cell, Column("c", "mis", over="min")).value is None
    assert figure(cell, Column("c", "fid")).value is None


def test_a_killed_run_counts_once():
    """Its continuation evaluates again what came after the checkpoint; a torn line is no line."""
    cell = made_up([(10, {"fid": 5.0}), (20, {"fid": 4.0})], [(20, {"fid": 4.0}), (30, {"fid": 3.0})])
    with (cell.folder / "runs/fit/version_0/evaluations.jsonl").open("a") as file:
        file.write('\n{"update": 25, "na')
    assert [line["update"] for line in evaluations(cell.folder)] == [10, 20, 30]
    assert figure(cell, Column("c", "fid", over="mean")).value == 4


def test_several_evaluate_callbacks():
    cell = made_up([(1, {"fid": 1.0, "name": "train"}), (1, {"fid": 2.0, "name": "test"})])
    assert figure(cell, Column("c", "fid", evaluate="test")).value == 2
    found = figure(cell, Column("c", "fid"))
    assert found.value is None
    assert found.problem == "fid is of several callbacks (test, train)"


def test_from_an_evaluation_on():
    cell = made_up([(10, {"fid": 9.0}), (20, {"fid": 7.0}), (30, {"fid": 4.0})])
    found = figure(cell, Column("c", "fid", over="mean", first=2))
    assert (found.value, found.evaluations) == (5.5, 2)
    assert figure(cell, Column("c", "fid", first=4)).problem == "there is no fid in its evaluations"


# ---------------------------------------------------------------------- what is run


def test_everything_is_run_once(runs, capsys):
    reproduce(write_table())
    assert runs.made == ["GAN/ring/seed=0", "WGAN/ring/seed=0", "GAN/ring/seed=1", "WGAN/ring/seed=1"]
    said = capsys.readouterr().out
    assert "small, budget quick: 4 runs, about 2 min" in said
    assert "[2/4] WGAN, ring, seed 0: 1 s, modes 8.0, quality 0.20; about" in said
    reproduce("small.yaml")
    assert len(runs.made) == 4
    assert "runs" not in capsys.readouterr().out.split("table.md")[0].replace("runs/tables", "")
    rows = results()
    assert [float(rows["GAN", seed, "modes"]["measured"]) for seed in (0, 1)] == [0, 2]
    line = rows["GAN", 1, "quality"]
    wanted = {"measured": "0.2", "published": "0.5", "published_sd": "0.1", "comparable": "false",
              "state": "finished", "update": "2", "evaluations": "2", "samples": "50",
              "folder": "GAN/ring/seed=1"}  # fmt: skip
    assert {name: line[name] for name in wanted} == wanted
    assert float(line["seconds"]) > 0


def test_some_rows_and_seeds(runs):
    reproduce(write_table(), only=["GAN"], seeds=[1])
    assert runs.made == ["GAN/ring/seed=1"]
    assert results()["WGAN", 1, "modes"]["state"] == "missing"
    assert "(1 of 2 seeds)" in (OUT / "table.md").read_text()
    reproduce("small.yaml", only=["GAN"], seeds=[5])  # one more than the budget's
    assert runs.made[1:] == ["GAN/ring/seed=5"]
    reproduce("small.yaml")
    assert len(runs.made) == 5
    assert ("WGAN", 5, "modes") not in results()  # a run of one row is no seed of all
    assert "| 4.0 ± 5.3 (3 seeds) |" in (OUT / "table.md").read_text()
    assert results()["GAN", 5, "modes"]["measured"] == "10.0"
    assert "5 of 5 runs finished (seeds 0, 1, 5)" in (OUT / "table.md").read_text()


def test_the_table(runs):
    reproduce(write_table())
    text = (OUT / "table.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == [
        "|  | modes ↑ | published | quality ↑ | published |",
        "| --- | --: | --: | --: | --: |",
        "| GAN | 1.0 ± 1.4 | 3.0 | 0.20 ± 0.00 | 0.50 ± 0.10 |",
        "| WGAN | **8.0 ± 0.0** | 7.0 | 0.20 ± 0.00 | – |",  # noqa: RUF001
        "| MMD | missing | 5.5 | missing | – |",  # noqa: RUF001
    ]
    for words in (
        "**Not comparable with the published figures:** nothing is learned in four updates.",
        "4 of 4 runs finished (seeds 0, 1)",
        "50 samples, weights raw",
        "MMD: published only.",
        "lightning-gans reproduce small.yaml --budget quick",
        "torch",
    ):
        assert words in text
    assert Image.open(OUT / "plot.png").size[0] > 300


def test_a_failed_cell(runs, capsys):
    """It is kept and reported, and the others are run; the next call tries it again."""
    runs.failing.append("seed=0")
    with pytest.raises(OSError, match=r"2 of 4 runs failed: GAN, ring, seed 0 \(it went wrong\); WGAN"):
        reproduce(write_table())
    assert "[1/4] GAN, ring, seed 0: failed, it went wrong; see" in capsys.readouterr().out
    assert read_status(OUT / "GAN/ring/seed=0")["error"] == "it went wrong"
    assert results()["GAN", 0, "modes"]["measured"] == ""
    assert results()["GAN", 1, "modes"]["measured"] == "2.0"
    text = (OUT / "table.md").read_text()
    assert "2 failed" in text
    assert "| 2.0 (1 of 2 seeds) |" in text
    assert "**" not in text.split("## ring")[1].split("- ")[0]  # nothing is ahead of what has other seeds
    runs.failing.clear()
    reproduce("small.yaml")
    assert runs.made[4:] == ["GAN/ring/seed=0", "WGAN/ring/seed=0"]
    assert "4 of 4 runs" in (OUT / "table.md").read_text()


def test_a_run_without_scores_has_failed(runs, monkeypatch):
    monkeypatch.setattr("lightning_gans.commands.main.main", lambda arguments: None)
    with pytest.raises(OSError, match="4 of 4 runs failed"):
        reproduce(write_table())


def test_runs_scored_in_different_ways(runs):
    reproduce(write_table())
    path = OUT / "GAN/ring/seed=1/runs/fit/version_0/evaluations.jsonl"
    path.write_text(
        path.read_text().replace('"samples": 50', '"samples": 70').replace('"modes": 2.0', '"modes": null')
    )
    reproduce("small.yaml")
    text = (OUT / "table.md").read_text()
    assert "- ring: 50 samples, weights raw; or 70 samples, weights raw. **Not all runs" in text
    assert "| GAN | 0.0 (1 of 2 seeds) |" in text
    path = OUT / "GAN/ring/seed=0/runs/fit/version_0/evaluations.jsonl"
    path.write_text(path.read_text().replace('"modes": 0.0', '"modes": null'))
    reproduce("small.yaml")
    text = (OUT / "table.md").read_text()
    assert "| GAN | no score |" in text
    assert (
        "No score for modes: modes could not be computed in each evaluation (GAN, ring, seed 0; GAN" in text
    )


def test_what_a_changed_table_leaves_behind(runs):
    """Only what is told otherwise is run again; the old run is kept, and not shown."""
    reproduce(write_table())
    changed = {"rows__WGAN__set": {"model.clip": 0.3}}
    reproduce(write_table(**changed), only=["GAN"])
    assert len(runs.made) == 4
    assert results()["WGAN", 0, "modes"]["state"] == "stale"
    assert results()["WGAN", 0, "modes"]["measured"] == ""
    assert "2 stale" in (OUT / "table.md").read_text()
    reproduce("small.yaml")
    assert runs.made[4:] == ["WGAN/ring/seed=0", "WGAN/ring/seed=1"]
    old = yaml.safe_load((OUT / "WGAN/ring/seed=0.stale-1/config.yaml").read_text())
    assert old["model"]["init_args"]["clip"] == 0.2
    assert results()["WGAN", 0, "modes"]["state"] == "finished"


def test_a_cell_that_another_process_runs(runs, capsys):
    table = load_table(write_table())
    cell = cells_of(table, table.budgets["quick"], OUT)[0]
    cell.folder.mkdir(parents=True)
    with FileLock(cell.folder.parent / ".seed=0.lock"):
        assert state(cell) == "running"
        reproduce("small.yaml", only=["GAN"])
        assert runs.made == ["GAN/ring/seed=1"]
        assert cells_module.main(cell.folder, cell.identity, cell.config) == cells_module.BUSY
    assert "1 running" in (OUT / "table.md").read_text()


def test_dry_run(runs, capsys):
    table = write_table()
    reproduce(table, dry_run=True, jobs=2)
    said = capsys.readouterr().out
    assert said.count("  missing      ") == 4
    assert "4 missing: about 60 s to go with 2 jobs" in said
    assert "MMD is published only" in said
    assert not Path("runs").exists()
    reproduce(table, only=["GAN"], seeds=[0])
    status = read_status(OUT / "GAN/ring/seed=0")
    (OUT / "GAN/ring/seed=0/status.json").write_text(json.dumps({**status, "seconds": 200}))
    capsys.readouterr()
    reproduce(table, dry_run=True)
    said = capsys.readouterr().out
    assert "finished     GAN, ring, seed 0\n" in said
    assert "3 missing, 1 finished" in said or "1 finished, 3 missing" in said
    assert "about 4 min to go" in said  # 200 s as measured, and twice 30 s as the table says
    reproduce(table, budget="paper", dry_run=True)
    assert "6 missing: about 60 min to go" in capsys.readouterr().out  # WGAN as long as GAN
    assert runs.made == ["GAN/ring/seed=0"]


def test_bad_settings_are_found_before_anything_runs(runs):
    """By what reads the configuration of fit."""
    for setting, message in (
        ({"model.clipp": 0.2}, r"^WGAN, ring: .*clipp is unknown: did you mean clip"),
        ({"trainer.max_steps": "abc"}, r"^WGAN, ring: trainer.max_steps: .*abc"),
    ):
        table = write_table(budgets__quick__rows={"WGAN": {"set": setting}})
        with pytest.raises(ValueError, match=message) as caught:
            reproduce(table)
        assert "\n" not in str(caught.value)
        reproduce(table, dry_run=True)  # which only counts
    assert runs.made == []


def test_lookers_do_not_see_each_other():
    table = load_table(write_table())
    cell = cells_of(table, table.budgets["quick"], OUT)[0]
    cell.folder.mkdir(parents=True)
    assert state(cell) == "missing"
    lock = cell.folder.parent / ".seed=0.lock"
    assert not lock.exists()
    lock.touch()
    found = set()

    def look():
        found.update(state(cell) for _ in range(200))

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert found == {"missing"}
    with FileLock(lock):
        assert state(cell) == "running"


@pytest.mark.parametrize("text", ["", '{"state": "finis', "\0\0\0", "[1]", "1"])
def test_a_damaged_status(runs, text):
    """As a power cut leaves it: the run is kept aside, and run anew."""
    reproduce(write_table(), cells=["GAN, ring, seed 1"])
    (OUT / "GAN/ring/seed=1/status.json").write_text(text)
    table = load_table("small.yaml")
    assert state(cells_of(table, table.budgets["quick"], OUT)[2]) == "stale"
    reproduce("small.yaml", cells=["GAN, ring, seed 1"])
    assert runs.made == ["GAN/ring/seed=1"] * 2
    assert (OUT / "GAN/ring/seed=1.stale-1/status.json").read_text() == text
    assert results()["GAN", 1, "modes"]["state"] == "finished"


def test_a_place_that_cannot_be_written(runs):
    Path("file").touch()
    with pytest.raises(OSError, match=r"^--out file cannot be written: (Not a directory|File exists)$"):
        reproduce(write_table(), out="file")
    assert runs.made == []


def test_a_process_that_dies_early(runs, capsys, monkeypatch):
    """It has left no log, or none that says why."""
    monkeypatch.setattr(
        package, "run", lambda cells, jobs, done: [done(x, "missing", -9, 1.0) for x in cells]
    )
    with pytest.raises(OSError, match=r"1 of 1 run failed: .* \(its process was ended by SIGKILL\)"):
        reproduce(write_table(), cells=["GAN, ring, seed 1"])
    assert "log.txt" not in capsys.readouterr().out


def test_trouble_before_the_run(monkeypatch, runs, capsys):
    table = load_table(write_table())
    cell = cells_of(table, table.budgets["quick"], OUT)[0]
    cell.folder.parent.mkdir(parents=True)
    cell.folder.touch()  # where its folder should be
    assert cells_module.main(cell.folder, cell.identity, cell.config) == 1
    assert "File exists" in capsys.readouterr().err
    cell.folder.unlink()

    def full(path, content):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(cells_module, "write", full)
        assert cells_module.main(cell.folder, cell.identity, cell.config) == 1
    assert "no space left" in capsys.readouterr().err
    assert (cell.folder / "log.txt").is_file()


def test_a_broken_checkpoint(runs, capsys):
    runs.failing.append("seed=0")
    with pytest.raises(OSError, match="failed"):
        reproduce(write_table(), cells=["GAN, ring, seed 0"])
    runs.failing.clear()
    place = OUT / "GAN/ring/seed=0/runs/fit/version_0/checkpoints"
    place.mkdir(parents=True)
    (place / "last.ckpt").write_bytes(b"torn")
    reproduce("small.yaml", cells=["GAN, ring, seed 0"])
    assert "last.ckpt cannot be read, the run starts anew" in capsys.readouterr().out
    assert "--ckpt_path" not in read_status(OUT / "GAN/ring/seed=0")["command"]


def test_one_bad_column_leaves_the_table(runs):
    """Of a metric that is not ours nothing is known before it runs."""
    callbacks = [evaluate(None, ["ModeCoverage", "torchmetrics.SumMetric"])]
    table = write_table(columns__other={"score": "other"}, set={"trainer.callbacks": callbacks}, **{
        "budgets__quick__set__trainer.callbacks": callbacks,
        "rows__GAN__published__ring__other": 1, "rows__WGAN__published__ring__other": 1,
        "rows__MMD__published__ring__other": 1,
    })  # fmt: skip
    reproduce(table)
    text = (OUT / "table.md").read_text()
    assert "- No score for other: there is no other in its evaluations (GAN, ring, seed 0; WGAN" in text
    assert "| **8.0 ± 0.0** | 7.0 |" in text


def test_what_is_published_only_is_in_the_list(runs):
    reproduce(write_table(), cells=["GAN, ring, seed 0"])
    line = results()["MMD", -1, "modes"]
    assert (line["seed"], line["published"], line["measured"], line["state"]) == ("", "5.5", "", "missing")
    assert ("MMD", -1, "quality") not in results()


def test_the_command_names_no_place(runs, tmp_path):
    path = tmp_path / "elsewhere" / "small.yaml"
    path.parent.mkdir()
    path.write_text(TABLE)
    for out, command_line in (
        ("results", "lightning-gans reproduce small.yaml --budget quick --out results"),
        (str(tmp_path / "absolute"), "lightning-gans reproduce small.yaml --budget quick"),
    ):
        reproduce(str(path), out=out, only=[])
        assert f"```bash\n{command_line}\n```" in (Path(out) / "small/quick/table.md").read_text()


def test_nothing_published_nothing_to_compare(runs):
    """Then whether figures could be compared is not asked."""
    changes = {f"rows__{row}__published": {} for row in ("GAN", "WGAN")}
    reproduce(
        write_table(**changes, rows__MMD=None, budgets__quick__comparable=None), cells=["GAN, ring, seed 0"]
    )
    text = (OUT / "table.md").read_text()
    assert "omparable" not in text
    assert "1 of 4 runs finished (seed 0)." in text
    assert results()["GAN", 0, "modes"]["comparable"] == ""


def texts(name, budget, figures=()):
    """What a plot says."""
    from matplotlib.figure import Figure as Canvas

    said = []
    original = Canvas.savefig

    def savefig(self, *args, **options):
        said.extend(text.get_text() for text in self.findobj(lambda x: hasattr(x, "get_text")))
        original(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Canvas, "savefig", savefig)
        table = load_table(name)
        draw(table, table.budgets[budget], figures)
    return said


def test_missing_runs_in_the_plot(runs):
    """A published figure does not hide that there is no run."""
    write_table()
    assert texts("small.yaml", "paper").count("missing") == 6  # 3 rows, 2 columns
    said = texts("small.yaml", "quick")
    assert "budget quick; no finished run; not comparable with the published figures" in said
    reproduce("small.yaml", cells=["GAN, ring, seed 0"])
    table = load_table("small.yaml")
    figures = package._gather(table, table.budgets["quick"], OUT)
    said = texts("small.yaml", "quick", figures)
    assert "budget quick; one seed; not comparable with the published figures" in said
    assert texts("realness-anchors", "paper").count("missing") == 4 * 4


# ---------------------------------------------------------------------- sweeps


def test_sweep(runs):
    """The grid, as W&B documents it, and the command that its agents call."""
    command([write_table(), "--as-sweep", "--seeds", "0", "1", "2"])
    sweep = yaml.safe_load((OUT / "sweep.yaml").read_text())
    assert set(sweep) == {"program", "name", "description", "method", "metric", "parameters", "command"}
    assert sweep["method"] == "grid"
    assert sweep["metric"] == {"name": "modes", "goal": "maximize"}
    titles = [f"{row}, ring, seed {seed}" for seed in range(3) for row in ("GAN", "WGAN")]
    assert sweep["parameters"] == {"cells": {"values": titles}}
    words = sweep["command"]
    assert words[:3] == ["${env}", "lightning-gans", "reproduce"]
    assert words[-1] == "${args}"
    assert runs.made == []
    # what ${args} becomes
    command([*words[3:-1], "--cells=WGAN, ring, seed 2"])
    assert runs.made == ["WGAN/ring/seed=2"]
    with pytest.raises(
        ValueError, match="cells=WGAN, ring, seed 9 is unknown: did you mean WGAN, ring, seed"
    ):
        command([*words[3:-1], "--cells=WGAN, ring, seed 9"])


def test_a_sweep_has_only_cells_that_exist():
    reproduce("coulomb-fid", budget="paper", as_sweep=True, out="out")
    sweep = yaml.safe_load(Path("out/coulomb-fid/paper/sweep.yaml").read_text())
    titles = sweep["parameters"]["cells"]["values"]
    assert len(titles) == 8
    assert "DCGAN, CIFAR-10, seed 0" not in titles
    with pytest.raises(ValueError, match="DCGAN, CIFAR-10: coulomb-fid has no such run with budget paper"):
        reproduce("coulomb-fid", budget="paper", only=["DCGAN"], data=["CIFAR-10"], dry_run=True)


def test_an_agent_reports_its_cell(runs, monkeypatch):
    class Run:
        def __init__(self):
            self.lines, self.summary, self.closed, self.error = [], {}, False, None

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.closed, self.error = True, error[0]

        def log(self, line):
            self.lines.append(line)

    opened = []

    def init(config):
        opened.append((config, Run()))
        return opened[-1][1]

    monkeypatch.setitem(sys.modules, "wandb", type("wandb", (), {"init": staticmethod(init)}))
    reproduce(write_table(), only=["GAN"], seeds=[1])
    assert opened == []
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    for _ in range(2):  # an agent that finds its cell finished reports it too
        reproduce("small.yaml", only=["GAN"], seeds=[1], data=["ring"])
        config, agent = opened.pop()
        assert config["row"] == "GAN"
        assert [line["update"] for line in agent.lines] == [1, 2]
        assert agent.summary["modes"] == 2
        assert agent.summary["state"] == "finished"
        assert agent.lines[0]["samples"] == 50
        assert agent.closed
        assert agent.error is None
    assert runs.made == ["GAN/ring/seed=1"]
    path = OUT / "GAN/ring/seed=1/runs/fit/version_0/evaluations.jsonl"
    path.write_text(path.read_text().replace('"modes": 2.0', '"modes": 2, "mis_per_class": [1.5, null]'))
    reproduce("small.yaml", cells=["GAN, ring, seed 1"])
    last = opened.pop()[1].lines[-1]
    assert (last["modes"], last["mis_per_class/0"]) == (2, 1.5)
    assert "mis_per_class/1" not in last
    runs.failing.append("seed=0")
    with pytest.raises(OSError, match="1 of 1 run failed"):
        reproduce("small.yaml", cells=["GAN, ring, seed 0"])
    assert opened.pop()[1].error is OSError  # so W&B shows it as failed


# ---------------------------------------------------------------------- processes


def test_an_interrupt_ends_the_processes(monkeypatch):
    """SIGTERM (and Ctrl-C) end all of them; the caller gets to write the table."""
    started = []

    def start(cell, jobs):
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return started[-1]

    monkeypatch.setattr(cells_module, "_start", start)
    table = load_table(write_table())
    cells = cells_of(table, table.budgets["quick"], OUT)
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(KeyboardInterrupt):
        run(cells, 2, lambda *ended: pytest.fail(f"nothing has ended: {ended}"))
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
    assert signal.getsignal(signal.SIGTERM) is before


def test_jobs_at_a_time(monkeypatch):
    running, most = set(), []

    class Process:
        returncode = 0

        def __init__(self):
            self.left = 3
            running.add(self)
            most.append(len(running))

        def poll(self):
            self.left -= 1
            if self.left:
                return None
            running.discard(self)
            return 0

    monkeypatch.setattr(cells_module, "_start", lambda cell, jobs: Process())
    table = load_table(write_table())
    cells = cells_of(table, table.budgets["quick"], OUT, range(4))
    ended = []
    run(cells, 3, lambda cell, ended_as, code, seconds: ended.append((cell, ended_as)), poll=0)
    assert max(most) == 3
    assert sorted(cell.title for cell, _ in ended) == sorted(cell.title for cell in cells)
    assert {ended_as for _, ended_as in ended} == {"missing"}


def test_a_killed_run_goes_on(capsys):
    """Killed without warning, resumed, and equal to a run that was not."""
    steps = {"trainer.max_steps": 120, "checkpoint.every_n_updates": 5}
    table = write_table(rows__WGAN=None, rows__MMD=None, budgets__quick__rows={"GAN": {"set": steps}})
    known = load_table(table)
    cell = cells_of(known, known.budgets["quick"], OUT)[0]
    process = cells_module._start(cell, 1)
    deadline = time.monotonic() + 60
    while not list(cell.folder.glob("runs/fit/*/checkpoints/last.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    assert state(cell) == "running"
    process.kill()
    process.wait()
    assert state(cell) == "interrupted"
    twin = replace(cell, folder=Path("twin"))
    ended = {}
    run([cell, twin], 2, lambda cell, ended_as, code, seconds: ended.update({cell.folder: ended_as}))
    assert ended == {cell.folder: "finished", twin.folder: "finished"}, (cell.folder / "log.txt").read_text()
    assert "--ckpt_path" in read_status(cell.folder)["command"]
    assert read_status(cell.folder)["before"] > 0
    assert evaluations(cell.folder) == evaluations(twin.folder)
    assert len(evaluations(cell.folder)) == 60
    reproduce(table, seeds=[0])
    assert "2 runs" not in capsys.readouterr().out
    assert results()["GAN", 0, "modes"]["state"] == "finished"


# ---------------------------------------------------------------------- the tables of this package


@pytest.fixture(scope="module")
def parser():
    return fit_parser()


@pytest.mark.parametrize("name", table_names())
def test_shipped_tables(name, parser):
    """Every run of every budget is one that ``fit`` accepts."""
    table = load_table(name)
    assert {"quick", "paper"} <= set(table.budgets)
    first = table.budgets["quick"]
    assert first.seconds or set(first.rows) >= {cell.row for cell in cells_of(table, first, Path())}
    for budget in table.budgets.values():
        for cell in cells_of(table, budget, Path(), [0]):
            parser.parse_object(dict(cell.config))


@pytest.mark.parametrize("name", table_names())
def test_shipped_plots(name):
    """All kinds of panels, without any run."""
    reproduce(name, only=[], out="out")
    assert Image.open(next(Path("out").rglob("plot.png"))).size[0] > 300
    assert (recipes_folder() / "tables" / f"{name}.yaml").read_text().startswith("# ")


class Distance(torch.nn.Module):
    def forward(self, x, y):
        return (x - y).abs().mean((1, 2, 3))


SETTINGS = {
    "IS": {"splits": 2},
    "KID": {"subset_size": 10, "subsets": 2},
    "SWD": {"directions": 4, "patches": 2},
    "PerClassFID": {"num_classes": 2},
    "StackedModes": {"num_modes": 4},
    "ParzenLikelihood": {"num_centres": 20, "num_validation": 5, "num_points": 10, "sigmas": [0.2]},
    "ModeCoverage": {"means": torch.zeros(1, 2), "covariances": torch.eye(2)[None]},
    "LPIPSDiversity": {"net": Distance()},
    "PerClassLPIPSDiversity": {"net": Distance(), "num_classes": 2},
}


@pytest.mark.parametrize("name", SCORES)
def test_names_of_scores(name):
    """Tables and monitors are checked against a list; it is what the metrics return."""
    generator = torch.Generator().manual_seed(0)
    given = {
        "images": torch.randint(0, 256, (20, 1, 32, 32), dtype=torch.uint8, generator=generator),
        "samples": torch.randn(20, 2, generator=generator),
        "features": torch.randn(20, 3, generator=generator),
        "logits": torch.randn(20, 2, generator=generator),
        "labels": torch.arange(20) % 2,
        "modes": torch.arange(20) % 4,
        "index": torch.arange(20),
    }
    metric = getattr(metrics, name)(**SETTINGS.get(name, {}))
    for real in (False, True) if getattr(metric, "compares", False) else (None,):
        metric.update(*[given[key] for key in metric.wants], *(() if real is None else (real,)))
    found = metric.compute()
    for score, value in found.items():
        assert any(fnmatchcase(score, pattern) for pattern in SCORES[name]), score
        assert value.dim() == score.endswith("_per_class")
    if not name.endswith("Neighbours"):  # whose others need held-out images
        assert all(any(fnmatchcase(score, pattern) for score in found) for pattern in SCORES[name])
