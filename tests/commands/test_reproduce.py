"""Tables of papers: what is read, run, skipped, gathered and shown, mostly with runs that are made up."""

import csv
import io
import json
import math
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from filelock import FileLock
from jsonargparse import Namespace
from matplotlib.figure import Figure as Canvas
from scipy.stats import ttest_1samp

from lightning_gans import load
from lightning_gans.commands import fit_parser
from lightning_gans.commands import reproduce as package
from lightning_gans.commands.parsing import read_yaml
from lightning_gans.commands.reproduce import cells as cells_module
from lightning_gans.commands.reproduce import checking, figures, reproduce
from lightning_gans.commands.reproduce import run as command
from lightning_gans.commands.reproduce.cells import (
    duration_of,
    ended,
    evaluations,
    read_status,
    revision,
    run_cells,
    state,
)
from lightning_gans.commands.reproduce.checking import check
from lightning_gans.commands.reproduce.joint import as_runs, joint
from lightning_gans.commands.reproduce.paired import interval
from lightning_gans.commands.reproduce.plot import draw
from lightning_gans.commands.reproduce.results import OVER, figure_of, gather, summary
from lightning_gans.commands.reproduce.tables import (
    Cell,
    Column,
    Grid,
    load_table,
    merge,
    table_names,
)
from lightning_gans.files import recipes_folder
from lightning_gans.metrics.evaluation import over_replicas

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


FITTED = [
    {"class_path": "FittingCapacity", "init_args": {"name": name, "seeds": 1, "real": False}}
    for name in ("plain", "p05")
]


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


def grid_of(table="small.yaml", budget="quick", folder=OUT) -> Grid:
    known = load_table(table)
    return Grid(known, known.budgets[budget], folder)


@pytest.fixture(scope="module", autouse=True)
def one_parser():
    """It takes a second to build."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_parser, "parser_of_fit", cache(fit_parser.parser_of_fit))
        yield


@pytest.fixture
def here(monkeypatch):
    """Runs in this process, one after the other."""

    def run_here(cells, jobs, done):
        for cell in cells:
            code = cells_module.main(cell)
            done(cell, ended(cell, code), code, 1.0)

    monkeypatch.setattr(package, "run_cells", run_here)
    monkeypatch.setattr(cells_module, "_speak_into", lambda path: path.touch())
    monkeypatch.setattr(figures, "figures", lambda results: [("plot.png", b"")])  # takes most of the time


@pytest.fixture
def runs(monkeypatch, here):
    """Runs in this process that only write scores: modes = 2 * seed for GAN, 8 for WGAN.

    Those with replicas write the scores of each, and leave nothing else to be split.
    """
    made, failing, stopped = [], [], []

    def fit(arguments):
        folder = Path(option(arguments, "--trainer.default_root_dir"))
        config = yaml.safe_load(Path(option(arguments, "--config")).read_text())
        made.append(os.path.relpath(folder, OUT))
        if folder.name in failing:
            print("lightning-gans: it went wrong", file=(folder / "log.txt").open("a"))
            raise SystemExit(2)
        if folder.name in stopped:
            raise SystemExit(143)
        replicas = config["model"]["init_args"].get("replicas")
        place = folder / "runs" / "fit" / f"version_{len(list(folder.glob('runs/fit/*')))}"
        place.mkdir(parents=True)
        lines = [
            {"update": update, "name": None, "samples": 50, "real_samples": None, "modes": score,
             "high_quality": update / 10, "protocol": {"weights": "raw", "seed": 0},
             **({"replica": r, "replicas": replicas, "seed": seed} if replicas else {})}
            for r in range(replicas or 1)
            for seed in [config["seed_everything"] + r]
            for modes in [2.0 * seed if config["model"]["class_path"] == "GAN" else 8.0]
            for update, score in ((1, 3.0), (2, modes))
        ]  # fmt: skip
        (place / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def split(places, lines, folders, seed):
        for r, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            own = [json.dumps(line) + "\n" for line in lines if line["replica"] == r]
            (folder / "evaluations.jsonl").write_text("".join(own))

    monkeypatch.setattr("lightning_gans.commands.main.main", fit)
    monkeypatch.setattr("lightning_gans.commands.reproduce.split.split", split)
    return SimpleNamespace(made=made, failing=failing, stopped=stopped)


def scores(folder):
    """The evaluations, without the time that they took."""
    return [{k: x for k, x in line.items() if "second" not in k} for line in evaluations(folder)]


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
        for cell in grid_of(write_table(**changes)).cells():
            if cell.row == "WGAN":
                assert cell.config["model"]["init_args"]["clip"] == 10 + last
            assert cell.config["trainer"]["max_steps"] == 4


def test_identity_is_of_what_the_run_is_told():
    def identities(folder=OUT, **changes):
        return [cell.identity for cell in grid_of(write_table(**changes), folder=folder).cells()]

    first = identities()
    assert len(set(first)) == 4
    assert identities(folder=Path("elsewhere")) == first
    assert identities(columns__modes={"score": "modes", "digits": 3}) == first
    same = [x == y for x, y in zip(first, identities(rows__WGAN__set={"model.clip": 0.3}), strict=True)]
    assert same == [True, False, True, False]


def test_the_data_of_a_seed():
    def seeds(**changes):
        return [
            cell.config["data"]["init_args"].get("seed") for cell in grid_of(write_table(**changes)).cells()
        ]

    assert seeds() == [None] * 4
    assert seeds(seed_data=True) == [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"GAN, ring, budget quick: data\.seed is each run's own"):
        seeds(seed_data=True, data__ring={"set": {"data.seed": 3}})


def test_values_as_people_write_them():
    """Numbers become numbers; what a row sets is told to fit as it is written."""
    Path("a.yaml").write_text("lr: 1e-3\nname: 1e\n")
    assert read_yaml(Path("a.yaml")) == {"lr": 0.001, "name": "1e"}
    given = {
        "model.a": "1.0",
        "model.b": {"class_path": "http.server.HTTPServer", "init_args": {"c": "null"}},
    }
    assert load_table(write_table(rows__WGAN__set=given)).rows["WGAN"].set == given


def test_data_of_a_budget():
    """In place of the table's, with recipes of its own; what it stands for is what figures are shown of."""
    data = {"disc": {}, "ball": {"stands_for": "ring", "columns": {"jsd": {"score": "jsd"}}}}
    rows = {"WGAN": {"recipe": {"ball": "gan/ring"}}}
    grid = grid_of(write_table(budgets__quick__data=data, budgets__quick__rows=rows))
    assert [cell.title for cell in grid.cells([3])] == [
        "GAN, disc, seed 3",
        "GAN, ball, seed 3",
        "WGAN, ball, seed 3",
    ]
    assert grid.cells([3])[2].config["model"]["init_args"]["clip"] == 0.2
    assert list(grid.budget.data["ball"].columns) == ["jsd", "modes", "quality"]
    assert grid.published("GAN", "ball", "modes") == (3, None)
    assert grid.published("GAN", "disc", "modes") is None


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"titel": "A table"}, "titel", "unknown: did you mean title?"),
        ({"title": None}, "title", "missing"),
        ({"notes": "one"}, "notes", "one"),
        ({"rows": ["GAN"]}, "rows", "['GAN']"),
        ({"columns__a-b": {"score": "a"}, "columns__a b": {"score": "a"}}, "columns.a-b", "folder a-b"),
        ({"rows__GAN__sett": {}}, "rows.GAN", "sett is unknown: did you mean set?"),
        ({"rows__GAN__set": [1]}, "rows.GAN: set", "[1]"),
        ({"rows__GAN__set": {"seed_everything": 7}}, "rows.GAN: set", "seed_everything is each run's own"),
        ({"rows__GAN__x": "five"}, "rows.GAN: x", "five"),
        ({"rows__GAN__recipe": 5}, "rows.GAN: recipe", "5"),
        ({"rows__GAN__recipe": "gan/rnig"}, "rows.GAN.recipe", "gan/rnig is neither a file nor"),
        ({"rows__GAN__recipe": "tables/realness-toy"}, "rows.GAN.recipe", "tables/realness-toy is neither a"),
        ({"rows__GAN__recipe": {"rnig": "gan/ring"}}, "rows.GAN.recipe", "rnig is unknown: did you mean"),
        ({"rows__GAN__published": None}, "rows.GAN", "published is missing"),
        ({"rows__GAN__published": {"disc": {}}}, "rows.GAN.published", "disc is unknown: use ring"),
        ({"rows__GAN__published__ring__quality": None}, "rows.GAN.published.ring.quality", "or null if"),
        ({"rows__GAN__published__ring__quality": [1, 2, 3]}, "rows.GAN: published", "[1, 2, 3]"),
        ({"rows__GAN__published__ring__quality": [0.5, -1]}, "rows.GAN.published.ring.quality", "-1"),
        ({"rows__GAN__published__ring__quality": "0.5?"}, "rows.GAN: published", "0.5?"),
        ({"columns__quality": None}, "rows.GAN.published.ring", "quality is unknown: use modes"),
        ({"columns__fid": {"score": "fid"}}, "rows.GAN.published.ring.fid", "missing: give the paper's"),
        ({"columns__modes__score": 5}, "columns.modes: score", "5"),
        ({"columns__modes__over": "median"}, "columns.modes: over", "median"),
        ({"columns__modes__better": "up"}, "columns.modes: better", "up"),
        ({"columns__modes__of_class": -1}, "columns.modes: of_class", "-1: give a whole number"),
        ({"columns__modes__of_class": True}, "columns.modes: of_class", "True"),
        ({"columns__modes__first": 0}, "columns.modes: first", "0"),
        ({"columns__modes__at": 0}, "columns.modes: at", "0"),
        ({"columns__modes": {"score": "modes", "at": 2, "over": "max"}}, "columns.modes: at=2", "leave over"),
        ({"columns__modes": {"score": "modes", "at": 2, "first": 2}}, "columns.modes: at=2", "leave over"),
        ({"columns__modes__scale": 0}, "columns.modes: scale", "0"),
        ({"columns__modes__baseline": "qualty"}, "columns.modes.baseline", "qualty is unknown: did you mean"),
        ({"columns__modes__baseline": "modes"}, "columns.modes.baseline", "modes is unknown: use quality"),
        ({"baseline": "DCGAN"}, "baseline", "DCGAN is unknown"),
        ({"rows__GAN__baseline": "GAN"}, "rows.GAN.baseline", "GAN is unknown"),
        ({"data__ring": {"stands_for": "disc"}}, "data.ring.stands_for", "disc is unknown: use ring"),
        ({"budgets__quick__seeds": []}, "budgets.quick: seeds", "[]: give one at least"),
        ({"budgets__quick__seeds": [1, 1]}, "budgets.quick: seeds", "[1, 1]: give one at least, and"),
        ({"budgets__quick__seeds": [-1]}, "budgets.quick: seeds", "-1"),
        ({"budgets__quick__seeds": [True]}, "budgets.quick: seeds", "True"),
        ({"budgets__quick__seconds": -3}, "budgets.quick: seconds", "-3"),
        ({"replicas": 5}, "replicas", "5"),
        ({"budgets__quick__comparable": None}, "budgets.quick.comparable", "missing: say whether"),
        ({"budgets__quick__note": None}, "budgets.quick.note", "missing: say why"),
        ({"budgets__quick__rows": {"WGANN": {}}}, "budgets.quick.rows", "WGANN is unknown: did you mean"),
        ({"budgets__quick__data": {"a": {"stands_for": "rnig"}}}, "data.a.stands_for", "rnig is unknown"),
        ({"budgets__quick__set": {"trainer.callbacks.a": 1}}, "budget quick", "leads through callbacks"),
    ],
)  # fmt: skip
def test_bad_tables(changes, place, words):
    """One line, which names the table, the key and the value."""
    with pytest.raises(ValueError, match=r"^table small: .") as caught:
        load_table(write_table(**changes))
    message = str(caught.value)
    assert "\n" not in message
    assert place in message
    assert words in message.partition(place)[2] + message * (place in words)


