"""Write a page of the papers' tables and figures: what each shows, and what became of its claims here."""

import fnmatch
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from lightning_gans import checks
from lightning_gans.commands.parsing import read_yaml
from lightning_gans.commands.reproduce.cells import duration_of, read_status
from lightning_gans.commands.reproduce.report import ARROWS, as_line, as_pair, duration, measured, plural
from lightning_gans.commands.reproduce.results import Results, gather
from lightning_gans.commands.reproduce.tables import (
    Column,
    DataSet,
    Grid,
    Named,
    Table,
    check_names,
    load_table,
    parse,
    slug,
    table_names,
)
from lightning_gans.commands.reproduce.verdicts import Verdict, verdicts
from lightning_gans.files import write_whole

NOISE, OPPOSITE = "does not hold: within noise", "does not hold: the opposite"
VERDICTS = ("holds", NOISE, OPPOSITE, "not converged", "not run")
LEFT_OUT, NO_CLAIM = "exhibits not run", "no claim"
LISTED = Path(__file__).with_suffix(".yaml")
PICTURES = "pictures/exhibits"
COPIED = ("points", "curves")
MOST_BYTES = 150_000  # of a picture
LARGE, COLUMNS = 270, 3  # pixels above which half of a sheet of images is shown, and sheets side by side

HEAD = """\
# Exhibits

Every table and figure of the papers, in their order: what it shows, the command that makes its \
counterpart here, and what came out. `lightning-gans exhibits` writes this page from the runs of the \
[tables](reproduce.md). Typed in by hand is only what an exhibit shows, and why it was not run."""
VERDICTS_MEAN = """\
A **claim** is what a paper says of its exhibit, put so that a number can decide it: a row is better than \
another, or its mean lies above or below a number. The 95 % interval of Student's t over the seeds \
decides, for each claim by itself: of forty in which nothing differs, one is found to hold by chance.

| Verdict | |
| --- | --- |
| holds | the whole interval is on the claim's side |
| does not hold: within noise | it contains the claim's edge: no difference was seen |
| does not hold: the opposite | the whole interval is on the other side |
| not converged | the runs miss a level that their regime asks of them, and so decide nothing |
| not run | fewer than three seeds have finished |
| exhibit not run | it, or a part of it, needs what is not at hand: the reason stands beside it |
| no claim | a drawing of a method, or samples, whose counterpart is to be looked at |

Measured figures are mean ± standard deviation over seeds; an interval may reach beyond what a score \
can be, as that of a rank correlation beyond 1. The regimes are so small that their rows can \
converge within minutes of a processor, on other data than the papers' and with smaller networks: \
a verdict is about the claim in its regime. Published figures stand beside for the order of the rows."""


@dataclass
class Exhibit(Named):
    """A table or figure of a paper.

    Attributes:
        shows: What it shows.
        table: The table that makes its counterpart.
        budget: The table's budget.
        claims: Those of the table's claims that belong to it, names or patterns such as ``gan-*``. None: all
            that no other exhibit has.
        command: The command that makes its counterpart, if that is no table.
        not_run: Why it, or what its table leaves out, is not run.
        no_claim: Where its counterpart is, if there is nothing that a number could decide.
        earlier: The page that has figures of an earlier revision, shown while its claims are not run.
    """

    shows: str
    table: str = ""
    budget: str = "quick"
    claims: list[str] | None = None
    command: str = ""
    not_run: str = ""
    no_claim: str = ""
    earlier: str = ""

    def __post_init__(self) -> None:
        """Check that there is something to say of it."""
        if not (self.table or self.not_run or self.no_claim):
            raise ValueError("name its table, or say why it is not_run, or why it makes no_claim")


@dataclass
class Paper(Named):
    """A paper.

    Attributes:
        title: Its authors, year and place.
        exhibits: Its tables and figures.
        page: Its page.
    """

    title: str
    exhibits: dict[str, Exhibit]
    page: str = ""


