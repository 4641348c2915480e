"""Write the table of papers into the README, from where the site takes it: ``make papers``."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
MARK = "<!-- papers -->"
HEAD = """
| Paper | Class, and a recipe to begin with | Measured here | Published | Claims that hold |
|---|---|---|---|---|
"""
Claim = dict[str, str]


def main() -> None:
    """Put the table between the marks of the README."""
    readme = ROOT / "README.md"
    before, _, after = readme.read_text().split(MARK)
    readme.write_text(MARK.join([before, table(), after]))


def table() -> str:
    """Return the table, from papers.yaml, exhibits.md and the heads of the recipes."""
    papers = yaml.safe_load((ROOT / "docs/papers.yaml").read_text())
    claims = read_claims()
    return HEAD + "".join(f"| {' | '.join(row(name, paper, claims))} |\n" for name, paper in papers.items())


def row(name: str, paper: dict[str, Any], claims: dict[str, Claim]) -> list[str]:
    """Return the cells of a paper; a claim that exhibits.md has not is a KeyError."""
    source, arxiv = paper["paper"], paper.get("arxiv")
    shown = claims[paper["claim"]] if "claim" in paper else {}
    published = paper.get("published") or claims[paper.get("beside") or paper["claim"]]["Published"]
    return [
        f"[{name}](docs/papers/{paper['page']}.md), "
        + (f"[{source}](https://arxiv.org/abs/{arxiv})" if arxiv else source),
        f"`{paper['class']}`, `{paper['start']}`",
        shown.get("Measured") or result(paper["start"]),
        f"{paper['score']}: {published}" if "score" in paper else published,
        tally(name, claims),
    ]


def result(start: str) -> str:
    """Return what came out of a recipe, without the page that says more."""
    head = (ROOT / f"recipes/{start.split()[0]}.yaml").read_text()
    found = re.search(r"^# Result: +(.*)$", head, re.MULTILINE)
    return re.sub(r"[;,(] ?(see )?docs/.*", "", found[1]) if found else ""


def tally(name: str, claims: dict[str, Claim]) -> str:
    """Return how many of a paper's claims hold, of those that runs have decided, and how many are open."""
    of = Counter(claim["Verdict"] for claim in claims.values() if claim["paper"] == name)
    decided = of["holds"] + of["does not hold"]
    parts = [f"{of['holds']} of {decided}"] * (decided > 0)
    parts += [f"{of[open_]} {open_}" for open_ in ("not converged", "not run") if of[open_]]
    return ", ".join(parts) or "none put"


def read_claims() -> dict[str, Claim]:
    """Return the claims of exhibits.md: by the sentence, their figures, verdict and paper."""
    claims: dict[str, Claim] = {}
    section = paper = ""
    columns = [""]
    for line in (ROOT / "docs/exhibits.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            section = paper = line[3:]
        elif line.startswith("### ") and section == "Baselines":
            paper = line[4:].split(",")[0]
        elif line.startswith("| Claim |"):
            columns = cells
        elif columns[0] == "Claim" and len(cells) > 1 and cells[1].startswith("**"):
            claim = dict(zip(columns, cells, strict=True))
            claim["Verdict"] = claim["Verdict"].split("**")[1]
            claims[cells[0]] = {"Published": "", **claim, "paper": paper}
    return claims


if __name__ == "__main__":
    main()
