"""The real-or-fake study: what its page holds, and how its answers are scored."""

import base64
import json
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_gans.commands.study import draw_pairs
from lightning_gans.commands.study_score import read_session
from tests.tiny_data import write_pictures, write_session

COUNTS = ("--practice=2", "--trials=6", "--size=16")


def content(page="study/index.html"):
    """What the page knows."""
    return json.loads(re.search(r'type="application/json">(.*?)</script>', Path(page).read_text())[1])


def pixels(address):
    head, data = address.split(",")
    assert head == "data:image/png;base64"
    picture = Image.open(BytesIO(base64.b64decode(data)))
    assert (picture.format, picture.mode, picture.info) == ("PNG", "RGB", {})
    return np.asarray(picture)


@pytest.fixture
def folders():
    """Real images and fakes of equal names, all different."""
    write_pictures(Path("real"), 12, 16)
    (fake := Path("fake")).mkdir()
    for path in Path("real").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(fake / f"{path.stem}.bmp")
    return "--real=real", "--fake=fake"


def test_page(cli, folders, capsys):
    cli("study", *folders, *COUNTS, "--ask=fake", "--exposure=0.5", "--seed=3")
    found = content()
    assert found["study"] in capsys.readouterr().out
    assert [found[name] for name in ("ask", "exposure", "practice", "trials", "size", "seed", "paired")] == [
        "fake", 0.5, 2, 6, 16, 3, False]  # fmt: skip
    pairs = found["pairs"]
    assert len(pairs) == 8
    for pair in pairs:
        assert Path(pair["real"]).stem != Path(pair["fake"]).stem
        sides = {"real": f"real/{pair['real']}", "fake": f"fake/{pair['fake']}"}
        order = ["real", "fake"] if pair["left"] == "real" else ["fake", "real"]
        for side, image in zip(order, pair["images"], strict=True):
            assert np.array_equal(pixels(image), np.asarray(Image.open(sides[side])))
    for kind in ("real", "fake"):
        assert len({pair[kind] for pair in pairs}) == 8
    for part in (pairs[:2], pairs[2:]):
        assert sum(pair["left"] == "real" for pair in part) == len(part) / 2


def test_nothing_comes_from_elsewhere(cli, folders):
    cli("study", *folders, *COUNTS)
    text = re.sub(r"data:image/png[^\"]*", "", Path("study/index.html").read_text())
    assert not re.search(r"(https?:)?//\w|url\(|@import|<link(?! rel=\"icon\" href=\"data:,\")", text)
    assert "default-src 'none'" in text


def test_names_are_not_markup(cli, folders):
    for kind in ("real", "fake"):
        for path in Path(kind).iterdir():
            path.rename(path.with_name(f"<!--<script>{path.name}"))
    cli("study", *folders, *COUNTS)
    assert Path("study/index.html").read_text().count("<script") == 2
    assert content()["pairs"][0]["real"].startswith("<!--<script>")


def test_the_seed_decides(cli, folders):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        cli("study", *folders, *COUNTS, f"--out={out}", f"--seed={seed}")
    a, b, c = (Path(out, "index.html").read_bytes() for out in "abc")
    assert a == b != c
    assert content("a/index.html")["study"] == content("c/index.html")["study"]
    # Other settings or images make another study.
    cli("study", *folders, *COUNTS, "--out=d", "--ask=fake")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save("fake/11.bmp")
    cli("study", *folders, *COUNTS, "--out=e")
    assert len({content(f"{out}/index.html")["study"] for out in "ade"}) == 3


def test_pairs_of_equal_names(cli, folders):
    cli("study", *folders, *COUNTS, "--paired")
    assert all(Path(pair["real"]).stem == Path(pair["fake"]).stem for pair in content()["pairs"])
    names = [f"{i}.png" for i in range(20)]
    reals, fakes = draw_pairs(names, [f"{i}.jpg" for i in range(9)], 2, 7, True, np.random.default_rng(0))
    assert sorted(reals) == names[:9]
    assert [Path(name).stem for name in reals] == [Path(name).stem for name in fakes]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_other_pairs_are_never_of_equal_names(count):
    names = [f"{i}.png" for i in range(count)]
    for seed in range(50):
        reals, fakes = draw_pairs(names, names, 1, count - 1, False, np.random.default_rng(seed))
        assert sorted(reals) == sorted(fakes) == sorted(names)
        assert all(a != b for a, b in zip(reals, fakes, strict=True))


def test_all_images_are_treated_alike(cli):
    """Sizes, formats, modes and shapes that would tell real ones from fakes are gone."""
    rng = np.random.default_rng(0)
    for kind in ("real", "fake"):
        Path(kind).mkdir()
    for i in range(8):
        photo = Image.fromarray(rng.integers(0, 256, (24, 40, 3), np.uint8))
        photo.save(f"real/photo{i}.jpg", exif=b"Exif\0\0", comment="a camera")
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(f"fake/{i}.png")
    cli("study", "--real=real", "--fake=fake", *COUNTS)
    for pair in content()["pairs"]:
        assert [pixels(image).shape for image in pair["images"]] == [(16, 16, 3)] * 2


