"""Sweeps and their command: by W&B's own schema, agent, search and reader of what a run has written."""

import json
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path
from queue import Queue

import pytest
import wandb
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb import wandb_agent

from lightning_gans import models
from lightning_gans.commands.recipes import find_config, sweep_names
from lightning_gans.commands.sweep import check, find_sweep
from tests.documented import ROOT
from tests.tiny_recipes import smaller

sweeps = pytest.importorskip("sweeps", reason="W&B's package of its schema and search: make install")
from sweeps.config import schema_violations_from_proposed_config  # noqa: E402


def load(name):
    return yaml.safe_load(find_sweep(name).read_text())


def test_every_paper_has_a_sweep_that_fits():
    swept = set()
    for name in sweep_names():
        what, command, time = find_sweep(name).read_text().splitlines()[:3]
        assert (what[:2], command, time[:11]) == (
            "# ",
            f"# Command: lightning-gans sweep {name}",
            "# Time:    ",
        )
        sweep = load(name)
        assert schema_violations_from_proposed_config(sweep) == [], name
        assert 5 <= len(sweep["parameters"]) <= 8
        check(sweep)
        swept.add(model_of(sweep["command"]))
    assert swept == {*models.__all__}


def model_of(command):
    if "--model" in command:
        return command[command.index("--model") + 1]
    recipe, _ = find_config(command[command.index("--config") + 1])
    return yaml.safe_load(Path(recipe).read_text())["model"]["class_path"]