def test_files_that_are_no_tables():
    for text, message in (
        (TABLE.replace("  MMD:", "  GAN:"), "GAN is given twice"),
        ("a: [", r"bad\.yaml: line 1, .*expected"),
        ("- 1\n", r"bad\.yaml: the file holds a list"),
    ):
        Path("bad.yaml").write_text(text)
        with pytest.raises(ValueError, match=message):
            load_table("bad.yaml")
    with pytest.raises(FileNotFoundError, match="neither a file nor a table: did you mean realness-toy"):
        load_table("realness-toi")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs table"),
        (["small.yaml", "--budget", "quik"], "budget='quik' is unknown: did you mean quick?"),
        (["small.yaml", "--only", "GANN"], "only='GANN': small has no such run with budget quick: did"),
        (["small.yaml", "--only", "MMD"], "only='MMD': small has no such run"),
        (["small.yaml", "--data", "rnig"], "data='rnig': small has no such run with budget quick: did"),
        (["small.yaml", "--cells", "GAN"], "cells='GAN': small has no such run"),
        (["small.yaml", "--jobs", "0"], "jobs=0"),
        (["small.yaml", "--seeds", "-1"], "seeds"),
        (["small.yaml", "--seeds", "4294967296"], "seeds=4294967296"),
        (["small.yaml", "--dry-run", "--as-sweep"], "give one of them"),
        (["small.yaml", "--dryrun"], "--dryrun is unknown"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, message):
    write_table()
    with pytest.raises(ValueError, match=re.escape(message)):
        command(arguments)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets__quick__rows": {"WGAN": {"set": {"model.clipp": 0.2}}}},
         "WGAN, ring: .*no argument clipp: did you mean clip"),
        ({"budgets__quick__rows": {"WGAN": {"set": {"trainer.max_steps": "abc"}}}},
         "WGAN, ring: trainer.max_steps: .*abc"),
        ({"columns__modes__score": "modez"}, "GAN, ring: columns.modes: score=modez is not computed: did"),
        ({"columns__modes__score": "modes_typo"}, "columns.modes: score=modes_typo is not computed"),
        ({"columns__modes__of_class": 2}, "columns.modes: score=modes has no of_class .it is 2"),
        ({"budgets__quick__set__trainer.callbacks": [evaluate("a"), evaluate("b")]},
         "columns.modes: score=modes is of several callbacks, say evaluate: a or b"),
        ({"columns__modes__score": "gan_test", "budgets__quick__set__trainer.callbacks": [
            *FITTED, evaluate("other")]}, "columns.modes: score=gan_test is not computed"),
        ({"columns__modes__score": "fitting_capacity", "budgets__quick__set__trainer.callbacks": FITTED},
         "columns.modes: score=fitting_capacity is of several callbacks, say evaluate: p05 or plain"),
        ({"columns__modes": {"score": "fitting_capacity_sd", "evaluate": "p05"},
          "budgets__quick__set__trainer.callbacks": FITTED}, "score=fitting_capacity_sd is not computed"),
        ({"columns__modes": {"score": "modes", "over": "correlation", "with": "high_qualty"}},
         "columns.modes: with=high_qualty is not computed with it: did you mean high_quality"),
        ({"columns__modes": {"score": "fitting_capacity", "over": "correlation", "with": "modes"},
          "budgets__quick__set__trainer.callbacks": [FITTED[0], evaluate("a")]}, "with=modes is not"),
        ({"budgets__quick__set__trainer.callbacks": [evaluate("a", ["ModifiedIS"])],
          "columns__modes__score": "mis_per_class"}, "mis_per_class has one for each class, say of_class"),
        ({"budgets__quick__set__trainer.callbacks": [evaluate("a", [{"a": 1}])]}, "metrics"),
    ],
)  # fmt: skip
def test_bad_runs_are_found_before_anything_runs(runs, changes, message):
    """By what reads the configuration of fit, and by the scores that metrics say they give."""
    table = write_table(**changes)
    with pytest.raises(ValueError, match=message) as caught:
        reproduce(table)
    assert "\n" not in str(caught.value)
    assert runs.made == []
    reproduce(table, dry_run=True)  # which only counts


