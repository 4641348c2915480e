"""Tables of papers, read from YAML files: methods, data sets, scores, budgets and published figures."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lightning_gans import checks
from lightning_gans.commands.parsing import OneLine, read_yaml
from lightning_gans.commands.recipes import find_config
from lightning_gans.files import recipes_folder

if TYPE_CHECKING:
    Overrides = dict[str, Any]
else:
    Overrides = dict  # entries have no types: else jsonargparse would import the classes that they name

Recipe = str | dict[str, str | None] | None
"""A recipe's name or path, one for each data set, or None: not implemented here."""
Published = float | tuple[float, float] | None
"""A figure, with its deviation where the paper has it."""


@dataclass
class Named:
    """An entry of a table; its name is the key that it has in the YAML file."""

    name: str = field(init=False, default="", kw_only=True)


@dataclass
class Column(Named):
    """A column: one figure of each run.

    Attributes:
        score: Name of the score in ``evaluations.jsonl``.
        of_class: Index of the class, if the score has a value for each class.
        over: Which of the run's evaluations: the last, or the smallest, largest, mean, or deviation (of the
            population) of all; or the rank correlation over all of them with another score.
        with_: Name of that score, which the same evaluations have; ``with`` in the file.
        first: The first evaluation that counts, from 1.
        at: The only evaluation that counts, from 1. None: as ``over`` and ``first`` say.
        scale: What the score is multiplied by, such as 100 for percent.
        better: Whether lower or higher is better; None: neither.
        digits: Digits after the decimal point.
        evaluate: Name of the callback (``Evaluate``, ``FittingCapacity``), if several of a run give it.
        baseline: Name of the column of the same runs from which paired differences are taken.
        comparable: Whether published figures may be compared, where those of the budget may.
    """

    score: str
    of_class: int | None = None
    over: Literal["last", "min", "max", "mean", "sd", "correlation"] = "last"
    with_: str | None = None
    first: int = 1
    at: int | None = None
    scale: float = 1.0
    better: Literal["high", "low"] | None = None
    digits: int = 2
    evaluate: str | None = None
    baseline: str | None = None
    comparable: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        checks.at_least(0, of_class=self.of_class, digits=self.digits)
        checks.at_least(1, first=self.first, at=self.at)
        checks.within("(0, inf)", scale=self.scale)
        if self.at is not None and (self.over, self.first) != ("last", 1):
            raise ValueError(f"at={self.at} is one evaluation: leave over and first out")
        if (self.over == "correlation") != (self.with_ is not None):
            raise ValueError(f"over={self.over} and with={self.with_}: a correlation has both")


@dataclass
class DataSet(Named):
    """A data set on which all rows are measured.

    Attributes:
        set: Overrides of the recipe.
        columns: Additional columns of this data set.
        stands_for: The data set of the published figures, if this one is measured in its place.
    """

    set: Overrides = field(default_factory=dict)
    columns: dict[str, Column] = field(default_factory=dict)
    stands_for: str = ""


@dataclass
class Row(Named):
    """A row: one method.

    Attributes:
        published: The paper's figures, by data set and column; None where it has none.
        recipe: Name of its recipe.
        set: Overrides of the recipe.
        x: Its position on the x axis of a plot of lines, such as a number of outcomes.
        series: Name of the line that it belongs to.
        baseline: Name of the row from which its paired differences are taken. None: the table's.
        note: Shown below the table.
    """

    published: dict[str, dict[str, Published] | None] | None
    recipe: Recipe = None
    set: Overrides = field(default_factory=dict)
    x: float | None = None
    series: str = ""
    baseline: str | None = None
    note: str = ""


