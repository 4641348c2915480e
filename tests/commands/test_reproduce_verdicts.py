"""What a table's figures say of its claims: known means and t intervals, levels, and bad names."""

import json
import math
from pathlib import Path

import pytest
import yaml
from scipy.stats import spearmanr

from lightning_gans.commands.reproduce import figures, reproduce
from lightning_gans.commands.reproduce.report import as_markdown
from lightning_gans.commands.reproduce.results import Figure, Results, figure_of
from lightning_gans.commands.reproduce.tables import Cell, Column, Grid, load_table
from lightning_gans.commands.reproduce.verdicts import levels, verdicts, verdicts_as_json

TABLE = """
title: A small table
source: A paper, table 1
columns:
  modes: {score: modes, better: high, digits: 1}
  fid: {score: fid, better: low, digits: 1}
  share: {score: high_quality}
data: {ring: {}, disc: {}}
rows: {GAN: {recipe: gan/ring, published: {}}, WGAN: {recipe: wgan/ring, published: {}}}
budgets:
  quick: {describe: Four updates., seeds: [0, 1, 2, 3]}
"""
QUARTER = 3.182446305284263 / 2  # of four values: t of 3 degrees of freedom, over the root of 4


def results(values, data="ring", seeds=4, **changes) -> Results:
    """Figures of the first seeds by row and column; the others are missing."""
    Path("small.yaml").write_text(yaml.safe_dump({**yaml.safe_load(TABLE), **changes}, sort_keys=False))
    table = load_table("small.yaml")
    grid = Grid(table, table.budgets["quick"], Path("out"))
    found = []
    for cell in grid.cells(range(seeds)):
        for column in grid.budget.data[cell.data].columns.values():
            own = values.get((cell.row, column.name), []) if cell.data == data else []
            value = own[cell.seed] if cell.seed < len(own) else None
            known = {} if value is None else {"samples": 9}
            now = "missing" if value is None else "finished"
            found.append(Figure(cell, column, now, value, None, None, known))
    return Results(grid, found)


def verdict(values, seeds=4, data="ring", **claim):
    claim = {"says": "It does.", "source": "Figure 1", "row": "WGAN", "data": data, **claim}
    (found,) = verdicts(results(values, seeds=seeds, claims={"it": claim}))
    return found


DIFFERENT = {
    ("GAN", "modes"): [0.0, 2.0, 4.0, 6.0],
    ("WGAN", "modes"): [8.0, 8.0, 8.0, 8.0],
    ("GAN", "fid"): [30.0, 30.0, 30.0, 30.0],
    ("WGAN", "fid"): [22.0, 24.0, 26.0, 28.0],
}
"""WGAN has 8, 6, 4, 2 modes more: 5 -+ 4.108; and 8, 6, 4, 2 FID less."""
HALF = QUARTER * math.sqrt(20 / 3)


@pytest.mark.parametrize("column", ["modes", "fid"])
@pytest.mark.parametrize(
    ("by", "wanted", "words"),
    [
        (0, "holds", ""),
        (0.8, "holds", ""),
        (1, "does not hold", "within noise: the interval contains"),
        (9.2, "does not hold", "the opposite holds: the whole interval is"),
        (-3, "holds", ""),
    ],
)
def test_better_than_another_row(column, by, wanted, words):
    """In the column's direction; the other way round, the opposite holds."""
    found = verdict(DIFFERENT, column=column, than="GAN", by=by)
    sign = 1 if column == "modes" else -1
    assert (found.verdict, found.pairs) == (wanted, 4)
    assert found.estimate == pytest.approx(5 * sign)
    assert (found.low, found.high) == pytest.approx((5 * sign - HALF, 5 * sign + HALF))
    assert found.why.startswith(words)
    assert bool(found.why) == bool(words)
    other = verdict(DIFFERENT, column=column, row="GAN", than="WGAN")
    assert other.verdict == "does not hold"
    assert other.why == f"the opposite holds: the whole interval is {'below' if sign > 0 else 'above'} 0"


@pytest.mark.parametrize(
    ("bound", "wanted"),
    [
        ({"above": 20.8}, "holds"),
        ({"above": 21}, "does not hold"),
        ({"above": 29.2}, "does not hold"),
        ({"below": 29.2}, "holds"),
        ({"below": 29}, "does not hold"),
        ({"below": 20.8}, "does not hold"),
    ],
)
def test_a_mean_beside_a_number(bound, wanted):
    """Of 22, 24, 26, 28: 25 -+ 4.108."""
    found = verdict(DIFFERENT, column="fid", **bound)
    assert found.verdict == wanted
    assert (found.low, found.estimate, found.high) == pytest.approx((25 - HALF, 25, 25 + HALF))
    opposite = list(bound.values()) in ([29.2], [20.8]) and wanted != "holds"
    assert found.why.startswith("" if wanted == "holds" else "the opposite" if opposite else "within noise")


