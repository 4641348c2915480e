"""The page of the papers' tables and figures, mostly with runs that are made up."""

import json
import re
from collections import Counter
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lightning_gans.commands import exhibits as module
from lightning_gans.commands.exhibits import exhibits, load_exhibits, reduced
from lightning_gans.commands.main import known_commands
from lightning_gans.commands.recipes import recipe_names
from lightning_gans.commands.reproduce import tables
from lightning_gans.commands.reproduce.tables import Grid, load_table
from lightning_gans.files import recipes_folder

RING = recipes_folder() / "gan/ring.yaml"
TABLE = f"""
title: A small table
source: A paper, table 1
columns:
  modes: {{score: modes, better: high, digits: 1}}
  best: {{score: modes, over: max, better: high, digits: 1}}
data:
  ring: {{}}
rows:
  GAN: {{recipe: {RING}, published: {{ring: {{modes: 3, best: null}}}}}}
  WGAN: {{recipe: {RING}, published: {{ring: {{modes: [7, 0.5], best: 7.5}}}}, set: {{data.batch_size: 8}}}}
claims:
  better: {{says: WGAN finds more modes than GAN., source: table 1, row: WGAN, column: modes, than: GAN}}
  all: {{says: WGAN finds all modes., source: table 1, row: WGAN, column: modes, above: 7.9}}
  best: {{says: The best is better than the last., source: figure 2, row: WGAN, column: best, than: modes}}
budgets:
  quick: {{describe: Four updates., comparable: false, note: it is short., seeds: [0, 1, 2]}}
"""
EXHIBITS = """
papers:
  WGAN:
    title: Some people, 2017
    page: papers/wgan.md
    exhibits:
      Table 1: {shows: Modes of both., table: small, claims: ['bett*'], earlier: papers/wgan.md#measured}
      Figure 2: {shows: Modes of one., table: small, not_run: faces are not at hand.}
      Figure 3: {shows: A drawing., no_claim: It is `WGAN`., command: lightning-gans fit --config wgan/ring}
"""


@pytest.fixture(autouse=True)
def recipes(monkeypatch, tmp_path, request):
    """A package with one table, unless a test is about the shipped ones."""
    monkeypatch.chdir(tmp_path)
    if "shipped" in request.fixturenames:
        return
    Path("recipes/tables").mkdir(parents=True)
    Path("recipes/tables/small.yaml").write_text(TABLE)
    Path("exhibits.yaml").write_text(EXHIBITS)
    monkeypatch.setattr(module, "LISTED", tmp_path / "exhibits.yaml")
    monkeypatch.setattr(tables, "recipes_folder", lambda: tmp_path / "recipes")


def finish(modes=lambda row, seed: 8.0 if row == "WGAN" else 2.0 + seed / 10):
    """Make up that all runs have finished."""
    table = load_table("small")
    for cell in Grid(table, table.budgets["quick"], Path("runs/tables/small/quick")).cells():
        place = cell.folder / "runs/fit/version_0"
        place.mkdir(parents=True)
        line = {"update": 4, "name": None, "samples": 9, "protocol": {}, "modes": modes(cell.row, cell.seed)}
        (place / "evaluations.jsonl").write_text(json.dumps(line))
        status = {"state": "finished", "identity": cell.identity, "seconds": 9.0, "processor_seconds": 5.0}
        status |= {"date": f"2026-11-2{7 + cell.seed % 2}T01:02:03+00:00", "revision": "abc1234"}
        (cell.folder / "status.json").write_text(json.dumps(status))


def page(**options):
    exhibits(**options)
    return Path(options.get("out", "docs/exhibits.md")).read_text()


def lines_of(text, exhibit):
    return text.partition(f"\n### {exhibit}\n")[2].partition("\n#")[0]


def test_claims_are_judged_by_the_runs(capsys):
    finish()
    text = page()
    first, second = lines_of(text, "Table 1"), lines_of(text, "Figure 2")
    assert "`lightning-gans reproduce small`: Four updates." in first
    assert "6 runs with 3 seeds, 2026-11-27 to 2026-11-28, revision abc1234, 30 s in all." in first
    row = (
        "| WGAN finds more modes than GAN. | **holds** | +5.9 (+5.7 to +6.1), 3 pairs "
        "| modes ↑: WGAN 8.0 ± 0.0; GAN 2.1 ± 0.1 | WGAN 7.0 ± 0.5; GAN 3.0 |"
    )
    assert row in first
    assert "earlier revision" not in text
    assert "WGAN finds all modes." not in first
    assert re.search(r"WGAN finds all modes\. \| \*\*holds\*\* \| 8\.0 \(8\.0 to 8\.0\), 3 seeds \|", second)
    assert "| **does not hold**: " in second
    assert "| best ↑: best 8.0 ± 0.0; modes 8.0 ± 0.0 | best 7.5; modes 7.0 ± 0.5 |" in second
    assert "**not run**: faces are not at hand." in second
    assert "It is `WGAN`." in lines_of(text, "Figure 3")
    assert "| [WGAN](#wgan) | 2 | 1 |  |  |  | 1 | 1 |" in text
    assert "2 hold, 1 do not hold (1 within noise, 0 the opposite does)" in capsys.readouterr().out