@dataclass
class Change(Named):
    """What a budget changes in a row."""

    set: Overrides = field(default_factory=dict)
    recipe: Recipe = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Check the time."""
        checks.within("[0, inf)", seconds=self.seconds)


@dataclass
class Level(Named):
    """What runs reach that have converged; its name is that of a column, whose mean over seeds is meant.

    Attributes:
        row: Name of the row that has to reach it. None: each that is run.
        data: Name of the data set. None: each that has the column.
        least: The mean is at least this.
        most: The mean is at most this.
    """

    row: str | None = None
    data: str | None = None
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        """Check that there is one bound."""
        checks.within("(-inf, inf)", least=self.least, most=self.most)
        if (self.least is None) == (self.most is None):
            raise ValueError(f"least={self.least}, most={self.most}: give one of them")


@dataclass
class Claim(Named):
    """What a paper says of a row, in figures of this table.

    Attributes:
        says: The claim, in a sentence.
        source: Where the paper makes it.
        row: Name of the row.
        column: Name of the column.
        data: Name of the data set. None: each that has the column.
        than: Name of the row, or of another column of the same row, than which it is better, as the column's
            ``better`` says.
        by: By how much at least; below zero: it is worse by at most so much.
        above: What the mean over seeds is above.
        below: What the mean over seeds is below.
    """

    says: str
    source: str
    row: str
    column: str
    data: str | None = None
    than: str | None = None
    by: float = 0.0
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        """Check that one thing is claimed."""
        checks.within("(-inf, inf)", by=self.by, above=self.above, below=self.below)
        if [self.than, self.above, self.below].count(None) != 2:
            raise ValueError(f"than={self.than}, above={self.above}, below={self.below}: give one of them")
        if self.by and self.than is None:
            raise ValueError(f"by={self.by} is the distance from a row: give than, or leave it out")


@dataclass
class Budget(Named):
    """A budget: how much is computed.

    Attributes:
        describe: A description.
        seeds: Seeds of the runs.
        comparable: Whether the figures may be compared with the published ones. None: nothing is published.
        note: Why not, or what still differs from the paper.
        set: Overrides of all recipes.
        data: The data sets, if they are not the table's.
        rows: Its changes to some rows.
        seconds: Approximate seconds that a run takes, or its share of those that run as replicas.
        replicas: Whether seeds run as replicas of one process. None: as the table says.
        levels: What has to be reached, by column: a budget that misses one says nothing of the claims.
    """

    describe: str
    seeds: list[int]
    comparable: bool | None = None
    note: str = ""
    set: Overrides = field(default_factory=dict)
    data: dict[str, DataSet] = field(default_factory=dict)
    rows: dict[str, Change] = field(default_factory=dict)
    seconds: float | None = None
    replicas: bool | None = None
    levels: dict[str, Level] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check seeds and time."""
        checks.within("[0, inf)", seconds=self.seconds)
        for seed in self.seeds:
            checks.seed(seeds=seed)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds}: give one at least, and each once")


