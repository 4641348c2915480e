"""Tables of papers, as YAML files: what is compared, on what, scored how, and what was published."""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from lightning_gans.callbacks.evaluate import SCORES
from lightning_gans.commands.recipes import find_config, recipes_folder

OVER = ("last", "min", "max", "mean", "sd")


@dataclass(frozen=True)
class Column:
    """A figure of a run.

    Attributes:
        name: Head of the column.
        score: Name in ``evaluations.jsonl``.
        of_class: Which entry, where the score has one for each class.
        over: Which of the run's evaluations: the last, or the smallest, largest, mean, or deviation (of the
            population) of all.
        first: The first evaluation that counts, from 1.
        better: "high", "low", or None where neither is.
        digits: Behind the point.
        evaluate: Name of the ``Evaluate`` callback, where a run has several with this score.
    """

    name: str
    score: str
    of_class: int | None = None
    over: str = "last"
    better: str | None = None
    digits: int = 2
    evaluate: str | None = None
    first: int = 1


@dataclass(frozen=True)
class DataSet:
    """What all rows are measured on.

    Attributes:
        name: In the table.
        set: Overrides of the recipe.
        columns: The table's, and its own.
        stands_for: The data set whose published figures are shown beside, where this is a stand-in.
    """

    name: str
    set: Mapping[str, Any]
    columns: Mapping[str, Column]
    stands_for: str


@dataclass(frozen=True)
class Row:
    """A method.

    Attributes:
        name: In the table.
        recipe: Its recipe, or one for each data set. None: it is not implemented here.
        set: Overrides of the recipe.
        published: The paper's figures, by data set and column: value and deviation.
        x: Where it lies in a plot of lines, such as a number of outcomes.
        series: Which line it is on.
        note: Shown below the table.
    """

    name: str
    recipe: str | Mapping[str, str | None] | None
    set: Mapping[str, Any]
    published: Mapping[str, Mapping[str, tuple[float, float | None]]]
    x: float | None = None
    series: str = ""
    note: str | None = None


