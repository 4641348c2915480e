"""Score the answers to a page of `study`: the rate at which fakes were taken for real."""

import json as json_format
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lightning_gans import checks
from lightning_gans.commands.parsing import OneLine
from lightning_gans.commands.study import FORMAT
from lightning_gans.files import write_whole
from lightning_gans.metrics.study import fooling_rate

SIDES = ("real", "fake")
LATE = 0.1
"""Seconds by which an exposure may be too long or too short before it is counted."""


@dataclass(frozen=True)
class Session:
    """What one person answered.

    Attributes:
        file: Where it was read from.
        study: Which study it belongs to.
        session: Its own number.
        worker: Who answered.
        seed: Of the page.
        trials: Number of pairs that count.
        fooled: Of these, where the fake was taken for real.
        seconds: Median time from the pair's end to the answer.
        off: Pairs that were shown too long or too short.
    """

    file: str
    study: str
    session: str
    worker: str
    seed: int
    trials: int
    fooled: int
    seconds: float
    off: int


def parser() -> OneLine:
    """Return the parser of the command, whose files are typed without an option."""
    usage = "%(prog)s FILE [FILE ...] [options]"
    made = OneLine(prog="lightning-gans study-score", usage=usage, description=__doc__)
    made.add_argument(
        "files", nargs="+", type=str, help="What study's page offered at its end, one a person."
    )
    made.add_function_arguments(study_score, as_positional=False, skip={"files"})
    return made


def run(arguments: Sequence[str]) -> None:
    """Run ``study-score`` with arguments from the command line."""
    study_score(**vars(parser().parse_args(list(arguments))))


def study_score(files: list[str], repetitions: int = 10_000, seed: int = 0, json: str | None = None) -> None:
    """Print how often fakes were taken for real, how sure that is, and what each person answered.

    Pairs for practice are not counted. Deviation and interval are those of a bootstrap over persons and
    their answers (:func:`lightning_gans.metrics.study.fooling_rate`).

    Args:
        files: What study's page offered at its end, one a person.
        repetitions: Draws of the bootstrap.
        seed: The same seed gives the same deviation and interval.
        json: Write all of it to this file too.

    Raises:
        ValueError: If a file is damaged or of an unfinished session, two are of one person or one session, or
            they are of different studies.
        OSError: If a file cannot be read or written.
    """
    checks.at_least(1, repetitions=repetitions)
    checks.seed(seed=seed)
    checks.writable_file((".json",), json=json)
    sessions = [read_session(file) for file in files]
    _check_together(sessions)
    found = fooling_rate(
        [own.fooled for own in sessions], [own.trials for own in sessions], repetitions, seed
    )
    width = max(6, *(len(own.worker) for own in sessions))
    print(f"{'worker':{width}}    seed  trials  taken for real  seconds")
    for own in sessions:
        share = f"{own.fooled} = {own.fooled / own.trials:.1%}"
        print(f"{own.worker:{width}}  {own.seed:6}  {own.trials:6}  {share:>14}  {own.seconds:7.2f}")
    fooled = sum(own.fooled for own in sessions)
    print(
        f"fakes taken for real: {found.rate:.1%} ({fooled:,} of {found.trials:,} pairs, {found.workers} "
        f"workers; 50% is chance)\n"
        f"bootstrap over workers and trials: {found.mean:.1%} +- {found.deviation:.1%}, 95% interval "
        f"{found.low:.1%} to {found.high:.1%}\n"
        f"standard error if all trials were independent: {found.standard_error:.2%}"
    )
    if found.workers == 1:
        print("one worker: nothing here says how much people differ")
    if off := sum(own.off for own in sessions):
        print(f"{off:,} pairs were shown more than {LATE} s too long or too short")
    if json is not None:
        scores = {**asdict(found), "study": sessions[0].study, "repetitions": repetitions, "seed": seed}
        own_scores = [asdict(own) for own in sessions]
        write_whole(json, json_format.dumps({**scores, "sessions": own_scores}, indent=2) + "\n")


def read_session(file: str) -> Session:
    """Read the answers of one person.

    Raises:
        ValueError: If they are damaged, or not all there.
    """
    checks.existing_file(files=file)
    try:
        content = json_format.loads(Path(file).read_bytes())
        _check_fields(content, format=(FORMAT,), study=str, session=str, worker=str, seed=int, ask=SIDES,
                      exposure=float, trials=int, answers=list)  # fmt: skip
        for answer in content["answers"]:
            _check_fields(
                answer, practice=bool, left=SIDES, choice=("left", "right"), seconds=float, shown=float
            )
    except (ValueError, OverflowError, RecursionError) as error:
        advice = "ask for the file again, or leave it out"
        raise ValueError(
            f"{file}: no answers of a study, or damaged ({checks.first_line(error)}): {advice}"
        ) from error
    scored = [answer for answer in content["answers"] if not answer["practice"]]
    if (trials := content["trials"]) != len(scored) or not scored:
        raise ValueError(
            f"{file}: {len(scored)} of {trials} pairs that count are answered: leave the file out"
        )
    # Who points to what was not asked for took the fake for real.
    fooled = [(answer["choice"] == "left") != (answer["left"] == content["ask"]) for answer in scored]
    off = [abs(answer["shown"] - content["exposure"]) > LATE for answer in scored]
    seconds = median(answer["seconds"] for answer in scored)
    study, session, worker = (
        "".join(char if char.isprintable() else "?" for char in content[name])
        for name in ("study", "session", "worker")
    )
    return Session(file, study, session, worker, content["seed"], trials, sum(fooled), seconds, sum(off))


def _check_fields(values: Any, **fields: type | tuple[str, ...]) -> None:
    """Refuse what is no object with these fields, each of a type or one of some texts.

    Raises:
        ValueError: Naming the first that is wrong.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{type(values).__name__} in place of an object")
    for name, kind in fields.items():
        value: Any = values.get(name)
        if isinstance(kind, tuple):
            good = value in kind
        elif kind in (int, float):
            number = isinstance(value, int | kind) and not isinstance(value, bool)
            good = number and math.isfinite(value) and value >= 0
        else:
            good = isinstance(value, kind)
        if not good:
            raise ValueError(f"{name} is missing or wrong")


def _check_together(sessions: Sequence[Session]) -> None:
    """Refuse sessions that do not count together.

    Raises:
        ValueError: If they are of different studies, or two of one session or one worker.
    """
    first = sessions[0]
    seen: dict[tuple[str, str], str] = {}
    for own in sessions:
        if own.study != first.study:
            studies = f"{first.file} is of study {first.study}, {own.file} of {own.study}"
            raise ValueError(f"{studies}: score each study by itself")
        for one in (("session", own.session), ("worker", own.worker)):
            if one in seen:
                raise ValueError(
                    f"{seen[one]} and {own.file} are of one {' '.join(one)}: leave one of them out"
                )
            seen[one] = own.file