@dataclass
class Table(Named):
    """A table of a paper.

    Attributes:
        title: Its title.
        source: Where the figures were published.
        columns: The figures of each run.
        data: The data sets.
        rows: The methods.
        budgets: The budgets.
        x: Label of the x axis.
        notes: Shown below the table.
        set: Overrides of all recipes.
        baseline: Name of the row from which the paired differences of all others are taken.
        seed_data: Whether each run's seed is its data's seed too, which decides what samples and labels are
            chosen, and their order. With replicas it always is.
        replicas: Whether the seeds of a row run as replicas of one process.
        claims: What the paper says of the figures.
    """

    title: str
    source: str
    columns: dict[str, Column]
    data: dict[str, DataSet]
    rows: dict[str, Row]
    budgets: dict[str, Budget]
    x: str = ""
    notes: list[str] = field(default_factory=list)
    set: Overrides = field(default_factory=dict)
    baseline: str | None = None
    seed_data: bool = False
    replicas: bool = False
    claims: dict[str, Claim] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Pass what is said of all data sets, rows and budgets on to each; check all names.

        Raises:
            ValueError: If a name is unknown, or a figure or a note is missing.
        """
        for key in ("columns", "data", "rows", "budgets"):
            if not getattr(self, key):
                raise ValueError(f"{key} is empty: name one at least")
        data_sets = [self.data, *(budget.data for budget in self.budgets.values())]
        for data in (data for chosen in data_sets for data in chosen.values()):
            other = [data.stands_for] if data.stands_for else []
            check_names(f"data.{data.name}.stands_for", other, self.data)
            data.columns = {**data.columns, **self.columns}
            data.stands_for = data.stands_for or data.name
            _check_baselines("columns", data.columns)
        for budget in self.budgets.values():
            where = f"budgets.{budget.name}"
            check_names(f"{where}.rows", budget.rows, self.rows)
            budget.data = budget.data or self.data
            budget.replicas = self.replicas if budget.replicas is None else budget.replicas
            for change in budget.rows.values():
                check_names(f"{where}.rows.{change.name}.recipe", _data_of(change.recipe), budget.data)
            for level in budget.levels.values():
                self._check_about(f"{where}.levels.{level.name}", level, level.name, [budget])
            if budget.comparable is None and self.compares:
                raise ValueError(f"{where}.comparable is missing: say whether the figures are, true or false")
            if budget.comparable is False and not budget.note:
                raise ValueError(f"{where}.note is missing: say why the figures are not comparable")
        for claim in self.claims.values():
            self._check_about(f"claims.{claim.name}", claim, claim.column, self.budgets.values())
        check_names("baseline", [] if self.baseline is None else [self.baseline], self.rows)
        _check_baselines("rows", self.rows)
        for row in self.rows.values():
            row.baseline = row.baseline or (None if row.name == self.baseline else self.baseline)
            check_names(f"rows.{row.name}.recipe", _data_of(row.recipe), self.data)
            where = f"rows.{row.name}.published"
            check_names(where, row.published or {}, self.data, complete=True)
            for name, figures in (row.published or {}).items():
                check_names(f"{where}.{name}", figures or {}, self.data[name].columns, complete=True)
                for column, figure in (figures or {}).items():
                    value, deviation = figure if isinstance(figure, tuple) else (figure, None)
                    checks.within("(-inf, inf)", **{f"{where}.{name}.{column}": value})
                    checks.within("[0, inf)", **{f"{where}.{name}.{column}[1]": deviation})

    def _check_about(self, where: str, said: Level | Claim, column: str, budgets: Iterable[Budget]) -> None:
        """Check the names of what is said of a column of some budgets."""
        data_sets = [data for budget in budgets for data in budget.data.values()]
        if said.data is not None:
            check_names(f"{where}.data", [said.data], [data.name for data in data_sets])
            data_sets = [data for data in data_sets if data.name == said.data]
        columns = [data.columns[column] for data in data_sets if column in data.columns]
        if not columns:
            known = dict.fromkeys(name for data in data_sets for name in data.columns)
            check_names(where if isinstance(said, Level) else f"{where}.column", [column], known)
        if said.row is not None:
            check_names(f"{where}.row", [said.row], self.rows)
        if isinstance(said, Claim) and said.than is not None:
            others = {name for data in data_sets for name in data.columns if name != column}
            others |= {row for row in self.rows if row != said.row}
            check_names(f"{where}.than", [said.than], sorted(others))
            if any(x.better is None for x in columns):
                raise ValueError(f"{where}.than: columns.{column}.better is missing: say high or low")

    @property
    def compares(self) -> bool:
        """Return whether the table has any published figure."""
        rows = [figures for row in self.rows.values() for figures in (row.published or {}).values()]
        return any(figure is not None for figures in rows for figure in (figures or {}).values())


@dataclass(frozen=True, eq=False)
class Cell:
    """One run: a row on a data set with a seed; or with several, as replicas of one process.

    Attributes:
        row: Name of the row.
        data: Name of the data set.
        seed: Seed of the run, the first of several.
        config: The whole configuration for ``fit``.
        folder: Folder of the run.
        seconds: Seconds that it takes, by the table.
        members: The runs of one seed each that a run of several stands for, in the order of its replicas.
    """

    row: str
    data: str
    seed: int
    config: Mapping[str, Any]
    folder: Path
    seconds: float | None = None
    members: "tuple[Cell, ...]" = ()

    @property
    def identity(self) -> str:
        """A hash of the configuration: equal for runs with the same one."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """The name of the run in messages."""
        seeds = f"seeds {self.seed} to {self.members[-1].seed}" if self.members else f"seed {self.seed}"
        return f"{self.row}, {self.data}, {seeds}"


@dataclass(frozen=True)
class Grid:
    """The runs of a table with one of its budgets, and the folder of their results."""

    table: Table
    budget: Budget
    folder: Path

    def cells(self, seeds: Sequence[int] | None = None) -> list[Cell]:
        """Return all runs in the order of the seeds, so that the table with one seed is complete early.

        Args:
            seeds: Used in place of the budget's.
        """
        return [
            Cell(row, data, seed, self._seeded(config, seed), folder, seconds)
            for seed in (self.budget.seeds if seeds is None else seeds)
            for (row, data), config in self._configs.items()
            for folder in [self.folder / slug(row) / slug(data) / f"seed={seed}"]
            for seconds in [self.budget.rows.get(row, Change()).seconds or self.budget.seconds]
        ]

    def made(self) -> list[Cell]:
        """Return the budget's runs, and those with other seeds that were made."""
        names = {path.name.removeprefix("seed=") for path in self.folder.glob("*/*/seed=*")}
        others = sorted({int(name) for name in names if name.isdigit()} - {*self.budget.seeds})
        return [*self.cells(), *(cell for cell in self.cells(others) if cell.folder.is_dir())]

    def published(self, row: str, data: str, column: str) -> tuple[float, float | None] | None:
        """Return the paper's figure and its deviation, for a data set or the one that it stands for."""
        figures = (self.table.rows[row].published or {}).get(self.budget.data[data].stands_for) or {}
        figure = figures.get(column)
        return figure if isinstance(figure, tuple | None) else (float(figure), None)

    @property
    def _seeds_data(self) -> bool:
        return self.table.seed_data or bool(self.budget.replicas)

    @cached_property
    def _configs(self) -> dict[tuple[str, str], dict[str, Any]]:
        pairs = product(self.budget.data.values(), self.table.rows.values())
        found = {(row.name, data.name): self._config(row, data) for data, row in pairs}
        return {pair: config for pair, config in found.items() if config is not None}

    @cached_property
    def _recipes(self) -> dict[str, dict[str, Any]]:
        """What was read of recipes, by name: most rows of a table have the same."""
        return {}

    def _seeded(self, config: Mapping[str, Any], seed: int) -> dict[str, Any]:
        seeded = {**deepcopy(dict(config)), "seed_everything": seed}
        if self._seeds_data:
            merge(seeded, {"data.seed": seed})
        return seeded

    def _config(self, row: Row, data: DataSet) -> dict[str, Any] | None:
        """Merge the settings of recipe, table, data set, row, budget and the budget's row; later ones win."""
        change = self.budget.rows.get(row.name, Change())
        recipe = change.recipe or row.recipe
        name = recipe.get(data.name) if isinstance(recipe, Mapping) else recipe
        if name is None:
            return None
        try:
            if name not in self._recipes:
                self._recipes[name] = read_yaml(Path(find_config(name)[0]))
            config = deepcopy(self._recipes[name])
            for overrides in (self.table.set, data.set, row.set, self.budget.set, change.set):
                merge(config, overrides)
            if self._seeds_data and "seed" in (_open(config, "data", "data").get("init_args") or {}):
                raise ValueError("data.seed is each run's own with replicas or seed_data: leave it out")
        except FileNotFoundError as error:
            raise ValueError(f"rows.{row.name}.recipe: {str(error).removeprefix('--config ')}") from error
        except ValueError as error:
            raise ValueError(f"rows.{row.name}, {data.name}, budget {self.budget.name}: {error}") from error
        return config