@dataclass
class Exhibits(Named):
    """All papers."""

    papers: dict[str, Paper]

    def __post_init__(self) -> None:
        """Check names, and give each exhibit its claims.

        Raises:
            ValueError: If a table, budget or claim is unknown, or a claim has two exhibits.
        """
        self.tables = {name: load_table(name) for name in table_names()}
        left = {name: list(table.claims) for name, table in self.tables.items()}
        for where, exhibit in self.each():
            if exhibit.table:
                check_names(f"{where}.table", [exhibit.table], self.tables)
                table = self.tables[exhibit.table]
                check_names(f"{where}.budget", [exhibit.budget], table.budgets)
                if exhibit.claims is not None:
                    exhibit.claims = self._own(f"{where}.claims", exhibit.claims, left[table.name], table)
        for _, exhibit in self.each():
            if exhibit.table and exhibit.claims is None:
                exhibit.claims, left[exhibit.table] = left[exhibit.table], []

    @staticmethod
    def _own(where: str, patterns: Sequence[str], left: list[str], table: Table) -> list[str]:
        """Return the claims that are meant, and take them off those that are left."""
        found: list[str] = []
        for pattern in patterns:
            named = fnmatch.filter(table.claims, pattern)
            check_names(where, [] if named else [pattern], table.claims)
            for claim in named:
                if claim not in left:
                    raise ValueError(f"{where}: {claim} belongs to an exhibit above: name it once")
                left.remove(claim)
            found += named
        return found

    def each(self) -> Iterator[tuple[str, Exhibit]]:
        """Yield all exhibits, each with the place where it stands."""
        for paper in self.papers.values():
            for exhibit in paper.exhibits.values():
                yield f"papers.{paper.name}.exhibits.{exhibit.name}", exhibit


def load_exhibits() -> Exhibits:
    """Read the list of exhibits that comes with the package.

    Raises:
        ValueError: If something in it is unknown, missing or does not fit; one line.
    """
    try:
        found: Exhibits = parse(Exhibits, LISTED.stem, read_yaml(LISTED))
    except ValueError as error:
        raise ValueError(f"{LISTED.name}: {error}") from error
    return found


def exhibits(tables: str = "runs/tables", out: str = "docs/exhibits.md") -> None:
    """Write a page of the papers' tables and figures, with what became of their claims.

    What the exhibits are is in ``exhibits.yaml`` beside this module; figures, verdicts and pictures are those
    of the runs that ``reproduce`` has made. A claim whose runs are not there is "not run".

    Args:
        tables: Folder of the results of all tables, ``--out`` of ``reproduce``.
        out: The page, Markdown. Pictures are copied into ``pictures/exhibits`` beside it.

    Raises:
        ValueError: If the list of exhibits is damaged.
        OSError: If the page cannot be written.
    """
    checks.writable_file((".md",), out=out)
    listed = load_exhibits()
    pairs = dict.fromkeys((x.table, x.budget) for _, x in listed.each() if x.table)
    results = {pair: _results(listed.tables[pair[0]], pair[1], Path(tables)) for pair in pairs}
    judged = {pair: verdicts(found) for pair, found in results.items()}

    sections, counts = [], dict[str, Counter[str]]()
    for paper in listed.papers.values():
        lines = ["", f"## {paper.name}", "", _sentence(paper)]
        counts[paper.name] = Counter()
        for exhibit in paper.exhibits.values():
            pair = exhibit.table, exhibit.budget
            own = [x for x in judged.get(pair, []) if x.claim in (exhibit.claims or [])]
            lines += ["", f"### {exhibit.name}", "", *_block(exhibit, results.get(pair), own)]
            counts[paper.name] += Counter(map(_kind, own))
            counts[paper.name] += Counter({LEFT_OUT: bool(exhibit.not_run), NO_CLAIM: bool(exhibit.no_claim)})
        sections += lines
    samples = _samples(list(results.values()), Path(out).parent)
    text = [HEAD, "", *_summary(listed.papers, counts), "", VERDICTS_MEAN, *sections, *samples, ""]
    write_whole(out, "\n".join(text))
    print(f"{_counted(sum(counts.values(), Counter()))}: {out}")


def _results(table: Table, budget: str, folder: Path) -> Results:
    return gather(Grid(table, table.budgets[budget], folder / slug(table.name) / slug(budget)))


# ---------------------------------------------------------------------- summary


def _summary(papers: Mapping[str, Paper], counts: Mapping[str, Counter[str]]) -> list[str]:
    heads = [*VERDICTS, LEFT_OUT, NO_CLAIM]
    entries = [[_link(name), *(str(counts[name][head] or "") for head in heads)] for name in papers]
    total = sum(counts.values(), Counter())
    entries.append(["**all**", *(f"**{total[head]}**" for head in heads)])
    lines = [as_line(["claims", *heads]), as_line(["---"] + ["--:"] * len(heads)), *map(as_line, entries)]
    return [f"**{_counted(total)}.**", "", *lines]


