"""The page of probes opens in a real browser, offline: time moves pictures, points and maps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_pages import width_that_fits
from probe_results import stored_results

import accweight_core as aw
from accweight_core.reports.probe_page import probe_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

sync_api = pytest.importorskip("playwright.sync_api")
browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(browser_path is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of results of every kind, under hostile names."""
    folder = tmp_path_factory.mktemp("browser")
    results = list(aw.open_analysis(stored_results(folder / "run.accw")).probes.values())
    return probe_page(results, folder / "page.html", command="accweight probe run.accw")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start a browser without a screen."""
    with sync_api.sync_playwright() as play:
        found = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, written: Path) -> Iterator[Any]:
    """Open the page, offline and without motion; whatever it complains of fails the test."""
    context = browser.new_context(
        offline=True, viewport={"width": 1280, "height": 720}, reduced_motion="reduce"
    )
    opened, complaints, asked = context.new_page(), [], []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(written.as_uri())
    opened.wait_for_selector("html[data-probes]")
    yield opened
    context.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def first_pixel(page: Any, canvas: str) -> list[int]:
    script = "(one) => [...one.getContext('2d').getImageData(0, 0, 1, 1).data]"
    found: list[int] = page.locator(canvas).first.evaluate(script)
    return found[:3]


def test_hostile_names_do_nothing(page: Any) -> None:
    page.wait_for_timeout(50)

    assert page.title() == "run.accw"
    assert page.locator("img[src=x]").count() == 0
    assert "</script><img" in page.locator(".of-layers .key").inner_text()


def test_the_slider_moves_pictures_numbers_and_marks_to_the_step(page: Any) -> None:
    slide = page.locator(".time .slide")

    slide.focus()
    page.keyboard.press("Home")
    page.wait_for_selector(".of-pictures[data-shown='0']")

    assert page.locator(".time .now").inner_text() == "step 0"
    page.locator(".of-pictures .toggle input").uncheck()  # the pixels as they are stored
    page.wait_for_timeout(50)
    assert first_pixel(page, ".of-pictures canvas") == [50, 50, 50]
    assert page.locator(".of-cells td").first.inner_text() == "1"
    page.keyboard.press("End")
    slide.focus()
    page.keyboard.press("End")
    page.wait_for_selector(".of-pictures[data-shown='40']")
    assert page.locator(".of-cells td").first.inner_text() == "3"
    left = page.locator(".of-numbers .cursor-now").first.evaluate("(mark) => mark.style.left")
    width = page.locator(".of-numbers .u-over").first.evaluate("(room) => room.clientWidth")
    assert float(left.removesuffix("px")) == pytest.approx(width, abs=1)


def test_a_point_that_is_pointed_at_is_named_and_pictured(page: Any) -> None:
    canvas = page.locator(".of-stages canvas.points-of")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()

    # at the last stage the points stand in a line, the first one at the left
    for down in range(10, int(box["height"]), 8):
        page.mouse.move(box["x"] + box["width"] * 0.055, box["y"] + down)
        if "sample 100" in page.locator(".of-stages .picked").inner_text():
            break

    assert page.locator(".of-stages .picked").inner_text() == "a\nsample 100"
    assert page.locator(".of-stages .picked canvas").count() == 1


def test_playing_ends_at_the_last_step(page: Any) -> None:
    page.locator(".time .play").click()
    page.wait_for_selector(".time .play[aria-label=Pause]")

    page.wait_for_selector(".time .play[aria-label=Play]")

    assert page.locator(".time .now").inner_text() == "step 40"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 720})

    content, window = width_that_fits(page, width)

    assert content <= window == width


def test_a_matrix_has_the_names_of_its_columns_and_its_scale(page: Any) -> None:
    heads = page.locator(".of-matrix .heads-of span").all_inner_texts()

    assert heads[::2] == ["a", "c"]
    assert "</script>" in heads[1]
    assert page.locator(".of-matrix .scale-of span").all_inner_texts() == ["0", "15"]