def test_a_dry_run_needs_no_torch():
    code = "import sys; from lightning_gans.commands.main import main; main(['reproduce', *sys.argv[1:]]);"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, "realness-toy", "--dry-run"], check=True, capture_output=True)


# ---------------------------------------------------------------------- known answers


def made_up(*versions) -> Cell:
    """A cell whose run was started several times, with these evaluations: (update, scores)."""
    cell = Cell("GAN", "ring", 0, {}, Path("cell"))
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
    return figure_of(cell, column, evaluations(cell.folder))


@pytest.mark.parametrize(
    ("how", "wanted"), [("last", 4), ("min", 1), ("max", 7), ("mean", 4), ("sd", 6**0.5)]
)
def test_over_the_evaluations(how, wanted):
    assert OVER[how]([1, 7, 4]) == pytest.approx(wanted)
    cell = made_up([(10, {"fid": 1.0}), (20, {"fid": 7.0}), (30, {"fid": 4.0}), (31, {"is": 2.0})])
    found = figure(cell, Column("fid", over=how))
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
    values = [figure(cell, Column("mis_per_class", of_class=k)).value for k in range(3)]
    assert values == [1.5, None, 2.5]
    for which in (None, 3):
        found = figure(cell, Column("mis_per_class", of_class=which))
        assert found.value is None
        assert found.problem == f"mis_per_class has classes 0 to 2, not {which}"


def test_scores_that_could_not_be_computed():
    """A smallest or mean of the others would be another figure than the column says."""
    cell = made_up([(1, {"mis": None}), (2, {"mis": 2.0})])
    assert figure(cell, Column("mis")).value == 2
    assert figure(cell, Column("mis", over="min")).value is None
    assert figure(cell, Column("fid")).value is None


def test_a_killed_run_counts_once():
    """Its continuation evaluates again what came after the checkpoint; a torn line is no line."""
    cell = made_up([(10, {"fid": 5.0}), (20, {"fid": 4.0})], [(20, {"fid": 4.0}), (30, {"fid": 3.0})])
    with (cell.folder / "runs/fit/version_0/evaluations.jsonl").open("a") as file:
        file.write('\n{"update": 25, "na')
    assert [line["update"] for line in evaluations(cell.folder)] == [10, 20, 30]
    assert figure(cell, Column("fid", over="mean")).value == 4


def test_several_evaluate_callbacks():
    cell = made_up([(1, {"fid": 1.0, "name": "train"}), (1, {"fid": 2.0, "name": "test"})])
    assert figure(cell, Column("fid", evaluate="test")).value == 2
    found = figure(cell, Column("fid"))
    assert found.value is None
    assert found.problem == "fid is of several callbacks (test, train)"


def test_one_evaluation_of_several():
    cell = made_up([(10, {"fid": 9.0}), (15, {"is": 1.0}), (20, {"fid": 7.0}), (30, {"fid": 4.0})])
    found = [figure(cell, Column("fid", at=at)) for at in (1, 2, 3, 4)]
    assert [(x.value, x.update) for x in found[:3]] == [(9.0, 10), (7.0, 20), (4.0, 30)]
    assert found[0].evaluations == 1
    assert found[3].problem == "there is no fid in evaluation 4"


def test_percent():
    cell = made_up([(10, {"fitting_capacity": 0.5}), (20, {"fitting_capacity": 0.75})])
    assert figure(cell, Column("fitting_capacity", scale=100)).value == 75
    assert figure(cell, Column("fitting_capacity", scale=100, over="sd")).value == 12.5
    assert figure(cell, Column("fitting_capacity")).value == 0.75


def test_two_callbacks_without_a_name():
    """One of each class: neither hides the other's line."""
    cell = made_up([(10, {"fid": 9.0}), (10, {"fitting_capacity": 0.5})])
    assert figure(cell, Column("fid")).value == 9
    assert figure(cell, Column("fitting_capacity")).value == 0.5


def test_from_an_evaluation_on():
    cell = made_up([(10, {"fid": 9.0}), (20, {"fid": 7.0}), (30, {"fid": 4.0})])
    found = figure(cell, Column("fid", over="mean", first=2))
    assert (found.value, found.evaluations) == (5.5, 2)
    assert figure(cell, Column("fid", first=4)).problem == "there is no fid in its evaluations"


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
    assert 0 < float(line["processor_seconds"]) < 1000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", line["date"])
    assert line["revision"] == revision()