@pytest.mark.parametrize(
    ("line", "change", "says"),
    [
        ("clip:", "model.init_args.clipp: {values: [1]}", "WGAN has no argument clipp: did you mean clip?"),
        ("clip:", "clip: {values: [1]}", "--clip is unknown: did you mean --model.clip?"),
        ("clip:", "model.init_args.clip: {values: [0.1, wide]}", "model.clip: give a number, not wide"),
        ("clip:", "model.init_args.clip: {min: 1e-4, max: 1.0}", "'1e-4' is no number: YAML takes 1e-4 for"),
        ("clip:", "model.init_args.clip: 3", "model.init_args.clip=3: give values, or min and max, below it"),
        ("clip:", "model: {parameters: {clip: {values: [1]}}}", "write model.NAME"),
        ("metric:", "metric: {name: val/fdi}", "val/fdi is logged by no run: did you mean val/fid?"),
        ("metric:", "metric: val/fid", "metric=val/fid: give a name and a goal below it"),
        ("metric:", "metric: {name: fid}", "fid is logged by no run: did you mean val/fid?"),
        ("method:", "metric: {name: val/fid}", "metric is given twice"),
        ("command:", "command: [fit, --config, wgan/digts, '${args}']", "did you mean wgan/digits"),
        ("command:", "command: [fit, --config, wgan/digits, '${args}']", "add --config and loggers"),
        ("command:", "command: [fit, '${args}', --config, wgan/digits]", "${args} at its end"),
        ("command:", "command: [python, train.py, '${args}']", "give a list with fit"),
        ("parameters:", "parameters:\ncommands:", "parameters=None: give keys"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_sweep(line, change, says, fails):
    lines = find_sweep("wgan").read_text().splitlines()
    (place,) = (
        i for i, each in enumerate(lines) if each.strip().removeprefix("model.init_args.").startswith(line)
    )
    lines[place] = "  " * lines[place].startswith(" ") + change
    Path("mine.yaml").write_text("\n".join(lines))
    told = fails("sweep", "mine.yaml")
    assert told.startswith("lightning-gans: sweep mine.yaml: ")
    assert says in told


def test_the_command(cli, fails, capsys):
    assert "did you mean wgan_gp?" in fails("sweep", "wgan_pg")
    cli("sweep", "acgan")
    start = f"Start with: wandb sweep {find_sweep('acgan')}; then wandb agent ID on each machine"
    assert capsys.readouterr().out.splitlines() == ["acgan: bayes for val/fitting_capacity", start]


# ---------------------------------------------------------------------- run as an agent runs it


@pytest.fixture
def agent(monkeypatch):
    """W&B's agent, which starts no process: call it with a sweep and values, it returns the command."""
    called = []

    class Process:
        def __init__(self, command, env, **_):
            called.append(command)

    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    for variable in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # the agent sets them
        monkeypatch.setenv(variable, str(Path.cwd()))
    monkeypatch.setenv("WANDB_SWEEP_ID", "a-sweep")

    def start(sweep, values):
        one = wandb_agent.Agent(None, Queue())
        one._sweep_command = [*sweep["command"]]
        arguments = {key: {"value": value} for key, value in values.items()}
        one._command_run({"run_id": "a-run", "program": sweep["program"], "args": arguments})
        return called[-1]

    return start


def chosen(parameter, last):
    """The first or the last of the values of a key."""
    return (parameter.get("values") or [parameter["min"], parameter["max"]])[-1 if last else 0]


def records(run):
    """What W&B's reader finds in the file of a run, by kind; wandb 0.31 has one, 0.24 has not."""
    if tuple(map(int, wandb.__version__.split(".")[:2])) < (0, 31):
        pytest.skip("this wandb cannot read its files")
    (file,) = (run / "wandb").glob("offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", file]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {}
    for line in map(json.loads, lines):
        found.setdefault(line["type"], []).append(line[line["type"]])
    return found


def run_and_look(name, last, agent, cli):
    """Run a sweep's command for two updates; compare what W&B and TensorBoard have with the run's folder."""
    sweep = load(name)
    values = {key: chosen(parameter, last) for key, parameter in sweep["parameters"].items()}
    program, *command = agent(sweep, values)
    assert (program, command[:2]) == ("/usr/bin/env", ["lightning-gans", "fit"])
    recipe = command[command.index("--config") + 1]
    tiny = ["--trainer.max_steps", 2, "--trainer.limit_val_batches", 1, "--trainer.log_every_n_steps", 1,
            "--trainer.enable_progress_bar", "false", "--data.batch_size", 8, *smaller(recipe),
            "--config", "loggers/tensorboard"]  # fmt: skip
    wandb.teardown()  # it reads its environment once
    cli(*command[1 : -len(values)], *tiny, *command[-len(values) :])
    wandb.finish()
    wandb.teardown()

    assert {path.name for path in Path().iterdir()} <= {"runs", "data", "cache", "wandb"}
    (run,) = Path("runs").glob(f"{recipe}*/version_0")
    title = run.relative_to("runs").as_posix()
    found = records(run)
    (started,) = found["run"]
    assert started["display_name"] == title
    (config,) = (x["update"] for x in found["config"] if "model" in x["update"])
    assert (config["recipe"], config["run"], config["trainer"]["max_steps"]) == (recipe, title, 2)
    for key, value in values.items():
        assert started["config"]["update"][key] == reduce(dict.__getitem__, key.split("."), config) == value

    rows = [row["item"] for row in found["history"]]
    pictures = {path.parent.name for path in run.glob("*/update=*.png")}
    shown = {f"{name}_animation": [2] for name in pictures}
    shown |= {name: sorted(int(x.stem[7:]) for x in run.glob(f"{name}/update=*.png")) for name in pictures}
    scored = [json.loads(line)["name"] for line in (run / "evaluations.jsonl").read_text().splitlines()]
    kind = "fitting_capacity" if "fitting_capacity" in sweep["metric"]["name"] else "evaluate"
    tables = {f"{kind}/{x}" if x else kind: [2] for x in scored}
    media = {key.removesuffix("._type") for row in rows for key in row if key.endswith("._type")}
    assert shown["samples"] == [0, 2]
    assert {key: updates(rows, f"{key}._type") for key in media} == shown | tables

    board = EventAccumulator(str(run), size_guidance={"images": 0, "tensors": 0}).Reload()
    images = {key: [event.step for event in board.Images(key)] for key in board.Tags()["images"]}
    texts = {key: [event.step for event in board.Tensors(key)] for key in board.Tags()["tensors"]}
    assert (images, texts) == (shown, {f"{key}/text_summary": steps for key, steps in tables.items()})
    assert all(board.Images(f"{name}_animation")[0].encoded_image_string[:3] == b"GIF" for name in pictures)

    metric, goal = sweep["metric"]["name"], sweep["metric"]["goal"]
    assert updates(rows, metric) == [event.step for event in board.Scalars(metric)] == [2]
    named = {*flat(config), *flat({k: x for part in found["summary"] for k, x in part["update"].items()})}
    search = sweeps.SweepRun(name="a", state="running", config=values, history=rows)
    assert search.metric_extremum(metric, goal) == search.metric_history(metric, filter_invalid=True)[0]
    return {*named, *media, *(key for row in rows for key in row)}


def flat(nested, above=""):
    """The names that W&B's panels have for values within others."""
    for key, value in nested.items():
        yield from flat(value, f"{above}{key}.") if isinstance(value, dict) else [f"{above}{key}"]


def updates(rows, key):
    return [row["trainer/global_step"] for row in rows if key in row]


@pytest.mark.usefixtures("data", "judges")
def test_a_run_of_a_sweep(agent, cli):
    keys = run_and_look("wgan_gp", False, agent, cli)
    dashboard = (
        (ROOT / "docs/sweeps.md").read_text().partition("## The dashboard")[2].partition("\n\nA sweep")[0]
    )
    assert {*re.findall(r"`([^`]+)`", dashboard)} <= keys


@pytest.mark.slow
@pytest.mark.usefixtures("data", "judges")
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", sweep_names())
def test_runs_of_sweeps(name, last, agent, cli):
    run_and_look(name, last, agent, cli)