def _kind(verdict: Verdict) -> str:
    """Return a verdict, in two kinds where the claim does not hold."""
    if verdict.verdict == "does not hold":
        return OPPOSITE if verdict.opposite else NOISE
    return verdict.verdict


def _counted(counts: Counter[str]) -> str:
    """Return how many claims have each verdict, as text."""
    holds, noise, opposite, early, missing = (counts[x] for x in VERDICTS)
    found = (
        f"{holds} hold, {noise + opposite} do not hold ({noise} within noise, {opposite} the opposite does)"
    )
    others = f"{counts[LEFT_OUT]} exhibits (or parts) were not run, {counts[NO_CLAIM]} make no claim"
    total = plural(sum(counts[x] for x in VERDICTS), "claim")
    return f"Of {total} {found}, {early} have not converged and {missing} were not run; {others}"


def _link(heading: str) -> str:
    return f"[{heading}](#{heading.lower().replace(' ', '-')})"


def _sentence(paper: Paper) -> str:
    return f"{paper.title}{f': [its page]({paper.page})' * bool(paper.page)}."


# ---------------------------------------------------------------------- an exhibit


def _block(exhibit: Exhibit, results: Results | None, judged: Sequence[Verdict]) -> list[str]:
    """Return the lines of an exhibit."""
    lines = [exhibit.shows]
    command = exhibit.command
    if results is not None:
        budget = results.grid.budget
        option = f" --budget {budget.name}" * (budget.name != "quick")
        command = f"lightning-gans reproduce {exhibit.table}{option}"
        lines += ["", f"`{command}`: {budget.describe} {_runs(results)}"]
    elif command:
        lines += ["", f"`{command}`"]
    if judged and results is not None:
        entries = [_of_claim(results, x) for x in judged]
        heads = ["Claim", "Verdict", "Difference, 95 % interval", "Measured", "Published"]
        shown = len(heads) - (not any(entry[-1] for entry in entries))
        lines += ["", *(as_line(entry[:shown]) for entry in [heads, ["---"] * len(heads), *entries])]
    if exhibit.not_run:
        lines += ["", f"**not run**: {exhibit.not_run}"]
    if exhibit.no_claim:
        lines += ["", f"**no claim**: {exhibit.no_claim}"]
    if exhibit.earlier and (not judged or any(x.verdict == "not run" for x in judged)):
        lines += ["", f"[Figures of an earlier revision]({exhibit.earlier})"]
    return lines


def _runs(results: Results) -> str:
    """Return which runs there are, of what day and revision, as a sentence."""
    cells = {x.cell.folder: x.cell for x in results.figures if x.state == "finished"}
    found = [read_status(folder) for folder in cells]
    if not found:
        return "No run at this revision."
    days = sorted({str(x.get("date", "an unknown day"))[:10] for x in found})
    revisions = sorted({str(x.get("revision", "unknown")) for x in found})
    seeds = len({cell.seed for cell in cells.values()})
    spent = sum(map(duration_of, found))
    when = " to ".join(dict.fromkeys([days[0], days[-1]]))
    what = f"revision{'s' * (len(revisions) > 1)} {', '.join(revisions)}"
    runs = f"{plural(len(found), 'run')} with {plural(seeds, 'seed')}"
    return f"{runs}, {when}, {what}, {duration(spent)} in all."


def _of_claim(results: Results, verdict: Verdict) -> list[str]:
    """Return the entries of a claim's line."""
    grid = results.grid
    claim = grid.table.claims[verdict.claim]
    says = f"{claim.says}{f' ({verdict.data})' * (claim.data is None and len(grid.budget.data) > 1)}"
    judged = f"**{verdict.verdict}**{f': {verdict.why}' * bool(verdict.why and verdict.pairs)}"
    data = grid.budget.data.get(verdict.data)
    if data is None or claim.column not in data.columns:  # of another budget
        return [says, judged, "", "", ""]
    column, other = data.columns[claim.column], claim.than
    sides = {claim.row: (claim.row, column)}
    if other in grid.table.rows:
        sides[other] = other, column
    elif other in data.columns:  # of the same row
        sides = {column.name: (claim.row, column), other: (claim.row, data.columns[other])}
    published, found = [], []
    for name, (row, own) in sides.items():
        pair = grid.published(row, data.name, own.name)
        published += [f"{name} {as_pair(own, pair)}"] if pair else []
        found += [f"{name} {measured(results.of(row, data.name, own))}"]
    about = f" ({data.stands_for})" * (data.stands_for != data.name and bool(published))
    named = f"{column.name}{ARROWS[column.better]}: {'; '.join(found)}" if verdict.pairs else ""
    return [
        says,
        judged,
        _interval(column, verdict, signed=bool(other)),
        named,
        f"{'; '.join(published)}{about}",
    ]