def test_the_revision(tmp_path):
    """The commit of the source tree, and whether it was changed; without one, the version."""
    package = tmp_path / "lightning_gans"
    package.mkdir()
    (package / "__init__.py").touch()
    assert revision(tmp_path) == cells_module.__version__
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
    (tmp_path / "notes.txt").touch()
    assert revision(tmp_path) == commit
    (package / "__init__.py").write_text("a = 1")
    assert revision(tmp_path) == f"{commit}+"


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
        f"- Run {read_status(OUT / 'GAN/ring/seed=0')['date'][:10]} at {revision()}.",
    ):
        assert words in text


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


def test_a_cell_that_another_process_runs(runs, capsys, monkeypatch):
    monkeypatch.setattr(cells_module, "LOOK", 0.01)
    cell = grid_of(write_table()).cells()[0]
    cell.folder.mkdir(parents=True)
    with FileLock(cell.folder.parent / ".seed=0.lock"):
        assert state(cell) == "running"
        reproduce("small.yaml", only=["GAN"])
        assert runs.made == ["GAN/ring/seed=1"]
        assert cells_module.main(cell) == cells_module.BUSY
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
    status, spent = read_status(OUT / "GAN/ring/seed=0"), {"seconds": 500, "processor_seconds": 200}
    (OUT / "GAN/ring/seed=0/status.json").write_text(json.dumps({**status, **spent}))
    capsys.readouterr()
    reproduce(table, dry_run=True)
    said = capsys.readouterr().out
    assert "finished     GAN, ring, seed 0\n" in said
    assert "3 missing, 1 finished" in said or "1 finished, 3 missing" in said
    assert "about 4 min to go" in said  # 200 s as measured, and twice 30 s as the table says
    reproduce(table, budget="paper", dry_run=True)
    assert "6 missing: about 60 min to go" in capsys.readouterr().out  # WGAN as long as GAN
    assert runs.made == ["GAN/ring/seed=0"]


def test_measured_beside_expected_times(runs):
    """Of the processor on a CPU; of the wall clock on a GPU, and of runs of older versions."""
    reproduce(write_table(), seeds=[0])
    for row, spent in (("GAN", {"seconds": 300, "processor_seconds": 40}), ("WGAN", {"seconds": 61})):
        place = OUT / row / "ring/seed=0/status.json"
        kept = {k: x for k, x in json.loads(place.read_text()).items() if k != "processor_seconds"}
        place.write_text(json.dumps({**kept, **spent}))
    reproduce("small.yaml", only=[])
    text = (OUT / "table.md").read_text()
    assert "- 2 min in all, 50 s a run; by the table 60 s in all, 30 s a run.\n" in text
    assert "expects, by more than a factor of 2: WGAN, ring (61 s, not 30 s).\n" in text
    on_gpu = {"accelerator": "cuda", "seconds": 300, "processor_seconds": 40}
    assert duration_of(on_gpu) == 300
    assert duration_of({**on_gpu, "accelerator": "cpu"}) == 40
    assert duration_of({"seconds": 30, "processor_seconds": 50}) == 30


# ---------------------------------------------------------------------- several tables


@pytest.fixture
def other(runs):
    """Another table beside the small one."""
    write_table()
    Path("other.yaml").write_text(TABLE)
    return "../../other/quick"


def test_several_tables(runs, other, capsys):
    """One after the other; a run that fails leaves the others."""
    command(["small.yaml", "other.yaml", "--dry-run", "--seeds", "0", "--jobs", "2"])
    said = capsys.readouterr().out
    assert re.search(r"  other\.yaml +2 missing: about 30 s to go", said)
    assert "2 tables: about 60 s to go with 2 jobs" in said
    runs.failing.append("seed=0")
    with pytest.raises(OSError, match=r"2 tables of 2 not finished: small\.yaml: 2 of 4 runs failed: GAN"):
        command(["small.yaml", "other.yaml"])
    seeds = [f"{row}/ring/seed={seed}" for seed in (0, 1) for row in ("GAN", "WGAN")]
    assert runs.made == [*seeds, *(f"{other}/{name}" for name in seeds)]
    runs.failing.clear()
    command(["other.yaml", "small.yaml"])
    assert runs.made[8:] == [f"{other}/{name}" for name in seeds[:2]] + seeds[:2]


def test_all_tables(runs, other, monkeypatch, capsys):
    """That come with the package and have the budget."""
    monkeypatch.setattr(package, "table_names", lambda: ["small.yaml", "other.yaml"])
    write_table(budgets__paper=None)
    command(["all", "--dry-run"])
    assert "2 tables: about 4 min to go" in capsys.readouterr().out
    command(["all", "--budget", "paper", "--dry-run"])
    assert "1 table: about 60 min to go" in capsys.readouterr().out
    with pytest.raises(ValueError, match="budget='papier' is unknown: did you mean paper"):
        command(["all", "--budget", "papier"])
    with pytest.raises(ValueError, match="--as-sweep is for one table: leave it out, or name one"):
        command(["all", "--as-sweep"])
    with pytest.raises(ValueError, match="budget='paper' is unknown: use quick"):
        command(["other.yaml", "small.yaml", "--budget", "paper"])
    assert runs.made == []


def test_lookers_do_not_see_each_other():
    cell = grid_of(write_table()).cells()[0]
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


@pytest.mark.parametrize("text", ["", '{"state": "finis', "[1]"])
def test_a_damaged_status(runs, text):
    """As a power cut leaves it: the run is kept aside, and run anew."""
    reproduce(write_table(), cells=["GAN, ring, seed 1"])
    (OUT / "GAN/ring/seed=1/status.json").write_text(text)
    assert state(grid_of().cells()[2]) == "stale"
    reproduce("small.yaml", cells=["GAN, ring, seed 1"])
    assert runs.made == ["GAN/ring/seed=1"] * 2
    assert (OUT / "GAN/ring/seed=1.stale-1/status.json").read_text() == text
    assert results()["GAN", 1, "modes"]["state"] == "finished"


def test_a_place_that_cannot_be_written(runs):
    Path("file").touch()
    with pytest.raises(OSError, match=r"^out=file.*: cannot write"):
        reproduce(write_table(), out="file")
    assert runs.made == []


def test_a_process_that_dies_early(runs, capsys, monkeypatch):
    """It has left no log, or none that says why."""
    monkeypatch.setattr(
        package, "run_cells", lambda cells, jobs, done: [done(x, "missing", -9, 1.0) for x in cells]
    )
    with pytest.raises(OSError, match=r"1 of 1 run failed: .* \(its process was ended by SIGKILL\)"):
        reproduce(write_table(), cells=["GAN, ring, seed 1"])
    assert "log.txt" not in capsys.readouterr().out


def test_trouble_before_the_run(monkeypatch, runs, capsys):
    cell = grid_of(write_table()).cells()[0]
    cell.folder.parent.mkdir(parents=True)
    cell.folder.touch()  # where its folder should be
    assert cells_module.main(cell) == 1
    assert "File exists" in capsys.readouterr().err
    cell.folder.unlink()

    def full(path, content):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(cells_module, "write_whole", full)
        assert cells_module.main(cell) == 1
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