def test_better_than_another_column():
    """Of the same row: its mean FID here is 25, its modes 8."""
    found = verdict(DIFFERENT, column="fid", than="modes")
    assert (found.verdict, found.estimate) == ("does not hold", 17)
    assert (found.low, found.high) == pytest.approx((17 - HALF, 17 + HALF))


def test_an_interval_that_is_a_point():
    """Not better is not better; better by two is."""
    same = {(row, "modes"): [8.0, 8.0, 8.0] for row in ("GAN", "WGAN")}
    assert verdict(same, column="modes", than="GAN").why == (
        "within noise: the interval contains 0; 3 of 4 seeds have figures"
    )
    assert verdict(same, column="modes", than="GAN", by=-1e-9).verdict == "holds"
    same["GAN", "modes"] = [6.0] * 3
    assert verdict(same, column="modes", than="GAN", by=2).verdict == "holds"


def test_three_seeds_are_needed():
    few = {("GAN", "modes"): [1.0, 2.0, 3.0, 4.0], ("WGAN", "modes"): [8.0, 8.0]}
    found = verdict(few, column="modes", than="GAN")
    assert (found.verdict, found.estimate, found.pairs) == ("not run", None, 2)
    assert found.why == "2 of 4 seeds have figures; 3 are needed"
    few = {("GAN", "modes"): [None, 2.0, 4.0, 6.0], ("WGAN", "modes"): [9.0, 8.0, 8.0, 8.0]}
    assert verdict(few, column="modes", than="GAN").estimate == 4  # paired by seed
    few = {("GAN", "modes"): [1.0, 2.0, 3.0, 4.0], ("WGAN", "modes"): [8.0, 8.0]}
    assert verdict(few, column="modes", above=0, row="GAN").verdict == "holds"
    assert verdict(DIFFERENT, column="modes", above=0, data="disc").verdict == "not run"


CLAIMS = {
    "more": {"says": "It finds more.", "source": "Figure 1", "row": "WGAN", "column": "modes", "than": "GAN"}
}


def converged(values=DIFFERENT, data="ring", **given):
    budget = {**yaml.safe_load(TABLE)["budgets"]["quick"], "levels": given}
    return results(values, data, claims=CLAIMS, budgets={"quick": budget})


def test_levels():
    """The mean of every row, or of one, is compared; a level that is missed leaves claims open."""
    found = converged(modes={"least": 3.5, "data": "ring"})
    (first, second), (only,) = levels(found), [x for x in verdicts(found) if x.data == "ring"]
    assert (first.row, first.found, first.missed, second.missed) == ("GAN", 3, True, False)
    text = "modes of GAN on ring is 3.0, at least 3.5 is asked for: it misses that by 0.5"
    assert first.text == text
    assert (only.verdict, only.why, only.estimate) == ("not converged", text, 5)
    lines = as_markdown(found, "").splitlines()
    assert lines.index(f"**Not converged**: {text}.") < lines.index("## ring")
    for level in ({"least": 3}, {"least": 3.5, "row": "WGAN"}, {"most": 8}):
        found = converged(modes=level)
        assert verdicts(found)[0].verdict == "holds"
        assert "**Not" not in as_markdown(found, "")
    assert "Converged: modes of WGAN on ring is 8.0, at most 9 is asked for." in as_markdown(
        converged(modes={"most": 9, "row": "WGAN", "data": "ring"}), ""
    )
    assert levels(converged(fid={"most": 24.5, "row": "WGAN"}))[0].missed


def test_a_level_of_a_data_set_is_of_its_claims():
    """Another data set's claims stand; what is not known yet settles nothing."""
    found = converged(modes={"least": 3.5, "row": "GAN", "data": "disc"})
    assert [x.verdict for x in verdicts(found)] == ["holds", "not run"]
    found = converged({**DIFFERENT, ("GAN", "fid"): []}, fid={"most": 50})
    assert verdicts(found)[0].verdict == "not run"
    assert verdicts(found)[0].why == "fid of GAN on ring is not known yet, at most 50 is asked for"


def test_the_section_and_the_list():
    found = results(DIFFERENT, claims=CLAIMS)
    text = as_markdown(found, "")
    assert text.index("## Claims") < text.index("## ring")
    assert "| It finds more. | Figure 1 | ring | **holds** | 5.0 | 0.9 to 9.1 | 4 |  |" in text
    assert "| It finds more. | Figure 1 | disc | **not run** |  |  | 0 | 0 of 4 seeds have figures; 3" in text
    ring, disc = json.loads(verdicts_as_json(found))
    wanted = {"claim": "more", "says": "It finds more.", "source": "Figure 1", "data": "ring"}
    assert {**ring, **wanted, "verdict": "holds", "pairs": 4, "why": ""} == ring
    assert set(disc) == {*wanted, "verdict", "estimate", "low", "high", "pairs", "why"}
    assert "Claims" not in as_markdown(results(DIFFERENT), "")