def _interval(column: Column, verdict: Verdict, signed: bool) -> str:
    if verdict.estimate is None or verdict.low is None or verdict.high is None:
        return ""
    sign = "+" if signed else ""
    mean, low, high = (f"{x:{sign}.{column.digits}f}" for x in (verdict.estimate, verdict.low, verdict.high))
    return f"{mean} ({low} to {high}), {plural(verdict.pairs, 'pair' if signed else 'seed')}"


# ---------------------------------------------------------------------- samples


def _samples(found: Sequence[Results], folder: Path) -> list[str]:
    """Write the pictures of all tables that were run, and return the lines that show them."""
    lines = []
    for results in found:
        name = results.grid.table.name
        shown = []
        for ending, draw in _pictures(results):
            try:
                content = draw()
            except (OSError, ValueError, SyntaxError) as error:  # a damaged file
                warnings.warn(f"{name}, {ending} is left out: {error}", stacklevel=2)
                continue
            path = f"{PICTURES}/{slug(name)}-{ending}.png"
            write_whole(folder / path, content)
            shown += ["", f"![{name}, {ending}]({path}){{ loading=lazy }}"]
        if shown:
            lines += ["", f"### {name}", "", f"{results.grid.table.title}.", *shown]
    head = (
        "Of each table the last samples of one run a row (of points also earlier ones), and the scores of "
        "all rows over updates and seconds."
    )
    return ["", "## Samples", "", head, *lines] if lines else []


def _pictures(results: Results) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the names of a table's pictures, without their endings, and what draws them."""
    data_sets = results.grid.budget.data.values()
    for data in data_sets:
        if tiles := _sheets(results, data):
            ending = f"-{slug(data.name)}" * (len(data_sets) > 1)
            yield f"images{ending}", partial(_side_by_side, tiles)
    for path in (path for kind in COPIED for path in sorted(results.grid.folder.glob(f"{kind}*.png"))):
        yield path.stem, partial(_copied, path)


def _sheets(results: Results, data: DataSet) -> dict[str, Path]:
    """Return the file with the last images of one run, by row."""
    from lightning_gans.commands.reproduce.figures import stored

    found = {}
    for row in results.rows(data):
        runs = (stored(cell) for cell in results.finished(row.name, data.name))
        if files := next((files for files in runs if files), None):
            found[row.name] = [*files.values()][-1]
    return {name: path for name, path in found.items() if path.suffix == ".png"}


def _side_by_side(sheets: Mapping[str, Path]) -> bytes:
    """Draw the upper left part of each sheet of images, under the name of its row."""
    from lightning_gans.drawing.grids import GAP, in_rows, with_headings

    tiles = []
    for name, path in sheets.items():
        sheet = _opened(path)
        width, height = ((side + GAP) // 2 if side > LARGE else side for side in sheet.size)
        tiles.append(with_headings(sheet.crop((0, 0, width, height)), [name]))
    return reduced(in_rows(tiles, COLUMNS), colours=16)


def _copied(path: Path) -> bytes:
    return reduced(_opened(path))


def _opened(path: Path) -> Image.Image:
    with Image.open(path, formats=("PNG",)) as file:
        return file.convert("RGB")


def reduced(picture: Image.Image, colours: int = 256, most: int = MOST_BYTES) -> bytes:
    """Return a picture as a PNG of few colours, made smaller until it has at most so many bytes."""
    from lightning_gans.drawing.pixels import as_png

    content, scale = as_png(picture.quantize(colours, dither=Image.Dither.NONE), 9), 1.0
    while len(content) > most:
        scale *= 0.9
        size = round(picture.width * scale), round(picture.height * scale)
        smaller = picture.resize(size, Image.Resampling.LANCZOS)
        content = as_png(smaller.quantize(colours, dither=Image.Dither.NONE), 9)
    return content