def texts(name, budget, monkeypatch):
    """What a plot says."""
    said = []

    def savefig(self, *args, **options):
        said.extend(text.get_text() for text in self.findobj(lambda x: hasattr(x, "get_text")))

    monkeypatch.setattr(Canvas, "savefig", savefig)
    draw(gather(grid_of(name, budget)))
    return said


def test_missing_runs_in_the_plot(runs, monkeypatch):
    """A published figure does not hide that there is no run."""
    reproduce(write_table(), cells=["GAN, ring, seed 0"])
    assert texts("small.yaml", "paper", monkeypatch).count("missing") == 6  # 3 rows, 2 columns
    said = texts("small.yaml", "quick", monkeypatch)
    assert said.count("missing") == 4
    assert any("not comparable with the published figures" in text for text in said)
    assert texts("realness-anchors", "paper", monkeypatch).count("missing") == 4 * 4


def test_a_column_that_means_something_else(runs, monkeypatch):
    table = write_table(budgets__quick__comparable=True)
    assert "published" in texts(table, "quick", monkeypatch)
    columns = {"quality": {"score": "high_quality", "comparable": False}}
    rows = {"GAN": {"recipe": "gan/ring", "published": {"ring": {"quality": 0.5}}}}
    table = write_table(budgets__quick__comparable=True, columns=columns, rows=rows)
    reproduce(table, cells=["GAN, ring, seed 0"])
    assert results()["GAN", 0, "quality"]["comparable"] == "false"
    assert "|  | quality | published (not comparable) |" in (OUT / "table.md").read_text()
    assert "published" not in texts(table, "quick", monkeypatch)


# ---------------------------------------------------------------------- paired differences


def test_interval_of_a_mean():
    """As scipy's t test gives it; by hand: mean 2, deviation 1, t = 4.303 of 2 degrees of freedom."""
    half = 4.302652729749464 / math.sqrt(3)
    assert interval([1, 2, 3]) == pytest.approx((2 - half, 2 + half), rel=1e-9)
    values = [0.3, -0.1, 0.25, 0.6, 0.02]
    known = ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval(values) == pytest.approx((known.low, known.high))
    wider = ttest_1samp(values, 0).confidence_interval(0.99)
    assert interval(values, 0.99) == pytest.approx((wider.low, wider.high))
    assert interval([2, 2, 2]) == (2, 2)


def differences() -> dict:
    with (OUT / "differences.csv").open() as file:
        return {(x["row"], x["column"], x["baseline"]): x for x in csv.DictReader(file)}


def test_differences_from_a_row(runs, capsys):
    """modes are 8 - 2 * seed: 8, 6, 4, 2, of which the t interval is 5 -+ 3.182 * 2.582 / 2."""
    reproduce(write_table(baseline="GAN", budgets__quick__seeds=[0, 1, 2, 3]))
    assert "with results.csv, differences.csv and plot.png" in capsys.readouterr().out
    found = differences()
    assert set(found) == {("WGAN", "modes", "GAN"), ("WGAN", "quality", "GAN")}
    line = {name: found["WGAN", "modes", "GAN"][name] for name in ("difference", "low", "high")}
    half = 3.182446305284263 * math.sqrt(20 / 3) / 2
    wanted = {"difference": 5, "low": 5 - half, "high": 5 + half}
    assert {name: float(value) for name, value in line.items()} == pytest.approx(wanted)
    assert found["WGAN", "modes", "GAN"]["pairs"] == "4"
    assert [found["WGAN", x, "GAN"]["within_noise"] for x in ("modes", "quality")] == ["false", "true"]
    text = (OUT / "table.md").read_text()
    assert "| WGAN | modes | GAN | +5.0 | +0.9 to +9.1 | 4 | higher |" in text
    assert (
        "| WGAN | quality | GAN | +0.00 | +0.00 to +0.00 | 4 | within noise: the interval contains 0 |"
        in text
    )
    assert "Student's t; each by itself" in text


def test_differences_need_pairs(runs):
    """Two are too few; a seed of which one run has failed, or was not made, makes no pair."""
    table = write_table(baseline="GAN", budgets__quick__seeds=[0, 1, 2, 3])
    reproduce(table, only=["GAN"])
    reproduce(table, only=["WGAN"], seeds=[0, 1])
    runs.failing.append("seed=2")
    with pytest.raises(OSError, match="1 of 1 run failed"):
        reproduce(table, only=["WGAN"], seeds=[2])
    assert differences() == {}
    assert "Differences" not in (OUT / "table.md").read_text()
    reproduce(table, only=["WGAN"], seeds=[3])
    line = differences()["WGAN", "modes", "GAN"]
    assert (line["pairs"], float(line["difference"])) == ("3", pytest.approx((8 + 6 + 2) / 3))
    for path in (OUT / "GAN/ring/seed=0").glob("runs/fit/*/evaluations.jsonl"):
        path.write_text(path.read_text().replace('"modes": 0.0', '"modes": null'))
    reproduce(table, only=[])
    assert set(differences()) == {("WGAN", "quality", "GAN")}


def test_differences_from_a_column(runs):
    """Of the same run; a row's own baseline goes before the table's."""
    third = {"score": "modes", "at": 1, "baseline": "modes", "better": "low"}
    changes = {f"rows__{row}__published": {} for row in ("GAN", "WGAN", "MMD")}
    table = write_table(**changes, columns__early=third, budgets__quick__seeds=[0, 1, 2])
    reproduce(table)
    found = differences()
    assert set(found) == {("GAN", "early", "modes"), ("WGAN", "early", "modes")}
    assert [float(x["difference"]) for x in found.values()] == [3 - 2, 3 - 8]
    assert [x["within_noise"] for x in found.values()] == ["true", "false"]
    assert "| WGAN | early | modes | -5.00 | -5.00 to -5.00 | 3 | lower |" in (OUT / "table.md").read_text()
    table = write_table(
        **changes, rows__WGAN__baseline="GAN", baseline="WGAN", budgets__quick__seeds=[0, 1, 2]
    )
    reproduce(table, only=[])
    assert {(row, baseline) for row, _, baseline in differences()} == {("GAN", "WGAN"), ("WGAN", "GAN")}


def test_without_a_baseline_there_are_no_differences(runs):
    reproduce(write_table(budgets__quick__seeds=[0, 1, 2]))
    assert not (OUT / "differences.csv").exists()
    assert "Differences" not in (OUT / "table.md").read_text()