def test_what_makes_no_study(fails, folders):
    def line(*given):
        text = fails("study", *folders, *given)  # of an option that is given twice, the last counts
        assert not Path("study").exists()
        return text

    assert "50 images of each folder are needed, and real has 12 and fake has 12: give --trials 2" in line()
    assert "lower both numbers" in line("--practice=12")
    Path("fake/11.bmp").rename("fake/other.bmp")
    assert "11 names in both" in line("--paired", "--trials=12", "--practice=0")
    assert "has only 16 pixels" in line("--practice=2", "--trials=6")
    assert "--size 16" in line("--practice=2", "--trials=6")
    assert "real=real, fake=real: one is the other" in line("--real=real", "--fake=./real")
    assert "lies within it" in line("--real=.", "--fake=fake")
    assert "fake=nowhere is no folder" in line("--real=real", "--fake=nowhere")
    Path("empty").mkdir()
    assert "empty has no images" in line("--real=real", "--fake=empty")
    for given in ("--trials=0", "--practice=-1", "--exposure=0", "--size=0", "--seed=-1", "--ask=both"):
        name = given[2:].partition("=")[0]
        assert name in line(*COUNTS, given)
    write_pictures(Path("copies"), 12, 16)
    assert "are the same picture" in line("--real=real", "--fake=copies", *COUNTS)
    Image.new("RGB", (16, 16)).save("real/0.jpg")
    assert "0.jpg and 0.png of real have one name" in line(*COUNTS, "--paired")
    for path in Path("fake").iterdir():
        path.write_text("no image")
    assert "not an image" in line(*COUNTS)


def test_a_folder_that_is_not_empty(cli, fails, folders):
    cli("study", *folders, *COUNTS)
    Path("study/answers.json").touch()
    assert "out=study is not empty: give a new folder, or add --overwrite" in fails(
        "study", *folders, *COUNTS, "--seed=1"
    )
    cli("study", *folders, *COUNTS, "--seed=1", "--overwrite")
    assert content()["seed"] == 1
    assert Path("study/answers.json").exists()


# ---------------------------------------------------------------------- scores


def test_known_rates(cli, capsys):
    """10 of 40; then 268 of 1000."""
    write_session("one.json", "w-0", fooled=10)
    cli("study-score", "one.json")
    said = capsys.readouterr().out
    assert "fakes taken for real: 25.0% (10 of 40 pairs, 1 workers" in said
    assert "one worker" in said
    files = [write_session(f"{i}.json", f"w-{i}", fooled=11 if i < 18 else 10) for i in range(25)]
    cli("study-score", *files, "--json", "scores.json")
    said = capsys.readouterr().out
    assert "26.8% (268 of 1,000 pairs, 25 workers" in said
    assert "independent: 1.40%" in said
    scores = json.loads(Path("scores.json").read_text())
    assert scores["standard_error"] == pytest.approx(0.014006, abs=5e-7)
    assert (scores["rate"], scores["trials"], len(scores["sessions"])) == (0.268, 1000, 25)
    assert scores["low"] < scores["rate"] < scores["high"]
    cli("study-score", "--json", "again.json", *files)
    assert Path("again.json").read_bytes() == Path("scores.json").read_bytes()
    cli("study-score", *files, "--json", "other.json", "--seed=1")
    assert json.loads(Path("other.json").read_text())["deviation"] != scores["deviation"]


@pytest.mark.parametrize("ask", ["real", "fake"])
def test_practice_never_counts(cli, capsys, ask):
    """Whatever was asked for: the fake was taken for real in 5 of 40, and in all of the practice."""
    write_session("one.json", "w-0", fooled=5, practice=10, ask=ask)
    cli("study-score", "one.json")
    assert "12.5% (5 of 40" in capsys.readouterr().out


def test_pairs_that_were_shown_too_long_are_told(cli, capsys):
    write_session("one.json", "w-0", fooled=5, shown=1.3)
    cli("study-score", "one.json")
    assert "40 pairs were shown more than" in capsys.readouterr().out


def test_what_cannot_be_scored(fails):
    one = write_session("one.json", "w-0", fooled=5)
    write_session("two.json", "w-1", fooled=5, study="other")
    assert "score each study by itself" in fails("study-score", one, "two.json")
    write_session("same.json", "w-0", fooled=7)
    assert "one.json and same.json are of one worker w-0" in fails("study-score", one, "same.json")
    Path("copy.json").write_bytes(Path(one).read_bytes())
    assert "are of one session" in fails("study-score", one, "copy.json")
    assert "are of one session" in fails("study-score", one, one)
    assert "nowhere.json: there is no such file" in fails("study-score", one, "nowhere.json")
    assert "needs files" in fails("study-score")
    assert "repetitions=0" in fails("study-score", one, "--repetitions=0")
    good = json.loads(Path(one).read_text())
    Path("bad.json").write_text(json.dumps({**good, "answers": good["answers"][:-1]}))
    assert "bad.json: 39 of 40 pairs that count are answered" in fails("study-score", "bad.json")
    bad = [{**good, name: value} for name, value in (
        ("format", "x"), ("study", 3), ("seed", True), ("exposure", float("nan")), ("trials", -1),
        ("trials", 10**400), ("answers", None), ("answers", [3]), ("answers", [{}]), ("ask", ["real"]),
    )]  # fmt: skip
    for text in ("", "{", "[]", "[" * 100_000, '"\udcff"', *map(json.dumps, bad)):
        Path("bad.json").write_text(text, errors="surrogateescape")
        with pytest.raises(ValueError, match=r"bad\.json: no answers of a study, or damaged") as raised:
            read_session("bad.json")
        assert str(raised.value).isprintable()


def test_what_workers_type_is_shown_harmlessly(cli, capsys):
    write_session("one.json", "\x1b[2Jevil\n", fooled=5)
    cli("study-score", "one.json")
    assert "?[2Jevil?" in capsys.readouterr().out
