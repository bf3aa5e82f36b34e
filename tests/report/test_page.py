"""The pages in a headless Chromium: no errors, no network, sorting, filtering, where numbers come from, both themes."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from methods.contract import papers
from report import site

pytestmark = pytest.mark.page

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SLOW = 120_000
"""Milliseconds that a busy machine may take."""
SIZES = {"desktop": (1280, 900), "tablet": (768, 1024), "phone": (360, 780)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    site.make(papers(), None, ROOT / "results", out)
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed; `make test-page` does it"
    )
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium here; `make test-page` says how to get one")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.getuid() == 0 else [])
        yield opened
        opened.close()


@pytest.fixture
def faults() -> list[str]:
    """What goes wrong on a page: filled by ``opened``, empty at the end of a test."""
    return []


@pytest.fixture
def page(browser: Any, faults: list[str]) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(SLOW)
    made = context.new_page()
    made.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else faults.append(request.url)
    )
    made.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
    yield made
    context.close()
    assert faults == []


def address(folder: Path, name: str) -> str:
    return (folder / name).as_uri()


def names() -> list[str]:
    return ["index.html", "speed.html", *(f"{name}.html" for name in papers())]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("size", SIZES)
def test_every_page_opens_and_nothing_overflows(page: Any, folder: Path, name: str, size: str) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.goto(address(folder, name))
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "wide tables scroll inside their frames"
    pictures = os.environ.get("SCREENSHOTS")
    if pictures:
        page.screenshot(path=Path(pictures) / f"{Path(name).stem}-{size}.png")


def test_the_overview_is_short_and_figures_keep_their_size(page: Any, folder: Path) -> None:
    """Under six screens, all that is folded included; text of figures is never scaled down."""
    page.goto(address(folder, "index.html"))
    assert page.evaluate("document.documentElement.scrollHeight") < 6 * 900
    page.set_viewport_size({"width": 360, "height": 780})
    unfold(page)
    sizes = page.evaluate("[...document.querySelectorAll('figure img')].map((one) => [one.width, one.clientWidth])")
    assert sizes
    assert all(declared == shown for declared, shown in sizes)


def test_no_text_of_a_figure_is_small(folder: Path) -> None:
    """A unit of a figure is a point, 4/3 of a pixel; none has under nine pixels."""
    sizes = {
        float(size)
        for path in folder.glob("figures/*/*.svg")
        for size in re.findall(r"font(?:-size)?: ?([0-9.]+)px", path.read_text(encoding="utf-8"))
    }
    assert sizes
    assert min(sizes) * 4 / 3 >= 9


RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], "resultTypes": ["violations"]}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", names())
def test_axe_finds_nothing(browser: Any, folder: Path, name: str, theme: str) -> None:
    """The rules of axe-core for WCAG 2.1 A and AA, and its best practices."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed; see test-page")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=theme)
    context.set_default_timeout(SLOW)
    made = context.new_page()
    made.goto(address(folder, name))
    found = axe.Axe().run(made, options=RULES).response["violations"]
    context.close()
    assert {one["id"]: [node["html"][:200] for node in one["nodes"][:3]] for one in found} == {}


def column(page: Any, table: str, number: int) -> list[str]:
    found: list[str] = page.locator(f"{table} tbody tr:visible > *:nth-child({number})").all_inner_texts()
    return found


def unfold(page: Any) -> None:
    page.evaluate("document.querySelectorAll('main details').forEach((box) => { box.open = true; })")


def test_sorting(page: Any, folder: Path) -> None:
    page.goto(address(folder, "dan.html"))
    unfold(page)
    table = "table[data-grid=verdicts]"
    head = page.locator(f"{table} thead th").nth(5)
    before = column(page, table, 6)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    down = column(page, table, 6)
    numbers = [float(text.split()[0]) for text in down if text != "-"]
    assert numbers == sorted(numbers, reverse=True)
    assert sorted(down) == sorted(before)
    missing = [text == "-" for text in down]
    assert missing == sorted(missing), "what is missing stays below"
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    numbers = [float(text.split()[0]) for text in column(page, table, 6) if text != "-"]
    assert numbers == sorted(numbers)


def test_values_of_a_figure_under_the_pointer(page: Any, folder: Path) -> None:
    """Before a pointer comes a figure is an image, which loads when it is seen; then its marks have titles."""
    page.goto(address(folder, "yosinski.html"))
    figure = page.locator("figure").first
    figure.scroll_into_view_if_needed()
    size = figure.locator("img").bounding_box()
    figure.locator("img").hover()
    live = figure.locator("object")
    live.wait_for()
    assert figure.locator("img").count() == 0
    assert live.bounding_box() == size
    assert len(live.get_attribute("aria-label")) > 20
    text = (folder / live.get_attribute("data")).read_text(encoding="utf-8")
    assert "<title>" in text


def test_filtering(page: Any, folder: Path) -> None:
    page.goto(address(folder, "index.html"))
    unfold(page)
    table = "table[data-grid=statements]"
    every = page.locator(f"{table} tbody tr").count()
    page.locator("#statements-filter").fill("dan: reproduced source alone")
    shown = page.locator(f"{table} tbody tr:visible")
    assert 0 < shown.count() < every
    for text in shown.all_inner_texts():
        assert all(word in text.lower() for word in ("dan:", "reproduced", "source", "alone"))
    assert page.locator("#statements-count").inner_text() == f"{shown.count()} of {every} rows"
    page.locator("#statements-filter").fill("")
    assert page.locator(f"{table} tbody tr:visible").count() == every


def test_where_a_number_comes_from(page: Any, folder: Path) -> None:
    page.goto(address(folder, "dan.html"))
    number = page.locator("table[data-grid=difference] button.why[data-less]").first
    number.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog#why")
    assert dialog.is_visible()
    text = dialog.inner_text()
    assert "Mean of these" in text
    assert "less the mean of these" in text
    dialog.locator("summary").first.click()
    for word in ("seed", "commit", "torch", "results/dan/"):
        assert word in dialog.inner_text()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.classList.contains('why')"), "the focus goes back"


def test_the_keyboard_reaches_the_content_first(page: Any, folder: Path) -> None:
    page.goto(address(folder, "dan.html"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_light_and_dark(browser: Any, folder: Path) -> None:
    for scheme, ground in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 29)")):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(address(folder, "index.html"))
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
        page.get_by_role("button", name="Dark or light").click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
        context.close()


def test_everything_is_unfolded_on_paper(page: Any, folder: Path) -> None:
    page.goto(address(folder, "dan.html"))
    folded = page.locator("main details:not([open])").count()
    assert folded
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details:not([open])").count() == folded


def test_without_script_everything_is_there(browser: Any, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address(folder, "dan.html"))
    assert page.locator("table[data-grid=accuracy] td.num").first.inner_text()
    context.close()