def test_the_share_of_classifiers(runs):
    reproduce(write_table(budgets__quick__seeds=[0, 1]))
    assert "Fitting capacity" not in (OUT / "table.md").read_text()
    for seed, seconds in ((0, 30), (1, 50)):
        place = OUT / f"WGAN/ring/seed={seed}"
        (place / "status.json").write_text(json.dumps({**read_status(place), "seconds": 160}))
        path = place / "runs/fit/version_0/evaluations.jsonl"
        text = path.read_text().replace('"modes"', f'"classifier_seconds": {seconds}, "modes"')
        fitted = '"protocol": {"real": true, "epochs": 40, "rejection": null, '
        path.write_text(text.replace('"protocol": {', fitted))
    reproduce("small.yaml", only=[])
    text = (OUT / "table.md").read_text()
    assert "- Fitting capacity took of the seconds of the runs: 50 % of WGAN, ring.\n" in text
    assert "50 samples, weights raw; or 50 samples, epochs 40, weights raw. **Not all runs" in text


# ---------------------------------------------------------------------- replicas


def replicated(**changes) -> str:
    """The table, whose seeds run as replicas."""
    return write_table(replicas=True, **{"budgets__quick__seeds": [0, 1, 2, 4], **changes})


def test_consecutive_seeds_are_one_run(runs, capsys):
    """Each of them is then a finished run of its own."""
    table = replicated()
    reproduce(table, dry_run=True)
    assert "8 missing: about 4 min to go, seeds as replicas" in capsys.readouterr().out
    reproduce(table)
    assert runs.made == ["GAN/ring/seeds=0-2", "WGAN/ring/seeds=0-2", "GAN/ring/seed=4", "WGAN/ring/seed=4"]
    said = capsys.readouterr().out
    assert "small, budget quick: 4 runs, about 4 min" in said
    assert "[1/4] GAN, ring, seeds 0 to 2: 1 s, modes 2.0 ± 2.0, quality 0.20 ± 0.00; about" in said
    rows = results()
    assert [float(rows["GAN", seed, "modes"]["measured"]) for seed in (0, 1, 2, 4)] == [0, 2, 4, 8]
    assert rows["GAN", 1, "modes"]["folder"] == "GAN/ring/seed=1"
    assert "8 of 8 runs finished (seeds 0, 1, 2, 4)" in (OUT / "table.md").read_text()
    joint = read_status(OUT / "GAN/ring/seeds=0-2")
    config = yaml.safe_load((OUT / "GAN/ring/seeds=0-2/config.yaml").read_text())
    assert (config["seed_everything"], config["data"]["init_args"]["seed"]) == (0, 0)
    assert config["model"]["init_args"]["replicas"] == 3
    for cell in grid_of(table).cells([0, 1, 2]):
        status = read_status(cell.folder)
        assert (status["state"], status["identity"], status["replicas"]) == ("finished", cell.identity, 3)
        config = yaml.safe_load((cell.folder / "config.yaml").read_text())
        assert config == cell.config
        assert config["data"]["init_args"]["seed"] == config["seed_everything"] == cell.seed
        assert "replicas" not in config["model"].get("init_args", {})
    for spent in ("seconds", "processor_seconds"):
        assert read_status(OUT / "GAN/ring/seed=0")[spent] == pytest.approx(joint[spent] / 3)
    reproduce(table)
    assert len(runs.made) == 4
    for seed in (0, 1):  # removed, to be run again
        shutil.rmtree(OUT / f"GAN/ring/seed={seed}")
    reproduce(table)
    shutil.rmtree(OUT / "GAN/ring/seed=2")
    reproduce(table)
    assert runs.made[4:] == ["GAN/ring/seeds=0-1", "GAN/ring/seed=2"]


def test_replicas_of_a_budget(runs):
    def runs_of(grid):
        return as_runs(grid, dict.fromkeys(grid.cells(), "missing"))

    table = write_table(budgets__paper__replicas=True)
    assert len(runs_of(grid_of(table))) == 4
    found = runs_of(grid_of(table, "paper"))
    assert [cell.title for cell in found] == ["GAN, ring, seeds 0 to 2", "WGAN, ring, seeds 0 to 2"]
    assert [cell.seconds for cell in found] == [1800, None]
    with pytest.raises(ValueError, match=r"WGAN, ring, budget paper: data\.seed is each run's own with"):
        load_table(write_table(budgets__paper__replicas=True, rows__WGAN__set={"data.seed": 3}))


def test_an_interrupted_run_of_several_goes_on(runs):
    """Whole, whoever is asked for."""
    table = replicated()
    runs.stopped.append("seeds=0-2")
    with pytest.raises(SystemExit):
        reproduce(table, only=["GAN"])
    cells = {cell.title: cell for cell in grid_of(table).cells()}
    assert [state(cells[f"GAN, ring, seed {seed}"]) for seed in (0, 1, 2, 4)] == ["interrupted"] * 3 + [
        "missing"
    ]
    runs.stopped.clear()
    reproduce(table, cells=["GAN, ring, seed 1"])
    assert runs.made == ["GAN/ring/seeds=0-2"] * 2
    assert [state(cell) for cell in cells.values() if cell.row == "GAN"] == ["finished"] * 3 + ["missing"]


def test_a_failed_run_of_several(runs, capsys):
    """Its seeds are tried again together; without the one that spoils it, the others run by themselves."""
    table = replicated()
    runs.failing.append("seeds=0-2")
    with pytest.raises(OSError, match=r"1 of 2 runs failed: GAN, ring, seeds 0 to 2 \(it went wrong\)"):
        reproduce(table, only=["GAN"])
    assert "failed, it went wrong; see" in capsys.readouterr().out
    assert read_status(OUT / "GAN/ring/seed=1")["error"] == "it went wrong"
    assert results()["GAN", 1, "modes"]["state"] == "failed"
    with pytest.raises(OSError, match="1 of 1 run failed"):
        reproduce(table, only=["GAN"])
    reproduce(table, only=["GAN"], seeds=[0, 1])
    assert runs.made[2:] == ["GAN/ring/seeds=0-2", "GAN/ring/seeds=0-1"]
    runs.failing.clear()
    reproduce(table, only=["GAN"])
    assert runs.made[4:] == ["GAN/ring/seeds=0-2"]
    assert {results()["GAN", seed, "modes"]["state"] for seed in (0, 1, 2, 4)} == {"finished"}


def test_what_was_begun_alone_goes_on_alone(runs):
    table = replicated()
    runs.stopped.append("seed=1")
    with pytest.raises(SystemExit):
        reproduce(table, only=["GAN"], seeds=[1])
    runs.stopped.clear()
    reproduce(table, only=["GAN"])
    assert runs.made[1:] == ["GAN/ring/seed=1", "GAN/ring/seed=0", "GAN/ring/seed=2", "GAN/ring/seed=4"]


def test_killed_before_it_was_split(runs, monkeypatch):
    """What was computed is split by the next call."""
    table = replicated()

    def broken(*_):
        raise RuntimeError("no weights")

    with monkeypatch.context() as patch:
        patch.setattr("lightning_gans.commands.reproduce.split.split", broken)
        with pytest.raises(OSError, match="1 of 1 run failed"):
            reproduce(table, only=["GAN"], seeds=[0, 1, 2])
    assert read_status(OUT / "GAN/ring/seed=0")["error"] == "no weights"
    reproduce(table, only=["GAN"])
    assert runs.made == ["GAN/ring/seeds=0-2", "GAN/ring/seed=4"]
    assert results()["GAN", 1, "modes"]["measured"] == "2.0"