# ---------------------------------------------------------------------- reading


def table_names() -> list[str]:
    """Return the names of the tables that come with the package."""
    return sorted(path.stem for path in (recipes_folder() / "tables").glob("*.yaml"))


def load_table(name: str) -> Table:
    """Read a table and check all that can be checked without torch.

    Args:
        name: Name of a table that comes with the package, or the path of a YAML file.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If something in it is unknown, missing, or does not fit; one line.
    """
    path = Path(name)
    if not path.is_file():
        path = recipes_folder() / "tables" / f"{name.removesuffix('.yaml')}.yaml"
    if not path.is_file():
        near = checks.suggestion(name, table_names(), "there are")
        raise FileNotFoundError(f"table={name} is neither a file nor a table: {near}")
    given = read_yaml(path)
    try:
        table: Table = parse(Table, path.stem, given)
        for budget in table.budgets.values():
            Grid(table, budget, Path()).cells(budget.seeds[:1])
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"table {path.stem}: {error}") from error
    return table


def parse(kind: type[Any], name: str, given: Any) -> Any:
    """Parse a dataclass with jsonargparse; nested dataclasses are parsed first, so that errors name them."""
    if not isinstance(given, dict):
        raise ValueError(f"it is {given!r}: give names with values below it")
    entries = {x.name.rstrip("_"): x for x in fields(kind) if x.init}  # with is no name in Python
    check_names("", given, entries)
    values = dict(given)
    for key, entry in entries.items():
        if key not in given and entry.default is entry.default_factory is MISSING:
            raise ValueError(f"{key} is missing")
        *_, inner = get_args(entry.type) or (None,)
        if isinstance(inner, type) and is_dataclass(inner) and isinstance(given.get(key), dict):
            folders = Counter(slug(str(name)) for name in given[key])
            values[key] = {}
            for part, value in given[key].items():
                try:
                    if folders[slug(str(part))] > 1:
                        raise ValueError(f"another one would share its folder {slug(part)}: rename it")
                    values[key][part] = parse(inner, part, {} if value is None else value)
                except ValueError as error:
                    raise ValueError(f"{key}.{part}: {error}") from error
    named = {entries[key].name: value for key, value in values.items()}
    parser = _parser(kind)  # type: ignore[arg-type]  # classes are hashable
    try:
        parsed = kind(**parser.instantiate(parser.parse_object(named)))
    except ValueError as error:
        raise ValueError(str(error).replace("with_", "with")) from error
    if "seed_everything" in getattr(parsed, "set", ()):
        raise ValueError("set: seed_everything is each run's own: name them in seeds of the budget")
    parsed.name = name
    return parsed