def test_a_claim_that_does_not_hold_says_why():
    finish(lambda row, seed: float(seed))
    assert "**does not hold**: within noise" in lines_of(page(), "Table 1")


def test_without_runs_nothing_is_decided():
    text = page(tables="elsewhere", out="page.md")
    assert "No run at this revision." in lines_of(text, "Table 1")
    assert "GAN. | **not run** |  |  | WGAN 7.0 ± 0.5; GAN 3.0 |" in lines_of(text, "Table 1")
    assert "[Figures of an earlier revision](papers/wgan.md#measured)" in lines_of(text, "Table 1")
    assert "## Samples" not in text


def noise(size, path=None) -> bytes:
    content = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path or content, "PNG")
    return content.getvalue()


def test_pictures_stand_beside_the_page():
    finish()
    folder = Path("runs/tables/small/quick")
    for row in ("GAN", "WGAN"):
        samples = folder / row / "ring/seed=0/runs/fit/version_0/samples"
        samples.mkdir()
        for update in (0, 2, 4):
            sheet = Image.new("L", (402, 100), 30 * update)
            sheet.save(samples / f"update={update:08d}.png")
    noise((40, 60), folder / "curves.png")
    noise((40, 60), folder / "plot.png")
    (folder / "points.png").write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="small, points is left out"):
        samples = page().partition("## Samples")[2]
    names = ["small-images.png", "small-curves.png"]
    assert re.findall(r"\]\(pictures/exhibits/(\S+)\)", samples) == names
    assert sorted(names) == sorted(path.name for path in Path("docs/pictures/exhibits").iterdir())
    drawn = Image.open("docs/pictures/exhibits/small-images.png").convert("L")
    assert drawn.width > 2 * 202  # both rows side by side, of each the left half of its last sheet
    assert [drawn.getpixel((place, 60)) for place in (100, drawn.width // 2 + 100)] == [120, 120]


def test_large_pictures_are_made_smaller():
    picture = Image.open(BytesIO(noise((100, 200))))
    whole, small = reduced(picture), reduced(picture, most=5000)
    assert Image.open(BytesIO(whole)).size == (200, 100)
    assert len(small) <= 5000 < len(whole)
    width, height = Image.open(BytesIO(small)).size
    assert width == pytest.approx(2 * height, abs=2)


@pytest.mark.parametrize(
    ("exhibit", "words"),
    [
        ({"table": "smal"}, ["Table 1.table", "smal is unknown", "small"]),
        ({"table": "small", "budget": "slow"}, ["Table 1.budget", "slow is unknown", "quick"]),
        ({"table": "small", "claims": ["worst"]}, ["Table 1.claims", "worst is unknown"]),
        ({"table": "small", "claims": ["all", "all"]}, ["Table 1.claims", "all belongs to an exhibit above"]),
        ({"tabel": "small"}, ["Table 1", "tabel"]),
        ({}, ["Table 1", "name its table"]),
    ],
)
def test_what_is_unknown_is_refused_in_one_line(exhibit, words):
    listed = yaml.safe_load(EXHIBITS)
    listed["papers"]["WGAN"]["exhibits"] = {"Table 1": {"shows": "Modes.", **exhibit}}
    Path("exhibits.yaml").write_text(yaml.safe_dump(listed))
    with pytest.raises(ValueError, match=r"^exhibits\.yaml: [^\n]+$") as refused:
        exhibits()
    assert all(word in str(refused.value) for word in words)
    assert not Path("docs").exists()


# ---------------------------------------------------------------------- the shipped list


@pytest.fixture(scope="module")
def shipped():
    return load_exhibits()


def test_every_table_and_claim_of_the_package_has_its_place(shipped, monkeypatch):
    monkeypatch.setattr(module, "load_exhibits", lambda: shipped)
    found = Counter((x.table, claim) for _, x in shipped.each() for claim in x.claims or [])
    assert set(found.values()) == {1}
    for name, table in shipped.tables.items():
        assert {claim for of, claim in found if of == name} == {*table.claims}
        assert any(x.table == name for _, x in shipped.each()), name
    text = page(tables="none")
    lines = re.findall(r"^\| (.+?) \| \*\*not run\*\* \|", text, re.MULTILINE)
    wanted = [
        claim.says + f" ({data})" * (claim.data is None and len(known) > 1)
        for (name, budget) in dict.fromkeys((x.table, x.budget) for _, x in shipped.each() if x.table)
        for known in [shipped.tables[name].budgets[budget].data]
        for claim in shipped.tables[name].claims.values()
        for data in ([x for x in known if claim.column in known[x].columns] if claim.data is None else [""])
    ]
    assert Counter(lines) == Counter(wanted)


def test_its_commands_and_pages_are_there(shipped):
    docs, commands, names = recipes_folder().parent / "docs", known_commands(), recipe_names()
    for _, exhibit in shipped.each():
        if exhibit.command:
            program, command, *options = exhibit.command.split()
            assert (program, command in commands) == ("lightning-gans", True)
            config = dict(pairwise(options)).get("--config")
            assert config is None or config in names
    if docs.is_dir():
        pages = [x.page for x in shipped.papers.values()] + [x.earlier for _, x in shipped.each()]
        assert all((docs / page.partition("#")[0]).is_file() for page in pages if page)