def test_stale_replicas(runs):
    reproduce(replicated(), only=["WGAN"])
    reproduce(replicated(rows__WGAN__set={"model.clip": 0.3}), only=["WGAN"])
    assert runs.made == ["WGAN/ring/seeds=0-2", "WGAN/ring/seed=4"] * 2
    names = {path.name for path in (OUT / "WGAN/ring").iterdir() if not path.name.startswith(".")}
    old = {"seeds=0-2.stale-1", *(f"seed={seed}.stale-1" for seed in (0, 1, 2, 4))}
    assert names == {"seeds=0-2", *(f"seed={seed}" for seed in (0, 1, 2, 4)), *old}
    assert yaml.safe_load((OUT / "WGAN/ring/seed=2.stale-1/config.yaml").read_text())["seed_everything"] == 2


def test_seeds_that_another_process_runs(runs, monkeypatch):
    monkeypatch.setattr(cells_module, "LOOK", 0.01)
    table = replicated()
    cell = grid_of(table).cells([1])[0]
    cell.folder.mkdir(parents=True)
    with FileLock(cell.folder.parent / ".seed=1.lock"):
        whole = joint([x for x in grid_of(table).cells([0, 1, 2]) if x.row == "GAN"])
        assert cells_module.main(whole) == cells_module.BUSY
        reproduce(table, only=["GAN"])
    assert runs.made == ["GAN/ring/seed=0", "GAN/ring/seed=2", "GAN/ring/seed=4"]


def test_replicas_are_the_runs_of_their_seeds(here):
    """Of the joint run each is what the run of its seed alone would be, and its checkpoint can be used."""
    table = replicated(rows__MMD=None, budgets__quick__seeds=[0, 1])
    reproduce(table, only=["WGAN"])
    reproduce(table, only=["WGAN"], seeds=[0], out="alone")
    reproduce(table, only=["WGAN"], seeds=[1], out="alone")
    for seed in (0, 1):
        place = Path("WGAN/ring", f"seed={seed}")
        of_all, alone = OUT / place, Path("alone/small/quick") / place
        found, wanted = scores(of_all), scores(alone)
        assert [line.pop("replicas") for line in found] == [2, 2]
        assert found == wanted
        run = Path("runs/fit/version_0")
        for name in ("seed_everything", "model", "data"):
            ours, theirs = (
                yaml.safe_load((x / run / "config.yaml").read_text())[name] for x in (of_all, alone)
            )
            assert ours == theirs
        games = [load(x / run) for x in (of_all, alone)]
        for ours, theirs in zip(*(game.parameters() for game in games), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)
    assert (OUT / "WGAN/ring/seed=0/runs/fit/version_0/samples").is_dir()


def test_a_game_that_has_no_replicas(here, capsys):
    """It says so itself, and each of its seeds runs alone if asked for."""
    change = {"model.discriminator": {"class_path": "MaxoutDiscriminator", "init_args": {"dropout": 0.5}}}
    table = replicated(rows__MMD=None, rows__WGAN=None, rows__GAN__set=change)
    with pytest.raises(OSError, match="1 of 1 run failed: GAN, ring, seeds 0 to 2"):
        reproduce(table, seeds=[0, 1, 2])
    assert "replicas=3: GAN has one at a time, since discriminator.layers" in capsys.readouterr().err
    assert {state(cell) for cell in grid_of(table).cells([0, 1, 2])} == {"failed"}
    reproduce(table, seeds=[1])
    assert results()["GAN", 1, "modes"]["state"] == "finished"


def test_an_interrupted_run_of_replicas_resumes_exactly(here, monkeypatch):
    table = replicated(rows__MMD=None, rows__WGAN=None, budgets__quick__seeds=[3, 4])
    reproduce(table, out="whole")
    calls = []

    def ended_by_a_signal(scores):
        calls.append(len(scores))
        if len(calls) == 2:
            raise SystemExit(143)
        return over_replicas(scores)

    with monkeypatch.context() as patch:
        patch.setattr("lightning_gans.callbacks.evaluate.over_replicas", ended_by_a_signal)
        with pytest.raises(SystemExit):
            reproduce(table)
    assert [state(cell) for cell in grid_of(table).cells()] == ["interrupted"] * 2
    reproduce(table)
    assert "--ckpt_path" in read_status(OUT / "GAN/ring/seeds=3-4")["command"]
    for seed in (3, 4):
        cell = Path("GAN/ring", f"seed={seed}")
        assert scores(OUT / cell) == scores(Path("whole/small/quick") / cell)
        assert [line["update"] for line in scores(OUT / cell)] == [2, 4]
        assert (OUT / cell / "runs/fit/version_0/checkpoints/last.ckpt").is_file()


def test_a_sweep_runs_seeds_alone(runs):
    command([replicated(), "--as-sweep"])
    sweep = yaml.safe_load((OUT / "sweep.yaml").read_text())
    titles = [f"{row}, ring, seed {seed}" for seed in (0, 1, 2, 4) for row in ("GAN", "WGAN")]
    assert sweep["parameters"] == {"cells": {"values": titles}}
    command([*sweep["command"][3:-1], "--cells=GAN, ring, seed 1"])
    assert runs.made == ["GAN/ring/seed=1"]
    reproduce("small.yaml", only=["GAN"])
    assert runs.made[1:] == ["GAN/ring/seed=0", "GAN/ring/seed=2", "GAN/ring/seed=4"]


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
        ValueError,
        match=r"cells='WGAN, ring, seed 9': small has no such run .* did you mean WGAN, ring, seed",
    ):
        command([*words[3:-1], "--cells=WGAN, ring, seed 9"])


def test_a_sweep_has_only_cells_that_exist():
    reproduce("coulomb-fid", budget="paper", as_sweep=True, out="out")
    sweep = yaml.safe_load(Path("out/coulomb-fid/paper/sweep.yaml").read_text())
    titles = sweep["parameters"]["cells"]["values"]
    assert len(titles) == 8
    assert "DCGAN, CIFAR-10, seed 0" not in titles
    with pytest.raises(ValueError, match="data='CIFAR-10': coulomb-fid has no such run with budget paper"):
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


