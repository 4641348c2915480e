"""Whether ``fit`` accepts the runs of a table, and computes its scores: found before anything runs."""

import json
from collections.abc import Iterable, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any

from lightning_gans import checks
from lightning_gans.commands.reproduce.tables import Cell, Column, Grid


def check(grid: Grid, cells: Iterable[Cell]) -> None:
    """Check that ``fit`` accepts the configuration of each row and data set, and computes the table's scores.

    Raises:
        ValueError: If it does not.
    """
    different = {(cell.row, cell.data): cell for cell in cells}.values()
    if not different:
        return
    from lightning_gans.commands.fit_parser import as_list, parser_of_fit

    parser = parser_of_fit()
    accepted = set[tuple[str, str]]()
    computed: dict[str, list[tuple[str | None, Sequence[str]]]] = {}  # by the trainer's settings
    for cell in different:
        texts = {key: json.dumps(x) for key, x in cell.config.items() if key != "seed_everything"}
        parts, trainer = {*texts.items()}, texts.get("trainer", "")
        try:
            # The parser judges each part by itself, and takes a while for classes within classes: what it has
            # seen it need not see again, except the two that it requires, and defaults not at all.
            if not parts <= accepted:
                new = {key for key, _ in parts - accepted} | {"model", "data"}
                given = {key: deepcopy(value) for key, value in cell.config.items() if key in new}
                callbacks = parser.parse_object(given, defaults=False).get("trainer.callbacks")
                computed.setdefault(trainer, scores_of(as_list(callbacks)))
                accepted |= parts
            for column in grid.budget.data[cell.data].columns.values():
                _check_column(column, computed[trainer])
        except ValueError as error:
            raise ValueError(f"{cell.row}, {cell.data}: {error}") from error


def scores_of(callbacks: Iterable[Any]) -> list[tuple[str | None, Sequence[str]]]:
    """Return names of callbacks that score, each with the names (or patterns) of scores that it gives."""
    from lightning_gans.metrics import score_names
    from lightning_gans.metrics.fitting_capacity import Budget

    found: list[tuple[str | None, Sequence[str]]] = []
    for callback in callbacks:
        kind, given = callback.class_path.rpartition(".")[2], callback.get("init_args") or {}
        name = given.get("name")
        if kind == "Evaluate":
            found += [(name, score_names(metric.class_path) or ("*",)) for metric in given["metrics"]]
        elif kind == "FittingCapacity":
            budget = {**vars(Budget()), **given}
            means = ["fitting_capacity", *["fitting_capacity_ceiling", "gan_test"] * budget["real"]]
            others = [f"{name}_sd" for name in means] * (budget["seeds"] > 1)
            others += ["acceptance"] * (budget["rejection"] is not None)
            found.append((name, means + others))
    return [(name, [*scores, "images_per_second"]) for name, scores in found]


def _check_column(column: Column, computed: Iterable[tuple[str | None, Sequence[str]]]) -> None:
    where, score = f"columns.{column.name}: score={column.score}", column.score
    asked = [(name, scores) for name, scores in computed if column.evaluate in (None, name)]
    found = [(name, scores) for name, scores in asked if any(fnmatchcase(score, known) for known in scores)]
    if not found:
        known = sorted({score for _, scores in asked for score in scores})
        raise ValueError(f"{where} is not computed: {checks.suggestion(score, known, 'its scores are')}")
    callbacks = sorted({str(name) for name, _ in found})
    if len(callbacks) > 1:
        raise ValueError(f"{where} is of several callbacks, say evaluate: {' or '.join(callbacks)}")
    if column.with_ is not None:
        others = sorted({name for of, scores in asked for name in scores if str(of) == callbacks[0]})
        if not any(fnmatchcase(column.with_, known) for known in others):
            advice = checks.suggestion(column.with_, others, "its scores are")
            raise ValueError(f"columns.{column.name}: with={column.with_} is not computed with it: {advice}")
    if any(score in scores for _, scores in found) and score.endswith("_per_class") != (
        column.of_class is not None
    ):
        wanted = "has one for each class, say of_class" if column.of_class is None else "has no of_class"
        raise ValueError(f"{where} {wanted} (it is {column.of_class})")