@dataclass(frozen=True)
class Change:
    """What a budget changes in a row."""

    set: Mapping[str, Any] = field(default_factory=dict)
    recipe: str | Mapping[str, str | None] | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Budget:
    """How much is computed.

    Attributes:
        name: Such as quick or paper.
        describe: What it does.
        comparable: Whether the figures may be compared with the published ones, if there are any.
        note: Why not, or what is different all the same.
        seeds: Of the runs.
        set: Overrides of all recipes.
        data: The data sets.
        rows: What it changes in some rows.
        seconds: That a run takes, about.
    """

    name: str
    describe: str
    comparable: bool
    note: str
    seeds: tuple[int, ...]
    set: Mapping[str, Any]
    data: Mapping[str, DataSet]
    rows: Mapping[str, Change]
    seconds: float | None


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        name: Of the file.
        title: Its title.
        source: Where the figures were published.
        x: What the rows' ``x`` is.
        notes: Shown below the table.
        set: Overrides of all recipes.
        rows: The methods.
        budgets: How much can be computed.
    """

    name: str
    title: str
    source: str
    x: str
    notes: tuple[str, ...]
    set: Mapping[str, Any]
    rows: Mapping[str, Row]
    budgets: Mapping[str, Budget]

    @property
    def compares(self) -> bool:
        """Whether anything was published."""
        return _published(self.rows)


@dataclass(frozen=True)
class Cell:
    """One run: a row on a data set with a seed.

    Attributes:
        row: Name of the row.
        data: Name of the data set.
        seed: Of the run.
        config: All that ``fit`` is told.
        folder: Its own.
        seconds: That it takes, by the table.
    """

    row: str
    data: str
    seed: int
    config: Mapping[str, Any]
    folder: Path
    seconds: float | None

    @property
    def identity(self) -> str:
        """Tells whether two runs were told the same."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """Name it in messages."""
        return f"{self.row}, {self.data}, seed {self.seed}"


# ---------------------------------------------------------------------- reading


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML in which 1e-3 is a number, as in recipes, and a name that is given twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [self.construct_object(key, deep=True) for key, _ in node.value if key.value != "<<"]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is given twice (line {node.start_mark.line + 1}): keep one of them")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ValueError: If it is none, or has a name twice in one place.
    """
    try:
        return yaml.load(path.read_text(), _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def table_names() -> list[str]:
    """Return the names of the tables that come with the package."""
    return sorted(path.stem for path in (recipes_folder() / "tables").glob("*.yaml"))


def load_table(name: str) -> Table:
    """Read a table and check all that can be checked before a run.

    Args:
        name: Of a table that comes with the package, or the path of a YAML file.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If something in it is unknown, missing, or does not fit; one line.
    """
    path = Path(name)
    if not path.is_file():
        path = recipes_folder() / "tables" / f"{name.removesuffix('.yaml')}.yaml"
    if not path.is_file():
        raise FileNotFoundError(
            f"table={name} is neither a file nor a table: {hint(name, table_names(), 'there is')}"
        )
    try:
        return _table(path.stem, read_yaml(path))
    except (TypeError, ValueError) as error:
        raise ValueError(f"table {path.stem}: {error}") from error


def hint(name: object, known: Iterable[str], otherwise: str = "use") -> str:
    """Return what may have been meant by an unknown name."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"{otherwise} {', '.join(known) or 'nothing'}"


def _mapping(value: Any, where: str, known: Sequence[str] | None = None, needs: Sequence[str] = ()) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {value!r}: give names with values below it")
    for name in value:
        if not isinstance(name, str):
            raise ValueError(f"{where}: the name {name!r} is no text: put it in quotes")
        if known is not None and name not in known:
            raise ValueError(f"{where}: {name} is unknown: {hint(name, known)}")
    for name in needs:
        if value.get(name) in (None, "", [], {}):
            raise ValueError(f"{where}: {name} is missing")
    return value


def _number(value: Any, where: str, least: float = -math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where} is {value!r}: give a number")
    if value < least:
        raise ValueError(f"{where} is {value}: give a number from {least:g}")
    return float(value)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _seconds(given: Mapping[str, Any], where: str) -> float | None:
    seconds = given.get("seconds")
    return None if seconds is None else _number(seconds, f"{where}.seconds", 0)


def _overrides(given: Mapping[str, Any], where: str) -> Any:
    changes = _mapping(given.get("set") or {}, f"{where}set")
    if "seed_everything" in changes:
        raise ValueError(f"{where}set: seed_everything is each run's own: name them in seeds of the budget")
    return changes


def _published(rows: Mapping[str, Row]) -> bool:
    return any(figures for row in rows.values() for figures in row.published.values())


def _table(name: str, given: Any) -> Table:
    keys = ("title", "source", "x", "notes", "columns", "data", "set", "rows", "budgets")
    _mapping(given, "the file", keys, ("title", "source", "columns", "data", "rows", "budgets"))
    columns = _columns(given["columns"], "columns")
    data = _data_sets(given["data"], "data", columns, None)
    _slugs(given["rows"], "rows")
    rows = {row: _row(row, value, data) for row, value in given["rows"].items()}
    notes = given.get("notes") or []
    if not isinstance(notes, list):
        raise ValueError(f"notes is {notes!r}: give a list, a note an entry")
    table = Table(
        name,
        str(given["title"]),
        str(given["source"]),
        str(given.get("x", "")),
        tuple(map(str, notes)),
        _overrides(given, ""),
        rows,
        {key: _budget(key, value, rows, data, columns) for key, value in given["budgets"].items()},
    )
    for budget in table.budgets.values():
        _check_cells(table, budget)
    return table


def _slugs(value: Any, where: str) -> None:
    """Look whether there are names, and those of their folders are different."""
    _mapping(value, where)
    if not value:
        raise ValueError(f"{where} is empty: name one at least")
    slugs = [slug(name) for name in value]
    twice = [name for name in value if slugs.count(slug(name)) > 1]
    if twice:
        raise ValueError(
            f"{where}: {' and '.join(twice)} would share the folder {slug(twice[0])}: rename one"
        )


def _columns(given: Any, where: str) -> dict[str, Column]:
    columns = {}
    for name, value in _mapping(given, where).items():
        place = f"{where}.{name}"
        keys = ("score", "class", "over", "from", "better", "digits", "evaluate")
        _mapping(value, place, keys, ("score",))
        score, over, better = value["score"], value.get("over", "last"), value.get("better")
        if not isinstance(score, str):
            raise ValueError(f"{place}: score={score!r}: give its name")
        if over not in OVER:
            raise ValueError(f"{place}: over={over} is unknown: use {', '.join(OVER)}")
        if better not in ("high", "low", None):
            raise ValueError(f"{place}: better={better} is unknown: use high or low")
        which, digits, first = value.get("class"), value.get("digits", 2), value.get("from", 1)
        if which is not None and not _whole(which, 0):
            raise ValueError(f"{place}: class={which}: give its number, from 0")
        if not _whole(digits, 0):
            raise ValueError(f"{place}: digits={digits}: give a number, from 0")
        if not _whole(first, 1):
            raise ValueError(f"{place}: from={first}: give the first evaluation that counts, from 1")
        columns[name] = Column(name, score, which, over, better, digits, value.get("evaluate"), first)
    return columns


def _data_sets(
    given: Any, where: str, columns: Mapping[str, Column], stands_for: Mapping[str, DataSet] | None
) -> dict[str, DataSet]:
    """Read data sets: of the table, or (with ``stands_for``) those that a budget has in their place."""
    _slugs(given, where)
    keys = ("set", "columns") if stands_for is None else ("set", "columns", "stands_for")
    sets = {}
    for name, value in given.items():
        place = f"{where}.{name}"
        value = _mapping(value or {}, place, keys)
        other = value.get("stands_for", name)
        if "stands_for" in value and other not in (stands_for or {}):
            raise ValueError(f"{place}: stands_for={other} is unknown: {hint(other, stands_for or {})}")
        own = _columns(value.get("columns") or {}, f"{place}.columns")
        sets[name] = DataSet(name, _overrides(value, f"{place}."), {**own, **columns}, other)
    return sets


def _row(name: str, given: Any, data: Mapping[str, DataSet]) -> Row:
    where = f"rows.{name}"
    _mapping(given, where, ("recipe", "set", "published", "x", "series", "note"))
    if "published" not in given:
        raise ValueError(f"{where}: published is missing: give the paper's figures, or null if it has none")
    figures = given["published"] or {}
    _mapping(figures, f"{where}.published", list(data))
    published: dict[str, dict[str, tuple[float, float | None]]] = {}
    for key, chosen in data.items():
        place = f"{where}.published.{key}"
        if figures and key not in figures:
            raise ValueError(f"{place} is missing: give the paper's figures, or null if it has none")
        values = figures.get(key) or {}
        _mapping(values, place, list(chosen.columns))
        published[key] = {}
        for column in chosen.columns if values else ():
            if column not in values:
                raise ValueError(
                    f"{place}.{column} is missing: give the paper's figure, or null if it has none"
                )
            value = values[column]
            if value is None:
                continue
            pair = value if isinstance(value, list) else [value]
            if len(pair) not in (1, 2):
                raise ValueError(f"{place}.{column} is {value}: give a figure, or [figure, deviation]")
            least = (-math.inf, 0.0)  # of a figure, and of its deviation
            numbers = [_number(x, f"{place}.{column}", low) for x, low in zip(pair, least, strict=False)]
            published[key][column] = (numbers[0], numbers[1] if len(numbers) == 2 else None)
    return Row(
        name,
        _recipe(given.get("recipe"), where, data),
        _overrides(given, f"{where}."),
        published,
        None if given.get("x") is None else _number(given["x"], f"{where}.x"),
        str(given.get("series", "")),
        given.get("note"),
    )


def _recipe(given: Any, where: str, data: Iterable[str]) -> str | Mapping[str, str | None] | None:
    several = isinstance(given, dict)
    for name in _mapping(given, f"{where}.recipe", list(data)).values() if several else [given]:
        if not isinstance(name, str | None):
            raise ValueError(f"{where}.recipe is {name!r}: give a recipe's name")
        if name is not None:
            try:
                find_config(name)
            except FileNotFoundError as error:
                raise ValueError(f"{where}.recipe: {str(error).removeprefix('--config ')}") from error
    return given  # type: ignore[no-any-return]


def _budget(
    name: str,
    given: Any,
    rows: Mapping[str, Row],
    data: Mapping[str, DataSet],
    columns: Mapping[str, Column],
) -> Budget:
    where = f"budgets.{name}"
    keys = ("describe", "comparable", "note", "seeds", "set", "data", "rows", "seconds")
    _mapping(given, where, keys, ("describe", "seeds"))
    comparable = given.get("comparable", None if _published(rows) else True)
    if not isinstance(comparable, bool):
        raise ValueError(
            f"{where}: comparable={comparable}: say true or false, whether the published figures are"
        )
    if not comparable and not given.get("note"):
        raise ValueError(f"{where}: note is missing: say why the figures are not comparable")
    seeds = given["seeds"]
    if not isinstance(seeds, list) or not all(_whole(seed, 0) for seed in seeds):
        raise ValueError(f"{where}: seeds={seeds}: give a list of numbers, from 0")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{where}: seeds={seeds} has one twice")
    used = data if given.get("data") is None else _data_sets(given["data"], f"{where}.data", columns, data)
    changes = {}
    for row, value in _mapping(given.get("rows") or {}, f"{where}.rows", list(rows)).items():
        place = f"{where}.rows.{row}"
        value = _mapping(value, place, ("set", "recipe", "seconds"))
        changes[row] = Change(
            _overrides(value, f"{place}."),
            _recipe(value.get("recipe"), place, used),
            _seconds(value, place),
        )
    return Budget(
        name,
        str(given["describe"]),
        comparable,
        str(given.get("note", "")),
        tuple(seeds),
        _overrides(given, f"{where}."),
        used,
        changes,
        _seconds(given, where),
    )


# ---------------------------------------------------------------------- what a run is told


def slug(name: str) -> str:
    """Return a name as a folder's name."""
    return re.sub(r"[^A-Za-z0-9.=_]+", "-", re.sub(r"\s*=\s*", "=", name)).strip("-.") or "-"


def cells_of(table: Table, budget: Budget, out: Path, seeds: Sequence[int] | None = None) -> list[Cell]:
    """Return all runs of a table, seed by seed, so that whole tables are there early.

    Args:
        table: The table.
        budget: One of its budgets.
        out: Folder of this table and budget.
        seeds: Instead of the budget's.
    """
    return [
        Cell(row.name, data.name, seed, {**config, "seed_everything": seed}, folder, seconds)
        for seed in (budget.seeds if seeds is None else seeds)
        for data in budget.data.values()
        for row in table.rows.values()
        if (config := row_config(table, budget, row, data)) is not None
        for folder in [out / slug(row.name) / slug(data.name) / f"seed={seed}"]
        for seconds in [budget.rows.get(row.name, Change()).seconds or budget.seconds]
    ]


def row_config(table: Table, budget: Budget, row: Row, data: DataSet) -> dict[str, Any] | None:
    """Return what ``fit`` is told: recipe, table, data set, row, budget, and the budget's row, in this order.

    Returns:
        None if there is no recipe.
    """
    change = budget.rows.get(row.name, Change())
    recipe = row.recipe if change.recipe is None else change.recipe
    if isinstance(recipe, Mapping):
        recipe = recipe.get(data.name)
    if recipe is None:
        return None
    config = read_yaml(Path(find_config(recipe)[0]))
    for overrides in (table.set, data.set, row.set, budget.set, change.set):
        merge(config, overrides)
    return config  # type: ignore[no-any-return]


def merge(config: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Put overrides into a configuration, in place.

    Keys may be dotted, as on the command line: ``model.latent.dim`` reaches into ``init_args``. A class
    (``class_path``), a list and a plain value replace what was there; other mappings are merged into it.

    Raises:
        ValueError: If a dotted key leads through a plain value.
    """
    for path, value in overrides.items():
        node = config
        *parents, last = path.split(".")
        for name in parents:
            node = _open(node, name, path)
        node = _arguments(node, last)
        if isinstance(value, Mapping) and "class_path" not in value:
            merge(_open(node, last, path), value)
        else:
            node[last] = deepcopy(value)


def _arguments(node: dict[str, Any], name: str) -> dict[str, Any]:
    inside = "class_path" in node and name not in ("class_path", "init_args")
    return node.setdefault("init_args", {}) if inside else node


def _open(node: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    node = _arguments(node, name)
    value = node.get(name)
    if isinstance(value, str):  # a class by its name alone
        value = {"class_path": value}
    if not isinstance(value, dict | None):
        raise ValueError(f"set: {path} leads through {name}, which is {value!r}: replace it as a whole")
    node[name] = {} if value is None else value
    return node[name]  # type: ignore[no-any-return]


def _check_cells(table: Table, budget: Budget) -> None:
    """Look whether each run computes the scores of all columns, each once."""
    for row in table.rows.values():
        for data in budget.data.values():
            config = row_config(table, budget, row, data)
            if config is None:
                continue
            place = f"{row.name} on {data.name} with budget {budget.name}"
            computed = _scores((config.get("trainer") or {}).get("callbacks"), place)
            for column in data.columns.values():
                try:
                    _check_column(column, computed, place)
                except ValueError as error:
                    raise ValueError(f"columns.{column.name}: {error}") from error


def _check_column(column: Column, computed: Sequence[tuple[str | None, list[str]]], place: str) -> None:
    score = column.score
    asked = [(name, known) for name, known in computed if column.evaluate in (None, name)]
    by = [name for name, known in asked if any(fnmatchcase(score, pattern) for pattern in known)]
    if not by:
        names = {pattern for _, known in asked for pattern in known}
        raise ValueError(
            f"score={score} is not computed by {place}: {hint(score, sorted(names), 'its scores are')}"
        )
    if len(set(by)) > 1:
        names = {str(name) for name in by if name is not None}
        raise ValueError(
            f"several Evaluate callbacks of {place} compute {score}: say evaluate: "
            f"{' or '.join(sorted(names))}"
        )
    ours = any(score in known and "*" not in known for _, known in asked)
    if ours and score.endswith("_per_class") and column.of_class is None:
        raise ValueError(f"{score} is a score of each class: say class, from 0")
    if ours and not score.endswith("_per_class") and column.of_class is not None:
        raise ValueError(f"class={column.of_class}: {score} is one score of all classes, leave class out")


def _scores(callbacks: Any, place: str) -> list[tuple[str | None, list[str]]]:
    """Return each ``Evaluate`` by name, with its scores, or patterns of them; "*" for a metric not ours."""
    found = []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if not isinstance(callback, dict) or str(callback.get("class_path")).split(".")[-1] != "Evaluate":
            continue
        arguments = callback.get("init_args") or {}
        metrics = arguments.get("metrics") or []
        if not isinstance(metrics, list):
            raise ValueError(f"metrics of {place} is {metrics!r}: give a list")
        known: list[str] = []
        for metric in metrics:
            path = metric.get("class_path") if isinstance(metric, dict) else metric
            if not isinstance(path, str):
                raise ValueError(f"metrics of {place} has {metric!r}: give a class_path")
            known += SCORES.get(path.split(".")[-1], ("*",))
        found.append((arguments.get("name"), known))
    return found