def test_an_interrupt_ends_the_processes(runs, monkeypatch, capsys):
    """SIGTERM (and Ctrl-C) end all of them, and start no others; the table is written."""
    started = []

    def start(cell, jobs):
        started.append(subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, text=True))
        return started[-1]

    monkeypatch.setattr(cells_module, "_start", start)
    monkeypatch.setattr(package, "run_cells", run_cells)
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    monkeypatch.setattr(package, "check", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        command([write_table(), "--jobs", "2"])
    assert "The same command goes on" in capsys.readouterr().out
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
    assert signal.getsignal(signal.SIGTERM) is before
    assert "missing" in (OUT / "table.md").read_text()


def test_jobs_at_a_time(monkeypatch):
    gate = threading.Barrier(3, timeout=30)

    class Process:
        returncode = 0

        def communicate(self, told):
            gate.wait()  # passes only if three are there

        def wait(self, timeout):
            pass

        def terminate(self):
            pass

    monkeypatch.setattr(cells_module, "_start", lambda cell, jobs: Process())
    write_table()
    cells = grid_of().cells(range(3))
    ended = []
    run_cells(cells, 3, lambda cell, ended_as, code, seconds: ended.append((cell.title, ended_as)))
    assert sorted(ended) == sorted((cell.title, "missing") for cell in cells)


def program(cell, monkeypatch):
    """Run the program of a run's process in this one, which has imported everything; return its exit code."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps([(cell.config, str(cell.folder))])))
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("lightning_gans.commands.reproduce", run_name="__main__")
    return stop.value.code


def test_a_killed_run_goes_on(here, monkeypatch, capsys):
    """Killed without warning, resumed, and equal to a run that was not."""
    steps = {"trainer.max_steps": 60, "checkpoint.every_n_updates": 5, "samples": False}
    table = write_table(rows__WGAN=None, rows__MMD=None, budgets__quick__rows={"GAN": {"set": steps}})
    cell = grid_of(table).cells()[0]
    process = cells_module._start(cell, 1)
    with process.stdin as told:
        told.write(json.dumps([(cell.config, str(cell.folder))]))
    checkpoint = "runs/fit/version_0/checkpoints/last.ckpt"
    while not (cell.folder / checkpoint).is_file():
        assert process.poll() is None
        time.sleep(0.01)
    assert state(cell) == "running"
    process.kill()
    process.wait()
    assert state(cell) == "interrupted"
    twin = replace(cell, folder=Path("twin"))
    for x in (cell, twin):
        assert program(x, monkeypatch) == 0
        assert state(x) == "finished"
    assert "--ckpt_path" in read_status(cell.folder)["command"]
    status = read_status(cell.folder)
    assert status["before"] > 0
    assert 0 < status["processor_before"] < status["processor_seconds"]
    # A third process, after a second one that ended before its first checkpoint, counts the first once.
    again = {**status, "started": time.time() + 60}
    before = status["before"], status["processor_before"]
    assert cells_module._spent_before(again, cell.folder / checkpoint, before[1]) == before
    assert scores(cell.folder) == scores(twin.folder)
    assert len(scores(cell.folder)) == 30
    for spent in ("seconds", "processor_seconds"):
        seconds = [line[spent] for line in evaluations(cell.folder)]
        assert seconds[0] > 0
        assert seconds == sorted(seconds)
    # Killed after its last checkpoint, before its last evaluation.
    lines = twin.folder / "runs/fit/version_0/evaluations.jsonl"
    lines.write_text("".join(lines.read_text().splitlines(True)[:-1]))
    stored = torch.load(twin.folder / checkpoint, weights_only=True)
    state_of = next(state for key, state in stored["callbacks"].items() if key.startswith("Evaluate"))
    state_of.update(last=58, next=60)
    torch.save(stored, twin.folder / checkpoint)
    (twin.folder / f"{checkpoint}.lock").touch()
    status = {**read_status(twin.folder), "state": "running"}
    (twin.folder / "status.json").write_text(json.dumps(status))
    assert program(twin, monkeypatch) == 0
    assert "--ckpt_path" in read_status(twin.folder)["command"]
    assert scores(cell.folder) == scores(twin.folder)
    reproduce(table, seeds=[0])
    assert "2 runs" not in capsys.readouterr().out
    assert results()["GAN", 0, "modes"]["state"] == "finished"


# ---------------------------------------------------------------------- the tables of this package


@pytest.mark.parametrize("name", table_names())
def test_shipped_tables(name, monkeypatch):
    """Every run of every budget is one that ``fit`` accepts, and gives its scores; plots can be drawn."""
    # Only matplotlib's own part is left out, which takes longest.
    monkeypatch.setattr(Canvas, "savefig", lambda self, file, **options: file.write(b"a picture"))
    table, checked = load_table(name), set()
    assert {"quick", *["paper"] * table.compares} <= set(table.budgets)
    for budget in table.budgets.values():
        grid = Grid(table, budget, Path())
        cells = grid.cells([0])
        # Configurations that differ in numbers alone are alike to what checks them, which takes a while.
        kinds = {
            re.sub(r"[0-9.]+", "0", f"{json.dumps(cell.config)} {budget.data[cell.data].columns}"): cell
            for cell in cells
        }
        check(grid, [cell for kind, cell in kinds.items() if kind not in checked])
        checked |= {*kinds}
        assert budget.name != "quick" or all(cell.seconds for cell in cells)
    reproduce(name, only=[], out="out")
    assert next(Path("out").rglob("plot.png")).read_bytes() == b"a picture"
    assert (recipes_folder() / "tables" / f"{name}.yaml").read_text().startswith("# ")


def callbacks_of(cell):
    return {
        x["init_args"].get("name", x["class_path"]): x["init_args"]
        for x in cell.config["trainer"]["callbacks"]
    }


def cells_of(table):
    return [cell for budget in table.budgets.values() for cell in Grid(table, budget, Path()).cells([7])]


@pytest.mark.parametrize("name", ["gold-rejection", "gold-rejection-p"])
def test_rejection_is_of_the_p_that_the_column_names(name):
    table = load_table(name)
    for cell in cells_of(table):
        given = callbacks_of(cell)
        assert "rejection" not in given["plain"]
        columns = [column for column in table.columns.values() if column.evaluate != "plain"]
        assert [given[x.evaluate]["rejection"] for x in columns] == [float(x.name[4:]) for x in columns]


def test_supervision_is_that_of_the_row():
    table = load_table("gold-supervision")
    for cell in cells_of(table):
        row = table.rows[cell.row]
        assert cell.row == f"{row.series}, {row.x:g} %"
        assert row.baseline == (None if row.series == "ACGAN" else f"ACGAN, {row.x:g} %")
        assert cell.config["data"]["init_args"]["label_fraction"] == row.x / 100
        assert cell.config["model"]["class_path"] == {"ACGAN": "ACGAN", "GOLD": "GOLDACGAN"}[row.series]


def test_rounds_of_active_learning_fill_the_run():
    for cell in cells_of(load_table("gold-active")):
        *_, fitted, asked = callbacks_of(cell).values()
        assert asked["acquisition"] == cell.row.lower()
        assert fitted["every_n_updates"] == asked["every_n_updates"]
        assert cell.config["trainer"]["max_steps"] == asked["every_n_updates"] * asked["rounds"]
        data = cell.config["data"]["init_args"]
        assert (data["num_labels"], data["seed"]) == (10, 7)


def test_a_callback_without_arguments_gives_no_scores():
    assert checking.scores_of([Namespace(class_path="my_module.MyCallback")]) == []