@cache
def _parser(kind: type[Any]) -> OneLine:
    parser = OneLine()
    parser.add_class_arguments(kind)
    return parser


def check_names(
    where: str, names: Collection[object], known: Collection[str], complete: bool = False
) -> None:
    """Check that all names are known, and (``complete``) that no known name is missing."""
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: {name} is unknown: {checks.suggestion(name, known)}".lstrip(": "))
    for name in known if names and complete else ():
        if name not in names:
            raise ValueError(f"{where}.{name} is missing: give the paper's figure, or null if it has none")


def _check_baselines(where: str, entries: Mapping[str, Column] | Mapping[str, Row]) -> None:
    for name, entry in entries.items():
        if entry.baseline is not None:
            others = [other for other in entries if other != name]
            check_names(f"{where}.{name}.baseline", [entry.baseline], others)


def _data_of(recipe: Recipe) -> Collection[str]:
    return recipe if isinstance(recipe, Mapping) else ()


def slug(name: str) -> str:
    """Turn a name into one that a folder can have."""
    return re.sub(r"[^A-Za-z0-9.=_]+", "-", re.sub(r"\s*=\s*", "=", name)).strip("-.") or "-"


# ---------------------------------------------------------------------- configurations of runs


def merge(config: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Merge overrides into a configuration, in place.

    Keys may be dotted, as on the command line: ``model.latent.dim`` reaches into ``init_args``. A class
    (``class_path``), a list and a plain value replace what was there; other mappings are merged into it.

    Raises:
        ValueError: If a dotted key leads through a plain value.
    """
    for path, value in overrides.items():
        node = config
        *parents, last = str(path).split(".")
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
    if isinstance(value, str):  # a class given by its name alone
        value = {"class_path": value}
    if not isinstance(value, dict | None):
        raise ValueError(f"set: {path} leads through {name}, which is {value!r}: replace it as a whole")
    node[name] = {} if value is None else value
    return node[name]  # type: ignore[no-any-return]
