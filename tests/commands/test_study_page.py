"""The page of a study in a browser without a window, which clicks, types and taps through it."""

import json
import os
import shutil
from pathlib import Path
from statistics import median

import pytest

from tests.tiny_data import write_pictures

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
EXPOSURE = 0.15

# When the pictures came and went, by a clock of its own.
WATCH = """
window.seen = [];
new MutationObserver(() => {
  const shown = document.getElementById("stage").className === "shown";
  if (shown) seen.push(-performance.now());
  else if (seen.length && seen.at(-1) < 0) seen.push(seen.pop() + performance.now());
}).observe(document.getElementById("stage"), { attributeFilter: ["class"] });
"""


@pytest.fixture(scope="module")
def browser():
    """LIGHTNING_GANS_BROWSER, or the first Chromium on the PATH, or playwright's own."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install 'lightning-gans[browser]'")
    with api.sync_playwright() as playwright:
        found = [os.environ.get("LIGHTNING_GANS_BROWSER"), *map(shutil.which, NAMES)]
        path = next((each for each in [*found, playwright.chromium.executable_path] if each), "")
        if not Path(path).is_file():
            pytest.skip(f"no Chromium: install one of {', '.join(NAMES)}, or name it: LIGHTNING_GANS_BROWSER")
        started = playwright.chromium.launch(executable_path=path)
        yield started
        started.close()


@pytest.fixture
def opened(browser, cli):
    """Call it with options of ``study`` and of the browser: the page, and what it knows."""
    contexts, heard = [], []

    def opens(*options, **screen):
        write_pictures(Path("a"), 12, 32)
        write_pictures(Path("b"), 24, 32)
        for i in range(12):
            Path(f"b/{i}.png").unlink()
        cli("study", "--real=a", "--fake=b", "--size=32", f"--exposure={EXPOSURE}", *options)
        contexts.append(context := browser.new_context(**screen))
        context.set_default_timeout(5000)
        context.on("console", lambda message: heard.append(message.text))
        context.on("weberror", lambda error: heard.append(str(error.error)))
        context.on("request", lambda request: heard.append(request.url[:100]))
        page = context.new_page()
        page.goto(Path("study/index.html").absolute().as_uri())
        context.set_offline(True)
        page.evaluate(WATCH)
        return page, json.loads(page.locator("#study").text_content())

    yield opens
    for context in contexts:
        context.close()
    # No complaint, and nothing was asked of the network or of files but the page itself.
    page = Path("study/index.html").absolute().as_uri()
    assert [each for each in heard if not each.startswith("data:")] == [page] * len(contexts)


def side_of(pair, kind):
    return "left" if pair["left"] == kind else "right"


def save(page):
    with page.expect_download() as download:
        page.click("#save")
    name = download.value.suggested_filename
    download.value.save_as(name)
    return name, json.loads(Path(name).read_text())


def test_with_mouse_and_keyboard(opened, cli, capsys):
    page, study = opened("--practice=4", "--trials=8")
    page.click("text=Start")
    for place, pair in enumerate(study["pairs"]):
        if place == 4:
            assert "0 of 4 were right" in page.inner_text("#break")
            page.keyboard.press("Enter")
        page.wait_for_selector("#stage.shown")
        pictures = page.locator(".frame img").evaluate_all("all => all.map((each) => each.src)")
        assert pictures == pair["images"]
        page.keyboard.press("ArrowLeft")  # too early
        page.click("#right", force=True)
        page.wait_for_selector("#stage.asking")
        assert not page.locator(".frame img").first.is_visible()
        # All of the practice is wrong, and of the 8 pairs the first 2: the fake is taken for real.
        choice = side_of(pair, "fake" if place < 6 else "real")
        left = choice == "left"
        if place % 3 == 0:
            page.click(f"#{choice}")
        else:
            page.keyboard.press(("ArrowLeft" if left else "ArrowRight") if place % 3 == 1 else "21"[left])
        text = page.inner_text("#trial")
        assert ("Wrong: the " + side_of(pair, "real") + " one was real." in text) == (place < 4)
        assert ".png" not in page.evaluate("document.querySelector('#trial').outerHTML")
        if place < 4:
            assert page.evaluate("document.activeElement.id") == "next"
            page.keyboard.press("Enter")
    name, result = save(page)
    assert result["worker"] in name
    answers = result["answers"]
    assert [answer["practice"] for answer in answers] == [True] * 4 + [False] * 8
    for answer, pair in zip(answers, study["pairs"], strict=True):
        assert [answer[key] for key in ("real", "fake", "left")] == [
            pair[key] for key in ("real", "fake", "left")
        ]
        assert answer["pixels"] == 256
        assert 0 <= answer["seconds"] < 5
    seen = [milliseconds / 1000 for milliseconds in page.evaluate("seen")]
    assert [answer["shown"] for answer in answers] == pytest.approx(seen, abs=0.05)
    assert min(seen) > EXPOSURE - 0.03
    assert median(seen) < EXPOSURE + 0.05
    cli("study-score", name)
    assert "fakes taken for real: 25.0% (2 of 8 pairs" in capsys.readouterr().out


def test_on_a_small_telephone(opened, cli, capsys):
    page, study = opened("--practice=0", "--trials=5", "--ask=fake", viewport={"width": 320, "height": 568},
                         has_touch=True, is_mobile=True, color_scheme="dark")  # fmt: skip
    page.fill("#worker", " Ada/7 ")
    page.tap("text=Start")
    for place, pair in enumerate(study["pairs"]):
        page.wait_for_selector("#stage.asking")
        left, right = (page.locator(f"#{side}").bounding_box() for side in ("left", "right"))
        assert left["x"] >= 0
        assert left["x"] + left["width"] < right["x"]
        assert right["x"] + right["width"] <= 320
        assert right["y"] + right["height"] <= 568
        assert left["width"] == left["height"] == right["width"] >= 120
        assert page.evaluate("document.documentElement.scrollWidth") == 320
        page.tap(f"#{side_of(pair, 'real' if place < 2 else 'fake')}")
    page.wait_for_selector("#end")
    leave = "dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert page.evaluate(leave) is False  # the browser would ask
    name, result = save(page)
    assert page.evaluate(leave) is True
    assert name == f"study-{study['study']}-Ada_7.json"
    assert result["worker"] == "Ada/7"
    cli("study-score", name)
    assert "fakes taken for real: 40.0% (2 of 5 pairs" in capsys.readouterr().out