def test_a_call_writes_and_prints_them(monkeypatch, capsys):
    monkeypatch.setattr(figures, "figures", lambda results: [])
    results({}, claims=CLAIMS)
    reproduce("small.yaml", only=[], out="out")
    said = capsys.readouterr().out
    assert "more, ring: not run (0 of 4 seeds have figures; 3 are needed)\n" in said
    assert "results.csv and verdicts.json" in said
    assert json.loads(Path("out/small/quick/verdicts.json").read_text())[0]["verdict"] == "not run"


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"row": "WGANN"}, "row: WGANN is unknown: did you mean WGAN"),
        ({"column": "mods"}, "column: mods is unknown: did you mean modes"),
        ({"data": "rnig"}, "data: rnig is unknown: did you mean ring"),
        ({"than": "WGAN"}, "than: WGAN is unknown: did you mean GAN"),
        ({"than": "mods"}, "than: mods is unknown: use GAN, fid, share"),
        ({"column": "share"}, "than: columns.share.better is missing: say high or low"),
        ({"above": 3}, "than=GAN, above=3.0, below=None: give one of them"),
        ({"than": None}, "than=None, above=None, below=None: give one of them"),
        ({"than": None, "above": 3, "by": 1}, "by=1.0 is the distance from a row"),
        ({"by": float("nan")}, "by=nan"),
        ({"says": None}, "says"),
        ({"sayz": "It"}, "sayz is unknown: did you mean says"),
    ],
)
def test_bad_claims(claim, words):
    with pytest.raises(ValueError, match=r"table small: claims\.more") as caught:
        results({}, claims={"more": {**CLAIMS["more"], **claim}})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ({"mods": {"least": 1}}, "levels.mods: mods is unknown: did you mean modes"),
        ({"modes": {"least": 1, "row": "WGANN"}}, "levels.modes.row: WGANN is unknown"),
        ({"modes": {"least": 1, "data": "rnig"}}, "levels.modes.data: rnig is unknown"),
        ({"modes": {}}, "least=None, most=None: give one of them"),
        ({"modes": {"least": 1, "most": 2}}, "least=1.0, most=2.0: give one of them"),
    ],
)
def test_bad_levels(level, words):
    with pytest.raises(ValueError, match=r"table small: budgets\.quick") as caught:
        converged(**level)
    assert words in str(caught.value)


# ---------------------------------------------------------------------- correlations


def figure(lines, **column):
    made = [{"name": None, "update": u, "samples": 9, "protocol": {}, **x} for u, x in enumerate(lines)]
    return figure_of(Cell("GAN", "ring", 0, {}, Path()), Column("loss", **column), made)


FOUR = [
    {"loss": 4.0, "fid": 90.0},
    {"loss": 1.0, "fid": 7.0},
    {"loss": 3.0, "fid": 8.0},
    {"fid": 1.0},
    {"loss": 2.0, "fid": 40.0},
]


def test_correlation_of_two_scores():
    """Of the ranks 4, 1, 3, 2 and 4, 1, 2, 3: 1 - 6 * 2 / (4 * 15) = 0.8, as scipy has it."""
    found = figure(FOUR, over="correlation", with_="fid")
    assert found.value == pytest.approx(0.8)
    assert found.value == pytest.approx(spearmanr([4, 1, 3, 2], [90, 7, 8, 40]).statistic)
    assert (found.evaluations, found.update) == (4, 4)
    assert figure([{**x, "fid": -x["fid"]} for x in FOUR], over="correlation", with_="fid").value < -0.79


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (FOUR[:4], "3 evaluations are too few for a correlation, which needs 4"),
        ([{**x, "fid": 3.0} for x in FOUR], "fid is the same in all evaluations: it has no correlation"),
        ([{**x, "fid": None} for x in FOUR], "fid could not be computed in each evaluation"),
        ([{**x, "loss": None} for x in FOUR], "loss could not be computed in each evaluation"),
        ([{"loss": 3.0}], "there is no loss with fid in its evaluations"),
    ],
)
def test_no_correlation(lines, problem):
    found = figure(lines, over="correlation", with_="fid")
    assert (found.value, found.problem) == (None, problem)


def test_correlations_in_a_table():
    column = {"score": "modes", "over": "correlation", "with": "fid", "better": "high"}
    assert results({}, columns={"agree": column}).grid.table.columns["agree"].with_ == "fid"
    for changes, words in (
        ({"with": None}, "over=correlation and with=None: a correlation has both"),
        ({"over": "mean"}, "over=mean and with=fid: a correlation has both"),
        ({"at": 3}, "at=3 is one evaluation"),
        ({"with": 5}, "with: give a text"),
    ):
        with pytest.raises(ValueError, match=r"columns\.agree") as caught:
            results({}, columns={"agree": {**column, **changes}})
        assert words in str(caught.value)
